//! Creating a pin: validation, format, minidriver, and the handshake with the pin that it connects to.

use super::state::HELD_BELOW_ITS_STATE;
use super::{Connection, PEER_PROTOCOL, Pin, offset};
use crate::allocator::AllocatorObject;
use crate::callback::{Made, PinCallbacks};
use crate::clock_object::ClockObject;
use crate::descriptor::PinFlags;
use crate::event::EventList;
use crate::filter::Filter;
use crate::gate::Gate;
use crate::injection::Returns;
use crate::minidriver::PinInstance;
use crate::node_object::NodeObject;
use crate::pended::{AwaitedCreate, Pended, PendedClose, PendedCreate};
use crate::pipe::{Copies, PipeSection, Route};
use crate::queue::Queue;
use crate::stream_pointer::Units;
use crate::validate::{self, ValidConnect};
use ks_abi::{
    IoControlCode, KSINTERFACESETID_Standard, KSMEDIUMSETID_Standard, KsHandshake, KsIdentifier, KsPinCommunication,
    KsPinDataFlow, KsReset, KsState, NtStatus, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_HANDLE, STATUS_NO_MATCH,
};
use ks_io::sync::{
    Arc, Mutex, RwLock,
    atomic::{AtomicBool, AtomicU32},
};
use ks_io::{Aspect, CreateRequest, Created, FileObject, LockRank, Origin, Refusal};
use ks_mem::Block;
use std::sync::OnceLock;
use zerocopy::{FromBytes, IntoBytes};

/// A pin, and its create if the minidriver pends it.
type NewPin = (Arc<Pin>, Option<AwaitedCreate<dyn PinInstance>>);

/// `IRP_MJ_CREATE` of class `KSSTRING_Pin` below a filter.
pub(crate) fn create(filter: &Arc<Filter>, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
    let (pin, awaited) = {
        let _control = filter.control().hold();
        let valid = validate::connect_request(filter, request)?;
        let other = connected_file(&valid, request)?;
        accept_format(filter, &valid)?;
        make(filter, &valid, request, other)?
    };
    if let Some(awaited) = awaited {
        pin.finish_create(&awaited)?;
    }
    // The handshake reaches into another filter, so it runs with no lock of this one held.
    if let Err(refusal) = pin.join_other() {
        pin.unmake();
        return Err(refusal);
    }
    if filter.device().is_removed() {
        // Removed while the pin was made: its queue was not seen by the removal.
        pin.device_removed();
        pin.unmake();
        let reason = format!("{} was created on a device that was removed", pin.describe());
        return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, reason));
    }
    Ok(Created { object: pin, granted: request.access })
}

/// The file object of the pin that an IRP source connects to: one of the same client's handles.
fn connected_file(valid: &ValidConnect, request: &CreateRequest<'_>) -> Result<Option<Arc<FileObject>>, Refusal> {
    if valid.connect.pin_to_handle == 0 {
        return Ok(None);
    }
    match request.file.file_by_handle(valid.connect.pin_to_handle) {
        Some(file) if may_be_a_pin(&file) && !file.is_cleaned_up() => Ok(Some(file)),
        _ => {
            let reason = format!("PinToHandle {:#x} is no open pin of this client", valid.connect.pin_to_handle);
            Err(Refusal::new(STATUS_INVALID_HANDLE, Aspect::Name, reason))
        }
    }
}

/// Objects of the class driver that are no pins are known; any other may be a pin of another driver.
fn may_be_a_pin(file: &FileObject) -> bool {
    file.object().is_some() && file.object_as::<ClockObject>().is_none() && !is_no_pin(file)
}

fn is_no_pin(file: &FileObject) -> bool {
    file.object_as::<Filter>().is_some()
        || file.object_as::<AllocatorObject>().is_some()
        || file.object_as::<NodeObject>().is_some()
}

/// Objects of the class driver that are no clocks are known, and so is one that is not open yet; any other may be a clock of
/// another process.
pub(crate) fn is_no_clock(file: &FileObject) -> bool {
    file.object().is_none() || file.object_as::<Pin>().is_some() || is_no_pin(file)
}

/// Offers the format to the minidriver, range by range, until it takes it or refuses for good.
fn accept_format(filter: &Arc<Filter>, valid: &ValidConnect) -> Result<(), Refusal> {
    let Some(instance) = filter.instance() else {
        return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, "the filter is not open yet"));
    };
    let mut last = None;
    for range in &valid.ranges {
        match instance.accept_format(valid.connect.pin_id, &valid.format, range) {
            Ok(()) => return Ok(()),
            Err(refusal) if refusal.status == STATUS_NO_MATCH => last = Some(refusal),
            Err(refusal) => return Err(refusal),
        }
    }
    Err(last.unwrap_or_else(|| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, "no data range takes the format")))
}

