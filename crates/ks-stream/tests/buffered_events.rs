//! Events with data, by semaphore, once, and on nodes.

mod support;

use ks_abi::*;
use ks_io::{Handle, Outcome, Transport};
use ks_stream::{AutomationTable, EventItem, EventSet, Filter, Pin};
use support::specimen::*;
use zerocopy::IntoBytes;

const SET: Guid = Guid::from_u128(0x66666666_2222_3333_4444_555555555555);
const ENABLE: u32 = KSEVENT_TYPE_ENABLE;
const ONESHOT: u32 = KSEVENT_TYPE_ONESHOT;
const BUFFERED: u32 = KSEVENT_TYPE_ENABLEBUFFERED;
const NODE: u32 = KSEVENT_TYPE_TOPOLOGY;

fn table<T: 'static>() -> AutomationTable<T> {
    let items = vec![EventItem::new(0), EventItem::new(1)];
    AutomationTable { events: vec![EventSet { set: SET, items }], ..AutomationTable::default() }
}

fn bench_of() -> Bench {
    let nodes = |filter: &mut ks_stream::FilterDescriptor| filter.nodes = vec![KSNODETYPE_VOLUME; 2];
    bench_with(nodes, Some(table::<Filter>()), Some(table::<Pin>()))
}

fn by_event(event: Handle) -> Box<KsEventData> {
    Box::new(KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() })
}

fn enable(bench: &Bench, handle: Handle, id: u32, flags: u32, data: &mut KsEventData) -> NtStatus {
    let request = KsEvent::new(SET, id, flags);
    bench.control(handle, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), data.as_mut_bytes()).status
}

fn query(data: &KsEventData) -> KsQueryBuffer {
    KsQueryBuffer {
        event: KsEvent::new(SET, 0, KSEVENT_TYPE_QUERYBUFFER),
        event_data: Ptr64(std::ptr::from_ref(data) as u64),
        reserved: Ptr64(0),
    }
}

fn fetch(bench: &Bench, handle: Handle, query: &KsQueryBuffer, room: usize) -> (Outcome, Vec<u8>) {
    let mut answer = vec![0xEE; room];
    let outcome = bench.control(handle, IoControlCode::KS_ENABLE_EVENT, query.as_bytes(), &mut answer);
    if outcome.status.is_success() {
        answer.truncate(outcome.information);
    }
    (outcome, answer)
}

#[test]
fn what_a_buffered_event_was_raised_with_is_fetched_in_order() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    let (object, filter) = (bench.engine_pin(pin), bench.engine_filter(bench.filter));
    let (handle, event) = bench.session.create_event().unwrap();
    let raise = |on_pin: bool, id, data: &[u8]| match on_pin {
        true => object.generate_data_events(SET, id, data),
        false => filter.generate_data_events(SET, id, data),
    };
    for (target, on_pin) in [(pin, true), (bench.filter, false)] {
        let mut token = by_event(handle);
        assert_eq!(enable(&bench, target, 0, ENABLE | BUFFERED, &mut token), STATUS_SUCCESS);
        let ask = query(&token);
        assert_eq!(fetch(&bench, target, &ask, 8).0.status, STATUS_NO_MORE_ENTRIES);
        assert_eq!(raise(on_pin, 0, b"first"), STATUS_SUCCESS);
        assert!(event.is_set(), "a client that names an object is notified as well");
        event.clear();
        assert_eq!(raise(on_pin, 1, b"another event"), STATUS_SUCCESS);
        assert_eq!(raise(on_pin, 0, b"2nd"), STATUS_SUCCESS);
        assert_eq!(raise(on_pin, 0, b""), STATUS_SUCCESS);
        let (size, _) = fetch(&bench, target, &ask, 0);
        assert_eq!((size.status, size.information), (STATUS_BUFFER_OVERFLOW, 5));
        let (small, _) = fetch(&bench, target, &ask, 4);
        assert_eq!((small.status, small.information), (STATUS_BUFFER_TOO_SMALL, 0));
        assert_eq!(fetch(&bench, target, &ask, 5).1, b"first", "asking for the size took nothing away");
        assert_eq!(fetch(&bench, target, &ask, 100).1, b"2nd");
        let (empty, data) = fetch(&bench, target, &ask, 100);
        assert_eq!((empty.status, data.len()), (STATUS_SUCCESS, 0), "a raise without data is one, too");
        assert_eq!(fetch(&bench, target, &ask, 8).0.status, STATUS_NO_MORE_ENTRIES);
        event.clear();
        // What is waiting when the event is disabled is gone with it.
        assert_eq!(raise(on_pin, 0, b"late"), STATUS_SUCCESS);
        let disabled = bench.control(target, IoControlCode::KS_DISABLE_EVENT, token.as_bytes(), &mut []);
        assert_eq!(disabled.status, STATUS_SUCCESS);
        assert_eq!(fetch(&bench, target, &ask, 8).0.status, STATUS_NOT_FOUND);
        event.clear();
    }
}

