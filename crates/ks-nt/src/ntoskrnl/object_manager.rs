//! Objects that a driver has handles of and references to.
//!
//! An [`Object`] lives in an [`Arc`]; the table here holds it while a handle or a reference by address exists. A driver
//! also references objects by addresses that were never put here (its driver object, a thread): those are only counted,
//! so that a reference given back twice is reported.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use std::any::Any;
use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use ks_abi::status::{
    NtStatus, STATUS_ACCESS_DENIED, STATUS_INVALID_HANDLE, STATUS_NOT_SUPPORTED, STATUS_OBJECT_TYPE_MISMATCH,
    STATUS_SUCCESS,
};

use super::block::Block;
use super::driver_memory::{put, put_optional};
use super::{thread, thread_handle};
use crate::exports;
use crate::exports::{Export, Module, Target};
use crate::report::{self, BugCheck};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ObReferenceObjectByHandle, ObReferenceObjectByHandleWithTag, ObReferenceObjectByPointer,
    ObReferenceObjectByPointerWithTag, ObReferenceObjectByName, ObfReferenceObject, ObfReferenceObjectWithTag,
    ObfDereferenceObject, ObfDereferenceObjectWithTag, ObDereferenceObject, ObDereferenceObjectDeferDelete,
    ObDereferenceObjectDeferDeleteWithTag, ObCloseHandle, ObOpenObjectByPointer, ObIsKernelHandle, ZwClose, NtClose,
    ZwDuplicateObject, ZwMakeTemporaryObject, ObMakeTemporaryObject,
);

/// The variables of this file.
pub(crate) const DATA_EXPORTS: &[Export] = &[
    variable("IoFileObjectType", &TYPES[Kind::File as usize]),
    variable("IoDeviceObjectType", &TYPES[Kind::Device as usize]),
    variable("IoDriverObjectType", &TYPES[Kind::Driver as usize]),
    variable("ExEventObjectType", &TYPES[Kind::Event as usize]),
    variable("ExSemaphoreObjectType", &TYPES[Kind::Semaphore as usize]),
    variable("PsThreadType", &TYPES[Kind::Thread as usize]),
    variable("PsProcessType", &TYPES[Kind::Process as usize]),
    variable("CmKeyObjectType", &TYPES[Kind::Key as usize]),
];

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    File,
    Device,
    Driver,
    Event,
    Semaphore,
    Thread,
    Process,
    Key,
}

const KINDS: [Kind; 8] =
    [Kind::File, Kind::Device, Kind::Driver, Kind::Event, Kind::Semaphore, Kind::Thread, Kind::Process, Kind::Key];

/// A type object, or a variable that holds one's address. A type object holds its own address, because compilers do not
/// agree on whether a driver that writes `*IoFileObjectType` reads the variable once or twice.
#[allow(dead_code, reason = "a driver reads it")]
struct TypePointer(*const TypePointer);
// SAFETY: the address of a static that is never written.
unsafe impl Sync for TypePointer {}

macro_rules! types {
    ($($at:literal)*) => {
        static TYPE_OBJECTS: [TypePointer; KINDS.len()] = [$(TypePointer(&raw const TYPE_OBJECTS[$at])),*];
        static TYPES: [TypePointer; KINDS.len()] = [$(TypePointer(&raw const TYPE_OBJECTS[$at])),*];
    };
}

types!(0 1 2 3 4 5 6 7);

const fn variable(name: &'static str, pointer: &'static TypePointer) -> Export {
    Export { module: Module::Ntoskrnl, name, target: Target::Data(ptr::from_ref(pointer).cast()) }
}

/// An object of which a driver can have handles.
pub(crate) trait Object: Any + Send + Sync {
    /// What it is.
    fn kind(&self) -> Kind;

    /// Its body: what a reference by handle gives. NULL where drivers have no use for one.
    fn address(&self) -> *mut u8;

    /// The last handle was closed; references may go on.
    fn last_handle_closed(&self) {}

