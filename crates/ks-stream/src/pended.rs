//! Creates and closes that a minidriver ends later, as a driver does that returns STATUS_PENDING.
//!
//! The callback marks its request and hands what it is given to whoever will end it; nothing of the class driver is locked
//! meanwhile. Who asked for the create, or closed the last handle, waits. A device that is removed ends the wait for a
//! create; what comes after that is told that nobody waits. A client that cancels its create, or ends, has the minidriver's
//! cancel routine called, if there is one; the wait ends when the minidriver ends the create.

use ks_abi::{STATUS_PENDING, STATUS_UNSUCCESSFUL};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{
    AlreadyCancelled, Aspect, CancelCell, CancelTarget, Event, EventKind, FileObject, Refusal, Services, Signal,
};

/// What a callback that pends returns in the place of its answer.
fn pending() -> Refusal {
    Refusal::new(STATUS_PENDING, Aspect::Driver, "the minidriver answers later")
}

/// What is waited for.
struct Awaited<T> {
    state: Mutex<State<T>>,
    done: Event,
    /// What the minidriver does when the client cancels. A leaf.
    on_cancel: Mutex<Option<OnCancel>>,
    /// Of the create; `None` for a close, which nobody cancels.
    cancel: Option<Arc<CancelCell>>,
}

type OnCancel = Box<dyn FnOnce() + Send>;

enum State<T> {
    Open,
    Answered(T),
    /// Nobody waits for it any more.
    Over,
}

impl<T> Awaited<T> {
    fn new(services: &Services, cancel: Option<Arc<CancelCell>>) -> Arc<Awaited<T>> {
        let done = services.event(EventKind::Notification, Signal::Clear);
        Arc::new(Awaited { state: Mutex::new(State::Open), done, on_cancel: Mutex::new(None), cancel })
    }

    /// The first answer counts. Gives it back where nobody waits.
    fn answer(&self, answer: T) -> Result<(), T> {
        let mut state = self.state.lock();
        match &*state {
            State::Open => *state = State::Answered(answer),
            _ => return Err(answer),
        }
        drop(state);
        if let Some(cancel) = &self.cancel {
            cancel.disarm();
        }
        // It may own the device, whose end it would be to drop it under the lock.
        let unused = self.on_cancel.lock().take();
        drop(unused);
        self.done.set();
        Ok(())
    }

    fn wait(&self) -> Option<T> {
        let _ = self.done.wait();
        match std::mem::replace(&mut *self.state.lock(), State::Over) {
            State::Answered(answer) => Some(answer),
            // Virtual time alone, where nothing can happen any more.
            _ => None,
        }
    }
}

impl<T: Send> CancelTarget for Awaited<T> {
    fn cancel(&self, _: u64) {
        let routine = self.on_cancel.lock().take();
        if let Some(routine) = routine {
            routine();
        }
    }
}

/// The answer to a create, worked out by who waited for it: the instance, or why there is none.
pub type CreateEnding<I> = Box<dyn FnOnce() -> Result<Arc<I>, Refusal> + Send>;

/// What is left of a close, done by who waited for it.
type CloseEnding = Box<dyn FnOnce() + Send>;

/// The creates and closes of one object that are marked pending; empty for most.
pub(crate) struct Pended<I: ?Sized + 'static> {
    create: Mutex<Option<Arc<Awaited<CreateEnding<I>>>>>,
    close: Mutex<Option<Arc<Awaited<CloseEnding>>>>,
}

impl<I: ?Sized + 'static> Default for Pended<I> {
    fn default() -> Pended<I> {
        Pended { create: Mutex::new(None), close: Mutex::new(None) }
    }
}

/// A create that was marked and returned STATUS_PENDING.
pub(crate) struct AwaitedCreate<I: ?Sized + 'static>(Arc<Awaited<CreateEnding<I>>>);

impl<I: ?Sized + 'static> AwaitedCreate<I> {
    /// Waits for the minidriver, or for the end of the device, with no mutex held. What is given back is to be called with
    /// those of the callback.
    pub(crate) fn wait(&self) -> CreateEnding<I> {
        let over = || Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "the minidriver never ended the create");
        self.0.wait().unwrap_or_else(|| Box::new(move || Err(over())))
    }
}

