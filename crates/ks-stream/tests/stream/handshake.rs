//! The handshake of connected pins, and frames that go by a private interface.

use crate::rig::{BOTH_WAYS, DOWN, Probe, Rig, SEEDS, Setup, UP, bring, create, fill};
use ks_abi::{
    Guid, IoControlCode, KsHandshake, KsPinDataFlow, KsState, NtStatus, Ptr64, STATUS_DEVICE_BUSY,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_NOINTERFACE,
    STATUS_NOT_IMPLEMENTED, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_client::Client;
use ks_io::sync::{Arc, Mutex};
use ks_io::{Level, RequestorMode, Transport};
use ks_stream::Rule;
use zerocopy::{FromBytes, IntoBytes};

const PRIVATE: Guid = Guid::from_u128(0x5a0f_3c11_77de_4b0a_9d31_06f2_8c51_2201);
const INBOX: Guid = Guid::from_u128(0x5a0f_3c11_77de_4b0a_9d31_06f2_8c51_2202);
const FRAMES: u32 = 10;

/// What the two filters agree upon: the sink takes pictures by a call.
#[derive(Default)]
struct Inbox(Mutex<Vec<Vec<u8>>>);

impl Inbox {
    fn put(&self, bytes: Vec<u8>) {
        self.0.lock().push(bytes);
    }
}

fn offer() -> KsHandshake {
    KsHandshake { protocol_id: PRIVATE, argument1: Ptr64(1), argument2: Ptr64(40) }
}

/// The sink's part: it knows the protocol, and has an inbox.
fn understand(sink: &Probe) -> Arc<Inbox> {
    let inbox = Arc::new(Inbox::default());
    *sink.on_handshake.lock() = Some(Arc::new(|offer: &KsHandshake| {
        let known = offer.protocol_id == PRIVATE && offer.argument1 == Ptr64(1);
        let answer = KsHandshake { argument1: Ptr64(7), argument2: Ptr64(offer.argument2.0 + 2), ..*offer };
        if known { Ok(answer) } else { Err(STATUS_INVALID_DEVICE_REQUEST) }
    }));
    sink.interfaces.lock()[0] = Some((INBOX, inbox.clone()));
    inbox
}

/// The source's part: on the way to ACQUIRE it offers the protocol, and asks for the interface if that is accepted;
/// otherwise it fills frames as any other. Gives the outcome.
fn offer_when_acquired(source: &Probe) -> Arc<Mutex<Option<Result<KsHandshake, NtStatus>>>> {
    let outcome = Arc::new(Mutex::new(None));
    let outbox: Arc<Mutex<Option<Arc<Inbox>>>> = Arc::default();
    let (noted, found) = (outcome.clone(), outbox.clone());
    *source.on_state.lock() = Some(Box::new(move |pin| {
        if pin.state() == KsState::ACQUIRE && noted.lock().is_none() {
            let answer = pin.handshake(&offer());
            if answer.is_ok() {
                *found.lock() = Some(pin.connected_pin_interface(INBOX).unwrap().downcast::<Inbox>().unwrap());
            }
            *noted.lock() = Some(answer);
        }
    }));
    source.script(move |probe, pin| {
        let Some(outbox) = outbox.lock().clone() else { return fill(probe, pin) };
        for number in probe.next.swap(FRAMES, std::sync::atomic::Ordering::SeqCst)..FRAMES {
            outbox.put(number.to_le_bytes().to_vec());
        }
        STATUS_PENDING
    });
    outcome
}

#[test]
fn two_filters_agree_an_interface_and_exchange_frames_without_requests() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|way| (seed, way))) {
        let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
        let inbox = understand(&rig.sink);
        let outcome = offer_when_acquired(&rig.source);
        let pair = rig.pair();
        pair.bring(&UP);
        rig.settle();
        let answer = outcome.lock().take().unwrap().unwrap();
        assert_eq!((answer.protocol_id, answer.argument1, answer.argument2), (PRIVATE, Ptr64(7), Ptr64(42)));
        let wanted: Vec<Vec<u8>> = (0..FRAMES).map(|number| number.to_le_bytes().to_vec()).collect();
        assert_eq!(*inbox.0.lock(), wanted);
        assert_eq!(rig.sink.seen_now(), [], "no frame came by the queue");
        assert_eq!((rig.sink.calls(), pair.sink.statistics().unwrap().frames), (0, 0));
        pair.bring(&DOWN);
        drop(pair);
        *rig.source.on_state.lock() = None;
        rig.assert_quiescent();
    }
}

