//! Property requests: the protocol of each verb, and what the class driver answers by itself. The expected values are
//! those of the documentation.

mod support;

use ks_abi::*;
use ks_io::{Aspect, Transport};
use ks_stream::{AutomationTable, Filter, Pin, PropertyItem, PropertyMembers, PropertySet, PropertyValues};
use support::specimen::*;
use support::video;
use zerocopy::{FromBytes, IntoBytes};

const DRIVER_SET: Guid = Guid::from_u128(0x77777777_2222_3333_4444_555555555555);
const GET: u32 = KSPROPERTY_TYPE_GET;
const SET: u32 = KSPROPERTY_TYPE_SET;

/// The items of a `KSMULTIPLE_ITEM` list of fixed-size items, whose head must add up.
fn items<T: FromBytes>(list: &[u8]) -> Vec<T> {
    let (head, mut rest) = KsMultipleItem::read_from_prefix(list).expect("a head");
    assert_eq!(head.size as usize, list.len(), "Size includes the head");
    let mut items = Vec::new();
    for _ in 0..head.count {
        items.push(T::read_from_prefix(rest).expect("as many items as Count").0);
        let step = size_of::<T>().next_multiple_of(8).min(rest.len());
        rest = &rest[step..];
    }
    assert!(rest.is_empty(), "nothing behind the last item");
    items
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).expect("UTF-16")
}

#[test]
fn a_client_discovers_pins_by_property_requests() {
    let bench = bench();
    let filter = bench.filter;
    let of = |item, pin| of_pin(item, pin);
    let ctypes = property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, GET);
    assert_eq!(bench.value::<u32>(filter, ctypes.as_bytes()), PIN_COUNT);

    let flow = |pin| bench.value::<KsPinDataFlow>(filter, of(KSPROPERTY_PIN_DATAFLOW, pin).as_bytes());
    assert_eq!((flow(OUT), flow(IN)), (KsPinDataFlow::OUT, KsPinDataFlow::IN));
    let role = |pin| bench.value::<KsPinCommunication>(filter, of(KSPROPERTY_PIN_COMMUNICATION, pin).as_bytes()).0;
    assert_eq!([OUT, IN, OUT_SOURCE_ONLY, NO_COMMUNICATION, BRIDGE].map(role), [3, 1, 2, 0, 4]);

    let instances = |pin| bench.value::<KsPinCInstances>(filter, of(KSPROPERTY_PIN_CINSTANCES, pin).as_bytes());
    assert_eq!(instances(IN), KsPinCInstances { possible_count: 2, current_count: 0 });
    let pins = [bench.pin(IN), bench.pin(IN)];
    assert_eq!(instances(IN), KsPinCInstances { possible_count: 2, current_count: 2 });
    let _ = bench.session.close(pins[0]);
    assert_eq!(instances(IN), KsPinCInstances { possible_count: 2, current_count: 1 });
    assert_eq!(instances(NON_STANDARD).possible_count, u32::MAX, "no limit is 0xFFFFFFFF");
    assert_eq!(bench.value::<u32>(filter, of(KSPROPERTY_PIN_NECESSARYINSTANCES, IN).as_bytes()), 0);

    for item in [KSPROPERTY_PIN_DATARANGES, KSPROPERTY_PIN_CONSTRAINEDDATARANGES] {
        let list = bench.whole(filter, of(item, IN).as_bytes());
        let (head, rest) = KsMultipleItem::read_from_prefix(&list).unwrap();
        assert_eq!((head.size as usize, head.count), (8 + 64 + 82, 2));
        assert_eq!(&rest[..64], video().bytes(), "the preferred range comes first");
        assert_eq!(&rest[64..], audio().bytes());
    }
    let three = bench_with(|filter| filter.pins[1].data_ranges.reverse(), None, None);
    let list = three.whole(three.filter, of(KSPROPERTY_PIN_DATARANGES, IN).as_bytes());
    assert_eq!(list.len(), 8 + 88 + 64, "a range of 82 bytes is followed by one at a multiple of eight");
    assert_eq!(&list[96..], video().bytes());

    let identities = |item, pin| items::<KsIdentifier>(&bench.whole(filter, of(item, pin).as_bytes()));
    assert_eq!(identities(KSPROPERTY_PIN_INTERFACES, IN), [KsIdentifier::STANDARD_STREAMING, LOOPED]);
    assert_eq!(identities(KSPROPERTY_PIN_MEDIUMS, IN), [OTHER_MEDIUM, KsIdentifier::STANDARD_DEVIO]);
    assert_eq!(identities(KSPROPERTY_PIN_INTERFACES, OUT), [KsIdentifier::STANDARD_STREAMING], "the default list");
    assert_eq!(identities(KSPROPERTY_PIN_MEDIUMS, OUT), [KsIdentifier::STANDARD_DEVIO], "the default list");

    assert_eq!(bench.value::<Guid>(filter, of(KSPROPERTY_PIN_CATEGORY, OUT).as_bytes()), PINNAME_VIDEO_CAPTURE);
    assert_eq!(bench.ask(filter, of(KSPROPERTY_PIN_CATEGORY, IN).as_bytes(), 16).0.status, STATUS_NOT_FOUND);
    assert_eq!(utf16(&bench.whole(filter, of(KSPROPERTY_PIN_NAME, OUT).as_bytes())), "Capture\0");
    assert_eq!(bench.ask(filter, of(KSPROPERTY_PIN_NAME, IN).as_bytes(), 64).0.status, STATUS_NOT_FOUND);

    for item in 0..=13 {
        if item == KSPROPERTY_PIN_CTYPES || item == KSPROPERTY_PIN_GLOBALCINSTANCES || item == 10 {
            continue;
        }
        let mut request = of(item, PIN_COUNT).as_bytes().to_vec();
        request.extend_from_slice(&range_list(&[video()]));
        let (outcome, _) = bench.ask(filter, &request, 256);
        assert_eq!(outcome.status, STATUS_INVALID_PARAMETER, "item {item} of a pin that is not there");
        assert_eq!(outcome.refusal.unwrap().aspect, Aspect::PinId);
        let (outcome, _) = bench.ask(filter, &request[..31], 256);
        assert_eq!(outcome.status, STATUS_INVALID_BUFFER_SIZE, "item {item} needs a KSP_PIN");
    }
}

