//! Property sets as one block, raw forms, sizes, and the requests that the class driver makes of them.

mod support;

use ks_abi::*;
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, Outcome, RequestorMode};
use ks_stream::{
    AutomationTable, Filter, Pin, PropertyCall, PropertyItem, PropertyMembers, PropertySet, PropertyValues,
    SERIALIZED_BY_SIZE_QUERY,
};
use support::specimen::*;
use zerocopy::{FromBytes, IntoBytes};

const SET: Guid = Guid::from_u128(0x55555555_2222_3333_4444_555555555555);
const NUMBER: u32 = 0;
const LIST: u32 = 1;
const THREE_BYTES: u32 = 2;
const APART: u32 = 3;
const KERNEL_ONLY: u32 = 4;
const RAW: u32 = 5;
/// `VT_UI4`
const TYPE: KsIdentifier = KsIdentifier::new(KSPROPTYPESETID_General, 19, 0);

/// What the properties hold, and who asked the one that is for drivers.
#[derive(Default)]
struct Held {
    number: u32,
    list: Vec<u8>,
    three: [u8; 3],
    raw: Vec<u8>,
    asked: Vec<(RequestorMode, u64)>,
    /// How often the property for drivers did what only they may have done.
    marked: u32,
}

type Store = Arc<Mutex<Held>>;

fn list(words: &[u64]) -> Vec<u8> {
    let head = KsMultipleItem { size: (8 + 8 * words.len()) as u32, count: words.len() as u32 };
    [head.as_bytes(), words.as_bytes()].concat()
}

fn store() -> Store {
    let held = Held { number: 7, list: list(&[1, 2]), three: [9, 8, 7], ..Held::default() };
    Arc::new(Mutex::new(held))
}

fn table<T: 'static>(store: &Store) -> AutomationTable<T> {
    let of = |read: fn(&Held) -> Vec<u8>, write: fn(&mut Held, &[u8]) -> NtStatus| {
        let (reads, writes) = (store.clone(), store.clone());
        let get = move |_: &T, call: &mut PropertyCall<'_>| call.answer(&read(&reads.lock()));
        let set = move |_: &T, call: &mut PropertyCall<'_>| write(&mut writes.lock(), call.data());
        (get, set)
    };
    let number = of(
        |held| held.number.to_le_bytes().to_vec(),
        |held, data| match u32::read_from_prefix(data) {
            Ok((number, _)) if number <= 100 => {
                held.number = number;
                STATUS_SUCCESS
            }
            _ => STATUS_INVALID_PARAMETER,
        },
    );
    let words = of(
        |held| held.list.clone(),
        |held, data| {
            held.list = data.to_vec();
            STATUS_SUCCESS
        },
    );
    let three = of(
        |held| held.three.to_vec(),
        |held, data| {
            held.three.copy_from_slice(&data[..3]);
            STATUS_SUCCESS
        },
    );
    let asked = store.clone();
    let guard = move |_: &T, call: &mut PropertyCall<'_>| {
        let mut held = asked.lock();
        held.asked.push((call.origin().mode(), call.origin().client()));
        if call.origin().mode() != RequestorMode::Kernel {
            return STATUS_INVALID_DEVICE_REQUEST;
        }
        held.marked += 1;
        STATUS_SUCCESS
    };
    let raw = store.clone();
    let support = move |_: &T, call: &mut PropertyCall<'_>| match call.property().flags & !KSPROPERTY_TYPE_TOPOLOGY {
        KSPROPERTY_TYPE_SERIALIZERAW => {
            let bytes = raw.lock().raw.clone();
            call.answer(&bytes)
        }
        _ => {
            raw.lock().raw = call.data().to_vec();
            STATUS_SUCCESS
        }
    };
    let bounds = KsPropertyBoundsLong { minimum: 0, maximum: 100 };
    let values = PropertyValues::of_type(19, vec![PropertyMembers::ranges(&[bounds])]);
    let items = vec![
        PropertyItem::new(NUMBER).data_bytes(4).get(number.0).set(number.1).values(values).serialized_bytes(4),
        PropertyItem::new(LIST).get(words.0).set(words.1).serialized_bytes(SERIALIZED_BY_SIZE_QUERY),
        PropertyItem::new(THREE_BYTES).data_bytes(3).get(three.0).set(three.1).serialized_bytes(3),
        PropertyItem::new(APART).data_bytes(4).get(|_: &T, call: &mut PropertyCall<'_>| call.answer_value(&1u32)),
        PropertyItem::new(KERNEL_ONLY).data_bytes(4).set(guard).serialized_bytes(4),
        PropertyItem::new(RAW).support(support),
    ];
    AutomationTable::of_properties(vec![PropertySet { set: SET, items }])
}

