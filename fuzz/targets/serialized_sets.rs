//! Serialized property sets.
#![no_main]

#[global_allocator]
static COUNTING: ks_mem::CountingAllocator = ks_mem::CountingAllocator;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ks_testkit::fuzz::serialized_sets(data));
