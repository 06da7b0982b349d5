//! Models of a pin's queue, run by a checker that decides every interleaving: arrival, processing, cancel, flush, close
//! and disconnection meet over the shipping code, from the client's request down.
//!
//! `cargo xtask models` builds them with `--cfg shuttle` and runs them, then again with each of `breakages/` applied,
//! and requires those runs to fail.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a failed expectation of a model is a failed model")]

#[path = "models/attacks.rs"]
mod attacks;
#[path = "models/following.rs"]
mod following;
#[path = "models/pipes.rs"]
mod pipes;
#[path = "models/power.rs"]
mod power;
#[path = "models/removal.rs"]
mod removal;

use ks_abi::{
    IoControlCode, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_TYPE_VIDEO,
    KSNAME_Pin, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KsDataFormat, KsIdentifier,
    KsPinConnect, KsPinDataFlow, KsPriority, KsProperty, KsReset, KsState, KsStreamHeader, KsTime, NtStatus, Ptr64,
    STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Mutex, thread};
use ks_io::{
    AccessMask, Handle, IoManager, Refusal, Request, RequestorMode, Services, Session, Transport, dropped_irps,
};
use ks_mem::Frame;
use ks_stream::{
    CloneId, ClonePointer, DataFormat, DescribeFilter, Device, DeviceDispatch, Filter, FilterDescriptor,
    FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor, PinInstance, PointerId,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use zerocopy::IntoBytes;

/// Executions of each model under each scheduler.
const EXECUTIONS: usize = 5_000;
/// Preemptions that the second scheduler spends where they hurt.
const DEPTH: usize = 3;
/// Frames of a circuit.
const FRAMES: usize = 2;
const FRAME_BYTES: u32 = 64;

fn check(model: impl Fn() + Send + Sync + Clone + 'static) {
    check_times(EXECUTIONS, model);
}

/// As [`check`], so many times; `KS_MODEL_TIMES` in the environment multiplies them, for a night's run.
fn check_times(times: usize, model: impl Fn() + Send + Sync + Clone + 'static) {
    let more = std::env::var("KS_MODEL_TIMES").ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
    run(RandomScheduler::new_from_seed(0x6b73, times * more), model.clone());
    run(PctScheduler::new_from_seed(0x6b73, DEPTH, times * more), model);
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    shuttle::Runner::new(scheduler, config).run(model);
}

type Process = dyn Fn(&Driver, &Arc<Pin>) -> NtStatus + Send + Sync;

/// A driver whose process callback the model writes.
struct Driver {
    process: Box<Process>,
    /// Frames that it let go.
    done: AtomicUsize,
    clones: Mutex<Vec<ClonePointer>>,
    cancelled: Mutex<Vec<CloneId>>,
    pins: Mutex<Vec<Arc<Pin>>>,
    /// Pins that were closed.
    closed: AtomicUsize,
    /// Lets a clone go whose request was cancelled, as drivers do.
    lets_go: AtomicBool,
    /// Words of the timeouts that it was told of.
    timed_out: Mutex<Vec<u64>>,
}

impl Driver {
    fn new(process: impl Fn(&Driver, &Arc<Pin>) -> NtStatus + Send + Sync + 'static) -> Arc<Driver> {
        Arc::new(Driver {
            process: Box::new(process),
            done: AtomicUsize::new(0),
            clones: Mutex::default(),
            cancelled: Mutex::default(),
            pins: Mutex::default(),
            closed: AtomicUsize::new(0),
            lets_go: AtomicBool::new(false),
            timed_out: Mutex::default(),
        })
    }
}

/// Lets every frame go that is there.
fn take_all(driver: &Driver, pin: &Arc<Pin>) -> NtStatus {
    let mut edge = pin.leading_edge();
    while let Some(frame) = edge {
        frame.set_data_used(FRAME_BYTES);
        driver.done.fetch_add(1, Ordering::Relaxed);
        edge = frame.advance();
    }
    STATUS_PENDING
}

/// Lets no frame go.
fn take_none(_: &Driver, _: &Arc<Pin>) -> NtStatus {
    STATUS_PENDING
}

struct Part(Arc<Driver>);

impl FilterDispatch for Part {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Part(self.0.clone())))
    }
}

