//! A pin: one end of a connection, with its queue, its place in a pipe, and its state.

pub(crate) mod connect;
mod connection;
mod dispatch;
mod events;
mod format_change;
pub(crate) mod intersect;
mod requests;
mod reset;
pub(crate) mod state;

use crate::allocator::AllocatorObject;
use crate::automation::AutomationTable;
use crate::callback::PinCallbacks;
use crate::clock::{ClockParts, DefaultClock, MasterClock, ReferenceClock};
use crate::descriptor::{PinFlags, PinId};
use crate::event::EventList;
use crate::filter::Filter;
use crate::format::DataFormat;
use crate::gate::Gate;
use crate::injection::Returns;
use crate::minidriver::PinInstance;
use crate::pended::Pended;
use crate::pipe::{Copies, PipeSection};
use crate::process::WorkerItem;
use crate::quality::QualityManager;
use crate::queue::Queue;
use crate::stream_pointer::Locked;
use crate::trailing_edge::TrailingEdge;
use crate::{method, property};
use connection::Connection;
use ks_abi::{
    IoControlCode, KsPinCommunication, KsPinDataFlow, KsPriority, KsReset, KsState, STATUS_DEVICE_NOT_READY,
    STATUS_DEVICE_REMOVED, STATUS_INVALID_DEVICE_STATE,
};
use ks_io::sync::{
    Arc, Mutex, RwLock, Weak,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use ks_io::{AccessMask, Dispatched, FileObject, IoManager, Irp, Origin, RankedMutex, Refusal, Services, Work};
use ks_mem::{Block, Learning, Part};
use std::sync::OnceLock;

/// Offsets of `KSPIN`.
pub(crate) mod offset {
    pub(crate) const ID: usize = 24;
    pub(crate) const COMMUNICATION: usize = 28;
    pub(crate) const CONNECTION_IS_EXTERNAL: usize = 32;
    pub(crate) const CONNECTION_INTERFACE: usize = 40;
    pub(crate) const CONNECTION_MEDIUM: usize = 64;
    pub(crate) const CONNECTION_PRIORITY: usize = 88;
    pub(crate) const STREAM_HEADER_SIZE: usize = 112;
    pub(crate) const DATA_FLOW: usize = 116;
    pub(crate) const DEVICE_STATE: usize = 120;
    pub(crate) const RESET_STATE: usize = 124;
    pub(crate) const CLIENT_STATE: usize = 128;
    pub(crate) const BYTES: usize = 136;
}

/// One pin. What `KSPIN` shows stands in a block at its offsets and nowhere else.
#[doc(alias = "KSPIN")]
pub struct Pin {
    block: Block,
    me: Weak<Pin>,
    filter: Arc<Filter>,
    origin: Origin,
    access: AccessMask,
    file: Weak<FileObject>,
    instance: OnceLock<PinCallbacks>,
    format: RwLock<DataFormat>,
    queue: Option<Arc<Queue>>,
    and_gate: Arc<Gate>,
    /// Rank processing: taken after the filter control mutex.
    pub(crate) processing: Arc<RankedMutex>,
    /// An attempt was made that no process call has honoured yet; see `process.rs`.
    pub(crate) again: AtomicBool,
    pub(crate) worker_queued: AtomicBool,
    worker: OnceLock<Arc<WorkerItem>>,
    pipe: PipeSection,
    /// What waits for the copies of other outputs; of a splitter that fills its own frames.
    copies: Option<Arc<Copies>>,
    connection: Mutex<Connection>,
    returns: Returns,
    /// Made when it is first asked for, after the minidriver may have brought its own.
    clock: OnceLock<Arc<DefaultClock>>,
    events: EventList,
    failure: Mutex<Option<Box<Refusal>>>,
    master_clock: Mutex<Option<MasterClock>>,
    quality_manager: Mutex<Option<QualityManager>>,
    /// The allocator that the client named.
    stream_allocator: Mutex<Option<Arc<FileObject>>>,
    /// The allocators that were created on this pin, for a removal.
    allocators: Mutex<Vec<Weak<AllocatorObject>>>,
    /// The state that the minidriver agreed to last. KSPIN.ClientState runs ahead of it while the minidriver is asked.
    agreed: AtomicU32,
    /// Whose inputs of the gate are off, as bits: of the state, below the least processing state, and of a format that
    /// changes; see `state.rs`.
    gate_held: AtomicU32,
    /// Another input of the gate is off while the device sleeps or is stopped.
    stream_held: AtomicBool,
    /// Options of frames without data that went by the minidriver, for a frame of this output to say.
    pub(crate) owed_flags: AtomicU32,
    gone: AtomicBool,
    pended: Pended<dyn PinInstance>,
}

/// The protocol by which two AVStream pins of userks recognise each other. The one of Windows is not documented.
pub(crate) const PEER_PROTOCOL: ks_abi::Guid = ks_abi::Guid::from_u128(0x6f0f0a5a_9c1e_4b6d_8d0e_5f4c2a717e01);

impl Pin {
    /// Number of the pin factory.
    #[doc(alias = "Id")]
    pub fn id(&self) -> PinId {
        self.block.load_u32(offset::ID)
    }

    /// The role that the pin took: IRP sink or IRP source.
    pub fn communication(&self) -> KsPinCommunication {
        KsPinCommunication(self.block.load_u32(offset::COMMUNICATION))
    }

    /// TRUE when the other end is no AVStream pin.
    pub fn connection_is_external(&self) -> bool {
        self.block.load_u8(offset::CONNECTION_IS_EXTERNAL) != 0
    }

    /// Direction of the data.
    pub fn data_flow(&self) -> KsPinDataFlow {
        KsPinDataFlow(self.block.load_u32(offset::DATA_FLOW))
    }

    /// Interface of the connection.
    pub fn interface(&self) -> ks_abi::KsPinInterface {
        self.block.read(offset::CONNECTION_INTERFACE)
    }

    /// Medium of the connection.
    pub fn medium(&self) -> ks_abi::KsPinMedium {
        self.block.read(offset::CONNECTION_MEDIUM)
    }

    /// Importance of the connection.
    pub fn priority(&self) -> KsPriority {
        self.block.read(offset::CONNECTION_PRIORITY)
    }

    /// The state that the pin was told to be in: during a change the state that the client asked for, which the steps
    /// have not reached yet; after a refused change what it was before.
    #[doc(alias = "DeviceState")]
    pub fn device_state(&self) -> KsState {
        KsState(self.block.load_u32(offset::DEVICE_STATE))
    }

    /// The state of the last step that was reported to the minidriver. While [`crate::PinInstance::set_device_state`] runs it
    /// is the state that the minidriver is asked for, and if that is refused it is again what it was before.
    #[doc(alias = "ClientState")]
    pub fn state(&self) -> KsState {
        KsState(self.block.load_u32(offset::CLIENT_STATE))
    }

    /// Address of the KSPIN, as a driver is lent it.
    pub fn address(&self) -> u64 {
        self.block.address()
    }

    /// The public part of the pin, at the offsets of `KSPIN`.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The master clock that the client named.
    #[doc(alias = "KSPROPERTY_STREAM_MASTERCLOCK")]
    pub fn master_clock_file(&self) -> Option<Arc<FileObject>> {
        self.master_clock.lock().as_ref().map(|master| master.file().clone())
    }

    /// May the pin process, as far as its state goes?
    pub(crate) fn is_processing(&self) -> bool {
        self.agreed_state() >= self.least_processing_state()
    }

    /// Does a frame wait at the leading edge, or for a pin that shares its frames, at that of the other pin?
    pub(crate) fn has_frame(&self) -> bool {
        let ready = |pin: &Pin| pin.queue.as_ref().is_some_and(|queue| queue.is_ready());
        ready(self) || self.shares_frames_with().is_some_and(|input| ready(&input))
    }

    /// The input whose frames this output of a filter that works in place sends on; `None` for a pin with frames of its
    /// own.
    pub(crate) fn shares_frames_with(&self) -> Option<Arc<Pin>> {
        if self.data_flow() != KsPinDataFlow::OUT {
            return None;
        }
        if self.pipe.is_walked_through() { self.in_place_counterpart() } else { self.split_input() }
    }

    /// The state that the minidriver agreed to last: what the engine goes by, and what clients are told.
    pub(crate) fn agreed_state(&self) -> KsState {
        KsState(self.agreed.load(Ordering::SeqCst))
    }

    /// Whether a reset is going on.
    pub fn reset_state(&self) -> KsReset {
        KsReset(self.block.load_u32(offset::RESET_STATE))
    }

    /// The format of the connection.
    #[doc(alias = "ConnectionFormat")]
    pub fn format(&self) -> DataFormat {
        self.format.read().clone()
    }

    /// Bytes of each stream header of this pin, extension included.
    pub fn stream_header_bytes(&self) -> u32 {
        self.block.load_u32(offset::STREAM_HEADER_SIZE)
    }

    /// Asks for extended stream headers; to be called in [`crate::FilterInstance::create_pin`]. Rounded up to eight.
    pub fn set_stream_header_bytes(&self, bytes: u32) {
        let bytes = bytes.clamp(ks_io::STREAM_HEADER_BYTES as u32, 4096).next_multiple_of(8);
        self.block.store_u32(offset::STREAM_HEADER_SIZE, bytes);
    }

    /// The filter.
    // ks-coverage: KsPinGetParentFilter done test=factories_filters_and_pins_have_siblings
    #[doc(alias = "KsPinGetParentFilter")]
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// The engine.
    pub fn io(&self) -> &Arc<IoManager> {
        self.filter.io()
    }

    /// Time, work and waiting.
    #[inline]
    pub fn services(&self) -> &Services {
        self.filter.services()
    }

    /// Who created the pin; requests that it issues inherit this.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The access that its creator asked for, before it was granted.
    #[doc(alias = "IO_SECURITY_CONTEXT.DesiredAccess")]
    pub fn asked_access(&self) -> AccessMask {
        self.access
    }

    /// The pin's file object, while somebody refers to it.
    pub fn file_object(&self) -> Option<Arc<FileObject>> {
        self.file.upgrade()
    }

    /// The pin's own clock: stream time that follows the pin's state.
    pub fn clock(&self) -> &DefaultClock {
        self.own_clock()
    }

    /// The minidriver brings the time of the pin's clock, or what wakes it; to be called in
    /// [`crate::FilterInstance::create_pin`], before anybody asks for the clock: STATUS_INVALID_DEVICE_STATE. Other errors
    /// are those of [`DefaultClock::with_parts`].
    #[doc(alias = "KSPIN_DISPATCH.Clock")]
    pub fn bring_clock(&self, parts: ClockParts) -> Result<(), ks_abi::NtStatus> {
        let clock = DefaultClock::with_parts(self.services().clone(), parts)?;
        self.clock.set(clock).map_err(|_| STATUS_INVALID_DEVICE_STATE)
    }

    /// Notes what a turn of this pin touches, in that order.
    pub(crate) fn footprint(&self, learning: &mut Learning<'_>) {
        learning.parts(&[
            Part::counts(self),
            Part::of(&self.block),
            Part::of(&self.filter),
            Part::of(&self.again),
            Part::of(&self.and_gate),
            Part::of(&self.processing),
            Part::of(&self.queue),
            Part::of(&self.instance),
            Part::of(&self.gate_held),
            Part::of(&self.clock),
            self.pipe.passing_part(),
        ]);
        self.filter.footprint(learning);
        self.and_gate.footprint(learning);
        learning.object(&*self.processing);
        if let Some(queue) = &self.queue {
            queue.footprint(learning);
        }
        learning.bytes(self.block.address(), offset::BYTES);
        if let Some(instance) = self.instance.get() {
            instance.footprint(learning);
        }
    }

    /// The pin's own clock, if anybody asked for it so far.
    pub(crate) fn clock_if_made(&self) -> Option<&Arc<DefaultClock>> {
        self.clock.get()
    }

    /// The same as [`Pin::clock`], to be shared.
    pub(crate) fn own_clock(&self) -> &Arc<DefaultClock> {
        self.clock.get_or_init(|| DefaultClock::new(self.services().clone()))
    }

    /// The clock that the pin is to go by: the master clock that its client set by KSPROPERTY_STREAM_MASTERCLOCK, else
    /// its own, if its descriptor says that it implements one. STATUS_DEVICE_NOT_READY: neither.
    ///
    /// A minidriver asks on the way to ACQUIRE: a master clock is set in STOP. Source:
    /// nf-ks-kspingetreferenceclockinterface.
    // ks-coverage: KsPinGetReferenceClockInterface done test=a_pin_goes_by_its_master_clock,a_pins_own_clock_tells_its_time_and_sets_its_timers
    #[doc(alias = "KsPinGetReferenceClockInterface")]
    pub fn reference_clock(&self) -> Result<ReferenceClock, ks_abi::NtStatus> {
        let master = self.master_clock.lock().clone();
        match master {
            Some(master) => {
                let clock = ReferenceClock::new(master.clock().clone());
                clock.lost().map_or(Ok(clock), Err)
            }
            None if self.flags().contains(PinFlags::IMPLEMENT_CLOCK) => {
                Ok(ReferenceClock::new(self.own_clock().clone()))
            }
            None => Err(STATUS_DEVICE_NOT_READY),
        }
    }

    /// The pin's AND gate.
    // ks-coverage: KsPinGetAndGate done test=a_gate_that_the_driver_closed_holds_processing_until_it_opens,every_flag_of_a_driver_does_what_its_page_says_and_nothing_of_it_without
    #[doc(alias = "KsPinGetAndGate")]
    pub fn and_gate(&self) -> &Arc<Gate> {
        &self.and_gate
    }

    /// The mutex that is held while the pin processes.
    // ks-coverage: KsPinAcquireProcessingMutex done test=mutexes_keep_other_threads_of_a_driver_out
    #[doc(alias = "KsPinAcquireProcessingMutex")]
    pub fn processing_mutex(&self) -> &RankedMutex {
        &self.processing
    }

    /// `name.0`, for messages.
    pub fn describe(&self) -> String {
        format!("{}.{}", self.filter.name(), self.id())
    }

    /// The leading edge of the queue, locked on its frame; `None` when there is no frame.
    // ks-coverage: KsPinGetLeadingEdgeStreamPointer done test=the_leading_edge_locks_advances_ejects_and_stays,stream_pointers_lock_move_clone_and_time_out
    #[doc(alias = "KsPinGetLeadingEdgeStreamPointer")]
    #[inline]
    pub fn leading_edge(self: &Arc<Pin>) -> Option<Locked<'_>> {
        Locked::lead(self)
    }

    /// The trailing edge of the queue; `None` for a pin whose descriptor does not ask for
    /// [`PinFlags::DISTINCT_TRAILING_EDGE`].
    #[doc(alias = "KsPinGetTrailingEdgeStreamPointer")]
    pub fn trailing_edge(self: &Arc<Pin>) -> Option<TrailingEdge> {
        TrailingEdge::of(self)
    }

    /// How many clones live on this pin.
    pub fn clone_count(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.clone_count())
    }

    /// Requests that wait in the queue.
    pub fn queued_requests(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.request_count())
    }

    /// The driver could not deliver that many frames in time.
    pub fn count_drops(&self, frames: u64) {
        if let Some(queue) = &self.queue {
            queue.with_counters(|counters| counters.dropped += frames);
        }
    }

    /// Streaming failed for good: a file that cannot be written, say. The reason is kept for the client, requests of
    /// clients end with its status, and the stream stops here. Legal in every callback.
    pub fn fail(self: &Arc<Pin>, refusal: Refusal) {
        let status = refusal.status;
        self.failure.lock().get_or_insert_with(|| Box::new(refusal));
        if let Some(queue) = &self.queue {
            let orphans = queue.close(status, status);
            self.orphaned(orphans);
            self.send_outgoing();
            self.leaves_copies();
            if self.data_flow() == KsPinDataFlow::OUT {
                self.say_end_to_inputs();
            }
        }
        self.events.generate(crate::USERKS_EVENTSET_PIN, crate::USERKS_EVENT_PIN_FAILED);
    }

    /// Why streaming failed.
    pub fn failure(&self) -> Option<Refusal> {
        self.failure.lock().as_deref().cloned()
    }

    pub(crate) fn flags(&self) -> PinFlags {
        self.filter.pin_descriptor(self.id()).map_or_else(PinFlags::empty, |pin| pin.flags())
    }

    pub(crate) fn weak(&self) -> Weak<Pin> {
        self.me.clone()
    }

    #[inline]
    pub(crate) fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.as_ref()
    }

    #[inline]
    pub(crate) fn instance(&self) -> Option<&PinCallbacks> {
        self.instance.get()
    }

    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        self.instance.get().and_then(|instance| instance.automation())
    }

    /// A property, method or event of a topology node, as far as it is of this pin's stream.
    fn node_request(&self, irp: Irp) -> Dispatched {
        let node = match self.filter.named_node(irp.input()) {
            Ok(node) => node,
            Err(refusal) => return Dispatched::Completed(irp.refuse(refusal)),
        };
        let table = self.table_of(Some(node));
        if node == ks_abi::KSALL_NODES && table.is_none() {
            return Dispatched::Completed(irp.refuse(crate::node_object::no_node_as_a_whole(&self.filter)));
        }
        match irp.io_control_code() {
            IoControlCode::KS_ENABLE_EVENT => self.events.enable(self, irp, &[], table),
            IoControlCode::KS_METHOD => method::handle(self, irp, table.as_slice()),
            _ => property::handle(self, irp, table.as_slice()),
        }
    }

    /// The minidriver's table of the pin, or of what a node answers on it.
    pub(crate) fn table_of(&self, node: Option<u32>) -> Option<&AutomationTable<Pin>> {
        match node {
            None => self.automation(),
            Some(node) => self.instance.get().and_then(|instance| instance.node_automation(node)),
        }
    }

    pub(crate) fn me(&self) -> Option<Arc<Pin>> {
        self.me.upgrade()
    }

    pub(crate) fn returns(&self) -> &Returns {
        &self.returns
    }

    pub(crate) fn pipe(&self) -> &PipeSection {
        &self.pipe
    }

    pub(crate) fn master_clock(&self) -> &Mutex<Option<MasterClock>> {
        &self.master_clock
    }

    pub(crate) fn quality_manager(&self) -> &Mutex<Option<QualityManager>> {
        &self.quality_manager
    }

    pub(crate) fn stream_allocator(&self) -> &Mutex<Option<Arc<FileObject>>> {
        &self.stream_allocator
    }

    /// The allocator that the client named for the pin's frames.
    pub(crate) fn named_allocator(&self) -> Option<Arc<AllocatorObject>> {
        let file = self.stream_allocator.lock().clone()?;
        file.object_as()
    }

    pub(crate) fn note_allocator(&self, allocator: &Arc<AllocatorObject>) {
        let mut allocators = self.allocators.lock();
        allocators.retain(|known| known.strong_count() > 0);
        allocators.push(Arc::downgrade(allocator));
    }

    #[inline]
    pub(crate) fn copies(&self) -> Option<&Arc<Copies>> {
        self.copies.as_ref()
    }

    pub(crate) fn in_circuit(&self) -> bool {
        self.pipe.in_circuit()
    }

    pub(crate) fn worker_item(self: &Arc<Pin>) -> Arc<dyn Work> {
        self.worker.get_or_init(|| Arc::new(WorkerItem(Arc::downgrade(self)))).clone()
    }

    /// Does an arrival start processing by itself?
    pub(crate) fn triggers(&self, into_empty: bool) -> bool {
        let flags = self.flags();
        if flags.contains(PinFlags::DO_NOT_INITIATE_PROCESSING) {
            // The minidriver is not called for what the class driver has to say.
            return into_empty && self.owes_flags();
        }
        into_empty || flags.contains(PinFlags::INITIATE_PROCESSING_ON_EVERY_ARRIVAL)
    }

    /// True once the last handle is closed or the device is removed.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    pub(crate) fn device_removed(self: &Arc<Pin>) {
        self.pended.end_create(&self.filter.device().gone());
        self.stop_streaming(STATUS_DEVICE_REMOVED);
        let allocators = std::mem::take(&mut *self.allocators.lock());
        for allocator in allocators.iter().filter_map(Weak::upgrade) {
            allocator.close_waiting(STATUS_DEVICE_REMOVED);
        }
        self.events.generate(crate::USERKS_EVENTSET_PIN, crate::USERKS_EVENT_PIN_FAILED);
    }

    /// Requests end and none is taken any more.
    fn stop_streaming(self: &Arc<Pin>, status: ks_abi::NtStatus) {
        self.gone.store(true, Ordering::SeqCst);
        if let Some(queue) = &self.queue {
            let orphans = queue.close_for_good(status);
            self.orphaned(orphans);
            self.send_outgoing();
            self.leaves_copies();
        }
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin").field("name", &self.describe()).field("state", &self.state()).finish_non_exhaustive()
    }
}
