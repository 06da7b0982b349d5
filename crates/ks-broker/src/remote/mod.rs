//! The objects of an engine in another process, as objects of this one.
//!
//! A [`Peer`] is one side of a connection between two engines; both sides are the same code. What the other engine
//! exports is opened here through a [`RemoteDevice`], and each of its file objects stands here as a [`RemoteFile`],
//! which sends every request over and completes it when the answer comes. In the other direction `serve` takes the
//! requests of the other engine, looks the file object up under the number that this side exported it by, and
//! dispatches them into the local engine under a client of its own.
//!
//! The journey of a request, one file a step: `file` (a request leaves), `pending` (it waits here), `crew` (the other
//! side's thread takes it), `serve` (it is dispatched there, and its completion is sent), `crew` (the answer arrives),
//! `file` (the request completes here). `memory` knows which frames both sides have mapped, `export` which file objects
//! have a number, `event` which events, `incoming` which requests run, `looped` what looped pins share, `stamp` when a frame began its way.
//!
//! When the other process ends or breaks the protocol, everything that waits for it completes with
//! STATUS_DEVICE_REMOVED, its devices go, and memory that it could write is quarantined.

mod crew;
mod device;
mod event;
mod export;
mod file;
mod incoming;
mod looped;
mod memory;
mod peer;
mod pending;
mod refusal;
mod serve;
mod stamp;

pub use device::RemoteDevice;
pub use file::RemoteFile;
pub use peer::{Belief, Death, Exports, Handler, Peer, PeerOptions};
