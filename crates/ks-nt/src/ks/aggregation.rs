//! The IUnknown of AVStream objects, and aggregation: an object of the driver's answers for the interfaces that AVStream
//! does not know.
//!
//! What an object answers by itself: IUnknown, a filter or pin IKsControl, and a device IKsDeviceFunctions. IKsAllocator, IKsPin and the rest of the
//! interfaces of the proxy exist in user mode only, so that they are asked of the driver's object, like any other.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::control::{self, CONTROL, Controlled};
use crate::ks::device_functions::{self, DEVICE_FUNCTIONS};
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use ks_abi::{Guid, NtStatus, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use ks_mem::Block;
use ks_stream::Pin;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsRegisterAggregatedClientUnknown, KsGetOuterUnknown, KsPinGetConnectedPinInterface,
    KsPinGetConnectedFilterInterface,
);

/// IID_IUnknown
pub(crate) const UNKNOWN: Guid = Guid::from_u128(0x00000000_0000_0000_C000_000000000046);

/// The IUnknown of an AVStream object: one word in a block, which points at the methods. It lives as long as the object.
pub(crate) struct Outer {
    block: Block,
    object: u64,
    /// The driver's IUnknown; NULL while none is aggregated.
    client: Mutex<Address>,
    references: AtomicU32,
}

#[repr(C)]
struct Methods {
    query_interface: unsafe extern "win64" fn(Address, Address, Address) -> NtStatus,
    add_ref: unsafe extern "win64" fn(Address) -> u32,
    release: unsafe extern "win64" fn(Address) -> u32,
}

static METHODS: Methods = Methods { query_interface, add_ref, release };

/// The outer unknowns by the address of their object.
static OUTER: LazyLock<Mutex<HashMap<u64, Arc<Outer>>>> = LazyLock::new(|| Mutex::new(HashMap::new()));

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outer unknown of a living object, made when it is first asked for.
fn outer_of(object: u64) -> Option<Arc<Outer>> {
    let is_object = matches!(
        objects::find(Address(object)),
        Some(Object::Device(_) | Object::Factory(_) | Object::Filter(_) | Object::Pin(_))
    );
    if !is_object {
        return None;
    }
    let mut known = lock(&OUTER);
    if let Some(outer) = known.get(&object) {
        return Some(outer.clone());
    }
    let block = Block::zeroed(16, 16).ok()?;
    block.store_u64(0, std::ptr::from_ref(&METHODS) as u64);
    let made = Arc::new(Outer { block, object, client: Mutex::default(), references: AtomicU32::new(1) });
    objects::insert(made.block.address(), Object::Outer(made.clone()));
    known.insert(object, made.clone());
    Some(made)
}

/// The object goes, and its outer unknown with it.
pub(crate) fn forget(object: u64) {
    let gone = lock(&OUTER).remove(&object);
    if let Some(gone) = gone {
        drop(objects::remove(gone.block.address()));
        gone.aggregate(Address::NULL);
    }
}

impl Outer {
    /// Takes the driver's object in place of the one before.
    fn aggregate(&self, client: Address) {
        method(client, 8, "IUnknown::AddRef").map(|add_ref| add_ref.call1(client.0));
        let before = std::mem::replace(&mut *lock(&self.client), client);
        method(before, 16, "IUnknown::Release").map(|release| release.call1(before.0));
    }

    fn query(&self, iid: Address, result: Address) -> NtStatus {
        let wanted: Guid = iid.read();
        if wanted == UNKNOWN {
            self.references.fetch_add(1, Ordering::SeqCst);
            result.put_optional(self.block.address());
            return STATUS_SUCCESS;
        }
        if wanted == CONTROL
            && let Some(controlled) = controlled(self.object)
        {
            return control::make(controlled, self.object, result);
        }
        if wanted == DEVICE_FUNCTIONS && matches!(objects::find(Address(self.object)), Some(Object::Device(_))) {
            return device_functions::make(self.object, result);
        }
        let client = *lock(&self.client);
        match method(client, 0, "IUnknown::QueryInterface") {
            Some(query) => status(query.call3(client.0, iid.0, result.0)),
            None => {
                result.put_optional(0u64);
                STATUS_NOINTERFACE
            }
        }
    }
}

/// What IKsControl of an object controls: filters and pins have one.
fn controlled(object: u64) -> Option<Controlled> {
    match objects::find(Address(object))? {
        Object::Filter(filter) => Some(Controlled::Filter(Arc::downgrade(&filter.engine()?))),
        Object::Pin(pin) => Some(Controlled::Pin(Arc::downgrade(&pin.engine()?))),
        _ => None,
    }
}

fn method(this: Address, at: usize, name: &'static str) -> Option<Routine> {
    let methods = this.some()?.follow(0).some()?;
    Routine::optional(methods.follow(at), name)
}

