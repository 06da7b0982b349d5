//! How much one request may allocate: as much as it carries, and 64 KiB.
//!
//! It counts only in a program whose allocator is [`ks_mem::CountingAllocator`]: the fuzz targets and this crate's tests.

use ks_mem::Allocations;

const BEYOND_INPUT_BYTES: u64 = 64 * 1024;

/// What the calling thread had allocated before a request.
pub(super) struct Allowance {
    before: Allocations,
    bytes: u64,
}

impl Allowance {
    pub(super) fn start(carried_bytes: usize) -> Self {
        Self { before: Allocations::of_this_thread(), bytes: carried_bytes as u64 + BEYOND_INPUT_BYTES }
    }

    /// Fails when the request allocated more, freed or not.
    pub(super) fn check(&self) {
        let spent = Allocations::of_this_thread().since(self.before).bytes;
        assert!(spent <= self.bytes, "a request allocated {spent} bytes, {} are allowed", self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a request allocated")]
    fn more_than_the_allowance_is_noticed() {
        let allowed = Allowance::start(10);
        drop(std::hint::black_box(vec![1_u8; 66_000]));
        allowed.check();
    }
}
