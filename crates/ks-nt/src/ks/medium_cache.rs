//! The medium cache: registry keys in which a graph builder finds the pins of one wire without opening their filters.
//!
//! Decision (docs/adr/0077): the page writes the key as `MediumCache\GUID\DWORD\DWORD`; here they are Set, Id and Flags of the
//! medium, the numbers in lower hexadecimal. A value has the symbolic link for a name and the pin's direction as a
//! REG_DWORD. What stands there is gone with the process, like the rest of the registry.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::check;
use crate::ks::factory::HostedFactory;
use crate::ks::objects;
use crate::ntoskrnl::{irql, registry};
use ks_abi::{KSMEDIUMSETID_Standard, KsPinDataFlow, KsPinMedium, NtStatus, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_mem::Block;
use ks_stream::DescribeFilter;

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsCacheMedium, KsFilterFactoryUpdateCacheData);

const CACHE: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Control\\MediumCache";
/// Directions as the cache has them.
const OUTPUT: u32 = 1;
const INPUT: u32 = 0;

/// Enters a pin of this direction, of the filter with this link, under its medium.
pub(super) fn enter(link: &str, medium: &KsPinMedium, direction: u32) -> NtStatus {
    let path = format!("{CACHE}\\{}\\{:x}\\{:x}", medium.set, medium.id, medium.flags);
    let mut tree = registry::tree();
    let outcome = tree.create(0, &path).and_then(|key| {
        let data = direction.to_le_bytes().to_vec();
        tree.set(key, link, registry::REG_DWORD, data)
    });
    outcome.map_or_else(|status| status, |()| STATUS_SUCCESS)
}

/// The text of a UNICODE_STRING.
fn text(string: Address) -> String {
    let units = string.get::<u16>(0) / 2;
    let buffer = string.follow(8);
    let units: Vec<u16> = match buffer.is_null() {
        true => Vec::new(),
        false => (0..usize::from(units)).map(|at| buffer.get(2 * at)).collect(),
    };
    String::from_utf16_lossy(&units)
}

/// A link without a name, no medium, and a direction that is none are refused; that the link names an interface is not
/// asked: a driver enters filters that have no pins of KS.
// ks-coverage: KsCacheMedium done test=a_driver_routes_its_own_wire_and_enters_it_in_the_cache
pub(crate) unsafe extern "win64" fn KsCacheMedium(link: Address, medium: Address, direction: u32) -> NtStatus {
    irql::at_most(irql::PASSIVE, "KsCacheMedium");
    if link.is_null() || medium.is_null() || !(INPUT..=OUTPUT).contains(&direction) {
        return STATUS_INVALID_PARAMETER;
    }
    let link = text(link);
    if link.is_empty() {
        return STATUS_INVALID_PARAMETER;
    }
    enter(&link, &medium.read(), direction)
}

/// Enters the mediums of every pin factory, for each category under which the filter has an interface. The standard
/// medium names no wire, and is left out.
///
/// The other half, the FilterData value, is not written: its layout is not documented.
// ks-coverage: KsFilterFactoryUpdateCacheData done test=a_driver_routes_its_own_wire_and_enters_it_in_the_cache
pub(crate) unsafe extern "win64" fn KsFilterFactoryUpdateCacheData(factory: Address, descriptor: Address) -> NtStatus {
    const NAME: &str = "KsFilterFactoryUpdateCacheData";
    irql::at_most(irql::PASSIVE, NAME);
    let Some(factory) = objects::factory(factory, NAME) else { return STATUS_INVALID_PARAMETER };
    if descriptor.is_null() {
        return update(&factory, &*factory.view());
    }
    if check::filter(descriptor, 0).is_err() {
        return STATUS_INVALID_PARAMETER;
    }
    // A view finds its descriptor behind the first word of an object.
    let Ok(owner) = Block::zeroed(16, 16) else { return ks_abi::STATUS_INSUFFICIENT_RESOURCES };
    owner.store_u64(0, descriptor.0);
    update(&factory, &factory.view_of(owner.address()))
}

fn update(factory: &HostedFactory, view: &dyn DescribeFilter) -> NtStatus {
    let Some(device) = factory.device() else { return STATUS_INVALID_PARAMETER };
    let device = device.engine();
    let ours = |one: &ks_io::InterfaceInfo| one.device == device.device_name() && one.reference == view.reference();
    let links: Vec<String> = view
        .categories()
        .iter()
        .filter_map(|category| device.io().interfaces(Some(*category)).into_iter().find(ours))
        // As the kernel names them.
        .map(|interface| interface.symbolic_link.replacen(r"\\?\", r"\??\", 1))
        .collect();
    if links.is_empty() {
        return STATUS_INVALID_PARAMETER;
    }
    for pin in (0..view.pin_count()).filter_map(|id| view.pin(id)) {
        let direction = if pin.data_flow() == KsPinDataFlow::OUT { OUTPUT } else { INPUT };
        for medium in pin.mediums().iter().filter(|medium| medium.set != KSMEDIUMSETID_Standard) {
            for link in &links {
                let status = enter(link, medium, direction);
                if !status.is_success() {
                    return status;
                }
            }
        }
    }
    STATUS_SUCCESS
}
