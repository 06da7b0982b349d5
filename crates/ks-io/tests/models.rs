//! Models of the request path, run by a checker that decides every interleaving: cancel, complete, close and surprise
//! removal meet over the shipping code.
//!
//! `cargo xtask models` builds them with `--cfg shuttle` and runs them, then again with each of `breakages/` applied,
//! and requires those runs to fail.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a failed expectation of a model is a failed model")]

use std::any::Any;
use std::sync::atomic::AtomicUsize;

use ks_abi::{
    Guid, IoControlCode, NtStatus, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_FILE_CLOSED, STATUS_INVALID_HANDLE,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};
use ks_io::sync::atomic::{AtomicBool, Ordering};
use ks_io::sync::{Arc, Mutex, thread};
use ks_io::{
    AccessMask, CancelSafeQueue, CompletedRequest, CompletionRoutine, CreateRequest, Created, DeviceObject, Dispatch,
    Dispatched, Event, EventKind, Handle, InterfaceRecord, IoManager, Irp, LockRank, Origin, Refusal, Reply, Request,
    RequestParts, Services, Session, Signal, Transport, WaitOutcome, Work, WorkQueue, dropped_irps,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

/// Executions of each model under each scheduler.
const EXECUTIONS: usize = 20_000;
/// Preemptions that the second scheduler spends where they hurt.
const DEPTH: usize = 3;

fn check(model: impl Fn() + Send + Sync + Clone + 'static) {
    run(RandomScheduler::new_from_seed(0x6b73, EXECUTIONS), model.clone());
    run(PctScheduler::new_from_seed(0x6b73, DEPTH, EXECUTIONS), model);
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    shuttle::Runner::new(scheduler, config).run(model);
}

/// A pin that keeps every request until somebody completes it: what an object of the class driver boils down to.
struct Pin {
    queue: Arc<CancelSafeQueue>,
    /// Set after each insertion.
    arrived: Event,
    cleaned_up: AtomicUsize,
    closed: AtomicUsize,
}

impl Dispatch for Pin {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        self.queue.insert(irp);
        self.arrived.set();
        Dispatched::Pending
    }

    fn cleanup(&self) {
        self.cleaned_up.fetch_add(1, Ordering::Relaxed);
        self.queue.close(STATUS_CANCELLED);
    }

    fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn as_any(self: std::sync::Arc<Self>) -> std::sync::Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The device of one pin.
struct Device {
    pin: Arc<Pin>,
}

impl DeviceObject for Device {
    fn name(&self) -> &str {
        "model"
    }

    fn create(&self, _request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        Ok(Created { object: self.pin.clone(), granted: AccessMask::NONE })
    }
}

/// One engine, its device, and a client with a handle to its pin.
struct World {
    io: Arc<IoManager>,
    device: Arc<dyn DeviceObject>,
    pin: Arc<Pin>,
    session: Arc<Session>,
    link: String,
    handle: Handle,
}

impl World {
    fn new() -> Arc<Self> {
        let io = IoManager::new(Services::real());
        let pin = Arc::new(Pin {
            queue: CancelSafeQueue::new(),
            arrived: io.services().event(EventKind::Synchronization, Signal::Clear),
            cleaned_up: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
        });
        let device: Arc<dyn DeviceObject> = Arc::new(Device { pin: pin.clone() });
        let record = InterfaceRecord {
            category: Guid::from_u128(1),
            reference: "pin".to_owned(),
            friendly_name: "pin".to_owned(),
            device: device.clone(),
        };
        assert!(io.register_interface(record));
        let link = io.interfaces(None)[0].symbolic_link.clone();
        let session = io.session();
        let handle = session.open(&link, AccessMask::NONE).unwrap();
        Arc::new(World { io, device, pin, session, link, handle })
    }

    /// An IRP on the pin that nobody sent yet, and what hears of its end.
    fn irp(&self) -> (Irp, Arc<Recorder>) {
        let recorder = Arc::new(Recorder(Mutex::new(Vec::new())));
        let file = self.session.file_object(self.handle).unwrap();
        let parts =
            RequestParts { code: CODE, input: &[], output: &[], output_bytes: 0, input_token: 0, output_token: 0 };
        let irp = Irp::device_control(&file, &Origin::class_driver(), parts, Reply::Routine(recorder.clone())).unwrap();
        (irp, recorder)
    }

    fn submit(&self) -> Request {
        self.session.submit(self.handle, CODE, &[], Vec::new())
    }

    /// The device is pulled out.
    fn remove(&self) {
        self.io.unregister_device(&self.device);
        self.pin.queue.close(STATUS_DEVICE_REMOVED);
    }
}

const CODE: IoControlCode = IoControlCode::KS_METHOD;

/// Counts the completions of one IRP.
struct Recorder(Mutex<Vec<NtStatus>>);

impl CompletionRoutine for Recorder {
    fn completed(self: Arc<Self>, request: CompletedRequest) {
        self.0.lock().push(request.status());
    }
}

impl Recorder {
    fn only(&self) -> NtStatus {
        let statuses = self.0.lock();
        assert_eq!(statuses.len(), 1, "one completion, not {statuses:?}");
        statuses[0]
    }
}

#[test]
fn a_cancel_that_meets_the_insertion_completes_the_request_once() {
    check(|| {
        let world = World::new();
        let (mut irp, recorder) = world.irp();
        let cancel = irp.cancel_cell();
        let canceller = thread::spawn(move || cancel.cancel());
        world.pin.queue.insert(irp);
        canceller.join().unwrap();
        assert_eq!(recorder.only(), STATUS_CANCELLED);
        assert!(world.pin.queue.is_empty());
    });
}

#[test]
fn a_cancel_takes_its_own_request_and_no_other() {
    check(|| {
        let world = World::new();
        let (first, first_recorder) = world.irp();
        let (mut second, second_recorder) = world.irp();
        let cancel = second.cancel_cell();
        world.pin.queue.insert(first);
        world.pin.queue.insert(second);
        let cancellers: Vec<_> = (0..2)
            .map(|_| {
                let cancel = cancel.clone();
                thread::spawn(move || cancel.cancel())
            })
            .collect();
        if let Some(irp) = world.pin.queue.remove() {
            drop(irp.complete(STATUS_SUCCESS));
        }
        cancellers.into_iter().for_each(|canceller| canceller.join().unwrap());
        assert_eq!(first_recorder.only(), STATUS_SUCCESS);
        assert_eq!(second_recorder.only(), STATUS_CANCELLED);
        assert!(world.pin.queue.is_empty());
    });
}

#[test]
fn a_request_is_cancelled_or_completed_and_never_both() {
    check(|| {
        let world = World::new();
        let (mut irp, recorder) = world.irp();
        let cancel = irp.cancel_cell();
        world.pin.queue.insert(irp);
        let canceller = thread::spawn(move || cancel.cancel());
        let completer = {
            let world = world.clone();
            thread::spawn(move || match world.pin.queue.remove() {
                Some(irp) => {
                    drop(irp.complete(STATUS_SUCCESS));
                    STATUS_SUCCESS
                }
                None => STATUS_CANCELLED,
            })
        };
        canceller.join().unwrap();
        let expected = completer.join().unwrap();
        assert_eq!(recorder.only(), expected);
        assert!(world.pin.queue.is_empty());
    });
}

#[test]
fn a_request_that_moves_on_is_cancelled_where_it_waits() {
    check(|| {
        let world = World::new();
        let (mut irp, recorder) = world.irp();
        let cancel = irp.cancel_cell();
        let next = CancelSafeQueue::new();
        world.pin.queue.insert(irp);
        let mover = {
            let (world, next) = (world.clone(), next.clone());
            thread::spawn(move || {
                if let Some(irp) = world.pin.queue.remove() {
                    next.insert(irp);
                }
            })
        };
        let canceller = thread::spawn(move || cancel.cancel());
        mover.join().unwrap();
        canceller.join().unwrap();
        assert_eq!(recorder.only(), STATUS_CANCELLED);
        assert!(world.pin.queue.is_empty() && next.is_empty());
    });
}

#[test]
fn no_request_is_accepted_once_the_device_is_removed() {
    check(|| {
        let world = World::new();
        let (irp, recorder) = world.irp();
        let remover = {
            let world = world.clone();
            thread::spawn(move || world.remove())
        };
        world.pin.queue.insert(irp);
        remover.join().unwrap();
        assert_eq!(recorder.only(), STATUS_DEVICE_REMOVED);
        let late = world.submit();
        assert!(late.is_done());
        assert_eq!(late.wait().outcome.status, STATUS_DEVICE_REMOVED);
        assert_eq!(world.session.open(&world.link, AccessMask::NONE).unwrap_err().status, STATUS_OBJECT_NAME_NOT_FOUND);
        assert!(world.pin.queue.is_empty());
    });
}

#[test]
fn a_handle_that_was_closed_is_invalid_for_a_thread_that_remembers_it() {
    check(|| {
        let world = World::new();
        let closed = Arc::new(AtomicBool::new(false));
        // As a connected pin does: the object outlives its handle.
        let peer = world.session.file_object(world.handle);
        let user = {
            let (world, closed) = (world.clone(), closed.clone());
            thread::spawn(move || {
                for _ in 0..3 {
                    let was_closed = closed.load(Ordering::Acquire);
                    let found = world.session.file_object(world.handle).is_some();
                    assert!(!(was_closed && found), "the handle names its object after it was closed");
                }
            })
        };
        assert_eq!(world.session.close(world.handle).status, STATUS_SUCCESS);
        closed.store(true, Ordering::Release);
        user.join().unwrap();
        assert_eq!(world.pin.closed.load(Ordering::Relaxed), 0);
        drop(peer);
        assert_eq!(world.pin.closed.load(Ordering::Relaxed), 1, "what a thread remembers keeps nothing open");
    });
}

#[test]
fn a_waiting_client_hears_of_every_completion() {
    check(|| {
        let world = World::new();
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || {
                    // The second request waits where the first one did.
                    let ask = || world.session.device_io_control(world.handle, CODE, &[], &mut []).status;
                    [ask(), ask()]
                })
            })
            .collect();
        let mut completed = 0;
        while completed < 4 {
            assert_eq!(world.pin.arrived.wait(), WaitOutcome::Signalled);
            while let Some(irp) = world.pin.queue.remove() {
                drop(irp.complete(STATUS_SUCCESS));
                completed += 1;
            }
        }
        for client in clients {
            assert_eq!(client.join().unwrap(), [STATUS_SUCCESS; 2]);
        }
    });
}

