//! The I/O manager: objects, handles, IRPs, cancellation, completion, work, time and waiting.
#![forbid(unsafe_code)]
