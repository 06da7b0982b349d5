//! Repository checks, tests, benchmarks and fuzzing.
fn main() {}