fn bench_of(store: &Store) -> Bench {
    let nodes = |filter: &mut ks_stream::FilterDescriptor| filter.nodes = vec![KSNODETYPE_VOLUME; 2];
    bench_with(nodes, Some(table::<Filter>(store)), Some(table::<Pin>(store)))
}

/// One property of a serialized set.
fn entry(prop_type_set: KsIdentifier, id: u32, value: &[u8]) -> Vec<u8> {
    let head = KsPropertySerial { prop_type_set, id, property_length: value.len() as u32 };
    let mut bytes = [head.as_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn block(entries: &[Vec<u8>]) -> Vec<u8> {
    let head = KsPropertySerialHeader { property_set: SET, count: entries.len() as u32 };
    [head.as_bytes(), &entries.concat()].concat()
}

fn take(bench: &Bench, block: &[u8]) -> Outcome {
    let request = property(SET, 0, KSPROPERTY_TYPE_UNSERIALIZESET);
    bench.property(bench.filter, request.as_bytes(), &mut block.to_vec())
}

#[test]
fn a_set_is_serialized_and_written_back() {
    let store = store();
    let bench = bench_of(&store);
    let serialize = property(SET, 0, KSPROPERTY_TYPE_SERIALIZESET);
    let whole = bench.whole(bench.filter, serialize.as_bytes());
    let none = KsIdentifier::default();
    let mut expected = block(&[
        entry(TYPE, NUMBER, &7u32.to_le_bytes()),
        entry(none, LIST, &list(&[1, 2])),
        entry(none, THREE_BYTES, &[9, 8, 7]),
    ]);
    // Nothing is padded behind the last value.
    expected.pop();
    assert_eq!(whole, expected);
    assert_eq!(whole.len(), 20 + (32 + 4) + (32 + 24) + (32 + 3));
    for room in 1..whole.len() {
        let (outcome, left) = bench.ask(bench.filter, serialize.as_bytes(), room);
        assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_TOO_SMALL, 0), "room for {room}");
        assert!(left.iter().all(|byte| *byte == 0xEE));
    }
    *store.lock() = Held { number: 50, list: list(&[]), three: [0; 3], ..Held::default() };
    let outcome = take(&bench, &whole);
    assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 0));
    let held = store.lock();
    assert_eq!((held.number, held.list.as_slice(), held.three), (7, list(&[1, 2]).as_slice(), [9, 8, 7]));
}

#[test]
fn a_set_of_the_class_driver_has_an_empty_serialized_form() {
    let bench = bench_of(&store());
    for set in [KSPROPSETID_Pin, KSPROPSETID_Topology, KSPROPSETID_General] {
        let whole = bench.whole(bench.filter, property(set, 0, KSPROPERTY_TYPE_SERIALIZESET).as_bytes());
        assert_eq!(whole, KsPropertySerialHeader { property_set: set, count: 0 }.as_bytes());
    }
    for verb in [KSPROPERTY_TYPE_SERIALIZESET, KSPROPERTY_TYPE_UNSERIALIZESET] {
        let refused = bench.ask(bench.filter, property(ATTRIBUTE, 0, verb).as_bytes(), 64).0;
        assert_eq!(refused.status, STATUS_PROPSET_NOT_FOUND);
    }
}

