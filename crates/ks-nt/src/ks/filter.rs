//! Filters: what the engine asks of one, answered by the routines of the driver.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::aggregation;
use crate::ks::automation;
use crate::ks::automation_tables::{NodeTables, Tables};
use crate::ks::bag::Bag;
use crate::ks::descriptor::{self, FilterView};
use crate::ks::device::HostedDevice;
use crate::ks::factory::HostedFactory;
use crate::ks::file::file_object;
use crate::ks::intersect;
use crate::ks::irp::{Answer, LentIrp, Target};
use crate::ks::objects::{self, Object};
use crate::ks::pin::HostedPin;
use crate::ks::pnp::PowerCallbacks;
use crate::ks::process_pin::Running;
use crate::running;
use ks_abi::kernel::{
    DevicePowerState, IRP_MJ_CLOSE, IRP_MJ_CREATE, KsFilterDescriptor, KsFilterDispatch, KsPinDescriptorEx,
    KsProcessPinIndexEntry,
};
use ks_abi::{NtStatus, Ptr64, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_PENDING};
use ks_io::{Aspect, Refusal};
use ks_mem::Block;
use ks_stream::{
    AutomationTable, CreateEnding, DataFormat, DescribeFilter, Filter, FilterInstance, Intersection, Pin, PinId,
    PinInstance, ProcessPins,
};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsFilterRegisterPowerCallbacks, KsFilterAttemptProcessing, KsFilterGetAndGate, KsFilterGetChildPinCount, KsFilterGetFirstChildPin,
);

/// Offsets of KSFILTER.
mod offset {
    pub(super) const DESCRIPTOR: usize = 0;
    pub(super) const BAG: usize = 8;
    pub(super) const CONTEXT: usize = 16;
}

/// An open filter of a hosted driver.
pub(crate) struct HostedFilter {
    filter: Weak<Filter>,
    address: u64,
    factory: Arc<HostedFactory>,
    device: Arc<HostedDevice>,
    view: FilterView,
    bag: Arc<Bag>,
    file: Block,
    /// The AND gate of a filter whose pins process by themselves: it holds nothing up.
    gate: Block,
    /// Living pins in the order of their creation.
    pins: Mutex<Vec<Arc<HostedPin>>>,
    automation: Tables<Filter>,
    nodes: NodeTables<Filter>,
    power: PowerCallbacks,
    open: AtomicBool,
    me: Weak<HostedFilter>,
}

/// The refusal of a routine of the driver.
pub(crate) fn refused(routine: &str, who: &str, status: NtStatus) -> Refusal {
    Refusal::new(status, Aspect::Driver, format!("the {routine} routine of {who} returned {status}"))
}

/// Has a routine agreed that cannot be waited for?
pub(crate) fn is_agreed(answer: NtStatus) -> bool {
    answer.is_success() && answer != STATUS_PENDING
}

fn no_memory(status: NtStatus) -> Refusal {
    Refusal::new(status, Aspect::Memory, "no memory for a filter")
}

