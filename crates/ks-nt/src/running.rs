//! Which routines of drivers run, on which threads: what a watchdog asks, because no request may wait for them.
//!
//! A call only counts a number up. How long it lasts is measured by whoever asks, in processor time of the thread: a
//! routine that waits takes none, and may wait for as long as it likes, but for a process callback, whose stream stands
//! meanwhile: that begins a wait without end by saying since when. No clock is read for a call.

use crate::ntoskrnl::clock;
use crate::report::{self, InHand};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Threads that are watched; more run unwatched.
const THREADS: usize = 256;

/// One thread that calls drivers.
struct Slot {
    /// The system's number of the thread; 0 while the slot is free.
    thread: AtomicU64,
    /// Another with each call and return; odd while a routine runs.
    turn: AtomicU64,
    /// The routine is a work item: that may wait, and nothing waits for it that it would have to be named for.
    is_work_item: AtomicBool,
    /// Since when a process callback waits without end, in 100-ns units; 0: it does not.
    waits_since: AtomicI64,
}

static SLOTS: [Slot; THREADS] = [const {
    Slot {
        thread: AtomicU64::new(0),
        turn: AtomicU64::new(0),
        is_work_item: AtomicBool::new(false),
        waits_since: AtomicI64::new(0),
    }
}; THREADS];

/// Names of the callbacks that may not wait without end.
pub(crate) const PIN_PROCESS: &str = "pin Process";
pub(crate) const FILTER_PROCESS: &str = "filter Process";

/// The slot of a thread, until the thread ends.
struct Mine(Cell<Option<&'static Slot>>);

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(slot) = self.0.get() {
            slot.turn.store(0, Ordering::Relaxed);
            slot.waits_since.store(0, Ordering::Relaxed);
            slot.thread.store(0, Ordering::Release);
        }
    }
}

thread_local! {
    static MINE: Mine = const { Mine(Cell::new(None)) };
}

impl Mine {
    fn slot(&self) -> Option<&'static Slot> {
        if self.0.get().is_none() {
            let me = crate::report::system_thread();
            let take = |slot: &&Slot| slot.thread.compare_exchange(0, me, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            self.0.set(SLOTS.iter().find(take));
        }
        self.0.get()
    }
}

