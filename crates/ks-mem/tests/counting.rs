//! The counting allocator, as the allocator of this program.
#![cfg(feature = "counting")]

use ks_mem::{Allocations, CountingAllocator, peak_of_this_thread};

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

#[test]
fn the_most_that_was_held_at_once_is_told() {
    let hold = |bytes| std::hint::black_box(vec![1u8; bytes]);
    let (kept, peak) = peak_of_this_thread(|| {
        let kept = hold(1000);
        drop(hold(5000));
        drop(hold(3000));
        kept
    });
    assert_eq!((kept.len(), peak), (1000, 6000));
    drop(kept);
    let ((_, inner), outer) = peak_of_this_thread(|| {
        drop(hold(9000));
        peak_of_this_thread(|| drop(hold(10)))
    });
    assert_eq!((inner, outer), (10, 9000), "one inside another");
}
