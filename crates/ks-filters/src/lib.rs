//! Built-in minidrivers: cameras, microphones, file readers and writers, renderers.
#![forbid(unsafe_code)]

pub mod media;