fn make(
    filter: &Arc<Filter>,
    valid: &ValidConnect,
    request: &CreateRequest<'_>,
    other: Option<Arc<FileObject>>,
) -> Result<NewPin, Refusal> {
    let no_memory = |_: NtStatus| Refusal::new(STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, "no memory for a pin");
    let connect = &valid.connect;
    let Some(descriptor) = filter.pin_descriptor(connect.pin_id) else {
        return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::PinId, "the pin factory is gone"));
    };
    let data_sink = descriptor.data_flow() == KsPinDataFlow::IN;
    let block = Block::zeroed(offset::BYTES, 16).map_err(|_| no_memory(STATUS_INSUFFICIENT_RESOURCES))?;
    block.store_u32(offset::ID, connect.pin_id);
    block.store_u32(offset::COMMUNICATION, valid.communication.0);
    block.store_u8(offset::CONNECTION_IS_EXTERNAL, 1);
    block.write_bytes(offset::CONNECTION_INTERFACE, connect.interface.as_bytes());
    block.write_bytes(offset::CONNECTION_MEDIUM, connect.medium.as_bytes());
    block.write_bytes(offset::CONNECTION_PRIORITY, connect.priority.as_bytes());
    block.store_u32(offset::STREAM_HEADER_SIZE, ks_io::STREAM_HEADER_BYTES as u32);
    block.store_u32(offset::DATA_FLOW, descriptor.data_flow().0);
    block.store_u32(offset::DEVICE_STATE, KsState::STOP.0);
    block.store_u32(offset::RESET_STATE, KsReset::END.0);
    block.store_u32(offset::CLIENT_STATE, KsState::STOP.0);
    let flags = descriptor.flags();
    let standard = connect.interface.set == KSINTERFACESETID_Standard && connect.medium.set == KSMEDIUMSETID_Standard;
    let forced = flags.contains(PinFlags::USE_STANDARD_TRANSPORT);
    let has_queue = forced || (standard && !flags.contains(PinFlags::DO_NOT_USE_STANDARD_TRANSPORT));
    let and_gate = Gate::and().map_err(no_memory)?;
    // The first input of the gate is the state: off until the pin reaches its least processing state.
    and_gate.turn_input_off();
    let processing = match filter.processing() {
        Some(processing) => processing.mutex().clone(),
        None => Arc::new(filter.services().mutex(LockRank::Processing, "pin processing")),
    };
    let units = match flags.contains(PinFlags::GENERATE_MAPPINGS) {
        true => Units::Mappings(filter.device().adapter().clone()),
        false => Units::Bytes,
    };
    let mut queue_made = Ok(());
    let pin = Arc::new_cyclic(|me| {
        let queue = has_queue.then(|| Queue::new(me.clone(), data_sink, flags, units.clone()));
        let queue = match queue.transpose() {
            Ok(queue) => queue,
            Err(status) => {
                queue_made = Err(status);
                None
            }
        };
        let in_place = filter.descriptor().in_place().is_some_and(|(_, output)| output == connect.pin_id);
        let copies = Copies::of(me, descriptor.data_flow(), flags, in_place || !has_queue);
        Pin {
            block,
            me: me.clone(),
            filter: filter.clone(),
            origin: request.origin.clone(),
            access: request.access,
            file: Arc::downgrade(request.file),
            instance: OnceLock::new(),
            format: RwLock::new(valid.format.clone()),
            queue,
            and_gate,
            processing,
            again: AtomicBool::new(false),
            worker_queued: AtomicBool::new(false),
            worker: OnceLock::new(),
            pipe: PipeSection::default(),
            copies,
            connection: Mutex::new(match other {
                Some(file) => Connection::To { file, pin: None },
                None => Connection::Client,
            }),
            returns: Returns::default(),
            clock: OnceLock::new(),
            events: EventList::default(),
            failure: Mutex::new(None),
            master_clock: Mutex::new(None),
            quality_manager: Mutex::new(None),
            stream_allocator: Mutex::new(None),
            allocators: Mutex::new(Vec::new()),
            agreed: AtomicU32::new(KsState::STOP.0),
            gate_held: AtomicU32::new(HELD_BELOW_ITS_STATE),
            owed_flags: AtomicU32::new(0),
            stream_held: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            pended: Pended::default(),
        }
    });
    queue_made.map_err(no_memory)?;
    let Some(instance) = filter.instance() else {
        return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::Device, "the filter is not open yet"));
    };
    let awaited = match instance.create_pin(&pin) {
        Ok(Made::Now(instance)) => {
            let _ = pin.instance.set(PinCallbacks::of(&pin, instance));
            None
        }
        Ok(Made::Later(awaited)) => Some(awaited),
        Err(refusal) => {
            pin.pended.forget_create();
            return Err(refusal);
        }
    };
    // One that is awaited is counted, and seen by a removal.
    filter.add_pin(connect.pin_id, &pin);
    Ok((pin, awaited))
}