fn intersect(bench: &Bench, pin: u32, ranges: &[ks_stream::DataRange], room: usize) -> (ks_io::Outcome, Vec<u8>) {
    let mut request = of_pin(KSPROPERTY_PIN_DATAINTERSECTION, pin).as_bytes().to_vec();
    request.extend_from_slice(&range_list(ranges));
    bench.ask(bench.filter, &request, room)
}

#[test]
fn data_intersection_takes_the_first_pair_that_gives_a_format() {
    let bench = bench();
    let tried: ks_io::sync::Arc<ks_io::sync::Mutex<Vec<(Guid, Guid)>>> = Default::default();
    let script = |answer: fn(&ks_stream::DataRange) -> Result<ks_stream::DataFormat, ks_io::Refusal>| {
        let tried = tried.clone();
        *bench.script.intersect.lock() = Some(Box::new(move |range, matching| {
            tried.lock().push((range.head().major_format, matching.head().major_format));
            answer(range)
        }));
    };
    let (video_type, audio_type) = (KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_TYPE_AUDIO);
    let wildcard = ks_stream::DataFormat::new(KsDataFormat::new(Guid::NULL, Guid::NULL, Guid::NULL, 0), &[]);

    script(|_| Ok(video()));
    // The client's order decides first: its audio range comes before its video range.
    let (outcome, format) = intersect(&bench, IN, &[audio(), video()], 64);
    assert_eq!((outcome.status, outcome.information, format.as_slice()), (STATUS_SUCCESS, 64, video().bytes()));
    assert_eq!(std::mem::take(&mut *tried.lock()), [(audio_type, audio_type)]);
    // A wildcard meets the factory's ranges in the factory's order; no match means: try the next pair.
    script(|_| Err(no_match()));
    let (outcome, _) = intersect(&bench, IN, &[wildcard.clone(), audio()], 64);
    assert_eq!(outcome.status, STATUS_NO_MATCH);
    assert_eq!(
        std::mem::take(&mut *tried.lock()),
        [(Guid::NULL, video_type), (Guid::NULL, audio_type), (audio_type, audio_type)]
    );
    // Any other error ends the search.
    script(|_| Err(refusal()));
    assert_eq!(intersect(&bench, IN, &[wildcard, audio()], 64).0.status, STATUS_UNSUCCESSFUL);
    assert_eq!(std::mem::take(&mut *tried.lock()).len(), 1);
    // Each of the three GUIDs is compared by itself, even below a wildcard.
    script(|_| Ok(video()));
    let only_sub = KsDataFormat::new(Guid::NULL, KSDATAFORMAT_SUBTYPE_PCM, Guid::NULL, 0);
    let found = intersect(&bench, IN, &[ks_stream::DataFormat::new(only_sub, &[])], 64).0.status;
    assert_eq!((found, std::mem::take(&mut *tried.lock())), (STATUS_SUCCESS, vec![(Guid::NULL, audio_type)]));
    let other = KsDataFormat::new(video_type, KSDATAFORMAT_SUBTYPE_YUY2, KSDATAFORMAT_SPECIFIER_NONE, 0);
    let (outcome, _) = intersect(&bench, OUT, &[ks_stream::DataFormat::new(other, &[])], 64);
    assert_eq!(outcome.status, STATUS_NO_MATCH);
    assert_eq!(outcome.refusal.unwrap().aspect, Aspect::SubFormat);
    assert!(tried.lock().is_empty(), "a pair that does not match is not handed to the driver");
    // An attribute that one side requires must be among the other's.
    assert_eq!(intersect(&bench, ATTRIBUTED, &[video()], 64).0.status, STATUS_NO_MATCH);
    let with = attributed(&video(), 0, 0, ATTRIBUTE);
    assert_eq!(intersect(&bench, ATTRIBUTED, &[with], 64).0.status, STATUS_SUCCESS);
    // The two-call protocol.
    let (outcome, _) = intersect(&bench, OUT, &[video()], 0);
    assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_OVERFLOW, 64));
    let (outcome, _) = intersect(&bench, OUT, &[video()], 63);
    assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_TOO_SMALL, 0));
    assert_eq!(intersect(&bench, OUT, &[], 64).0.status, STATUS_NO_MATCH, "no range shares nothing");
}

