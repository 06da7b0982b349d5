//! Messages, rings and descriptors between two engines in two processes. No policy.
//!
//! A [`Connection`] is one socket and one piece of shared memory with two rings. The [`Sender`] encodes a [`Message`]
//! into the ring of its direction and wakes the other side only when that sleeps; the [`Receiver`] copies a record out
//! once, and everything is parsed from that copy. The socket carries descriptors (of frame regions, and of messages too
//! long for the ring) and tells the end of the other process ([`Lifeline`]).
//!
//! The other side may be hostile: every index, length, count and text is checked, memory is bounded by what the other
//! side has paid for, and what does not fit ends the connection with a [`WireError`] that names it.
#![forbid(unsafe_code)]

mod codec;
mod connection;
mod encoding;
mod error;
mod message;
mod patience;
mod ring;
mod socket;

pub use connection::{Connection, Lifeline, Received, Receiver, Sender, WakeUp};
pub use encoding::{INTERFACES_LIMIT, UNNUMBERED, decode_interfaces, encode_interfaces, number_request};
pub use error::WireError;
pub use message::{
    Completion, Control, Create, Embedded, FramePart, Heartbeat, InterfaceEntry, Message, Named, Open, Parts,
    RegionCut, RequestId, Requestor, Stream,
};

/// Version of the protocol; both sides must have the same, because both come from one program.
pub const VERSION: u32 = 3;

/// The most bytes of one message.
pub const MESSAGE_LIMIT: usize = 17 << 20;
