//! Device interfaces and properties of devices.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ks_abi::guid::Guid;
use ks_abi::kernel::UnicodeString;
use ks_abi::status::{
    NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};

use super::driver_memory::{allocate_pool, get, put, put_bytes, put_optional, put_wide, text};
use super::file;
use super::io_name;
use super::registry::{self, Known};
use super::rtl_string::deliver;
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoRegisterDeviceInterface, IoSetDeviceInterfaceState, IoGetDeviceInterfaces, IoGetDeviceInterfaceAlias,
    IoGetDeviceProperty, IoRegisterPlugPlayNotification,
    IoUnregisterPlugPlayNotification, IoUnregisterPlugPlayNotificationEx, IoInvalidateDeviceRelations,
    IoInvalidateDeviceState, IoReportTargetDeviceChange, IoReportTargetDeviceChangeAsynchronous, IoRequestDeviceEject,
    IoGetDeviceNumaNode,
);

/// A device interface.
struct Interface {
    class: Guid,
    device: u64,
    link: String,
    enabled: bool,
}

static INTERFACES: Mutex<Vec<Interface>> = Mutex::new(Vec::new());

fn interfaces() -> MutexGuard<'static, Vec<Interface>> {
    INTERFACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The interfaces that are enabled: class, physical device and symbolic link of each.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn enabled() -> Vec<(Guid, u64, String)> {
    let interfaces = interfaces();
    let enabled = interfaces.iter().filter(|interface| interface.enabled);
    enabled.map(|interface| (interface.class, interface.device, interface.link.clone())).collect()
}

/// What clients call the devices of drivers: physical device and name.
static NAMES: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());

fn names() -> MutexGuard<'static, Vec<(u64, String)>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says under which name clients find a device, before its driver registers an interface of it: the links that the driver
/// gets are those that clients open. Where two engines have devices of one name, the links of one have a number.
pub(crate) fn name_device(physical: u64, name: &str) {
    let mut names = names();
    let is_free = |wanted: &String| !names.iter().any(|(_, known)| known.eq_ignore_ascii_case(wanted));
    let numbered = (2..).map(|number: u32| format!("{name}-{number}"));
    let name = std::iter::once(name.to_owned()).chain(numbered).find(is_free);
    names.extend(name.map(|name| (physical, name)));
}

/// A device is gone, with its name and its interfaces.
pub(crate) fn forget_device(physical: u64) {
    names().retain(|(device, _)| *device != physical);
    interfaces().retain(|interface| interface.device != physical);
}

/// Told of a physical device whose enabled interfaces have changed.
static LISTENER: OnceLock<fn(u64)> = OnceLock::new();

/// Has one listener hear of every change.
pub(crate) fn listen(listener: fn(u64)) {
    let _ = LISTENER.set(listener);
}