impl Pin {
    /// Waits for the minidriver, which has pended the create. No mutex held.
    fn finish_create(self: &Arc<Pin>, awaited: &AwaitedCreate<dyn PinInstance>) -> Result<(), Refusal> {
        let made = awaited.wait();
        self.pended.forget_create();
        let _control = self.filter.control().hold();
        match made() {
            Ok(instance) => {
                let _ = self.instance.set(PinCallbacks::of(self, instance));
                Ok(())
            }
            Err(refusal) => {
                self.filter.remove_pin(self.id(), &**self);
                Err(refusal)
            }
        }
    }

    /// Marks the create of this pin pending, in its Create callback, which returns the refusal as its answer. The client
    /// waits, with no mutex held, until the create is ended; a device that is removed ends the wait, and a client that
    /// cancels has the routine of [`PendedCreate::when_cancelled`] called.
    ///
    /// Source: nc-ks-pfnkspinirp.
    #[doc(alias = "IoMarkIrpPending")]
    pub fn pend_create(&self) -> (PendedCreate<dyn PinInstance>, Refusal) {
        self.pended.mark_create(self.services(), self.file.upgrade(), self.instance.get().is_none())
    }

    /// Marks the close of this pin pending, in its Close callback: pin and filter wait until what is given back is dropped.
    /// No mutex is held meanwhile.
    #[doc(alias = "IoMarkIrpPending")]
    pub fn pend_close(&self) -> PendedClose {
        self.pended.mark_close(self.services())
    }

    pub(crate) fn pended(&self) -> &Pended<dyn PinInstance> {
        &self.pended
    }

    /// The minidriver's Close, to its end. No mutex held.
    pub(super) fn close_instance(&self) {
        let Some(instance) = self.instance.get() else { return };
        {
            let _control = self.filter.control().hold();
            instance.close(self);
        }
        if let Some(rest) = self.pended.wait_for_close() {
            let _control = self.filter.control().hold();
            rest();
        }
        instance.closed(self);
    }

    /// The handshake with the pin that this one was created for, and the connection that follows from it.
    fn join_other(self: &Arc<Pin>) -> Result<(), Refusal> {
        if self.communication() != KsPinCommunication::SOURCE {
            return Ok(());
        }
        let Some(file) = self.connected_file() else { return Ok(()) };
        if let Some(peer) = file.object_as::<Pin>() {
            self.may_join(&peer)?;
        }
        if !self.has_transport_as(&file) || !handshake(&file) {
            // The other end is none of AVStream's: it gets requests.
            return Ok(());
        }
        let Some(peer) = file.object_as::<Pin>() else { return Ok(()) };
        peer.attach_source(self)?;
        *self.connection.lock() = Connection::To { file, pin: Some(peer.clone()) };
        self.block.store_u8(offset::CONNECTION_IS_EXTERNAL, 0);
        if let Err(refusal) = peer.told_of_connection() {
            // The peer's minidriver refused to connect, so there is nothing to disconnect.
            peer.forget_source();
            let was = std::mem::take(&mut *self.connection.lock());
            drop(was);
            return Err(refusal);
        }
        Ok(())
    }

