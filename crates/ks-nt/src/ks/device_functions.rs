//! IKsDeviceFunctions: what a device answers by itself beside IUnknown. A driver asks its outer unknown for it.
//!
//! Source: nf-ks-iksdevicefunctions-registeradapterobjectex.

use crate::ks::accepted;
use crate::ks::address::Address;
use crate::ks::aggregation;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use ks_abi::{Guid, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_mem::Block;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// IID_IKsDeviceFunctions
pub(crate) const DEVICE_FUNCTIONS: Guid = Guid::from_u128(0xE234F2E2_BD69_4F8C_B3F2_7CD79ED466BD);

/// One word in a block, which points at the methods.
pub(crate) struct DeviceFunctions {
    block: Block,
    /// Address of the KSDEVICE.
    device: u64,
    references: AtomicU32,
}

/// The methods in the order of the interface.
#[repr(C)]
struct Methods {
    query_interface: unsafe extern "win64" fn(Address, Address, Address) -> NtStatus,
    add_ref: unsafe extern "win64" fn(Address) -> u32,
    release: unsafe extern "win64" fn(Address) -> u32,
    register_adapter_object_ex: unsafe extern "win64" fn(Address, u64, u64, u32, u32, u32) -> NtStatus,
}

static METHODS: Methods = Methods { query_interface, add_ref, release, register_adapter_object_ex };

/// Makes the interface of a device with one reference and writes its address.
pub(crate) fn make(device: u64, result: Address) -> NtStatus {
    let Ok(block) = Block::zeroed(16, 16) else {
        result.put_optional(0u64);
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    block.store_u64(0, std::ptr::from_ref(&METHODS) as u64);
    let address = block.address();
    let functions = DeviceFunctions { block, device, references: AtomicU32::new(1) };
    objects::insert(address, Object::DeviceFunctions(Arc::new(functions)));
    result.put_optional(address);
    STATUS_SUCCESS
}

fn find(this: Address, method: &'static str) -> Option<Arc<DeviceFunctions>> {
    match objects::find(this) {
        Some(Object::DeviceFunctions(functions)) => Some(functions),
        _ => {
            misuse::dead(method, "IKsDeviceFunctions", this.0);
            None
        }
    }
}

unsafe extern "win64" fn query_interface(this: Address, iid: Address, result: Address) -> NtStatus {
    let Some(functions) = find(this, "IKsDeviceFunctions::QueryInterface") else { return STATUS_INVALID_PARAMETER };
    let wanted: Guid = iid.read();
    if wanted == DEVICE_FUNCTIONS {
        functions.references.fetch_add(1, Ordering::SeqCst);
        result.put_optional(this.0);
        return STATUS_SUCCESS;
    }
    aggregation::query(functions.device, iid, result)
}

unsafe extern "win64" fn add_ref(this: Address) -> u32 {
    find(this, "IKsDeviceFunctions::AddRef").map_or(0, |own| own.references.fetch_add(1, Ordering::SeqCst) + 1)
}

unsafe extern "win64" fn release(this: Address) -> u32 {
    let Some(functions) = find(this, "IKsDeviceFunctions::Release") else { return 0 };
    let left = functions.references.fetch_sub(1, Ordering::SeqCst).wrapping_sub(1);
    if left == 0 {
        drop(objects::remove(functions.block.address()));
    }
    left
}

/// The adapter, the description of the device and its map registers are the driver's affair: mappings describe plain
/// memory.
// ks-coverage: IKsDeviceFunctions.RegisterAdapterObjectEx done test=a_driver_steps_through_the_mappings_of_an_adapter_that_it_registered_by_its_device
unsafe extern "win64" fn register_adapter_object_ex(
    this: Address,
    _adapter: u64,
    _description: u64,
    _map_registers: u32,
    most_mapping_bytes: u32,
    mapping_stride: u32,
) -> NtStatus {
    const METHOD: &str = "IKsDeviceFunctions::RegisterAdapterObjectEx";
    let Some(functions) = find(this, METHOD) else { return STATUS_INVALID_PARAMETER };
    accepted::register_adapter(Address(functions.device), most_mapping_bytes, mapping_stride, METHOD)
}