/// True for the symbolic link of a registered interface, or of a filter of the engine: of one whose device has not
/// started yet, too.
pub(super) fn is_link(link: &str) -> bool {
    let ours = [r"\??\", r"\\?\"].iter().find_map(|prefix| link.strip_prefix(prefix)).and_then(|name| name.get(..7));
    let known = |one: &Interface| one.link.eq_ignore_ascii_case(link);
    ours.is_some_and(|start| start.eq_ignore_ascii_case("userks#")) || interfaces().iter().any(known)
}

const TAG: u32 = u32::from_le_bytes(*b"IoIf");

/// Registers an interface, or finds it registered, and gives its symbolic link.
pub(crate) unsafe extern "win64" fn IoRegisterDeviceInterface(
    device: u64,
    class: *const Guid,
    reference: *const UnicodeString,
    link: *mut UnicodeString,
) -> NtStatus {
    if device == 0 || class.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let class = get(class);
    let reference = text(reference);
    if reference.contains(['\\', '/']) {
        return STATUS_INVALID_PARAMETER;
    }
    let known = names().iter().find(|(known, _)| *known == device).map(|(_, name)| name.clone());
    let mut interfaces = interfaces();
    // A device that a driver made for itself has no clients.
    let known = known.unwrap_or_else(|| {
        let mut devices: Vec<u64> = interfaces.iter().map(|interface| interface.device).collect();
        devices.dedup();
        let number = devices.iter().position(|known| *known == device).unwrap_or(devices.len());
        format!("unnamed-{number}")
    });
    let name = ks_io::symbolic_link(&known, class, &reference).replacen(r"\\?\", r"\??\", 1);
    if !interfaces.iter().any(|interface| interface.link.eq_ignore_ascii_case(&name)) {
        interfaces.push(Interface { class, device, link: name.clone(), enabled: false });
    }
    drop(interfaces);
    deliver(link, &name.encode_utf16().collect::<Vec<_>>(), 1)
}

/// Enables an interface, whose link then leads to the device, or disables it.
pub(crate) unsafe extern "win64" fn IoSetDeviceInterfaceState(link: *const UnicodeString, enable: u8) -> NtStatus {
    let link = text(link);
    let mut interfaces = interfaces();
    let found = interfaces.iter_mut().find(|interface| interface.link.eq_ignore_ascii_case(&link));
    match found {
        // Disabling what is disabled, and enabling what is enabled, say so.
        Some(interface) if interface.enabled == (enable != 0) => {
            if enable != 0 {
                NtStatus(0x4000_0000)
            } else {
                STATUS_OBJECT_NAME_NOT_FOUND
            }
        }
        Some(interface) => {
            interface.enabled = enable != 0;
            let device = interface.device;
            drop(interfaces);
            if let Some(listener) = LISTENER.get() {
                listener(device);
            }
            STATUS_SUCCESS
        }
        None => STATUS_OBJECT_NAME_NOT_FOUND,
    }
}

/// A list of links, each with a terminator and the whole with another, which the driver frees: of the interfaces that
/// drivers registered themselves, and of those that AVStream registered for them.
pub(crate) unsafe extern "win64" fn IoGetDeviceInterfaces(
    class: *const Guid,
    device: u64,
    flags: u32,
    list: *mut *mut u16,
) -> NtStatus {
    const INCLUDE_NONACTIVE: u32 = 1;
    put(list, ptr::null_mut());
    let class = get(class);
    let is_wanted = |interface: &&Interface| {
        interface.class == class
            && (device == 0 || device == interface.device)
            && (interface.enabled || flags & INCLUDE_NONACTIVE != 0)
    };
    let mut links: Vec<String> =
        interfaces().iter().filter(is_wanted).map(|interface| interface.link.clone()).collect();
    for link in file::namespace().iter().flat_map(|namespace| namespace.interfaces(class, device)) {
        // A driver may have registered one that AVStream has registered for it.
        if !links.iter().any(|known| known.eq_ignore_ascii_case(&link)) {
            links.push(link);
        }
    }
    let units: Vec<u16> = links.iter().flat_map(|link| link.encode_utf16().chain([0])).chain([0]).collect();
    let memory = allocate_pool(units.len() * 2, TAG).cast::<u16>();
    if memory.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    put_wide(memory, &units);
    put(list, memory);
    STATUS_SUCCESS
}

/// The interface of another class that has the same device and reference string.
pub(crate) unsafe extern "win64" fn IoGetDeviceInterfaceAlias(
    link: *const UnicodeString,
    class: *const Guid,
    alias: *mut UnicodeString,
) -> NtStatus {
    let (link, class) = (text(link), get(class));
    let interfaces = interfaces();
    let reference = |link: &str| link.rsplit_once("}\\").map(|(_, reference)| reference.to_lowercase());
    let Some(known) = interfaces.iter().find(|interface| interface.link.eq_ignore_ascii_case(&link)) else {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    };
    let other = interfaces.iter().find(|other| {
        other.class == class && other.device == known.device && reference(&other.link) == reference(&known.link)
    });
    match other {
        Some(other) => deliver(alias, &other.link.encode_utf16().collect::<Vec<_>>(), 1),
        None => STATUS_OBJECT_NAME_NOT_FOUND,
    }
}

fn string(text: &str) -> Vec<u8> {
    registry::string_data(text)
}

/// A value of the hardware key that the registry file may have, or else a text of our own.
fn described(value: &str, otherwise: &str) -> Vec<u8> {
    let tree = registry::tree();
    let path = registry_path_of_device();
    let found = tree.open(0, &path).and_then(|key| tree.value(key, value));
    found.map_or_else(|_| string(otherwise), |value| value.data)
}

fn registry_path_of_device() -> String {
    registry::known_path(Known::Device)
}

/// A DEVICE_REGISTRY_PROPERTY of a physical device; what this machine does not have is not found.
pub(crate) unsafe extern "win64" fn IoGetDeviceProperty(
    device: u64,
    property: u32,
    room: u32,
    to: *mut u8,
    needed: *mut u32,
) -> NtStatus {
    put_optional(needed, 0);
    if device == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let data = match property {
        0 => described("DeviceDesc", "userks device"),
        1 => [described("HardwareID", "ROOT\\USERKS"), vec![0, 0]].concat(),
        5 => string("MEDIA"),
        6 => string("{4d36e96c-e325-11ce-bfc1-08002be10318}"),
        7 => string("{4d36e96c-e325-11ce-bfc1-08002be10318}\\0000"),
        8 => described("Mfg", "userks"),
        9 => described("FriendlyName", "userks device"),
        11 => match io_name::name_of(device as usize) {
            Some(name) => string(&name),
            None => string("\\Device\\00000001"),
        },
        15 => string("ROOT"),
        // DevicePropertyInstallState: installed. DevicePropertyRemovalPolicy: expect no removal.
        18 => 0u32.to_le_bytes().to_vec(),
        19 => 1u32.to_le_bytes().to_vec(),
        _ if property <= 22 => return STATUS_OBJECT_NAME_NOT_FOUND,
        _ => return STATUS_INVALID_PARAMETER,
    };
    put_optional(needed, data.len() as u32);
    if (room as usize) < data.len() {
        return STATUS_BUFFER_TOO_SMALL;
    }
    put_bytes(to, &data);
    STATUS_SUCCESS
}

/// What `IoRegisterPlugPlayNotification` gives: nothing is ever notified, because no device comes or goes.
static REGISTRATION: u64 = 0;

pub(crate) unsafe extern "win64" fn IoRegisterPlugPlayNotification(
    _category: u32,
    _flags: u32,
    _data: *const u8,
    _driver: u64,
    _routine: u64,
    _context: u64,
    entry: *mut *const u64,
) -> NtStatus {
    put(entry, &raw const REGISTRATION);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoUnregisterPlugPlayNotification(_entry: *const u64) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoUnregisterPlugPlayNotificationEx(_entry: *const u64) -> NtStatus {
    STATUS_SUCCESS
}

/// The bus of such a device has no relations to ask for again.
pub(crate) unsafe extern "win64" fn IoInvalidateDeviceRelations(_device: u64, _kind: u32) {}

pub(crate) unsafe extern "win64" fn IoInvalidateDeviceState(_device: u64) {}

pub(crate) unsafe extern "win64" fn IoReportTargetDeviceChange(_device: u64, _notification: *const u8) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoReportTargetDeviceChangeAsynchronous(
    _device: u64,
    _notification: *const u8,
    _callback: u64,
    _context: u64,
) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoRequestDeviceEject(_device: u64) {}

pub(crate) unsafe extern "win64" fn IoGetDeviceNumaNode(_device: u64, node: *mut u16) -> NtStatus {
    put(node, 0);
    STATUS_SUCCESS
}
