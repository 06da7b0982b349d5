//! A device of the class driver: its filter factories, its mutex, its life.

use crate::descriptor::DescribeFilter;
use crate::filter::Filter;
use crate::mapping::{AdapterSlot, DmaAdapter, MAPPING_BYTES, MOST_STRIDE};
use crate::pipe::MOST_CIRCUIT_BYTES;
use ks_abi::{
    NtStatus, STATUS_DEVICE_NOT_READY, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND,
};
use ks_io::sync::{
    Arc, Mutex, RwLock, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use ks_io::{
    Aspect, CreateRequest, Created, DeviceObject, InterfaceRecord, IoManager, LockRank, RankedMutex, Refusal, deferred,
};
use ks_mem::Block;

/// A device with its filter factories. It is started when it is made, or in steps as a bus does it, and ends by surprise
/// removal or with its engine, which keeps it until then.
#[doc(alias = "KSDEVICE")]
pub struct Device {
    block: Block,
    me: Weak<Device>,
    name: String,
    io: Arc<IoManager>,
    factories: RwLock<Vec<Arc<dyn DescribeFilter>>>,
    /// Rank device: taken before a filter's control mutex.
    mutex: RankedMutex,
    filters: Mutex<Vec<Weak<Filter>>>,
    /// Set once; queues are closed after it, so a request that misses it is caught there.
    removed: AtomicBool,
    most_circuit_bytes: AtomicU64,
    adapter: Arc<AdapterSlot>,
}

const DEVICE_BYTES: usize = 64;
const STARTED: usize = 48;

impl Device {
    /// Makes a device and registers an interface for each category of each of its filters, as an INF does.
    // ks-coverage: KsInitializeDriver done test=a_driver_sends_requests_of_its_own_to_the_pin_that_it_is_connected_to
    #[doc(alias = "KsInitializeDriver")]
    // ks-coverage: KsCreateDevice done test=a_driver_with_an_add_device_of_its_own_has_a_device
    #[doc(alias = "KsCreateDevice")]
    pub fn start(
        io: &Arc<IoManager>,
        name: &str,
        factories: Vec<Arc<dyn DescribeFilter>>,
    ) -> Result<Arc<Device>, NtStatus> {
        let device = Device::add(io, name)?;
        device.set_started();
        for factory in factories {
            device.add_factory(factory);
        }
        Ok(device)
    }

    /// Makes a device that is not started yet: it opens no filter before [`Device::set_started`].
    #[doc(alias = "KsAddDevice")]
    pub fn add(io: &Arc<IoManager>, name: &str) -> Result<Arc<Device>, NtStatus> {
        let block = Block::zeroed(DEVICE_BYTES, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(Arc::new_cyclic(|me| Device {
            block,
            me: me.clone(),
            name: name.to_string(),
            io: io.for_device(),
            factories: RwLock::new(Vec::new()),
            mutex: io.services().mutex(LockRank::Device, "device"),
            filters: Mutex::new(Vec::new()),
            removed: AtomicBool::new(false),
            most_circuit_bytes: AtomicU64::new(MOST_CIRCUIT_BYTES),
            adapter: Arc::default(),
        }))
    }

    /// The device takes creates from now on.
    #[doc(alias = "IRP_MN_START_DEVICE")]
    pub fn set_started(&self) {
        self.block.store_u8(STARTED, 1);
    }

    /// Adds a filter factory and registers an interface for each of its categories.
    #[doc(alias = "KsCreateFilterFactory")]
    pub fn add_factory(&self, factory: Arc<dyn DescribeFilter>) {
        let Some(me) = self.me.upgrade() else { return };
        self.factories.write().push(factory.clone());
        for &category in factory.categories().iter() {
            self.io.register_interface(InterfaceRecord {
                category,
                reference: factory.reference().into_owned(),
                friendly_name: factory.friendly_name().into_owned(),
                device: me.clone(),
            });
        }
    }

    /// Registers the DMA adapter by which pins with [`crate::PinFlags::GENERATE_MAPPINGS`] see their frames; to be done
    /// before such a pin processes, whose pointers show no mappings otherwise. STATUS_INVALID_PARAMETER: a stride below
    /// the size of a KSMAPPING or above 4096.
    // ks-coverage: KsDeviceRegisterAdapterObject done test=offsets_count_mappings_that_an_adapter_limits,a_driver_steps_through_the_mappings_of_its_frames
    #[doc(alias = "KsDeviceRegisterAdapterObject")]
    pub fn register_adapter(&self, adapter: DmaAdapter) -> Result<(), NtStatus> {
        if !(MAPPING_BYTES..=MOST_STRIDE).contains(&adapter.mapping_stride) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        self.adapter.set(adapter);
        Ok(())
    }

    pub(crate) fn adapter(&self) -> &Arc<AdapterSlot> {
        &self.adapter
    }

    /// The public part of the device, at the offsets of `KSDEVICE`.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Name of the device.
    pub fn device_name(&self) -> &str {
        &self.name
    }

    /// The engine that the device belongs to.
    pub fn io(&self) -> &Arc<IoManager> {
        &self.io
    }

    /// Is it started and not removed?
    #[doc(alias = "Started")]
    pub fn is_started(&self) -> bool {
        self.block.load_u8(STARTED) != 0
    }

    /// The most memory that the frames of one circuit have together, if a pin of this device heads it. A pin whose
    /// circuit would need more does not leave STOP.
    pub fn most_circuit_bytes(&self) -> u64 {
        self.most_circuit_bytes.load(Ordering::Relaxed)
    }

    /// Sets [`Device::most_circuit_bytes`] for the circuits that are bound from now on; 512 MiB at first.
    pub fn set_most_circuit_bytes(&self, bytes: u64) {
        self.most_circuit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The device mutex.
    // ks-coverage: KsAcquireDevice done test=mutexes_keep_other_threads_of_a_driver_out
    #[doc(alias = "KsAcquireDevice")]
    pub fn mutex(&self) -> &RankedMutex {
        &self.mutex
    }

    /// The device is gone: no new open, pending requests complete with STATUS_DEVICE_REMOVED, handles stay until they
    /// are closed and answer nothing more.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    pub fn surprise_remove(&self) {
        let _inside = deferred::enter();
        if self.removed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.block.store_u8(STARTED, 0);
        if let Some(me) = self.me.upgrade() {
            let object: Arc<dyn DeviceObject> = me;
            self.io.unregister_device(&object);
        }
        let filters: Vec<_> = self.filters.lock().iter().filter_map(Weak::upgrade).collect();
        for filter in filters {
            filter.device_removed();
        }
    }

    /// True after a surprise removal.
    #[inline]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// How many filters are open.
    pub fn open_filters(&self) -> usize {
        self.filters.lock().iter().filter(|filter| filter.strong_count() > 0).count()
    }
}

impl DeviceObject for Device {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let me = self.me.upgrade().filter(|_| !self.is_removed());
        let Some(me) = me else {
            let reason = format!("the device {} was removed", self.name);
            return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, reason));
        };
        if !self.is_started() {
            let reason = format!("the device {} is not started", self.name);
            return Err(Refusal::new(STATUS_DEVICE_NOT_READY, Aspect::Device, reason));
        }
        let named = |factory: &&Arc<dyn DescribeFilter>| factory.reference().eq_ignore_ascii_case(request.name);
        let factory = self.factories.read().iter().find(named).cloned();
        let Some(factory) = factory else {
            let reason = format!("the device {} has no filter named {}", self.name, request.name);
            return Err(Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, reason));
        };
        let _device = self.mutex.hold();
        let filter = Filter::create(&me, factory, request)?;
        let mut filters = self.filters.lock();
        filters.retain(|known| known.strong_count() > 0);
        filters.push(Arc::downgrade(&filter));
        drop(filters);
        // A removal that came in between has closed no queue of this filter: it has no pin yet.
        let granted = request.access;
        Ok(Created { object: filter, granted })
    }

    fn remove(&self) {
        self.surprise_remove();
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("name", &self.name).field("removed", &self.is_removed()).finish()
    }
}
