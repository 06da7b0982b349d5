//! Minidrivers that break rules, in virtual time: in a program of their own, because some of them keep what is counted.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, reason = "tests")]

mod device;
mod endless;
mod misbehaving;
mod pended;
#[path = "../stream/rig.rs"]
mod rig;
mod verifier;