#[test]
fn a_proposed_format_is_tested_and_changes_nothing() {
    let bench = bench();
    let (pin, fixed) = (bench.pin(IN), bench.pin(FIXED));
    bench.script.taken();
    let propose = |pin_id, format: &ks_stream::DataFormat| {
        let mut request = of_pin(KSPROPERTY_PIN_PROPOSEDATAFORMAT, pin_id);
        request.property.flags = SET;
        bench.property(bench.filter, request.as_bytes(), &mut format.bytes().to_vec()).status
    };
    assert_eq!(propose(IN, &audio()), STATUS_SUCCESS);
    assert_eq!(propose(OUT, &audio()), STATUS_NO_MATCH);
    assert_eq!(propose(ATTRIBUTED, &video()), STATUS_NO_MATCH, "the range requires an attribute");
    assert_eq!(propose(ATTRIBUTED, &attributed(&video(), 0, 1, ATTRIBUTE)), STATUS_SUCCESS);
    *bench.script.accept.lock() = Some(Box::new(|_, _| Err(no_match())));
    assert_eq!(propose(IN, &audio()), STATUS_NO_MATCH, "the driver has the last word");
    *bench.script.accept.lock() = None;
    bench.script.taken();
    // On the pin itself: the same test, against the living pin.
    let on_pin = |pin, format: &ks_stream::DataFormat| {
        let request = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT, SET);
        bench.property(pin, request.as_bytes(), &mut format.bytes().to_vec()).status
    };
    assert_eq!(on_pin(pin, &audio()), STATUS_SUCCESS);
    assert_eq!(on_pin(pin, &attributed(&audio(), 0, 1, ATTRIBUTE)), STATUS_NO_MATCH);
    assert_eq!(on_pin(fixed, &audio()), STATUS_NO_MATCH, "it keeps the format that it was created with");
    assert!(!bench.script.taken().contains(&"format".to_string()), "SetDataFormat was not called");
    let format = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, GET);
    assert_eq!(bench.whole(pin, format.as_bytes()), video().bytes());
}

