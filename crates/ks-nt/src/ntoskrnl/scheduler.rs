//! Whose clock and threads the kernel of this process has: the machine's, or those of an engine in virtual time.
//!
//! Whatever in this crate blocks, starts a thread or asks what time it is does so here. On the machine each of these is
//! what the standard library offers, behind one look at a flag. In virtual time it is what [`ks_io::Services`] offer, so that
//! one thread runs at a time, in an order that a seed decides, and the clock jumps when all of them wait: a test of a
//! driver repeats.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use ks_io::{Event, EventKind, Services, Signal, Spawned, Time, WaitOutcome};

use super::clock;
use crate::running::EndlessWait;

/// The kernel of this process lives in the virtual time of an engine until this is dropped.
///
/// There is one kernel a process, so there is one of these at a time, and no driver may run on the machine's clock
/// meanwhile. Threads that take part in the services ([`Services::spawn`], and who made them) may call into drivers; what a
/// driver computes takes no time, and one that looks for something to change without ever waiting keeps everybody else
/// from running. When this is dropped the kernel's own threads end; a driver's should have ended before.
#[derive(Debug)]
#[must_use = "the kernel returns to the machine's clock when this is dropped"]
pub struct VirtualTime(());

static IS_VIRTUAL: AtomicBool = AtomicBool::new(false);
static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// Counts the virtual times, so that a thread knows an event of an earlier one.
static GENERATION: AtomicU64 = AtomicU64::new(0);
static SERVICES: Mutex<Option<Services>> = Mutex::new(None);
/// The kernel's own threads in virtual time, each with what wakes it.
static OWN: Mutex<Vec<(Sleeper, Spawned<()>)>> = Mutex::new(Vec::new());