#[test]
fn a_serialized_set_that_does_not_add_up_changes_nothing() {
    let store = store();
    let bench = bench_of(&store);
    let none = KsIdentifier::default();
    let good = block(&[entry(TYPE, NUMBER, &8u32.to_le_bytes()), entry(none, THREE_BYTES, &[1, 2, 3])]);
    let unchanged = |what: &str| {
        let held = store.lock();
        assert_eq!((held.number, held.three), (7, [9, 8, 7]), "{what}");
    };
    assert_eq!(take(&bench, &[]).status, STATUS_BUFFER_OVERFLOW);
    for cut in 1..20 {
        assert_eq!(take(&bench, &good[..cut]).status, STATUS_BUFFER_TOO_SMALL, "cut at {cut}");
        unchanged("a header cut off");
    }
    // The last byte is padding.
    for cut in 20..good.len() - 1 {
        assert_eq!(take(&bench, &good[..cut]).status, STATUS_INVALID_BUFFER_SIZE, "cut at {cut}");
        unchanged("a block cut off");
    }
    let patched = |at: usize, word: u32| {
        let mut block = good.clone();
        block[at..at + 4].copy_from_slice(&word.to_le_bytes());
        block
    };
    let other_set = patched(0, 0);
    let (count, id, length) = (16, 20 + 24, 20 + 28);
    let wrong_type = [patched(20 + 16, 3), patched(20 + 20, 1), patched(20, 0)];
    let cases = [
        (other_set, STATUS_INVALID_PARAMETER),
        (patched(count, 3), STATUS_INVALID_BUFFER_SIZE),
        (patched(count, u32::MAX), STATUS_INVALID_BUFFER_SIZE),
        (patched(count, 1), STATUS_INVALID_BUFFER_SIZE),
        (patched(count, 0), STATUS_INVALID_BUFFER_SIZE),
        (patched(length, u32::MAX), STATUS_INVALID_BUFFER_SIZE),
        (patched(length, 0x8000_0000), STATUS_INVALID_BUFFER_SIZE),
        (patched(id, 99), STATUS_NOT_FOUND),
        (patched(id, APART), STATUS_NOT_FOUND),
        (patched(id, RAW), STATUS_NOT_FOUND),
    ];
    for (index, (block, status)) in
        cases.into_iter().chain(wrong_type.map(|b| (b, STATUS_INVALID_PARAMETER))).enumerate()
    {
        let refused = take(&bench, &block);
        assert_eq!(refused.status, status, "case {index}");
        assert_eq!(refused.refusal.unwrap().aspect, Aspect::Request);
        unchanged("a refused block");
    }
    assert_eq!(take(&bench, &good).status, STATUS_SUCCESS);
    assert_eq!(store.lock().number, 8);
}

#[test]
fn the_first_value_that_is_refused_ends_the_writing() {
    let store = store();
    let bench = bench_of(&store);
    let none = KsIdentifier::default();
    let three = |bytes: [u8; 3]| entry(none, THREE_BYTES, &bytes);
    let blocks = [
        (entry(TYPE, NUMBER, &101u32.to_le_bytes()), STATUS_INVALID_PARAMETER),
        (entry(TYPE, NUMBER, &[1, 2, 3]), STATUS_BUFFER_TOO_SMALL),
    ];
    for (refused, status) in blocks {
        let outcome = take(&bench, &block(&[three([1, 1, 1]), refused, three([2, 2, 2])]));
        assert_eq!(outcome.status, status, "the status that a SET of it has");
        let held = store.lock();
        assert_eq!(
            (held.three, held.number),
            ([1, 1, 1], 7),
            "what stands before it is written, and nothing behind it"
        );
    }
}

#[test]
fn a1_a_request_that_the_class_driver_makes_is_still_its_clients() {
    let store = store();
    let bench = bench_of(&store);
    let client = bench.session.origin().client();
    let direct = property(SET, KERNEL_ONLY, KSPROPERTY_TYPE_SET);
    let direct = bench.property(bench.filter, direct.as_bytes(), &mut [0; 4]).status;
    assert_eq!(direct, STATUS_INVALID_DEVICE_REQUEST);
    let none = KsIdentifier::default();
    let guarded = entry(none, KERNEL_ONLY, &[0; 4]);
    assert_eq!(take(&bench, &block(std::slice::from_ref(&guarded))).status, direct, "the same by way of the set");
    let node = KspNode {
        property: property(SET, 0, KSPROPERTY_TYPE_UNSERIALIZESET | KSPROPERTY_TYPE_TOPOLOGY),
        node_id: 1,
        reserved: 0,
    };
    let by_node = bench.property(bench.filter, node.as_bytes(), &mut block(std::slice::from_ref(&guarded)));
    assert_eq!(by_node.status, direct, "and by way of a node");
    let pin = bench.pin(OUT);
    let unserialize = property(SET, 0, KSPROPERTY_TYPE_UNSERIALIZESET);
    let on_pin =
        |handle| bench.property(handle, unserialize.as_bytes(), &mut block(std::slice::from_ref(&guarded))).status;
    assert_eq!(on_pin(pin), direct, "and on a pin");
    let held = std::mem::take(&mut store.lock().asked);
    assert_eq!(held, vec![(RequestorMode::User, client); 4], "every time the client itself was asking");
    // A block in a block asks for no request of its own, however deep it is.
    let mut nested = guarded;
    for depth in 1..=16 {
        let asks = KsIdentifier::new(SET, KERNEL_ONLY, KSPROPERTY_TYPE_UNSERIALIZESET);
        nested = entry(asks, KERNEL_ONLY, &block(&[nested]));
        assert_eq!(take(&bench, &block(&[nested.clone()])).status, STATUS_INVALID_PARAMETER, "depth {depth}");
    }
    for verb in [KSPROPERTY_TYPE_SERIALIZERAW, KSPROPERTY_TYPE_UNSERIALIZERAW, KSPROPERTY_TYPE_RELATIONS] {
        let _ = bench.ask(bench.filter, property(SET, KERNEL_ONLY, verb).as_bytes(), 256);
    }
    let held = store.lock();
    assert_eq!((held.asked.len(), held.marked), (0, 0), "the guard was not even asked");
}

