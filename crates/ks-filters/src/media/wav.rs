//! WAV files: raw interleaved little-endian PCM in, the same bytes out.
//!
//! Frames on a KS pin carry PCM as it lies in the file, so nothing is converted and every sample type is bit-exact.
//!
//! `Decision:` own chunk code instead of a sample-decoding crate, which would hide the raw bytes, refuse a file cut
//! short instead of reading what is there, and keep no file readable when a write fails.

mod reader;
mod writer;

pub use reader::{DataEnd, WavReader};
pub use writer::WavWriter;
