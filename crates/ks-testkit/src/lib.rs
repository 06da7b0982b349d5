//! What tests, fuzz targets and benchmarks of several crates share. Development only.
#![forbid(unsafe_code)]

pub mod answering;
#[cfg(feature = "bench")]
pub mod bench;
pub mod fuzz;
pub mod probe;
pub mod scene;

#[cfg(test)]
#[global_allocator]
static COUNTING: ks_mem::CountingAllocator = ks_mem::CountingAllocator;
