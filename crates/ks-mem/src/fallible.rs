//! Allocations that may fail: whoever makes one says so here, and copes.

/// Runs an allocation whose failure the caller copes with: a `try_reserve`, or a call of the allocator. Every allocation
/// whose size a client, a peer or a driver chooses is made so; the others are small and end the process when they fail,
/// as Rust's do.
///
/// It only marks: the `faults` feature, which a test turns on, lets one marked allocation after the other fail.
///
/// ```
/// let mut copy = Vec::new();
/// ks_mem::fallible(|| copy.try_reserve_exact(5)).expect("five bytes are there");
/// copy.extend_from_slice(b"frame");
/// ```
#[inline(always)]
#[cfg_attr(feature = "faults", track_caller)]
pub fn fallible<R>(allocate: impl FnOnce() -> R) -> R {
    #[cfg(feature = "faults")]
    let _marked = crate::faults::mark(std::panic::Location::caller());
    allocate()
}
