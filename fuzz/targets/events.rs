//! Events of a filter and its nodes: enabled, raised, queried and disabled in any order.
#![no_main]

#[global_allocator]
static COUNTING: ks_mem::CountingAllocator = ks_mem::CountingAllocator;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ks_testkit::fuzz::events(data));