#[test]
fn cancel_complete_close_and_removal_leave_nothing_behind() {
    check(|| {
        let world = World::new();
        let client = {
            let world = world.clone();
            thread::spawn(move || {
                let (first, second) = (world.submit(), world.submit());
                first.cancel();
                [first.wait().outcome.status, second.wait().outcome.status]
            })
        };
        let completer = {
            let world = world.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(irp) = world.pin.queue.remove() {
                        drop(irp.complete(STATUS_SUCCESS));
                    }
                }
            })
        };
        let canceller = {
            let world = world.clone();
            thread::spawn(move || world.session.cancel_all(world.handle).status)
        };
        let closer = {
            let world = world.clone();
            thread::spawn(move || assert_eq!(world.session.close(world.handle).status, STATUS_SUCCESS))
        };
        world.remove();
        closer.join().unwrap();
        completer.join().unwrap();
        let asked = canceller.join().unwrap();
        assert!([STATUS_SUCCESS, STATUS_INVALID_HANDLE].contains(&asked), "{asked:?}");
        for status in client.join().unwrap() {
            // The handle may be closed before the submit finds it, while it goes, or after.
            let legal =
                [STATUS_SUCCESS, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_FILE_CLOSED, STATUS_INVALID_HANDLE];
            assert!(legal.contains(&status), "{status:?}");
        }
        assert!(world.pin.queue.is_empty());
        assert_eq!(world.session.open_handles(), 0);
        assert_eq!(world.pin.cleaned_up.load(Ordering::Relaxed), 1);
        assert_eq!(world.pin.closed.load(Ordering::Relaxed), 1, "closed when the last reference went");
        assert_eq!(dropped_irps(), 0);
    });
}

