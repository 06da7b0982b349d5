//! The counting allocator, as the allocator of this program.
#![cfg(feature = "counting")]

use ks_mem::{Allocations, CountingAllocator};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

#[test]
fn each_allocation_of_a_thread_is_counted_with_its_bytes() {
    let before = Allocations::of_this_thread();
    let memory: Vec<u8> = std::hint::black_box(Vec::with_capacity(1000));
    let after = Allocations::of_this_thread();
    drop(memory);
    assert_eq!(after.since(before), Allocations { count: 1, bytes: 1000 });
    assert_eq!(Allocations::of_this_thread(), after);
    assert!(Allocations::of_the_process().bytes >= 1000);
}
