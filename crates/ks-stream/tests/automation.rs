//! A minidriver's own methods, events and node properties.

mod support;

use ks_abi::*;
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, Handle, Outcome, Transport};
use ks_stream::{
    AutomationTable, EventItem, EventSet, EventToken, Filter, MethodItem, MethodSet, Pin, PropertyCall, PropertyItem,
    PropertySet,
};
use support::specimen::*;
use zerocopy::IntoBytes;

const SET: Guid = Guid::from_u128(0x22222222_2222_3333_4444_555555555555);
const METHODS: Guid = Guid::from_u128(0x33333333_2222_3333_4444_555555555555);
const EVENTS: Guid = Guid::from_u128(0x44444444_2222_3333_4444_555555555555);

/// Method 0 adds the four bytes after its identifier to its data; method 1 refuses.
fn methods<T: 'static>() -> AutomationTable<T> {
    let add = MethodItem::new(0, KSMETHOD_TYPE_MODIFY, |_: &T, call: &mut PropertyCall<'_>| {
        let addend = u32::from_le_bytes(call.request()[24..28].try_into().expect("checked by the least size"));
        match call.data_as::<u32>() {
            Ok(value) => call.answer_value(&(value + addend)),
            Err(status) => status,
        }
    });
    let refuse = MethodItem::new(1, KSMETHOD_TYPE_NONE, |_: &T, _: &mut PropertyCall<'_>| STATUS_DEVICE_BUSY);
    let items = vec![add.request_bytes(28).data_bytes(4), refuse];
    AutomationTable { methods: vec![MethodSet { set: METHODS, items }], ..AutomationTable::default() }
}

fn method(set: Guid, id: u32, flags: u32) -> KsIdentifier {
    KsIdentifier { set, id, flags }
}

fn send(bench: &Bench, handle: Handle, request: &[u8], data: &mut [u8]) -> Outcome {
    bench.control(handle, IoControlCode::KS_METHOD, request, data)
}

fn add(addend: u32) -> Vec<u8> {
    [method(METHODS, 0, KSMETHOD_TYPE_SEND).as_bytes(), &addend.to_le_bytes()].concat()
}

#[test]
fn a_method_is_run_with_its_request_and_data() {
    let bench = bench_with(|_| (), Some(methods::<Filter>()), Some(methods::<Pin>()));
    for handle in [bench.filter, bench.pin(OUT)] {
        let mut data = 30u32.to_le_bytes();
        let outcome = send(&bench, handle, &add(12), &mut data);
        assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 4));
        assert_eq!(u32::from_le_bytes(data), 42);
        let refused = send(&bench, handle, method(METHODS, 1, KSMETHOD_TYPE_SEND).as_bytes(), &mut []);
        assert_eq!(refused.status, STATUS_DEVICE_BUSY);
    }
}

#[test]
fn a_methods_request_and_data_have_their_least_sizes() {
    let bench = bench_with(|_| (), Some(methods::<Filter>()), None);
    for length in 0..28 {
        let outcome = send(&bench, bench.filter, &add(1)[..length], &mut [0; 4]);
        assert_eq!(outcome.status, STATUS_INVALID_BUFFER_SIZE, "{length} bytes of request");
    }
    let outcome = send(&bench, bench.filter, &add(1), &mut []);
    assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_OVERFLOW, 4), "it says what it needs");
    for room in 1..4 {
        assert_eq!(send(&bench, bench.filter, &add(1), &mut vec![0; room]).status, STATUS_BUFFER_TOO_SMALL);
    }
}

#[test]
fn a_method_request_asks_for_one_thing() {
    let bench = bench_with(|_| (), Some(methods::<Filter>()), None);
    let ask = |set, id, flags, room| {
        let mut data = vec![0; room];
        (send(&bench, bench.filter, method(set, id, flags).as_bytes(), &mut data), data)
    };
    let (sets, answer) = ask(Guid::NULL, 0, KSMETHOD_TYPE_SETSUPPORT, 16);
    assert_eq!((sets.status, answer.as_slice()), (STATUS_SUCCESS, METHODS.as_bytes()));
    assert_eq!(ask(METHODS, 0, KSMETHOD_TYPE_SETSUPPORT, 0).0.status, STATUS_SUCCESS);
    assert_eq!(ask(EVENTS, 0, KSMETHOD_TYPE_SETSUPPORT, 0).0.status, STATUS_PROPSET_NOT_FOUND);
    let (support, answer) = ask(METHODS, 0, KSMETHOD_TYPE_BASICSUPPORT, 4);
    assert_eq!((support.status, answer), (STATUS_SUCCESS, KSMETHOD_TYPE_MODIFY.to_le_bytes().to_vec()));
    assert_eq!(ask(METHODS, 9, KSMETHOD_TYPE_SEND, 0).0.status, STATUS_NOT_FOUND);
    assert_eq!(ask(EVENTS, 0, KSMETHOD_TYPE_SEND, 0).0.status, STATUS_PROPSET_NOT_FOUND);
    for flags in [0, KSMETHOD_TYPE_SEND | KSMETHOD_TYPE_BASICSUPPORT, 0x40] {
        let refused = ask(METHODS, 0, flags, 4).0;
        assert_eq!(refused.status, STATUS_INVALID_PARAMETER, "{flags:#x}");
        assert_eq!(refused.refusal.unwrap().aspect, Aspect::Request);
    }
}

