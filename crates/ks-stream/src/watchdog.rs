//! What finds a callback of a Rust minidriver that never returns: its filter is given up, by name, and the rest goes on.
//!
//! Each call of a minidriver counts a number of its thread up; no clock is read for it. Who watches compares the numbers
//! with those that it saw before, and asks the system for the processor time of a thread whose call is still the same. A
//! callback that waits takes none, and may wait, but for a process callback that waits for another thread: its stream stands
//! meanwhile. Without a watchdog a call costs a load and a branch.

use crate::callback::Callback;
use crate::device::Device;
use crate::filter::Filter;
use crate::process;
use ks_io::WorkQueue;
use ks_io::sync::{Arc, Weak};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Threads that are watched; more run unwatched.
const THREADS: usize = 256;

/// One thread that calls minidrivers.
struct Slot {
    /// The system's number of the thread; 0 while the slot is free.
    thread: AtomicU64,
    /// Another with each call and return; odd while a callback runs.
    turn: AtomicU64,
    /// Number of the device or filter, and in the lowest byte the callback.
    what: AtomicU64,
    /// The work queue of the thread plus one; 0: it is no worker's.
    queue: AtomicU64,
}

static SLOTS: [Slot; THREADS] = [const {
    Slot { thread: AtomicU64::new(0), turn: AtomicU64::new(0), what: AtomicU64::new(0), queue: AtomicU64::new(0) }
}; THREADS];

static ON: AtomicBool = AtomicBool::new(false);

/// Whose callbacks are watched.
pub(crate) enum Known {
    Device(Weak<Device>),
    Filter(Weak<Filter>),
}

impl Known {
    fn is_alive(&self) -> bool {
        match self {
            Known::Device(device) => device.strong_count() > 0,
            Known::Filter(filter) => filter.strong_count() > 0,
        }
    }
}

/// The devices that were made and the filters that were opened while somebody watched.
static KNOWN: Mutex<Vec<(u64, Known)>> = Mutex::new(Vec::new());

/// Does somebody watch?
#[inline]
pub(crate) fn is_watching() -> bool {
    // Relaxed: a thread that misses the store is watched from its next call on.
    ON.load(Ordering::Relaxed)
}

/// A number for a device or a filter, by which a slot names it.
pub(crate) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A device is made, or a filter opened.
pub(crate) fn know(number: u64, one: Known) {
    if is_watching() {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, other)| other.is_alive());
        known.push((number, one));
    }
}

/// The slot of a thread, until the thread ends.
struct Mine(Cell<Option<&'static Slot>>);

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(slot) = self.0.get() {
            slot.turn.store(0, Ordering::Relaxed);
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
            let me = thread()?;
            let take = |slot: &&Slot| slot.thread.compare_exchange(0, me, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            self.0.set(SLOTS.iter().find(take));
        }
        self.0.get()
    }
}

