//! Deferral without a thread hop: deliveries that a thread made inside the engine wait on that thread's own list.
//!
//! A delivery is a client's notification, the next hop of a frame, or the close of an object whose last reference went
//! away. Made while the thread is inside the engine, it runs when the outermost engine call unwinds, with no lock held,
//! and also before the thread waits. Made outside, it runs at once.
//!
//! A thread may wait, or leave the engine, with a ranked mutex held: a driver's callback has one, and a driver takes one
//! by itself. A close takes the mutexes of its object and of its parents, so it stays on the list until the thread has
//! released its last one, wherever that is. Work goes to a worker.

use crate::dispatch::Dispatch;
use crate::file_object::FileObject;
use crate::irp::Body;
use crate::level::Level;
use crate::lock::holds_ranked_mutex;
use crate::request::PendingRequest;
use crate::scheduler::Core;
use crate::sync::{Arc, Mutex, thread_local};
use crate::work::{Work, WorkQueue};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

pub(crate) enum Delivery {
    Client(Arc<PendingRequest>, Box<Body>),
    Work(Arc<dyn Work>),
    Close { object: Arc<dyn Dispatch>, parent: Option<Arc<FileObject>> },
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// How many deliveries are on the list: most calls find none and look no further.
    static WAITING: Cell<usize> = const { Cell::new(0) };
    static LIST: RefCell<VecDeque<Delivery>> = const { RefCell::new(VecDeque::new()) };
    static BEFORE_WAIT: Cell<Option<Arc<dyn Work>>> = const { Cell::new(None) };
}

/// Marks that the thread is inside the engine; the outermost one drains the list when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Inside(());