impl FilterInstance for Part {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        self.0.pins.lock().push(pin.clone());
        Ok(Arc::new(Part(self.0.clone())))
    }
}

impl PinInstance for Part {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        (self.0.process)(&self.0, pin)
    }
    fn framing(&self, _: &Pin) -> Option<Framing> {
        Some(Framing { frames: FRAMES as u32, frame_bytes: FRAME_BYTES, alignment: 64 })
    }
    fn clone_cancelled(&self, _: &Pin, clone: CloneId) {
        self.0.cancelled.lock().push(clone);
        if self.0.lets_go.load(Ordering::Relaxed) {
            let gone: Vec<_> = self.0.clones.lock().extract_if(.., |kept| kept.id() == clone).collect();
            assert_eq!(gone.len(), 1, "the driver is told of a clone that it has");
        }
    }
    /// It looks at the frame once more, if it may, and lets the clone go.
    fn pointer_timed_out(&self, _: &Arc<Pin>, pointer: PointerId, context: u64) {
        self.0.timed_out.lock().push(context);
        if !self.0.lets_go.load(Ordering::Relaxed) {
            return;
        }
        let PointerId::Clone(clone) = pointer else { return };
        let gone: Vec<_> = self.0.clones.lock().extract_if(.., |kept| kept.id() == clone).collect();
        assert_eq!(gone.len(), 1, "the driver is told of a clone that it has");
        for mut clone in gone {
            let _ = clone.lock();
            clone.unlock();
        }
    }
    fn close(&self, _: &Pin) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

fn video() -> DataFormat {
    let head = KsDataFormat {
        sample_size: FRAME_BYTES,
        ..KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SPECIFIER_NONE, 0)
    };
    DataFormat::new(head, &[])
}

/// Makes the client of an engine.
type Client = fn(&Arc<IoManager>) -> Arc<Session>;

/// An engine with filters, each on a device of its own, and a client.
struct World {
    session: Arc<Session>,
    devices: Vec<Arc<Device>>,
    drivers: Vec<Arc<Driver>>,
    dropped_before: u64,
}

impl World {
    /// With a client whose circuits only workers move, as one of another process.
    fn new(filters: Vec<(KsPinDataFlow, Arc<Driver>)>) -> Arc<World> {
        World::of(|io| io.session_as(RequestorMode::User), filters)
    }

    fn of(client: Client, filters: Vec<(KsPinDataFlow, Arc<Driver>)>) -> Arc<World> {
        World::driven(client, filters, None)
    }

