//! The rules that a call of `ks.sys` can break, looked at before the routine runs.

use crate::ks::address::Address;
use crate::ks::filter::HostedFilter;
use crate::ks::objects::{self, Object};
use crate::ks::stream_pointer::Pointer;
use crate::report;
use crate::report::Broken;
use crate::verifier::places::Site;
use crate::verifier::thunk::Record;
use crate::verifier::{Called, broken, in_device_callback, level_name, places, tell};
use ks_abi::kernel::{KsStreamPointer, KsStreamPointerState};
use ks_abi::{KsPinDataFlow, KsState, KsStreamHeader};
use ks_io::{Level, RankedMutex};
use ks_stream::Rule;
use std::cell::RefCell;
use std::mem::offset_of;
use std::sync::Arc;

/// The first four words that a routine was given.
pub(super) type Arguments = [u64; 4];

/// A call, as the driver made it.
#[repr(C)]
pub(super) struct Call {
    pub(super) arguments: Arguments,
    /// Where it goes on behind the call.
    pub(super) returns_to: u64,
}

impl Call {
    pub(super) fn place(&self) -> Site {
        Site::of(self.returns_to)
    }
}

/// Whether a call goes on to its routine. One that could only harm goes back, as if it had succeeded.
#[derive(PartialEq)]
pub(super) enum Goes {
    On,
    Back,
}

/// A mutex that a driver can take.
#[derive(Clone, Copy, PartialEq)]
enum Mutex {
    Device,
    Control,
    Processing,
}

impl Mutex {
    fn rule(self) -> Rule {
        match self {
            Mutex::Device => Rule::DeviceMutex,
            Mutex::Control => Rule::FilterMutex,
            Mutex::Processing => Rule::ProcessingMutex,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Mutex::Device => "device",
            Mutex::Control => "filter control",
            Mutex::Processing => "processing",
        }
    }
}

thread_local! {
    /// The mutexes that the driver has taken on this thread and not given back.
    static TAKEN: RefCell<Vec<Take>> = const { RefCell::new(Vec::new()) };
}

/// A mutex that was taken: of which object, and where in the driver.
struct Take {
    mutex: Mutex,
    object: u64,
    place: Site,
}

/// How many mutexes the driver had on this thread at some time.
#[derive(Clone, Copy)]
pub(crate) struct Taken(usize);

impl Taken {
    pub(crate) fn now() -> Taken {
        Taken(TAKEN.with(|taken| taken.borrow().len()))
    }
}

/// A routine of the driver's has returned: it has given back what it took.
pub(super) fn check_taken(called: Called, before: Taken) {
    let left = TAKEN.with(|taken| {
        let mut taken = taken.borrow_mut();
        let from = before.0.min(taken.len());
        taken.split_off(from)
    });
    for Take { mutex, object, place } in left.into_iter().rev() {
        let _ = with(mutex, Address(object), RankedMutex::release);
        let what = format!("took the {} mutex and did not give it back", mutex.name());
        tell(Broken::by(mutex.rule(), called.routine).done_at(Some(place.address())), object, &what);
    }
}

/// Looks at a call, and reports the rule that it breaks.
pub(super) fn check(record: &Record, call: &Call) -> Goes {
    places::called_from(call.place());
    let arguments = &call.arguments;
    if let Some(most) = record.most.filter(|most| Level::current() > *most) {
        let what = format!(
            "is called at {}; {} is the highest level at which it may be",
            level_name(Level::current()),
            level_name(most)
        );
        broken(Rule::IrqlDdis, record.name, arguments[0], &what);
        return Goes::Back;
    }
    let first = Address(arguments[0]);
    match record.name {
        "KsPinGetLeadingEdgeStreamPointer" | "KsPinGetTrailingEdgeStreamPointer" => {
            edge_is_got(record.name, call);
            Goes::On
        }
        name if name.starts_with("KsStreamPointer") => stream_pointer(record.name, call),
        "KsAcquireDevice" => acquire(record.name, Mutex::Device, call),
        "KsReleaseDevice" => release(record.name, Mutex::Device, first),
        "KsAcquireControl" => acquire(record.name, Mutex::Control, call),
        "KsReleaseControl" => release(record.name, Mutex::Control, first),
        "KsPinAcquireProcessingMutex" | "KsFilterAcquireProcessingMutex" => {
            acquire(record.name, Mutex::Processing, call)
        }
        "KsPinReleaseProcessingMutex" | "KsFilterReleaseProcessingMutex" => {
            release(record.name, Mutex::Processing, first)
        }
        "IofCompleteRequest" | "IoCompleteRequest" => complete(record.name, first),
        _ => {
            required_mutex(record.name, arguments);
            Goes::On
        }
    }
}

// Mutexes.

