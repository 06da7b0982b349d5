//! The Kernel Streaming client library: filters, pins, typed properties, streams and the graph builder.
//!
//! A [`Client`] speaks over any [`ks_io::Transport`]. It lists device interfaces and opens a [`Filter`]; a filter tells of
//! its pin factories and creates a [`Pin`]; a pin takes states, frames and events. What has no words here can be said
//! raw, through [`Object::control`].
#![forbid(unsafe_code)]

mod allocator;
mod client;
mod clock;
pub mod com;
pub mod create;
pub mod default_links;
mod discover;
mod error;
mod filter;
mod format;
pub mod graph;
mod looped;
mod object;
mod pin;
mod pipe_report;
mod stream;

pub use allocator::Allocator;
pub use client::Client;
pub use clock::Clock;
pub use default_links::{DefaultLink, DefaultLinks};
pub use discover::{ItemInfo, Members, PropertyDescription, Scope, SetKind};
pub use error::ClientError;
pub use filter::{Connect, Filter, PinFactory, SettingInfo, Topology};
pub use format::{Format, Range};
pub use looped::{LoopedBuffer, PacketRegister, PositionRegister, WrittenPacket};
pub use object::Object;
pub use pin::{Pin, PinEvent, SharedEvent};
pub use pipe_report::{Agreed, PipeReport};
pub use stream::{StreamFrame, StreamRequest};
