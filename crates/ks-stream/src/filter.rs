//! A filter: one open instance of a filter factory, and the parent of its pins.

use crate::automation::{self, AutomationTable};
use crate::callback::{self, FilterCallbacks, Made, Watched};
use crate::descriptor::{DescribeFilter, DescribePin, FilterFlags, PinId};
use crate::device::Device;
use crate::event::{self, EventList, EventToken};
use crate::filter_process::FilterProcessing;
use crate::format::DataRange;
use crate::io_control::default_completion;
use crate::minidriver::FilterInstance;
use crate::node_object::{self, NodeParent};
use crate::pended::{AwaitedCreate, Pended, PendedClose, PendedCreate};
use crate::pin::Pin;
use crate::verifier::{Rule, Violation};
use crate::watchdog;
use crate::{method, property, sets};
use ks_abi::kernel::DevicePowerState;
use ks_abi::{
    Guid, IoControlCode, KSALL_NODES, KSNAME_Pin, KSNAME_TopologyNode, STATUS_DEVICE_REMOVED,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};
use ks_io::{
    AccessMask, Aspect, CreateRequest, Created, Dispatch, Dispatched, FileObject, IoManager, Irp, LockRank, Origin,
    RankedMutex, Refusal, RequestorMode, Services,
};
use ks_mem::{Block, Learning, Part};
use std::cell::Cell;
use std::sync::OnceLock;

/// One open filter.
#[doc(alias = "KSFILTER")]
pub struct Filter {
    block: Block,
    me: Weak<Filter>,
    file: Weak<FileObject>,
    origin: Origin,
    access: AccessMask,
    device: Arc<Device>,
    descriptor: Arc<dyn DescribeFilter>,
    /// Rank filter control: taken after the device mutex, before a processing mutex. Pins share it.
    control: RankedMutex,
    instance: OnceLock<FilterCallbacks>,
    /// Set for a filter that processes as a whole.
    processing: OnceLock<Box<FilterProcessing>>,
    /// The pins of each factory; a pin leaves when its close has run.
    pins: Mutex<Vec<Vec<Weak<Pin>>>>,
    events: EventList,
    /// What its client calls it.
    label: OnceLock<String>,
    /// It is being stopped on some thread: what a callback does meanwhile does not stop it again.
    stopping: AtomicBool,
    watched: Watched,
    pended: Pended<dyn FilterInstance>,
}

/// Whether streams go on when one thing that held them has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoOn {
    Now,
    /// Something else holds them still.
    NotYet,
}

/// A filter, and its create if the minidriver pends it.
type NewFilter = (Arc<Filter>, Option<AwaitedCreate<dyn FilterInstance>>);

const FILTER_BYTES: usize = 24;
const CONTEXT: usize = 16;