    /// With who is told of the life of the devices.
    fn driven(
        client: Client,
        filters: Vec<(KsPinDataFlow, Arc<Driver>)>,
        told: Option<Arc<dyn DeviceDispatch>>,
    ) -> Arc<World> {
        let dropped_before = dropped_irps();
        let io = IoManager::new(Services::real());
        let mut world = World { session: client(&io), devices: Vec::new(), drivers: Vec::new(), dropped_before };
        for (index, (flow, driver)) in filters.into_iter().enumerate() {
            let name = ["first", "second"][index];
            let pins = vec![PinDescriptor::new(flow, vec![video()])];
            let part = Arc::new(Part(driver.clone()));
            let descriptor = FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, part);
            let factories: Vec<Arc<dyn DescribeFilter>> = vec![Arc::new(descriptor)];
            world.devices.push(match &told {
                Some(told) => {
                    let device = Device::add_driven(&io, name, told.clone(), factories).unwrap();
                    device.start_device().unwrap();
                    device
                }
                None => Device::start(&io, name, factories).unwrap(),
            });
            world.drivers.push(driver);
        }
        Arc::new(world)
    }

    /// An engine whose one filter is a source that the client reads from.
    fn reader(process: impl Fn(&Driver, &Arc<Pin>) -> NtStatus + Send + Sync + 'static) -> (Arc<World>, Handle) {
        World::new(vec![(KsPinDataFlow::OUT, Driver::new(process))]).read_first()
    }

    /// As [`World::reader`], with who is told of the device's life.
    fn reader_of(
        process: impl Fn(&Driver, &Arc<Pin>) -> NtStatus + Send + Sync + 'static,
        told: Arc<dyn DeviceDispatch>,
    ) -> (Arc<World>, Handle) {
        let filters = vec![(KsPinDataFlow::OUT, Driver::new(process))];
        World::driven(|io| io.session_as(RequestorMode::User), filters, Some(told)).read_first()
    }

    fn read_first(self: Arc<World>) -> (Arc<World>, Handle) {
        let filter = self.open("first");
        let pin = self.create(filter, 0);
        (self, pin)
    }

    fn open(&self, name: &str) -> Handle {
        let known = self.session.interfaces(None).into_iter().find(|known| known.reference == name).unwrap();
        self.session.open(&known.symbolic_link, AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE)).unwrap()
    }

    fn create(&self, filter: Handle, to: u64) -> Handle {
        let head = KsPinConnect {
            interface: KsIdentifier::STANDARD_STREAMING,
            medium: KsIdentifier::STANDARD_DEVIO,
            pin_to_handle: to,
            priority: KsPriority::NORMAL,
            ..Default::default()
        };
        let parameters = [head.as_bytes(), video().bytes()].concat();
        let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
        self.session.create(filter, &KSNAME_Pin.to_string(), &parameters, access).unwrap()
    }

    fn set_state(&self, pin: Handle, state: KsState) -> NtStatus {
        let request = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
        let code = IoControlCode::KS_PROPERTY;
        self.session.device_io_control(pin, code, request.as_bytes(), &mut state.0.to_le_bytes()).status
    }

    fn bring(&self, pin: Handle, state: KsState) {
        assert_eq!(self.set_state(pin, state), STATUS_SUCCESS);
    }

    fn reset(&self, pin: Handle, reset: KsReset) {
        let _ = self.session.device_io_control(pin, IoControlCode::KS_RESET_STATE, &reset.0.to_le_bytes(), &mut []);
    }

    /// A read of so many frames.
    fn read(&self, pin: Handle, frames: usize) -> Read {
        let buffers: Vec<Frame> = (0..frames).map(|_| self.session.allocate(64, 64).unwrap()).collect();
        let header = |buffer: &Frame| KsStreamHeader {
            size: size_of::<KsStreamHeader>() as u32,
            presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
            frame_extent: FRAME_BYTES,
            data: Ptr64(buffer.address()),
            ..Default::default()
        };
        let headers: Vec<u8> = buffers.iter().flat_map(|buffer| header(buffer).as_bytes().to_vec()).collect();
        let request = self.session.submit(pin, IoControlCode::KS_READ_STREAM, &[], headers);
        Read { request, _buffers: buffers }
    }

    fn pin(&self, driver: usize) -> Arc<Pin> {
        self.drivers[driver].pins.lock().last().unwrap().clone()
    }

    /// Everything is closed, and nothing is left.
    fn end(self: Arc<World>) {
        let World { session, devices, drivers, dropped_before } = Arc::into_inner(self).unwrap();
        let pins: Vec<_> = drivers.iter().flat_map(|driver| std::mem::take(&mut *driver.pins.lock())).collect();
        drop(session);
        for pin in &pins {
            assert_eq!((pin.queued_requests(), pin.clone_count()), (0, 0), "{}", pin.describe());
        }
        drop(pins);
        for device in devices {
            // A worker may be on its way out of a pin.
            until(|| device.open_filters() == 0);
            device.surprise_remove();
        }
        assert_eq!(dropped_irps(), dropped_before);
    }
}

/// A running read and the memory that it fills.
struct Read {
    request: Request,
    _buffers: Vec<Frame>,
}

impl Read {
    fn cancel(&self) {
        self.request.cancel();
    }