    /// The driver has done this to it, by its address: asked only of an event that stands for one outside of the kernel.
    fn was_changed(&self, _change: EventChange) {}
}

/// What a driver does to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventChange {
    Set,
    Clear,
    Pulse,
}

/// A handle that is closed when this is dropped. Whoever needs the object longer has referenced it.
pub(crate) struct OpenHandle(u64);

impl OpenHandle {
    /// Makes a handle, see [`open`].
    pub(crate) fn new(object: Arc<dyn Object>, access: u32) -> OpenHandle {
        OpenHandle(open(object, access))
    }

    /// Takes over a handle.
    pub(crate) fn of(handle: u64) -> OpenHandle {
        OpenHandle(handle)
    }

    /// The handle.
    pub(crate) fn handle(&self) -> u64 {
        self.0
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        let _ = close(self.0);
    }
}

struct Handle {
    object: Arc<dyn Object>,
    access: u32,
}

#[derive(Default)]
struct Table {
    handles: HashMap<u64, Handle>,
    last_handle: u64,
    /// Objects that are referenced by address, and how often.
    referenced: HashMap<usize, (Arc<dyn Object>, u64)>,
    /// Objects that can be referenced by address though nobody does yet.
    published: HashMap<usize, Weak<dyn Object>>,
    /// References to what was never put here.
    others: HashMap<usize, u64>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a handle; `access` is what it may be used for.
pub(crate) fn open(object: Arc<dyn Object>, access: u32) -> u64 {
    if !object.address().is_null() {
        publish(&object);
    }
    let mut table = table();
    table.last_handle += 4;
    let handle = table.last_handle;
    table.handles.insert(handle, Handle { object, access });
    handle
}

/// The object of a handle.
pub(crate) fn by_handle(handle: u64) -> Option<Arc<dyn Object>> {
    table().handles.get(&handle).map(|entry| entry.object.clone())
}

/// The object of a handle, if it is one of this type.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn typed<T: Object>(handle: u64) -> Result<Arc<T>, NtStatus> {
    let object: Arc<dyn Any + Send + Sync> = by_handle(handle).ok_or(STATUS_INVALID_HANDLE)?;
    object.downcast().map_err(|_| STATUS_OBJECT_TYPE_MISMATCH)
}

/// The access with which a handle was opened.
pub(crate) fn access_of(handle: u64) -> Option<u32> {
    table().handles.get(&handle).map(|entry| entry.access)
}

/// Holds an object for a reference by its address.
pub(crate) fn reference(object: Arc<dyn Object>) {
    let address = object.address() as usize;
    table().referenced.entry(address).or_insert((object, 0)).1 += 1;
}

/// Makes an object known by its address, as long as it lives.
pub(crate) fn publish(object: &Arc<dyn Object>) {
    let mut table = table();
    table.published.retain(|_, object| object.strong_count() != 0);
    table.published.insert(object.address() as usize, Arc::downgrade(object));
}

/// The object at an address.
pub(crate) fn by_address(address: *mut u8) -> Option<Arc<dyn Object>> {
    let table = table();
    let referenced = table.referenced.get(&(address as usize)).map(|(object, _)| object.clone());
    referenced.or_else(|| table.published.get(&(address as usize)).and_then(Weak::upgrade))
}

/// Closes a handle.
pub(crate) fn close(handle: u64) -> NtStatus {
    let mut table = table();
    let Some(closed) = table.handles.remove(&handle) else {
        drop(table);
        return if thread_handle::close(handle) { STATUS_SUCCESS } else { STATUS_INVALID_HANDLE };
    };
    let last = !table.handles.values().any(|other| Arc::ptr_eq(&other.object, &closed.object));
    drop(table);
    if last {
        closed.object.last_handle_closed();
    }
    STATUS_SUCCESS
}

/// Handles that are open, for a report of what a driver leaves behind.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn open_handles() -> usize {
    table().handles.len()
}

