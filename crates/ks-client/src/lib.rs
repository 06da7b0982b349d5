//! The Kernel Streaming client library: filters, pins, typed properties, streams and the graph builder.
#![forbid(unsafe_code)]

pub mod graph;
