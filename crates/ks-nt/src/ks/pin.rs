//! Pins: what the engine asks of one, answered by the routines of the driver.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::aggregation;
use crate::ks::attributes;
use crate::ks::automation;
use crate::ks::automation_tables::{NodeTables, Tables};
use crate::ks::bag::Bag;
use crate::ks::client_event::ClientEvents;
use crate::ks::connected::Shown;
use crate::ks::descriptor;
use crate::ks::file::file_object;
use crate::ks::filter::{HostedFilter, is_agreed, refused};
use crate::ks::handshake;
use crate::ks::injection::Returns;
use crate::ks::irp::{Answer, LentIrp, Target};
use crate::ks::misuse::misuse;
use crate::ks::objects::{self, Object};
use crate::ks::pnp::PowerCallbacks;
use crate::ks::stream_pointer::Pointer;
use crate::ks::{driver_allocator, driver_clock};
use crate::report::BugCheck;
use crate::running;
use crate::verifier;
use ks_abi::kernel::{DevicePowerState, IRP_MJ_CLOSE, IRP_MJ_CREATE, KsPinDescriptorEx, KsPinDispatch};
use ks_abi::{
    KsHandshake, KsState, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_NO_MATCH, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::{Aspect, Refusal};
use ks_mem::{Block, FrameMemory};
use ks_stream::{
    AllocatorFraming, AutomationTable, CloneId, CreateEnding, DataFormat, DataRange, DescribeFilter, ExtendedFraming,
    FrameSource, Framing, Pin, PinFlags, PinId, PinInstance, PointerId, ReturnedFrame, ReturnedRequest, format,
};
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsPinRegisterPowerCallbacks, KsPinAttemptProcessing, KsPinGetAndGate, KsPinGetParentFilter, KsPinGetNextSiblingPin, KsPinGetAvailableByteCount,
);

/// Offsets of KSPIN.
mod offset {
    pub(super) const DESCRIPTOR: usize = 0;
    pub(super) const BAG: usize = 8;
    pub(super) const CONTEXT: usize = 16;
    pub(super) const CONNECTION_FORMAT: usize = 96;
    pub(super) const ATTRIBUTE_LIST: usize = 104;
}

/// A pin of a hosted driver.
pub(crate) struct HostedPin {
    pin: Weak<Pin>,
    address: u64,
    id: PinId,
    filter: Arc<HostedFilter>,
    bag: Arc<Bag>,
    file: Block,
    /// What KSPIN.ConnectionFormat and AttributeList name: of the format, and of the one before it.
    formats: Mutex<Vec<FormatBlocks>>,
    edge: OnceLock<Option<Arc<Pointer>>>,
    trailing: OnceLock<Option<Arc<Pointer>>>,
    /// Clones in the order of their creation.
    clones: Mutex<Vec<Arc<Pointer>>>,
    automation: Tables<Pin>,
    /// What the filter's nodes answer on this pin.
    nodes: NodeTables<Pin>,
    returns: Returns,
    /// What answers a protocol that is offered.
    handshake: Mutex<Option<Routine>>,
    /// The connected pin, if the driver has asked for it.
    shown: Shown,
    /// Events that clients have registered.
    client_events: ClientEvents,
    power: PowerCallbacks,
    /// Its own allocator, if that serves the circuit.
    circuit_allocator: driver_allocator::CircuitAllocator,
    me: Weak<HostedPin>,
}

