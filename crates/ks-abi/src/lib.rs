//! Byte-exact vocabulary of Windows Kernel Streaming: GUIDs, codes, statuses and structures.
//!
//! Everything here has the size, alignment and offsets of 64-bit Windows. Types are named in Rust case after their
//! Windows ancestor (`KSPIN_CONNECT` is [`KsPinConnect`]); constants keep the header's spelling. Enums that come from
//! outside are open newtypes, pointers are numbers ([`Ptr64`]), and nothing here can fail or panic on any bytes.
//! Everything of the client half is re-exported at the root; the kernel half is in [`kernel`].
#![forbid(unsafe_code)]

mod define;

pub mod allocator;
pub mod audio;
pub mod clock;
pub mod constants;
pub mod describe;
pub mod event;
pub mod format;
pub mod guid;
pub mod identifier;
pub mod ioctl;
pub mod items;
pub mod kernel;
pub mod layout;
pub mod pin;
pub mod pointer;
pub mod rt_audio;
pub mod status;
pub mod stream;
pub mod topology;
pub mod userks;
#[allow(non_upper_case_globals, reason = "constants keep the spelling of the Windows headers")]
pub mod video;

pub use allocator::*;
pub use audio::*;
pub use clock::*;
pub use constants::constants;
pub use event::*;
pub use format::*;
pub use guid::categories::*;
pub use guid::formats::*;
pub use guid::names::*;
pub use guid::nodes::*;
pub use guid::sets::*;
pub use guid::*;
pub use identifier::*;
pub use ioctl::*;
pub use items::*;
pub use layout::{Field, Layout, layouts};
pub use pin::*;
pub use pointer::*;
pub use rt_audio::*;
pub use status::*;
pub use stream::*;
pub use topology::*;
pub use userks::*;
pub use video::*;
