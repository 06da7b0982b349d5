//! Aggregation: an object of the driver's answers for the interfaces of an AVStream object that AVStream does not know.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use ks_abi::{Guid, NtStatus, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_mem::Block;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsRegisterAggregatedClientUnknown, KsGetOuterUnknown);

/// STATUS_NOINTERFACE
pub(crate) const NO_INTERFACE: NtStatus = NtStatus(0xC00002B9);
/// IID_IUnknown
pub(crate) const UNKNOWN: Guid = Guid::from_u128(0x00000000_0000_0000_C000_000000000046);

/// The IUnknown of an AVStream object: one word in a block, which points at the methods.
pub(crate) struct Outer {
    block: Block,
    object: u64,
    /// The driver's IUnknown.
    client: Address,
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

fn outer() -> MutexGuard<'static, HashMap<u64, Arc<Outer>>> {
    OUTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The object goes, and its outer unknown with it.
pub(crate) fn forget(object: u64) {
    let gone = outer().remove(&object);
    if let Some(gone) = gone {
        drop(objects::remove(gone.block.address()));
        method(gone.client, 16, "IUnknown::Release").map(|release| release.call1(gone.client.0));
    }
}

fn method(this: Address, at: usize, name: &'static str) -> Option<Routine> {
    let methods = this.some()?.follow(0).some()?;
    Routine::optional(methods.follow(at), name)
}

/// Asks an object's aggregated client for an interface.
pub(crate) fn query_client(object: u64, iid: Address, result: Address) -> NtStatus {
    let client = outer().get(&object).map(|outer| outer.client);
    match client.and_then(|client| Some((client, method(client, 0, "IUnknown::QueryInterface")?))) {
        Some((client, query)) => status(query.call3(client.0, iid.0, result.0)),
        None => {
            result.put_optional(0u64);
            NO_INTERFACE
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
    let Some(outer) = find(this, "IUnknown::QueryInterface") else { return STATUS_INVALID_PARAMETER };
    if iid.read::<Guid>() == UNKNOWN {
        outer.references.fetch_add(1, Ordering::SeqCst);
        result.put_optional(this.0);
        return STATUS_SUCCESS;
    }
    query_client(outer.object, iid, result)
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
pub(crate) unsafe extern "win64" fn KsRegisterAggregatedClientUnknown(object: Address, client: Address) -> u64 {
    let known = matches!(
        objects::find(object),
        Some(Object::Device(_) | Object::Factory(_) | Object::Filter(_) | Object::Pin(_))
    );
    if !known {
        misuse::dead("KsRegisterAggregatedClientUnknown", "AVStream object", object.0);
        return 0;
    }
    let Ok(block) = Block::zeroed(16, 16) else { return 0 };
    block.store_u64(0, std::ptr::from_ref(&METHODS) as u64);
    method(client, 8, "IUnknown::AddRef").map(|add_ref| add_ref.call1(client.0));
    // One client at a time: a new one takes the place of the one before.
    forget(object.0);
    let made = Arc::new(Outer { block, object: object.0, client, references: AtomicU32::new(1) });
    let address = made.block.address();
    objects::insert(address, Object::Outer(made.clone()));
    outer().insert(object.0, made);
    address
}

// ks-coverage: KsDeviceGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterFactoryGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsPinGetOuterUnknown done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetOuterUnknown(object: Address) -> u64 {
    outer().get(&object.0).map_or(0, |outer| outer.block.address())
}