#[test]
fn the_type_of_a_method_says_which_way_its_data_goes() {
    let kinds = [KSMETHOD_TYPE_NONE, KSMETHOD_TYPE_READ, KSMETHOD_TYPE_WRITE, KSMETHOD_TYPE_MODIFY];
    let with_source = kinds.map(|kind| kind | KSMETHOD_TYPE_SOURCE);
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let items = kinds
        .into_iter()
        .chain(with_source)
        .enumerate()
        .map(|(id, kind)| {
            let seen = seen.clone();
            MethodItem::new(id as u32, kind, move |_: &Filter, call: &mut PropertyCall<'_>| {
                *seen.lock() = call.data().to_vec();
                call.answer(b"out")
            })
        })
        .collect();
    let table = AutomationTable { methods: vec![MethodSet { set: METHODS, items }], ..AutomationTable::default() };
    let bench = bench_with(|_| (), Some(table), None);
    for id in 0..8 {
        let kind = id % 4;
        let mut data = *b"in!!";
        let outcome = send(&bench, bench.filter, method(METHODS, id, KSMETHOD_TYPE_SEND).as_bytes(), &mut data);
        assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 3));
        let reads = kind & KSMETHOD_TYPE_READ != 0;
        assert_eq!(seen.lock().as_slice(), if reads { b"in!!".as_slice() } else { b"" }, "method {id}");
        let writes = kind & KSMETHOD_TYPE_WRITE != 0;
        assert_eq!(&data, if writes { b"out!" } else { b"in!!" }, "method {id}");
    }
}

#[test]
fn an_object_without_methods_knows_no_set() {
    let bench = bench();
    for handle in [bench.filter, bench.pin(OUT)] {
        let outcome = send(&bench, handle, &add(1), &mut [0; 4]);
        assert_eq!(outcome.status, STATUS_PROPSET_NOT_FOUND);
    }
}

/// What the handlers of an event were told.
type Heard = Arc<Mutex<Vec<(&'static str, u64)>>>;

/// Event 0 agrees and is counted, event 1 refuses, event 2 wants four bytes more.
fn events<T: 'static>(heard: &Heard) -> AutomationTable<T> {
    let (adds, removes) = (heard.clone(), heard.clone());
    let agreed = EventItem {
        add: Some(Box::new(move |_: &T, request| {
            assert_eq!((request.event().set, request.event().id), (EVENTS, 0));
            adds.lock().push(("add", request.token().number()));
            STATUS_SUCCESS
        })),
        remove: Some(Box::new(move |_: &T, token: EventToken| removes.lock().push(("remove", token.number())))),
        ..EventItem::new(0)
    };
    let refused = EventItem { add: Some(Box::new(|_: &T, _| STATUS_DEVICE_BUSY)), ..EventItem::new(1) };
    let longer = EventItem { min_data_bytes: size_of::<KsEventData>() + 4, ..EventItem::new(2) };
    let items = vec![agreed, refused, longer];
    AutomationTable { events: vec![EventSet { set: EVENTS, items }], ..AutomationTable::default() }
}

fn data(event: Handle) -> Box<KsEventData> {
    Box::new(KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() })
}

fn enable(bench: &Bench, handle: Handle, id: u32, flags: u32, data: &mut KsEventData) -> NtStatus {
    let request = KsEvent::new(EVENTS, id, flags);
    bench.control(handle, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), data.as_mut_bytes()).status
}

#[test]
fn a_drivers_event_is_agreed_raised_and_removed() {
    let heard = Heard::default();
    let bench = bench_with(|_| (), None, Some(events::<Pin>(&heard)));
    let pin = bench.pin(OUT);
    let object = bench.engine_pin(pin);
    let (handle, event) = bench.session.create_event().unwrap();
    let mut token = data(handle);
    assert_eq!(enable(&bench, pin, 0, KSEVENT_TYPE_ENABLE, &mut token), STATUS_SUCCESS);
    object.generate_events(EVENTS, 1);
    assert!(!event.is_set(), "another event");
    object.generate_events(EVENTS, 0);
    assert!(event.is_set());
    let status = bench.control(pin, IoControlCode::KS_DISABLE_EVENT, token.as_bytes(), &mut []).status;
    assert_eq!(status, STATUS_SUCCESS);
    let told = heard.lock().clone();
    assert_eq!(told.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["add", "remove"]);
    assert_eq!(told[0].1, told[1].1, "by the same number");
}

