//! The callbacks of a minidriver as the class driver calls them: what a misbehaving one does ends in its own filter.
//!
//! A panic ends the callback and not the thread; a status that the callback may not return stops the filter. With the
//! verifier on, level and mutexes are compared before and after each, and a rule that is broken in the callback is
//! reported under its name. Descriptors and automation tables are no callbacks but data that is asked for.

use crate::descriptor::PinId;
use crate::device::Device;
use crate::filter::Filter;
use crate::minidriver::FilterInstance;
use crate::pended::AwaitedCreate;
use crate::pin::Pin;
use crate::verifier::{self, Rule};
use crate::watchdog;
use ks_abi::{NtStatus, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use ks_io::sync::{Arc, Weak, thread_local};
use ks_io::{Aspect, Level, LockRank, RankedMutex, Refusal};
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

mod objects;

pub(crate) use objects::{FilterCallbacks, PinCallbacks};

/// A callback, by its name in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Callback(u8);

macro_rules! callbacks {
    ($($constant:ident = $code:literal, $name:literal;)+) => {
        impl Callback {
            $(pub(crate) const $constant: Callback = Callback($code);)+

            /// The name in reports.
            pub(crate) const fn name(self) -> &'static str {
                match self.0 { $($code => $name,)+ _ => "unknown" }
            }
        }
    };
}

callbacks! {
    FILTER_CREATE = 0, "filter Create";
    PIN_SET_DATA_FORMAT = 1, "pin SetDataFormat";
    FILTER_DATA_RANGES = 2, "filter data ranges";
    INTERSECT = 3, "intersect";
    FILTER_INTERFACE = 4, "filter interface";
    FILTER_CLOSE = 5, "filter Close";
    PIN_FRAMING = 6, "pin framing";
    PIN_RESET = 7, "pin Reset";
    PIN_CONNECT = 8, "pin Connect";
    PIN_DISCONNECT = 9, "pin Disconnect";
    PIN_CLOSE = 10, "pin Close";
    CLONE_CANCEL = 11, "clone cancel";
    PIN_ALLOCATOR = 12, "pin Allocator";
    HANDSHAKE = 13, "handshake";
    FRAME_RETURN = 14, "frame return";
    REQUEST_COMPLETION = 15, "request completion";
    PIN_INTERFACE = 16, "pin interface";
    SET_DEVICE_STATE = 17, "pin SetDeviceState";
    CREATE_PIN = 18, "pin Create";
    FILTER_PROCESS = 19, "filter Process";
    PIN_PROCESS = 20, "pin Process";
    HANDLER = 21, "property, method or event";
    FILTER_SLEEP = 22, "filter Sleep";
    FILTER_WAKE = 23, "filter Wake";
    PIN_SLEEP = 24, "pin Sleep";
    PIN_WAKE = 25, "pin Wake";
    FILTER_RESET = 26, "filter Reset";
    PIN_PROPOSED_FORMAT = 27, "pin proposed format";
    PIN_FORMAT_CHANGED = 28, "pin format changed";
    DEVICE_ADD = 29, "device Add";
    DEVICE_START = 30, "device Start";
    DEVICE_POST_START = 31, "device PostStart";
    DEVICE_QUERY_STOP = 32, "device QueryStop";
    DEVICE_CANCEL_STOP = 33, "device CancelStop";
    DEVICE_STOP = 34, "device Stop";
    DEVICE_QUERY_REMOVE = 35, "device QueryRemove";
    DEVICE_CANCEL_REMOVE = 36, "device CancelRemove";
    DEVICE_REMOVE = 37, "device Remove";
    DEVICE_QUERY_CAPABILITIES = 38, "device QueryCapabilities";
    DEVICE_SURPRISE_REMOVAL = 39, "device SurpriseRemoval";
    DEVICE_QUERY_POWER = 40, "device QueryPower";
    DEVICE_SET_POWER = 41, "device SetPower";
    DEVICE_QUERY_INTERFACE = 42, "device QueryInterface";
    FACTORY_SLEEP = 43, "factory Sleep";
    FACTORY_WAKE = 44, "factory Wake";
    POINTER_TIMEOUT = 45, "stream pointer timeout";
    DEVICE_COOLING = 46, "device Cooling";
    PIN_DATA_RANGES = 47, "pin data ranges";
}

impl Callback {
    pub(crate) const fn code(self) -> u8 {
        self.0
    }

