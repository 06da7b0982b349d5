//! An allocator object: frames behind a handle of their own, by method and in kernel form.
//!
//! Source: nf-ks-kscreateallocator, nf-ks-kscreatedefaultallocatorex, "Default Allocators", "Filter Specific Allocators".

mod framing;

use crate::device::Device;
use crate::event::{self, EventList};
use crate::pin::Pin;
use crate::{method, property, sets};
use ks_abi::{
    IoControlCode, KSEVENT_STREAMALLOCATOR_FREEFRAME, KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME, KSEVENT_TYPE_ENABLE,
    KSEVENT_TYPE_ENABLEBUFFERED, KSEVENT_TYPE_ONESHOT, KSEVENTSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_ALLOC,
    KSMETHOD_TYPE_SEND, KSMETHOD_TYPE_WRITE, KSMETHODSETID_StreamAllocator, KsEvent, KsMethod, KsPinCommunication,
    NtStatus, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{
    Aspect, CancelTarget, CreateRequest, Created, Dispatch, Dispatched, IoManager, Irp, Refusal, RequestorMode,
};
use ks_mem::{Frame, Region, RegionOwner};
use std::collections::{HashMap, HashSet, VecDeque};
use zerocopy::{FromBytes, IntoBytes};

pub use framing::{AllocatorFraming, AskedFraming, validate_allocator_create};

/// The most requests that wait for a frame of one allocator.
const MOST_WAITING: usize = 1024;

/// Where the frames of an allocator come from. Called with no lock held, at DISPATCH level too.
#[doc(alias = "PFNKSDEFAULTALLOCATE")]
pub trait FrameSource: Send + Sync {
    /// The address of another frame; `None`: there is no memory.
    fn allocate(&self) -> Option<u64>;

    /// A frame that [`FrameSource::allocate`] gave is used no more.
    #[doc(alias = "PFNKSDEFAULTFREE")]
    fn free(&self, frame: u64);

    /// The memory of a frame, which from now on is whoever's has it, and [`FrameSource::free`] is not called for it: the
    /// source hears of the end of the frame by the end of its region, if it cares. `None`: the memory cannot be used.
    fn lend(&self, frame: u64) -> Option<Frame> {
        let _ = frame;
        None
    }
}

/// An open allocator. Frames are made when they are first asked for, given out again after they were freed, and gone with
/// the last reference to the allocator's file object, whoever uses them still.
pub struct AllocatorObject {
    framing: AllocatorFraming,
    source: Arc<dyn FrameSource>,
    /// The device of the pin; `None` for a driver's own allocator, whose driver ends it.
    device: Option<Arc<Device>>,
    /// The pin that brings the frames, or below which it was created.
    pin: Weak<Pin>,
    state: Mutex<State>,
    events: EventList,
    me: Weak<AllocatorObject>,
}

#[derive(Default)]
struct State {
    free: Vec<u64>,
    out: HashSet<u64>,
    /// Frames that are being made.
    coming: usize,
    /// Memory that went to a circuit; its place is free again when nobody has it any more.
    lent: Vec<Weak<Region>>,
    /// Requests in the order in which they came; empty while a frame is free.
    waiting: VecDeque<(u64, Irp)>,
    next_key: u64,
    closed: Option<NtStatus>,
}

impl State {
    /// Frames that count against the limit, apart from the free ones.
    fn used(&mut self) -> usize {
        self.lent.retain(|region| region.strong_count() > 0);
        self.out.len() + self.coming + self.lent.len()
    }

    /// Why no frame is given out any more. A client may close its handle of an allocator that a pin goes on with.
    fn closed_to(&self, taker: Taker) -> Option<NtStatus> {
        self.closed.filter(|status| taker == Taker::Client || *status != STATUS_CANCELLED)
    }
}

/// Who takes a frame.
#[derive(Clone, Copy, PartialEq)]
enum Taker {
    Client,
    Circuit,
}

/// What came of asking for a frame.
enum Taken {
    Frame(u64),
    NoMemory,
    AllOut,
    Closed(NtStatus),
}

impl AllocatorObject {
    /// An allocator over a driver's frames, to be given back by its create routine.
    #[doc(alias = "KsCreateDefaultAllocatorEx")]
    pub fn new(framing: AllocatorFraming, source: Arc<dyn FrameSource>) -> Arc<AllocatorObject> {
        Self::on(framing, source, None, Weak::new())
    }

    /// The frames that a pin brings for its section.
    pub(crate) fn of_pin(
        framing: AllocatorFraming,
        source: Arc<dyn FrameSource>,
        pin: &Arc<Pin>,
    ) -> Arc<AllocatorObject> {
        Self::on(framing, source, None, Arc::downgrade(pin))
    }

    /// An allocator of system memory that stream headers may point into.
    #[doc(alias = "KsCreateDefaultAllocator")]
    pub fn of_system_memory(framing: AllocatorFraming, io: &Arc<IoManager>) -> Arc<AllocatorObject> {
        Self::on(framing, SystemFrames::new(framing, RegionOwner::Everyone, io), None, Weak::new())
    }

    fn on(
        framing: AllocatorFraming,
        source: Arc<dyn FrameSource>,
        device: Option<Arc<Device>>,
        pin: Weak<Pin>,
    ) -> Arc<AllocatorObject> {
        Arc::new_cyclic(|me| AllocatorObject {
            framing,
            source,
            device,
            pin,
            state: Mutex::default(),
            events: EventList::default(),
            me: me.clone(),
        })
    }

    /// What it was created with.
    pub fn framing(&self) -> &AllocatorFraming {
        &self.framing
    }

    /// Are its frames those of this pin?
    pub(crate) fn is_of(&self, pin: &Pin) -> bool {
        std::ptr::eq(self.pin.as_ptr(), pin)
    }

    /// Do the frames of both come from one source?
    pub(crate) fn shares_source(&self, other: &AllocatorObject) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// Frames that are out, with a client or in a circuit.
    pub fn allocated_frames(&self) -> u32 {
        let mut state = self.state.lock();
        (state.used() - state.coming) as u32
    }

    /// Memory of up to so many frames for a circuit, at least of one; fewer when the rest is out. It counts as allocated
    /// until it is dropped; then [`AllocatorObject::reclaim`] serves those who wait.
    pub(crate) fn lend(&self, frames: usize) -> Result<Vec<Frame>, NtStatus> {
        let mut lent = Vec::new();
        while lent.len() < frames {
            let frame = match self.take_for(Taker::Circuit) {
                Taken::Frame(frame) => frame,
                _ if !lent.is_empty() => break,
                Taken::Closed(status) => return Err(status),
                Taken::NoMemory | Taken::AllOut => return Err(STATUS_INSUFFICIENT_RESOURCES),
            };
            match self.source.lend(frame) {
                Some(memory) => {
                    let mut state = self.state.lock();
                    state.out.remove(&frame);
                    state.lent.push(Arc::downgrade(memory.region()));
                    lent.push(memory);
                }
                None => {
                    _ = self.free(frame);
                    return Err(STATUS_NOT_SUPPORTED);
                }
            }
        }
        Ok(lent)
    }

    /// Memory that was lent may be back.
    pub(crate) fn reclaim(&self) {
        while let Some(irp) = self.next_with_room() {
            match self.wait(irp) {
                Dispatched::Completed(completed) => drop(completed),
                Dispatched::Pending => return,
            }
        }
    }

    fn next_with_room(&self) -> Option<Irp> {
        let mut state = self.state.lock();
        if state.free.is_empty() && state.used() >= self.framing.frames as usize {
            return None;
        }
        let (_, irp) = state.waiting.pop_front()?;
        irp.disarm();
        Some(irp)
    }

    /// The kernel form of an allocation: a frame, or `None` at once. Legal at every level.
    #[doc(alias = "PFNALLOCATOR_ALLOCATEFRAME")]
    pub fn allocate(&self) -> Option<u64> {
        match self.take() {
            Taken::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// The kernel form of freeing: the frame goes to the request that waits longest, or is free; the free-frame events
    /// are raised. Legal at every level. STATUS_INVALID_PARAMETER: no frame of this allocator is out there.
    #[doc(alias = "PFNALLOCATOR_FREEFRAME")]
    pub fn free(&self, frame: u64) -> NtStatus {
        loop {
            let next = {
                let mut state = self.state.lock();
                if !state.out.remove(&frame) {
                    return STATUS_INVALID_PARAMETER;
                }
                match state.waiting.pop_front() {
                    _ if state.closed.is_some() => None,
                    Some((_, irp)) => {
                        state.out.insert(frame);
                        Some(irp)
                    }
                    None => {
                        state.free.push(frame);
                        break;
                    }
                }
            };
            let Some(irp) = next else {
                self.source.free(frame);
                break;
            };
            // One that cannot be told of the frame leaves it to the next.
            if give(irp, frame).is_success() {
                break;
            }
        }
        for event in [KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME, KSEVENT_STREAMALLOCATOR_FREEFRAME] {
            self.events.generate(KSEVENTSETID_StreamAllocator, event);
        }
        STATUS_SUCCESS
    }

    /// By method: a frame, STATUS_PENDING while all are out, or why there is none.
    pub(crate) fn allocate_by_method(&self) -> Result<u64, NtStatus> {
        match self.take() {
            Taken::Frame(frame) => Ok(frame),
            Taken::AllOut => Err(STATUS_PENDING),
            Taken::NoMemory => Err(STATUS_INSUFFICIENT_RESOURCES),
            Taken::Closed(status) => Err(status),
        }
    }

    fn take(&self) -> Taken {
        self.take_for(Taker::Client)
    }

    fn take_for(&self, taker: Taker) -> Taken {
        {
            let mut state = self.state.lock();
            if let Some(status) = state.closed_to(taker) {
                return Taken::Closed(status);
            }
            if let Some(frame) = state.free.pop() {
                state.out.insert(frame);
                return Taken::Frame(frame);
            }
            if state.used() >= self.framing.frames as usize {
                return Taken::AllOut;
            }
            state.coming += 1;
        }
        let made = self.source.allocate();
        let (stranded, taken) = {
            let mut state = self.state.lock();
            state.coming -= 1;
            match (made, state.closed_to(taker)) {
                (Some(frame), None) => {
                    state.out.insert(frame);
                    return Taken::Frame(frame);
                }
                (Some(_), Some(status)) => (VecDeque::new(), Taken::Closed(status)),
                // Nobody frees a frame for those who came to wait for this one's place.
                (None, _) if state.used() == 0 => (std::mem::take(&mut state.waiting), Taken::NoMemory),
                (None, _) => (VecDeque::new(), Taken::NoMemory),
            }
        };
        if let Some(frame) = made {
            self.source.free(frame);
        }
        end(stranded, STATUS_INSUFFICIENT_RESOURCES);
        taken
    }

    /// A request that found all frames out.
    fn wait(&self, mut irp: Irp) -> Dispatched {
        loop {
            {
                let mut state = self.state.lock();
                let all_out = state.free.is_empty() && state.used() >= self.framing.frames as usize;
                if let Some(status) = state.closed {
                    return irp.done(status);
                }
                if all_out {
                    if state.waiting.len() >= MOST_WAITING {
                        return irp.done(STATUS_INSUFFICIENT_RESOURCES);
                    }
                    let key = state.next_key;
                    state.next_key += 1;
                    let me: Weak<dyn CancelTarget> = self.me.clone();
                    if irp.arm(me, key).is_err() {
                        return irp.done(STATUS_CANCELLED);
                    }
                    state.waiting.push_back((key, irp));
                    break;
                }
            }
            // A frame was freed in between.
            match self.allocate_by_method() {
                Ok(frame) => {
                    let status = irp.parts().output.answer_value(&frame);
                    if !status.is_success() {
                        let _ = self.free(frame);
                    }
                    return irp.done(status);
                }
                Err(STATUS_PENDING) => {}
                Err(status) => return irp.done(status),
            }
        }
        if self.is_removed() {
            // The removal may have come before the request was there to be seen.
            self.close_waiting(STATUS_DEVICE_REMOVED);
        }
        Dispatched::Pending
    }

    fn is_removed(&self) -> bool {
        self.device.as_ref().is_some_and(|device| device.is_removed())
    }

    /// No frame is given out any more; what waits ends with `status`.
    pub(crate) fn close_waiting(&self, status: NtStatus) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed.get_or_insert(status);
            std::mem::take(&mut state.waiting)
        };
        end(waiting, status);
    }

    fn method_request(&self, mut irp: Irp) -> Dispatched {
        let sent = as_sent(irp.input());
        let mut parts = irp.parts();
        if let Some(sent) = &sent {
            parts.input = sent.as_bytes();
        }
        match method::answer(self, parts, &[sets::allocator_table()]) {
            Ok(STATUS_PENDING) => self.wait(irp),
            Ok(status) => irp.done(status),
            Err(refusal) => Dispatched::Completed(irp.refuse(refusal)),
        }
    }
}

/// The pages send the method ALLOC with its type (KSMETHOD_TYPE_WRITE) for a flag: the request that is meant.
fn as_sent(input: &[u8]) -> Option<KsMethod> {
    let (request, _) = KsMethod::read_from_prefix(input).ok()?;
    let alloc = request.set == KSMETHODSETID_StreamAllocator && request.id == KSMETHOD_STREAMALLOCATOR_ALLOC;
    (alloc && request.flags == KSMETHOD_TYPE_WRITE).then_some(KsMethod { flags: KSMETHOD_TYPE_SEND, ..request })
}

/// A frame for a request that waited; it has none if its status is an error.
fn give(mut irp: Irp, frame: u64) -> NtStatus {
    irp.disarm();
    let status = irp.parts().output.answer_value(&frame);
    drop(irp.complete(status));
    status
}

fn end(waiting: VecDeque<(u64, Irp)>, status: NtStatus) {
    for (_, irp) in waiting {
        irp.disarm();
        drop(irp.complete(status));
    }
}

/// Would this request enable the event that only the class driver's own code waits for?
fn enables_internal_event(irp: &Irp) -> bool {
    let enables = KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT | KSEVENT_TYPE_ENABLEBUFFERED;
    KsEvent::read_from_prefix(irp.input()).is_ok_and(|(event, _)| {
        event.set == KSEVENTSETID_StreamAllocator
            && event.id == KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME
            && event.flags & enables != 0
    })
}

/// `IRP_MJ_CREATE` of class `KSSTRING_Allocator` or `KSSTRING_AllocatorEx` below a pin.
///
/// Decision: a pin has an allocator when it is an IRP sink with the standard transport: frames are allocated for the one
/// who sends the requests.
pub(crate) fn create(
    pin: &Arc<Pin>,
    request: &CreateRequest<'_>,
    read: fn(&[u8], crate::Framing, u64) -> Result<AllocatorFraming, Refusal>,
) -> Result<Created, Refusal> {
    if !pin.has_allocators() {
        let reason = format!("{} is no IRP sink with the standard transport, so it has no allocator", pin.describe());
        return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Communication, reason));
    }
    let device = pin.filter().device();
    let framing = read(request.parameters, pin.framing(), device.most_circuit_bytes())?;
    // What a driver allocates nobody in user mode can see.
    let own = match (request.origin.mode(), pin.instance()) {
        (RequestorMode::Kernel, Some(instance)) => instance.frame_source(pin, &framing)?,
        _ => None,
    };
    let source = match own {
        Some(own) => own,
        None => SystemFrames::new(framing, RegionOwner::Client(request.origin.client()), pin.io()),
    };
    let object = AllocatorObject::on(framing, source, Some(device.clone()), Arc::downgrade(pin));
    pin.note_allocator(&object);
    Ok(Created { object, granted: request.access })
}