#[test]
fn topology_lists_categories_nodes_and_connections() {
    let list = |bench: &Bench, id| bench.whole(bench.filter, property(KSPROPSETID_Topology, id, GET).as_bytes());
    let bench = bench_with(|filter| filter.pins.truncate(2), None, None);
    let categories = items::<Guid>(&list(&bench, KSPROPERTY_TOPOLOGY_CATEGORIES));
    assert_eq!(categories, [KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO], "the device interface classes");
    assert_eq!(items::<Guid>(&list(&bench, KSPROPERTY_TOPOLOGY_NODES)), []);
    let connections = items::<KsTopologyConnection>(&list(&bench, KSPROPERTY_TOPOLOGY_CONNECTIONS));
    let filter = KSFILTER_NODE;
    let outward = KsTopologyConnection { from_node: 0, from_node_pin: 0, to_node: filter, to_node_pin: 0 };
    let inward = KsTopologyConnection { from_node: filter, from_node_pin: 1, to_node: 0, to_node_pin: 1 };
    assert_eq!(connections, [outward, inward], "by default every pin meets its number on one node, by its data flow");

    let own = KsTopologyConnection { from_node: filter, from_node_pin: 1, to_node: 0, to_node_pin: 9 };
    let edit = |filter: &mut ks_stream::FilterDescriptor| {
        filter.nodes = vec![KSNODETYPE_VOLUME];
        filter.connections = vec![own];
    };
    let bench = bench_with(edit, None, None);
    assert_eq!(items::<Guid>(&list(&bench, KSPROPERTY_TOPOLOGY_NODES)), [KSNODETYPE_VOLUME]);
    assert_eq!(items::<KsTopologyConnection>(&list(&bench, KSPROPERTY_TOPOLOGY_CONNECTIONS)), [own]);
    let name = |node_id| KspNode {
        property: property(KSPROPSETID_Topology, KSPROPERTY_TOPOLOGY_NAME, GET),
        node_id,
        reserved: 0,
    };
    assert_eq!(utf16(&bench.whole(bench.filter, name(0).as_bytes())), "KSNODETYPE_VOLUME\0", "of its type");
    let named = bench_with(
        |filter| {
            filter.nodes = vec![KSNODETYPE_VOLUME, KSNODETYPE_MUTE];
            filter.node_names = vec!["Master volume"];
        },
        None,
        None,
    );
    assert_eq!(utf16(&named.whole(named.filter, name(0).as_bytes())), "Master volume\0");
    assert_eq!(utf16(&named.whole(named.filter, name(1).as_bytes())), "KSNODETYPE_MUTE\0");
    assert_eq!(bench.ask(bench.filter, name(1).as_bytes(), 64).0.status, STATUS_INVALID_PARAMETER);
    assert_eq!(bench.ask(bench.filter, &name(0).as_bytes()[..31], 64).0.status, STATUS_INVALID_BUFFER_SIZE);
}

#[test]
fn a_filter_tells_its_component_id() {
    let request = property(KSPROPSETID_General, KSPROPERTY_GENERAL_COMPONENTID, GET);
    let bench = bench();
    let id: KsComponentId = bench.value(bench.filter, request.as_bytes());
    assert_eq!((id.component, id.version, id.revision), (ATTRIBUTE, 7, 3));
    assert_eq!(bench.ask(bench.filter, request.as_bytes(), 71).0.status, STATUS_BUFFER_TOO_SMALL);
    let none = bench_with(|filter| filter.component_id = None, None, None);
    assert_eq!(none.ask(none.filter, request.as_bytes(), 72).0.status, STATUS_NOT_FOUND);
}

#[test]
fn a_pin_steps_through_its_states_and_back() {
    let bench = bench();
    let pin = bench.pin(OUT);
    bench.script.taken();
    assert_eq!(bench.state(pin), KsState::STOP, "a fresh pin is in STOP and no callback said so");
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN, KsState::PAUSE, KsState::ACQUIRE, KsState::STOP] {
        assert_eq!(bench.set_state(pin, state).status, STATUS_SUCCESS);
        assert_eq!(bench.state(pin), state);
    }
    let (stop, acquire, pause, run) = (KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN);
    let steps = [(stop, acquire), (acquire, pause), (pause, run), (run, pause), (pause, acquire), (acquire, stop)];
    assert_eq!(bench.script.taken(), steps.map(|(from, to)| format!("{from}->{to}")));
}

#[test]
fn a_fixed_format_is_read_and_cannot_be_set() {
    let bench = bench();
    let read = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, GET);
    let write = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, SET);
    let (fixed, free) = (bench.pin(FIXED), bench.pin(IN));
    bench.script.taken();
    let set = |pin, format: &ks_stream::DataFormat| bench.property(pin, write.as_bytes(), &mut format.bytes().to_vec());
    assert_eq!(bench.whole(fixed, read.as_bytes()), video().bytes());
    assert_eq!(set(fixed, &audio()).status, STATUS_INVALID_DEVICE_REQUEST);
    assert_eq!(set(fixed, &video()).status, STATUS_INVALID_DEVICE_REQUEST, "not even to what it is");
    assert_eq!(bench.whole(fixed, read.as_bytes()), video().bytes());
    assert!(bench.script.taken().is_empty(), "the driver was not asked");
    // A pin without that flag takes every format of its ranges that its driver takes.
    assert_eq!(set(free, &audio()).status, STATUS_SUCCESS);
    assert_eq!(bench.script.taken(), ["format"]);
    assert_eq!(bench.whole(free, read.as_bytes()), audio().bytes());
    let wild = ks_stream::DataFormat::new(KsDataFormat::new(Guid::NULL, Guid::NULL, Guid::NULL, 0), &[]);
    assert_eq!(set(free, &wild).status, STATUS_NO_MATCH, "wildcards are for ranges");
    assert!(bench.script.taken().is_empty());
}

