//! Names of pins and nodes: a descriptor has a GUID, and the registry a string for it.
//!
//! An INF registers them below MediaCategories; here a driver does, or nobody. Source: ns-ks-kspin_descriptor,
//! ns-ks-_ksnode_descriptor.

use crate::ntoskrnl::registry;
use ks_abi::Guid;

const MEDIA_CATEGORIES: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Control\\MediaCategories";
/// The most units of a name; the rest is cut off.
const MOST_UNITS: usize = 1024;

/// The string of a name's GUID: what the registry has, or the name of the constant, or the GUID itself.
pub(crate) fn text(name: Guid) -> String {
    registered(name).unwrap_or_else(|| name.name().map_or_else(|| name.to_string(), str::to_string))
}

fn registered(name: Guid) -> Option<String> {
    let tree = registry::tree();
    let key = tree.open(0, &format!("{MEDIA_CATEGORIES}\\{name}")).ok()?;
    let value = tree.value(key, "Name").ok().filter(|value| value.kind == registry::REG_SZ)?;
    let units = value.data.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).take(MOST_UNITS).collect();
    Some(String::from_utf16_lossy(&units))
}
