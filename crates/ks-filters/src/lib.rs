//! Built-in minidrivers: cameras, microphones, file readers and writers, renderers.
//!
//! Each file is one filter, an ordinary minidriver over the traits of `ks-stream`; [`system`] starts an engine with all
//! of them. What they do to media is in [`media`], which knows nothing of the engine.
#![forbid(unsafe_code)]

pub mod audio_converter;
mod audio_format;
#[cfg(feature = "symphonia")]
pub mod audio_reader;
mod audio_wish;
mod bridge;
pub mod delay;
mod file_reader;
mod file_writer;
mod live;
mod looped;
pub mod looped_microphone;
pub mod looped_speaker;
pub mod media;
pub mod null_renderer;
pub mod pass_through;
mod settings;
mod system;
pub mod tee;
pub mod test_camera;
pub mod test_microphone;
pub mod test_speaker;
pub mod video_converter;
pub mod video_effect;
mod video_format;
pub mod wav_reader;
pub mod wav_writer;
pub mod y4m_reader;
pub mod y4m_writer;

pub use system::{System, descriptors, system};