#[test]
fn framing_is_told_in_both_forms() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let ask = |id| property(KSPROPSETID_Connection, id, GET);
    let plain: KsAllocatorFraming = bench.value(pin, ask(KSPROPERTY_CONNECTION_ALLOCATORFRAMING).as_bytes());
    assert_eq!((plain.frames, plain.frame_size, plain.file_alignment), (5, 1000, 63), "an alignment is told as a mask");
    assert_eq!(plain.flags & KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY, KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY);
    assert_eq!(plain.reserved, 0);
    let whole = bench.whole(pin, ask(KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX).as_bytes());
    let extended = KsAllocatorFramingEx::read_from_bytes(&whole).unwrap();
    assert_eq!((extended.count_items, extended.pin_flags, extended.pin_weight), (1, 0, 0));
    let compression = extended.output_compression;
    let told = (compression.ratio_numerator, compression.ratio_denominator, compression.ratio_constant_margin);
    assert_eq!(told, (1, 1, 0), "one item, no compression: the simple framing");
    let item = extended.framing_item[0];
    assert_eq!((item.frames, item.file_alignment, item.bus_type), (5, 63, Guid::NULL));
    let physical = item.physical_range;
    assert_eq!((physical.min_frame_size, physical.max_frame_size, physical.stepping), (0, u32::MAX, 1));
    let range = item.framing_range.range;
    assert_eq!((range.min_frame_size, range.max_frame_size), (1000, 1000));
    // Without framing in the descriptor neither property is there.
    let without = bench.pin(IN);
    for id in [KSPROPERTY_CONNECTION_ALLOCATORFRAMING, KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX] {
        assert_eq!(bench.ask(without, ask(id).as_bytes(), 256).0.status, STATUS_NOT_FOUND);
    }
}

/// A driver's own set with one item of each kind.
fn driver_table<T: 'static>() -> AutomationTable<T> {
    let members = |flags, value: i32| PropertyMembers {
        kind: KSPROPERTY_MEMBER_VALUES,
        flags,
        member_bytes: 4,
        members: value.to_le_bytes().to_vec(),
    };
    let bounds = PropertyMembers {
        kind: KSPROPERTY_MEMBER_STEPPEDRANGES,
        flags: 0,
        member_bytes: 16,
        members: [1u32, 0, 0, 100].iter().flat_map(|word| word.to_le_bytes()).collect(),
    };
    let values = PropertyValues {
        value_type: KsIdentifier::new(KSPROPTYPESETID_General, 3, 0),
        members: vec![bounds, members(KSPROPERTY_MEMBER_FLAG_DEFAULT, 50)],
    };
    let related = KsIdentifier::new(DRIVER_SET, 1, 0);
    let mut described = PropertyItem::new(0)
        .data_bytes(4)
        .get(|_: &T, call: &mut ks_stream::PropertyCall<'_>| call.answer_value(&42u32))
        .set(|_: &T, call: &mut ks_stream::PropertyCall<'_>| match call.data_as::<u32>() {
            Ok(value) if value <= 100 => STATUS_SUCCESS,
            Ok(_) => STATUS_INVALID_PARAMETER,
            Err(status) => status,
        })
        .values(values);
    described.relations = vec![related, KsIdentifier::new(KSPROPSETID_Connection, 0, 0)];
    let only_get = PropertyItem::new(1).get(|_: &T, call: &mut ks_stream::PropertyCall<'_>| call.answer(b"five!"));
    let only_set = PropertyItem::new(2).set(|_: &T, _: &mut ks_stream::PropertyCall<'_>| STATUS_SUCCESS);
    let unruly = PropertyItem::new(3).get(|_: &T, call: &mut ks_stream::PropertyCall<'_>| {
        // Answers twice, the second time with less: only the last answer counts.
        let _ = call.answer(&[1; 16]);
        call.answer(&[2; 8])
    });
    let failing = PropertyItem::new(4).get(|_: &T, call: &mut ks_stream::PropertyCall<'_>| {
        let _ = call.answer(&[1; 16]);
        STATUS_UNSUCCESSFUL
    });
    let items = vec![described, only_get, only_set, unruly, failing];
    AutomationTable::of_properties(vec![PropertySet { set: DRIVER_SET, items }])
}