#[test]
fn a_filter_raises_its_events_by_set_and_item() {
    let heard = Heard::default();
    let bench = bench_with(|_| (), Some(events::<Filter>(&heard)), None);
    let (handle, event) = bench.session.create_event().unwrap();
    let mut token = data(handle);
    assert_eq!(enable(&bench, bench.filter, 0, KSEVENT_TYPE_ENABLE, &mut token), STATUS_SUCCESS);
    let filter = bench.engine_filter(bench.filter);
    filter.generate_events(EVENTS, 1);
    assert!(!event.is_set(), "another event");
    filter.generate_events(EVENTS, 0);
    assert!(event.is_set());
}

#[test]
fn a_refused_event_is_not_enabled() {
    let heard = Heard::default();
    let bench = bench_with(|_| (), None, Some(events::<Pin>(&heard)));
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    let mut token = data(handle);
    assert_eq!(enable(&bench, pin, 1, KSEVENT_TYPE_ENABLE, &mut token), STATUS_DEVICE_BUSY);
    assert_eq!(enable(&bench, pin, 2, KSEVENT_TYPE_ENABLE, &mut token), STATUS_BUFFER_TOO_SMALL);
    bench.engine_pin(pin).generate_events(EVENTS, 1);
    assert!(!event.is_set());
    let status = bench.control(pin, IoControlCode::KS_DISABLE_EVENT, token.as_bytes(), &mut []).status;
    assert_eq!(status, STATUS_UNSUCCESSFUL);
}

#[test]
fn a_driver_raises_one_event_by_its_token() {
    let tokens: Arc<Mutex<Vec<EventToken>>> = Arc::default();
    let kept = tokens.clone();
    // A table whose handler keeps the tokens as they are.
    let keeping = EventItem {
        add: Some(Box::new(move |_: &Filter, request| {
            kept.lock().push(request.token());
            STATUS_SUCCESS
        })),
        ..EventItem::new(0)
    };
    let table =
        AutomationTable { events: vec![EventSet { set: EVENTS, items: vec![keeping] }], ..AutomationTable::default() };
    let bench = bench_with(|_| (), Some(table), None);
    let (first, one) = bench.session.create_event().unwrap();
    let (second, other) = bench.session.create_event().unwrap();
    let (mut first, mut second) = (data(first), data(second));
    assert_eq!(enable(&bench, bench.filter, 0, KSEVENT_TYPE_ENABLE, &mut first), STATUS_SUCCESS);
    assert_eq!(enable(&bench, bench.filter, 0, KSEVENT_TYPE_ENABLE, &mut second), STATUS_SUCCESS);
    let second = tokens.lock()[1];
    bench.engine_filter(bench.filter).generate_event(second);
    assert_eq!((one.is_set(), other.is_set()), (false, true));
}

#[test]
fn closing_tells_the_driver_of_every_event_also_of_one_that_was_raised_once() {
    let heard = Heard::default();
    let bench = bench_with(|_| (), None, Some(events::<Pin>(&heard)));
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    let (mut lasting, mut once) = (data(handle), data(handle));
    assert_eq!(enable(&bench, pin, 0, KSEVENT_TYPE_ENABLE, &mut lasting), STATUS_SUCCESS);
    assert_eq!(enable(&bench, pin, 0, KSEVENT_TYPE_ONESHOT, &mut once), STATUS_SUCCESS);
    bench.engine_pin(pin).generate_events(EVENTS, 0);
    assert!(event.is_set());
    bench.session.close(pin);
    let removed = heard.lock().iter().filter(|(what, _)| *what == "remove").count();
    assert_eq!(removed, 2);
}