    /// What a pin of ours must be to take this one as its source. A pin that is connected already would refuse the
    /// handshake, and must not be taken for a foreign one.
    fn may_join(&self, peer: &Pin) -> Result<(), Refusal> {
        if peer.data_flow() == self.data_flow() {
            let reason =
                format!("{} and {} both have data flow {}", self.describe(), peer.describe(), self.data_flow());
            return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::DataFlow, reason));
        }
        if peer.is_connected() {
            return Err(peer.connected_already());
        }
        self.must_equal(peer, Aspect::Interface, Pin::interface)?;
        self.must_equal(peer, Aspect::Medium, Pin::medium)
    }

    /// Both ends of a connection are created with the same interface and over the same medium.
    fn must_equal(&self, peer: &Pin, aspect: Aspect, of: fn(&Pin) -> KsIdentifier) -> Result<(), Refusal> {
        let (ours, theirs) = (of(self), of(peer));
        if (ours.set, ours.id) == (theirs.set, theirs.id) {
            return Ok(());
        }
        let (ours, theirs) = (validate::identifier(&ours), validate::identifier(&theirs));
        let what = aspect.to_string().to_lowercase();
        let reason = format!("{} has the {what} {ours}, and {} has {theirs}", self.describe(), peer.describe());
        Err(Refusal::new(STATUS_NO_MATCH, aspect, reason))
    }

    fn connected_already(&self) -> Refusal {
        let reason = format!("{} is connected already", self.describe());
        Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::State, reason)
    }

    /// The create failed after the minidriver made its pin: the connection is undone and the minidriver's Close runs.
    fn unmake(self: &Arc<Pin>) {
        self.disconnect_as_source();
        self.close_instance();
        let _control = self.filter.control().hold();
        self.filter.remove_pin(self.id(), &**self);
    }

    /// Is the other end as this one: an AVStream pin with a queue, or one without? Two pins without one are peers that
    /// exchange no frames by the engine. Of an object that is no pin here the handshake tells.
    fn has_transport_as(&self, other: &FileObject) -> bool {
        other.object_as::<Pin>().map_or(self.queue.is_some(), |peer| peer.queue.is_some() == self.queue.is_some())
    }

    fn attach_source(self: &Arc<Pin>, source: &Arc<Pin>) -> Result<(), Refusal> {
        let mut connection = self.connection.lock();
        if !matches!(*connection, Connection::Client) {
            return Err(self.connected_already());
        }
        *connection = Connection::From { pin: Arc::downgrade(source) };
        self.block.store_u8(offset::CONNECTION_IS_EXTERNAL, 0);
        Ok(())
    }

    fn told_of_connection(self: &Arc<Pin>) -> Result<(), Refusal> {
        let _control = self.filter.control().hold();
        self.instance().map_or(Ok(()), |instance| instance.connect(self))
    }

    fn forget_source(&self) -> Connection {
        let was = std::mem::take(&mut *self.connection.lock());
        self.block.store_u8(offset::CONNECTION_IS_EXTERNAL, 1);
        was
    }

    /// The source that was created with this pin's handle lets go: Disconnect runs now.
    fn detach_source(self: &Arc<Pin>) {
        let was = self.forget_source();
        if matches!(was, Connection::From { .. }) {
            let _control = self.filter.control().hold();
            if let Some(instance) = self.instance() {
                instance.disconnect(self);
            }
        }
    }

    /// This pin, created with another's handle, lets go of it; the other may close only now.
    pub(super) fn disconnect_as_source(self: &Arc<Pin>) {
        let was = {
            let mut connection = self.connection.lock();
            match &*connection {
                Connection::To { .. } => std::mem::take(&mut *connection),
                _ => return,
            }
        };
        if let Connection::To { file, pin } = was {
            if let Some(peer) = pin {
                peer.let_go_of_circuit();
                peer.detach_source();
            }
            drop(file);
        }
    }

    /// The handle of this pin, which another was connected to, is closed: that one stops sending.
    pub(super) fn notify_source(&self) {
        let source = match &*self.connection.lock() {
            Connection::From { pin } => pin.upgrade(),
            _ => None,
        };
        if let Some(source) = source {
            source.let_go_of_circuit();
        }
    }

    /// Takes this pin out of its circuit; the frames stay with the head until it binds again or closes.
    pub(super) fn let_go_of_circuit(&self) {
        let route = self.pipe.route();
        // The head stays known: frames that still come this way go back to it, so that none is lost to the circuit.
        drop(self.pipe.set_route(Route { head: route.head.clone(), ..Route::default() }));
        if let Some(head) = route.head.upgrade() {
            let own = std::ptr::eq(&*head, self);
            drop(head.pipe.set_asked(None));
            drop(head.pipe.set_route(Route { head: Arc::downgrade(&head), ..Route::default() }));
            if own && self.is_gone() {
                head.pipe.free();
            }
        }
    }
}

/// Offers the peer protocol to an unconnected pin, as the class driver itself.
fn handshake(file: &Arc<FileObject>) -> bool {
    let offer = KsHandshake { protocol_id: PEER_PROTOCOL, ..Default::default() };
    let answer = crate::foreign::synchronous_control(
        file,
        &Origin::class_driver(),
        IoControlCode::KS_HANDSHAKE,
        offer.as_bytes(),
        size_of::<KsHandshake>(),
    );
    let accepted = answer.ok().and_then(|answer| KsHandshake::read_from_bytes(&answer).ok());
    accepted.is_some_and(|accepted| accepted.protocol_id == PEER_PROTOCOL)
}
