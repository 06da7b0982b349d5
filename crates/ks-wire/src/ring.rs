//! A ring of records for one producer and one consumer in two processes.
//!
//! Each side keeps its own index in private memory and publishes a copy; the other side's copy is read once a step and
//! checked. A record is its length and its bytes, each rounded up to four bytes.

use crate::WireError;
use crate::patience::OtherSide;
use ks_mem::SharedMemory;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of one ring's data.
const CAPACITY: u32 = 64 << 10;
/// The longest record that goes through a ring: a few of them fit at once.
pub(crate) const MOST_RECORD: usize = 16 << 10;
/// Bytes of a ring's header.
const HEADER_BYTES: usize = 256;
/// Bytes of the memory of both rings.
pub(crate) const MEMORY_BYTES: usize = 2 * (HEADER_BYTES + CAPACITY as usize);

// Words of a ring's header, each in a cache line of its own.
/// The producer's index.
const TAIL: usize = 0;
/// The consumer's index.
const HEAD: usize = 64;
/// Where the consumer sleeps: one of the values below.
const ASLEEP: usize = 128;
/// 1 while a thread naps on this word.
const NAP: usize = ASLEEP + 4;
/// 1 while the producer waits for room.
const STARVED: usize = 192;

// Values of `ASLEEP`.
const AWAKE: u32 = 0;
/// A thread sleeps on `ASLEEP` itself, and the consumer lies beside it: whoever takes it need not wake the thread.
const DOZES: u32 = 1;
/// The thread that has the consumer sleeps on `NAP`.
const NAPS: u32 = 2;

/// Where one ring stands in the memory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    memory: Arc<SharedMemory>,
    header: usize,
    /// Whether the last record had to wake the consumer. Only this process sets and sees it.
    woke: Arc<AtomicBool>,
}

impl Place {
    /// The two rings; the first is the one from the side that made the memory.
    pub(crate) fn both(memory: &Arc<SharedMemory>) -> [Place; 2] {
        [0, HEADER_BYTES + CAPACITY as usize].map(|header| Place {
            memory: memory.clone(),
            header,
            woke: Arc::default(),
        })
    }

    fn load(&self, word: usize) -> u32 {
        self.memory.load_ordered_u32(self.header + word)
    }

    fn store(&self, word: usize, value: u32) {
        self.memory.store_ordered_u32(self.header + word, value);
    }

    /// Wakes the consumer if it sleeps; true when it did.
    pub(crate) fn wake_consumer(&self) -> bool {
        // A plain look first: most of the time it is awake, and the exchange would take its cache line away.
        if self.load(ASLEEP) == AWAKE {
            return false;
        }
        match self.memory.swap_u32(self.header + ASLEEP, AWAKE) {
            AWAKE => return false,
            NAPS => self.wake_napping(),
            _ => self.wake_dozing(),
        }
        true
    }

    fn wake_napping(&self) {
        self.store(NAP, 0);
        self.memory.wake(self.header + NAP);
    }

    /// Wakes whoever may sleep, whatever the marks say: the other side can write them.
    pub(crate) fn wake_all(&self) {
        self.store(ASLEEP, AWAKE);
        self.wake_dozing();
        self.wake_napping();
    }

    /// Wakes the thread that dozes, whatever the mark says.
    pub(crate) fn wake_dozing(&self) {
        self.memory.wake(self.header + ASLEEP);
    }

    /// Sleeps while the mark says that a thread does, or less long. Another thread may have the consumer meanwhile.
    pub(crate) fn doze(&self) {
        self.memory.wait(self.header + ASLEEP, DOZES);
    }

    fn copy(&self, index: u32, mut each: impl FnMut(&SharedMemory, usize, std::ops::Range<usize>), bytes: usize) {
        let at = (index % CAPACITY) as usize;
        let data = self.header + HEADER_BYTES;
        let first = bytes.min(CAPACITY as usize - at);
        each(&self.memory, data + at, 0..first);
        if first < bytes {
            each(&self.memory, data, first..bytes);
        }
    }

    fn write(&self, index: u32, from: &[u8]) {
        self.copy(index, |memory, offset, range| memory.copy_in(offset, &from[range]), from.len());
    }

