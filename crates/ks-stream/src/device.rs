//! A device of the class driver: its filter factories, its mutex, its life.

mod callbacks;
mod cooling;
mod dispatch;
mod pnp;
mod power;
mod turns;

pub use cooling::{Cooling, ThermalState};
pub use dispatch::DeviceDispatch;
pub use pnp::{PnpState, Removal};
pub use power::PowerTurn;

use crate::callback::Watched;
use crate::descriptor::DescribeFilter;
use crate::filter::Filter;
use crate::mapping::{AdapterSlot, DmaAdapter, MAPPING_BYTES, MOST_STRIDE};
use crate::pipe::MOST_CIRCUIT_BYTES;
use crate::verifier::{self, Rule, Violation};
use crate::watchdog;
use callbacks::DeviceCallbacks;
use ks_abi::kernel::{DevicePowerState, SystemPowerState};
use ks_abi::{
    NtStatus, STATUS_DEVICE_NOT_READY, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{
    Arc, Mutex, RwLock, Weak,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};
use ks_io::{Aspect, CreateRequest, Created, DeviceObject, InterfaceRecord, IoManager, LockRank, RankedMutex, Refusal};
use ks_mem::Block;
use pnp::Life;
use power::Hold;
use std::sync::OnceLock;

/// What a driver answers that may refuse.
pub(crate) type Refused = Result<(), Refusal>;

/// A device with its filter factories. It is started when it is made, or in steps as a bus does it; a PnP and a power
/// manager lead it through its life, and it ends by removal or with its engine, which keeps it until then.
#[doc(alias = "KSDEVICE")]
pub struct Device {
    block: Block,
    me: Weak<Device>,
    name: String,
    io: Arc<IoManager>,
    dispatch: OnceLock<DeviceCallbacks>,
    watched: Watched,
    life: Mutex<Life>,
    factories: RwLock<Vec<Factory>>,
    /// Rank device: taken before a filter's control mutex.
    mutex: RankedMutex,
    filters: Mutex<Vec<Weak<Filter>>>,
    /// Filters that are open or just being opened.
    opened: AtomicUsize,
    /// Why its streams stand still: bits of [`Hold`].
    held: AtomicU8,
    /// Set once; queues are closed after it, so a request that misses it is caught there.
    removed: AtomicBool,
    most_circuit_bytes: AtomicU64,
    /// A [`ThermalState`].
    thermal_state: AtomicU8,
    adapter: Arc<AdapterSlot>,
    /// Rules that its minidriver broke, and why filters were stopped; the first ones.
    violations: Mutex<Vec<Violation>>,
    stops: Mutex<Vec<String>>,
}

/// More violations and stops of a device are not kept.
const MOST_VIOLATIONS: usize = 64;

const DEVICE_BYTES: usize = 64;
const STARTED: usize = 48;
const SYSTEM_POWER: usize = 52;
const DEVICE_POWER: usize = 56;

/// A filter factory.
struct Factory {
    descriptor: Arc<dyn DescribeFilter>,
    /// Are its interfaces to be registered while the device is started?
    enabled: bool,
    /// Other names that open its filters.
    names: Vec<String>,
    lifetime: FactoryLifetime,
}

/// How long a filter factory, or a name of it, stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactoryLifetime {
    /// As long as the device.
    Device,
    /// Until the device is stopped.
    #[doc(alias = "KSCREATE_ITEM_FREEONSTOP")]
    UntilStop,
}