impl Filter {
    /// Device mutex held by the caller, who finishes a create that the minidriver pends without it.
    pub(crate) fn create(
        device: &Arc<Device>,
        descriptor: Arc<dyn DescribeFilter>,
        request: &CreateRequest<'_>,
    ) -> Result<NewFilter, Refusal> {
        let denied = descriptor.flags().contains(FilterFlags::DENY_USERMODE_ACCESS);
        if denied && request.origin.mode() == RequestorMode::User {
            let reason = format!("{} is for drivers only", descriptor.reference());
            return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Access, reason));
        }
        let no_memory = |_| Refusal::new(STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, "no memory for a filter");
        let block = Block::zeroed(FILTER_BYTES, 16).map_err(no_memory)?;
        let pin_count = descriptor.pin_count() as usize;
        let filter = Arc::new_cyclic(|me| Filter {
            block,
            me: me.clone(),
            file: Arc::downgrade(request.file),
            origin: request.origin.clone(),
            access: request.access,
            device: device.clone(),
            descriptor: descriptor.clone(),
            control: device.io().services().mutex(LockRank::FilterControl, "filter control"),
            instance: OnceLock::new(),
            processing: OnceLock::new(),
            pins: Mutex::new(vec![Vec::new(); pin_count]),
            events: EventList::default(),
            label: OnceLock::new(),
            stopping: AtomicBool::new(false),
            watched: Watched::new(),
            pended: Pended::default(),
        });
        watchdog::know(filter.watched.number(), watchdog::Known::Filter(Arc::downgrade(&filter)));
        let made = {
            let _control = filter.control.hold();
            callback::create_filter(&filter, || descriptor.dispatch().create(&filter))
        };
        match made {
            Ok(Made::Now(instance)) => filter.open_with(instance).map(|()| (filter, None)),
            Ok(Made::Later(awaited)) => Ok((filter, Some(awaited))),
            Err(refusal) => {
                filter.pended.forget_create();
                Err(refusal)
            }
        }
    }

    /// Waits for the minidriver, which has pended the create. No mutex held.
    pub(crate) fn finish_create(
        self: &Arc<Filter>,
        awaited: &AwaitedCreate<dyn FilterInstance>,
    ) -> Result<(), Refusal> {
        let made = awaited.wait();
        self.pended.forget_create();
        let _device = self.device.mutex().hold();
        let _control = self.control.hold();
        self.open_with(made()?)
    }

    fn open_with(self: &Arc<Filter>, instance: Arc<dyn FilterInstance>) -> Result<(), Refusal> {
        let instance = FilterCallbacks::of(self, instance);
        if instance.is_filter_centric() {
            let processing = FilterProcessing::new(self.services());
            let no_memory = |status| Refusal::new(status, Aspect::Memory, "no memory for a filter");
            let _ = self.processing.set(Box::new(processing.map_err(no_memory)?));
        }
        let _ = self.instance.set(instance);
        Ok(())
    }

    /// Marks the create of this filter pending, in its Create callback, which returns the refusal as its answer. The client
    /// waits, with no mutex held, until the create is ended; a device that is removed ends the wait, and a client that
    /// cancels has the routine of [`PendedCreate::when_cancelled`] called.
    ///
    /// Source: nc-ks-pfnksfilterirp.
    #[doc(alias = "IoMarkIrpPending")]
    pub fn pend_create(&self) -> (PendedCreate<dyn FilterInstance>, Refusal) {
        self.pended.mark_create(self.services(), self.file.upgrade(), self.instance.get().is_none())
    }

    /// Marks the close of this filter pending, in its Close callback: the filter, and the removal of its device, wait until
    /// what is given back is dropped. No mutex is held meanwhile.
    #[doc(alias = "IoMarkIrpPending")]
    pub fn pend_close(&self) -> PendedClose {
        self.pended.mark_close(self.services())
    }

    pub(crate) fn pended(&self) -> &Pended<dyn FilterInstance> {
        &self.pended
    }

    /// The device.
    // ks-coverage: KsFilterGetDevice done test=every_inline_function_of_the_headers_works_on_living_objects
    #[doc(alias = "KsFilterGetDevice")]
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The engine.
    pub fn io(&self) -> &Arc<IoManager> {
        self.device.io()
    }

    /// The file object that it was opened as; `None` when that is gone.
    pub fn file_object(&self) -> Option<Arc<FileObject>> {
        self.file.upgrade()
    }

    /// Who opened the filter.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The access that its opener asked for, before it was granted.
    #[doc(alias = "IO_SECURITY_CONTEXT.DesiredAccess")]
    pub fn asked_access(&self) -> AccessMask {
        self.access
    }

    /// Time, work and waiting.
    pub fn services(&self) -> &Services {
        self.device.io().services()
    }

    /// Notes what a turn of one of its pins touches.
    pub(crate) fn footprint(&self, learning: &mut Learning<'_>) {
        learning.parts(&[Part::of(&self.processing), Part::of(&self.instance), Part::of(&self.descriptor)]);
    }

    /// What the filter says of itself.
    pub fn descriptor(&self) -> &dyn DescribeFilter {
        match self.instance.get().and_then(|instance| instance.descriptor()) {
            Some(own) => own,
            None => &*self.descriptor,
        }
    }

    /// The filter control mutex; its pins share it.
    // ks-coverage: KsFilterAcquireControl done test=mutexes_keep_other_threads_of_a_driver_out
    #[doc(alias = "KsFilterAcquireControl")]
    pub fn control(&self) -> &RankedMutex {
        &self.control
    }

    /// The public part of the filter, at the offsets of `KSFILTER`.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The word that a driver keeps in `KSFILTER.Context`.
    pub fn context(&self) -> u64 {
        self.block.load_u64(CONTEXT)
    }

    /// Name for messages: what its client calls it, or the reference string, which a driver may have made a GUID.
    pub fn name(&self) -> String {
        self.label.get().cloned().unwrap_or_else(|| self.descriptor().reference().into_owned())
    }

    /// What it is called from here on; false when it has another name already.
    pub(crate) fn set_label(&self, label: &str) -> bool {
        self.label.get_or_init(|| label.to_owned()) == label
    }

    /// What the minidriver made for this filter; `None` for another type, and until the filter is open. A handler in an
    /// automation table that all filters of a factory share finds its own by this.
    #[doc(alias = "KSFILTER.Context")]
    pub fn instance_as<I: FilterInstance>(&self) -> Option<&I> {
        self.instance.get()?.instance_as()
    }

    pub(crate) fn instance(&self) -> Option<&FilterCallbacks> {
        self.instance.get()
    }

    #[inline]
    pub(crate) fn processing(&self) -> Option<&FilterProcessing> {
        self.processing.get().map(|processing| &**processing)
    }

    /// The pin factory with this number.
    pub fn pin_descriptor(&self, id: PinId) -> Option<&dyn DescribePin> {
        self.descriptor().pin(id)
    }

    /// The data ranges of a pin factory, now.
    pub fn data_ranges(&self, id: PinId) -> Vec<DataRange> {
        let own = self.instance.get().and_then(|instance| instance.data_ranges(id));
        own.unwrap_or_else(|| self.descriptor().pin(id).map_or_else(Vec::new, |pin| pin.data_ranges().into_owned()))
    }

    /// The living pins of one factory.
    // ks-coverage: KsFilterGetFirstChildPin done test=factories_filters_and_pins_have_siblings
    #[doc(alias = "KsFilterGetFirstChildPin")]
    pub fn pins(&self, id: PinId) -> Vec<Arc<Pin>> {
        let pins = self.pins.lock();
        pins.get(id as usize).map_or_else(Vec::new, |pins| pins.iter().filter_map(Weak::upgrade).collect())
    }

    /// Has `look` look at the same, without an allocation each time.
    pub(crate) fn look_at_pins<T>(&self, id: PinId, look: impl FnOnce(&[Arc<Pin>]) -> T) -> T {
        thread_local! {
            static ROOM: Cell<Vec<Arc<Pin>>> = const { Cell::new(Vec::new()) };
        }
        let mut pins = ROOM.try_with(Cell::take).unwrap_or_default();
        pins.extend(self.pins.lock().get(id as usize).into_iter().flatten().filter_map(Weak::upgrade));
        let seen = look(&pins);
        // No lock is held: one of them may be the last reference.
        pins.clear();
        let _ = ROOM.try_with(|room| room.set(pins));
        seen
    }

    /// How many pins of one factory there are.
    // ks-coverage: KsFilterGetChildPinCount done test=factories_filters_and_pins_have_siblings
    #[doc(alias = "KsFilterGetChildPinCount")]
    pub fn pin_count(&self, id: PinId) -> u32 {
        self.pins.lock().get(id as usize).map_or(0, |pins| pins.len() as u32)
    }

    pub(crate) fn all_pins(&self) -> Vec<Arc<Pin>> {
        self.pins.lock().iter().flatten().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn add_pin(&self, id: PinId, pin: &Arc<Pin>) {
        let mut pins = self.pins.lock();
        // A filter may have got factories since it was opened.
        if pins.len() <= id as usize {
            pins.resize(id as usize + 1, Vec::new());
        }
        pins[id as usize].push(Arc::downgrade(pin));
    }

    pub(crate) fn remove_pin(&self, id: PinId, pin: *const Pin) {
        if let Some(pins) = self.pins.lock().get_mut(id as usize) {
            pins.retain(|known| !std::ptr::eq(known.as_ptr(), pin));
        }
    }

    pub(crate) fn weak(&self) -> Weak<Filter> {
        self.me.clone()
    }

    /// The filter or one of its pins, for messages about its minidriver.
    pub(crate) fn describe_object(&self, pin: Option<PinId>) -> String {
        // By its factory: the minidriver is not asked for its own name.
        let name = self.descriptor.reference();
        pin.map_or_else(|| name.clone().into_owned(), |id| format!("{name}.{id}"))
    }

    /// The minidriver misbehaved: the streams of all pins end with this reason, as by [`Pin::fail`], and a client that
    /// has brought them to STOP may start anew. Legal in every callback.
    pub(crate) fn stop(&self, reason: Refusal) {
        self.stop_noted(&reason, || self.device.note_stop(&reason.reason));
    }

    /// A callback of the device misbehaved, which has noted it.
    pub(crate) fn stop_with_device(&self, reason: &Refusal) {
        self.stop_noted(reason, || {});
    }

    fn stop_noted(&self, reason: &Refusal, note: impl FnOnce()) {
        if self.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        note();
        for pin in self.all_pins() {
            pin.fail(reason.clone());
        }
        self.stopping.store(false, Ordering::SeqCst);
    }

    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// A callback does not return, and nobody waits for it any more: the minidriver is not called again.
    pub(crate) fn hang(&self, reason: &str) {
        self.device.note_stop(reason);
        self.hang_with_device(reason);
    }

    /// The same of a callback of the device, which has noted it.
    pub(crate) fn hang_with_device(&self, reason: &str) {
        self.watched.give_up();
        for pin in self.all_pins() {
            if let Some(queue) = pin.queue() {
                // The callback will not end its turn; what goes out meanwhile goes now.
                queue.abandon_processing();
            }
        }
        self.stop_with_device(&Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
    }

    /// Was the filter given up, because a callback of its minidriver does not return?
    pub(crate) fn is_given_up(&self) -> bool {
        self.watched.is_given_up()
    }

    /// A rule was broken in a callback of the filter or of one of its pins.
    pub(crate) fn broke(&self, rule: Rule, callback: &'static str, pin: Option<PinId>, what: String) {
        let violation = Violation { rule, callback, object: self.describe_object(pin), what };
        let reason = violation.to_string();
        self.device.note_violation(violation);
        self.stop(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        self.instance.get().and_then(|instance| instance.automation())
    }

    /// Raises every enabled event of this set and item on the filter.
    // ks-coverage: KsFilterGenerateEvents done test=a_filter_raises_its_events_by_set_and_item,an_event_is_raised_with_its_object_once_it_was_added
    #[doc(alias = "KsFilterGenerateEvents")]
    pub fn generate_events(&self, set: Guid, id: u32) {
        self.events.generate(set, id);
    }

    /// Raises one enabled event of the filter.
    pub fn generate_event(&self, event: EventToken) {
        self.events.generate_one(event);
    }

    /// Raises every enabled event of this set and item on the filter, with data for clients that fetch it by
    /// KSEVENT_TYPE_QUERYBUFFER. STATUS_INSUFFICIENT_RESOURCES: a buffer had no room for it.
    #[doc(alias = "KsFilterGenerateEvents")]
    pub fn generate_data_events(&self, set: ks_abi::Guid, id: u32, data: &[u8]) -> ks_abi::NtStatus {
        self.events.generate_with(set, id, data)
    }

    /// The enabled events of this item that the minidriver's table does not have, of one set or of any (`None`): what it
    /// can raise beside its own, see [`Filter::generate_data_event`].
    pub fn built_in_events(&self, set: Option<ks_abi::Guid>, id: u32) -> Vec<crate::BuiltInEvent> {
        self.events.built_in(set, id)
    }

    /// Raises one enabled event of the filter with data, see [`Filter::generate_data_events`].
    #[doc(alias = "KsGenerateDataEvent")]
    pub fn generate_data_event(&self, event: EventToken, data: &[u8]) -> ks_abi::NtStatus {
        self.events.generate_one_with(event, data)
    }

    /// The events that clients enabled.
    pub(crate) fn events(&self) -> &EventList {
        &self.events
    }

    /// The minidriver's table of the filter, or of what a node answers on it.
    pub(crate) fn table_of(&self, node: Option<u32>) -> Option<&AutomationTable<Filter>> {
        match node {
            None => self.automation(),
            Some(node) => self.instance.get().and_then(|instance| instance.node_automation(node)),
        }
    }

    /// A property, method or event of a topology node; it is in the node's own automation table.
    fn node_request(&self, irp: Irp) -> Dispatched {
        let node = match self.named_node(irp.input()) {
            Ok(node) => node,
            Err(refusal) => return Dispatched::Completed(irp.refuse(refusal)),
        };
        let table = self.table_of(Some(node));
        if node == KSALL_NODES && table.is_none() {
            return Dispatched::Completed(irp.refuse(node_object::no_node_as_a_whole(self)));
        }
        match irp.io_control_code() {
            IoControlCode::KS_ENABLE_EVENT => self.events.enable(self, irp, &[], table),
            IoControlCode::KS_METHOD => method::handle(self, irp, table.as_slice()),
            _ => property::handle(self, irp, table.as_slice()),
        }
    }

    /// The node that a request names, if the filter has it.
    pub(crate) fn named_node(&self, request: &[u8]) -> Result<u32, Refusal> {
        let Some(node) = automation::node_of(request) else {
            let reason = "a request to a node has its number behind the identifier";
            return Err(Refusal::new(STATUS_INVALID_BUFFER_SIZE, Aspect::Request, reason));
        };
        let nodes = self.descriptor().nodes().len();
        // Which objects answer for the nodes as a whole, their tables tell.
        if node as usize >= nodes && node != KSALL_NODES {
            let reason = format!("{} has {nodes} topology nodes and no node {node}", self.name());
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason));
        }
        Ok(node)
    }

    /// The device is stopped, or goes to a power state below D0. Device mutex held.
    pub(crate) fn hold_streams(self: &Arc<Filter>, to: Option<DevicePowerState>) {
        let _control = self.control.hold();
        let pins = self.all_pins();
        pins.iter().for_each(Pin::hold_stream);
        let Some(to) = to else { return };
        match (self.processing(), self.instance()) {
            (Some(_), Some(instance)) => instance.sleep(self, to),
            _ => pins.iter().filter_map(|pin| Some((pin, pin.instance()?))).for_each(|(pin, own)| own.sleep(pin, to)),
        }
    }

    /// The device was started again, or is in D0 again; if nothing else holds its streams they go on. Device mutex held.
    pub(crate) fn let_streams_go(self: &Arc<Filter>, to: Option<DevicePowerState>, go_on: GoOn) {
        let _control = self.control.hold();
        let pins = self.all_pins();
        if let Some(to) = to {
            match (self.processing(), self.instance()) {
                (Some(_), Some(instance)) => instance.wake(self, to),
                _ => {
                    pins.iter().filter_map(|pin| Some((pin, pin.instance()?))).for_each(|(pin, own)| own.wake(pin, to))
                }
            }
        }
        if go_on == GoOn::Now {
            pins.iter().for_each(Pin::let_stream_go);
        }
    }

    pub(crate) fn device_removed(&self) {
        self.pended.end_create(&self.device.gone());
        for pin in self.all_pins() {
            pin.device_removed();
        }
    }
}

