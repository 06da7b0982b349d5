//! What is told when a driver does what would stop Windows: the rule it broke, and what happened before.
//!
//! A *misuse* is what Windows, or its Driver Verifier, answers with a bug check. Whoever hosts the driver registers a
//! [`Reporter`]; without one the report is printed and the process aborts. A reporter that returns lets the driver go on
//! with the mildest reading of what it asked for, which is what a test wants and a host does not.

use ks_abi::KsIdentifier;
use ks_stream::Rule;
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::machine::Place;
use crate::ntoskrnl::{clock, irql};
use crate::running::{Kind, Running};

/// Number of events that are remembered.
pub const EVENTS: usize = 64;

/// Something that happened, shortly before a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, in 100-ns units since the start of the machine.
    pub time: i64,
    /// On which thread, by the number that the system gave it.
    pub thread: u64,
    /// At which level.
    pub irql: u8,
    /// What.
    pub what: &'static str,
    /// What it was about: an address, a status, a count.
    pub details: [u64; 2],
}

/// A rule that the driver broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The bug check that Windows would have stopped with.
    pub code: BugCheck,
    /// What the bug check says more.
    pub parameters: [u64; 4],
    /// Routine that the driver called.
    pub routine: &'static str,
    /// What is wrong with it, in a sentence.
    pub what: String,
    /// The rule of the verifier, if it is one.
    pub rule: Option<Rule>,
    /// Address of the driver's code that did it, where the call or routine is over that did.
    pub done_at: Option<u64>,
    /// Which check of the verifier's it was: its place in the source of this crate.
    pub check: Option<&'static Location<'static>>,
    /// Level of the calling thread.
    pub irql: u8,
    /// The calling thread, by the number that the system gave it.
    pub thread: u64,
    /// The last events, oldest first.
    pub events: Vec<Event>,
}

impl Report {
    /// Where in an image the code is that did it, when it is on no stack any more.
    pub fn place(&self) -> Option<Place> {
        self.done_at.map(Place::of)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}", self.routine, self.what, self.code)?;
        if let Some(rule) = self.rule {
            write!(f, ", rule {rule}")?;
        }
        write!(f, ", level {})", self.irql)
    }
}

/// The number of a bug check; the type accepts every value.
#[doc(alias = "KeBugCheckEx")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BugCheck(pub u32);

macro_rules! bug_checks {
    ($($name:ident = $value:literal,)+) => {
        impl BugCheck {
            $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: Self = Self($value);)+

            /// The documented name of a known number.
            pub const fn known_name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)+ _ => None }
            }
        }
    };
}

bug_checks! {
    IRQL_NOT_GREATER_OR_EQUAL = 0x09,
    IRQL_NOT_LESS_OR_EQUAL = 0x0A,
    MAXIMUM_WAIT_OBJECTS_EXCEEDED = 0x0C,
    SPIN_LOCK_ALREADY_OWNED = 0x0F,
    SPIN_LOCK_NOT_OWNED = 0x10,
    NO_MORE_IRP_STACK_LOCATIONS = 0x35,
    MULTIPLE_IRP_COMPLETE_REQUESTS = 0x44,
    KMODE_EXCEPTION_NOT_HANDLED = 0x1E,
    THREAD_NOT_MUTEX_OWNER = 0x11,
    THREAD_TERMINATE_HELD_MUTEX = 0x6D,
    BAD_POOL_CALLER = 0xC2,
    DRIVER_VERIFIER_DETECTED_VIOLATION = 0xC4,
    TIMER_OR_DPC_INVALID = 0xC7,
    IRQL_UNEXPECTED_VALUE = 0xC8,
    RESOURCE_NOT_OWNED = 0xE3,
    WORKER_INVALID = 0xE4,
    MANUALLY_INITIATED_CRASH = 0xE2,
}

impl fmt::Display for BugCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_name() {
            Some(name) => write!(f, "{name} (0x{:X})", self.0),
            None => write!(f, "bug check 0x{:X}", self.0),
        }
    }
}

impl fmt::Debug for BugCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes reports, on the thread that broke the rule.
pub type Reporter = Arc<dyn Fn(&Report) + Send + Sync>;

static REPORTER: RwLock<Option<Reporter>> = RwLock::new(None);

/// Has `reporter` take every report from now on; `None` prints them and aborts. Returns what took them before.
pub fn set_reporter(reporter: Option<Reporter>) -> Option<Reporter> {
    std::mem::replace(&mut *REPORTER.write().unwrap_or_else(PoisonError::into_inner), reporter)
}

/// Reports that `routine` was called against its rules. Returns only if the reporter does.
#[cold]
pub fn misuse(code: BugCheck, routine: &'static str, what: impl Into<String>) {
    report(code, [0; 4], routine, what.into(), None);
}

/// A rule of the verifier that was broken.
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    /// By a call of this routine, or in it.
    pub(crate) routine: &'static str,
    /// As [`Report::done_at`].
    pub(crate) done_at: Option<u64>,
    /// As [`Report::check`].
    pub(crate) check: &'static Location<'static>,
}

