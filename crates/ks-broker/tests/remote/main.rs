//! Two engines that reach one another's objects: in one process over a socket pair, and in two processes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod agreements;
mod answers;
mod clocks;
mod creates;
mod events;
mod formats;
mod hostile;
mod looped;
mod rig;
mod streaming;
mod two_processes;