    pub(crate) const fn of_code(code: u8) -> Callback {
        Callback(code)
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose callback it is, for who reports it.
#[derive(Clone)]
enum Blamed {
    Device(Arc<Device>),
    /// With the number of the pin, if it is one of a pin.
    Filter(Arc<Filter>, Option<PinId>),
}

impl Blamed {
    fn broke(&self, rule: Rule, name: Callback, what: String) {
        match self {
            Blamed::Device(device) => device.blame(rule, name.name(), what),
            Blamed::Filter(filter, pin) => filter.broke(rule, name.name(), *pin, what),
        }
    }
}

/// A callback that runs on this thread.
struct Running {
    name: Callback,
    of: Blamed,
}

thread_local! {
    /// Innermost last. Kept while the verifier is on.
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

/// The callback that runs on this thread, while the verifier is on.
pub(crate) fn current() -> Option<Callback> {
    RUNNING.with(|running| running.borrow().last().map(|running| running.name))
}

/// What unwinds a callback whose rule was reported already.
struct Abandoned;

/// Reports a rule that is broken by the callback that runs on this thread. True if one does.
pub(crate) fn broken_here(rule: Rule, what: impl FnOnce() -> String) -> bool {
    let running = RUNNING.with(|running| running.borrow().last().map(|running| (running.name, running.of.clone())));
    let Some((name, of)) = running else { return false };
    of.broke(rule, name, what());
    true
}

/// Is the callback that runs on this thread one of a device? They count as holding the device mutex.
pub(crate) fn is_of_device() -> bool {
    RUNNING.with(|running| matches!(running.borrow().last(), Some(Running { of: Blamed::Device(_), .. })))
}

/// As [`broken_here`]; the callback ends here, because there is nothing that it could go on with. Returns if none runs.
pub(crate) fn abandon(rule: Rule, what: impl FnOnce() -> String) {
    if broken_here(rule, what) {
        resume_unwind(Box::new(Abandoned));
    }
}

/// A filter as the watchdog knows it.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    number: u64,
    /// It was given up: a callback of it does not return.
    hung: Arc<AtomicBool>,
}

impl Watched {
    pub(crate) fn new() -> Watched {
        Watched { number: watchdog::number(), hung: Arc::new(AtomicBool::new(false)) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn give_up(&self) {
        self.hung.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.hung.load(Ordering::SeqCst)
    }
}

/// Whose callback it is.
#[derive(Clone, Copy)]
struct Subject<'s> {
    filter: &'s Weak<Filter>,
    /// The pin and its number; `None` for a callback of the filter.
    pin: Option<(&'s Weak<Pin>, PinId)>,
    /// Of the filter, for the watchdog.
    watched: &'s Watched,
}

impl Subject<'_> {
    fn id(&self) -> Option<PinId> {
        self.pin.map(|(_, id)| id)
    }
}

/// Runs a callback; `None` when it did not return.
#[inline]
fn supervise<R>(subject: Subject<'_>, name: Callback, body: impl FnOnce() -> R) -> Option<R> {
    let _running = match watchdog::is_watching() {
        false => None,
        true if subject.watched.is_given_up() => return None,
        true => Some(watchdog::begin(subject.watched.number, name)),
    };
    let outcome = match verifier::is_enabled() {
        false => catch_unwind(AssertUnwindSafe(body)),
        true => observe(subject, name, body),
    };
    match outcome {
        Ok(returned) => Some(returned),
        Err(payload) => {
            unwound(subject, name, &*payload);
            None
        }
    }
}

/// Runs a callback of a filter or pin and compares what it leaves with what it found.
#[inline(never)]
fn observe<R>(subject: Subject<'_>, name: Callback, body: impl FnOnce() -> R) -> std::thread::Result<R> {
    let Some(filter) = subject.filter.upgrade() else { return catch_unwind(AssertUnwindSafe(body)) };
    let pin = subject.pin.and_then(|(pin, _)| pin.upgrade());
    let mutexes: [Option<&RankedMutex>; 3] = [
        Some(filter.device().mutex()),
        Some(filter.control()),
        pin.as_ref().map_or_else(|| filter.processing_mutex(), |pin| Some(pin.processing_mutex())),
    ];
    let of_level = if subject.pin.is_some() { Rule::IrqlPinCallbacks } else { Rule::IrqlFilterCallbacks };
    compare(Blamed::Filter(filter.clone(), subject.id()), mutexes, of_level, name, body)
}

/// Runs a callback; level, and which of the mutexes (in the order of their ranks) its thread holds, are to be the same
/// before and after.
fn compare<R>(
    of: Blamed,
    mutexes: [Option<&RankedMutex>; 3],
    of_level: Rule,
    name: Callback,
    body: impl FnOnce() -> R,
) -> std::thread::Result<R> {
    let held = || mutexes.map(|mutex| mutex.is_some_and(RankedMutex::is_held_by_current));
    let (level, before) = (Level::current(), held());
    RUNNING.with(|stack| stack.borrow_mut().push(Running { name, of: of.clone() }));
    let outcome = catch_unwind(AssertUnwindSafe(body));
    // Let go outside of the borrow: it may be the last reference to the filter.
    let running = RUNNING.with(|stack| stack.borrow_mut().pop());
    drop(running);
    let now = Level::current();
    if now != level {
        level.set_current();
        of.broke(of_level, name, format!("it was called at {level:?} level and returned at {now:?} level"));
    }
    let ranks = [LockRank::Device, LockRank::FilterControl, LockRank::Processing];
    // A minidriver takes them in the order of their ranks; they are given back in the other.
    for (at, after) in held().into_iter().enumerate().rev() {
        let Some(mutex) = mutexes[at].filter(|_| after != before[at]) else { continue };
        let what = if after {
            mutex.release();
            format!("the {} mutex was taken and not given back", mutex.name())
        } else {
            format!("the {} mutex was given back that the class driver holds", mutex.name())
        };
        of.broke(verifier::of_mutex(ranks[at]), name, what);
    }
    outcome
}

#[cold]
fn unwound(subject: Subject<'_>, name: Callback, payload: &(dyn Any + Send)) {
    if payload.is::<Abandoned>() {
        return;
    }
    if let Some(filter) = subject.filter.upgrade() {
        let object = filter.describe_object(subject.id());
        filter.stop(panicked(name, &object, payload));
    }
}

/// Why an object is stopped whose callback panicked.
fn panicked(name: Callback, object: &str, payload: &(dyn Any + Send)) -> Refusal {
    let said = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let said = said.unwrap_or("no message");
    let reason = format!("the minidriver panicked in the {name} callback of {object}: {said}");
    Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason)
}

/// Runs a callback of a device as [`supervise`] does those of filters and pins; `None` when it did not return.
pub(crate) fn supervise_device<R>(
    device: &Arc<Device>,
    watched: &Watched,
    name: Callback,
    body: impl FnOnce() -> R,
) -> Option<R> {
    let _running = match watchdog::is_watching() {
        false => None,
        true if watched.is_given_up() => return None,
        true => Some(watchdog::begin(watched.number, name)),
    };
    let outcome = match verifier::is_enabled() {
        false => catch_unwind(AssertUnwindSafe(body)),
        true => {
            let mutexes = [Some(device.mutex()), None, None];
            let of_level = match name {
                Callback::FACTORY_SLEEP | Callback::FACTORY_WAKE => Rule::IrqlFilterCallbacks,
                _ => Rule::IrqlDeviceCallbacks,
            };
            compare(Blamed::Device(device.clone()), mutexes, of_level, name, body)
        }
    };
    outcome
        .map_err(|payload| {
            if !payload.is::<Abandoned>() {
                device.stop_filters(panicked(name, device.device_name(), &*payload));
            }
        })
        .ok()
}

/// What a caller is told of a callback that did not return.
pub(crate) fn ended(name: Callback) -> Refusal {
    Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, format!("the {name} callback of the minidriver did not return"))
}

/// A process callback may return STATUS_SUCCESS, STATUS_PENDING, and an error, which counts as STATUS_PENDING.
#[inline]
fn check_process(subject: Subject<'_>, name: Callback, status: NtStatus) -> NtStatus {
    if status == STATUS_SUCCESS || status == STATUS_PENDING || !status.is_success() {
        return status;
    }
    returned(subject, Rule::CallbackReturn, name, status);
    STATUS_PENDING
}

#[cold]
fn returned(subject: Subject<'_>, rule: Rule, name: Callback, status: NtStatus) {
    if let Some(filter) = subject.filter.upgrade() {
        filter.broke(rule, name.name(), subject.id(), format!("it returned {status}, which it may not"));
    }
}

/// A refusal has the status of an error: a callback that cannot be waited for does not pend, and success is no refusal.
fn check_refusal<R>(subject: Subject<'_>, name: Callback, answer: Option<Result<R, Refusal>>) -> Result<R, Refusal> {
    let answer = answer.unwrap_or_else(|| Err(ended(name)));
    if let Err(refusal) = &answer
        && refusal.status.is_success()
    {
        let pends = refusal.status == STATUS_PENDING && matches!(name, Callback::CREATE_PIN | Callback::FILTER_CREATE);
        let rule = if pends { Rule::MarkPendingIrp } else { Rule::CallbackReturn };
        returned(subject, rule, name, refusal.status);
        let reason = format!("{name} returned {}, which it may not", refusal.status);
        return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
    }
    answer
}

/// What a create has come to.
pub(crate) enum Made<I: ?Sized + 'static> {
    Now(Arc<I>),
    /// The minidriver ends it later.
    Later(AwaitedCreate<I>),
}