    fn status(self) -> NtStatus {
        self.request.wait().outcome.status
    }
}

/// Lets the other threads run until it holds; the checker ends a model that goes on for ever.
fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::yield_now();
    }
}

fn all(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Runs on another thread, in the world.
fn beside(world: &Arc<World>, act: impl FnOnce(&Arc<World>) + Send + 'static) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || act(&world))
}

#[test]
fn no_arrival_is_missed_by_a_callback_that_is_about_to_return() {
    check(|| {
        let (world, pin) = World::reader(take_all);
        world.bring(pin, KsState::RUN);
        let clients =
            (0..2).map(|_| beside(&world, move |world| assert_eq!(world.read(pin, 1).status(), STATUS_SUCCESS)));
        all(clients.collect());
        assert_eq!(world.drivers[0].done.load(Ordering::Relaxed), 2);
        world.end();
    });
}

#[test]
fn a_cancel_ends_its_own_request_and_no_other() {
    check(|| {
        let (world, pin) = World::reader(take_all);
        world.bring(pin, KsState::ACQUIRE);
        let first = Arc::new(world.read(pin, 2));
        let cancelled = first.clone();
        let starts = beside(&world, move |world| {
            // The second request may take the place of the first in the queue.
            world.bring(pin, KsState::RUN);
            assert_eq!(world.read(pin, 1).status(), STATUS_SUCCESS);
        });
        let cancels = beside(&world, move |_| cancelled.cancel());
        all(vec![starts, cancels]);
        let status = Arc::into_inner(first).unwrap().status();
        assert!([STATUS_SUCCESS, STATUS_CANCELLED].contains(&status));
        world.end();
    });
}

#[test]
fn a_cancelled_request_ends_when_its_last_locked_clone_has_gone() {
    check(|| {
        let (world, pin) = World::reader(|driver, pin| {
            let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
            driver.clones.lock().extend(frame.clone_pointer());
            frame.eject();
            STATUS_SUCCESS
        });
        world.bring(pin, KsState::RUN);
        let read = Arc::new(world.read(pin, 1));
        let cancelled = read.clone();
        let cancels = beside(&world, move |_| cancelled.cancel());
        let (watched, driver) = (read.clone(), world.drivers[0].clone());
        let uses = beside(&world, move |_| {
            let Some(mut clone) = driver.clones.lock().pop() else { return };
            // Locked, unlocked and locked again, while the cancel comes when it likes.
            for _ in 0..2 {
                if clone.lock().is_some() {
                    assert!(!watched.request.is_done(), "the client has its memory back while the driver has it");
                }
                clone.unlock();
            }
        });
        all(vec![cancels, uses]);
        drop(std::mem::take(&mut *world.drivers[0].clones.lock()));
        let status = Arc::into_inner(read).unwrap().status();
        assert!([STATUS_SUCCESS, STATUS_CANCELLED].contains(&status));
        world.end();
    });
}

#[test]
fn every_read_ends_whatever_flushes_closes_or_removes_its_pin() {
    check(|| {
        let (world, pin) = World::reader(take_none);
        world.bring(pin, KsState::ACQUIRE);
        let reads = beside(&world, move |world| {
            // Nobody fills these: what ends them is the end of the pin.
            for _ in 0..2 {
                assert!(world.read(pin, 1).status().is_error());
            }
        });
        let states = beside(&world, move |world| {
            let _ = world.set_state(pin, KsState::STOP);
            let _ = world.set_state(pin, KsState::PAUSE);
        });
        let flushes = beside(&world, move |world| {
            world.reset(pin, KsReset::BEGIN);
            world.reset(pin, KsReset::END);
        });
        world.devices[0].surprise_remove();
        all(vec![reads, states, flushes]);
        world.end();
    });
}

#[test]
fn a_pin_that_is_gone_takes_no_read_even_if_a_reset_ends() {
    check(|| {
        let (world, pin) = World::reader(take_none);
        world.bring(pin, KsState::ACQUIRE);
        world.reset(pin, KsReset::BEGIN);
        let ends = beside(&world, move |world| world.reset(pin, KsReset::END));
        let reads = beside(&world, move |world| assert!(world.read(pin, 1).status().is_error()));
        world.devices[0].surprise_remove();
        all(vec![ends, reads]);
        world.end();
    });
}

#[test]
fn a_cancel_that_meets_the_arrival_ends_the_request() {
    check(|| {
        let (world, pin) = World::reader(take_none);
        world.bring(pin, KsState::ACQUIRE);
        let ended = Arc::new(AtomicUsize::new(0));
        let done = ended.clone();
        let reads = beside(&world, move |world| {
            assert_eq!(world.read(pin, 1).status(), STATUS_CANCELLED);
            done.store(1, Ordering::Relaxed);
        });
        until(|| {
            let _ = world.session.cancel_all(pin);
            ended.load(Ordering::Relaxed) == 1
        });
        all(vec![reads]);
        world.end();
    });
}

/// Source and sink, connected, with the handles of both pins.
fn circuit(sink: impl Fn(&Driver, &Arc<Pin>) -> NtStatus + Send + Sync + 'static) -> (Arc<World>, Handle, Handle) {
    circuit_of(|io| io.session_as(RequestorMode::User), sink)
}

fn circuit_of(
    client: Client,
    sink: impl Fn(&Driver, &Arc<Pin>) -> NtStatus + Send + Sync + 'static,
) -> (Arc<World>, Handle, Handle) {
    let source = Driver::new(|driver, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            if driver.done.load(Ordering::Relaxed) >= 2 * FRAMES {
                return STATUS_PENDING;
            }
            frame.set_data_used(FRAME_BYTES);
            driver.done.fetch_add(1, Ordering::Relaxed);
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let world = World::of(client, vec![(KsPinDataFlow::OUT, source), (KsPinDataFlow::IN, Driver::new(sink))]);
    let (from, to) = (world.open("first"), world.open("second"));
    let to = world.create(to, 0);
    let from = world.create(from, to.0);
    (world, from, to)
}

/// Every frame of the circuit comes back to its head, which keeps them.
fn wait_for_all_frames(world: &World) {
    until(|| world.pin(0).queued_requests() == FRAMES);
}

#[test]
fn a_circuit_keeps_its_frames_through_a_reset() {
    check(|| {
        let (world, source, sink) = circuit(take_all);
        world.bring(sink, KsState::RUN);
        world.bring(source, KsState::RUN);
        let resets = beside(&world, move |world| {
            world.reset(sink, KsReset::BEGIN);
            world.reset(sink, KsReset::END);
        });
        all(vec![resets]);
        wait_for_all_frames(&world);
        world.end();
    });
}

#[test]
fn a_circuit_lets_go_of_everything_when_an_end_is_stopped_or_closed() {
    check(|| {
        let (world, source, sink) = circuit(take_all);
        world.bring(sink, KsState::RUN);
        world.bring(source, KsState::RUN);
        let stops = beside(&world, move |world| {
            let _ = world.set_state(source, KsState::STOP);
        });
        let closes = beside(&world, move |world| assert_eq!(world.session.close(sink).status, STATUS_SUCCESS));
        all(vec![stops, closes]);
        world.end();
    });
}

#[test]
fn a_first_turn_keeps_its_frames_while_others_reset_and_stop_the_sink() {
    check(|| {
        let (world, source, sink) = circuit_of(IoManager::session, take_all);
        world.bring(sink, KsState::RUN);
        // The client that sets this state moves the frames itself.
        let starts = beside(&world, move |world| world.bring(source, KsState::RUN));
        let resets = beside(&world, move |world| {
            world.reset(sink, KsReset::BEGIN);
            world.reset(sink, KsReset::END);
        });
        let stops = beside(&world, move |world| {
            world.bring(sink, KsState::PAUSE);
            world.bring(sink, KsState::RUN);
        });
        all(vec![starts, resets, stops]);
        wait_for_all_frames(&world);
        world.end();
    });
}
