//! Frames that a driver brings into its circuit itself, and what it is told when a frame comes round.
//!
//! A pin that injects has no allocator: each frame is submitted by the driver, travels the circuit, and is given back to
//! the driver where the requests of another circuit would go to the head's queue again. A pin that watches is told of
//! each request that has come round. Circuits without such pins know nothing of this: their route has another hop.
//!
//! Source: "Frame injection", nf-ks-kspinsubmitframe, nc-ks-pfnkspinframereturn, nf-ks-kspinregisterirpcompletioncallback.

use crate::batch;
use crate::pin::Pin;
use crate::pipe::{Hop, Route};
use crate::queue::Outgoing;
use ks_abi::{
    KsPinDataFlow, KsState, KsStreamHeader, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
};
use ks_io::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};
use ks_io::{CircuitPlace, Irp, StreamFrame, StreamFrames, Work, deferred};
use ks_mem::{Frame, FrameMemory, FramePool, PoolSpec};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use zerocopy::{FromBytes, IntoBytes};

/// A frame on its way into a circuit.
#[derive(Debug, Default)]
pub struct InjectedFrame {
    /// The bytes, from [`Pin::allocate_injected`]; `None`: the frame has only a header.
    pub buffer: Option<Frame>,
    /// A KSSTREAM_HEADER with its extension. Its size, address and extent are those of the circuit and of `buffer`.
    /// `None`: all of `buffer` is data, without a time.
    pub header: Option<Vec<u8>>,
    /// For the driver, see [`ReturnedFrame::context`].
    pub context: u64,
}

/// An injected frame whose journey is over.
#[derive(Debug)]
pub struct ReturnedFrame {
    /// The bytes that were submitted; those of a filter that works in place are changed.
    pub buffer: Option<Frame>,
    /// What the driver submitted with it.
    pub context: u64,
    /// The status of its request: STATUS_CANCELLED if it was recalled by a stop.
    pub status: NtStatus,
}

/// What a pin does beside processing: set in STOP, looked at when the circuit is made.
#[derive(Default)]
pub(crate) struct Returns {
    injects: AtomicBool,
    watches: AtomicBool,
    /// Of the few pins that inject.
    injected: OnceLock<Box<Injected>>,
}

#[derive(Default)]
struct Injected {
    /// Frames on their way: the address of the header, and the driver's word.
    travelling: Mutex<BTreeMap<u64, u64>>,
    /// Frames that are back and that the driver has not been told of.
    back: Mutex<Vec<ReturnedFrame>>,
}

impl Returns {
    pub(crate) fn injects(&self) -> bool {
        self.injects.load(Ordering::SeqCst)
    }

    fn injected(&self) -> &Injected {
        self.injected.get_or_init(Box::default)
    }

    pub(crate) fn watches(&self) -> bool {
        self.watches.load(Ordering::SeqCst)
    }
}

/// Where the requests of a circuit go after the last pin, if somebody wants to know.
#[derive(Debug)]
pub(crate) struct Homecoming {
    /// Pins that are told of each request.
    watchers: Vec<Weak<Pin>>,
    /// The head gives each frame back to its driver.
    injected: bool,
}

impl Homecoming {
    /// What a circuit needs; `None`: nothing but the way back.
    pub(crate) fn of(head: &Pin, pins: &[Arc<Pin>]) -> Option<Arc<Homecoming>> {
        let watchers: Vec<Weak<Pin>> = pins.iter().filter(|pin| pin.returns().watches()).map(Arc::downgrade).collect();
        let injected = head.returns().injects();
        (injected || !watchers.is_empty()).then(|| Arc::new(Homecoming { watchers, injected }))
    }

    /// Tells the watchers; no lock is held.
    pub(crate) fn tell(&self, batch: &[Irp]) {
        for watcher in self.watchers.iter().filter_map(Weak::upgrade).filter(|pin| !pin.is_gone()) {
            let Some(instance) = watcher.instance() else { continue };
            for irp in batch {
                let Some(frame) = irp.stream().and_then(|frames| frames.frame(0)) else { continue };
                let returned = ReturnedRequest { irp: irp.address(), status: irp.status(), frame };
                instance.request_returned(&watcher, &returned);
            }
        }
    }
}

/// Tells the driver of frames that are back, outside of the engine.
struct Tell(Arc<Pin>);

impl Work for Tell {
    fn run(self: Arc<Self>) {
        self.0.tell_returned();
    }
}