#[test]
fn a_value_of_variable_size_is_read_in_two_calls() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let request = property(DRIVER_SET, 1, GET);
    let (outcome, _) = bench.ask(bench.filter, request.as_bytes(), 0);
    assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_OVERFLOW, 5));
    for room in 1..5 {
        let (outcome, left) = bench.ask(bench.filter, request.as_bytes(), room);
        assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_TOO_SMALL, 0), "room for {room} bytes");
        assert!(left.iter().all(|byte| *byte == 0xEE), "the buffer is not touched");
    }
    for room in [5, 6, 4096] {
        let mut buffer = vec![0xEE; room];
        let outcome = bench.property(bench.filter, request.as_bytes(), &mut buffer);
        assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 5));
        assert_eq!(&buffer[..5], b"five!");
        assert!(buffer[5..].iter().all(|byte| *byte == 0xEE), "nothing behind the answer is touched");
    }
}

#[test]
fn a_value_of_fixed_size_asks_for_its_size_and_no_less() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let filter = bench.filter;
    let (outcome, _) = bench.ask(filter, property(DRIVER_SET, 0, GET).as_bytes(), 0);
    assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_OVERFLOW, 4));
    assert_eq!(bench.ask(filter, property(DRIVER_SET, 0, GET).as_bytes(), 3).0.status, STATUS_BUFFER_TOO_SMALL);
    let (outcome, answer) = bench.ask(filter, property(DRIVER_SET, 0, GET).as_bytes(), 9);
    assert_eq!((outcome.status, outcome.information, answer), (STATUS_SUCCESS, 4, vec![42, 0, 0, 0]));
    let set =
        |value: u32| bench.property(filter, property(DRIVER_SET, 0, SET).as_bytes(), &mut value.to_le_bytes()).status;
    assert_eq!((set(100), set(101)), (STATUS_SUCCESS, STATUS_INVALID_PARAMETER));
    let short = bench.property(filter, property(DRIVER_SET, 0, SET).as_bytes(), &mut [0; 3]);
    assert_eq!(short.status, STATUS_BUFFER_TOO_SMALL);
}

#[test]
fn basic_support_has_three_sizes() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let filter = bench.filter;
    let request = property(DRIVER_SET, 0, KSPROPERTY_TYPE_BASICSUPPORT);
    // Description 40, a header of 16 with one stepped range of 16, a header of 16 with one value of 4.
    let whole_bytes = 40 + 16 + 16 + 16 + 4;
    let whole = bench.whole(filter, request.as_bytes());
    assert_eq!(whole.len(), whole_bytes);
    let access = GET | SET | KSPROPERTY_TYPE_BASICSUPPORT;
    for room in 1..=whole_bytes + 8 {
        let (outcome, answer) = bench.ask(filter, request.as_bytes(), room);
        match room {
            4 => assert_eq!((outcome.status, answer), (STATUS_SUCCESS, access.to_le_bytes().to_vec())),
            40 => assert_eq!((outcome.status, answer.as_slice()), (STATUS_SUCCESS, &whole[..40])),
            room if room >= whole_bytes => assert_eq!((outcome.status, &answer), (STATUS_SUCCESS, &whole)),
            _ => assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_TOO_SMALL, 0), "{room}"),
        }
    }
    let (description, lists) = KsPropertyDescription::read_from_prefix(&whole).unwrap();
    assert_eq!(description.access_flags, access);
    assert_eq!(description.description_size as usize, whole_bytes, "the size of everything");
    assert_eq!((description.members_list_count, description.reserved), (2, 0));
    assert_eq!(description.prop_type_set, KsIdentifier::new(KSPROPTYPESETID_General, 3, 0));
    let (header, rest) = KsPropertyMembersHeader::read_from_prefix(lists).unwrap();
    assert_eq!((header.members_flags, header.members_size, header.members_count), (2, 16, 1));
    assert_eq!(&rest[12..16], &100u32.to_le_bytes());
    let (header, rest) = KsPropertyMembersHeader::read_from_prefix(&rest[16..]).unwrap();
    assert_eq!((header.members_flags, header.members_size, header.members_count, header.flags), (3, 4, 1, 1));
    assert_eq!(rest, 50u32.to_le_bytes());
}

