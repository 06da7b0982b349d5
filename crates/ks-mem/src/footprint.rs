//! Memory that somebody is about to touch, told to the processor before he does.

#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::mem::size_of_val;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

const LINE_BYTES: u64 = 64;
/// Places that one footprint has room for: those of a pin and of one behind it.
const SPANS: usize = 24;
/// Lines that one place can have, the first included. The number of the first stands in the upper bits of a word, and one
/// bit below for each of the others.
const MOST_LINES: u64 = 23;
const OTHERS: u32 = 22;

/// Where the memory lies that a piece of work touches, as it was the last time, so that it can be fetched into the cache
/// before the work runs again.
///
/// Of a thousand streams whose turns come every few milliseconds none has its memory in the cache, and each of its objects
/// is found through the one before: a turn would wait for memory dozens of times in a row. Fetched by address they are waited
/// for together. The addresses are hints: one whose object is gone costs a fetch for nothing.
pub struct Footprint {
    /// 0: no more.
    spans: [AtomicU64; SPANS],
}

impl Default for Footprint {
    fn default() -> Self {
        Self { spans: [const { AtomicU64::new(0) }; SPANS] }
    }
}

impl std::fmt::Debug for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Footprint").field("lines", &self.lines()).finish_non_exhaustive()
    }
}

impl Footprint {
    /// Replaces what it holds by what is named until the result is dropped.
    #[inline]
    pub fn learn(&self) -> Learning<'_> {
        Learning { footprint: self, next: 0 }
    }

    /// Asks for all of it, and waits for nothing.
    #[inline]
    pub fn fetch(&self) {
        for span in &self.spans {
            let span = span.load(Ordering::Relaxed);
            if span == 0 {
                return;
            }
            let first = (span >> OTHERS) * LINE_BYTES;
            fetch_line(first);
            let mut others = span & ((1 << OTHERS) - 1);
            while others != 0 {
                fetch_line(first.wrapping_add((u64::from(others.trailing_zeros()) + 1) * LINE_BYTES));
                others &= others - 1;
            }
        }
    }

    /// How many cache lines it asks for.
    pub fn lines(&self) -> u32 {
        let spans = self.spans.iter().map(|span| span.load(Ordering::Relaxed)).take_while(|span| *span != 0);
        spans.map(|span| 1 + (span & ((1 << OTHERS) - 1)).count_ones()).sum()
    }
}

/// A part of an object, by its lines: the first, and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part(u64, u64);

impl Part {
    /// An object or a field of one, without what it refers to.
    #[inline]
    pub fn of<T: ?Sized>(object: &T) -> Part {
        Part::bytes(ptr::from_ref(object).addr() as u64, size_of_val(object))
    }

    /// The counts of references to a shared object, which lie before it.
    #[inline]
    pub fn counts<T>(object: &T) -> Part {
        const COUNTS: usize = 2 * size_of::<usize>();
        Part::bytes((ptr::from_ref(object).addr() as u64).saturating_sub(COUNTS as u64), COUNTS)
    }

    /// Bytes from an address on; none are as one.
    #[inline]
    pub fn bytes(address: u64, bytes: usize) -> Part {
        Part(address / LINE_BYTES, address.saturating_add((bytes as u64).saturating_sub(1)) / LINE_BYTES)
    }
}

/// Notes what a piece of work has touched, see [`Footprint::learn`]. What there is no room for is left out, and so the first
/// to be touched is named first.
#[derive(Debug)]
pub struct Learning<'a> {
    footprint: &'a Footprint,
    next: usize,
}