#[test]
fn the_serialized_size_is_that_of_the_value() {
    let bench = bench_of(&store());
    let size = |id| {
        let request = property(SET, id, KSPROPERTY_TYPE_SERIALIZESIZE);
        assert_eq!(bench.ask(bench.filter, request.as_bytes(), 3).0.status, STATUS_BUFFER_TOO_SMALL);
        u32::read_from_bytes(&bench.whole(bench.filter, request.as_bytes())).expect("a ULONG")
    };
    assert_eq!([NUMBER, LIST, THREE_BYTES, APART].map(size), [4, 24, 3, 0]);
    let unknown = property(SET, 99, KSPROPERTY_TYPE_SERIALIZESIZE);
    assert_eq!(bench.ask(bench.filter, unknown.as_bytes(), 4).0.status, STATUS_NOT_FOUND);
}

#[test]
fn the_raw_form_is_the_support_handlers() {
    let store = store();
    let bench = bench_of(&store);
    let raw = |verb| property(SET, RAW, verb);
    let write = raw(KSPROPERTY_TYPE_UNSERIALIZERAW);
    assert_eq!(bench.property(bench.filter, write.as_bytes(), &mut b"any form".to_vec()).status, STATUS_SUCCESS);
    assert_eq!(bench.whole(bench.filter, raw(KSPROPERTY_TYPE_SERIALIZERAW).as_bytes()), b"any form");
    for verb in [KSPROPERTY_TYPE_SERIALIZERAW, KSPROPERTY_TYPE_UNSERIALIZERAW] {
        let (outcome, _) = bench.ask(bench.filter, property(SET, NUMBER, verb).as_bytes(), 16);
        assert_eq!(outcome.status, STATUS_NOT_FOUND, "without a support handler the call fails");
    }
}

#[test]
fn the_payload_size_is_that_of_the_answer() {
    let bench = bench_of(&store());
    let size = |id| bench.ask(bench.filter, property(SET, id, KSPROPERTY_TYPE_GETPAYLOADSIZE).as_bytes(), 4);
    assert_eq!(size(LIST).1, 24u32.to_le_bytes());
    assert_eq!(size(NUMBER).1, 4u32.to_le_bytes());
    assert_eq!(size(KERNEL_ONLY).0.status, STATUS_NOT_FOUND, "an item that is only written");
}

#[test]
fn flags_beside_get_and_set_change_nothing() {
    let store = store();
    let bench = bench_of(&store);
    for flag in [KSPROPERTY_TYPE_COPYPAYLOAD, KSPROPERTY_TYPE_HIGHPRIORITY, KSPROPERTY_TYPE_FSFILTERSCOPE] {
        let get = property(SET, NUMBER, KSPROPERTY_TYPE_GET | flag);
        assert_eq!(bench.value::<u32>(bench.filter, get.as_bytes()), store.lock().number);
        let set = property(SET, NUMBER, KSPROPERTY_TYPE_SET | flag);
        let number = store.lock().number + 1;
        assert_eq!(bench.property(bench.filter, set.as_bytes(), &mut number.to_le_bytes()).status, STATUS_SUCCESS);
        assert_eq!(store.lock().number, number);
        for verb in [0, KSPROPERTY_TYPE_BASICSUPPORT, KSPROPERTY_TYPE_SETSUPPORT, KSPROPERTY_TYPE_SERIALIZESET] {
            let refused = bench.ask(bench.filter, property(SET, NUMBER, verb | flag).as_bytes(), 64).0;
            assert_eq!(refused.status, STATUS_INVALID_PARAMETER, "{verb:#x} with {flag:#x}");
        }
    }
}

