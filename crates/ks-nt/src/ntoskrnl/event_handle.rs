//! Events that a driver has handles of, with and without names, and waiting by handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ks_abi::NtStatus;

use super::block::Block;
use super::dispatcher::{self, Alertable, Rule};
use super::object_manager::{self, Kind, Object};
use super::{event, irql, thread, thread_handle};
use crate::exports;
use crate::exports::Export;

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ZwCreateEvent, ZwOpenEvent, ZwSetEvent, ZwResetEvent, ZwClearEvent, ZwWaitForSingleObject,
    IoCreateNotificationEvent, IoCreateSynchronizationEvent,
);

/// EVENT_ALL_ACCESS
const ALL_ACCESS: u32 = 0x1F_0003;
/// OBJECT_ATTRIBUTES: where its name and its flags are, and the flag that allows an object which is there already.
const OBJECT_NAME: usize = 16;
const ATTRIBUTES: usize = 24;
const OBJ_OPENIF: u32 = 0x80;

const NOTIFICATION_EVENT: u32 = 0;
const SYNCHRONIZATION_EVENT: u32 = 1;

/// A KEVENT of the kernel's own.
struct EventObject {
    event: Block,
    _memory: Box<[u64; 3]>,
}

impl Object for EventObject {
    fn kind(&self) -> Kind {
        Kind::Event
    }

    fn address(&self) -> *mut u8 {
        self.event.pointer()
    }
}

impl EventObject {
    fn new(kind: u32, state: u8) -> Arc<Self> {
        let mut memory = Box::new([0u64; 3]);
        // SAFETY: the memory is as large as a KEVENT and lives as long as this object.
        let event = unsafe { Block::at(memory.as_mut_ptr().cast()) };
        // SAFETY: as above.
        unsafe { event::KeInitializeEvent(event, kind, state) };
        Arc::new(Self { event, _memory: memory })
    }
}

/// Events with names, as long as they live. Letters of either case are the same.
static NAMED: Mutex<BTreeMap<String, Weak<EventObject>>> = Mutex::new(BTreeMap::new());

/// The text of a UNICODE_STRING: its length in bytes, and at 8 its buffer.
fn text(string: Block) -> String {
    let units = usize::from(string.get::<u16>(0)) / 2;
    let buffer = string.get_block(8);
    let units: Vec<u16> = (0..units).map(|index| buffer.get(index * 2)).collect();
    String::from_utf16_lossy(&units).to_lowercase()
}

fn name(attributes: Block) -> Option<String> {
    attributes.optional()?.get_block(OBJECT_NAME).optional().map(text)
}

fn existing(name: &str) -> Option<Arc<EventObject>> {
    NAMED.lock().unwrap_or_else(PoisonError::into_inner).get(name)?.upgrade()
}

/// The event of this name, which is made if there is none; true if it was there.
fn named(name: String, kind: u32, state: u8) -> (Arc<EventObject>, bool) {
    let mut events = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    events.retain(|_, event| event.strong_count() != 0);
    if let Some(event) = events.get(&name).and_then(Weak::upgrade) {
        return (event, true);
    }
    let event = EventObject::new(kind, state);
    events.insert(name, Arc::downgrade(&event));
    (event, false)
}

pub(crate) unsafe extern "win64" fn ZwCreateEvent(
    handle: Block,
    access: u32,
    attributes: Block,
    kind: u32,
    state: u8,
) -> NtStatus {
    irql::at_most(irql::PASSIVE, "ZwCreateEvent");
    if kind > SYNCHRONIZATION_EVENT {
        return NtStatus::STATUS_INVALID_PARAMETER;
    }
    let event = match name(attributes) {
        None => EventObject::new(kind, state),
        Some(name) => match named(name, kind, state) {
            (_, true) if attributes.get::<u32>(ATTRIBUTES) & OBJ_OPENIF == 0 => {
                return NtStatus::STATUS_OBJECT_NAME_COLLISION;
            }
            (event, _) => event,
        },
    };
    handle.put(0, object_manager::open(event, access));
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ZwOpenEvent(handle: Block, access: u32, attributes: Block) -> NtStatus {
    irql::at_most(irql::PASSIVE, "ZwOpenEvent");
    let Some(name) = name(attributes) else { return NtStatus::STATUS_INVALID_PARAMETER };
    match existing(&name) {
        Some(event) => {
            handle.put(0, object_manager::open(event, access));
            NtStatus::STATUS_SUCCESS
        }
        None => NtStatus::STATUS_OBJECT_NAME_NOT_FOUND,
    }
}

/// Does something with the event of a handle, which is referenced meanwhile.
fn with(handle: u64, previous: Block, action: impl FnOnce(Block) -> i32) -> NtStatus {
    let Some(object) = object_manager::by_handle(handle) else { return NtStatus::STATUS_INVALID_HANDLE };
    if object.kind() != Kind::Event {
        return NtStatus::STATUS_OBJECT_TYPE_MISMATCH;
    }
    // SAFETY: the address of an event is a KEVENT, and `object` holds it.
    let before = action(unsafe { Block::at(object.address()) });
    if let Some(previous) = previous.optional() {
        previous.put(0, before);
    }
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ZwSetEvent(handle: u64, previous: Block) -> NtStatus {
    with(handle, previous, event::set)
}

pub(crate) unsafe extern "win64" fn ZwResetEvent(handle: u64, previous: Block) -> NtStatus {
    // SAFETY: the event is referenced while this runs.
    with(handle, previous, |event| unsafe { event::KeResetEvent(event) })
}

pub(crate) unsafe extern "win64" fn ZwClearEvent(handle: u64) -> NtStatus {
    // SAFETY: the event is referenced while this runs.
    with(handle, Block::NULL, |event| unsafe { event::KeResetEvent(event) })
}

/// Waits for the event, thread or other object of a handle.
pub(crate) unsafe extern "win64" fn ZwWaitForSingleObject(handle: u64, alert: u8, due: Block) -> NtStatus {
    const ROUTINE: &str = "ZwWaitForSingleObject";
    irql::at_most(irql::PASSIVE, ROUTINE);
    let alertable = if alert != 0 { Alertable::Yes } else { Alertable::No };
    let timeout = due.optional().map(|due| due.get(0));
    let wait = |object| dispatcher::wait(ROUTINE, &[object], Rule::Any, alertable, timeout);
    if let Some(thread) = thread_handle::reference(handle) {
        let status = wait(thread);
        thread::dereference(thread);
        return status;
    }
    match object_manager::typed::<EventObject>(handle) {
        Ok(object) => wait(object.event),
        Err(status) => status,
    }
}

/// Opens or makes the named event; a new one is set. Returns its address, good until the handle is closed.
fn create_named(string: Block, handle: Block, kind: u32, routine: &'static str) -> Block {
    irql::at_most(irql::PASSIVE, routine);
    let (object, _) = named(text(string), kind, 1);
    let event = object.event;
    handle.put(0, object_manager::open(object, ALL_ACCESS));
    event
}

pub(crate) unsafe extern "win64" fn IoCreateNotificationEvent(name: Block, handle: Block) -> Block {
    create_named(name, handle, NOTIFICATION_EVENT, "IoCreateNotificationEvent")
}

pub(crate) unsafe extern "win64" fn IoCreateSynchronizationEvent(name: Block, handle: Block) -> Block {
    create_named(name, handle, SYNCHRONIZATION_EVENT, "IoCreateSynchronizationEvent")
}
