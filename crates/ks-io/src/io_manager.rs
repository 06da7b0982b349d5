//! The I/O manager of one engine: its devices, its memory, its time.

use crate::dispatch::DeviceObject;
use crate::namespace::{InterfaceInfo, InterfaceRecord, Namespace};
use crate::origin::RequestorMode;
use crate::services::Services;
use crate::session::Session;
use crate::sync::Arc;
use ks_abi::Guid;
use ks_mem::RegionTable;
use std::sync::atomic::{AtomicU64, Ordering};

/// One engine instance. Clients reach it through a [`Session`]; drivers are registered by their device interfaces.
pub struct IoManager {
    number: u64,
    services: Services,
    namespace: Namespace,
    regions: RegionTable,
}

impl IoManager {
    /// An engine without devices, on the given time, work and waiting.
    pub fn new(services: Services) -> Arc<IoManager> {
        // Relaxed: the number only has to be unique.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(IoManager { number, services, namespace: Namespace::default(), regions: RegionTable::new() })
    }

    /// Time, work and waiting.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The memory that stream headers may point into.
    pub fn regions(&self) -> &RegionTable {
        &self.regions
    }

    /// Makes a device interface known. False when its name is taken.
    #[doc(alias = "IoRegisterDeviceInterface")]
    pub fn register_interface(&self, record: InterfaceRecord) -> bool {
        self.namespace.register(record)
    }

    /// Forgets every interface of a device.
    pub fn unregister_device(&self, device: &Arc<dyn DeviceObject>) {
        self.namespace.unregister(device);
    }

    /// The registered interfaces of one category, or all.
    pub fn interfaces(&self, category: Option<Guid>) -> Vec<InterfaceInfo> {
        self.namespace.list(category)
    }

    /// Tells this engine from every other one of the process.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn resolve(&self, name: &str) -> Option<(Arc<dyn DeviceObject>, String)> {
        self.namespace.resolve(name)
    }

    /// A new client of this engine, in this process.
    pub fn session(self: &Arc<IoManager>) -> Arc<Session> {
        self.session_as(RequestorMode::User)
    }

    /// A client of this engine that stands for one in another process: its own process says whether it is a client or a
    /// driver, and the caller decides whether to believe that.
    pub fn session_as(self: &Arc<IoManager>, mode: RequestorMode) -> Arc<Session> {
        Session::new(self.clone(), mode)
    }
}

impl std::fmt::Debug for IoManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoManager").finish_non_exhaustive()
    }
}
