//! Pins that are none of AVStream's: they get requests, and know nothing of the handshake.

use crate::rig::{BOTH_WAYS, DOWN, FRAMES, Requests, Rig, SEEDS, Setup, UP, bring, create, number, put};
use ks_abi::{
    Guid, IoControlCode, KSCATEGORY_RENDER, KSNAME_Pin, KsPinDataFlow, KsState, NtStatus, STATUS_DEVICE_NOT_READY,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_client::{Client, Filter};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{
    AccessMask, CancelSafeQueue, CreateRequest, Created, DeviceObject, Dispatch, Dispatched, InterfaceRecord, Irp,
    Refusal, Transport,
};
use std::any::Any;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use zerocopy::IntoBytes;

const CATEGORY: Guid = KSCATEGORY_RENDER;

/// A driver of the plainest kind: a device, whose file objects are filters, whose children are pins.
pub struct Plain {
    me: Weak<Plain>,
    /// Requests that wait for [`Plain::serve`].
    pub queue: Arc<CancelSafeQueue>,
    /// What it answers in the dispatch routine itself; `None`: it pends.
    pub at_once: Mutex<Option<NtStatus>>,
    pub seen: Mutex<Vec<u32>>,
    next: AtomicU32,
    pub requests: AtomicU64,
    pub codes: Mutex<Vec<IoControlCode>>,
    closes: AtomicU32,
}

struct PlainPin(Arc<Plain>);

impl Plain {
    pub fn start(rig: &Rig) -> Arc<Plain> {
        let plain = Arc::new_cyclic(|me| Plain {
            me: me.clone(),
            queue: CancelSafeQueue::new(),
            at_once: Mutex::default(),
            seen: Mutex::default(),
            next: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            codes: Mutex::default(),
            closes: AtomicU32::new(0),
        });
        let record = InterfaceRecord {
            category: CATEGORY,
            reference: "plain".into(),
            friendly_name: "plain".into(),
            device: plain.clone(),
        };
        assert!(rig.io.register_interface(record));
        plain
    }

    fn complete(&self, irp: Irp, status: NtStatus) -> ks_io::Completed {
        if status.is_success() {
            for frame in irp.stream().unwrap().iter() {
                if irp.io_control_code() == IoControlCode::KS_WRITE_STREAM {
                    self.seen.lock().extend(number(frame));
                } else {
                    put(frame, self.next.fetch_add(1, SeqCst), false);
                }
            }
        }
        irp.complete(status)
    }

    /// Completes the oldest request that waits.
    pub fn serve(&self, status: NtStatus) -> bool {
        let Some(irp) = self.queue.remove() else { return false };
        drop(self.complete(irp, status));
        true
    }
}

impl DeviceObject for Plain {
    fn name(&self) -> &str {
        "plain"
    }
    fn create(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let me = self.me.upgrade().unwrap();
        Ok(Created { object: Arc::new(PlainFilter(me)), granted: request.access })
    }
}

struct PlainFilter(Arc<Plain>);

impl Dispatch for PlainFilter {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        irp.done(STATUS_INVALID_DEVICE_REQUEST)
    }
    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        Ok(Created { object: Arc::new(PlainPin(self.0.clone())), granted: request.access })
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Dispatch for PlainPin {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        match irp.io_control_code() {
            code @ (IoControlCode::KS_WRITE_STREAM | IoControlCode::KS_READ_STREAM) => {
                self.0.requests.fetch_add(1, SeqCst);
                self.0.codes.lock().push(code);
                let at_once = *self.0.at_once.lock();
                match at_once {
                    Some(status) => Dispatched::Completed(self.0.complete(irp, status)),
                    None => {
                        self.0.queue.insert(irp);
                        Dispatched::Pending
                    }
                }
            }
            _ => irp.done(STATUS_INVALID_DEVICE_REQUEST),
        }
    }
    fn cleanup(&self) {
        self.0.queue.close(STATUS_DEVICE_NOT_READY);
    }
    fn close(&self) {
        self.0.closes.fetch_add(1, SeqCst);
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An AVStream pin by its handle.
pub struct RawPin {
    transport: std::sync::Arc<dyn Transport>,
    handle: ks_io::Handle,
}

impl RawPin {
    pub fn bring(&self, states: &[KsState]) {
        let (set, id) = (ks_abi::KSPROPSETID_Connection, ks_abi::KSPROPERTY_CONNECTION_STATE);
        let request = ks_abi::KsProperty::new(set, id, ks_abi::KSPROPERTY_TYPE_SET);
        for state in states {
            let mut data = state.as_bytes().to_vec();
            let code = IoControlCode::KS_PROPERTY;
            let outcome = self.transport.device_io_control(self.handle, code, request.as_bytes(), &mut data);
            assert_eq!(outcome.status, STATUS_SUCCESS);
        }
    }
}

impl Drop for RawPin {
    fn drop(&mut self) {
        let _ = self.transport.close(self.handle);
    }
}

/// An AVStream pin that is connected to a plain one.
pub struct Joined {
    pub pin: RawPin,
    pub filter: Filter,
    plain_pin: ks_io::Handle,
    plain_filter: ks_io::Handle,
}

impl Joined {
    pub fn new(rig: &Rig, name: &str, flow: KsPinDataFlow) -> Joined {
        let link = Client::new(rig.session.clone()).find("plain").unwrap().symbolic_link;
        let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
        let plain_filter = rig.session.open(&link, access).unwrap();
        let plain_pin = rig.session.create(plain_filter, &KSNAME_Pin.to_string(), &[], access).unwrap();
        let filter = rig.open(name);
        // The output of the middle is its second pin.
        let pin_id = u32::from(name == "middle" && flow == KsPinDataFlow::OUT);
        let pin = create_to(&filter, pin_id, flow, plain_pin);
        Joined { pin, filter, plain_pin, plain_filter }
    }
}

/// [`ks_client::Connect`] takes a pin of the client library; a plain pin is a handle only.
fn create_to(filter: &Filter, pin_id: u32, flow: KsPinDataFlow, to: ks_io::Handle) -> RawPin {
    let head = ks_abi::KsPinConnect {
        pin_id,
        interface: ks_abi::KsIdentifier::STANDARD_STREAMING,
        medium: ks_abi::KsIdentifier::STANDARD_DEVIO,
        pin_to_handle: to.0,
        priority: ks_abi::KsPriority::NORMAL,
        ..Default::default()
    };
    let mut parameters = head.as_bytes().to_vec();
    parameters.extend_from_slice(crate::rig::video().bytes());
    let access = if flow == KsPinDataFlow::IN { AccessMask::GENERIC_WRITE } else { AccessMask::GENERIC_READ };
    let transport = filter.object().transport();
    let handle = transport.create(filter.object().handle(), &KSNAME_Pin.to_string(), &parameters, access).unwrap();
    RawPin { transport: transport.clone(), handle }
}

#[test]
fn a_plain_sink_gets_write_requests_and_its_completions_keep_the_circuit_going() {
    for seed in SEEDS {
        for at_once in [None, Some(STATUS_SUCCESS)] {
            let rig = Rig::new(seed);
            let plain = Plain::start(&rig);
            *plain.at_once.lock() = at_once;
            rig.source.last.store(50, SeqCst);
            let joined = Joined::new(&rig, "source", KsPinDataFlow::OUT);
            assert!(rig.source.pin().connection_is_external());
            joined.pin.bring(&UP);
            rig.settle();
            if at_once.is_none() {
                assert_eq!(plain.queue.len(), FRAMES as usize, "no more than the circuit has");
                while plain.serve(STATUS_SUCCESS) {
                    rig.settle();
                }
            }
            assert_eq!(*plain.seen.lock(), (0..50).collect::<Vec<_>>());
            assert!(plain.codes.lock().iter().all(|code| *code == IoControlCode::KS_WRITE_STREAM));
            close(rig, joined, &plain);
        }
    }
}

/// A source whose sink is a plain one that takes every frame at once, brought to RUN, and what arrived there.
pub fn with_plain_sink(rig: &Rig, look: impl FnOnce(Vec<u32>)) {
    let plain = Plain::start(rig);
    *plain.at_once.lock() = Some(STATUS_SUCCESS);
    let joined = Joined::new(rig, "source", KsPinDataFlow::OUT);
    joined.pin.bring(&UP);
    rig.settle();
    let seen = plain.seen.lock().clone();
    look(seen);
    joined.pin.bring(&DOWN);
}

#[test]
fn injected_frames_come_back_from_a_plain_sink_and_a_watcher_is_told_of_its_completions() {
    for (injects, watches) in [(true, false), (false, true)] {
        let rig = Rig::new(1);
        let plain = Plain::start(&rig);
        *plain.at_once.lock() = Some(STATUS_SUCCESS);
        rig.source.injects.store(injects, SeqCst);
        rig.source.watches.store(watches, SeqCst);
        rig.source.last.store(10, SeqCst);
        let joined = Joined::new(&rig, "source", KsPinDataFlow::OUT);
        joined.pin.bring(&UP);
        let all: Vec<u32> = (0..10).collect();
        if injects {
            let pin = rig.source.pin();
            all.iter().for_each(|number| crate::injection::submit(&pin, *number).unwrap());
            *plain.at_once.lock() = Some(STATUS_UNSUCCESSFUL);
            crate::injection::submit(&pin, 10).unwrap();
        }
        rig.settle();
        assert_eq!(*plain.seen.lock(), all);
        let mut back = rig.source.returned.lock().clone();
        assert_eq!(back.pop(), injects.then_some((110, STATUS_UNSUCCESSFUL)));
        let wanted = if injects { all.clone() } else { Vec::new() };
        assert_eq!(back, wanted.iter().map(|number| (u64::from(*number) + 100, STATUS_SUCCESS)).collect::<Vec<_>>());
        assert_eq!(*rig.source.watched.lock(), if watches { all } else { Vec::new() });
        close(rig, joined, &plain);
    }
}

#[test]
fn a_watching_sink_is_told_before_it_asks_a_plain_source_again() {
    let rig = Rig::new(1);
    let plain = Plain::start(&rig);
    rig.sink.watches.store(true, SeqCst);
    let joined = Joined::new(&rig, "sink", KsPinDataFlow::IN);
    joined.pin.bring(&UP);
    rig.settle();
    for _ in 0..10 {
        assert!(plain.serve(STATUS_SUCCESS));
        rig.settle();
    }
    assert_eq!(*rig.sink.watched.lock(), (0..10).collect::<Vec<u32>>());
    assert_eq!(plain.queue.len(), FRAMES as usize, "it asked again each time");
    close(rig, joined, &plain);
}

#[test]
fn a_plain_source_gets_read_requests() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let plain = Plain::start(&rig);
        let joined = Joined::new(&rig, "sink", KsPinDataFlow::IN);
        joined.pin.bring(&UP);
        rig.settle();
        assert_eq!(plain.queue.len(), FRAMES as usize);
        for _ in 0..50 {
            assert!(plain.serve(STATUS_SUCCESS));
            rig.settle();
        }
        assert_eq!(rig.sink.seen_now(), (0..50).collect::<Vec<_>>());
        assert!(plain.codes.lock().iter().all(|code| *code == IoControlCode::KS_READ_STREAM));
        close(rig, joined, &plain);
    }
}

