//! Requests of a client that means harm: structures cut off at each byte and with every size and count at its limits,
//! objects of the wrong kind, and random requests in random order. Each must fail or be harmless, and none may allocate
//! more than it carries and 64 KiB.

#![allow(missing_docs, unreachable_pub, reason = "the modules of one test program")]

mod creates;
mod crowd;
mod matrix;
mod random;
mod streams;
mod structures;
#[path = "../support/mod.rs"]
mod support;

use ks_abi::{Guid, KSPROPERTY_TYPE_SET};
use ks_mem::{CountingAllocator, peak_of_this_thread};
use support::specimen::property;
use zerocopy::IntoBytes;

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

/// A word of a structure: offset and bytes.
pub type Word = (usize, usize);

/// The values that a word is given, besides its own.
pub fn hostile_values(own: u64, bytes: usize) -> Vec<u64> {
    let limit = if bytes == 8 { u64::MAX } else { u64::from(u32::MAX) };
    let half = limit / 2;
    let values = [
        0,
        1,
        7,
        8,
        own.wrapping_sub(1),
        own.wrapping_add(1),
        own.wrapping_mul(2),
        half,
        half + 1,
        limit - 7,
        limit - 8,
        limit - 1,
        limit,
        0x0555_5556,
        0x0492_4925,
        0x1FFF_FFFF,
        0xFFFF_FFF8,
    ];
    let mut values: Vec<u64> = values.into_iter().map(|value| value & limit).filter(|value| *value != own).collect();
    values.sort_unstable();
    values.dedup();
    values
}

pub fn word(bytes: &[u8], (offset, size): Word) -> u64 {
    let mut value = [0; 8];
    value[..size].copy_from_slice(&bytes[offset..offset + size]);
    u64::from_le_bytes(value)
}

pub fn with_word(bytes: &[u8], (offset, size): Word, value: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
    bytes
}

pub fn bytes_of<T: IntoBytes + zerocopy::Immutable>(value: &T) -> Vec<u8> {
    value.as_bytes().to_vec()
}

pub fn set_request(set: Guid, id: u32) -> Vec<u8> {
    bytes_of(&property(set, id, KSPROPERTY_TYPE_SET))
}
