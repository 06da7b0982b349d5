//! The Kernel Streaming class driver: the low-level routines, and AVStream over them.
#![forbid(unsafe_code)]