#[test]
fn a_query_names_its_event_by_address_set_item_and_client() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    let (handle, _event) = bench.session.create_event().unwrap();
    let (mut token, mut plain) = (by_event(handle), by_event(handle));
    assert_eq!(enable(&bench, pin, 0, ENABLE | BUFFERED, &mut token), STATUS_SUCCESS);
    assert_eq!(enable(&bench, pin, 0, ENABLE, &mut plain), STATUS_SUCCESS);
    let _ = bench.engine_pin(pin).generate_data_events(SET, 0, b"data");
    let ask = query(&token);
    let elsewhere = query(&by_event(handle));
    let other_item = KsQueryBuffer { event: KsEvent::new(SET, 1, KSEVENT_TYPE_QUERYBUFFER), ..ask };
    let other_set = KsQueryBuffer { event: KsEvent::new(ATTRIBUTE, 0, KSEVENT_TYPE_QUERYBUFFER), ..ask };
    for wrong in [elsewhere, other_item, other_set] {
        assert_eq!(fetch(&bench, pin, &wrong, 8).0.status, STATUS_NOT_FOUND);
    }
    assert_eq!(fetch(&bench, bench.filter, &ask, 8).0.status, STATUS_NOT_FOUND, "another object");
    assert_eq!(fetch(&bench, pin, &query(&plain), 8).0.status, STATUS_INVALID_PARAMETER, "it is not buffered");
    let reserved = KsQueryBuffer { reserved: Ptr64(1), ..ask };
    assert_eq!(fetch(&bench, pin, &reserved, 8).0.status, STATUS_INVALID_PARAMETER);
    for cut in 24..40 {
        let mut answer = [0; 8];
        let cut = &ask.as_bytes()[..cut];
        let outcome = bench.control(pin, IoControlCode::KS_ENABLE_EVENT, cut, &mut answer);
        assert_eq!(outcome.status, STATUS_INVALID_BUFFER_SIZE);
    }
    assert_eq!(fetch(&bench, pin, &ask, 8).1, b"data", "nothing of that took it away");
}

#[test]
fn buffers_are_bounded_and_lose_the_newest() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    let object = bench.engine_pin(pin);
    let mut token = Box::<KsEventData>::default();
    assert_eq!(enable(&bench, pin, 0, BUFFERED, &mut token), STATUS_SUCCESS, "a client may only look when it likes");
    let kept = (0..100u8).take_while(|n| object.generate_data_events(SET, 0, &[*n]) == STATUS_SUCCESS).count();
    assert_eq!(kept, 64);
    assert_eq!(object.generate_data_events(SET, 0, b"x"), STATUS_INSUFFICIENT_RESOURCES);
    let ask = query(&token);
    for number in 0..64u8 {
        assert_eq!(fetch(&bench, pin, &ask, 1).1, [number]);
    }
    assert_eq!(fetch(&bench, pin, &ask, 1).0.status, STATUS_NO_MORE_ENTRIES);
    // All events of an object share a megabyte, which is given back as they are fetched.
    let mut other = Box::<KsEventData>::default();
    assert_eq!(enable(&bench, pin, 1, BUFFERED, &mut other), STATUS_SUCCESS);
    assert_eq!(object.generate_data_events(SET, 0, &vec![1; 1 << 19]), STATUS_SUCCESS);
    assert_eq!(object.generate_data_events(SET, 1, &vec![2; 1 << 19]), STATUS_SUCCESS);
    assert_eq!(object.generate_data_events(SET, 1, b"x"), STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(fetch(&bench, pin, &ask, 1 << 19).0.information, 1 << 19);
    assert_eq!(object.generate_data_events(SET, 1, b"x"), STATUS_SUCCESS);
    let all = bench.control(pin, IoControlCode::KS_DISABLE_EVENT, &[], &mut []);
    assert_eq!(all.status, STATUS_SUCCESS);
    assert_eq!(enable(&bench, pin, 0, BUFFERED, &mut token), STATUS_SUCCESS);
    assert_eq!(object.generate_data_events(SET, 0, &vec![1; 1 << 20]), STATUS_SUCCESS, "disabling gave it back, too");
}

#[test]
fn an_event_without_notification_must_be_buffered() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    let mut token = Box::<KsEventData>::default();
    for flags in [ENABLE, ONESHOT] {
        assert_eq!(enable(&bench, pin, 0, flags, &mut token), STATUS_INVALID_PARAMETER);
    }
    for flags in [BUFFERED, ENABLE | BUFFERED, ONESHOT | BUFFERED] {
        assert_eq!(enable(&bench, pin, 0, flags, &mut token), STATUS_SUCCESS, "{flags:#x}");
    }
    token.object = 1;
    assert_eq!(enable(&bench, pin, 0, BUFFERED, &mut token), STATUS_INVALID_PARAMETER);
}

