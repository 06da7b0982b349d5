//! Filters without pins of KS, which a driver registers for graph builders.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::medium_cache;
use crate::ntoskrnl::{driver_memory, io_interface, irql, registry};
use ks_abi::kernel::UnicodeString;
use ks_abi::{Guid, KSMEDIUMSETID_Standard, KsPinMedium, NtStatus, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsRegisterFilterWithNoKSPins);

/// More pins are a mistake.
const MOST_PINS: u32 = 256;
const KEY: &str = "FilterData";

/// Registers an interface of the class for the device, with the key FilterData below the interface's, and enters the pins
/// under their mediums in the cache.
///
/// Decision: the page says what is in the key and not in which form: here the values `Directions` (an array of BOOL, TRUE
/// for an output), `Mediums` (of KSPIN_MEDIUM) and, if there are any, `Categories` (of GUID), all REG_BINARY, a pin after
/// the other.
// ks-coverage: KsRegisterFilterWithNoKSPins done test=a_driver_registers_a_filter_without_pins
pub(crate) unsafe extern "win64" fn KsRegisterFilterWithNoKSPins(
    device: u64,
    class: *const Guid,
    pins: u32,
    directions: Address,
    mediums: Address,
    categories: Address,
) -> NtStatus {
    irql::at_most(irql::PASSIVE, "KsRegisterFilterWithNoKSPins");
    if device == 0 || class.is_null() || directions.is_null() || mediums.is_null() || !(1..=MOST_PINS).contains(&pins) {
        return STATUS_INVALID_PARAMETER;
    }
    let mut link = UnicodeString::default();
    // SAFETY: the class is the driver's to read, and the link is written to.
    let registered = unsafe { io_interface::IoRegisterDeviceInterface(device, class, std::ptr::null(), &raw mut link) };
    if !registered.is_success() {
        return registered;
    }
    // SAFETY: the routine has just written it.
    let name = unsafe { driver_memory::text(&raw const link) };
    // SAFETY: the routine has allocated its buffer, which nothing refers to any more.
    unsafe { driver_memory::free_pool(link.buffer.0 as *mut u8) };
    let pins = pins as usize;
    let mut values =
        vec![("Directions", directions.bytes(4 * pins)), ("Mediums", mediums.bytes(size_of::<KsPinMedium>() * pins))];
    if let Some(categories) = categories.some() {
        values.push(("Categories", categories.bytes(size_of::<Guid>() * pins)));
    }
    let path = format!("{}\\{KEY}", registry::known_path(registry::Known::Interface));
    let written = {
        let mut tree = registry::tree();
        tree.create(0, &path).and_then(|key| {
            values.into_iter().try_for_each(|(name, data)| tree.set(key, name, registry::REG_BINARY, data))
        })
    };
    if let Err(status) = written {
        return status;
    }
    for pin in 0..pins {
        let medium: KsPinMedium = mediums.at(size_of::<KsPinMedium>() * pin).read();
        let is_output = directions.get::<u32>(4 * pin) != 0;
        if medium.set != KSMEDIUMSETID_Standard {
            let status = medium_cache::enter(&name, &medium, u32::from(is_output));
            if !status.is_success() {
                return status;
            }
        }
    }
    STATUS_SUCCESS
}