impl Pin {
    /// Does the pin create allocators?
    pub(crate) fn has_allocators(&self) -> bool {
        self.queue().is_some() && self.communication() == KsPinCommunication::SINK
    }
}

impl CancelTarget for AllocatorObject {
    fn cancel(&self, key: u64) {
        let cancelled = {
            let mut state = self.state.lock();
            let at = state.waiting.iter().position(|(waiting, _)| *waiting == key);
            at.and_then(|at| state.waiting.remove(at))
        };
        if let Some((_, irp)) = cancelled {
            drop(irp.complete(STATUS_CANCELLED));
        }
    }
}

/// Why a pin takes its frames from no allocator of another process.
pub fn allocator_of_another_process() -> Refusal {
    let reason = "the frames of an allocator stay in its process: a pin takes them from one that was created on a pin of \
                  that same process";
    Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Memory, reason)
}

impl Dispatch for AllocatorObject {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        if self.is_removed() {
            return irp.done(STATUS_DEVICE_REMOVED);
        }
        let table = sets::allocator_table();
        match irp.io_control_code() {
            IoControlCode::KS_PROPERTY => property::handle(self, irp, &[table]),
            IoControlCode::KS_METHOD => self.method_request(irp),
            IoControlCode::KS_ENABLE_EVENT => {
                if irp.origin().mode() == RequestorMode::User && enables_internal_event(&irp) {
                    return irp.done(STATUS_INVALID_DEVICE_REQUEST);
                }
                self.events.enable(self, irp, &[], Some(table))
            }
            code if event::is_event_code(code) => self.events.disable(self, irp, Some(table)),
            code => irp.done(crate::io_control::default_completion(code)),
        }
    }

    fn cleanup(&self) {
        self.close_waiting(STATUS_CANCELLED);
        self.events.free(self, Some(sets::allocator_table()));
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl Drop for AllocatorObject {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *self.state.lock());
        for frame in state.free.into_iter().chain(state.out) {
            self.source.free(frame);
        }
    }
}