/// A driver does its part of a request and leaves the rest: what it has answered and refused until then is nobody's.
#[test]
fn what_a_handler_leaves_over_is_completed_by_the_item_that_it_overrides() {
    let asked: Arc<Mutex<Vec<u32>>> = Arc::default();
    let seen = asked.clone();
    let state = PropertyItem::new(KSPROPERTY_CONNECTION_STATE)
        .data_bytes(4)
        .get(|_: &Pin, call: &mut PropertyCall<'_>| {
            let _ = call.answer(&[0x77; 4]);
            STATUS_SOME_NOT_MAPPED
        })
        .set(move |_: &Pin, call: &mut PropertyCall<'_>| {
            seen.lock().push(call.data_as::<u32>().expect("checked by the least size"));
            let _ = call.refuse(ks_io::Refusal::new(STATUS_DEVICE_BUSY, Aspect::Driver, "not what the client hears"));
            call.set_information(3);
            STATUS_SOME_NOT_MAPPED
        });
    let left = |_: &Pin, call: &mut PropertyCall<'_>| {
        let _ = call.answer_value(&7u32);
        STATUS_SOME_NOT_MAPPED
    };
    let priority = PropertyItem::new(KSPROPERTY_CONNECTION_PRIORITY).set(left);
    let table = AutomationTable::of_properties(vec![
        PropertySet { set: KSPROPSETID_Connection, items: vec![state, priority] },
        PropertySet { set: SET, items: vec![PropertyItem::new(0).get(left)] },
    ]);
    let bench = bench_with(|_| (), None, Some(table));
    let pin = bench.pin(OUT);
    assert_eq!(bench.set_state(pin, KsState::PAUSE).status, STATUS_SUCCESS);
    let (engine, calls) = (bench.engine_pin(pin), bench.script.taken());
    assert_eq!((engine.state(), engine.device_state()), (KsState::PAUSE, KsState::PAUSE));
    assert!(calls.ends_with(&["STOP->ACQUIRE".into(), "ACQUIRE->PAUSE".into()]), "{calls:?}");
    let get = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET);
    let (outcome, answer) = bench.ask(pin, get.as_bytes(), 4);
    assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 4));
    assert_eq!(answer, KsState::PAUSE.0.to_le_bytes());
    // The class driver refuses what it refuses, and its reason is the client's.
    let refused = bench.set_state(pin, KsState(9));
    assert_eq!((refused.status, refused.information), (STATUS_INVALID_PARAMETER, 0));
    assert_eq!(refused.refusal.expect("a reason").aspect, Aspect::State);
    assert_eq!(*asked.lock(), [KsState::PAUSE.0, 9], "the driver is asked once a request");
    // Where the class driver has nothing to complete, the status and what came with it are the answer.
    let own = KsProperty::new(SET, 0, KSPROPERTY_TYPE_GET);
    let (outcome, answer) = bench.ask(pin, own.as_bytes(), 4);
    assert_eq!((outcome.status, answer), (STATUS_SOME_NOT_MAPPED, 7u32.to_le_bytes().to_vec()));
    let set = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_PRIORITY, KSPROPERTY_TYPE_SET);
    let outcome = bench.property(pin, set.as_bytes(), &mut [0; 8]);
    assert_eq!(outcome.status, STATUS_SOME_NOT_MAPPED, "the class driver reads a priority and sets none");
}

#[test]
fn a_request_for_a_node_reaches_its_own_table() {
    let mut table = methods::<Filter>();
    table.properties = vec![PropertySet {
        set: SET,
        items: vec![PropertyItem::new(0).request_bytes(size_of::<KspNode>()).data_bytes(4).get(
            |_: &Filter, call: &mut PropertyCall<'_>| match call.request_as::<KspNode>() {
                Ok(request) => call.answer_value(&(100 + request.node_id)),
                Err(status) => status,
            },
        )],
    }];
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 2], Some(table), None);
    let ask = |node_id, set| {
        let flags = KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY;
        let request = KspNode { property: KsProperty::new(set, 0, flags), node_id, reserved: 0 };
        bench.ask(bench.filter, request.as_bytes(), 4)
    };
    let (outcome, answer) = ask(1, SET);
    assert_eq!((outcome.status, answer), (STATUS_SUCCESS, 101u32.to_le_bytes().to_vec()));
    assert_eq!(ask(1, KSPROPSETID_Pin).0.status, STATUS_PROPSET_NOT_FOUND, "the filter's sets are not the node's");
    assert_eq!(ask(0, SET).0.status, STATUS_PROPSET_NOT_FOUND, "a node without a table answers nothing");
    for node in [2, u32::MAX] {
        let refused = ask(node, SET).0;
        assert_eq!(refused.status, STATUS_INVALID_PARAMETER);
        assert!(refused.refusal.unwrap().reason.contains("2 topology nodes"));
    }
    let short = KsProperty::new(SET, 0, KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY);
    assert_eq!(bench.ask(bench.filter, short.as_bytes(), 4).0.status, STATUS_INVALID_BUFFER_SIZE);
    let run = KspNode {
        property: KsProperty::new(METHODS, 1, KSMETHOD_TYPE_SEND | KSMETHOD_TYPE_TOPOLOGY),
        node_id: 1,
        reserved: 0,
    };
    assert_eq!(send(&bench, bench.filter, run.as_bytes(), &mut []).status, STATUS_DEVICE_BUSY);
}