/// The block of an object that may be a thread.
fn block(address: *mut u8) -> Block {
    // SAFETY: the table of threads compares the address and reads nothing there.
    unsafe { Block::at(address) }
}

fn reference_address(address: *mut u8) {
    if thread::reference(block(address)) {
        return;
    }
    let mut table = table();
    let address = address as usize;
    if let Some((_, references)) = table.referenced.get_mut(&address) {
        *references += 1;
    } else if let Some(object) = table.published.get(&address).and_then(Weak::upgrade) {
        table.referenced.insert(address, (object, 1));
    } else {
        *table.others.entry(address).or_default() += 1;
    }
}

/// Gives back a reference; what dies with it dies with the table unlocked.
fn dereference_address(address: *mut u8, routine: &'static str) {
    if thread::dereference(block(address)) {
        return;
    }
    let mut table = table();
    let key = address as usize;
    if let Some((_, references)) = table.referenced.get_mut(&key) {
        *references -= 1;
        let dead = if *references == 0 { table.referenced.remove(&key) } else { None };
        drop(table);
        drop(dead);
        return;
    }
    match table.others.get_mut(&key) {
        Some(references) if *references > 1 => *references -= 1,
        Some(_) => {
            table.others.remove(&key);
        }
        None => {
            drop(table);
            report::misuse(
                BugCheck(0x18),
                routine,
                format!("the object at {address:?} is dereferenced more often than it was referenced"),
            );
        }
    }
}

fn kind_of_type(object_type: *const u64) -> Option<Kind> {
    KINDS.into_iter().find(|kind| ptr::eq(&raw const TYPE_OBJECTS[*kind as usize], object_type.cast()))
}

