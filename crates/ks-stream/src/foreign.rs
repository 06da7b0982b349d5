//! A connected pin that is none of AVStream's: it gets requests through the I/O manager.
//!
//! Source: "AVStream pipes and circuits" (mixed connections), nf-ks-ksstreamio, nf-ks-kssynchronousiocontroldevice.

use crate::batch;
use crate::injection::Homecoming;
use crate::pin::Pin;
use crate::queue::is_change;
use crate::stream_io;
use ks_abi::{
    IoControlCode, KsPinDataFlow, KsReset, NtStatus, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY,
    STATUS_INVALID_DEVICE_STATE, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{
    Aspect, CancelCell, CancelTarget, CompletedRequest, CompletionRoutine, Dispatched, Event, EventKind, FileObject,
    Irp, Origin, Refusal, Reply, RequestParts, Signal, StreamFrames,
};
use ks_mem::FrameMemory;
use zerocopy::IntoBytes;

/// The foreign end of a connection whose IRP source is ours: filled frames go to it as write requests, empty ones as
/// read requests, and each comes back by its completion.
pub(crate) struct ForeignPeer {
    pin: Weak<Pin>,
    file: Arc<FileObject>,
    /// Hears of each frame that comes back.
    travelling: Arc<Travelling>,
    /// Somebody wants to know of the requests that come back.
    home: Option<Arc<Homecoming>>,
}

impl ForeignPeer {
    pub(crate) fn new(pin: &Arc<Pin>, file: Arc<FileObject>, home: Option<Arc<Homecoming>>) -> Arc<ForeignPeer> {
        let travelling = Arc::new(Travelling { pin: Arc::downgrade(pin), home: home.clone() });
        Arc::new(ForeignPeer { pin: Arc::downgrade(pin), file, travelling, home })
    }

    /// Who wants to know of the requests that come back.
    pub(crate) fn home(&self) -> Option<&Arc<Homecoming>> {
        self.home.as_ref()
    }

    /// Where frames should lie that go to this peer.
    pub(crate) fn frame_memory(&self) -> FrameMemory {
        self.file.object().map_or(FrameMemory::Private, |object| object.frame_memory())
    }

    /// Sends a request in the place of a caller's, which waits for it.
    fn send_for_caller(&self, pin: &Pin, code: IoControlCode, mut irp: Irp) {
        let Some(frames) = irp.take_stream() else { return stream_io::complete(irp, KsPinDataFlow::IN) };
        let visit = Arc::new(Visit { request: Mutex::default(), sent: Mutex::default(), home: self.home.clone() });
        let sent = Irp::stream_request(&self.file, pin.origin(), code, frames, Reply::Routine(visit.clone()));
        let mut sent = match sent {
            Ok(sent) => sent,
            Err(status) => {
                irp.set_status(status);
                return stream_io::complete(irp, KsPinDataFlow::IN);
            }
        };
        *visit.sent.lock() = Some(sent.cancel_cell());
        let weak = Arc::downgrade(&visit);
        let is_cancelled = {
            let mut request = visit.request.lock();
            let is_cancelled = irp.arm(weak, 0).is_err();
            *request = Some(irp);
            is_cancelled
        };
        if is_cancelled {
            return drop(sent.complete(STATUS_CANCELLED));
        }
        drop(self.file.dispatch(sent));
    }

    /// Sends the frames of a circuit; `batch` is empty afterwards.
    pub(crate) fn send(&self, batch: &mut Vec<Irp>) {
        let Some(pin) = self.pin.upgrade() else {
            batch.drain(..).for_each(Irp::retire);
            return;
        };
        let code = match pin.data_flow() {
            KsPinDataFlow::OUT => IoControlCode::KS_WRITE_STREAM,
            _ => IoControlCode::KS_READ_STREAM,
        };
        for mut irp in batch.drain(..) {
            if irp.has_caller() {
                self.send_for_caller(&pin, code, irp);
                continue;
            }
            let Some(frames) = irp.take_stream() else { continue };
            irp.retire();
            let routine = self.travelling.clone();
            // Without memory the frames are lost to the circuit and freed; the rest goes on.
            if let Ok(request) = Irp::stream_request(&self.file, pin.origin(), code, frames, Reply::Routine(routine)) {
                drop(self.file.dispatch(request));
            }
        }
    }
}

impl Pin {
    /// Frames that were copied on their way to the foreign pin at the other end, or from it, since the two are connected.
    pub(crate) fn copied_on_the_way(&self) -> u64 {
        let file = self.foreign_file();
        file.and_then(|file| file.object().map(|object| object.copied_frames())).unwrap_or(0)
    }
}

/// A caller's request whose frames a foreign pin has.
struct Visit {
    /// The caller's request, until the frames are back.
    request: Mutex<Option<Irp>>,
    /// What was sent in its place.
    sent: Mutex<Option<Arc<CancelCell>>>,
    home: Option<Arc<Homecoming>>,
}

impl Visit {
    /// The frames are back, or never went: the caller hears of it.
    fn end(&self, status: NtStatus, frames: Option<StreamFrames>) {
        let Some(mut irp) = self.request.lock().take() else { return };
        irp.disarm();
        irp.set_status(status);
        if let Some(frames) = frames {
            irp.set_stream(frames);
        }
        batch::of_one(irp, |batch| {
            if let Some(home) = &self.home {
                home.tell(batch);
            }
            batch.drain(..).for_each(|irp| stream_io::complete(irp, KsPinDataFlow::IN));
        });
    }
}

impl CancelTarget for Visit {
    fn cancel(&self, _: u64) {
        // The caller's request completes when what was sent for it does.
        let sent = self.sent.lock().clone();
        if let Some(sent) = sent {
            sent.cancel();
        }
    }
}

impl CompletionRoutine for Visit {
    fn completed(self: Arc<Self>, mut request: CompletedRequest) {
        let frames = request.take_stream();
        self.end(request.status(), frames);
    }
}

/// Frames that a foreign pin has.
struct Travelling {
    pin: Weak<Pin>,
    home: Option<Arc<Homecoming>>,
}

impl CompletionRoutine for Travelling {
    fn completed(self: Arc<Self>, mut request: CompletedRequest) {
        let (Some(pin), Some(frames)) = (self.pin.upgrade(), request.take_stream()) else { return };
        let Ok(irp) = Irp::circuit(pin.origin(), frames) else { return };
        if !request.status().is_success() || pin.is_gone() {
            // The foreign pin is stopped or gone: the frame waits for the next start. If it only was not up yet, the next
            // step of this pin is a start too.
            irp.set_status(request.status());
            let change = irp.stream().and_then(|stream| stream.frame(0)).is_some_and(|frame| is_change(frame));
            pin.park_at(&pin.pipe().route(), [irp]);
            if matches!(request.status(), STATUS_DEVICE_NOT_READY | STATUS_INVALID_DEVICE_STATE) {
                pin.pipe().note_not_ready();
            }
            if change && pin.data_flow() == KsPinDataFlow::OUT && !pin.is_gone() {
                not_followed(&pin, request.status());
            }
            return;
        }
        match pin.data_flow() {
            KsPinDataFlow::OUT => match &self.home {
                Some(home) => pin.comes_home(home, irp),
                None => pin.recirculate_own(irp),
            },
            _ => batch::of_one(irp, |batch| pin.receive(batch)),
        }
    }
}

/// The foreign pin did not take a change of format. One that does not run yet is told again; from one that refuses
/// nothing of the new format may be expected.
fn not_followed(pin: &Arc<Pin>, status: NtStatus) {
    if matches!(status, STATUS_DEVICE_NOT_READY | STATUS_INVALID_DEVICE_STATE | STATUS_CANCELLED) {
        pin.announce_again();
    } else {
        let reason = format!("{}: the pin that it is connected to refused the new format", pin.describe());
        pin.fail(Refusal::new(status, Aspect::FormatBlock, reason));
    }
}

/// Sends one control request and waits for its answer.
// ks-coverage: KsSynchronousIoControlDevice done test=a_driver_opens_another_and_reads_from_it,two_drivers_agree_an_interface_and_exchange_frames_without_requests
#[doc(alias = "KsSynchronousIoControlDevice")]
pub(crate) fn synchronous_control(
    file: &Arc<FileObject>,
    origin: &Origin,
    code: IoControlCode,
    input: &[u8],
    output_bytes: usize,
) -> Result<Vec<u8>, NtStatus> {
    let answer: Arc<Answer> = Arc::new(Answer(Mutex::new(None)));
    let parts = RequestParts { code, input, output: &[], output_bytes, input_token: 0, output_token: 0 };
    let irp = Irp::device_control(file, origin, parts, Reply::Routine(answer.clone()))?;
    match file.dispatch(irp) {
        Dispatched::Completed(completed) => drop(completed),
        Dispatched::Pending => return Err(STATUS_UNSUCCESSFUL),
    }
    answer.taken()
}

/// Asks another driver's pin for a property, and waits for the answer. No mutex is held.
pub(crate) fn property(file: &Arc<FileObject>, pin: &Pin, input: &[u8], room: usize) -> Result<Vec<u8>, NtStatus> {
    send_property(file, pin, input, &[], room)
}

/// Sets a property of another driver's pin, and waits for the answer. No mutex is held.
pub(crate) fn set_property(file: &Arc<FileObject>, pin: &Pin, input: &[u8], data: &[u8]) -> Result<(), NtStatus> {
    send_property(file, pin, input, data, data.len()).map(drop)
}

fn send_property(
    file: &Arc<FileObject>,
    pin: &Pin,
    input: &[u8],
    output: &[u8],
    output_bytes: usize,
) -> Result<Vec<u8>, NtStatus> {
    let done = pin.services().event(EventKind::Notification, Signal::Clear);
    let asked = Arc::new(Asked { answer: Answer(Mutex::new(None)), done: done.clone() });
    let code = IoControlCode::KS_PROPERTY;
    let parts = RequestParts { code, input, output, output_bytes, input_token: 0, output_token: 0 };
    let irp = Irp::device_control(file, pin.origin(), parts, Reply::Routine(asked.clone()))?;
    if matches!(file.dispatch(irp), Dispatched::Pending) {
        let _ = done.wait();
    }
    asked.answer.taken()
}

/// A request that is waited for.
struct Asked {
    answer: Answer,
    done: Event,
}

impl CompletionRoutine for Asked {
    fn completed(self: Arc<Self>, request: CompletedRequest) {
        self.answer.keep(&request);
        self.done.set();
    }
}

/// Sends a reset to another driver's pin, and waits until it has answered.
pub(crate) fn reset(file: &Arc<FileObject>, pin: &Pin, reset: KsReset) {
    let done = pin.services().event(EventKind::Notification, Signal::Clear);
    let parts = RequestParts {
        code: IoControlCode::KS_RESET_STATE,
        input: reset.as_bytes(),
        output: &[],
        output_bytes: 0,
        input_token: 0,
        output_token: 0,
    };
    let routine: Arc<dyn CompletionRoutine> = Arc::new(Done(done.clone()));
    // Whether it knows resets is its affair.
    if let Ok(irp) = Irp::device_control(file, pin.origin(), parts, Reply::Routine(routine))
        && matches!(file.dispatch(irp), Dispatched::Pending)
    {
        let _ = done.wait();
    }
}

struct Done(Event);

impl CompletionRoutine for Done {
    fn completed(self: Arc<Self>, _request: CompletedRequest) {
        self.0.set();
    }
}

struct Answer(Mutex<Option<Result<Vec<u8>, NtStatus>>>);

impl Answer {
    fn keep(&self, request: &CompletedRequest) {
        let result = match request.status() {
            status if status.is_success() => Ok(request.answer().to_vec()),
            status => Err(status),
        };
        *self.0.lock() = Some(result);
    }

    fn taken(&self) -> Result<Vec<u8>, NtStatus> {
        let taken = self.0.lock().take();
        taken.unwrap_or(Err(STATUS_CANCELLED))
    }
}

impl CompletionRoutine for Answer {
    fn completed(self: Arc<Self>, request: CompletedRequest) {
        self.keep(&request);
    }
}