/// The outcome of a create callback, which STATUS_PENDING ends if and only if it has marked the create.
fn check_create<I: ?Sized + 'static>(
    subject: Subject<'_>,
    name: Callback,
    marked: Option<AwaitedCreate<I>>,
    answer: Option<Result<Arc<I>, Refusal>>,
) -> Result<Made<I>, Refusal> {
    let Some(marked) = marked else { return check_refusal(subject, name, answer).map(Made::Now) };
    match answer {
        None => Err(ended(name)),
        Some(Err(refusal)) if refusal.status == STATUS_PENDING => Ok(Made::Later(marked)),
        Some(other) => {
            let status = other.map_or_else(|refusal| refusal.status, |_| STATUS_SUCCESS);
            let what = format!("it marked its request pending and returned {status}");
            if let Some(filter) = subject.filter.upgrade() {
                filter.broke(Rule::MarkPendingIrp, name.name(), subject.id(), what.clone());
            }
            Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, format!("{name}: {what}")))
        }
    }
}

/// A client opens a filter.
pub(crate) fn create_filter(
    filter: &Arc<Filter>,
    create: impl FnOnce() -> Result<Arc<dyn FilterInstance>, Refusal>,
) -> Result<Made<dyn FilterInstance>, Refusal> {
    let weak = Arc::downgrade(filter);
    let subject = Subject { filter: &weak, pin: None, watched: filter.watched() };
    let answer = supervise(subject, Callback::FILTER_CREATE, create);
    check_create(subject, Callback::FILTER_CREATE, filter.pended().create(), answer)
}