#[test]
fn a_sink_that_does_not_know_the_protocol_gets_frames() {
    let rig = Rig::new(1);
    let outcome = offer_when_acquired(&rig.source);
    rig.source.last.store(FRAMES, std::sync::atomic::Ordering::SeqCst);
    let pair = rig.pair();
    pair.bring(&UP);
    rig.settle();
    assert_eq!(outcome.lock().take(), Some(Err(STATUS_INVALID_DEVICE_REQUEST)));
    assert_eq!(rig.sink.seen_now(), (0..FRAMES).collect::<Vec<u32>>());
    let pin = rig.source.pin();
    assert_eq!(pin.connected_pin_interface(INBOX).err(), Some(STATUS_NOINTERFACE));
    assert_eq!(pin.connected_filter_interface(INBOX).err(), Some(STATUS_NOINTERFACE));
}

/// What came of a stream through a filter between a source that offers the protocol and a sink that knows it.
struct Passed {
    /// Numbers of the frames that came to the sink by its queue.
    seen: Vec<u32>,
    /// Those that came by the interface.
    inbox: Vec<Vec<u8>>,
    /// How the handshake of the source went.
    told: Option<Result<KsHandshake, NtStatus>>,
    /// How often the filter in between was called to process.
    calls: u64,
}

fn with_a_filter_between(pass_on: bool) -> Passed {
    let rig = Rig::new(1);
    let inbox = understand(&rig.sink);
    let outcome = offer_when_acquired(&rig.source);
    rig.source.last.store(FRAMES, std::sync::atomic::Ordering::SeqCst);
    let [first, between, last] = ["source", "middle", "sink"].map(|name| rig.open(name));
    let sink = create(&last, 0, KsPinDataFlow::IN, None);
    let output = create(&between, 1, KsPinDataFlow::OUT, Some(&sink));
    if pass_on {
        // It offers what it is offered to the pin behind it, and lends that pin's interface.
        let behind = Arc::downgrade(&rig.middle.pin());
        *rig.middle.on_handshake.lock() =
            Some(Arc::new(move |offer: &KsHandshake| behind.upgrade().unwrap().handshake(offer)));
        rig.middle.interfaces.lock()[0] = Some((INBOX, inbox.clone()));
    }
    let input = create(&between, 0, KsPinDataFlow::IN, None);
    let source = create(&first, 0, KsPinDataFlow::OUT, Some(&input));
    for state in UP {
        [&sink, &output, &input, &source].iter().for_each(|pin| pin.set_state(state).unwrap());
    }
    rig.settle();
    for state in DOWN {
        [&source, &input, &output, &sink].iter().for_each(|pin| pin.set_state(state).unwrap());
    }
    let told = outcome.lock().take();
    let inbox = inbox.0.lock().clone();
    Passed { seen: rig.sink.seen_now(), inbox, told, calls: rig.middle.calls() }
}

#[test]
fn a_filter_in_between_is_who_is_asked_and_frames_go_through_it() {
    let Passed { seen, inbox, told, calls } = with_a_filter_between(false);
    assert_eq!(told, Some(Err(STATUS_INVALID_DEVICE_REQUEST)), "the sink would know the protocol, and is not asked");
    assert_eq!(seen, (0..FRAMES).collect::<Vec<u32>>());
    assert!(calls > 0, "the filter has processed them");
    assert!(inbox.is_empty());
}

#[test]
fn a_filter_in_between_may_pass_a_handshake_on_and_is_then_passed_by() {
    let Passed { seen, inbox, told, calls } = with_a_filter_between(true);
    assert_eq!(told.unwrap().unwrap().argument2, Ptr64(42), "as the sink answers");
    assert_eq!(inbox.len(), FRAMES as usize);
    assert_eq!((seen.len(), calls), (0, 0), "nothing goes by the queues");
}

#[test]
fn a_refusal_of_a_protocol_is_told_as_it_is_and_one_that_is_none_breaks_a_rule() {
    for (status, told) in [
        (STATUS_DEVICE_BUSY, STATUS_DEVICE_BUSY),
        (STATUS_NOT_IMPLEMENTED, STATUS_NOT_IMPLEMENTED),
        (STATUS_PENDING, STATUS_UNSUCCESSFUL),
        (STATUS_SUCCESS, STATUS_UNSUCCESSFUL),
    ] {
        let rig = Rig::new(1);
        if status != told {
            rig.expect_broken(Rule::CallbackReturn);
        }
        *rig.sink.on_handshake.lock() = Some(Arc::new(move |_: &KsHandshake| Err(status)));
        let pair = rig.pair();
        assert_eq!(rig.source.pin().handshake(&offer()), Err(told), "{status}");
        assert!(!rig.source.pin().connection_is_external(), "connected they stay");
        let broken: Vec<_> = rig.devices.iter().flat_map(|device| device.violations()).collect();
        assert_eq!(broken.len(), usize::from(status != told), "{status}: {broken:?}");
        assert!(broken.iter().all(|one| one.rule == Rule::CallbackReturn), "{broken:?}");
        drop(pair);
    }
}