/// A routine of a driver runs on this thread until this is dropped.
pub(crate) struct Running(Option<(&'static Slot, u64, bool)>);

/// What kind of routine it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody waits for it, or it is to return soon.
    Awaited,
    WorkItem,
}

impl Running {
    pub(crate) fn begin(kind: Kind) -> Running {
        let slot = MINE.try_with(Mine::slot).ok().flatten();
        Running(slot.map(|slot| {
            let before = slot.is_work_item.load(Ordering::Relaxed);
            slot.is_work_item.store(kind == Kind::WorkItem, Ordering::Relaxed);
            (slot, slot.next(1), before)
        }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Back in the routine that called the one that returned, if there is one.
        if let Some((slot, before, was_work_item)) = self.0 {
            slot.is_work_item.store(was_work_item, Ordering::Relaxed);
            slot.next(before & 1);
        }
    }
}

/// The calling thread waits, and nothing but what it waits for will end that, until this is dropped.
pub(crate) struct EndlessWait(Option<&'static Slot>);

impl EndlessWait {
    pub(crate) fn begin() -> EndlessWait {
        let processes = |in_hand: InHand| [PIN_PROCESS, FILTER_PROCESS].contains(&in_hand.routine);
        if !report::in_hand().is_some_and(processes) {
            return EndlessWait(None);
        }
        let slot = MINE.try_with(Mine::slot).ok().flatten();
        if let Some(slot) = slot {
            slot.waits_since.store(clock::machine_time().max(1), Ordering::Relaxed);
        }
        EndlessWait(slot)
    }
}

impl Drop for EndlessWait {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.waits_since.store(0, Ordering::Relaxed);
        }
    }
}

impl Slot {
    /// Only the thread itself writes; who reads needs no order with anything else. Returns the turn before.
    fn next(&self, runs: u64) -> u64 {
        let before = self.turn.load(Ordering::Relaxed);
        self.turn.store((before & !1).wrapping_add(2) | runs, Ordering::Relaxed);
        before
    }
}

/// What was seen of a slot when it was last looked at.
#[derive(Clone, Copy)]
struct Seen {
    thread: u64,
    turn: u64,
    /// Processor time of the thread when this turn was first seen.
    time_ns: u64,
    /// When that was, in 100-ns units.
    since: i64,
}

static SEEN: Mutex<[Seen; THREADS]> = Mutex::new([Seen { thread: 0, turn: 0, time_ns: 0, since: 0 }; THREADS]);

/// A call that has not returned.
struct Unreturned {
    thread: u64,
    /// Processor time that it has taken.
    processor_ms: u64,
    /// For how long it has been waiting without end where it may not.
    waits_ms: u64,
    /// For how long it has been known.
    known_ms: i64,
    is_work_item: bool,
}

impl Unreturned {
    fn lasts_ms(&self) -> u64 {
        self.processor_ms.max(self.waits_ms)
    }
}

/// The most processor time, in milliseconds, that one call of a routine has taken since it was first seen here and has
/// not returned, or that a process callback has been waiting without end; `None` when all have returned. To be asked again
/// and again.
pub fn longest_ms() -> Option<u64> {
    unreturned().iter().map(Unreturned::lasts_ms).max()
}

/// The thread whose call of a routine is the likeliest never to return: the one that has taken the most processor time,
/// or, where none has taken any, the one that was seen first by [`longest_ms`]. A work item that waits is none: if nothing
/// else runs, a request is with the driver, which has returned from all of its routines.
pub fn endless_thread() -> Option<u64> {
    /// Less is the noise of waking up.
    const LASTS_MS: u64 = 100;
    let worst = |call: &Unreturned| (call.lasts_ms() / LASTS_MS, call.known_ms);
    let calls = unreturned();
    let suspects = calls.iter().filter(|call| !call.is_work_item || call.lasts_ms() >= LASTS_MS);
    suspects.max_by_key(|call| worst(call)).map(|call| call.thread)
}

/// The thread in a routine that has taken the most processor time of all in its life. Safe in a signal handler.
pub(crate) fn busiest_thread() -> Option<u64> {
    let running = SLOTS.iter().filter(|slot| slot.turn.load(Ordering::Relaxed) & 1 == 1);
    let threads = running.map(|slot| slot.thread.load(Ordering::Acquire)).filter(|thread| *thread != 0);
    threads.filter_map(|thread| Some((processor_time_ns(thread)?, thread))).max().map(|(_, thread)| thread)
}

fn unreturned() -> Vec<Unreturned> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = clock::machine_time();
    let mut calls = Vec::new();
    for (slot, seen) in SLOTS.iter().zip(seen.iter_mut()) {
        let (thread, turn) = (slot.thread.load(Ordering::Acquire), slot.turn.load(Ordering::Relaxed));
        if thread == 0 || turn & 1 == 0 {
            continue;
        }
        let Some(time_ns) = processor_time_ns(thread) else { continue };
        if (seen.thread, seen.turn) != (thread, turn) {
            *seen = Seen { thread, turn, time_ns, since: now };
        }
        calls.push(Unreturned {
            thread,
            processor_ms: time_ns.saturating_sub(seen.time_ns) / 1_000_000,
            waits_ms: match slot.waits_since.load(Ordering::Relaxed) {
                0 => 0,
                since => now.saturating_sub(since).max(0).unsigned_abs() / 10_000,
            },
            known_ms: now.saturating_sub(seen.since) / 10_000,
            is_work_item: slot.is_work_item.load(Ordering::Relaxed),
        });
    }
    calls
}

/// Processor time that a thread of this process has taken; `None` when there is no such thread.
pub(crate) fn processor_time_ns(thread: u64) -> Option<u64> {
    /// The clock of one thread, by its number.
    const PER_THREAD_SCHEDULED: i32 = 4 | 2;
    let clock = !i32::try_from(thread).ok()? << 3 | PER_THREAD_SCHEDULED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec; a clock that does not exist is refused.
    let outcome = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (outcome == 0).then_some(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Call;
    use std::sync::atomic::AtomicBool;

    /// The time of the calling thread's slot: other tests have slots too.
    fn seen_of(thread: u64) -> Option<u64> {
        longest_ms();
        let seen = SEEN.lock().unwrap();
        let at = SLOTS.iter().position(|slot| slot.thread.load(Ordering::Acquire) == thread)?;
        (SLOTS[at].turn.load(Ordering::Relaxed) & 1 == 1 && seen[at].thread == thread).then(|| seen[at].turn)
    }

    #[test]
    fn a_call_is_seen_until_it_returns_and_a_nested_one_is_another_turn() {
        std::thread::spawn(|| {
            let me = crate::report::system_thread();
            assert_eq!(seen_of(me), None);
            let outer = Call::unnoted("outer");
            let first = seen_of(me).expect("it runs");
            assert_eq!(seen_of(me), Some(first));
            drop(Call::unnoted("inner"));
            assert!(seen_of(me).is_some_and(|turn| turn != first), "the outer one goes on");
            drop(outer);
            assert_eq!(seen_of(me), None);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_routine_that_computes_is_told_and_one_that_waits_is_not() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let computing = std::thread::spawn(|| {
            let _call = Call::unnoted("computing");
            while !STOP.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        while longest_ms().is_none_or(|ms| ms < 200) {
            std::thread::yield_now();
        }
        let thread = endless_thread().expect("it runs");
        assert_ne!(thread, crate::report::system_thread());
        assert!(processor_time_ns(thread).is_some_and(|ns| ns >= 200_000_000), "the one that computes");
        STOP.store(true, Ordering::Relaxed);
        computing.join().unwrap();
        let (started, has_started) = std::sync::mpsc::channel();
        let (end, is_ended) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || {
            let _call = Call::unnoted("waiting");
            started.send(crate::report::system_thread()).unwrap();
            let _ = is_ended.recv();
        });
        let thread = has_started.recv().unwrap();
        seen_of(thread).expect("it runs");
        // A wait takes no processor time, however long this thread computes meanwhile.
        let before = processor_time_ns(thread);
        let mine = processor_time_ns(crate::report::system_thread()).unwrap();
        while processor_time_ns(crate::report::system_thread()).unwrap() < mine + 20_000_000 {}
        assert!(processor_time_ns(thread).unwrap() < before.unwrap() + 10_000_000);
        drop(end);
        waiting.join().unwrap();
        // Whoever joins a thread may be quicker than the system, which forgets it next.
        while processor_time_ns(thread).is_some() {
            std::thread::yield_now();
        }
    }

    /// What a thread waits in, and whether it is told of itself.
    fn waits_in(call: fn() -> Call) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>, u64) {
        let (end, is_ended) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _call = call();
            let _waits = EndlessWait::begin();
            tell.send(crate::report::system_thread()).unwrap();
            let _ = is_ended.recv();
        });
        let number = told.recv().unwrap();
        (end, thread, number)
    }

    fn waits_ms(thread: u64) -> u64 {
        unreturned().iter().find(|call| call.thread == thread).map_or(0, |call| call.waits_ms)
    }

    #[test]
    fn a_process_callback_that_waits_without_end_is_told_and_no_other_wait_is() {
        let (end_other, other, other_number) = waits_in(|| Call::unnoted("pin SetDeviceState"));
        let (end, thread, number) = waits_in(|| Call::unnoted(PIN_PROCESS));
        while waits_ms(number) < 50 {
            std::thread::yield_now();
        }
        assert_eq!(waits_ms(other_number), 0);
        assert!(longest_ms().is_some_and(|ms| ms >= 50));
        drop((end, end_other));
        thread.join().unwrap();
        other.join().unwrap();
    }

    #[test]
    fn a_work_item_that_waits_is_not_named_for_what_does_not_return() {
        let (end, item, item_number) = waits_in(Call::of_work_item);
        seen_of(item_number).expect("it runs");
        assert_ne!(endless_thread(), Some(item_number));
        drop(end);
        item.join().unwrap();
    }
}