impl Broken {
    /// A rule that the caller has found broken.
    #[track_caller]
    pub(crate) fn by(rule: Rule, routine: &'static str) -> Broken {
        Broken { rule, routine, done_at: None, check: Location::caller() }
    }

    /// The code that did it is on no stack any more.
    pub(crate) fn done_at(self, place: Option<u64>) -> Broken {
        Broken { done_at: place, ..self }
    }
}

/// Reports a broken rule of the verifier. Returns only if the reporter does.
#[cold]
pub(crate) fn broken(broken: Broken, what: String) {
    let code = BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION;
    report(code, [u64::from(broken.rule.code()), 0, 0, 0], broken.routine, what, Some(&broken));
}

/// Reports that the driver, or the kernel for it, stops the machine. The process ends if the reporter returns.
#[cold]
pub fn bug_check(code: BugCheck, parameters: [u64; 4], routine: &'static str, what: impl Into<String>) -> ! {
    report(code, parameters, routine, what.into(), None);
    end_process()
}

fn report(code: BugCheck, parameters: [u64; 4], routine: &'static str, what: String, broken: Option<&Broken>) {
    let report = Report {
        code,
        parameters,
        routine,
        what,
        rule: broken.map(|broken| broken.rule),
        done_at: broken.and_then(|broken| broken.done_at),
        check: broken.map(|broken| broken.check),
        irql: irql::current(),
        thread: system_thread(),
        events: recent().collect(),
    };
    let reporter = REPORTER.read().unwrap_or_else(PoisonError::into_inner).clone();
    match reporter {
        Some(reporter) => reporter(&report),
        None => {
            eprintln!("{report}");
            end_process()
        }
    }
}

/// The thread that ends the process; 0 as long as none does.
static ENDING: AtomicU64 = AtomicU64::new(0);

/// Makes the calling thread the one that says why the process ends, and returns on no other: one that comes later waits
/// for the end, and one that breaks again while it says why ends the process at once. Safe in a signal handler.
pub fn claim_end() {
    let me = system_thread();
    match ENDING.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(other) if other == me => std::process::abort(),
        Err(_) => loop {
            // SAFETY: no descriptor is given: it waits.
            unsafe { libc::poll(std::ptr::null_mut(), 0, -1) };
        },
    }
}

/// Is the process about to end, with a report that says why?
pub(crate) fn is_ending() -> bool {
    ENDING.load(Ordering::Acquire) != 0
}

/// Ends the process; nothing is reported of this end. Safe in a signal handler.
pub fn end_process() -> ! {
    ENDING.fetch_max(1, Ordering::AcqRel);
    std::process::abort()
}

/// One remembered event; every field is one word, so that a signal handler can read it while another thread writes.
struct Slot {
    /// Number of the event plus one; 0 while the slot is empty or being written.
    number: AtomicU64,
    time: AtomicU64,
    thread_and_irql: AtomicU64,
    /// Address and length of a text that lives for ever.
    what: AtomicPtr<u8>,
    what_bytes: AtomicUsize,
    details: [AtomicU64; 2],
}

static NEXT: AtomicU64 = AtomicU64::new(0);
static SLOTS: [Slot; EVENTS] = [const {
    Slot {
        number: AtomicU64::new(0),
        time: AtomicU64::new(0),
        thread_and_irql: AtomicU64::new(0),
        what: AtomicPtr::new(std::ptr::null_mut()),
        what_bytes: AtomicUsize::new(0),
        details: [const { AtomicU64::new(0) }; 2],
    }
}; EVENTS];

/// Remembers that something happened. Takes no lock and allocates nothing.
pub fn note(what: &'static str, details: [u64; 2]) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let slot = &SLOTS[number as usize % EVENTS];
    slot.number.store(0, Ordering::Release);
    slot.time.store(clock::machine_time() as u64, Ordering::Relaxed);
    slot.thread_and_irql.store(system_thread() << 8 | u64::from(irql::current()), Ordering::Relaxed);
    slot.what.store(what.as_ptr().cast_mut(), Ordering::Relaxed);
    slot.what_bytes.store(what.len(), Ordering::Relaxed);
    slot.details[0].store(details[0], Ordering::Relaxed);
    slot.details[1].store(details[1], Ordering::Relaxed);
    // Pairs with the acquire load of `recent`: who sees the number sees the fields.
    slot.number.store(number + 1, Ordering::Release);
}

/// The last [`EVENTS`] events, oldest first; those that are being written are left out. Allocates nothing.
pub fn recent() -> impl Iterator<Item = Event> {
    let next = NEXT.load(Ordering::Acquire);
    (next.saturating_sub(EVENTS as u64)..next).filter_map(|number| {
        // What was overwritten meanwhile is no longer the event of this number.
        read(&SLOTS[number as usize % EVENTS]).filter(|(read, _)| *read == number + 1).map(|(_, event)| event)
    })
}

