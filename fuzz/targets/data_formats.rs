//! Data formats and lists of data ranges.
#![no_main]

#[global_allocator]
static COUNTING: ks_mem::CountingAllocator = ks_mem::CountingAllocator;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ks_testkit::fuzz::data_formats(data));