thread_local! {
    /// What the calling thread sleeps on in virtual time, and in which one.
    static MINE: RefCell<Option<(u64, Event)>> = const { RefCell::new(None) };
    /// The thread was started by the kernel: nobody but a driver waits for it.
    static IS_KERNELS: Cell<bool> = const { Cell::new(false) };
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VirtualTime {
    /// From now on the kernel lives in the time of these services.
    ///
    /// # Panics
    /// There is one already.
    pub fn of(services: &Services) -> Self {
        let before = locked(&SERVICES).replace(services.clone());
        assert!(before.is_none(), "the kernel of this process lives in a virtual time already");
        GENERATION.fetch_add(1, Ordering::Relaxed);
        IS_VIRTUAL.store(true, Ordering::Release);
        Self(())
    }
}

impl Drop for VirtualTime {
    fn drop(&mut self) {
        IS_ENDING.store(true, Ordering::Release);
        loop {
            // A thread that ends may start another one.
            let own = std::mem::take(&mut *locked(&OWN));
            if own.is_empty() {
                break;
            }
            for (sleeper, thread) in own {
                sleeper.wake();
                thread.join();
            }
        }
        IS_VIRTUAL.store(false, Ordering::Release);
        IS_ENDING.store(false, Ordering::Release);
        let last = locked(&SERVICES).take();
        drop(last);
    }
}

/// Whether the kernel lives in virtual time.
#[inline]
pub(crate) fn is_virtual() -> bool {
    IS_VIRTUAL.load(Ordering::Relaxed)
}

/// Whether the kernel's own threads are to end.
pub(crate) fn is_ending() -> bool {
    IS_ENDING.load(Ordering::Relaxed)
}

/// The services of the virtual time. Not to be kept over a wait: the last of them ends the services.
fn services() -> Option<Services> {
    if is_virtual() { locked(&SERVICES).clone() } else { None }
}

/// The clock of the virtual time, if there is one.
#[inline]
pub(crate) fn now() -> Option<i64> {
    if is_virtual() { locked(&SERVICES).as_ref().map(|services| services.now().0) } else { None }
}

/// What wakes a thread.
#[derive(Clone, Debug)]
pub(crate) enum Sleeper {
    Machine(Thread),
    Virtual(Event),
}

impl Sleeper {
    /// That of the calling thread.
    pub(crate) fn current() -> Self {
        match mine() {
            Some(event) => Self::Virtual(event),
            None => Self::Machine(std::thread::current()),
        }
    }

    /// Ends the thread's sleep, or its next one.
    pub(crate) fn wake(&self) {
        match self {
            Self::Machine(thread) => thread.unpark(),
            Self::Virtual(event) => event.set(),
        }
    }
}

fn mine() -> Option<Event> {
    let services = services()?;
    let generation = GENERATION.load(Ordering::Relaxed);
    MINE.with_borrow_mut(|mine| match mine {
        Some((of, event)) if *of == generation => Some(event.clone()),
        _ => {
            let event = services.event(EventKind::Synchronization, Signal::Clear);
            *mine = Some((generation, event.clone()));
            Some(event)
        }
    })
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a thread may sleep in vain"]
pub(crate) enum Rest {
    /// Woken, the deadline passed, or for no reason: the caller looks.
    Over,
    /// In virtual time: no thread can ever run again that could end it.
    InVain,
}

/// Sleeps until the calling thread is woken or the clock shows `deadline`. For the kernel's own threads, which end when they
/// rest in vain: the next one who needs them starts them again.
pub(crate) fn rest(deadline: Option<i64>) -> Rest {
    if let Some(event) = mine() {
        let outcome = match deadline {
            Some(deadline) => event.wait_until(Time(deadline)),
            None => event.wait(),
        };
        return if outcome == WaitOutcome::Deadlock { Rest::InVain } else { Rest::Over };
    }
    match deadline.map(|deadline| deadline.saturating_sub(clock::interrupt_time())) {
        None => std::thread::park(),
        Some(left) if left <= 0 => {}
        Some(left) => std::thread::park_timeout(Duration::from_micros(left.unsigned_abs().div_ceil(10))),
    }
    Rest::Over
}

/// As [`rest`], for whoever can do nothing but wait.
pub(crate) fn park(deadline: Option<i64>) {
    let _waits = deadline.is_none().then(EndlessWait::begin);
    if rest(deadline) == Rest::InVain {
        strand();
    }
}

/// The calling thread waits in a driver for what can never come. A driver has no status for that, and no Rust code may
/// unwind its frames.
#[cold]
fn strand() -> ! {
    let report = services().and_then(|services| services.deadlock_report()).unwrap_or_default();
    if IS_KERNELS.get() {
        // Whoever else waits in vain is told, too, and fails its test.
        ks_io::leave_virtual_time();
        loop {
            std::thread::park();
        }
    }
    eprintln!("a thread waits in a driver, and no thread can ever run again: {report}");
    // The hook of virtual time tells the seed.
    let _ = std::panic::catch_unwind(|| panic!("a driver waits for what can never come"));
    std::process::abort();
}

/// Lets another thread run.
pub(crate) fn yield_now() {
    match services() {
        Some(services) => services.yield_now(),
        None => std::thread::yield_now(),
    }
}

/// A place where a processor might as well run another thread: only virtual time makes use of it, as its seed decides.
#[inline]
pub(crate) fn preempt() {
    if is_virtual() {
        yield_now();
    }
}

/// Starts a thread of a driver's.
pub(crate) fn spawn(name: &str, stack_bytes: usize, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let body = move || {
        IS_KERNELS.set(true);
        body();
    };
    match services() {
        Some(services) => services.spawn(name, body).map(drop),
        None => std::thread::Builder::new().name(name.into()).stack_size(stack_bytes).spawn(body).map(drop),
    }
}

/// Starts a thread of the kernel's own, which ends when [`is_ending`] says so, and returns what wakes it.
pub(crate) fn spawn_own(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Sleeper> {
    let Some(services) = services() else {
        let thread = std::thread::Builder::new().name(name.into()).spawn(body)?;
        return Ok(Sleeper::Machine(thread.thread().clone()));
    };
    let event = services.event(EventKind::Synchronization, Signal::Clear);
    let (generation, sleeps_on) = (GENERATION.load(Ordering::Relaxed), event.clone());
    let thread = services.spawn(name, move || {
        IS_KERNELS.set(true);
        MINE.set(Some((generation, sleeps_on)));
        body();
    })?;
    let sleeper = Sleeper::Virtual(event);
    locked(&OWN).push((sleeper.clone(), thread));
    Ok(sleeper)
}

/// A condition variable that virtual time knows. Its waits end for no reason too: whoever waits looks again.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    machine: Condvar,
    sleepers: Mutex<Vec<(u64, Sleeper)>>,
}

impl Changed {
    pub(crate) const fn new() -> Self {
        Self { machine: Condvar::new(), sleepers: Mutex::new(Vec::new()) }
    }

    /// Waits, with the lock released, for a change of what it guards.
    pub(crate) fn wait<'a, T>(&self, of: &'a Mutex<T>, held: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let _waits = EndlessWait::begin();
        let (held, rest) = self.rest(of, held, None);
        if rest == Rest::InVain {
            drop(held);
            strand();
        }
        held
    }

    /// As [`wait`](Self::wait), at most until the clock shows `deadline`; for the kernel's own threads, which end when they
    /// rest in vain.
    pub(crate) fn rest<'a, T>(
        &self,
        of: &'a Mutex<T>,
        held: MutexGuard<'a, T>,
        deadline: Option<i64>,
    ) -> (MutexGuard<'a, T>, Rest) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !is_virtual() {
            let held = match deadline {
                None => self.machine.wait(held).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_sub(clock::interrupt_time()).max(0).unsigned_abs();
                    let waited = self.machine.wait_timeout(held, Duration::from_micros(left.div_ceil(10)));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            return (held, Rest::Over);
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        locked(&self.sleepers).push((number, Sleeper::current()));
        drop(held);
        let rest = rest(deadline);
        locked(&self.sleepers).retain(|(other, _)| *other != number);
        (locked(of), rest)
    }

    /// Lets one of those who wait look.
    pub(crate) fn notify_one(&self) {
        // In virtual time all of them look: the seed decides who is first.
        self.machine.notify_one();
        self.wake_sleepers();
    }

    /// Lets all look who wait.
    pub(crate) fn notify_all(&self) {
        self.machine.notify_all();
        self.wake_sleepers();
    }

    fn wake_sleepers(&self) {
        if is_virtual() {
            let sleepers = std::mem::take(&mut *locked(&self.sleepers));
            sleepers.iter().for_each(|(_, sleeper)| sleeper.wake());
        }
    }
}
