//! Where images lie, for the fault handler: a table that is read without a lock or an allocation.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many images a process can host.
pub(crate) const MOST_IMAGES: usize = 64;

const NAME_BYTES: usize = 64;

/// A place for an image; free while `end` is 0.
struct Slot {
    start: AtomicU64,
    // Written last (release) and read first (acquire): what it covers is whole.
    end: AtomicU64,
    name: [AtomicU64; NAME_BYTES / 8],
}

static SLOTS: [Slot; MOST_IMAGES] = [const {
    Slot { start: AtomicU64::new(0), end: AtomicU64::new(0), name: [const { AtomicU64::new(0) }; NAME_BYTES / 8] }
}; MOST_IMAGES];

/// Marks a slot whose owner has not written it yet.
const TAKEN: u64 = 1;

/// A line of the table, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Registration(usize);

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(slot) = SLOTS.get(self.0) {
            slot.end.store(0, Ordering::Release);
        }
    }
}

/// Adds an image, unless the table is full.
pub(crate) fn register(range: Range<u64>, name: &str) -> Option<Registration> {
    let take = |slot: &Slot| slot.end.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok();
    let (index, slot) = SLOTS.iter().enumerate().find(|(_, slot)| take(slot))?;
    let mut text = [0_u8; NAME_BYTES];
    for (place, byte) in text.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    for (place, word) in slot.name.iter().zip(text.as_chunks::<8>().0) {
        place.store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
    slot.start.store(range.start, Ordering::Relaxed);
    slot.end.store(range.end, Ordering::Release);
    Some(Registration(index))
}

/// The image around an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) name: [u8; NAME_BYTES],
}

/// Looks an address up. Safe to call in a signal handler.
pub(crate) fn find(address: u64) -> Option<Found> {
    let covers =
        |slot: &&Slot| address < slot.end.load(Ordering::Acquire) && address >= slot.start.load(Ordering::Relaxed);
    let slot = SLOTS.iter().find(covers)?;
    let mut name = [0; NAME_BYTES];
    for (place, word) in name.as_chunks_mut::<8>().0.iter_mut().zip(&slot.name) {
        *place = word.load(Ordering::Relaxed).to_le_bytes();
    }
    Some(Found { offset: address - slot.start.load(Ordering::Relaxed), name })
}