impl<I: ?Sized + 'static> Pended<I> {
    /// The create is over: what comes of it now is not kept.
    pub(crate) fn forget_create(&self) {
        let awaited = self.create.lock().take();
        drop(awaited);
    }

    /// Where the object is made already, nobody waits.
    pub(crate) fn mark_create(
        &self,
        services: &Services,
        file: Option<Arc<FileObject>>,
        is_being_made: bool,
    ) -> (PendedCreate<I>, Refusal) {
        let awaited = Awaited::new(services, file.map(|file| file.create_cancel().clone()));
        if is_being_made {
            *self.create.lock() = Some(awaited.clone());
        } else {
            *awaited.state.lock() = State::Over;
        }
        (PendedCreate(awaited), pending())
    }

    pub(crate) fn mark_close(&self, services: &Services) -> PendedClose {
        let awaited = Awaited::new(services, None);
        *self.close.lock() = Some(awaited.clone());
        PendedClose(awaited)
    }

    /// The create, if the callback that has returned has marked it.
    pub(crate) fn create(&self) -> Option<AwaitedCreate<I>> {
        self.create.lock().clone().map(AwaitedCreate)
    }

    /// Nobody waits for the create any more.
    pub(crate) fn end_create(&self, why: &Refusal) {
        let awaited = self.create.lock().clone();
        if let Some(awaited) = awaited {
            let why = why.clone();
            drop(awaited.answer(Box::new(move || Err(why))));
        }
    }

    /// Waits for the close, if the callback that has returned has marked it, with no mutex held. What is given back is to be
    /// called with those of the callback.
    pub(crate) fn wait_for_close(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let awaited = self.close.lock().take();
        awaited.and_then(|awaited| awaited.wait())
    }
}

/// A create that its minidriver has marked pending and ends later, on any thread; see
/// [`Filter::pend_create`](crate::Filter::pend_create) and [`Pin::pend_create`](crate::Pin::pend_create).
///
/// Dropped without an answer, the create fails with STATUS_UNSUCCESSFUL.
#[doc(alias = "KsCompletePendingRequest")]
#[must_use = "a create that is dropped fails"]
pub struct PendedCreate<I: ?Sized + 'static>(Arc<Awaited<CreateEnding<I>>>);

impl<I: ?Sized + Send + Sync + 'static> PendedCreate<I> {
    /// Ends the create: the object is there, or is refused. False when nobody waits for it any more, because the device was
    /// removed; the instance is dropped then.
    pub fn complete(self, answer: Result<Arc<I>, Refusal>) -> bool {
        self.complete_with(Box::new(move || answer)).is_ok()
    }
}

impl<I: ?Sized + 'static> PendedCreate<I> {
    /// Has `routine` called when the client cancels the create, or ends: once, on the thread that cancels, with no mutex
    /// held. The minidriver ends the create then, with STATUS_CANCELLED or as it would have; a create without routine goes on
    /// as if nobody had cancelled. A minidriver that is just ending it on another thread has nothing left to end.
    ///
    /// An error: that has happened already, `routine` is not called, and the minidriver ends the create at once.
    #[doc(alias = "IoSetCancelRoutine")]
    pub fn when_cancelled(&self, routine: impl FnOnce() + Send + 'static) -> Result<(), AlreadyCancelled> {
        let Some(cancel) = &self.0.cancel else { return Ok(()) };
        *self.0.on_cancel.lock() = Some(Box::new(routine));
        let target: Weak<Awaited<CreateEnding<I>>> = Arc::downgrade(&self.0);
        let armed = cancel.arm(target, 0);
        // It may have ended meanwhile, and have seen no routine.
        if armed.is_err() || !matches!(*self.0.state.lock(), State::Open) {
            let unused = self.0.on_cancel.lock().take();
            drop(unused);
        }
        armed
    }

    /// Has the client cancelled the create?
    #[doc(alias = "Cancel")]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled())
    }

    /// As [`PendedCreate::complete`], at any level: the answer is worked out by the thread that waits, at passive level and
    /// with the mutexes of the callback. It is given back when nobody waits.
    pub fn complete_with(self, answer: CreateEnding<I>) -> Result<(), CreateEnding<I>> {
        self.0.answer(answer)
    }
}

impl<I: ?Sized + 'static> Drop for PendedCreate<I> {
    fn drop(&mut self) {
        let why = || Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "the minidriver has dropped the create");
        // An answer that came before stays.
        drop(self.0.answer(Box::new(move || Err(why()))));
    }
}

/// A close that its minidriver has marked pending; it ends when this is dropped, on any thread.
#[doc(alias = "KsCompletePendingRequest")]
#[must_use = "the close ends when this is dropped"]
pub struct PendedClose(Arc<Awaited<CloseEnding>>);

impl PendedClose {
    /// Ends the close.
    pub fn complete(self) {}

    /// Ends the close, at any level: the thread that waits does the rest, at passive level and with the mutexes of the
    /// callback.
    pub fn complete_with(self, rest: impl FnOnce() + Send + 'static) {
        drop(self.0.answer(Box::new(rest)));
    }
}

impl Drop for PendedClose {
    fn drop(&mut self) {
        drop(self.0.answer(Box::new(|| {})));
    }
}
