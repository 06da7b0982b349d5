//! Topology node objects: a node of a filter or of a pin behind a handle of its own.

mod support;

use ks_abi::*;
use ks_io::{Handle, Transport};
use ks_stream::{AutomationTable, EventItem, EventSet, MethodItem, MethodSet, PropertyItem, PropertySet};
use support::specimen::*;
use zerocopy::IntoBytes;

const SET: Guid = ATTRIBUTE;

/// What the object of a request is called, as the answer to property 0; method 0 turns a byte round.
fn table<T: 'static>(name: fn(&T) -> String) -> AutomationTable<T> {
    let property = PropertyItem::new(0).get(move |object: &T, call| call.answer(name(object).as_bytes()));
    let narrow = PropertyItem::new(1).request_bytes(size_of::<KspNode>()).get(|_, call| {
        let node = call.request_as::<KspNode>().map_or(0, |request| request.node_id);
        call.answer_value(&node)
    });
    let turn = MethodItem::new(0, KSMETHOD_TYPE_MODIFY, |_: &T, call| match call.data_as::<u8>() {
        Ok(byte) => call.answer_value(&!byte),
        Err(status) => status,
    });
    AutomationTable {
        properties: vec![PropertySet { set: SET, items: vec![property, narrow] }],
        methods: vec![MethodSet { set: SET, items: vec![turn] }],
        events: vec![EventSet { set: SET, items: vec![EventItem::new(0)] }],
    }
}

fn with_nodes() -> Bench {
    bench_with(
        |filter| filter.nodes = vec![KSNODETYPE_VOLUME, KSNODETYPE_MUTE],
        Some(table(|filter: &ks_stream::Filter| format!("node of {}", filter.name()))),
        None,
    )
}

fn create(bench: &Bench, parent: Handle, flags: u32, node: u32) -> Result<Handle, NtStatus> {
    let parameters = KsNodeCreate { create_flags: flags, node };
    let created = bench.session.create(parent, KSSTRING_TOPOLOGY_NODE, parameters.as_bytes(), both_accesses());
    created.map_err(|outcome| outcome.status)
}

#[test]
fn a_node_object_answers_for_its_node() {
    let bench = with_nodes();
    let node = create(&bench, bench.filter, 0, 1).unwrap();
    let get = property(SET, 0, KSPROPERTY_TYPE_GET);
    assert_eq!(bench.whole(node, get.as_bytes()), b"node of specimen");
    let turn = KsMethod::new(SET, 0, KSMETHOD_TYPE_SEND);
    let mut byte = [0x0F];
    assert_eq!(bench.control(node, IoControlCode::KS_METHOD, turn.as_bytes(), &mut byte).status, STATUS_SUCCESS);
    assert_eq!(byte, [0xF0]);
    // Naming the node again is allowed, and needed where an item reads it; naming another is not.
    let of_node = |id, node_id| KspNode {
        property: property(SET, id, KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY),
        node_id,
        reserved: 0,
    };
    assert_eq!(bench.value::<u32>(node, of_node(1, 1).as_bytes()), 1);
    assert_eq!(bench.ask(node, property(SET, 1, 1).as_bytes(), 4).0.status, STATUS_INVALID_BUFFER_SIZE);
    assert_eq!(bench.ask(node, of_node(0, 0).as_bytes(), 64).0.status, STATUS_INVALID_PARAMETER);
    assert_eq!(bench.ask(node, of_node(0, u32::MAX).as_bytes(), 64).0.status, STATUS_INVALID_PARAMETER);
    // A node without a table has no set, and neither is the filter reached through it.
    let bare = create(&bench, bench.filter, 0, 0).unwrap();
    assert_eq!(bench.ask(bare, get.as_bytes(), 64).0.status, STATUS_PROPSET_NOT_FOUND);
    let pins = property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET);
    assert_eq!(bench.ask(node, pins.as_bytes(), 4).0.status, STATUS_PROPSET_NOT_FOUND);
}

#[test]
fn a_node_of_a_pin_answers_on_the_pins_stream() {
    let pin_table = table(|pin: &ks_stream::Pin| format!("node of {}", pin.describe()));
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 2], None, Some(pin_table));
    let node = create(&bench, bench.pin(OUT), 0, 1).unwrap();
    assert_eq!(bench.whole(node, property(SET, 0, KSPROPERTY_TYPE_GET).as_bytes()), b"node of specimen.0");
    let turn = KsMethod::new(SET, 0, KSMETHOD_TYPE_SEND);
    let mut byte = [1];
    assert_eq!(bench.control(node, IoControlCode::KS_METHOD, turn.as_bytes(), &mut byte).status, STATUS_SUCCESS);
}

#[test]
fn a_node_create_names_one_node_that_there_is() {
    let bench = with_nodes();
    for parent in [bench.filter, bench.pin(IN)] {
        assert_eq!(create(&bench, parent, 1, 0), Err(STATUS_INVALID_PARAMETER), "a flag");
        for node in [2, u32::MAX - 1, KSALL_NODES] {
            assert_eq!(create(&bench, parent, 0, node), Err(STATUS_INVALID_PARAMETER), "node {node:#x}");
        }
        for bytes in [0, 7, 9] {
            let short = bench.session.create(parent, KSSTRING_TOPOLOGY_NODE, &vec![0; bytes], both_accesses());
            assert_eq!(short.unwrap_err().status, STATUS_INVALID_BUFFER_SIZE);
        }
    }
}