fn no_memory<E>(_: E) -> Refusal {
    Refusal::new(ks_abi::STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, "no memory for a pin")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a format where a driver may read them, and the list of its attributes.
struct FormatBlocks {
    format: Block,
    attributes: Option<Block>,
}

impl FormatBlocks {
    fn of(format: &DataFormat) -> Result<FormatBlocks, Refusal> {
        let block = Block::zeroed(format.bytes().len(), 16).map_err(no_memory)?;
        block.write_bytes(0, format.bytes());
        Ok(FormatBlocks { format: block, attributes: attributes::list(format).map_err(no_memory)? })
    }

    /// Address of the KSATTRIBUTE_LIST, or NULL.
    fn list(&self) -> u64 {
        self.attributes.as_ref().map_or(0, Block::address)
    }
}

impl HostedPin {
    /// A client creates a pin: the driver is offered the format, range by range, and then told of the create. Filter
    /// control mutex held.
    pub(crate) fn create(filter: &Arc<HostedFilter>, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let bag = Bag::new().map_err(no_memory)?;
        let file = file_object(filter.device().functional()).map_err(no_memory)?;
        let format = FormatBlocks::of(&pin.format())?;
        let block = pin.block();
        block.store_u64(offset::DESCRIPTOR, filter.view().pin_address(pin.id()).unwrap_or_default().0);
        block.store_u64(offset::BAG, bag.handle());
        block.store_u64(offset::CONTEXT, filter.context());
        block.store_u64(offset::CONNECTION_FORMAT, format.format.address());
        block.store_u64(offset::ATTRIBUTE_LIST, format.list());
        let hosted = Arc::new_cyclic(|me| HostedPin {
            pin: Arc::downgrade(pin),
            address: pin.address(),
            id: pin.id(),
            filter: filter.clone(),
            bag,
            file,
            formats: Mutex::new(vec![format]),
            edge: OnceLock::new(),
            trailing: OnceLock::new(),
            clones: Mutex::new(Vec::new()),
            automation: Tables::default(),
            nodes: NodeTables::default(),
            returns: Returns::default(),
            handshake: Mutex::new(None),
            shown: Shown::default(),
            client_events: ClientEvents::default(),
            power: PowerCallbacks::default(),
            circuit_allocator: driver_allocator::CircuitAllocator::default(),
            me: me.clone(),
        });
        objects::insert(hosted.address, Object::Pin(hosted.clone()));
        objects::insert(hosted.file_object(), Object::PinFile(hosted.clone()));
        let clock = hosted.dispatch(offset_of!(KsPinDispatch, clock));
        if let Some(clock) = clock {
            // The driver may ask for it in its create routine.
            let brought = driver_clock::parts(pin, clock).and_then(|parts| pin.bring_clock(parts));
            brought.map_err(|status| refused("Clock", &hosted.name(), status))?;
        }
        let answer = hosted.accept_format(&pin.format()).and_then(|()| {
            filter.add_pin(&hosted);
            hosted.call_with_irp(offset_of!(KsPinDispatch, create), "pin Create", IRP_MJ_CREATE)
        });
        match answer {
            Ok(Answer::Now(status)) => hosted.opened(pin, status),
            Ok(Answer::Later(irp)) => {
                let (later, pending) = pin.pend_create();
                if later.when_cancelled(irp.canceller()).is_err() {
                    irp.canceller()();
                }
                // The driver has the pin's memory until it ends the create, whatever becomes of the device meanwhile.
                let pin = pin.clone();
                irp.when_completed(move |status| {
                    let (own, kept) = (hosted.clone(), pin.clone());
                    let made: CreateEnding<dyn PinInstance> = Box::new(move || own.opened(&kept, status));
                    if later.complete_with(made).is_err() {
                        // The device was removed, and nobody will close it.
                        hosted.forget();
                    }
                    drop(pin);
                });
                Err(pending)
            }
            Err(refusal) => {
                hosted.forget();
                Err(refusal)
            }
        }
    }

    /// The Create routine has ended with this status.
    fn opened(self: &Arc<HostedPin>, pin: &Arc<Pin>, status: NtStatus) -> Result<Arc<dyn PinInstance>, Refusal> {
        if !status.is_success() {
            self.forget();
            return Err(refused("Create", &self.name(), status));
        }
        // The edge shows its pin from the start: a filter that processes as a whole is lent it without asking.
        let _ = self.edge();
        // The driver may have asked for larger stream headers.
        pin.set_stream_header_bytes(pin.stream_header_bytes());
        Ok(self.clone())
    }

    /// Asks SetDataFormat for the first format, with each range of the factory that it falls into.
    fn accept_format(&self, format: &DataFormat) -> Result<(), Refusal> {
        let name = self.name();
        let Some(routine) = self.routine(offset_of!(KsPinDispatch, set_data_format), "pin SetDataFormat") else {
            return Ok(());
        };
        let mut answer = STATUS_NO_MATCH;
        for range in self.matching_ranges(format) {
            answer = status(routine.call5(self.address, 0, 0, range.0, 0));
            if answer != STATUS_NO_MATCH {
                break;
            }
        }
        if is_agreed(answer) { Ok(()) } else { Err(refused("SetDataFormat", &name, answer)) }
    }

    /// The driver's ranges that a format falls into.
    fn matching_ranges(&self, of: &DataFormat) -> Vec<Address> {
        let plain = self.descriptor().get(offset_of!(KsPinDescriptorEx, pin_descriptor));
        let falls = |range: &DataRange| {
            format::falls_into(of.head(), range.head()).and_then(|()| format::attributes_agree(of, range)).is_ok()
        };
        descriptor::ranges(&plain).into_iter().filter(|(_, range)| falls(range)).map(|(address, _)| address).collect()
    }

    fn call_with_irp(&self, at: usize, name: &'static str, major: u8) -> Result<Answer, Refusal> {
        let Some(routine) = self.routine(at, name) else { return Ok(Answer::Now(STATUS_SUCCESS)) };
        let Some(me) = self.me.upgrade() else { return Ok(Answer::Now(STATUS_SUCCESS)) };
        let irp = LentIrp::lend_of_opener(Target::Pin(me), major).map_err(no_memory)?;
        let returned = status(routine.call2(self.address, irp.address()));
        Ok(irp.answer(returned))
    }

    /// A table that the pin's dispatch table names.
    fn dispatch(&self, at: usize) -> Option<Address> {
        self.descriptor().follow(offset_of!(KsPinDescriptorEx, dispatch)).some()?.follow(at).some()
    }

    /// A routine of the pin's dispatch table, as it is now.
    pub(crate) fn routine(&self, at: usize, name: &'static str) -> Option<Routine> {
        let table = self.descriptor().follow(offset_of!(KsPinDescriptorEx, dispatch)).some()?;
        Routine::optional(table.follow(at), name)
    }

    /// The routines of its own allocator, if there are all that it takes.
    fn own_allocator(&self) -> Option<driver_allocator::Callbacks> {
        let table = self.dispatch(offset_of!(KsPinDispatch, allocator))?;
        Some(driver_allocator::Callbacks::of_table(table)).filter(driver_allocator::Callbacks::can_allocate)
    }

    fn forget(&self) {
        verifier::closing(self);
        let clones = std::mem::take(&mut *lock(&self.clones));
        for clone in clones.into_iter().rev() {
            clone.delete();
        }
        for edge in [&self.edge, &self.trailing].into_iter().filter_map(|edge| edge.get()?.as_ref()) {
            edge.delete();
        }
        self.returns.forget();
        self.client_events.forget();
        *lock(&self.handshake) = None;
        self.filter.remove_pin(self);
        Address(self.address).put(offset::DESCRIPTOR, descriptor::closed());
        aggregation::forget(self.address);
        self.bag.free();
        drop(objects::remove(self.file_object()));
        drop(objects::remove(self.address));
    }

    /// An edge that is locked.
    pub(crate) fn locked_edge(&self) -> Option<&Arc<Pointer>> {
        [&self.edge, &self.trailing].into_iter().filter_map(|edge| edge.get()?.as_ref()).find(|edge| edge.is_locked())
    }

    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.filter.view().reference(), self.id)
    }

    /// What a driver is lent.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub(crate) fn id(&self) -> PinId {
        self.id
    }

    /// The descriptor as it is now.
    pub(crate) fn descriptor(&self) -> Address {
        Address(self.address).follow(offset::DESCRIPTOR)
    }

    pub(crate) fn filter(&self) -> &Arc<HostedFilter> {
        &self.filter
    }

    /// Address of its FILE_OBJECT.
    pub(crate) fn file_object(&self) -> u64 {
        self.file.address()
    }

    pub(crate) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// The engine's pin, while it lives.
    pub(crate) fn engine(&self) -> Option<Arc<Pin>> {
        self.pin.upgrade()
    }

    /// Events that clients have registered.
    pub(crate) fn client_events(&self) -> &ClientEvents {
        &self.client_events
    }

    /// The leading edge; `None` for a pin without queue.
    pub(crate) fn edge(&self) -> Option<Arc<Pointer>> {
        self.edge.get_or_init(|| Pointer::edge(self.me.upgrade()?, &self.engine()?)).clone()
    }

    /// The trailing edge; `None` for a pin whose descriptor does not ask for one.
    pub(crate) fn trailing_edge(&self) -> Option<Arc<Pointer>> {
        self.trailing.get_or_init(|| Pointer::trailing_edge(self.me.upgrade()?, &self.engine()?)).clone()
    }

    fn keep_format(&self, is: FormatBlocks) {
        let mut formats = lock(&self.formats);
        formats.push(is);
        // The driver may still be reading the one before.
        let gone = formats.len().saturating_sub(2);
        formats.drain(..gone);
    }

    /// Sets what answers a protocol that is offered.
    pub(crate) fn set_handshake(&self, routine: Option<Routine>) {
        *lock(&self.handshake) = routine;
    }

    /// What it injects, and what it wants to be told.
    pub(crate) fn returns(&self) -> &Returns {
        &self.returns
    }

    /// The clones in the order of their creation.
    pub(crate) fn clones(&self) -> MutexGuard<'_, Vec<Arc<Pointer>>> {
        lock(&self.clones)
    }
}

