//! Lists of items that say their own size and count.
#![no_main]

#[global_allocator]
static COUNTING: ks_mem::CountingAllocator = ks_mem::CountingAllocator;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ks_testkit::fuzz::multiple_items(data));