#[test]
fn basic_support_tells_the_verbs_of_items_without_values() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let support = |set, id| {
        let request = property(set, id, KSPROPERTY_TYPE_BASICSUPPORT);
        bench.value::<u32>(bench.filter, request.as_bytes())
    };
    assert_eq!((support(DRIVER_SET, 1), support(DRIVER_SET, 2)), (GET, SET));
    assert_eq!(support(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES), GET);
    assert_eq!(support(KSPROPSETID_Pin, KSPROPERTY_PIN_PROPOSEDATAFORMAT), SET);
    let request = property(DRIVER_SET, 1, KSPROPERTY_TYPE_BASICSUPPORT);
    let whole = bench.whole(bench.filter, request.as_bytes());
    let description = KsPropertyDescription::read_from_bytes(&whole).unwrap();
    assert_eq!((description.description_size, description.members_list_count), (40, 0));
    assert_eq!(description.prop_type_set, KsIdentifier::default(), "no values, no type");
}

#[test]
fn default_values_have_the_form_of_basic_support() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let whole = bench.whole(bench.filter, property(DRIVER_SET, 0, KSPROPERTY_TYPE_DEFAULTVALUES).as_bytes());
    let (description, rest) = KsPropertyDescription::read_from_prefix(&whole).unwrap();
    assert_eq!((description.description_size, description.members_list_count), (60, 1), "only the default list");
    let (header, value) = KsPropertyMembersHeader::read_from_prefix(rest).unwrap();
    assert_eq!((header.members_flags, header.flags), (KSPROPERTY_MEMBER_VALUES, KSPROPERTY_MEMBER_FLAG_DEFAULT));
    assert_eq!(value, 50u32.to_le_bytes());
}

#[test]
fn relations_are_a_sized_list() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let request = property(DRIVER_SET, 0, KSPROPERTY_TYPE_RELATIONS);
    let (outcome, _) = bench.ask(bench.filter, request.as_bytes(), 0);
    assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_OVERFLOW, 56));
    let (outcome, head) = bench.ask(bench.filter, request.as_bytes(), 8);
    assert_eq!((outcome.status, head.as_slice()), (STATUS_SUCCESS, KsMultipleItem { size: 56, count: 2 }.as_bytes()));
    for room in (1..56).filter(|room| *room != 8) {
        assert_eq!(bench.ask(bench.filter, request.as_bytes(), room).0.status, STATUS_BUFFER_TOO_SMALL, "{room}");
    }
    let list = items::<KsIdentifier>(&bench.whole(bench.filter, request.as_bytes()));
    assert_eq!(list, [KsIdentifier::new(DRIVER_SET, 1, 0), KsIdentifier::new(KSPROPSETID_Connection, 0, 0)]);
    let none = property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_RELATIONS);
    assert_eq!(items::<KsIdentifier>(&bench.whole(bench.filter, none.as_bytes())), []);
}

#[test]
fn set_support_tells_of_one_set_or_lists_them_all() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let ask = |set| property(set, 0, KSPROPERTY_TYPE_SETSUPPORT);
    for set in [KSPROPSETID_Pin, KSPROPSETID_Topology, KSPROPSETID_General, DRIVER_SET] {
        assert_eq!(bench.ask(bench.filter, ask(set).as_bytes(), 0).0.status, STATUS_SUCCESS);
    }
    assert_eq!(bench.ask(bench.filter, ask(ATTRIBUTE).as_bytes(), 0).0.status, STATUS_PROPSET_NOT_FOUND);
    let whole = bench.whole(bench.filter, ask(Guid::NULL).as_bytes());
    let sets: Vec<Guid> = whole.chunks_exact(16).map(|one| Guid::read_from_bytes(one).unwrap()).collect();
    assert_eq!(sets, [DRIVER_SET, KSPROPSETID_Pin, KSPROPSETID_Topology, KSPROPSETID_General]);
    let pin = bench.pin(OUT);
    let whole = bench.whole(pin, ask(Guid::NULL).as_bytes());
    assert_eq!(whole.len() % 16, 0);
    for set in [KSPROPSETID_Connection, KSPROPSETID_Stream, KSPROPSETID_StreamInterface] {
        assert!(whole.chunks_exact(16).any(|one| one == set.as_bytes()));
    }
}