impl Dispatch for Filter {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        if self.device.is_removed() {
            return irp.done(STATUS_DEVICE_REMOVED);
        }
        let code = irp.io_control_code();
        match code {
            IoControlCode::KS_PROPERTY | IoControlCode::KS_METHOD if automation::is_for_node(irp.input()) => {
                self.node_request(irp)
            }
            IoControlCode::KS_ENABLE_EVENT if event::is_for_node(irp.input()) => self.node_request(irp),
            IoControlCode::KS_PROPERTY => {
                let (own, built_in) = (self.automation(), sets::filter_table());
                let both = [own.unwrap_or(built_in), built_in];
                property::handle(self, irp, if own.is_some() { &both } else { &both[1..] })
            }
            IoControlCode::KS_METHOD => method::handle(self, irp, self.automation().as_slice()),
            IoControlCode::KS_ENABLE_EVENT => self.events.enable(self, irp, &[], self.automation()),
            _ if event::is_event_code(code) => self.events.disable_with(self, irp, |node| self.table_of(node)),
            _ => irp.done(default_completion(code)),
        }
    }

    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        if self.device.is_removed() {
            let reason = format!("the device {} was removed", self.device.device_name());
            return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, reason));
        }
        let Some(me) = self.me.upgrade() else {
            return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, "the filter is closing"));
        };
        if self.is_given_up() {
            let reason = format!("a callback of {} does not return", self.describe_object(None));
            return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
        }
        if is_class(request.name, KSNAME_Pin) {
            return crate::pin::connect::create(&me, request);
        }
        if is_class(request.name, KSNAME_TopologyNode) {
            return node_object::create(NodeParent::Filter(me), request);
        }
        Err(unknown_class(request.name, "a filter"))
    }

    fn cleanup(&self) {
        self.events.free_with(self, |node| self.table_of(node));
    }

    fn close(&self) {
        if self.is_given_up() {
            // Who computes may hold its mutexes.
            return;
        }
        if let Some(instance) = self.instance.get() {
            let _device = self.device.mutex().hold();
            let _control = self.control.hold();
            instance.close(self);
        }
        if let Some(rest) = self.pended.wait_for_close() {
            let _device = self.device.mutex().hold();
            let _control = self.control.hold();
            rest();
        }
        self.device.filter_closed();
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

/// Is `name` the class string of this object class, with or without a trailing backslash?
pub(crate) fn is_class(name: &str, class: ks_abi::Guid) -> bool {
    let name = name.strip_suffix('\\').unwrap_or(name);
    // Reading the name costs a fraction of writing the class, and every create asks.
    name.starts_with('{') && name.parse() == Ok(class)
}

/// The refusal of a class string.
pub(crate) fn unknown_class(name: &str, parent: &str) -> Refusal {
    Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, format!("{parent} has no sub-object of class {name}"))
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("name", &self.name()).finish_non_exhaustive()
    }
}