impl Learning<'_> {
    /// An object, without what it refers to.
    #[inline]
    pub fn object<T: ?Sized>(&mut self, object: &T) {
        self.parts(&[Part::of(object)]);
    }

    /// Bytes from an address on.
    #[inline]
    pub fn bytes(&mut self, address: u64, bytes: usize) {
        self.parts(&[Part::bytes(address, bytes)]);
    }

    /// Parts of one object.
    #[inline]
    pub fn parts(&mut self, parts: &[Part]) {
        let Some(first) = parts.iter().map(|part| part.0).min() else { return };
        let below = |bits: u64| (1_u64 << bits.min(MOST_LINES)) - 1;
        let lines = parts.iter().fold(0, |lines, part| lines | below(part.1 - first + 1) & !below(part.0 - first));
        if let Some(span) = self.footprint.spans.get(self.next) {
            // The first line is there in any case.
            span.store(first << OTHERS | lines >> 1, Ordering::Relaxed);
            self.next += 1;
        }
    }
}

impl Drop for Learning<'_> {
    fn drop(&mut self) {
        if let Some(behind) = self.footprint.spans.get(self.next) {
            behind.store(0, Ordering::Relaxed);
        }
    }
}

/// Asks for an object, without what it refers to.
#[inline]
pub fn fetch<T: ?Sized>(object: &T) {
    let Part(first, last) = Part::of(object);
    (first..=last.min(first + MOST_LINES)).for_each(|line| fetch_line(line * LINE_BYTES));
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch_line(address: u64) {
    // For writing, which most of it is; a processor without that hint does nothing.
    // SAFETY: a prefetch is a hint. It changes nothing that the program sees and faults at no address.
    unsafe { asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Where there is no such instruction the work waits for its memory.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn fetch_line(_address: u64) {}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_footprint_asks_for_every_line_of_what_was_named() {
        let footprint = Footprint::default();
        assert_eq!(footprint.lines(), 0);
        let mut learning = footprint.learn();
        learning.bytes(0x1_0000, 64);
        learning.bytes(0x2_003F, 2);
        learning.bytes(0x4_0001, 64 * 64 * 2);
        learning.parts(&[Part::bytes(0x5_0100, 65), Part::bytes(0x5_0010, 8), Part::bytes(0x5_0020, 1)]);
        drop(learning);
        let spans: Vec<u64> = footprint.spans.iter().map(|span| span.load(Ordering::Relaxed)).collect();
        let line = |address: u64| (address / 64) << 22;
        // Of the last the line at 0x5_0000 is the first, and lines 4 and 5 stand at bits 3 and 4.
        assert_eq!(spans[..3], [line(0x1_0000), line(0x2_0000) | 1, line(0x4_0000) | 0x3F_FFFF]);
        assert_eq!(spans[3..5], [line(0x5_0000) | 0b1_1000, 0]);
        assert_eq!(footprint.lines(), 1 + 2 + 23 + 3);
        footprint.fetch();
    }

    #[test]
    fn what_is_learned_replaces_what_was_known_and_what_is_too_much_is_left_out() {
        let footprint = Footprint::default();
        let mut learning = footprint.learn();
        (1..100).for_each(|at| learning.bytes(at << 12, 1));
        drop(learning);
        assert_eq!(footprint.lines(), SPANS as u32);
        footprint.learn().object(&0_u64);
        assert_eq!(footprint.lines(), 1);
        drop(footprint.learn());
        assert_eq!(footprint.lines(), 0);
    }

    #[test]
    fn an_address_that_is_nobodys_may_be_asked_for() {
        let footprint = Footprint::default();
        let mut learning = footprint.learn();
        learning.bytes(0xFFFF_8000_0000_0000, 4096);
        learning.bytes(u64::MAX, 64);
        learning.bytes(8, 0);
        learning.parts(&[Part::bytes(64, 1), Part::bytes(u64::MAX, 1)]);
        learning.parts(&[]);
        drop(learning);
        footprint.fetch();
        fetch::<[u8]>(&[]);
        fetch(&[0_u8; 3000]);
    }

    #[test]
    fn the_counts_of_a_shared_object_lie_before_it() {
        let shared = Arc::new([0_u64; 32]);
        let counts = Part::counts(&*shared);
        let start = ptr::from_ref(&*shared).addr() as u64;
        assert_eq!((counts.0, counts.1), ((start - 16) / 64, (start - 1) / 64));
    }
}
