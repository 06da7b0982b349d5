//! Streams through the class driver, in virtual time with several seeds.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, reason = "tests")]

mod client_streams;
mod closing;
mod copies;
mod empty_frames;
mod ends;
mod external;
mod filter_centric;
mod flags;
mod foreign;
mod framing;
mod gates;
mod handshake;
mod injection;
mod latency;
mod lent;
mod life;
mod limits;
mod low_level;
mod mappings;
mod own_objects;
mod own_tables;
mod pointers;
mod power;
mod processing;
mod refusals;
mod removal;
mod reset;
mod rig;
mod seeds;
mod shares;
mod splitter;
mod timeouts;
mod trailing;
