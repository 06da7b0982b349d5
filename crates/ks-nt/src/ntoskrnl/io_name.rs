//! Names of devices, and symbolic links to them.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ks_abi::kernel::UnicodeString;
use ks_abi::status::{
    NtStatus, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_INVALID, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};

use super::driver_memory::text;
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] =
    exports!(Ntoskrnl: IoCreateSymbolicLink, IoCreateUnprotectedSymbolicLink, IoDeleteSymbolicLink);

/// Links that are followed before a name is given up.
const MOST_LINKS: usize = 32;

#[derive(Default)]
struct Names {
    devices: HashMap<String, usize>,
    links: HashMap<String, String>,
}

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name as it is compared: without case, and with one of the three names of the directory of DOS devices.
pub(crate) fn canonical(name: &str) -> String {
    let upper = name.to_uppercase();
    for directory in ["\\DOSDEVICES\\", "\\GLOBAL??\\", "\\DOSDEVICES\\GLOBAL\\"] {
        if let Some(rest) = upper.strip_prefix(directory) {
            return format!("\\??\\{rest}");
        }
    }
    upper
}

/// Names a device; false if the name is taken.
pub(super) fn insert_device(name: &str, device: usize) -> bool {
    let name = canonical(name);
    let mut names = names();
    if names.devices.contains_key(&name) || names.links.contains_key(&name) {
        return false;
    }
    names.devices.insert(name, device);
    true
}

pub(super) fn remove_device(device: usize) {
    names().devices.retain(|_, known| *known != device);
}

/// The device that a name leads to, through links, and what of the name is behind the device's.
pub(crate) fn device(name: &str) -> Option<(usize, String)> {
    let names = names();
    let mut name = canonical(name);
    for _ in 0..MOST_LINKS {
        let ends = name.match_indices('\\').map(|(at, _)| at).filter(|at| *at != 0).chain([name.len()]);
        let ends: Vec<_> = ends.collect();
        if let Some((device, end)) = ends.iter().rev().find_map(|end| Some((*names.devices.get(&name[..*end])?, *end)))
        {
            return Some((device, name[end..].to_owned()));
        }
        let (target, end) = ends.iter().rev().find_map(|end| Some((names.links.get(&name[..*end])?, *end)))?;
        name = format!("{target}{}", &name[end..]);
    }
    None
}

/// The name of a device.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn name_of(device: usize) -> Option<String> {
    names().devices.iter().find(|(_, known)| **known == device).map(|(name, _)| name.clone())
}

pub(crate) unsafe extern "win64" fn IoCreateSymbolicLink(
    link: *const UnicodeString,
    target: *const UnicodeString,
) -> NtStatus {
    let (link, target) = (canonical(&text(link)), canonical(&text(target)));
    if !link.starts_with('\\') || !target.starts_with('\\') {
        return STATUS_OBJECT_NAME_INVALID;
    }
    let mut names = names();
    if names.devices.contains_key(&link) || names.links.contains_key(&link) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    names.links.insert(link, target);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoCreateUnprotectedSymbolicLink(
    link: *const UnicodeString,
    target: *const UnicodeString,
) -> NtStatus {
    IoCreateSymbolicLink(link, target)
}

pub(crate) unsafe extern "win64" fn IoDeleteSymbolicLink(link: *const UnicodeString) -> NtStatus {
    match names().links.remove(&canonical(&text(link))) {
        Some(_) => STATUS_SUCCESS,
        None => STATUS_OBJECT_NAME_NOT_FOUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_through_links_to_a_device_and_the_rest_is_kept() {
        assert!(insert_device("\\Device\\Walk", 7));
        assert!(!insert_device("\\DEVICE\\walk", 8));
        names().links.insert(canonical("\\DosDevices\\W"), canonical("\\Device\\Walk"));
        names().links.insert(canonical("\\??\\Loop"), canonical("\\??\\loop"));
        assert_eq!(device("\\??\\w\\Pin\\0"), Some((7, "\\PIN\\0".to_owned())));
        assert_eq!(device("\\Device\\Walkabout"), None);
        assert_eq!(device("\\GLOBAL??\\loop"), None);
        assert_eq!(name_of(7).as_deref(), Some("\\DEVICE\\WALK"));
        remove_device(7);
        assert_eq!(device("\\??\\w"), None);
    }
}