/// The system's number of the calling thread.
fn thread() -> Option<u64> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// A callback runs on this thread until this is dropped.
pub(crate) struct Running(Option<(&'static Slot, u64, u64)>);

/// A callback of a filter begins.
#[inline(never)]
pub(crate) fn begin(filter: u64, callback: Callback) -> Running {
    let slot = MINE.try_with(Mine::slot).ok().flatten();
    Running(slot.map(|slot| {
        let queue = process::turn().map_or(0, |turn| turn.queue() as u64 + 1);
        slot.queue.store(queue, Ordering::Relaxed);
        let before = slot.what.swap(filter << 8 | u64::from(callback.code()), Ordering::Relaxed);
        (slot, slot.next(1), before)
    }))
}

impl Drop for Running {
    fn drop(&mut self) {
        // Back in the callback that called the one that returned, if there is one.
        if let Some((slot, turn, what)) = self.0 {
            slot.what.store(what, Ordering::Relaxed);
            slot.next(turn & 1);
        }
    }
}

impl Slot {
    /// Only the thread itself writes. Returns the turn before. Release: who sees the turn sees what it is about.
    fn next(&self, runs: u64) -> u64 {
        let before = self.turn.load(Ordering::Relaxed);
        self.turn.store((before & !1).wrapping_add(2) | runs, Ordering::Release);
        before
    }
}

/// What was seen of a slot when it was last looked at.
#[derive(Clone, Copy, Default)]
struct Seen {
    thread: u64,
    turn: u64,
    /// Processor time of the thread when this turn was first seen.
    time_ms: u64,
    /// A wait for another thread that this turn is in: which of the thread's, and when it was first seen.
    waits: Option<(u64, Instant)>,
    /// It was reported.
    told: bool,
}

/// How a callback does not return.
enum Endless {
    Computes(u64),
    Waits(u64),
}

/// Processor time that a thread of this process has taken, in the system's ticks of 10 ms.
fn processor_time_ms(thread: u64) -> Option<u64> {
    const TICK_MS: u64 = 10;
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    // The name of the thread may have blanks; the fields that count follow its bracket.
    let fields = text.rsplit_once(')')?.1;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * TICK_MS)
}

/// The wait of a thread of this process for another one, by a number that is another with each wait; `None` where it is in
/// none, or the system does not tell. A wait for a file, a device or a time is none.
fn waits_for_a_thread(thread: u64) -> Option<u64> {
    const FUTEX: &str = "202";
    const UNTIMED: &str = "0x0";
    let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?;
    // The number of the call and its arguments: word, operation, value, timeout.
    let mut call = call.split_ascii_whitespace();
    if call.next()? != FUTEX || call.nth(3)? != UNTIMED {
        return None;
    }
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
}

/// Watches the callbacks of all Rust minidrivers of the process, until it is dropped.
///
/// A callback that computes for longer than the limit is taken for endless, and so is a process callback that waits for
/// another thread for as long at a stretch, without a time at which it would give up. Its filter is given up: its pins fail with
/// filter and callback as the reason, its minidriver is not called any more, and a client that closes it does not wait
/// for it. If the thread is a worker, another takes its place. A client whose own thread is in the callback does not come
/// back. A callback of a device gives all of its filters up. What was opened or made before the first watchdog started is
/// not known.
#[derive(Debug)]
pub struct Watchdog {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// A callback that does not return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hang {
    /// The callback, its object and the time that it has taken, in a sentence.
    pub reason: String,
    /// The system's number of the thread that it runs on.
    pub thread: u64,
}

impl Watchdog {
    /// Begins to watch.
    ///
    /// # Errors
    /// Of the system, that has no thread for it.
    pub fn start(limit: Duration) -> std::io::Result<Watchdog> {
        Watchdog::telling(limit, |_| {})
    }

    /// As [`Watchdog::start`]; `tell` hears of each hang, on the watchdog's own thread, when its filter was given up.
    ///
    /// # Errors
    /// Of the system, that has no thread for it.
    pub fn telling(limit: Duration, tell: impl Fn(&Hang) + Send + 'static) -> std::io::Result<Watchdog> {
        ON.store(true, Ordering::SeqCst);
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = stop.clone();
        let run = move || watch(limit, &shared, &tell);
        let thread = std::thread::Builder::new().name("ks-watchdog".to_owned()).spawn(run)?;
        Ok(Watchdog { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(limit: Duration, stop: &(Mutex<bool>, Condvar), tell: &dyn Fn(&Hang)) {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let mut seen = vec![Seen::default(); THREADS];
    loop {
        let stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = stop.1.wait_timeout_while(stopped, limit / 4, |stopped| !*stopped);
        if waited.is_ok_and(|(stopped, _)| *stopped) {
            return;
        }
        for (slot, seen) in SLOTS.iter().zip(&mut seen) {
            look(slot, seen, limit_ms, tell);
        }
    }
}

impl Seen {
    /// Whether the callback has lasted for too long, by the processor time of its thread now.
    fn endless(&mut self, callback: Callback, time_ms: u64, limit_ms: u64) -> Option<Endless> {
        let taken_ms = time_ms.saturating_sub(self.time_ms);
        if taken_ms >= limit_ms {
            return Some(Endless::Computes(taken_ms));
        }
        if ![Callback::PIN_PROCESS, Callback::FILTER_PROCESS].contains(&callback) {
            return None;
        }
        let wait = waits_for_a_thread(self.thread);
        let since = match (self.waits, wait) {
            (Some((known, since)), Some(wait)) if known == wait => since,
            _ => {
                self.waits = wait.map(|wait| (wait, Instant::now()));
                return None;
            }
        };
        let waited_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        (waited_ms >= limit_ms).then_some(Endless::Waits(waited_ms))
    }
}

fn look(slot: &Slot, seen: &mut Seen, limit_ms: u64, tell: &dyn Fn(&Hang)) {
    let (thread, turn) = (slot.thread.load(Ordering::Acquire), slot.turn.load(Ordering::Acquire));
    if thread == 0 || turn & 1 == 0 {
        return;
    }
    let Some(time_ms) = processor_time_ms(thread) else { return };
    if (seen.thread, seen.turn) != (thread, turn) {
        *seen = Seen { thread, turn, time_ms, waits: None, told: false };
    }
    let (what, queue) = (slot.what.load(Ordering::Relaxed), slot.queue.load(Ordering::Relaxed));
    let callback = Callback::of_code(what as u8);
    let Some(endless) = seen.endless(callback, time_ms, limit_ms).filter(|_| !seen.told) else { return };
    seen.told = true;
    if slot.turn.load(Ordering::Acquire) != turn {
        // It has just returned: what was read belongs to another call.
        seen.told = false;
        return;
    }
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (device, filter) = match known.iter().find(|(number, _)| *number == what >> 8) {
        Some((_, Known::Device(device))) => (device.upgrade(), None),
        Some((_, Known::Filter(filter))) => (None, filter.upgrade()),
        None => (None, None),
    };
    drop(known);
    let Some(services) = device.as_ref().map(|device| device.io()).or(filter.as_ref().map(|filter| filter.io())) else {
        return;
    };
    let queues = [WorkQueue::Critical, WorkQueue::Delayed, WorkQueue::HyperCritical];
    if let Some(queue) = queues.into_iter().find(|known| *known as u64 + 1 == queue) {
        services.services().replace_worker(queue);
    }
    let object = filter.as_ref().map(|filter| filter.describe_object(None));
    let object = object.or(device.as_ref().map(|device| device.device_name().to_owned())).unwrap_or_default();
    let does = match endless {
        Endless::Computes(taken_ms) => format!("computing for {taken_ms} ms"),
        Endless::Waits(waited_ms) => format!("waiting for another thread for {waited_ms} ms"),
    };
    let reason = format!("the {callback} callback of {object} has been {does} (the watchdog allows {limit_ms} ms)");
    if let Some(device) = device {
        device.hang(&reason);
    } else if let Some(filter) = filter {
        filter.hang(&reason);
    }
    tell(&Hang { reason, thread });
}