impl Factory {
    fn is(&self, other: &Arc<dyn DescribeFilter>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.descriptor), Arc::as_ptr(other))
    }

    /// The names that open its filters.
    fn opens(&self, name: &str) -> bool {
        let other = |known: &String| known.eq_ignore_ascii_case(name);
        self.descriptor.reference().eq_ignore_ascii_case(name) || self.names.iter().any(other)
    }

    fn describes(&self) -> Arc<dyn DescribeFilter> {
        self.descriptor.clone()
    }

    fn references(&self) -> Vec<String> {
        let mut references = self.names.clone();
        references.insert(0, self.descriptor.reference().into_owned());
        references
    }
}

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
        for factory in factories {
            device.add_factory(factory);
        }
        device.start_device().map_err(|refusal| refusal.status)?;
        Ok(device)
    }

    /// Makes a device whose driver is told of its life, with these factories; the driver's Add may add more. It is not
    /// started yet.
    #[doc(alias = "KsAddDevice")]
    pub fn add_driven(
        io: &Arc<IoManager>,
        name: &str,
        dispatch: Arc<dyn DeviceDispatch>,
        factories: Vec<Arc<dyn DescribeFilter>>,
    ) -> Result<Arc<Device>, Refusal> {
        let no_memory = |status| Refusal::new(status, Aspect::Memory, "no memory for a device");
        let device = Device::add(io, name).map_err(no_memory)?;
        for factory in factories {
            device.add_factory(factory);
        }
        device.drive_by(dispatch);
        device.dispatch().map_or(Ok(()), |dispatch| dispatch.add(&device))?;
        Ok(device)
    }

    /// Makes a device that is not started yet: it opens no filter before [`Device::start_device`].
    #[doc(alias = "KsAddDevice")]
    pub fn add(io: &Arc<IoManager>, name: &str) -> Result<Arc<Device>, NtStatus> {
        let block = Block::zeroed(DEVICE_BYTES, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        block.store_u32(SYSTEM_POWER, SystemPowerState::WORKING.0);
        block.store_u32(DEVICE_POWER, DevicePowerState::D0.0);
        let device = Arc::new_cyclic(|me| Device {
            block,
            me: me.clone(),
            name: name.to_string(),
            io: io.for_device(),
            dispatch: OnceLock::new(),
            watched: Watched::new(),
            life: Mutex::new(Life::new()),
            factories: RwLock::new(Vec::new()),
            mutex: io.services().mutex(LockRank::Device, "device"),
            filters: Mutex::new(Vec::new()),
            opened: AtomicUsize::new(0),
            held: AtomicU8::new(0),
            removed: AtomicBool::new(false),
            most_circuit_bytes: AtomicU64::new(MOST_CIRCUIT_BYTES),
            thermal_state: AtomicU8::new(0),
            adapter: Arc::default(),
            violations: Mutex::default(),
            stops: Mutex::default(),
        });
        watchdog::know(device.watched.number(), watchdog::Known::Device(Arc::downgrade(&device)));
        Ok(device)
    }

    /// Has a driver be told of the device's life; once, before the device is started.
    pub fn drive_by(&self, dispatch: Arc<dyn DeviceDispatch>) {
        let _ = self.dispatch.set(DeviceCallbacks::new(dispatch));
    }

    fn dispatch(&self) -> Option<&DeviceCallbacks> {
        self.dispatch.get()
    }

    /// Adds a filter factory for as long as the device is there, see [`Device::add_factory_for`].
    pub fn add_factory(&self, factory: Arc<dyn DescribeFilter>) {
        self.add_factory_for(factory, FactoryLifetime::Device);
    }

    /// Adds a filter factory. An interface for each of its categories is registered when the device has started; one that
    /// comes after that is disabled until [`Device::enable_factory`].
    ///
    /// Source: nf-ks-kscreatefilterfactory.
    #[doc(alias = "KsCreateFilterFactory")]
    pub fn add_factory_for(&self, factory: Arc<dyn DescribeFilter>, lifetime: FactoryLifetime) {
        self.needs_mutex("Device::add_factory");
        let enabled = !self.is_started();
        self.factories.write().push(Factory { descriptor: factory, enabled, names: Vec::new(), lifetime });
    }

    /// Registers the interfaces of a factory of this device, now or when the device starts. STATUS_INVALID_PARAMETER: it
    /// has no such factory.
    // ks-coverage: KsFilterFactorySetDeviceClassesState done test=factories_come_and_go_while_the_device_runs,a_driver_adds_and_deletes_factories_while_it_runs
    #[doc(alias = "KsFilterFactorySetDeviceClassesState")]
    pub fn enable_factory(&self, factory: &Arc<dyn DescribeFilter>) -> Result<(), NtStatus> {
        verifier::at_passive("Device::enable_factory");
        self.with_factory(factory, |factory| factory.enabled = true)?;
        if self.is_started() && self.post_start_refusal().is_none() {
            self.publish();
        }
        Ok(())
    }

    /// Takes the interfaces of a factory of this device away. Filters of it stay open.
    #[doc(alias = "KsFilterFactorySetDeviceClassesState")]
    pub fn disable_factory(&self, factory: &Arc<dyn DescribeFilter>) -> Result<(), NtStatus> {
        verifier::at_passive("Device::disable_factory");
        let names = self.with_factory(factory, |factory| {
            factory.enabled = false;
            factory.references()
        })?;
        self.unpublish(&names);
        Ok(())
    }

    /// Deletes a factory of this device: it opens nothing more. Filters of it stay open.
    #[doc(alias = "KsDeleteFilterFactory")]
    pub fn remove_factory(&self, factory: &Arc<dyn DescribeFilter>) -> Result<(), NtStatus> {
        self.disable_factory(factory)?;
        self.factories.write().retain(|known| !known.is(factory));
        Ok(())
    }

    /// Another name by which filters of a factory are opened, under each of its categories as an INF would list it.
    /// STATUS_OBJECT_NAME_COLLISION: the device has that name already.
    // ks-coverage: KsFilterFactoryAddCreateItem done test=factories_come_and_go_while_the_device_runs,a_driver_adds_and_deletes_factories_while_it_runs
    #[doc(alias = "KsFilterFactoryAddCreateItem")]
    pub fn add_factory_name(&self, factory: &Arc<dyn DescribeFilter>, name: &str) -> Result<(), NtStatus> {
        verifier::at_passive("Device::add_factory_name");
        if self.factories.read().iter().any(|known| known.opens(name)) {
            return Err(STATUS_OBJECT_NAME_COLLISION);
        }
        self.with_factory(factory, |factory| factory.names.push(name.to_owned()))?;
        if self.is_started() && self.post_start_refusal().is_none() {
            self.publish();
        }
        Ok(())
    }

    /// With the verifier on: is the device mutex held, at passive level? Who starts the device has it for himself; a
    /// callback shares it.
    fn needs_mutex(&self, routine: &'static str) {
        if verifier::is_enabled() {
            verifier::at_passive(routine);
            if !self.mutex.is_held_by_current() {
                verifier::needs_device_mutex(routine);
            }
        }
    }

    fn with_factory<R>(
        &self,
        factory: &Arc<dyn DescribeFilter>,
        what: impl FnOnce(&mut Factory) -> R,
    ) -> Result<R, NtStatus> {
        let mut factories = self.factories.write();
        factories.iter_mut().find(|known| known.is(factory)).map(what).ok_or(STATUS_INVALID_PARAMETER)
    }

    fn factory_list(&self) -> Vec<Arc<dyn DescribeFilter>> {
        self.factories.read().iter().map(|factory| factory.descriptor.clone()).collect()
    }

    /// Registers the interfaces that are enabled; those that are registered stay as they are.
    fn publish(&self) {
        let Some(me) = self.me.upgrade() else { return };
        let enabled: Vec<_> = {
            let factories = self.factories.read();
            let enabled = factories.iter().filter(|factory| factory.enabled);
            enabled.map(|factory| (factory.descriptor.clone(), factory.references())).collect()
        };
        for (factory, references) in enabled {
            for reference in references {
                for &category in factory.categories().iter() {
                    self.io.register_interface(InterfaceRecord {
                        category,
                        reference: reference.clone(),
                        friendly_name: factory.friendly_name().into_owned(),
                        device: me.clone(),
                    });
                }
            }
        }
    }

    fn unpublish(&self, references: &[String]) {
        let Some(me) = self.me.upgrade() else { return };
        let object: Arc<dyn DeviceObject> = me;
        for reference in references {
            self.io.unregister_interface(&object, reference);
        }
    }

    fn show_started(&self, works: bool) {
        self.block.store_u8(STARTED, 1);
        if works {
            self.publish();
        }
        // A removal in between has taken away what it saw.
        if self.is_removed() {
            self.show_removed();
        }
    }

    fn show_stopped(&self) {
        self.block.store_u8(STARTED, 0);
    }

    fn show_removed(&self) {
        self.removed.store(true, Ordering::SeqCst);
        self.block.store_u8(STARTED, 0);
        if let Some(me) = self.me.upgrade() {
            let object: Arc<dyn DeviceObject> = me;
            self.io.unregister_device(&object);
        }
    }

    /// The factories that a stop ends.
    fn free_on_stop(&self) {
        let ended: Vec<_> = {
            let factories = self.factories.read();
            let ended = factories.iter().filter(|factory| factory.lifetime == FactoryLifetime::UntilStop);
            ended.map(|factory| factory.descriptor.clone()).collect()
        };
        for factory in ended {
            let _ = self.remove_factory(&factory);
        }
    }

    /// Registers the DMA adapter by which pins with [`crate::PinFlags::GENERATE_MAPPINGS`] see their frames; to be done
    /// before such a pin processes, whose pointers show no mappings otherwise. STATUS_INVALID_PARAMETER: a stride below
    /// the size of a KSMAPPING or above 4096.
    // ks-coverage: KsDeviceRegisterAdapterObject done test=offsets_count_mappings_that_an_adapter_limits,a_driver_steps_through_the_mappings_of_its_frames
    #[doc(alias = "KsDeviceRegisterAdapterObject")]
    pub fn register_adapter(&self, adapter: DmaAdapter) -> Result<(), NtStatus> {
        verifier::at_passive("Device::register_adapter");
        if !(MAPPING_BYTES..=MOST_STRIDE).contains(&adapter.mapping_stride) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        self.adapter.set(adapter);
        Ok(())
    }

    pub(crate) fn adapter(&self) -> &Arc<AdapterSlot> {
        &self.adapter
    }

    /// The rules that its minidriver broke, in the order in which it did; the first 64.
    pub fn violations(&self) -> Vec<Violation> {
        self.violations.lock().clone()
    }

    /// Why filters of the device were stopped: a broken rule or a panic, in which callback of which filter or pin; the
    /// first 64.
    pub fn stops(&self) -> Vec<String> {
        self.stops.lock().clone()
    }

    pub(crate) fn note_stop(&self, reason: &str) {
        let mut stops = self.stops.lock();
        if stops.len() < MOST_VIOLATIONS {
            stops.push(reason.to_owned());
        }
    }

    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// A callback of the device misbehaved: its filters are stopped, each with this reason.
    pub(crate) fn stop_filters(&self, reason: Refusal) {
        self.note_stop(&reason.reason);
        for filter in self.living_filters() {
            filter.stop_with_device(&reason);
        }
    }

    /// A rule was broken in a callback of the device: its filters are stopped, each with callback, device and rule as the
    /// reason. For who hosts a driver and calls it in its own way.
    pub fn blame(&self, rule: Rule, callback: &'static str, what: String) {
        let violation = Violation { rule, callback, object: self.name.clone(), what };
        let reason = violation.to_string();
        self.note_violation(violation);
        self.stop_filters(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
    }

    /// A callback of the device does not return, and holds its mutex: neither it nor its filters are called again.
    pub(crate) fn hang(&self, reason: &str) {
        self.watched.give_up();
        self.note_stop(reason);
        for filter in self.living_filters() {
            filter.hang_with_device(reason);
        }
    }

    pub(crate) fn note_violation(&self, violation: Violation) {
        let mut violations = self.violations.lock();
        if violations.len() < MOST_VIOLATIONS {
            violations.push(violation);
        }
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

    /// Every pin's requests end: the device is gone.
    fn end_streams(&self) {
        for filter in self.living_filters() {
            filter.device_removed();
        }
    }

    /// True after a surprise removal.
    #[inline]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    pub(crate) fn gone(&self) -> Refusal {
        Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, format!("the device {} was removed", self.name))
    }

    /// May a filter be opened now?
    fn opens(&self) -> Refused {
        if self.watched.is_given_up() {
            let reason = format!("a callback of the device {} does not return", self.name);
            return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
        }
        let life = self.life.lock();
        match life.state {
            PnpState::SurpriseRemoved | PnpState::Deleted => Err(self.gone()),
            PnpState::Started | PnpState::StopPending => life.post_start.clone().map_or(Ok(()), Err),
            state => {
                let reason = format!("the device {} is {state}", self.name);
                Err(Refusal::new(STATUS_DEVICE_NOT_READY, Aspect::Device, reason))
            }
        }
    }

    /// A filter is closed, or was not opened after all.
    pub(crate) fn filter_closed(&self) {
        if self.opened.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.go_on_removing();
        }
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
        let me = self.me.upgrade().ok_or_else(|| self.gone())?;
        self.opens()?;
        let factory = self.factories.read().iter().find(|factory| factory.opens(request.name)).map(Factory::describes);
        let Some(factory) = factory else {
            let reason = format!("the device {} has no filter named {}", self.name, request.name);
            return Err(Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, reason));
        };
        let device = self.mutex.hold();
        // Counted before the state is looked at: a removal that sees no open filter is seen here.
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (filter, awaited) = match self.opens().and_then(|()| Filter::create(&me, factory, request)) {
            Ok(created) => created,
            Err(refusal) => {
                drop(device);
                self.filter_closed();
                return Err(refusal);
            }
        };
        let mut filters = self.filters.lock();
        filters.retain(|known| known.strong_count() > 0);
        filters.push(Arc::downgrade(&filter));
        drop(filters);
        drop(device);
        if let Some(awaited) = awaited
            && let Err(refusal) = filter.finish_create(&awaited)
        {
            self.filter_closed();
            return Err(refusal);
        }
        // A removal that came in between has closed no queue of this filter: it has no pin yet.
        let granted = request.access;
        Ok(Created { object: filter, granted })
    }

    fn remove(&self) {
        self.remove_device();
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("name", &self.name).field("removed", &self.is_removed()).finish()
    }
}
