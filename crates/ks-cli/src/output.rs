//! Standard output and standard error, either of which may be closed at any time.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Writes text to standard output. A reader that went away, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::job("write to standard output", error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON document and a newline to standard output.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::job("write the JSON document", error.to_string()))?;
    text.push('\n');
    print(&text)
}

/// Writes a line to standard error, if anyone listens.
pub(crate) fn complain(message: &impl fmt::Display) {
    _ = writeln!(io::stderr().lock(), "{message}");
}