fn read(slot: &Slot) -> Option<(u64, Event)> {
    let number = slot.number.load(Ordering::Acquire);
    let (what, bytes) = (slot.what.load(Ordering::Relaxed), slot.what_bytes.load(Ordering::Relaxed));
    let (time, thread_and_irql) = (slot.time.load(Ordering::Relaxed), slot.thread_and_irql.load(Ordering::Relaxed));
    let details = [slot.details[0].load(Ordering::Relaxed), slot.details[1].load(Ordering::Relaxed)];
    // The loads above come before this one: nothing was written meanwhile, so the address and the length belong together.
    std::sync::atomic::fence(Ordering::Acquire);
    if number == 0 || what.is_null() || slot.number.load(Ordering::Relaxed) != number {
        return None;
    }
    // SAFETY: `note` stored them from one static text.
    let what = unsafe { std::slice::from_raw_parts(what, bytes) };
    let event = Event {
        time: time as i64,
        thread: thread_and_irql >> 8,
        irql: thread_and_irql as u8,
        what: std::str::from_utf8(what).unwrap_or_default(),
        details,
    };
    Some((number, event))
}

/// What a driver is doing for whom, on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InHand {
    /// The routine of the driver that was called.
    pub routine: &'static str,
    /// The property, method or event that it answers: set, item and flags.
    pub identifier: Option<KsIdentifier>,
    /// Its first argument, in most cases the address of the object that it is called for; 0 where it has none.
    pub argument: u64,
}

impl InHand {
    /// The object of AVStream that the routine was called for, if it is one that lives. Takes a lock and allocates.
    pub fn object(&self) -> Option<String> {
        crate::verifier::describe(crate::ks::address::Address(self.argument))
    }
}

impl fmt::Display for InHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.routine)?;
        match &self.identifier {
            Some(of) => write!(f, " for {} item {} flags {:#x}", of.set, of.id, of.flags),
            None => Ok(()),
        }
    }
}

thread_local! {
    static IN_HAND: Cell<Option<InHand>> = const { Cell::new(None) };
}

/// What the driver is doing on this thread; `None` outside of its callbacks.
pub fn in_hand() -> Option<InHand> {
    IN_HAND.try_with(Cell::get).ok().flatten()
}

/// A call of a driver's routine: what is in hand, and runs, until this is dropped.
pub(crate) struct Call {
    before: Option<InHand>,
    _running: Running,
}

impl Call {
    /// A call that is also remembered as an event.
    pub(crate) fn of(routine: &'static str, argument: u64) -> Call {
        note(routine, [argument, 0]);
        Call::begin(routine, argument, Kind::Awaited)
    }

    /// A call that happens too often to be an event.
    pub(crate) fn unnoted(routine: &'static str) -> Call {
        Call::begin(routine, 0, Kind::Awaited)
    }

    /// A call of a work item's routine.
    pub(crate) fn of_work_item() -> Call {
        Call::begin("a work item", 0, Kind::WorkItem)
    }

    fn begin(routine: &'static str, argument: u64, kind: Kind) -> Call {
        let before = IN_HAND.replace(Some(InHand { routine, identifier: None, argument }));
        Call { before, _running: Running::begin(kind) }
    }

    /// Says what the call is for, before it is made.
    pub(crate) fn answers(&self, identifier: KsIdentifier) {
        let named = IN_HAND.get().map(|in_hand| InHand { identifier: Some(identifier), ..in_hand });
        IN_HAND.set(named);
    }
}

/// Says what the calling thread does for its whole life: it may loop, so that nothing watches it.
pub(crate) fn in_thread(routine: &'static str) {
    IN_HAND.set(Some(InHand { routine, identifier: None, argument: 0 }));
}

impl Drop for Call {
    fn drop(&mut self) {
        IN_HAND.set(self.before);
    }
}

/// The number that the system gave to the calling thread. Safe in a signal handler.
pub fn thread() -> u64 {
    system_thread()
}

/// The number that the system gave to the calling thread.
pub(crate) fn system_thread() -> u64 {
    thread_local! {
        static NUMBER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    let known = NUMBER.try_with(std::cell::Cell::get).unwrap_or(0);
    if known != 0 {
        return known;
    }
    // SAFETY: the call has no arguments and cannot fail.
    let number = unsafe { libc::gettid() } as u64;
    let _ = NUMBER.try_with(|cell| cell.set(number));
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_remembered_in_order() {
        for number in 0..3 * EVENTS as u64 {
            note("counting", [number, number * 2]);
        }
        // Other tests may note something meanwhile: what is left of ours is in order and belongs together.
        let counted: Vec<_> = recent().filter(|event| event.what == "counting").collect();
        assert!(counted.len() <= EVENTS);
        assert!(counted.windows(2).all(|pair| pair[0].details[0] < pair[1].details[0]));
        assert!(counted.iter().all(|event| event.details[1] == event.details[0] * 2));
    }

    #[test]
    fn a_bug_check_prints_its_documented_name() {
        assert_eq!(BugCheck(0xC2).to_string(), "BAD_POOL_CALLER (0xC2)");
        assert_eq!(BugCheck(0xDEAD).to_string(), "bug check 0xDEAD");
    }
}
