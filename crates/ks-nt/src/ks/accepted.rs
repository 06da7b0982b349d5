//! What a driver announces of its device: how it is cooled, and its adapter.
//!
//! Decision: no thermal zone of the machine reaches a software device. A driver's cooling routines are called by whoever
//! manages the device, as its power is (`ks pnp --test thermal`).

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::device::HostedDevice;
use crate::ks::misuse::misuse;
use crate::ks::objects;
use crate::ntoskrnl::irql;
use crate::report::BugCheck;
use ks_abi::{
    KsMultipleItem, NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_stream::{Cooling, DmaAdapter, ThermalState};
use zerocopy::IntoBytes;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsDeviceRegisterThermalDispatch, KsDeviceRegisterAdapterObject, KsHandleSizedListQuery, DllInitialize,
);

/// Decision: the page refuses two NULL parameters. A device that is none is a misuse, and a table without a routine says
/// nothing: both are refused with the same status.
// ks-coverage: KsDeviceRegisterThermalDispatch done test=a_device_is_cooled_and_its_clients_hear_how_hot_it_is,a_driver_cools_its_device_and_its_clients_hear_how_hot_it_is
pub(crate) unsafe extern "win64" fn KsDeviceRegisterThermalDispatch(device: Address, table: Address) -> NtStatus {
    irql::at_most(irql::PASSIVE, "KsDeviceRegisterThermalDispatch");
    if device.is_null() || table.is_null() {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    let Some(device) = objects::device(device, "KsDeviceRegisterThermalDispatch") else {
        return STATUS_INVALID_DEVICE_REQUEST;
    };
    let active = Routine::optional(table.follow(0), "ActiveCooling");
    let passive = Routine::optional(table.follow(8), "PassiveCooling");
    if active.is_none() && passive.is_none() {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    device.cool_by([active, passive]);
    STATUS_SUCCESS
}

/// Calls the routine of a driver that cools its device; how hot it is then. `None`: it has none.
pub(crate) fn cool(device: &HostedDevice, cooling: Cooling) -> Option<ThermalState> {
    let [active, passive] = device.cooled_by();
    let (routine, argument) = match cooling {
        Cooling::Engage => (active?, 1),
        Cooling::Disengage => (active?, 0),
        Cooling::LimitTo(percent) => (passive?, percent.into()),
    };
    let mut state = device.engine().thermal_state() as u32;
    routine.call3(device.address(), argument, &raw mut state as u64);
    Some(if state == ThermalState::Low as u32 { ThermalState::Low } else { ThermalState::High })
}

/// The adapter itself is the driver's affair: mappings describe plain memory.
pub(crate) unsafe extern "win64" fn KsDeviceRegisterAdapterObject(
    device: Address,
    _adapter: u64,
    most_mapping_bytes: u32,
    mapping_stride: u32,
) {
    let _ = register_adapter(device, most_mapping_bytes, mapping_stride, "KsDeviceRegisterAdapterObject");
}

/// Registers what a driver's device can take; a stride that cannot be is reported as a misuse of `routine`.
pub(crate) fn register_adapter(
    device: Address,
    most_mapping_bytes: u32,
    mapping_stride: u32,
    routine: &'static str,
) -> NtStatus {
    let Some(device) = objects::device(device, routine) else { return STATUS_INVALID_PARAMETER };
    match device.engine().register_adapter(DmaAdapter { most_mapping_bytes, mapping_stride }) {
        Ok(()) => STATUS_SUCCESS,
        Err(status) => {
            let reason =
                format!("a mapping of a table has {mapping_stride} bytes; a KSMAPPING has 16, and 4096 are the most");
            misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, routine, reason);
            status
        }
    }
}

/// Offsets in an IRP and its stack location.
mod irp {
    pub(super) const SYSTEM_BUFFER: usize = 24;
    pub(super) const INFORMATION: usize = 56;
    pub(super) const STACK: usize = 184;
    pub(super) const OUTPUT_LENGTH: usize = 8;
}

/// The most bytes that a list may have.
const MOST_LIST_BYTES: usize = 16 << 20;

/// Answers with a KSMULTIPLE_ITEM list: its size, or all of it.
pub(crate) unsafe extern "win64" fn KsHandleSizedListQuery(
    request: Address,
    count: u32,
    item_bytes: u32,
    items: Address,
) -> NtStatus {
    let head = size_of::<KsMultipleItem>();
    let needed = (count as usize).checked_mul(item_bytes as usize).and_then(|bytes| bytes.checked_add(head));
    let Some(needed) = needed.filter(|needed| *needed <= MOST_LIST_BYTES) else { return STATUS_INVALID_PARAMETER };
    let room: u32 = request.follow(irp::STACK).get(irp::OUTPUT_LENGTH);
    let buffer = request.follow(irp::SYSTEM_BUFFER);
    match room as usize {
        0 => {
            request.put(irp::INFORMATION, needed as u64);
            STATUS_BUFFER_OVERFLOW
        }
        4 => {
            buffer.put(0, needed as u32);
            request.put(irp::INFORMATION, 4u64);
            STATUS_SUCCESS
        }
        room if room < needed => {
            request.put(irp::INFORMATION, 0u64);
            STATUS_BUFFER_TOO_SMALL
        }
        _ => {
            buffer.write_bytes(KsMultipleItem { size: needed as u32, count }.as_bytes());
            buffer.at(head).write_bytes(&items.bytes(needed - head));
            request.put(irp::INFORMATION, needed as u64);
            STATUS_SUCCESS
        }
    }
}

/// The entry of an export library, which drivers do not call.
pub(crate) unsafe extern "win64" fn DllInitialize(_path: u64) -> NtStatus {
    STATUS_SUCCESS
}