#[test]
fn unknown_sets_items_and_verbs_have_their_statuses() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let ask = |set, id, flags| bench.ask(bench.filter, property(set, id, flags).as_bytes(), 64).0.status;
    for verb in [GET, SET, KSPROPERTY_TYPE_BASICSUPPORT, KSPROPERTY_TYPE_RELATIONS, KSPROPERTY_TYPE_DEFAULTVALUES] {
        assert_eq!(ask(ATTRIBUTE, 0, verb), STATUS_PROPSET_NOT_FOUND);
        assert_eq!(ask(DRIVER_SET, 99, verb), STATUS_NOT_FOUND);
    }
    assert_eq!(ask(DRIVER_SET, 2, GET), STATUS_NOT_FOUND, "an item that is only written");
    assert_eq!(ask(DRIVER_SET, 1, SET), STATUS_NOT_FOUND, "an item that is only read");
    // A flag that names no kind of request, one at a time.
    for verb in [0x8, 0x10, 0x80, 0x2_0000, 0x0400_0000, 0x2000_0000] {
        assert_eq!(ask(DRIVER_SET, 0, verb), STATUS_INVALID_PARAMETER, "{verb:#x}");
    }
}

#[test]
fn a_request_asks_for_one_thing() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let ask = |flags| bench.ask(bench.filter, property(DRIVER_SET, 0, flags).as_bytes(), 64).0;
    for flags in
        [0, GET | SET, GET | KSPROPERTY_TYPE_BASICSUPPORT, KSPROPERTY_TYPE_SETSUPPORT | GET, 0x700, u32::MAX >> 4]
    {
        let outcome = ask(flags);
        assert_eq!(outcome.status, STATUS_INVALID_PARAMETER, "{flags:#x}");
        assert_eq!(outcome.refusal.unwrap().aspect, Aspect::Request);
    }
}

#[test]
fn a_drivers_item_wins_over_the_built_in_one() {
    let item = PropertyItem::new(KSPROPERTY_PIN_CTYPES)
        .data_bytes(4)
        .get(|_: &Filter, call: &mut ks_stream::PropertyCall<'_>| call.answer_value(&777u32));
    let table = AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Pin, items: vec![item] }]);
    let state = PropertyItem::new(KSPROPERTY_CONNECTION_STATE)
        .data_bytes(4)
        .get(|_: &Pin, call: &mut ks_stream::PropertyCall<'_>| call.answer_value(&KsState::RUN));
    let pin_table =
        AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Connection, items: vec![state] }]);
    let bench = bench_with(|_| (), Some(table), Some(pin_table));
    let ctypes = property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, GET);
    assert_eq!(bench.value::<u32>(bench.filter, ctypes.as_bytes()), 777);
    let flow: KsPinDataFlow = bench.value(bench.filter, of_pin(KSPROPERTY_PIN_DATAFLOW, OUT).as_bytes());
    assert_eq!(flow, KsPinDataFlow::OUT, "the other items of the set are still the class driver's");
    let pin = bench.pin(OUT);
    assert_eq!(bench.state(pin), KsState::RUN);
    let format = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, GET);
    assert_eq!(bench.whole(pin, format.as_bytes()), video().bytes());
}

#[test]
fn an_answer_never_says_more_than_it_gives() {
    let bench = bench_with(|_| (), Some(driver_table::<Filter>()), None);
    let mut buffer = [0xEE; 16];
    let outcome = bench.property(bench.filter, property(DRIVER_SET, 3, GET).as_bytes(), &mut buffer);
    assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 8));
    assert_eq!(buffer, [[2; 8], [0xEE; 8]].concat()[..], "the last answer, and nothing behind it");
    let mut buffer = [0xEE; 16];
    let outcome = bench.property(bench.filter, property(DRIVER_SET, 4, GET).as_bytes(), &mut buffer);
    assert_eq!((outcome.status, outcome.information), (STATUS_UNSUCCESSFUL, 0));
    assert_eq!(buffer, [0xEE; 16], "a failed request answers nothing");
}

#[test]
fn a_request_cut_off_anywhere_is_refused() {
    let bench = bench();
    let request = of_pin(KSPROPERTY_PIN_DATAFLOW, OUT);
    for cut in 0..request.as_bytes().len() {
        let (outcome, _) = bench.ask(bench.filter, &request.as_bytes()[..cut], 4);
        assert_eq!(outcome.status, STATUS_INVALID_BUFFER_SIZE, "cut at {cut}");
    }
}