/// The filter of a filter or pin.
fn filter_of(object: Address) -> Option<Arc<HostedFilter>> {
    match objects::find(object)? {
        Object::Filter(filter) => Some(filter),
        Object::Pin(pin) => Some(pin.filter().clone()),
        _ => None,
    }
}

/// Asks a mutex of an object something; `None`: the object has none, which the routine itself reports.
fn with<R>(mutex: Mutex, object: Address, ask: impl FnOnce(&RankedMutex) -> R) -> Option<R> {
    match mutex {
        Mutex::Device => match objects::find(object)? {
            Object::Device(device) => Some(ask(device.engine().mutex())),
            _ => None,
        },
        Mutex::Control => Some(ask(filter_of(object)?.engine()?.control())),
        Mutex::Processing => match objects::find(object)? {
            Object::Pin(pin) => Some(ask(pin.engine()?.processing_mutex())),
            Object::Filter(filter) => filter.engine()?.processing_mutex().map(ask),
            _ => None,
        },
    }
}

fn is_held(mutex: Mutex, object: Address) -> bool {
    with(mutex, object, RankedMutex::is_held_by_current).unwrap_or(false)
}

/// Does the thread hold the processing mutex of a filter or of one of its pins?
fn holds_processing(filter: &HostedFilter) -> bool {
    let own = is_held(Mutex::Processing, Address(filter.address()));
    own || filter.all_pins().iter().any(|pin| is_held(Mutex::Processing, Address(pin.address())))
}

fn acquire(routine: &'static str, mutex: Mutex, call: &Call) -> Goes {
    let object = Address(call.arguments[0]);
    // A thread that has the device mutex may take it again.
    if mutex != Mutex::Device && is_held(mutex, object) {
        let what = format!("the thread holds the {} mutex already and would wait for itself", mutex.name());
        broken(mutex.rule(), routine, object.0, &what);
        return Goes::Back;
    }
    if mutex == Mutex::Control && filter_of(object).is_some_and(|filter| holds_processing(&filter)) {
        let what = "the thread holds the processing mutex, which is taken after the filter control mutex";
        broken(Rule::ProcessingMutex, routine, object.0, what);
        return Goes::Back;
    }
    TAKEN.with(|taken| taken.borrow_mut().push(Take { mutex, object: object.0, place: call.place() }));
    Goes::On
}

fn release(routine: &'static str, mutex: Mutex, object: Address) -> Goes {
    if with(mutex, object, RankedMutex::is_held_by_current) == Some(false) {
        let what = format!("the thread does not hold the {} mutex", mutex.name());
        broken(mutex.rule(), routine, object.0, &what);
        return Goes::Back;
    }
    TAKEN.with(|taken| {
        let mut taken = taken.borrow_mut();
        if let Some(at) = taken.iter().rposition(|known| known.mutex == mutex && known.object == object.0) {
            taken.remove(at);
        }
    });
    Goes::On
}

// Stream pointers.

/// An edge that is got locked is to be unlocked by who got it.
fn edge_is_got(routine: &'static str, call: &Call) {
    if KsStreamPointerState(call.arguments[1] as u32) != KsStreamPointerState::LOCKED {
        return;
    }
    if let Some(Object::Pin(pin)) = objects::find(Address(call.arguments[0])) {
        let is_trailing = routine == "KsPinGetTrailingEdgeStreamPointer";
        let edge = if is_trailing { pin.trailing_edge() } else { pin.edge() };
        edge.into_iter().for_each(|edge| places::set(edge.address(), call.place()));
    }
}

fn stream_pointer(routine: &'static str, call: &Call) -> Goes {
    let arguments = &call.arguments;
    let address = Address(arguments[0]);
    let Some(Object::Pointer(pointer)) = objects::find(address) else {
        let what = format!("{:#x} is no edge and no living clone", address.0);
        broken(Rule::InvalidStreamPointer, routine, address.0, &what);
        return Goes::Back;
    };
    let ejects = match routine {
        "KsStreamPointerUnlock" => arguments[1] as u8 != 0,
        "KsStreamPointerAdvance" | "KsStreamPointerDelete" => true,
        _ => false,
    };
    let already = match routine {
        "KsStreamPointerLock" => pointer.is_locked().then_some("locked"),
        "KsStreamPointerUnlock" | "KsStreamPointerAdvanceOffsetsAndUnlock" => {
            (!pointer.is_locked()).then_some("unlocked")
        }
        _ => None,
    };
    if routine == "KsStreamPointerDelete" && !pointer.is_clone() {
        let what = "an edge of the queue cannot be deleted; only clones can".to_owned();
        broken(Rule::InvalidStreamPointer, routine, address.0, &what);
        return Goes::Back;
    }
    if let Some(already) = already {
        broken(Rule::StreamPointerLock, routine, address.0, &format!("the stream pointer is {already} already"));
        return Goes::Back;
    }
    if routine == "KsStreamPointerLock" && !pointer.is_clone() {
        places::set(address.0, call.place());
    }
    if ejects {
        frame_goes(routine, address, &pointer);
    }
    Goes::On
}

