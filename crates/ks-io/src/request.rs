//! A request as its client holds it: wait for it, poll it as a future, or cancel it.

use crate::cancel::CancelCell;
use crate::io_manager::IoManager;
use crate::irp::Body;
use crate::refusal::Refusal;
use crate::sync::{Arc, Mutex};
use crate::wait::{Event, EventKind};
use ks_abi::NtStatus;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Final status; STATUS_PENDING never.
    pub status: NtStatus,
    /// Bytes answered, or the size that a size query learns, as the request defines.
    pub information: usize,
    /// Why it was refused, where somebody said.
    pub refusal: Option<Box<Refusal>>,
}

impl Outcome {
    /// An outcome without answer.
    pub fn status(status: NtStatus) -> Outcome {
        Outcome { status, information: 0, refusal: None }
    }

    /// An outcome with its reason.
    pub fn refused(refusal: Refusal) -> Outcome {
        Outcome { status: refusal.status, information: 0, refusal: Some(Box::new(refusal)) }
    }
}

/// The meeting point of a request's client and its completion.
pub struct PendingRequest {
    /// Which engine's waits it uses.
    engine: u64,
    state: Mutex<State>,
    done: Event,
}

#[derive(Default)]
struct State {
    body: Option<Box<Body>>,
    waker: Option<Waker>,
}

impl PendingRequest {
    pub(crate) fn new(io: &IoManager) -> Arc<PendingRequest> {
        let done = io.services().event(EventKind::Notification, crate::wait::Signal::Clear);
        Arc::new(PendingRequest { engine: io.number(), state: Mutex::new(State::default()), done })
    }

    #[inline]
    pub(crate) fn engine(&self) -> u64 {
        self.engine
    }

    /// Called once a request, by the completion.
    pub(crate) fn finish(&self, body: Box<Body>) {
        let waker = {
            let mut state = self.state.lock();
            state.body = Some(body);
            state.waker.take()
        };
        self.done.set();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the completion and takes it; `None` when the wait itself failed (a virtual world at a dead end).
    pub(crate) fn wait(&self) -> Option<Box<Body>> {
        let _ = self.done.wait();
        self.state.lock().body.take()
    }

    /// What the thread does before it blocks.
    pub(crate) fn before_wait(&self) {
        self.done.before_wait();
    }

    /// Ready for the next request of the same thread.
    pub(crate) fn reset(&self) {
        self.done.clear();
    }
}

impl std::fmt::Debug for PendingRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRequest").finish_non_exhaustive()
    }
}

/// A request that is done: how it ended, and the output buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// The caller's output buffer, with the answer in it.
    pub output: Vec<u8>,
}

/// An overlapped request. Dropping it leaves the request running and its answer unread; [`Request::cancel`] asks for
/// an early end. It is a future, neutral to any runtime, and can be waited for on any thread.
#[derive(Debug)]
pub struct Request {
    state: RequestState,
}

#[derive(Debug)]
enum RequestState {
    Running { pending: Arc<PendingRequest>, cancel: Arc<CancelCell>, output: Vec<u8> },
    Finished(Finished),
    Taken,
}

impl Request {
    pub(crate) fn running(pending: Arc<PendingRequest>, cancel: Arc<CancelCell>, output: Vec<u8>) -> Request {
        Request { state: RequestState::Running { pending, cancel, output } }
    }

    pub(crate) fn finished(outcome: Outcome, output: Vec<u8>) -> Request {
        Request { state: RequestState::Finished(Finished { outcome, output }) }
    }

    /// Asks for the request to end early. It still completes exactly once, with STATUS_CANCELLED or, if it was faster,
    /// with its result.
    pub fn cancel(&self) {
        if let RequestState::Running { cancel, .. } = &self.state {
            let _inside = crate::deferred::enter();
            cancel.cancel();
        }
    }

    /// True when [`Request::wait`] would return at once.
    pub fn is_done(&self) -> bool {
        match &self.state {
            RequestState::Running { pending, .. } => pending.done.is_set(),
            _ => true,
        }
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Finished {
        match std::mem::replace(&mut self.state, RequestState::Taken) {
            RequestState::Running { pending, output, .. } => finish(pending.wait(), output),
            RequestState::Finished(finished) => finished,
            RequestState::Taken => gone(),
        }
    }
}

impl Future for Request {
    type Output = Finished;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Finished> {
        if let RequestState::Running { pending, .. } = &self.state {
            let mut state = pending.state.lock();
            if state.body.is_none() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        match std::mem::replace(&mut self.state, RequestState::Taken) {
            RequestState::Running { pending, output, .. } => {
                let body = pending.state.lock().body.take();
                Poll::Ready(finish(body, output))
            }
            RequestState::Finished(finished) => Poll::Ready(finished),
            RequestState::Taken => Poll::Ready(gone()),
        }
    }
}

fn gone() -> Finished {
    Finished { outcome: Outcome::status(ks_abi::STATUS_INVALID_HANDLE), output: Vec::new() }
}

fn finish(body: Option<Box<Body>>, mut output: Vec<u8>) -> Finished {
    match body {
        Some(body) => Finished { outcome: deliver(body, &mut output), output },
        None => Finished { outcome: Outcome::status(ks_abi::STATUS_TIMEOUT), output },
    }
}

/// Copies a completed request's answer to its caller's buffer and lets the request go.
#[inline]
pub(crate) fn deliver(mut body: Box<Body>, output: &mut [u8]) -> Outcome {
    // A driver that says it has answered more than there is room for has answered nothing. What a size query learns is more,
    // but it comes with a warning; and the bytes that a write consumed are not in the list of its headers.
    let (answered, told) = (body.information(), body.status());
    let claims_too_much = answered > output.len() && told.is_success() && body.stream.is_none();
    if let Some(stream) = body.stream.take() {
        stream.read_headers(output);
    } else if !told.is_error() && !claims_too_much {
        let answer = body.output.answered();
        let count = answer.len().min(output.len());
        crate::buffers::copy(&mut output[..count], &answer[..count]);
    }
    let mut status = told;
    let mut information = if status.is_error() { 0 } else { answered };
    if claims_too_much {
        (status, information) = (ks_abi::STATUS_DEVICE_PROTOCOL_ERROR, 0);
    }
    let refusal = body.refusal.take();
    body.recycle();
    // Made last and in its place: moving it would read in one piece what was written in two.
    Outcome { status, information, refusal }
}