    fn read(&self, index: u32, into: &mut [u8]) {
        let bytes = into.len();
        self.copy(index, |memory, offset, range| memory.copy_out(offset, &mut into[range]), bytes);
    }
}

/// Bytes that a record takes.
fn room_of(bytes: usize) -> u32 {
    4 + (bytes as u32).next_multiple_of(4)
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer {
    place: Place,
    tail: u32,
}

impl Producer {
    pub(crate) fn new(place: Place) -> Producer {
        Producer { place, tail: 0 }
    }

    /// Whether a record of this length fits. If not, the consumer will wake this side when there is more room.
    pub(crate) fn has_room(&mut self, bytes: usize) -> Result<bool, WireError> {
        let needed = room_of(bytes);
        if self.free()? >= needed {
            return Ok(true);
        }
        self.place.store(STARVED, 1);
        // It may have read in between, and not have seen the mark.
        if self.free()? < needed {
            return Ok(false);
        }
        self.place.store(STARVED, 0);
        Ok(true)
    }

    /// Puts a record in, at most [`MOST_RECORD`] bytes, and wakes the consumer if it sleeps. False: there is no room,
    /// see [`Producer::has_room`].
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<bool, WireError> {
        if !self.has_room(record.len())? {
            return Ok(false);
        }
        let needed = room_of(record.len());
        self.place.write(self.tail, &(record.len() as u32).to_le_bytes());
        self.place.write(self.tail.wrapping_add(4), record);
        self.tail = self.tail.wrapping_add(needed);
        self.place.store(TAIL, self.tail);
        let woke = self.place.wake_consumer();
        // Relaxed: it only advises.
        self.place.woke.store(woke, Ordering::Relaxed);
        Ok(true)
    }

    fn free(&self) -> Result<u32, WireError> {
        let used = self.tail.wrapping_sub(self.place.load(HEAD));
        CAPACITY.checked_sub(used).ok_or(WireError::RingIndex { used, capacity: CAPACITY })
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer {
    place: Place,
    /// The ring of the other direction, whose consumer is this ring's producer.
    back: Place,
    head: u32,
}

impl Consumer {
    pub(crate) fn new(place: Place, back: Place) -> Consumer {
        Consumer { place, back, head: 0 }
    }

    /// Copies the next record out; false when there is none.
    pub(crate) fn pop(&mut self, into: &mut Vec<u8>) -> Result<bool, WireError> {
        let there = self.place.load(TAIL).wrapping_sub(self.head);
        if there == 0 {
            return Ok(false);
        }
        if there > CAPACITY {
            return Err(WireError::RingIndex { used: there, capacity: CAPACITY });
        }
        let mut length = [0; 4];
        if there < 4 {
            return Err(WireError::RecordLength { bytes: 0, there });
        }
        self.place.read(self.head, &mut length);
        let bytes = u32::from_le_bytes(length);
        if bytes as usize > MOST_RECORD || room_of(bytes as usize) > there {
            return Err(WireError::RecordLength { bytes, there });
        }
        into.clear();
        into.resize(bytes as usize, 0);
        self.place.read(self.head.wrapping_add(4), into);
        self.head = self.head.wrapping_add(room_of(bytes as usize));
        self.place.store(HEAD, self.head);
        if self.place.load(STARVED) != 0 {
            self.place.store(STARVED, 0);
            self.back.wake_consumer();
        }
        Ok(true)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.place.load(TAIL) == self.head
    }

    /// Sleeps until a record is there, or somebody woke the consumer, or for no reason. `awake` is asked once more when
    /// the mark of the sleeper stands.
    pub(crate) fn nap(&self, awake: impl FnOnce() -> bool) {
        self.place.store(NAP, 1);
        self.place.store(ASLEEP, NAPS);
        if self.is_empty() && !awake() {
            self.place.memory.wait(self.place.header + NAP, 1);
        }
        self.rouse();
    }

    /// Sets the mark of a thread that is about to [`Place::doze`], or that does so already; false, and no mark, when
    /// there is a record, or `awake` says that there is something else to do.
    pub(crate) fn may_doze(&self, awake: impl FnOnce() -> bool) -> bool {
        self.place.store(ASLEEP, DOZES);
        let may = self.is_empty() && !awake();
        if !may {
            self.rouse();
        }
        may
    }

    /// Takes the mark away, if nobody else has.
    pub(crate) fn rouse(&self) {
        if self.place.load(ASLEEP) != AWAKE {
            self.place.store(ASLEEP, AWAKE);
        }
    }

    /// How the consumer of the other side, which reads what this side sends, was found.
    pub(crate) fn other_side(&self) -> OtherSide {
        if self.back.load(ASLEEP) != AWAKE {
            OtherSide::Asleep
        } else if self.back.woke.load(Ordering::Relaxed) {
            OtherSide::Woken
        } else {
            OtherSide::Awake
        }
    }

    /// Where others wake this consumer.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (Producer, Consumer, Arc<SharedMemory>) {
        let memory = SharedMemory::create("test", MEMORY_BYTES).unwrap();
        let [there, back] = Place::both(&memory);
        (Producer::new(there.clone()), Consumer::new(there, back), memory)
    }

    #[test]
    fn records_of_every_length_come_out_as_they_went_in_across_the_wrap() {
        let (mut producer, mut consumer, _) = ring();
        let mut out = Vec::new();
        for round in 0..3000_usize {
            let record: Vec<u8> = (0..round * 7 % 1500).map(|at| (at + round) as u8).collect();
            assert!(producer.push(&record).unwrap());
            assert!(consumer.pop(&mut out).unwrap());
            assert_eq!(out, record);
        }
        assert!(!consumer.pop(&mut out).unwrap());
    }

    #[test]
    fn a_full_ring_takes_no_more_and_loses_nothing() {
        let (mut producer, mut consumer, _) = ring();
        let mut sent = 0_u32;
        while producer.push(&[sent as u8; 1000]).unwrap() {
            sent += 1;
        }
        assert!(sent >= 60);
        let mut out = Vec::new();
        for number in 0..sent {
            assert!(consumer.pop(&mut out).unwrap());
            assert_eq!(out, [number as u8; 1000]);
        }
        assert!(producer.push(&[1]).unwrap());
    }

    #[test]
    fn an_index_or_length_that_leaves_the_ring_is_an_error() {
        let (mut producer, mut consumer, memory) = ring();
        let mut out = Vec::new();
        for tail in [1, 2, 3] {
            memory.store_u32(TAIL, tail);
            assert_eq!(consumer.pop(&mut out), Err(WireError::RecordLength { bytes: 0, there: tail }));
        }
        for tail in [CAPACITY + 1, u32::MAX, 1 << 31] {
            memory.store_u32(TAIL, tail);
            assert_eq!(consumer.pop(&mut out), Err(WireError::RingIndex { used: tail, capacity: CAPACITY }));
        }
        memory.store_u32(TAIL, 64);
        for bytes in [61_u32, 64, MOST_RECORD as u32 + 1, CAPACITY, u32::MAX, u32::MAX - 3] {
            memory.copy_in(HEADER_BYTES, &bytes.to_le_bytes());
            assert_eq!(consumer.pop(&mut out), Err(WireError::RecordLength { bytes, there: 64 }));
        }
        memory.store_u32(HEAD, 5);
        assert_eq!(producer.push(b"x"), Err(WireError::RingIndex { used: 0_u32.wrapping_sub(5), capacity: CAPACITY }));
    }

    #[test]
    fn sleepers_whose_mark_the_other_side_took_away_are_woken_at_the_end() {
        let (_producer, consumer, memory) = ring();
        let place = consumer.place();
        for (mark, naps) in [(NAPS, true), (DOZES, false)] {
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| match naps {
                    true => consumer.nap(|| false),
                    false if consumer.may_doze(|| false) => place.doze(),
                    false => panic!("there is no record"),
                });
                while memory.load_u32(ASLEEP) != mark {
                    std::thread::yield_now();
                }
                memory.store_u32(ASLEEP, AWAKE);
                // A thread between its mark and its sleep finds neither.
                while !sleeper.is_finished() {
                    place.wake_all();
                    std::thread::yield_now();
                }
            });
        }
    }

    /// Bytes of a record that is a request and a stream header; with its length it fills a slot of the ring whole, so
    /// that every field stands at a place that an attacker knows.
    const SLOT: usize = 128;
    /// Where Set, Flags, Size, FrameExtent and DataUsed stand in a record.
    const FIELDS: [usize; 5] = [0, 20, 24, 56, 60];

    fn fields(record: &[u8]) -> [u32; FIELDS.len()] {
        FIELDS.map(|at| u32::from_le_bytes(record[at..at + 4].try_into().unwrap()))
    }

    #[test]
    fn a2_what_was_authorised_is_what_runs_while_the_page_changes() {
        const RECORDS: u32 = 1_000_000;
        let (mut producer, mut consumer, memory) = ring();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut value = 0_u32;
                while !over.load(Ordering::Relaxed) {
                    value = value.wrapping_add(0x0101_0101);
                    for slot in 0..CAPACITY as usize / SLOT {
                        for field in FIELDS {
                            memory.store_u32(HEADER_BYTES + slot * SLOT + 4 + field, value);
                        }
                    }
                }
            });
            scope.spawn(|| {
                let record = [0xEE; SLOT - 4];
                for _ in 0..RECORDS {
                    while !producer.push(&record).unwrap() {
                        std::thread::yield_now();
                    }
                }
            });
            let (mut record, mut flipped, mut mismatches) = (Vec::new(), 0, 0);
            for _ in 0..RECORDS {
                while !consumer.pop(&mut record).unwrap() {
                    std::thread::yield_now();
                }
                let authorised = fields(&record);
                flipped += u32::from(authorised != [0xEEEE_EEEE; FIELDS.len()]);
                std::hint::spin_loop();
                let ran = fields(std::hint::black_box(&record));
                mismatches += u32::from(authorised != ran);
            }
            over.store(true, Ordering::Relaxed);
            assert_eq!(mismatches, 0, "a record is read out of the ring once");
            assert!(flipped > 0, "the attacker changed no request: this shows nothing");
        });
    }

    #[test]
    fn a2_indices_and_lengths_that_change_end_in_an_error_or_a_bounded_record() {
        const ROUNDS: u32 = 200_000;
        let (mut producer, mut consumer, memory) = ring();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut state = 0x9E37_79B9_u32;
                while !over.load(Ordering::Relaxed) {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    // Small numbers are the likelier ones to be taken.
                    let value = if state & 1 == 0 { state } else { state >> 18 };
                    match state >> 30 {
                        0 => memory.store_u32(TAIL, value),
                        1 => memory.store_u32(HEAD, value),
                        _ => memory.store_u32(HEADER_BYTES + (value as usize * 4) % CAPACITY as usize, value),
                    }
                }
            });
            let (mut record, mut taken, mut refused) = (Vec::new(), 0_u32, 0_u32);
            let mut round = 0_u32;
            // On, until the attacker has had a turn of the processor.
            while round < ROUNDS || refused == 0 {
                round += 1;
                let pushed = producer.push(&[round as u8; 60]);
                let popped = consumer.pop(&mut record);
                assert!(record.len() <= MOST_RECORD);
                taken += u32::from(popped == Ok(true));
                refused += u32::from(popped.is_err()) + u32::from(pushed.is_err());
                if popped.is_err() || pushed.is_err() {
                    // The connection would have ended; the next one begins where this was.
                    (producer.tail, consumer.head) = (round, round);
                }
            }
            over.store(true, Ordering::Relaxed);
            assert!(taken > 0, "{taken} taken, {refused} refused");
        });
    }

    #[test]
    fn two_threads_pass_a_million_bytes_and_sleep_between() {
        let (mut producer, mut consumer, _) = ring();
        let reader = std::thread::spawn(move || {
            let (mut out, mut sum) = (Vec::new(), 0_u64);
            loop {
                match consumer.pop(&mut out).unwrap() {
                    true if out.is_empty() => return sum,
                    true => sum += out.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
                    false => consumer.nap(|| false),
                }
            }
        });
        let mut sum = 0;
        for round in 0..10_000_u32 {
            let record = [round as u8; 100];
            sum += u64::from(round as u8) * 100;
            while !producer.push(&record).unwrap() {
                std::thread::yield_now();
            }
        }
        while !producer.push(&[]).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(reader.join().unwrap(), sum);
    }
}