impl HostedFilter {
    /// A client opens a filter. Device and filter control mutex held.
    pub(crate) fn open(factory: &Arc<HostedFactory>, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let removed = || Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, "the device was removed");
        let device = factory.device().ok_or_else(removed)?;
        let bag = Bag::new().map_err(no_memory)?;
        let file = file_object(device.functional()).map_err(no_memory)?;
        let gate = Block::zeroed(16, 16).map_err(|_| no_memory(STATUS_INSUFFICIENT_RESOURCES))?;
        gate.store_u32(0, 1);
        let block = filter.block();
        block.store_u64(offset::DESCRIPTOR, factory.descriptor().0);
        block.store_u64(offset::BAG, bag.handle());
        block.store_u64(offset::CONTEXT, factory.context());
        let hosted = Arc::new_cyclic(|me| HostedFilter {
            filter: Arc::downgrade(filter),
            address: block.address(),
            view: factory.view_of(block.address()),
            factory: factory.clone(),
            device,
            bag,
            file,
            gate,
            pins: Mutex::new(Vec::new()),
            automation: Tables::default(),
            nodes: NodeTables::default(),
            power: PowerCallbacks::default(),
            open: AtomicBool::new(true),
            me: me.clone(),
        });
        objects::insert(hosted.address, Object::Filter(hosted.clone()));
        objects::insert(hosted.file_object(), Object::FilterFile(hosted.clone()));
        factory.add_filter(&hosted);
        match hosted.call_with_irp(offset_of!(KsFilterDispatch, create), "filter Create", IRP_MJ_CREATE) {
            Ok(Answer::Now(status)) | Err(status) => hosted.opened(status),
            Ok(Answer::Later(irp)) => {
                let (later, pending) = filter.pend_create();
                if later.when_cancelled(irp.canceller()).is_err() {
                    irp.canceller()();
                }
                // The driver has the filter's memory until it ends the create, whatever becomes of the device meanwhile.
                let filter = filter.clone();
                irp.when_completed(move |status| {
                    let own = hosted.clone();
                    let made: CreateEnding<dyn FilterInstance> = Box::new(move || own.opened(status));
                    if later.complete_with(made).is_err() {
                        // The device was removed, and nobody will close it.
                        hosted.forget();
                    }
                    drop(filter);
                });
                Err(pending)
            }
        }
    }

    /// The Create routine has ended with this status.
    fn opened(self: &Arc<HostedFilter>, status: NtStatus) -> Result<Arc<dyn FilterInstance>, Refusal> {
        if status.is_success() {
            return Ok(self.clone());
        }
        self.forget();
        Err(refused("Create", &self.view.reference(), status))
    }

    fn call_with_irp(&self, at: usize, name: &'static str, major: u8) -> Result<Answer, NtStatus> {
        let Some(routine) = self.routine(at, name) else { return Ok(Answer::Now(NtStatus(0))) };
        let Some(me) = self.me.upgrade() else { return Ok(Answer::Now(NtStatus(0))) };
        let irp = LentIrp::lend_of_opener(Target::Filter(me), major)?;
        let returned = status(routine.call2(self.address, irp.address()));
        Ok(irp.answer(returned))
    }

    /// A routine of the filter's dispatch table, as it is now.
    fn routine(&self, at: usize, name: &'static str) -> Option<Routine> {
        let table = self.descriptor().follow(offset_of!(KsFilterDescriptor, dispatch)).some()?;
        Routine::optional(table.follow(at), name)
    }

    fn forget(&self) {
        self.open.store(false, Ordering::SeqCst);
        Address(self.address).put(offset::DESCRIPTOR, descriptor::closed());
        aggregation::forget(self.address);
        self.bag.free();
        drop(objects::remove(self.file_object()));
        drop(objects::remove(self.address));
    }

    /// What a driver is lent.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// The descriptor as it is now.
    pub(crate) fn descriptor(&self) -> Address {
        Address(self.address).follow(offset::DESCRIPTOR)
    }

    /// Replaces the descriptor by one in the bag.
    pub(crate) fn set_descriptor(&self, descriptor: Address) {
        Address(self.address).put(offset::DESCRIPTOR, descriptor.0);
    }

    /// Keeps pool memory as long as the filter is open.
    pub(crate) fn keep(&self, item: u64) {
        self.bag.keep(item);
    }

    pub(crate) fn context(&self) -> u64 {
        Address(self.address).get(offset::CONTEXT)
    }

    pub(crate) fn factory(&self) -> &Arc<HostedFactory> {
        &self.factory
    }

    pub(crate) fn device(&self) -> &Arc<HostedDevice> {
        &self.device
    }

    /// Address of its FILE_OBJECT.
    pub(crate) fn file_object(&self) -> u64 {
        self.file.address()
    }

    /// The engine's filter, while it is open.
    pub(crate) fn engine(&self) -> Option<Arc<Filter>> {
        self.filter.upgrade()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// The view of its descriptor.
    pub(crate) fn view(&self) -> &FilterView {
        &self.view
    }

    pub(crate) fn add_pin(&self, pin: &Arc<HostedPin>) {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).push(pin.clone());
    }

    pub(crate) fn remove_pin(&self, pin: &HostedPin) {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let at = pins.iter().position(|known| std::ptr::eq(&**known, pin));
        let gone = at.map(|at| pins.remove(at));
        drop(pins);
        drop(gone);
    }

    /// The pins of one factory in the order of their creation.
    pub(crate) fn pins(&self, id: PinId) -> Vec<Arc<HostedPin>> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.iter().filter(|pin| pin.id() == id).cloned().collect()
    }

    /// All pins.
    pub(crate) fn all_pins(&self) -> Vec<Arc<HostedPin>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first pin of the lowest factory that has one.
    pub(crate) fn first_pin(&self) -> Option<Arc<HostedPin>> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.iter().min_by_key(|pin| pin.id()).cloned()
    }
}