#[test]
fn a_node_keeps_its_filter_open_and_ends_with_the_device() {
    let bench = with_nodes();
    let node = create(&bench, bench.filter, 0, 1).unwrap();
    let _ = bench.session.close(bench.filter);
    let get = property(SET, 0, KSPROPERTY_TYPE_GET);
    assert_eq!(bench.whole(node, get.as_bytes()), b"node of specimen");
    bench.device.surprise_remove();
    assert_eq!(bench.ask(node, get.as_bytes(), 64).0.status, STATUS_DEVICE_REMOVED);
    bench.script.taken();
    let _ = bench.session.close(node);
    assert_eq!(bench.script.taken(), ["filter close"]);
}

fn enable(bench: &Bench, handle: Handle, data: &mut KsEventData, node: Option<u32>) -> NtStatus {
    let request = match node {
        None => KsEvent::new(SET, 0, KSEVENT_TYPE_ENABLE).as_bytes().to_vec(),
        Some(node_id) => {
            let event = KsEvent::new(SET, 0, KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_TOPOLOGY);
            KseNode { event, node_id, reserved: 0 }.as_bytes().to_vec()
        }
    };
    bench.control(handle, IoControlCode::KS_ENABLE_EVENT, &request, data.as_mut_bytes()).status
}

fn disable(bench: &Bench, handle: Handle, data: &KsEventData) -> NtStatus {
    bench.control(handle, IoControlCode::KS_DISABLE_EVENT, data.as_bytes(), &mut []).status
}

#[test]
fn a_node_object_enables_the_events_of_its_node_and_ends_them() {
    let pin_table = table(|pin: &ks_stream::Pin| pin.describe());
    let filter_table = table(|filter: &ks_stream::Filter| filter.name().to_owned());
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 2], Some(filter_table), Some(pin_table));
    let pin = bench.pin(OUT);
    for parent in [bench.filter, pin] {
        let raise = || match parent == pin {
            true => bench.engine_pin(pin).generate_events(SET, 0),
            false => bench.engine_filter(parent).generate_events(SET, 0),
        };
        let node = create(&bench, parent, 0, 1).unwrap();
        let token = |event: Handle| {
            Box::new(KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() })
        };
        let ((first_handle, first), (second_handle, second)) =
            (bench.session.create_event().unwrap(), bench.session.create_event().unwrap());
        let (mut by_node, mut by_parent) = (token(first_handle), token(second_handle));
        // Naming the node again is allowed; naming another is not.
        assert_eq!(enable(&bench, node, &mut token(first_handle), Some(0)), STATUS_INVALID_PARAMETER);
        assert_eq!(enable(&bench, node, &mut by_node, Some(1)), STATUS_SUCCESS);
        assert_eq!(disable(&bench, node, &by_node), STATUS_SUCCESS);
        assert_eq!(enable(&bench, node, &mut by_node, None), STATUS_SUCCESS);
        assert_eq!(enable(&bench, parent, &mut by_parent, None), STATUS_SUCCESS);
        raise();
        assert!(first.is_set() && second.is_set(), "the minidriver raises the events of its object");
        // Each handle disables what it enabled, and nothing else.
        assert_eq!(disable(&bench, parent, &by_node), STATUS_UNSUCCESSFUL);
        assert_eq!(disable(&bench, node, &by_parent), STATUS_UNSUCCESSFUL);
        let all = bench.control(parent, IoControlCode::KS_DISABLE_EVENT, &[], &mut []);
        assert_eq!(all.status, STATUS_SUCCESS);
        first.clear();
        second.clear();
        raise();
        assert!(first.is_set() && !second.is_set());
        let _ = bench.session.close(node);
        first.clear();
        raise();
        assert!(!first.is_set(), "what a node object enabled ends with it");
        // A node without a table has no events.
        let bare = create(&bench, parent, 0, 0).unwrap();
        assert_eq!(enable(&bench, bare, &mut token(first_handle), None), STATUS_PROPSET_NOT_FOUND);
        let _ = bench.session.close(bare);
    }
}

#[test]
fn a_minidriver_may_answer_for_its_nodes_as_a_whole() {
    let pin_table = table(|pin: &ks_stream::Pin| format!("nodes of {}", pin.describe()));
    let filter_table = table(|filter: &ks_stream::Filter| format!("nodes of {}", filter.name()));
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 2], Some(filter_table), Some(pin_table));
    let pin = bench.pin(OUT);
    let of_all = |flags| KspNode { property: property(SET, 0, flags), node_id: KSALL_NODES, reserved: 0 };
    let named = of_all(KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY);
    for (parent, answer) in [(bench.filter, "nodes of specimen"), (pin, "nodes of specimen.0")] {
        *bench.script.nodes_as_a_whole.lock() = false;
        assert_eq!(bench.ask(parent, named.as_bytes(), 64).0.status, STATUS_INVALID_PARAMETER);
        assert_eq!(create(&bench, parent, 0, KSALL_NODES), Err(STATUS_INVALID_PARAMETER));
        *bench.script.nodes_as_a_whole.lock() = true;
        assert_eq!(bench.whole(parent, named.as_bytes()), answer.as_bytes());
        let all = create(&bench, parent, 0, KSALL_NODES).unwrap();
        assert_eq!(bench.whole(all, property(SET, 0, KSPROPERTY_TYPE_GET).as_bytes()), answer.as_bytes());
        assert_eq!(bench.whole(all, named.as_bytes()), answer.as_bytes());
        assert_eq!(create(&bench, parent, 1, KSALL_NODES), Err(STATUS_INVALID_PARAMETER), "a flag");
        assert_eq!(create(&bench, parent, 0, 2), Err(STATUS_INVALID_PARAMETER), "it has two nodes all the same");
        let turn = KsMethod::new(SET, 0, KSMETHOD_TYPE_SEND);
        let mut byte = [0x0F];
        assert_eq!(bench.control(all, IoControlCode::KS_METHOD, turn.as_bytes(), &mut byte).status, STATUS_SUCCESS);
        assert_eq!(byte, [0xF0]);
    }
}
