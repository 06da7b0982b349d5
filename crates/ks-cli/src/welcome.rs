//! `ks` alone: five commands to try.

use crate::failure::{Exit, Failure};
use crate::output;

const TEXT: &str = "\
ks runs Kernel Streaming filters in user space. Five commands to try:

  ks list                                    the filters there are
  ks inspect test-camera                     pins, formats and settings of one
  ks run test-camera --seconds 2             stream from it, and see what happened
  ks snapshot test-camera -o frame.png       one frame as a picture
  ks run 'test-microphone seconds=2 ! wav-writer path=tone.wav'

`ks help` lists all verbs, `ks help run` explains graphs.
";

pub(crate) fn perform() -> Result<Exit, Failure> {
    output::print(TEXT)?;
    Ok(Exit::Done)
}