impl std::fmt::Debug for AllocatorObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AllocatorObject").field("framing", &self.framing).finish_non_exhaustive()
    }
}

/// Frames of the engine, each a region of its own, zeroed when it is made.
struct SystemFrames {
    io: Arc<IoManager>,
    framing: AllocatorFraming,
    owner: RegionOwner,
    frames: Mutex<HashMap<u64, Frame>>,
}

impl SystemFrames {
    fn new(framing: AllocatorFraming, owner: RegionOwner, io: &Arc<IoManager>) -> Arc<SystemFrames> {
        Arc::new(SystemFrames { io: io.for_device(), framing, owner, frames: Mutex::default() })
    }
}

impl FrameSource for SystemFrames {
    fn allocate(&self) -> Option<u64> {
        let AllocatorFraming { frame_bytes, alignment, .. } = self.framing;
        let frame = self.io.regions().allocate_for(self.owner, frame_bytes as usize, alignment as usize).ok()?;
        let address = frame.address();
        self.frames.lock().insert(address, frame);
        Some(address)
    }

    fn free(&self, frame: u64) {
        let gone = self.frames.lock().remove(&frame);
        drop(gone);
    }

    fn lend(&self, frame: u64) -> Option<Frame> {
        self.frames.lock().remove(&frame)
    }
}