/// A frame of an output leaves: with data in it, only from PAUSE on. A driver that is told of a state may empty its queue.
fn frame_goes(routine: &'static str, address: Address, pointer: &Pointer) {
    let Some(pin) = pointer.pin().and_then(|pin| pin.engine()) else { return };
    let told = report::in_hand().is_some_and(|in_hand| in_hand.routine == "pin SetDeviceState");
    if told || pin.data_flow() != KsPinDataFlow::OUT || pin.state() >= KsState::PAUSE || !pointer.is_locked() {
        return;
    }
    let header = address.follow(offset_of!(KsStreamPointer, stream_header));
    if !header.is_null() && header.get::<u32>(offset_of!(KsStreamHeader, data_used)) > 0 {
        broken(Rule::StateSteps, routine, address.0, &format!("a frame with data leaves the pin in {}", pin.state()));
    }
}

/// A request that stands in a queue is the class driver's to complete.
fn complete(routine: &'static str, irp: Address) -> Goes {
    let queued = objects::all().into_iter().find_map(|object| match object {
        Object::Pointer(pointer) => pointer.request().filter(|request| request.irp == irp.0).map(|_| pointer),
        _ => None,
    });
    if let Some(pointer) = queued {
        let what = format!("the request at {:#x} stands in the queue of a pin, which completes it", irp.0);
        broken(Rule::QueuedRequests, routine, pointer.address(), &what);
        return Goes::Back;
    }
    Goes::On
}

// Mutexes that routines need.

fn has_device(device: Address) -> bool {
    in_device_callback() || is_held(Mutex::Device, device)
}

/// The mutex of an object's bag and children, and whether the thread has it.
fn own_mutex(object: &Object) -> Option<(Mutex, bool)> {
    let of_filter = |filter: &HostedFilter| (Mutex::Control, is_held(Mutex::Control, Address(filter.address())));
    match object {
        Object::Device(device) | Object::Functional(device) => {
            Some((Mutex::Device, has_device(Address(device.address()))))
        }
        Object::Factory(factory) => {
            let device = factory.device()?;
            Some((Mutex::Device, has_device(Address(device.address()))))
        }
        Object::Filter(filter) => Some(of_filter(filter)),
        Object::Pin(pin) => Some(of_filter(pin.filter())),
        _ => None,
    }
}

/// The mutex that keeps the siblings of an object where they are.
fn sibling_mutex(object: &Object) -> Option<(Mutex, bool)> {
    match object {
        Object::Filter(filter) => Some((Mutex::Device, has_device(Address(filter.device().address())))),
        other => own_mutex(other),
    }
}

/// The object that a bag belongs to; `None` for a bag that a driver has made for itself.
pub(super) fn owner_of_bag(handle: u64) -> Option<Address> {
    objects::all().into_iter().find_map(|object| {
        let address = match object {
            Object::Device(device) => device.address(),
            Object::Factory(factory) => factory.address(),
            Object::Filter(filter) => filter.address(),
            Object::Pin(pin) => pin.address(),
            _ => return None,
        };
        // The bag is the second word of each.
        (Address(address).follow(8).0 == handle).then_some(Address(address))
    })
}

fn required_mutex(routine: &'static str, arguments: &Arguments) {
    let own = |at: usize| own_mutex(&objects::find(Address(arguments[at]))?);
    let sibling = |at: usize| sibling_mutex(&objects::find(Address(arguments[at]))?);
    let bag = |at: usize| own_mutex(&objects::find(owner_of_bag(arguments[at])?)?);
    // Which argument needs which mutex.
    let needed: Vec<(usize, Option<(Mutex, bool)>)> = match routine {
        "KsFilterCreateNode"
        | "KsFilterCreatePinFactory"
        | "KsFilterAddTopologyConnections"
        | "KsCreateFilterFactory"
        | "KsGetFirstChild"
        | "KsFilterGetFirstChildPin"
        | "KsFilterGetChildPinCount" => vec![(0, own(0))],
        "KsGetNextSibling" | "KsPinGetNextSiblingPin" => vec![(0, sibling(0))],
        "KsAddItemToObjectBag" | "KsRemoveItemFromObjectBag" | "_KsEdit" => vec![(0, bag(0))],
        "KsCopyObjectBagItems" => vec![(0, bag(0)), (1, bag(1))],
        "KsMergeAutomationTables" => vec![(3, bag(3))],
        _ => return,
    };
    let missing = needed.into_iter().find_map(|(at, needed)| Some((at, needed.filter(|(_, held)| !held)?.0)));
    if let Some((at, mutex)) = missing {
        broken(Rule::RequiredMutex, routine, arguments[at], &format!("is called without the {} mutex", mutex.name()));
    }
}
