//! The I/O manager of one engine: its devices, its memory, its time.

use crate::deferred;
use crate::dispatch::DeviceObject;
use crate::namespace::{InterfaceInfo, InterfaceRecord, Namespace};
use crate::origin::{Place, RequestorMode};
use crate::services::Services;
use crate::session::Session;
use crate::sync::Arc;
use ks_abi::Guid;
use ks_mem::RegionTable;
use std::sync::atomic::{AtomicU64, Ordering};

/// One engine instance. Clients reach it through a [`Session`]; drivers are registered by their device interfaces.
///
/// The engine keeps its devices, and a device needs its engine. So that the two do not keep each other for ever, a
/// device holds the engine by [`IoManager::for_device`]. When the last other reference goes, a session's included, the
/// engine shuts down, see [`IoManager::shut_down`].
pub struct IoManager {
    engine: Arc<Engine>,
    part: Part,
}

struct Engine {
    number: u64,
    services: Services,
    namespace: Namespace,
    regions: RegionTable,
}

/// Who holds the engine.
enum Part {
    /// Whoever made it, and its clients.
    Owner,
    /// A device, which the engine keeps.
    Device,
}

impl IoManager {
    /// An engine without devices, on the given time, work and waiting.
    pub fn new(services: Services) -> Arc<IoManager> {
        // Relaxed: the number only has to be unique.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let engine = Engine { number, services, namespace: Namespace::default(), regions: RegionTable::new() };
        Arc::new(IoManager { engine: Arc::new(engine), part: Part::Owner })
    }

    /// The same engine for one of its devices. It works like the original, but does not keep the engine from shutting
    /// down; nor does a session that is made from it.
    pub fn for_device(&self) -> Arc<IoManager> {
        Arc::new(IoManager { engine: self.engine.clone(), part: Part::Device })
    }

    /// Ends the engine: no interface opens any more, and every device is removed ([`DeviceObject::remove`]). Handles
    /// stay until they are closed. Dropping the last reference that is not a device's does the same.
    ///
    /// Time, work and waiting go on until nobody has them any more.
    pub fn shut_down(&self) {
        let _inside = deferred::enter();
        for device in self.engine.namespace.close() {
            device.remove();
        }
    }

    /// Time, work and waiting.
    pub fn services(&self) -> &Services {
        &self.engine.services
    }

    /// The memory that stream headers may point into.
    pub fn regions(&self) -> &RegionTable {
        &self.engine.regions
    }

    /// Makes a device interface known. False when its name is taken, or the engine was shut down.
    #[doc(alias = "IoRegisterDeviceInterface")]
    pub fn register_interface(&self, record: InterfaceRecord) -> bool {
        self.engine.namespace.register(record)
    }

    /// Forgets every interface of a device.
    pub fn unregister_device(&self, device: &Arc<dyn DeviceObject>) {
        self.engine.namespace.unregister(device);
    }

    /// Forgets the interfaces of a device with one reference string.
    pub fn unregister_interface(&self, device: &Arc<dyn DeviceObject>, reference: &str) {
        self.engine.namespace.unregister_reference(device, reference);
    }

    /// The registered interfaces of one category, or all.
    pub fn interfaces(&self, category: Option<Guid>) -> Vec<InterfaceInfo> {
        self.engine.namespace.list(category)
    }

    /// The first registered interface of this name.
    pub(crate) fn interface_named(&self, name: &str) -> Option<InterfaceInfo> {
        self.engine.namespace.named(name)
    }

    /// Tells this engine from every other one of the process.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.engine.number
    }

    pub(crate) fn resolve(&self, name: &str) -> Option<(Arc<dyn DeviceObject>, String)> {
        self.engine.namespace.resolve(name)
    }

    /// A new client of this engine, in this process.
    pub fn session(self: &Arc<IoManager>) -> Arc<Session> {
        Session::new(self.clone(), RequestorMode::User, Place::Here)
    }

    /// A client of this engine that stands for one in another process: its own process says whether it is a client or a
    /// driver, and the caller decides whether to believe that.
    pub fn session_as(self: &Arc<IoManager>, mode: RequestorMode) -> Arc<Session> {
        Session::new(self.clone(), mode, Place::Elsewhere)
    }
}

impl Drop for IoManager {
    fn drop(&mut self) {
        if let Part::Owner = self.part {
            self.shut_down();
        }
    }
}

impl std::fmt::Debug for IoManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoManager").finish_non_exhaustive()
    }
}