impl PinInstance for HostedPin {
    fn process(&self, _pin: &Arc<Pin>) -> NtStatus {
        match self.routine(offset_of!(KsPinDispatch, process), running::PIN_PROCESS) {
            Some(routine) => status(routine.call1(self.address)),
            None => STATUS_PENDING,
        }
    }

    fn set_device_state(&self, _pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        let at = offset_of!(KsPinDispatch, set_device_state);
        let Some(routine) = self.routine(at, "pin SetDeviceState") else { return Ok(()) };
        let answer = status(routine.call3(self.address, u64::from(to.0), u64::from(from.0)));
        if is_agreed(answer) { Ok(()) } else { Err(refused("SetDeviceState", &self.name(), answer)) }
    }

    fn set_data_format(&self, pin: &Arc<Pin>, old: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        let flags: u32 = self.descriptor().get(offset_of!(KsPinDescriptorEx, flags));
        let routine = self.routine(offset_of!(KsPinDispatch, set_data_format), "pin SetDataFormat");
        let Some(routine) = routine.filter(|_| flags & PinFlags::FIXED_FORMAT.bits() == 0) else {
            let reason = "the pin does not change its format";
            return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Driver, reason));
        };
        let shown = [offset::CONNECTION_FORMAT, offset::ATTRIBUTE_LIST];
        let before = shown.map(|at| pin.block().load_u64(at));
        let (was, is) = (FormatBlocks::of(old)?, FormatBlocks::of(new)?);
        let show = |words: [u64; 2]| shown.iter().zip(words).for_each(|(at, word)| pin.block().store_u64(*at, word));
        show([is.format.address(), is.list()]);
        let mut answer = STATUS_NO_MATCH;
        for range in self.matching_ranges(new) {
            answer = status(routine.call5(self.address, was.format.address(), was.list(), range.0, 0));
            if answer != STATUS_NO_MATCH {
                break;
            }
        }
        if !is_agreed(answer) {
            show(before);
            return Err(refused("SetDataFormat", &self.name(), answer));
        }
        self.keep_format(is);
        Ok(())
    }

    /// As the pin's descriptor has them, which the driver may have edited.
    fn data_ranges(&self, _pin: &Pin) -> Option<Vec<DataRange>> {
        let plain = self.descriptor().get(offset_of!(KsPinDescriptorEx, pin_descriptor));
        Some(descriptor::ranges(&plain).into_iter().map(|(_, range)| range).collect())
    }

    /// The driver is asked by SetDataFormat alone, when the change comes: whether it would agree nobody can know before.
    fn would_take(&self, pin: &Arc<Pin>, _new: &DataFormat) -> Result<(), Refusal> {
        if self.routine(offset_of!(KsPinDispatch, set_data_format), "pin SetDataFormat").is_some() {
            return Ok(());
        }
        let reason = format!("{}: its driver has no SetDataFormat", pin.describe());
        Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Driver, reason))
    }

    fn format_changed(&self, pin: &Arc<Pin>, _old: &DataFormat, new: &DataFormat) {
        // Without memory the driver goes on seeing the format before.
        if let Ok(is) = FormatBlocks::of(new) {
            pin.block().store_u64(offset::CONNECTION_FORMAT, is.format.address());
            pin.block().store_u64(offset::ATTRIBUTE_LIST, is.list());
            self.keep_format(is);
        }
    }

    fn framing(&self, pin: &Pin) -> Option<Framing> {
        let framing = descriptor::framing_ex(self.descriptor())?;
        Some(descriptor::framing(&framing, pin.format().head().sample_size))
    }

    fn extended_framing(&self, _pin: &Pin) -> Option<ExtendedFraming> {
        descriptor::extended_framing(self.descriptor())
    }

    fn reset(&self, pin: &Arc<Pin>) {
        if let Some(routine) = self.routine(offset_of!(KsPinDispatch, reset), "pin Reset") {
            let _ = pin;
            routine.call1(self.address);
        }
    }

    fn connect(&self, _pin: &Arc<Pin>) -> Result<(), Refusal> {
        let Some(routine) = self.routine(offset_of!(KsPinDispatch, connect), "pin Connect") else { return Ok(()) };
        let answer = status(routine.call1(self.address));
        if is_agreed(answer) { Ok(()) } else { Err(refused("Connect", &self.name(), answer)) }
    }

    fn sleep(&self, _pin: &Arc<Pin>, to: DevicePowerState) {
        self.power.sleep(self.address, to);
    }

    fn wake(&self, _pin: &Arc<Pin>, to: DevicePowerState) {
        self.power.wake(self.address, to);
    }

    fn disconnect(&self, _pin: &Pin) {
        if let Some(routine) = self.routine(offset_of!(KsPinDispatch, disconnect), "pin Disconnect") {
            routine.call1(self.address);
        }
    }

    fn close(&self, pin: &Pin) {
        let answer = self.call_with_irp(offset_of!(KsPinDispatch, close), "pin Close", IRP_MJ_CLOSE);
        match (answer, self.me.upgrade()) {
            (Ok(Answer::Later(irp)), Some(me)) => {
                let later = pin.pend_close();
                irp.when_completed(move |_| later.complete_with(move || me.forget()));
            }
            _ => self.forget(),
        }
    }

    fn clone_cancelled(&self, _pin: &Pin, clone: CloneId) {
        let found = lock(&self.clones).iter().find(|pointer| pointer.is(clone)).cloned();
        if let Some(pointer) = found {
            pointer.cancelled();
        }
    }

    fn pointer_timed_out(&self, _pin: &Arc<Pin>, pointer: PointerId, routine: u64) {
        let found = match pointer {
            PointerId::LeadingEdge => self.edge.get().cloned().flatten(),
            PointerId::TrailingEdge => self.trailing.get().cloned().flatten(),
            PointerId::Clone(clone) => lock(&self.clones).iter().find(|pointer| pointer.is(clone)).cloned(),
        };
        if let Some(pointer) = found {
            pointer.timed_out(Address(routine));
        }
    }

    fn frame_source(
        &self,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        let Some(table) = self.dispatch(offset_of!(KsPinDispatch, allocator)) else { return Ok(None) };
        let callbacks = driver_allocator::Callbacks::of_table(table);
        let made = driver_allocator::start_of_pin(callbacks, self.address, pin, framing);
        made.map(Some).map_err(|status| refused("InitializeAllocator", &self.name(), status))
    }

    /// Decision: frames that leave the process are never the driver's, as those of kernel mode never are user mode's.
    fn circuit_frames(
        &self,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
        memory: FrameMemory,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        let Some(callbacks) = self.own_allocator().filter(|_| memory == FrameMemory::Private) else { return Ok(None) };
        let made = self.circuit_allocator.source(callbacks, self.address, pin, framing);
        made.map(Some).map_err(|status| refused("InitializeAllocator", &self.name(), status))
    }

    fn can_allocate(&self, _pin: &Pin) -> bool {
        self.own_allocator().is_some()
    }

    fn handshake(&self, _pin: &Arc<Pin>, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        let routine = *lock(&self.handshake);
        handshake::ask(routine.ok_or(STATUS_INVALID_DEVICE_REQUEST)?, self.address, offer)
    }

    fn frame_returned(&self, _pin: &Arc<Pin>, frame: ReturnedFrame) {
        self.returns.give_back(self.address, frame);
    }

    fn request_returned(&self, _pin: &Arc<Pin>, request: &ReturnedRequest<'_>) {
        self.returns.tell(self.address, request.irp);
    }

    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        let table = self.descriptor().follow(offset_of!(KsPinDescriptorEx, automation_table));
        let make = || {
            let me = self.me.clone();
            automation::table(table, Arc::new(move |_: &Pin| me.upgrade().map(Target::Pin)))
        };
        Some(self.automation.at(table, make))
    }

    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Pin>> {
        let table = descriptor::node_automation(self.filter.descriptor(), node);
        let make = || {
            let me = self.me.clone();
            automation::table(table, Arc::new(move |_: &Pin| me.upgrade().map(Target::Pin)))
        };
        Some(self.nodes.of(node)?.at(table, make))
    }
}

