//! A connected pin that is none of AVStream's: it gets requests through the I/O manager.
//!
//! Source: "AVStream pipes and circuits" (mixed connections), nf-ks-ksstreamio, nf-ks-kssynchronousiocontroldevice.

use crate::batch;
use crate::injection::Homecoming;
use crate::pin::Pin;
use ks_abi::{
    IoControlCode, KsPinDataFlow, NtStatus, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY, STATUS_INVALID_DEVICE_STATE,
    STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{CompletedRequest, CompletionRoutine, Dispatched, FileObject, Irp, Origin, Reply, RequestParts};
use ks_mem::FrameMemory;

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

    /// Is the foreign pin the data source, which is asked to fill frames?
    pub(crate) fn is_source(&self) -> bool {
        self.pin.upgrade().is_some_and(|pin| pin.data_flow() == KsPinDataFlow::IN)
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
            pin.park_at(&pin.pipe().route(), [irp]);
            if matches!(request.status(), STATUS_DEVICE_NOT_READY | STATUS_INVALID_DEVICE_STATE) {
                pin.pipe().note_not_ready();
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
    let taken = answer.0.lock().take();
    taken.unwrap_or(Err(STATUS_CANCELLED))
}

struct Answer(Mutex<Option<Result<Vec<u8>, NtStatus>>>);

impl CompletionRoutine for Answer {
    fn completed(self: Arc<Self>, request: CompletedRequest) {
        let result = match request.status() {
            status if status.is_success() => Ok(request.answer().to_vec()),
            status => Err(status),
        };
        *self.0.lock() = Some(result);
    }
}