#[test]
fn an_error_of_the_plain_end_parks_the_frames_until_the_next_start() {
    for seed in SEEDS {
        for (name, flow) in [("source", KsPinDataFlow::OUT), ("sink", KsPinDataFlow::IN)] {
            for at_once in [None, Some(STATUS_UNSUCCESSFUL)] {
                let rig = Rig::new(seed);
                let plain = Plain::start(&rig);
                *plain.at_once.lock() = at_once;
                let joined = Joined::new(&rig, name, flow);
                joined.pin.bring(&UP);
                rig.settle();
                while plain.serve(STATUS_UNSUCCESSFUL) {
                    rig.settle();
                }
                assert_eq!(plain.requests.load(SeqCst), u64::from(FRAMES), "each frame is tried once");
                *plain.at_once.lock() = None;
                joined.pin.bring(&[KsState::STOP, KsState::RUN]);
                rig.settle();
                assert_eq!(plain.queue.len(), FRAMES as usize, "the next start tries again");
                close(rig, joined, &plain);
            }
        }
    }
}

#[test]
fn stopping_keeps_what_the_plain_end_has_and_starting_goes_on_with_it() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let plain = Plain::start(&rig);
        rig.source.last.store(1000, SeqCst);
        let joined = Joined::new(&rig, "source", KsPinDataFlow::OUT);
        joined.pin.bring(&UP);
        rig.settle();
        joined.pin.bring(&[KsState::STOP]);
        assert!(plain.serve(STATUS_SUCCESS) && plain.serve(STATUS_SUCCESS));
        rig.settle();
        assert_eq!(plain.queue.len(), FRAMES as usize - 2, "a stopped source sends nothing");
        joined.pin.bring(&[KsState::RUN]);
        rig.settle();
        assert_eq!(plain.queue.len(), FRAMES as usize);
        close(rig, joined, &plain);
    }
}