impl FilterInstance for HostedFilter {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let removed = || Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, "the filter is closing");
        HostedPin::create(&self.me.upgrade().ok_or_else(removed)?, pin)
    }

    fn descriptor(&self) -> Option<&dyn DescribeFilter> {
        Some(&self.view)
    }

    fn intersect_asked(&self, asked: &Intersection<'_>) -> Result<DataFormat, Refusal> {
        let by_default = || intersect::default_handler(asked.range, asked.matching);
        let Some(me) = self.me.upgrade() else { return by_default() };
        let Some(descriptor) = self.view.pin_address(asked.pin) else { return by_default() };
        match Routine::optional(
            descriptor.follow(offset_of!(KsPinDescriptorEx, intersect_handler)),
            "pin IntersectHandler",
        ) {
            Some(handler) => intersect::ask(&me, handler, descriptor, asked),
            None => by_default(),
        }
    }

    fn is_filter_centric(&self) -> bool {
        self.routine(offset_of!(KsFilterDispatch, process), running::FILTER_PROCESS).is_some()
    }

    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let Some(process) = self.routine(offset_of!(KsFilterDispatch, process), running::FILTER_PROCESS) else {
            return STATUS_PENDING;
        };
        let count = self.view.pin_count();
        let addresses: Vec<Vec<u64>> =
            (0..count).map(|id| pins.of(id).map(|entry| entry.address()).collect()).collect();
        let index: Vec<KsProcessPinIndexEntry> = addresses
            .iter()
            .map(|pins| KsProcessPinIndexEntry {
                pins: Ptr64(if pins.is_empty() { 0 } else { pins.as_ptr() as u64 }),
                count: pins.len() as u32,
                ..KsProcessPinIndexEntry::default()
            })
            .collect();
        let _running = Running::enter(pins);
        status(process.call2(self.address, index.as_ptr() as u64))
    }

    fn reset(&self, _filter: &Arc<Filter>) {
        if let Some(routine) = self.routine(offset_of!(KsFilterDispatch, reset), "filter Reset") {
            routine.call1(self.address);
        }
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        let table = self.descriptor().follow(offset_of!(KsFilterDescriptor, automation_table));
        let make = || {
            let me = self.me.clone();
            automation::table(table, Arc::new(move |_: &Filter| me.upgrade().map(Target::Filter)))
        };
        Some(self.automation.at(table, make))
    }

    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Filter>> {
        let table = descriptor::node_automation(self.descriptor(), node);
        let make = || {
            let me = self.me.clone();
            automation::table(table, Arc::new(move |_: &Filter| me.upgrade().map(Target::Filter)))
        };
        Some(self.nodes.of(node)?.at(table, make))
    }

    fn sleep(&self, _filter: &Arc<Filter>, to: DevicePowerState) {
        self.power.sleep(self.address, to);
    }

    fn wake(&self, _filter: &Arc<Filter>, to: DevicePowerState) {
        self.power.wake(self.address, to);
    }

    fn close(&self, filter: &Filter) {
        let answer = self.call_with_irp(offset_of!(KsFilterDispatch, close), "filter Close", IRP_MJ_CLOSE);
        match (answer, self.me.upgrade()) {
            (Ok(Answer::Later(irp)), Some(me)) => {
                let later = filter.pend_close();
                irp.when_completed(move |_| later.complete_with(move || me.forget()));
            }
            _ => self.forget(),
        }
    }
}

pub(crate) unsafe extern "win64" fn KsFilterAttemptProcessing(filter: Address, asynchronous: u8) {
    let filter = objects::filter(filter, "KsFilterAttemptProcessing").and_then(|filter| filter.engine());
    match filter {
        Some(filter) if asynchronous == 0 => filter.attempt_processing(),
        Some(filter) => filter.attempt_processing_later(),
        None => {}
    }
}

// ks-coverage: KsFilterRegisterPowerCallbacks done test=a_drivers_objects_sleep_and_wake_in_order
pub(crate) unsafe extern "win64" fn KsFilterRegisterPowerCallbacks(filter: Address, sleep: Address, wake: Address) {
    if let Some(filter) = objects::filter(filter, "KsFilterRegisterPowerCallbacks") {
        filter.power.set(sleep, wake);
    }
}

pub(crate) unsafe extern "win64" fn KsFilterGetAndGate(filter: Address) -> u64 {
    let Some(filter) = objects::filter(filter, "KsFilterGetAndGate") else { return 0 };
    let own = filter.gate.address();
    filter.engine().and_then(|filter| filter.and_gate().map(|gate| gate.address())).unwrap_or(own)
}

// ks-coverage: KsFilterGetChildPinCount done test=factories_filters_and_pins_have_siblings
pub(crate) unsafe extern "win64" fn KsFilterGetChildPinCount(filter: Address, id: u32) -> u32 {
    objects::filter(filter, "KsFilterGetChildPinCount").map_or(0, |filter| filter.pins(id).len() as u32)
}

// ks-coverage: KsFilterGetFirstChildPin done test=factories_filters_and_pins_have_siblings
pub(crate) unsafe extern "win64" fn KsFilterGetFirstChildPin(filter: Address, id: u32) -> u64 {
    let filter = objects::filter(filter, "KsFilterGetFirstChildPin");
    filter.and_then(|filter| filter.pins(id).first().map(|pin| pin.address())).unwrap_or(0)
}