impl Pin {
    /// Puts the pin into injection mode: it gets no frames to fill, its driver submits frames and gets each back by
    /// [`PinInstance::frame_returned`](crate::PinInstance::frame_returned). Only in STOP: STATUS_INVALID_DEVICE_STATE.
    /// Legal in the create routine.
    // ks-coverage: KsPinRegisterFrameReturnCallback done test=injected_frames_go_round_and_come_back,a_driver_injects_frames_and_gets_them_back
    #[doc(alias = "KsPinRegisterFrameReturnCallback")]
    pub fn inject_frames(&self) -> Result<(), NtStatus> {
        self.set_in_stop(&self.returns().injects)
    }

    /// Has [`PinInstance::request_returned`](crate::PinInstance::request_returned) called for each request that has come
    /// round. Only in STOP: STATUS_INVALID_DEVICE_STATE. Legal in the create routine.
    // ks-coverage: KsPinRegisterIrpCompletionCallback done test=a_watcher_is_told_of_each_request_that_came_round,a_driver_is_told_of_each_request_that_came_round
    #[doc(alias = "KsPinRegisterIrpCompletionCallback")]
    pub fn watch_requests(&self) -> Result<(), NtStatus> {
        self.set_in_stop(&self.returns().watches)
    }

    fn set_in_stop(&self, mode: &AtomicBool) -> Result<(), NtStatus> {
        if self.agreed_state() != KsState::STOP {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        mode.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Memory for a frame to inject, where the circuit's other end can see it. It may be submitted again when it is back.
    pub fn allocate_injected(self: &Arc<Pin>, bytes: usize) -> Result<Frame, NtStatus> {
        if bytes as u64 > self.filter().device().most_circuit_bytes() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let spec = PoolSpec { frames: 1, frame_bytes: bytes, alignment: 64 };
        let pool = FramePool::in_memory(self.injection_memory(), spec, self.io().regions());
        pool.ok().and_then(|pool| pool.take()).ok_or(STATUS_INSUFFICIENT_RESOURCES)
    }

    /// Which memory the circuit's frames must lie in, as it is connected now.
    pub fn injection_memory(self: &Arc<Pin>) -> FrameMemory {
        Pin::memory_of(&self.circuit())
    }

    /// Submits a frame into the circuit that this pin heads.
    ///
    /// STATUS_INVALID_DEVICE_REQUEST: the pin does not inject, or heads no circuit (nothing is connected to it, or it is
    /// no data source). STATUS_INVALID_DEVICE_STATE: it is not in ACQUIRE yet, or leaves it. STATUS_INVALID_PARAMETER: the
    /// header is cut off, or the buffer lies in memory that the other end cannot see.
    // ks-coverage: KsPinSubmitFrame done test=injected_frames_go_round_and_come_back,a_driver_injects_frames_and_gets_them_back
    #[doc(alias = "KsPinSubmitFrame")]
    pub fn submit_frame(self: &Arc<Pin>, frame: InjectedFrame) -> Result<(), NtStatus> {
        if !self.returns().injects() || self.data_flow() != KsPinDataFlow::OUT || !self.is_connected() {
            return Err(STATUS_INVALID_DEVICE_REQUEST);
        }
        let acquired = self.agreed_state() >= KsState::ACQUIRE && self.state() >= KsState::ACQUIRE;
        if !acquired || matches!(self.pipe().route().hop, Hop::None) {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        let circuit = self.circuit();
        let shared = Pin::memory_of(&circuit) == FrameMemory::Shared;
        if shared && frame.buffer.as_ref().is_some_and(|buffer| !buffer.is_shared()) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let header = Pin::header_of(&frame, Pin::header_bytes_of(&circuit))?;
        let place = CircuitPlace { circuit: self.pipe().generation(), frame: 0 };
        let frames = StreamFrames::captured(&header, header.len(), [frame.buffer])?.of_circuit(place);
        let irp = Irp::circuit(self.origin(), frames)?;
        if let Some(sent) = irp.stream().and_then(|frames| frames.frame(0)) {
            self.returns().injected().travelling.lock().insert(sent.header_address(), frame.context);
            if let Some(queue) = self.queue() {
                queue.with_counters(|counters| counters.pass(sent));
            }
        }
        self.forward(&mut Outgoing { onward: vec![irp], ..Outgoing::none() });
        Ok(())
    }

    /// The bytes of the header of an injected frame, as long as those of the circuit.
    fn header_of(frame: &InjectedFrame, stride: usize) -> Result<Vec<u8>, NtStatus> {
        let bytes = frame.buffer.as_ref().map_or(0, |buffer| u32::try_from(buffer.len()).unwrap_or(u32::MAX));
        let mut header = match &frame.header {
            Some(own) => KsStreamHeader::read_from_prefix(own).map_err(|_| STATUS_INVALID_PARAMETER)?.0,
            None => KsStreamHeader { data_used: bytes, ..KsStreamHeader::default() },
        };
        header.size = stride as u32;
        header.frame_extent = bytes;
        header.data_used = header.data_used.min(bytes);
        header.data.0 = frame.buffer.as_ref().map_or(0, Frame::address);
        let scale = &mut header.presentation_time;
        (scale.numerator, scale.denominator) = (scale.numerator.max(1), scale.denominator.max(1));
        let mut all = vec![0; stride];
        let own = frame.header.as_deref().unwrap_or_default();
        let copied = own.len().min(stride);
        all[..copied].copy_from_slice(&own[..copied]);
        all[..size_of::<KsStreamHeader>()].copy_from_slice(header.as_bytes());
        Ok(all)
    }

    /// Requests have come round. `batch` is empty afterwards; no lock is held.
    pub(crate) fn come_home(self: &Arc<Pin>, home: &Homecoming, batch: &mut Vec<Irp>) {
        home.tell(batch);
        let route = self.pipe().route();
        if home.injected {
            self.park_at(&route, batch.drain(..));
        } else if let Some(head) = self.emptied(&route, batch) {
            head.begin_again(batch);
        }
    }

    /// Frames of a foreign source have been at every pin: the watchers are told, and their head asks again with them.
    pub(crate) fn ask_again(&self, route: &Route, batch: &mut Vec<Irp>) {
        let asked = route.head.upgrade().and_then(|head| head.pipe().asked());
        if let Some(home) = asked.as_ref().and_then(|peer| peer.home()) {
            home.tell(batch);
        }
        match (self.emptied(route, batch), asked) {
            (Some(_), Some(peer)) => peer.send(batch),
            (Some(head), None) => head.pipe().park(batch.drain(..)),
            (None, _) => {}
        }
    }

    /// As [`Pin::come_home`], for one request.
    pub(crate) fn comes_home(self: &Arc<Pin>, home: &Homecoming, irp: Irp) {
        batch::of_one(irp, |batch| self.come_home(home, batch));
    }

    /// Injected frames are back at their head: their driver is told when the thread leaves the engine.
    pub(crate) fn take_back(self: &Arc<Pin>, batch: impl IntoIterator<Item = Irp>) {
        for irp in batch {
            let status = irp.status();
            let frame = irp.stream().and_then(|frames| frames.frame(0));
            let known = frame.and_then(|frame| {
                let context = self.returns().injected().travelling.lock().remove(&frame.header_address())?;
                Some(ReturnedFrame { buffer: frame.buffer().cloned(), context, status })
            });
            irp.retire();
            self.returns().injected().back.lock().extend(known);
        }
        deferred::run_later(Arc::new(Tell(self.clone())));
    }

    fn tell_returned(self: &Arc<Pin>) {
        let Some(instance) = self.instance() else { return };
        loop {
            // One at a time: the driver may submit it again at once.
            let mut back = self.returns().injected().back.lock();
            if back.is_empty() {
                return;
            }
            let frame = back.remove(0);
            drop(back);
            instance.frame_returned(self, frame);
        }
    }

    /// The head that injects stops: its frames come back from wherever nobody has them locked.
    pub(crate) fn recall_injected(self: &Arc<Pin>) {
        if !self.returns().injects() {
            return;
        }
        for pin in self.sinks_reached() {
            if let Some(queue) = pin.queue() {
                let orphans = queue.recall();
                pin.orphaned(orphans);
                pin.send_outgoing();
            }
        }
        self.tell_returned();
    }
}

/// A request that has come round, before its frame is emptied for the next turn.
#[derive(Debug)]
pub struct ReturnedRequest<'r> {
    /// Address of the IRP, as a driver is lent it.
    pub irp: u64,
    /// Its status.
    pub status: NtStatus,
    /// Its frame.
    pub frame: &'r StreamFrame,
}