#[test]
fn a_filter_that_works_in_place_sends_its_frames_on_to_a_plain_sink() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|requests| (seed, requests))) {
        let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
        let plain = Plain::start(&rig);
        rig.source.last.store(50, SeqCst);
        let joined = Joined::new(&rig, "middle", KsPinDataFlow::OUT);
        let from = rig.open("source");
        let (source, input) = match requests {
            Requests::FromSource => {
                let input = create(&joined.filter, 0, KsPinDataFlow::IN, None);
                (create(&from, 0, KsPinDataFlow::OUT, Some(&input)), input)
            }
            Requests::FromSink => {
                let source = create(&from, 0, KsPinDataFlow::OUT, None);
                let input = create(&joined.filter, 0, KsPinDataFlow::IN, Some(&source));
                (source, input)
            }
        };
        for state in UP {
            joined.pin.bring(&[state]);
            bring(&input, &[state]);
            bring(&source, &[state]);
        }
        rig.settle();
        assert_eq!(plain.queue.len(), FRAMES as usize, "the frames are those of the source");
        while plain.serve(STATUS_SUCCESS) {
            rig.settle();
        }
        assert_eq!(rig.middle.seen_now(), (0..50).collect::<Vec<_>>());
        assert_eq!(*plain.seen.lock(), (0..50).collect::<Vec<_>>());
        for pin in [&source, &input] {
            bring(pin, &DOWN);
        }
        joined.pin.bring(&[KsState::STOP]);
        drop((source, input, from));
        close(rig, joined, &plain);
    }
}

/// Closes in either order; what is pending at the plain end then completes into nothing.
pub fn close(rig: Rig, joined: Joined, plain: &Arc<Plain>) {
    let Joined { pin, filter, plain_pin, plain_filter } = joined;
    if plain.requests.load(SeqCst).is_multiple_of(2) {
        drop(pin);
        rig.settle();
        assert!(rig.session.close(plain_pin).status.is_success());
    } else {
        assert!(rig.session.close(plain_pin).status.is_success());
        rig.settle();
        drop(pin);
    }
    assert!(rig.session.close(plain_filter).status.is_success());
    drop(filter);
    rig.assert_quiescent();
    assert_eq!(plain.closes.load(SeqCst), 1, "the plain pin closes when nobody refers to it");
}