// ks-coverage: KsPinRegisterPowerCallbacks done test=a_drivers_objects_sleep_and_wake_in_order
pub(crate) unsafe extern "win64" fn KsPinRegisterPowerCallbacks(pin: Address, sleep: Address, wake: Address) {
    const NAME: &str = "KsPinRegisterPowerCallbacks";
    let Some(pin) = objects::pin(pin, NAME) else { return };
    if sleep.is_null() && wake.is_null() {
        misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, NAME, "one of the two callbacks must be there");
    }
    pin.power.set(sleep, wake);
}

pub(crate) unsafe extern "win64" fn KsPinAttemptProcessing(pin: Address, asynchronous: u8) {
    match objects::pin(pin, "KsPinAttemptProcessing").and_then(|pin| pin.engine()) {
        Some(pin) if asynchronous == 0 => pin.attempt_processing(),
        Some(pin) => pin.attempt_processing_later(),
        None => {}
    }
}

pub(crate) unsafe extern "win64" fn KsPinGetAndGate(pin: Address) -> u64 {
    let pin = objects::pin(pin, "KsPinGetAndGate").and_then(|pin| pin.engine());
    pin.map_or(0, |pin| pin.and_gate().address())
}

// ks-coverage: KsPinGetParentFilter done test=factories_filters_and_pins_have_siblings
pub(crate) unsafe extern "win64" fn KsPinGetParentFilter(pin: Address) -> u64 {
    objects::pin(pin, "KsPinGetParentFilter").map_or(0, |pin| pin.filter.address())
}

