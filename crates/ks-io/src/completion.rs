//! What happens when a request is done: at once for a driver's completion routine, deferred for a client.

use crate::deferred;
use crate::irp::Body;
use crate::origin::Origin;
use crate::refusal::Refusal;
use crate::request::PendingRequest;
use crate::stream_frame::StreamFrames;
use crate::sync::Arc;
use ks_abi::NtStatus;

/// Who hears of a completion.
#[derive(Default)]
pub enum Reply {
    /// Nobody: the IRP of a circuit.
    #[default]
    None,
    /// A client that waits, polls or was promised a wake-up.
    Client(Arc<PendingRequest>),
    /// A driver that sent the request on; called inside the completing call.
    Routine(Arc<dyn CompletionRoutine>),
}

/// A driver's completion routine.
#[doc(alias = "IO_COMPLETION_ROUTINE")]
pub trait CompletionRoutine: Send + Sync {
    /// The request that this driver sent is done. Runs inside the completing call, so it must not wait.
    fn completed(self: Arc<Self>, request: CompletedRequest);
}

/// The result of a dispatch routine.
#[must_use]
#[derive(Debug)]
pub enum Dispatched {
    /// The request is done.
    Completed(Completed),
    /// The request waits; whoever took its IRP completes it.
    Pending,
}

/// Proof that a request was completed, with all of it inside.
///
/// Returned up to the I/O manager it reaches its caller without a wake-up; dropped anywhere else it is delivered: to a
/// completion routine at once, to a client when the engine lets go of the thread.
pub struct Completed(Option<Box<Body>>);

impl Completed {
    #[inline]
    pub(crate) fn new(body: Box<Body>) -> Completed {
        Completed(Some(body))
    }

    /// Takes the request apart if its client waits at `place`; gives back another one's.
    #[inline]
    pub(crate) fn into_body_of(
        mut self,
        place: &Arc<PendingRequest>,
    ) -> Result<(Box<Body>, Arc<PendingRequest>), Completed> {
        let Some(mut body) = self.0.take() else { return Err(self) };
        match std::mem::take(&mut body.reply) {
            Reply::Client(pending) if Arc::ptr_eq(&pending, place) => {
                // Nothing is left to drop.
                std::mem::forget(self);
                Ok((body, pending))
            }
            other => {
                body.reply = other;
                self.0 = Some(body);
                Err(self)
            }
        }
    }

    /// The status of the completion.
    pub fn status(&self) -> NtStatus {
        self.0.as_ref().map_or(ks_abi::STATUS_CANCELLED, |body| body.status())
    }
}

impl Drop for Completed {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take() else { return };
        match std::mem::take(&mut body.reply) {
            Reply::None => body.recycle(),
            Reply::Client(pending) => deferred::push(deferred::Delivery::Client(pending, body)),
            Reply::Routine(routine) => routine.completed(CompletedRequest(Some(body))),
        }
    }
}

impl std::fmt::Debug for Completed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Completed").field(&self.status()).finish()
    }
}

/// A completed request as the driver that sent it sees it. Its memory serves the next request of the thread.
pub struct CompletedRequest(Option<Box<Body>>);

impl Drop for CompletedRequest {
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            body.recycle();
        }
    }
}

impl CompletedRequest {
    #[inline]
    fn body(&self) -> &Body {
        self.0.as_ref().expect("invariant: only dropping takes the body out")
    }

    /// The final status.
    pub fn status(&self) -> NtStatus {
        self.body().status()
    }

    /// The final Information.
    pub fn information(&self) -> usize {
        self.body().information()
    }

    /// The answer.
    pub fn answer(&self) -> &[u8] {
        self.body().output.answered()
    }

    /// Who the request came from.
    pub fn origin(&self) -> &Origin {
        &self.body().origin
    }

    /// Why it was refused, if it was and somebody said.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.body().refusal.as_deref()
    }

    /// Takes the frames of a stream request back.
    pub fn take_stream(&mut self) -> Option<StreamFrames> {
        self.0.as_mut().and_then(|body| body.stream.take())
    }
}