#[test]
fn a_node_answers_for_a_filter_and_for_a_pin() {
    let store = store();
    let bench = bench_of(&store);
    let pin = bench.pin(OUT);
    let ask = |handle, node_id, verb| {
        let request =
            KspNode { property: property(SET, NUMBER, verb | KSPROPERTY_TYPE_TOPOLOGY), node_id, reserved: 0 };
        bench.ask(handle, request.as_bytes(), 256)
    };
    for handle in [bench.filter, pin] {
        assert_eq!(ask(handle, 1, KSPROPERTY_TYPE_GET).1, 7u32.to_le_bytes());
        assert_eq!(ask(handle, 0, KSPROPERTY_TYPE_GET).0.status, STATUS_PROPSET_NOT_FOUND, "node 0 has no table");
        let refused = ask(handle, 2, KSPROPERTY_TYPE_GET).0;
        assert_eq!(refused.status, STATUS_INVALID_PARAMETER);
        assert!(refused.refusal.unwrap().reason.contains("2 topology nodes"));
        let (outcome, block) = ask(handle, 1, KSPROPERTY_TYPE_SERIALIZESET);
        assert_eq!((outcome.status, block.len()), (STATUS_SUCCESS, 147), "the set of the node is serialized");
        let short = property(SET, NUMBER, KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY);
        assert_eq!(bench.ask(handle, short.as_bytes(), 4).0.status, STATUS_INVALID_BUFFER_SIZE);
    }
}

#[test]
fn lists_of_members_have_the_sizes_of_their_structures() {
    let long = KsPropertyBoundsLong { minimum: -5, maximum: 5 };
    let wide = KsPropertyBoundsLongLong { minimum: -1, maximum: i64::MAX };
    let items: Vec<PropertyItem<Filter>> = [
        PropertyMembers::ranges(&[long, long]),
        PropertyMembers::ranges(&[wide]),
        PropertyMembers::stepped(&[KsPropertySteppingLong { stepping_delta: 2, reserved: 0, bounds: long }]),
        PropertyMembers::stepped(&[KsPropertySteppingLongLong { stepping_delta: 1 << 40, bounds: wide }]),
        PropertyMembers::values(&[1u32, 2, 4]),
    ]
    .into_iter()
    .enumerate()
    .map(|(id, list)| {
        let list = list.flagged(KSPROPERTY_MEMBER_FLAG_BASICSUPPORT_UNIFORM);
        let values = PropertyValues::of_type(3, vec![list, PropertyMembers::default_value(0i32)]);
        PropertyItem::new(id as u32).get(|_: &Filter, call: &mut PropertyCall<'_>| call.answer(&[])).values(values)
    })
    .collect();
    let table = AutomationTable::of_properties(vec![PropertySet { set: SET, items }]);
    let bench = bench_with(|_| (), Some(table), None);
    let kinds = [(1, 8, 2), (1, 16, 1), (2, 16, 1), (2, 24, 1), (3, 4, 3)];
    for (id, (kind, member_bytes, count)) in kinds.into_iter().enumerate() {
        let request = property(SET, id as u32, KSPROPERTY_TYPE_BASICSUPPORT);
        let whole = bench.whole(bench.filter, request.as_bytes());
        assert_eq!(whole.len(), 40 + 16 + (member_bytes * count) as usize + 16 + 4);
        let (head, _) = KsPropertyMembersHeader::read_from_prefix(&whole[40..]).unwrap();
        let told = (head.members_flags, head.members_size, head.members_count, head.flags);
        assert_eq!(told, (kind, member_bytes, count, KSPROPERTY_MEMBER_FLAG_BASICSUPPORT_UNIFORM));
        let members = &whole[56..56 + (member_bytes * count) as usize];
        match id {
            0 => assert_eq!(members, [long, long].as_bytes()),
            2 => assert_eq!(&members[..4], 2u32.to_le_bytes()),
            3 => assert_eq!(&members[..8], (1u64 << 40).to_le_bytes()),
            _ => {}
        }
    }
}