#[test]
fn a_synchronization_event_never_loses_a_signal() {
    check(|| {
        let services = Services::real();
        let event = services.event(EventKind::Synchronization, Signal::Clear);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let event = event.clone();
                thread::spawn(move || {
                    assert_eq!(event.wait(), WaitOutcome::Signalled);
                    event.set();
                })
            })
            .collect();
        event.set();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(event.is_set());
    });
}

#[test]
fn a_notification_event_lets_everybody_go() {
    check(|| {
        let services = Services::real();
        let event = services.event(EventKind::Notification, Signal::Clear);
        let written = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (event, written) = (event.clone(), written.clone());
                thread::spawn(move || {
                    assert_eq!(event.wait(), WaitOutcome::Signalled);
                    assert_eq!(written.load(Ordering::Relaxed), 1);
                })
            })
            .collect();
        written.store(1, Ordering::Relaxed);
        event.set();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_ranked_mutex_excludes_and_wakes_everybody() {
    check(|| {
        let mutex = Arc::new(Services::real().mutex(LockRank::Processing, "processing"));
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (mutex, inside) = (mutex.clone(), inside.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        let _held = mutex.hold();
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(mutex.try_acquire());
        mutex.release();
    });
}

struct Count(AtomicUsize);

impl Work for Count {
    fn run(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn queued_work_runs_before_the_services_end() {
    check(|| {
        let services = Services::real();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let other = {
            let (services, count) = (services.clone(), count.clone());
            thread::spawn(move || services.queue_work(WorkQueue::Delayed, count))
        };
        for _ in 0..2 {
            services.queue_work(WorkQueue::Delayed, count.clone());
        }
        other.join().unwrap();
        drop(services);
        assert_eq!(count.0.load(Ordering::Relaxed), 3);
    });
}
