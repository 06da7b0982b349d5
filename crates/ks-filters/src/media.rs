//! Media files and test signals, free of the engine: bytes in, bytes out.
//!
//! The minidrivers of this crate wrap what is here; nothing here knows pins, frames or threads.

pub mod audio;
pub mod audio_conversion;
#[cfg(feature = "symphonia")]
pub mod compressed;
pub mod effect;
pub mod error;
mod file;
mod font;
pub mod mix;
pub mod pattern;
pub mod resample;
pub mod samples;
pub mod tone;
pub mod video;
pub mod video_conversion;
pub mod wav;
pub mod y4m;

pub use error::{FieldError, MediaError, Result};
pub use file::{Input, LockedFile, Output};