/// The body of a handle's object, with a reference. Access is checked only for a user-mode request, as documented.
pub(crate) unsafe extern "win64" fn ObReferenceObjectByHandle(
    handle: u64,
    access: u32,
    object_type: *const u64,
    mode: u8,
    object: *mut *mut u8,
    information: *mut [u32; 2],
) -> NtStatus {
    put(object, ptr::null_mut());
    let Some(found) = by_handle(handle) else {
        return reference_thread(handle, object_type, object);
    };
    if !object_type.is_null() && kind_of_type(object_type) != Some(found.kind()) {
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    let granted = access_of(handle).unwrap_or(0);
    if mode != 0 && access & !granted != 0 {
        return STATUS_ACCESS_DENIED;
    }
    put_optional(information, [0, granted]);
    put(object, found.address());
    reference(found);
    STATUS_SUCCESS
}

/// Handles of threads have a table of their own.
unsafe fn reference_thread(handle: u64, object_type: *const u64, object: *mut *mut u8) -> NtStatus {
    let Some(thread) = thread_handle::reference(handle) else { return STATUS_INVALID_HANDLE };
    if !object_type.is_null() && kind_of_type(object_type) != Some(Kind::Thread) {
        thread::dereference(thread);
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    put(object, thread.pointer());
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ObReferenceObjectByHandleWithTag(
    handle: u64,
    access: u32,
    object_type: *const u64,
    mode: u8,
    _tag: u32,
    object: *mut *mut u8,
    information: *mut [u32; 2],
) -> NtStatus {
    ObReferenceObjectByHandle(handle, access, object_type, mode, object, information)
}

pub(crate) unsafe extern "win64" fn ObReferenceObjectByPointer(
    object: *mut u8,
    _access: u32,
    object_type: *const u64,
    _mode: u8,
) -> NtStatus {
    let known = by_address(object).map(|object| object.kind());
    if known.is_some_and(|kind| !object_type.is_null() && kind_of_type(object_type) != Some(kind)) {
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    reference_address(object);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ObReferenceObjectByPointerWithTag(
    object: *mut u8,
    access: u32,
    object_type: *const u64,
    mode: u8,
    _tag: u32,
) -> NtStatus {
    ObReferenceObjectByPointer(object, access, object_type, mode)
}

/// Refused: objects of other drivers are not reached by name here.
pub(crate) unsafe extern "win64" fn ObReferenceObjectByName(
    _name: *const u8,
    _attributes: u32,
    _access_state: *const u8,
    _access: u32,
    _object_type: *const u64,
    _mode: u8,
    _context: *const u8,
    object: *mut *mut u8,
) -> NtStatus {
    put_optional(object, ptr::null_mut());
    STATUS_NOT_SUPPORTED
}

pub(crate) unsafe extern "win64" fn ObfReferenceObject(object: *mut u8) -> i64 {
    reference_address(object);
    1
}

pub(crate) unsafe extern "win64" fn ObfReferenceObjectWithTag(object: *mut u8, _tag: u32) -> i64 {
    reference_address(object);
    1
}

pub(crate) unsafe extern "win64" fn ObfDereferenceObject(object: *mut u8) -> i64 {
    dereference_address(object, "ObfDereferenceObject");
    0
}

pub(crate) unsafe extern "win64" fn ObDereferenceObject(object: *mut u8) -> i64 {
    dereference_address(object, "ObDereferenceObject");
    0
}

pub(crate) unsafe extern "win64" fn ObfDereferenceObjectWithTag(object: *mut u8, _tag: u32) -> i64 {
    dereference_address(object, "ObfDereferenceObjectWithTag");
    0
}

pub(crate) unsafe extern "win64" fn ObDereferenceObjectDeferDelete(object: *mut u8) {
    dereference_address(object, "ObDereferenceObjectDeferDelete");
}

pub(crate) unsafe extern "win64" fn ObDereferenceObjectDeferDeleteWithTag(object: *mut u8, _tag: u32) {
    dereference_address(object, "ObDereferenceObjectDeferDeleteWithTag");
}

/// A handle of an object that the driver has a reference to.
pub(crate) unsafe extern "win64" fn ObOpenObjectByPointer(
    object: *mut u8,
    _attributes: u32,
    _access_state: *const u8,
    access: u32,
    _object_type: *const u64,
    _mode: u8,
    handle: *mut u64,
) -> NtStatus {
    let Some(known) = by_address(object) else { return STATUS_NOT_SUPPORTED };
    put(handle, open(known, access));
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ObCloseHandle(handle: u64, _mode: u8) -> NtStatus {
    close(handle)
}

pub(crate) unsafe extern "win64" fn ZwClose(handle: u64) -> NtStatus {
    close(handle)
}

pub(crate) unsafe extern "win64" fn NtClose(handle: u64) -> NtStatus {
    close(handle)
}

/// Every handle of a driver is one of the kernel.
pub(crate) unsafe extern "win64" fn ObIsKernelHandle(_handle: u64) -> u8 {
    1
}

/// Within the one process.
pub(crate) unsafe extern "win64" fn ZwDuplicateObject(
    _source_process: u64,
    source: u64,
    _target_process: u64,
    target: *mut u64,
    access: u32,
    _attributes: u32,
    options: u32,
) -> NtStatus {
    const CLOSE_SOURCE: u32 = 1;
    const SAME_ACCESS: u32 = 2;
    let Some(object) = by_handle(source) else { return STATUS_INVALID_HANDLE };
    let granted = access_of(source).unwrap_or(0);
    if !target.is_null() {
        put(target, open(object, if options & SAME_ACCESS != 0 { granted } else { access }));
    }
    if options & CLOSE_SOURCE != 0 {
        return close(source);
    }
    STATUS_SUCCESS
}

/// No object here outlives its handles by a name.
pub(crate) unsafe extern "win64" fn ZwMakeTemporaryObject(handle: u64) -> NtStatus {
    if by_handle(handle).is_some() { STATUS_SUCCESS } else { STATUS_INVALID_HANDLE }
}

pub(crate) unsafe extern "win64" fn ObMakeTemporaryObject(_object: *mut u8) {}