// ks-coverage: KsPinGetNextSiblingPin done test=factories_filters_and_pins_have_siblings
pub(crate) unsafe extern "win64" fn KsPinGetNextSiblingPin(pin: Address) -> u64 {
    let Some(pin) = objects::pin(pin, "KsPinGetNextSiblingPin") else { return 0 };
    let pins = pin.filter.pins(pin.id);
    let at = pins.iter().position(|known| Arc::ptr_eq(known, &pin));
    at.and_then(|at| pins.get(at + 1)).map_or(0, |next| next.address)
}

// ks-coverage: KsPinGetAvailableByteCount done test=every_inline_function_of_the_headers_works_on_living_objects,offsets_of_a_driver_go_over_the_end_of_a_request
pub(crate) unsafe extern "win64" fn KsPinGetAvailableByteCount(
    pin: Address,
    input: Address,
    output: Address,
) -> NtStatus {
    let Some(edge) = objects::pin(pin, "KsPinGetAvailableByteCount").and_then(|pin| pin.edge()) else {
        return STATUS_INVALID_DEVICE_REQUEST;
    };
    let (to_read, room) = edge.available_bytes();
    input.put_optional(i32::try_from(to_read).unwrap_or(i32::MAX));
    output.put_optional(i32::try_from(room).unwrap_or(i32::MAX));
    ks_abi::STATUS_SUCCESS
}