#[test]
fn a_foreign_end_is_told_nothing_and_gets_frames() {
    let rig = Rig::new(1);
    let outcome = offer_when_acquired(&rig.source);
    rig.source.last.store(FRAMES, std::sync::atomic::Ordering::SeqCst);
    crate::foreign::with_plain_sink(&rig, |seen| {
        assert_eq!(outcome.lock().take(), Some(Err(STATUS_INVALID_DEVICE_REQUEST)));
        assert_eq!(rig.source.pin().connected_pin_interface(INBOX).err(), Some(STATUS_UNSUCCESSFUL));
        assert_eq!(rig.source.pin().connected_filter_interface(INBOX).err(), Some(STATUS_UNSUCCESSFUL));
        assert_eq!(seen, (0..FRAMES).collect::<Vec<u32>>());
    });
}

#[test]
fn either_end_offers_and_a_client_is_no_end_for_it() {
    let rig = Rig::new(1);
    let pair = rig.pair();
    understand(&rig.source);
    rig.source.interfaces.lock()[1] = Some((PRIVATE, Arc::new(5u32)));
    let (source, sink) = (rig.source.pin(), rig.sink.pin());
    assert_eq!(sink.handshake(&offer()).unwrap().argument1, Ptr64(7), "the sink asks the source");
    assert!(sink.connected_pin_interface(INBOX).is_ok());
    let of_filter = sink.connected_filter_interface(PRIVATE).unwrap();
    assert_eq!(of_filter.downcast_ref::<u32>(), Some(&5));
    assert_eq!(source.handshake(&offer()), Err(STATUS_INVALID_DEVICE_REQUEST), "the sink knows no protocol");
    let other = KsHandshake { protocol_id: INBOX, ..offer() };
    assert_eq!(sink.handshake(&other), Err(STATUS_INVALID_DEVICE_REQUEST));
    {
        let _raised = Level::Dispatch.raise();
        assert_eq!(sink.handshake(&offer()), Err(STATUS_INVALID_DEVICE_STATE));
    }
    drop((source, sink, pair));
    let (_filter, client) = rig.alone("sink");
    bring(&client, &UP);
    assert_eq!(rig.sink.pin().handshake(&offer()), Err(STATUS_INVALID_DEVICE_REQUEST));
    assert_eq!(rig.sink.pin().connected_pin_interface(INBOX).err(), Some(STATUS_UNSUCCESSFUL));
}

#[test]
fn a_driver_offers_a_protocol_to_an_unconnected_pin_and_user_mode_cannot() {
    let rig = Rig::new(1);
    understand(&rig.sink);
    for (mode, wanted) in
        [(RequestorMode::Kernel, STATUS_SUCCESS), (RequestorMode::User, STATUS_INVALID_DEVICE_REQUEST)]
    {
        let session = rig.io.session_as(mode);
        let filter = Client::new(session.clone()).open_by_name("sink").unwrap();
        let pin = create(&filter, 0, KsPinDataFlow::IN, None);
        let ask = |offer: &KsHandshake, bytes: usize| {
            let mut answer = vec![0; bytes];
            let handle = pin.object().handle();
            let outcome = session.device_io_control(handle, IoControlCode::KS_HANDSHAKE, offer.as_bytes(), &mut answer);
            (outcome.status, outcome.information, answer)
        };
        let (status, information, answer) = ask(&offer(), 32);
        assert_eq!(status, wanted);
        if status == STATUS_SUCCESS {
            assert_eq!(information, 32);
            assert_eq!(KsHandshake::read_from_bytes(&answer).unwrap().argument2, Ptr64(42));
            assert_eq!(ask(&offer(), 31).0, STATUS_INVALID_BUFFER_SIZE);
            assert_eq!(ask(&offer(), 33).0, STATUS_INVALID_BUFFER_SIZE);
            let unknown = KsHandshake { protocol_id: INBOX, ..offer() };
            assert_eq!(ask(&unknown, 32).0, STATUS_INVALID_DEVICE_REQUEST);
            let source = Client::new(session.clone()).open_by_name("source").unwrap();
            let connected = create(&source, 0, KsPinDataFlow::OUT, Some(&pin));
            assert_eq!(ask(&offer(), 32).0, STATUS_INVALID_DEVICE_REQUEST, "connected pins ask each other");
            drop((connected, source));
        }
    }
}
