//! How graphs conduct themselves: formats that change in the stream, flushes along the topology, quality and rate, states
//! of long pipes, and filters that grow. In virtual time, with seeds.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, reason = "tests")]

mod codec;
mod formats;
mod growing;
mod kit;
mod quality;
mod rate;
mod reset;
mod states;
mod written_formats;
