//! The attack classes that the history of Kernel Streaming's vulnerabilities shows, as far as they exist in one process.
//! Each file is a class, and each test has its name; what must be seen is asserted, not only that nothing breaks.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "the modules of one test program")]

mod a02_double_fetch;
mod a03_kernel_notification;
mod a04_integer_overflow;
mod a05_disagreeing_sizes;
mod a06_wrong_buffer;
mod a07_stale_contents;
mod a08_foreign_address;
mod a09_type_confusion;
mod a10_use_after_close;
mod a12_alignment;
mod a13_cut_formats;
mod a14_trusted_lengths;
mod evil_memory;
#[allow(dead_code, reason = "written for another test program, too")]
#[path = "../stream/rig.rs"]
mod rig;
#[path = "../support/mod.rs"]
mod support;

use ks_mem::{CountingAllocator, peak_of_this_thread};
use zerocopy::{Immutable, IntoBytes};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

const BEYOND_INPUT_BYTES: u64 = 64 * 1024;

/// Runs a request that carries so many bytes, and checks what it held at most.
#[track_caller]
pub fn bounded<T>(carried: usize, what: &str, request: impl FnOnce() -> T) -> T {
    let (result, peak) = peak_of_this_thread(request);
    let allowed = carried as u64 + BEYOND_INPUT_BYTES;
    assert!(peak <= allowed, "{what}: {peak} bytes held, {allowed} allowed");
    result
}

pub fn bytes_of<T: IntoBytes + Immutable>(value: &T) -> Vec<u8> {
    value.as_bytes().to_vec()
}

/// The bytes with those at `offset` replaced.
pub fn with(bytes: &[u8], offset: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset..offset + new.len()].copy_from_slice(new);
    bytes
}
