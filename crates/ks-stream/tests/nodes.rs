//! Topology node objects: a node of a filter or of a pin behind a handle of its own.

mod support;

use ks_abi::*;
use ks_io::{Handle, Transport};
use ks_stream::{AutomationTable, MethodItem, MethodSet, PropertyItem, PropertySet};
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
        ..AutomationTable::default()
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