#[test]
fn the_data_of_a_buffered_oneshot_event_waits_for_its_client() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    let object = bench.engine_pin(pin);
    let mut token = Box::<KsEventData>::default();
    assert_eq!(enable(&bench, pin, 0, ONESHOT | BUFFERED, &mut token), STATUS_SUCCESS);
    let _ = object.generate_data_events(SET, 0, b"one");
    let _ = object.generate_data_events(SET, 0, b"two");
    let mut next = Box::<KsEventData>::default();
    assert_eq!(enable(&bench, pin, 0, ONESHOT | BUFFERED, &mut next), STATUS_SUCCESS);
    assert_eq!(fetch(&bench, pin, &query(&token), 8).1, b"one");
    assert_eq!(fetch(&bench, pin, &query(&token), 8).0.status, STATUS_NO_MORE_ENTRIES);
}

#[test]
fn oneshot_events_that_were_raised_make_room_for_others() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    let (handle, _event) = bench.session.create_event().unwrap();
    let mut token = by_event(handle);
    for _ in 0..1000 {
        assert_eq!(enable(&bench, pin, 0, ONESHOT, &mut token), STATUS_SUCCESS);
        bench.engine_pin(pin).generate_events(SET, 0);
    }
}

#[test]
fn a_semaphore_is_released_by_its_adjustment() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    let object = bench.engine_pin(pin);
    let (handle, semaphore) = bench.session.create_semaphore(0, 10).unwrap();
    let by_semaphore = |adjustment: i32| {
        let data = [u64::from(adjustment.cast_unsigned()) << 32, 0];
        Box::new(KsEventData {
            notification_type: KSEVENTF_SEMAPHORE_HANDLE,
            object: handle.0,
            data,
            ..Default::default()
        })
    };
    let mut token = by_semaphore(4);
    assert_eq!(enable(&bench, pin, 0, ENABLE, &mut token), STATUS_SUCCESS);
    for count in [4, 8, 8] {
        object.generate_events(SET, 0);
        assert_eq!(semaphore.count(), count, "one release too many is lost, and no other");
    }
    for adjustment in [0, -1, i32::MIN] {
        assert_eq!(enable(&bench, pin, 0, ENABLE, &mut by_semaphore(adjustment)), STATUS_INVALID_PARAMETER);
    }
    let mut reserved = by_semaphore(1);
    reserved.data[0] |= 1;
    assert_eq!(enable(&bench, pin, 0, ENABLE, &mut reserved), STATUS_INVALID_PARAMETER);
    reserved.data = [1 << 32, 1];
    assert_eq!(enable(&bench, pin, 0, ENABLE, &mut reserved), STATUS_INVALID_PARAMETER);
    // A handle is of one kind.
    let (event, _) = bench.session.create_event().unwrap();
    for wrong in [event, pin, Handle(0), Handle(u64::MAX)] {
        let mut token = by_semaphore(1);
        token.object = wrong.0;
        assert_eq!(enable(&bench, pin, 0, ENABLE, &mut token), STATUS_INVALID_HANDLE);
    }
    assert_eq!(enable(&bench, pin, 0, ENABLE, &mut by_event(handle)), STATUS_INVALID_HANDLE);
    let code = IoControlCode::KS_PROPERTY;
    assert_eq!(bench.control(handle, code, &[0; 24], &mut []).status, STATUS_OBJECT_TYPE_MISMATCH);
    assert_eq!(bench.session.close(handle).status, STATUS_SUCCESS);
    assert_eq!(bench.session.create_semaphore(1, 0).unwrap_err().status, STATUS_INVALID_PARAMETER);
}

#[test]
fn an_event_of_a_node_is_in_the_nodes_own_table() {
    let bench = bench_of();
    let pin = bench.pin(OUT);
    for target in [bench.filter, pin] {
        let (handle, event) = bench.session.create_event().unwrap();
        let mut token = by_event(handle);
        let mut ask = |node_id, verb| {
            let request = KseNode { event: KsEvent::new(SET, 0, verb | NODE), node_id, reserved: 0 };
            bench.control(target, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), token.as_mut_bytes()).status
        };
        assert_eq!(ask(0, ENABLE), STATUS_PROPSET_NOT_FOUND, "node 0 has no table");
        assert_eq!(ask(2, ENABLE), STATUS_INVALID_PARAMETER, "there is no node 2");
        assert_eq!(ask(1, KSEVENT_TYPE_BASICSUPPORT), STATUS_SUCCESS);
        assert_eq!(ask(1, ENABLE), STATUS_SUCCESS);
        match target {
            handle if handle == pin => bench.engine_pin(pin).generate_events(SET, 0),
            _ => bench.engine_filter(bench.filter).generate_events(SET, 0),
        }
        assert!(event.is_set());
        let disabled = bench.control(target, IoControlCode::KS_DISABLE_EVENT, token.as_bytes(), &mut []);
        assert_eq!(disabled.status, STATUS_SUCCESS);
        assert_eq!(
            enable(&bench, target, 0, ENABLE | NODE, &mut token),
            STATUS_INVALID_BUFFER_SIZE,
            "no node is named"
        );
    }
}
