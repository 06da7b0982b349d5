//! What tests, fuzz targets and benchmarks of several crates share. Development only.
#![forbid(unsafe_code)]

pub mod bench;
pub mod fuzz;
