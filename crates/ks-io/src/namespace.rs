//! Device interfaces: which devices there are, under which categories, and by which names they open.

use crate::dispatch::DeviceObject;
use crate::sync::{Arc, RwLock};
use ks_abi::Guid;

/// A device interface as a client lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// The name that opens it: `\\?\` device, category and reference string. Compared without regard to case.
    pub symbolic_link: String,
    /// The category that it is registered under.
    pub category: Guid,
    /// Name for a person.
    pub friendly_name: String,
    /// Name of the device, the same under every category.
    pub device: String,
    /// The reference string: which filter of the device.
    pub reference: String,
}

impl InterfaceInfo {
    /// Is this the reference string, the friendly name or the symbolic link? Case does not matter.
    pub fn is_named(&self, name: &str) -> bool {
        [&self.reference, &self.friendly_name, &self.symbolic_link].iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// What messages call the filter: its reference string, or its friendly name where that is a GUID.
    pub fn title(&self) -> &str {
        let is_guid = self.reference.len() == 38 && self.reference.starts_with('{') && self.reference.ends_with('}');
        if is_guid { &self.friendly_name } else { &self.reference }
    }
}

/// What registering an interface needs: the record that an INF writes too.
#[derive(Clone)]
pub struct InterfaceRecord {
    /// Category.
    pub category: Guid,
    /// Reference string; equals the filter descriptor's ReferenceGuid text.
    pub reference: String,
    /// Name for a person.
    pub friendly_name: String,
    /// The device that answers creates.
    pub device: Arc<dyn DeviceObject>,
}

#[derive(Default)]
pub(crate) struct Namespace {
    interfaces: RwLock<Interfaces>,
}

#[derive(Default)]
struct Interfaces {
    entries: Vec<Entry>,
    /// The engine was shut down: nothing is added any more.
    closed: bool,
}

struct Entry {
    info: InterfaceInfo,
    device: Arc<dyn DeviceObject>,
}

/// The symbolic link of an interface as programs write it: `\\?\userks#DEVICE#{CATEGORY}\REFERENCE`, without the last part
/// where there is no reference string.
pub fn symbolic_link(device: &str, category: Guid, reference: &str) -> String {
    let tail = if reference.is_empty() { String::new() } else { format!(r"\{reference}") };
    format!(r"\\?\userks#{device}#{category}{tail}")
}

impl Namespace {
    /// Adds an interface; a name that is taken is kept as it is and `false` comes back, as when the engine has ended.
    pub(crate) fn register(&self, record: InterfaceRecord) -> bool {
        let device = record.device.name().to_string();
        let symbolic_link = symbolic_link(&device, record.category, &record.reference);
        let mut interfaces = self.interfaces.write();
        if interfaces.closed {
            return false;
        }
        if interfaces.entries.iter().any(|entry| entry.info.symbolic_link.eq_ignore_ascii_case(&symbolic_link)) {
            return false;
        }
        let info = InterfaceInfo {
            symbolic_link,
            category: record.category,
            friendly_name: record.friendly_name,
            device,
            reference: record.reference,
        };
        interfaces.entries.push(Entry { info, device: record.device });
        true
    }

    /// Removes every interface of a device.
    pub(crate) fn unregister(&self, device: &Arc<dyn DeviceObject>) {
        let removed: Vec<_> =
            self.interfaces.write().entries.extract_if(.., |entry| Arc::ptr_eq(&entry.device, device)).collect();
        // Not under the lock: the device may go with them.
        drop(removed);
    }

    /// Removes the interfaces of a device with this reference string.
    pub(crate) fn unregister_reference(&self, device: &Arc<dyn DeviceObject>, reference: &str) {
        let goes = |entry: &mut Entry| {
            Arc::ptr_eq(&entry.device, device) && entry.info.reference.eq_ignore_ascii_case(reference)
        };
        let removed: Vec<_> = self.interfaces.write().entries.extract_if(.., goes).collect();
        // Not under the lock: the device may go with them.
        drop(removed);
    }

    /// Takes every device out, each once, and lets no interface in from now on.
    pub(crate) fn close(&self) -> Vec<Arc<dyn DeviceObject>> {
        let entries = {
            let mut interfaces = self.interfaces.write();
            interfaces.closed = true;
            std::mem::take(&mut interfaces.entries)
        };
        let mut devices: Vec<Arc<dyn DeviceObject>> = Vec::new();
        for entry in entries {
            if !devices.iter().any(|known| Arc::ptr_eq(known, &entry.device)) {
                devices.push(entry.device);
            }
        }
        devices
    }

    /// The interfaces of one category, or all.
    pub(crate) fn list(&self, category: Option<Guid>) -> Vec<InterfaceInfo> {
        let interfaces = self.interfaces.read();
        let wanted =
            interfaces.entries.iter().filter(|entry| category.is_none_or(|wanted| entry.info.category == wanted));
        wanted.map(|entry| entry.info.clone()).collect()
    }

    /// The first interface of this name, see [`InterfaceInfo::is_named`].
    pub(crate) fn named(&self, name: &str) -> Option<InterfaceInfo> {
        let interfaces = self.interfaces.read();
        interfaces.entries.iter().find(|entry| entry.info.is_named(name)).map(|entry| entry.info.clone())
    }

    /// The device and reference string behind a symbolic link.
    pub(crate) fn resolve(&self, name: &str) -> Option<(Arc<dyn DeviceObject>, String)> {
        let interfaces = self.interfaces.read();
        let entry = interfaces.entries.iter().find(|entry| entry.info.symbolic_link.eq_ignore_ascii_case(name))?;
        Some((entry.device.clone(), entry.info.reference.clone()))
    }
}
