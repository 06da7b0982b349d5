//! Two engines that reach one another's objects: in one process over a socket pair, and in two processes.

mod hostile;
mod rig;
mod streaming;
mod two_processes;