/// Asks the outer unknown of an object for an interface.
pub(crate) fn query(object: u64, iid: Address, result: Address) -> NtStatus {
    match outer_of(object) {
        Some(outer) => outer.query(iid, result),
        None => {
            result.put_optional(0u64);
            STATUS_NOINTERFACE
        }
    }
}

fn find(this: Address, name: &'static str) -> Option<Arc<Outer>> {
    match objects::find(this) {
        Some(Object::Outer(outer)) => Some(outer),
        _ => {
            misuse::dead(name, "IUnknown", this.0);
            None
        }
    }
}

unsafe extern "win64" fn query_interface(this: Address, iid: Address, result: Address) -> NtStatus {
    match find(this, "IUnknown::QueryInterface") {
        Some(outer) => outer.query(iid, result),
        None => STATUS_INVALID_PARAMETER,
    }
}

unsafe extern "win64" fn add_ref(this: Address) -> u32 {
    find(this, "IUnknown::AddRef").map_or(0, |outer| outer.references.fetch_add(1, Ordering::SeqCst) + 1)
}

/// It lives as long as its object.
unsafe extern "win64" fn release(this: Address) -> u32 {
    let Some(outer) = find(this, "IUnknown::Release") else { return 0 };
    let before = outer.references.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
    before.map_or(0, |before| before - 1)
}

// ks-coverage: KsDeviceRegisterAggregatedClientUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterFactoryRegisterAggregatedClientUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterRegisterAggregatedClientUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsPinRegisterAggregatedClientUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsRegisterAggregatedClientUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsRegisterAggregatedClientUnknown(object: Address, client: Address) -> u64 {
    let Some(outer) = outer_of(object.0) else {
        misuse::dead("KsRegisterAggregatedClientUnknown", "AVStream object", object.0);
        return 0;
    };
    outer.aggregate(client);
    outer.block.address()
}

// ks-coverage: KsDeviceGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterFactoryGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsPinGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsGetOuterUnknown done test=a_driver_controls_its_own_objects_and_those_it_is_connected_to
pub(crate) unsafe extern "win64" fn KsGetOuterUnknown(object: Address) -> u64 {
    match outer_of(object.0) {
        Some(outer) => outer.block.address(),
        None => {
            misuse::dead("KsGetOuterUnknown", "AVStream object", object.0);
            0
        }
    }
}

/// The pin or filter at the other end of a pin.
#[derive(Clone, Copy)]
enum Which {
    Pin,
    Filter,
}

fn connected(pin: Address, which: Which, routine: &'static str, iid: Address, result: Address) -> NtStatus {
    let Some(pin) = objects::pin(pin, routine).and_then(|pin| pin.engine()) else {
        result.put_optional(0u64);
        return STATUS_INVALID_PARAMETER;
    };
    if let Some(peer) = pin.peer() {
        let object = address_of(&peer, which);
        if outer_of(object).is_some() {
            return query(object, iid, result);
        }
        // A driver in Rust has no unknown.
        let controlled = match which {
            Which::Pin => Controlled::Pin(Arc::downgrade(&peer)),
            Which::Filter => Controlled::Filter(Arc::downgrade(peer.filter())),
        };
        return control::query_stand_in(controlled, iid, result);
    }
    if pin.connected_file().is_none() {
        // Only a pin that sends requests knows where they go.
        result.put_optional(0u64);
        return STATUS_UNSUCCESSFUL;
    }
    let controlled = match which {
        Which::Pin => Controlled::ConnectedPin(Arc::downgrade(&pin)),
        Which::Filter => Controlled::ConnectedFilter(Arc::downgrade(&pin)),
    };
    control::query_stand_in(controlled, iid, result)
}

fn address_of(pin: &Arc<Pin>, which: Which) -> u64 {
    match which {
        Which::Pin => pin.address(),
        Which::Filter => pin.filter().block().address(),
    }
}

// ks-coverage: KsPinGetConnectedPinInterface done test=a_driver_controls_its_own_objects_and_those_it_is_connected_to,a_pin_controls_the_foreign_pin_that_it_is_connected_to
pub(crate) unsafe extern "win64" fn KsPinGetConnectedPinInterface(
    pin: Address,
    iid: Address,
    result: Address,
) -> NtStatus {
    connected(pin, Which::Pin, "KsPinGetConnectedPinInterface", iid, result)
}

/// Decision: STATUS_NOINTERFACE where the other filter is in another process: a host can name the pin that it was handed,
/// and nothing else of the other process.
// ks-coverage: KsPinGetConnectedFilterInterface done test=a_driver_controls_its_own_objects_and_those_it_is_connected_to,a_pin_controls_the_foreign_pin_that_it_is_connected_to
pub(crate) unsafe extern "win64" fn KsPinGetConnectedFilterInterface(
    pin: Address,
    iid: Address,
    result: Address,
) -> NtStatus {
    connected(pin, Which::Filter, "KsPinGetConnectedFilterInterface", iid, result)
}