/// Enters the engine on this thread.
#[inline]
pub fn enter() -> Inside {
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    Inside(())
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        // Deliveries made while draining join the list, because the depth is still 1.
        if DEPTH.with(Cell::get) == 1 {
            drain();
        }
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs `work` when the thread leaves the engine, or now if it is outside. Work that takes a ranked mutex looks at
/// [`holds_ranked_mutex`] first: the thread may leave the engine with one.
pub fn run_later(work: Arc<dyn Work>) {
    push(Delivery::Work(work));
}

pub(crate) fn push(delivery: Delivery) {
    let inside = DEPTH.try_with(Cell::get).unwrap_or(0) > 0;
    if inside || (delivery.is_close() && !may_close()) {
        LIST.with(|list| list.borrow_mut().push_back(delivery));
        WAITING.with(|waiting| waiting.set(waiting.get() + 1));
    } else {
        deliver(delivery, None);
    }
}

/// Runs what this thread has put off, inside of the delivery that calls this: what a caller sets up around it holds for
/// all of that and for what follows from it. Under the rules of a wait: with a ranked mutex held, closes stay.
pub fn deliver_now() {
    drain();
}

/// Empties the list; called before every wait of this thread that is outside of the services (a hosted driver's). With a
/// ranked mutex held, closes stay on the list.
pub fn drain_before_wait() {
    drain();
    run_before_wait();
}

/// As [`drain_before_wait`], for the waits and contended mutexes of the services: with a ranked mutex held, a worker can
/// be asked, so work goes there, because somebody may wait for it.
pub(crate) fn before_wait(core: &Arc<Core>) {
    if WAITING.with(Cell::get) > 0 {
        deliver_all(Some(core));
    }
    run_before_wait();
}

/// Has `work` run once, when this thread is about to wait: it may hand over to another thread what must not stand still
/// meanwhile. `None` takes it back.
pub fn set_before_wait(work: Option<Arc<dyn Work>>) {
    let _ = BEFORE_WAIT.try_with(|waiting| waiting.set(work));
}

fn run_before_wait() {
    if let Some(work) = BEFORE_WAIT.try_with(Cell::take).ok().flatten() {
        work.run();
    }
}

/// The thread has released its last ranked mutex: what had to wait for that runs now, if the thread is outside of the
/// engine, and otherwise when it leaves.
#[inline]
pub(crate) fn drain_after_release() {
    if WAITING.try_with(Cell::get).unwrap_or(0) > 0 && DEPTH.with(Cell::get) == 0 {
        drop(enter());
    }
}

/// What had to stay on the list of a thread that is outside of the engine, as work for another one.
pub(crate) fn take_rest() -> Option<Arc<dyn Work>> {
    if WAITING.try_with(Cell::get).unwrap_or(0) == 0 || DEPTH.with(Cell::get) > 0 {
        return None;
    }
    WAITING.with(|waiting| waiting.set(0));
    Some(Arc::new(Rest(Mutex::new(LIST.with(RefCell::take)))))
}

/// Deliveries that change the thread.
struct Rest(Mutex<VecDeque<Delivery>>);

impl Work for Rest {
    fn run(self: Arc<Self>) {
        let _inside = enter();
        let rest = std::mem::take(&mut *self.0.lock());
        rest.into_iter().for_each(push);
    }
}

#[inline]
fn drain() {
    if WAITING.with(Cell::get) > 0 {
        deliver_all(None);
    }
}

#[inline(never)]
fn deliver_all(core: Option<&Arc<Core>>) {
    while let Some(delivery) = LIST.with(|list| take_next(&mut list.borrow_mut())) {
        WAITING.with(|waiting| waiting.set(waiting.get() - 1));
        deliver(delivery, core);
    }
}

/// The next delivery that may run now. Looked for anew each time: a delivery may take or release mutexes and add others.
fn take_next(list: &mut VecDeque<Delivery>) -> Option<Delivery> {
    if may_close() {
        return list.pop_front();
    }
    let next = list.iter().position(|delivery| !delivery.is_close())?;
    list.remove(next)
}

/// Whether the thread could take any ranked mutex.
fn may_close() -> bool {
    !holds_ranked_mutex() && Level::current() <= Level::Apc
}

impl Delivery {
    fn is_close(&self) -> bool {
        matches!(self, Delivery::Close { .. })
    }
}

fn deliver(delivery: Delivery, core: Option<&Arc<Core>>) {
    match (delivery, core) {
        (Delivery::Client(pending, body), _) => pending.finish(body),
        (Delivery::Work(work), Some(core)) if holds_ranked_mutex() => core.queue_work(WorkQueue::Delayed, work),
        (Delivery::Work(work), _) => work.run(),
        (Delivery::Close { object, parent }, _) => {
            object.close();
            // The parent may be closed only after its child: drop it now, not before.
            drop(parent);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::access::AccessMask;
    use crate::origin::Origin;
    use crate::{Dispatched, Dpc, Irp, LockRank, RankedMutex, Services};
    use ks_abi::STATUS_SUCCESS;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// An object whose close takes a mutex, as that of a pin takes its filter's control mutex.
    struct Closing {
        control: Arc<RankedMutex>,
        closed: AtomicUsize,
    }

    impl Dispatch for Closing {
        fn device_io_control(&self, irp: Irp) -> Dispatched {
            irp.done(STATUS_SUCCESS)
        }

        fn close(&self) {
            let _control = self.control.hold();
            self.closed.fetch_add(1, Ordering::Relaxed);
        }

        fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
            self
        }
    }

    struct Note(AtomicUsize);

    impl Work for Note {
        fn run(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Stage {
        services: Services,
        control: Arc<RankedMutex>,
        object: Arc<Closing>,
        file: Option<Arc<FileObject>>,
    }

    fn stage() -> Stage {
        let services = Services::virtual_time(1);
        let control = Arc::new(services.mutex(LockRank::FilterControl, "filter control"));
        let object = Arc::new(Closing { control: control.clone(), closed: AtomicUsize::new(0) });
        let file = Arc::new(FileObject::new(None, Origin::class_driver(), Default::default()));
        file.attach(object.clone(), AccessMask::NONE);
        Stage { services, control, object, file: Some(file) }
    }

    impl Stage {
        fn closed(&self) -> usize {
            self.object.closed.load(Ordering::Relaxed)
        }

        /// Waits until nobody has anything to do.
        fn wait(&self) {
            let _ = self.services.delay_until(self.services.now() + crate::Ticks::MILLISECOND);
        }
    }

    #[test]
    fn a_close_waits_until_the_thread_has_no_ranked_mutex() {
        let mut stage = stage();
        let file = stage.file.take();
        let note = Arc::new(Note(AtomicUsize::new(0)));
        {
            let _inside = enter();
            let control = stage.control.hold();
            drop(file);
            run_later(note.clone());
            stage.wait();
            assert_eq!(note.0.load(Ordering::Relaxed), 1, "work goes to a worker before the wait");
            assert_eq!(stage.closed(), 0, "the close would take the mutex that the thread holds");
            drop(control);
            assert_eq!(stage.closed(), 0, "the thread is still inside");
            stage.wait();
            assert_eq!(stage.closed(), 1, "a wait without a mutex runs it");
        }
        assert_eq!(stage.closed(), 1);
    }

    #[test]
    fn a_close_made_outside_of_the_engine_runs_when_the_mutex_is_released() {
        let Stage { control, object, file, .. } = stage();
        let held = control.hold();
        drop(file);
        drop(enter());
        assert_eq!(object.closed.load(Ordering::Relaxed), 0);
        drop(held);
        assert_eq!(object.closed.load(Ordering::Relaxed), 1);
        assert_eq!(WAITING.with(Cell::get), 0);
    }

    struct LetGo(Mutex<Option<Arc<FileObject>>>);

    impl Dpc for LetGo {
        fn expired(self: Arc<Self>, _now: crate::Time) {
            drop(self.0.lock().take());
        }
    }

    #[test]
    fn a_reference_that_goes_in_a_dpc_closes_its_object_on_a_worker() {
        let Stage { services, object, file, .. } = stage();
        let timer = services.timer(Arc::new(LetGo(Mutex::new(file))));
        timer.set(services.now(), None);
        let _ = services.delay_until(services.now() + crate::Ticks::MILLISECOND);
        assert_eq!(object.closed.load(Ordering::Relaxed), 1);
        assert_eq!(services.work_panics(), 0, "a close at DISPATCH level would have been reported");
    }
}