/// A filter, or one of its pins with its number.
type Owner = (Weak<Filter>, Option<(Weak<Pin>, PinId)>, Watched);

/// Whose object it is that answers a request, if it is one of a minidriver.
fn subject_of<T: 'static>(object: &T) -> Option<Owner> {
    let object: &dyn Any = object;
    if let Some(pin) = object.downcast_ref::<Pin>() {
        return Some((Arc::downgrade(pin.filter()), Some((pin.weak(), pin.id())), pin.filter().watched().clone()));
    }
    object.downcast_ref::<Filter>().map(|filter| (filter.weak(), None, filter.watched().clone()))
}

/// Runs a handler of a property, method or event.
#[inline]
pub(crate) fn answer<T: 'static>(object: &T, handler: impl FnOnce() -> NtStatus) -> NtStatus {
    if verifier::is_enabled() || watchdog::is_watching() {
        return answer_observed(object, handler);
    }
    match catch_unwind(AssertUnwindSafe(handler)) {
        Ok(status) if status != STATUS_PENDING => status,
        other => answer_unusual(object, other),
    }
}

/// A filter that was given up still answers: most handlers are the class driver's, and say why.
#[inline(never)]
fn answer_observed<T: 'static>(object: &T, handler: impl FnOnce() -> NtStatus) -> NtStatus {
    let outcome = match subject_of(object) {
        Some((filter, pin, watched)) => {
            let pin = pin.as_ref().map(|(pin, id)| (pin, *id));
            let _running = watchdog::is_watching().then(|| watchdog::begin(watched.number, Callback::HANDLER));
            match verifier::is_enabled() {
                false => catch_unwind(AssertUnwindSafe(handler)),
                true => observe(Subject { filter: &filter, pin, watched: &watched }, Callback::HANDLER, handler),
            }
        }
        None => catch_unwind(AssertUnwindSafe(handler)),
    };
    match outcome {
        Ok(status) if status != STATUS_PENDING => status,
        other => answer_unusual(object, other),
    }
}

/// A handler panicked, or pends. Objects that are none of AVStream's may pend: their driver has the request.
#[cold]
fn answer_unusual<T: 'static>(object: &T, outcome: std::thread::Result<NtStatus>) -> NtStatus {
    let Some((filter, pin, watched)) = subject_of(object) else {
        return outcome.unwrap_or_else(|payload| resume_unwind(payload));
    };
    let pin = pin.as_ref().map(|(pin, id)| (pin, *id));
    let subject = Subject { filter: &filter, pin, watched: &watched };
    match outcome {
        Ok(status) => returned(subject, Rule::CallbackReturn, Callback::HANDLER, status),
        Err(payload) => unwound(subject, Callback::HANDLER, &*payload),
    }
    STATUS_UNSUCCESSFUL
}
