//! The objects that a driver sees: the inline functions of its headers on them, and what stands behind those.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_BASICSUPPORT, KSEVENTSETID_Connection, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_TOPOLOGY, KsIdentifier, KsState, KspNode, STATUS_DEVICE_BUSY, STATUS_INVALID_PARAMETER,
    STATUS_NOT_FOUND, STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS,
};
use ks_client::{Filter, Object, Scope};
use ks_io::AccessMask;
use ks_rig::{Rig, each_seed};
use zerocopy::IntoBytes;

const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e20);
const POINTERS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e40);
const EVENTS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e21);

/// What failed of the driver's own checks.
fn failure(object: &Object, check: u32) -> String {
    failure_of(object, CHECKS, check)
}

fn failure_of(object: &Object, set: Guid, check: u32) -> String {
    let request = KsIdentifier { set, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = object.control(ks_abi::IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "{}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

#[test]
fn every_inline_function_of_the_headers_works_on_living_objects() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/objects.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        assert_eq!(failure(filter.object(), 0), "");
        assert_eq!(failure(pin.pin.object(), 1), "");
        assert_eq!(failure(filter.object(), 2), "", "gates");
        let event = pin.pin.enable_event(EVENTS, 0).unwrap();
        assert_eq!(failure(pin.pin.object(), 1), "", "with an event enabled");
        assert!(event.event().is_set(), "the driver raised it");
        pin.pin.disable_event(event).unwrap();
        assert_eq!(failure(pin.pin.object(), 1), "", "the driver was told that it is enabled no more");
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_controls_its_own_objects_and_those_it_is_connected_to() {
    each_seed(|| {
        const CONTROLS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
        let rig = Rig::start("tests/ks/control.c");
        let (from, to) = (rig.open(), rig.open());
        assert_eq!(failure_of(from.object(), CONTROLS, 0), "");
        let sink = rig.create(&to, 1, None);
        let source = rig.create(&from, 0, Some(&sink));
        for pin in [&source, &sink] {
            assert_eq!(failure_of(pin.pin.object(), CONTROLS, 1), "", "its own");
            assert_eq!(failure_of(pin.pin.object(), CONTROLS, 2), "", "of what it is connected to");
        }
        drop((source, sink, from, to));
        rig.unload();
    });
}

/// By an event, a semaphore, a DPC or a work item of its own, for its own filter and for its own pin.
#[test]
fn a_driver_hears_of_events_that_it_enabled_by_ikscontrol() {
    each_seed(|| {
        const CONTROLS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
        let rig = Rig::start("tests/ks/control.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 1, None);
        assert_eq!(failure_of(filter.object(), CONTROLS, 0), "");
        assert_eq!(failure_of(pin.pin.object(), CONTROLS, 1), "");
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn bags_free_in_reverse_order_and_share_items() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/objects.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        assert_eq!(failure(filter.object(), 3), "");
        drop((pin, filter));
        rig.unload();
    });
}

const GROWING: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e30);

#[test]
fn a_driver_adds_factories_and_nodes_to_an_open_filter() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/growing.c");
        let filter = rig.open();
        let pins = filter.pins().unwrap();
        assert_eq!(pins.len(), 2);
        let topology = filter.topology().unwrap();
        assert_eq!(topology.nodes, [Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e32)]);
        let ends = topology.connections.iter();
        let ends = ends.map(|one| (one.from_node, one.from_node_pin, one.to_node, one.to_node_pin));
        let whole = ks_abi::KSFILTER_NODE;
        assert_eq!(ends.collect::<Vec<_>>(), [(whole, 0, 0, 1), (0, 0, whole, 1)]);
        // A factory that was added is one as any other: it has its one instance, and is refused another.
        let grown = rig.create(&filter, 1, None);
        assert_eq!(filter.pins().unwrap()[1].instances.current_count, 1);
        assert!(rig.try_create(&filter, 1, None).is_err(), "its descriptor allows one");
        for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::STOP] {
            grown.pin.set_state(state).unwrap();
        }
        drop(grown);
        assert_eq!(filter.pins().unwrap()[1].instances.current_count, 0);
        let object = filter.object();
        assert_eq!(object.property::<u32>(GROWING, 0).unwrap(), 1, "the first table wins");
        assert_eq!(object.property::<u32>(GROWING, 9).unwrap(), 2, "the second has what the first has not");
        let second = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e31);
        assert_eq!(object.property::<u32>(second, 9).unwrap(), 2);
        let node = KspNode {
            property: KsIdentifier { set: GROWING, id: 0, flags: KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY },
            ..KspNode::default()
        };
        assert_eq!(object.property_at::<u32>(node.as_bytes(), GROWING, 0).unwrap(), 100, "the node's own table");
        let alone = filter.create_node(0, AccessMask::GENERIC_READ).unwrap();
        assert_eq!(alone.property_at::<u32>(node.as_bytes(), GROWING, 0).unwrap(), 100, "behind a handle of its own");
        assert_eq!(
            alone.property::<u32>(second, 9).unwrap_err().status,
            STATUS_PROPSET_NOT_FOUND,
            "that is the filter's"
        );
        let none = filter.create_node(1, AccessMask::GENERIC_READ).unwrap_err();
        assert_eq!(none.status, STATUS_INVALID_PARAMETER, "there is one");
        drop(alone);
        drop(filter);
        assert_eq!(rig.open().pins().unwrap().len(), 2, "another open filter has its own");
        rig.unload();
    });
}

/// In place, and in memory that another table was in; more often than an object has tables by chance.
#[test]
fn a_table_that_a_driver_edits_answers_from_the_next_request_on() {
    each_seed(|| {
        const EDIT: u32 = 4;
        const EDIT_NODE: u32 = 5;
        let numbered = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e33);
        let rig = Rig::start("tests/ks/growing.c");
        let filter = rig.open();
        let object = filter.object();
        let node = KspNode {
            property: KsIdentifier { set: numbered, id: 0, flags: KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY },
            ..KspNode::default()
        };
        let of_node = || object.property_at::<u32>(node.as_bytes(), numbered, 0);
        assert_eq!(object.property::<u32>(numbered, 0).unwrap_err().status, STATUS_PROPSET_NOT_FOUND);
        assert_eq!(of_node().unwrap_err().status, STATUS_PROPSET_NOT_FOUND);
        for number in 1..=200u32 {
            object.set_property(GROWING, EDIT, &number).unwrap();
            assert_eq!(object.property::<u32>(numbered, 0).unwrap(), number);
            object.set_property(GROWING, EDIT_NODE, &(1000 + number)).unwrap();
            assert_eq!(of_node().unwrap(), 1000 + number, "the node's");
        }
        drop(filter);
        rig.unload();
    });
}

#[test]
fn workers_run_their_items_and_are_waited_for() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/growing.c");
        let filter = rig.open();
        let request = KsIdentifier { set: GROWING, id: 1, flags: KSPROPERTY_TYPE_GET };
        let mut answer = [0; 200];
        let outcome = filter.object().control(ks_abi::IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
        assert_eq!(String::from_utf8_lossy(&answer[..outcome.information]), "");
        let list = KsIdentifier { id: 2, ..request };
        let list: Vec<u64> = filter.object().property_list(list.as_bytes(), GROWING, 2).unwrap();
        assert_eq!(list, [5, 6, 7]);
        assert_eq!(filter.object().property::<u32>(GROWING, 3).unwrap(), 99, "a pended request is waited for");
        drop(filter);
        rig.unload();
    });
}

#[test]
fn stream_pointers_lock_move_clone_and_time_out() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/pointers.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        let object = pin.pin.object();
        pin.pin.set_state(KsState::PAUSE).unwrap();
        let read = pin.read(3);
        assert_eq!(failure_of(object, POINTERS, 0), "");
        let used: Vec<u32> = read.wait().unwrap().iter().map(|frame| frame.header.data_used).collect();
        assert_eq!(used, [10, 20, 0]);
        let read = pin.read(1);
        assert_eq!(failure_of(object, POINTERS, 1), "");
        assert!(!read.is_done(), "a clone has the frame");
        read.cancel();
        assert_eq!(read.wait().unwrap_err().status, ks_abi::STATUS_CANCELLED);
        assert_eq!(object.property::<i32>(POINTERS, 2).unwrap(), 1, "the clone's owner was told");
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_creates_an_allocator_a_clock_and_a_node_and_calls_their_routines() {
    each_seed(|| {
        const CHECK: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
        let rig = Rig::start("tests/ks/children.c");
        let filter = rig.open();
        let link = rig.link_of(0).replacen(r"\\?\", r"\??\", 1);
        let text: Vec<u8> = link.encode_utf16().flat_map(u16::to_le_bytes).collect();
        filter.object().set_property(CHECK, 0, text.as_slice()).unwrap();
        for check in [1, 2, 3] {
            assert_eq!(failure_of(filter.object(), CHECK, check), "");
        }
        drop(filter);
        rig.unload();
    });
}

#[test]
fn a_driver_opens_another_and_reads_from_it() {
    each_seed(|| {
        const OPEN: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e50);
        let rig = Rig::start_all(&["counter/counter.cpp", "tests/ks/opener.c"]);
        let opener = rig.open_of(1);
        let link = rig.link_of(0).replacen(r"\\?\", r"\??\", 1);
        let text: Vec<u8> = link.encode_utf16().flat_map(u16::to_le_bytes).collect();
        opener.object().set_property(OPEN, 0, text.as_slice()).unwrap();
        let numbers: [u32; 2] = opener.object().property(OPEN, 1).unwrap();
        assert_eq!(numbers, [1_000_000, 1_000_001]);
        // Those that capture, of which other tests of this process have some, its own of these, and its own that render.
        let [capture, own_capture, own_render]: [u32; 3] = opener.object().property(OPEN, 2).unwrap();
        assert!(capture >= 1 && (own_capture, own_render) == (0, 1), "{capture} {own_capture} {own_render}");
        let nobody: Vec<u8> = r"\??\userks#nobody".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let refused = opener.object().set_property(OPEN, 0, nobody.as_slice()).unwrap_err();
        assert_eq!(refused.status, ks_abi::STATUS_OBJECT_NAME_NOT_FOUND);
        drop(opener);
        rig.unload();
    });
}

#[test]
fn an_event_is_raised_with_its_object_once_it_was_added() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/objects.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        for object in [pin.pin.object(), filter.object()] {
            let event = object.enable_event(Scope::Object, EVENTS, 1).unwrap();
            assert_eq!(failure(object, 4), "");
            assert!(!event.event().is_set(), "its AddHandler has put it on no list");
            assert_eq!(failure(object, 5), "");
            assert!(event.event().is_set(), "KsAddEvent has put it on the object's");
        }
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn an_event_that_a_driver_resets_by_its_entry_is_that_of_its_client() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/objects.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        for object in [pin.pin.object(), filter.object()] {
            let event = object.enable_event(Scope::Object, EVENTS, 0).unwrap();
            for _ in 0..2 {
                event.event().set();
                assert_eq!(failure(object, 6), "");
                assert!(!event.event().is_set(), "raised by its entry, and reset");
            }
            event.event().clear();
        }
        drop((pin, filter));
        rig.unload();
    });
}

/// A driver that refuses clients of user mode does so where they open, enable and ask.
#[test]
fn a_driver_sees_who_asks_in_the_requests_that_it_is_lent() {
    each_seed(|| {
        const ASKED: u32 = 10;
        const USER: u32 = 1;
        const KERNEL: u32 = 0;
        let rig = Rig::start("tests/ks/objects.c");
        let mut closed_by = 77;
        for mode in [USER, KERNEL, USER] {
            let filter = if mode == USER { rig.open() } else { rig.open_as_driver() };
            let pin = rig.create(&filter, 0, None);
            let event = filter.object().enable_event(Scope::Object, EVENTS, 0).unwrap();
            let asked: [u32; 7] = filter.object().property(CHECKS, ASKED).unwrap();
            assert_eq!(asked[..5], [mode, closed_by, mode, mode, mode], "creates, close, intersection, AddHandler");
            let wanted = [AccessMask::GENERIC_READ.0 | AccessMask::GENERIC_WRITE.0, AccessMask::GENERIC_READ.0];
            assert_eq!(asked[5..], wanted, "the access that was asked for");
            drop((event, pin, filter));
            closed_by = mode;
        }
        rig.unload();
    });
}

#[test]
fn a_driver_raises_events_of_the_class_drivers_sets_by_id_and_by_choice() {
    each_seed(|| {
        const ANY_SET: u32 = 7;
        const REFUSED: u32 = 8;
        const AGREED: u32 = 9;
        let rig = Rig::start("tests/ks/objects.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        let event = pin.pin.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap();
        for (check, raised) in [(REFUSED, false), (ANY_SET, true), (REFUSED, false), (AGREED, true)] {
            assert_eq!(failure(pin.pin.object(), check), "");
            assert_eq!(event.event().is_set(), raised, "{check}");
            event.event().clear();
        }
        pin.pin.disable_event(event).unwrap();
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_drivers_support_handler_says_whether_an_event_is_supported() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/objects.c");
        let (user, kernel) = (rig.open(), rig.open_as_driver());
        let ask = |filter: &Filter, id: u32| {
            let request = KsIdentifier { set: EVENTS, id, flags: KSEVENT_TYPE_BASICSUPPORT };
            filter.object().control(ks_abi::IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), &mut []).status
        };
        assert_eq!([ask(&user, 2), ask(&kernel, 2)], [STATUS_DEVICE_BUSY, STATUS_SUCCESS], "the handler's word");
        assert_eq!([ask(&user, 0), ask(&user, 9)], [STATUS_SUCCESS, STATUS_NOT_FOUND], "no handler, no event");
        drop((user, kernel));
        rig.unload();
    });
}

#[test]
fn factories_filters_and_pins_have_siblings() {
    each_seed(|| {
        const SIBLINGS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e70);
        let rig = Rig::start("tests/ks/siblings.c");
        let (first, second) = (rig.open(), rig.open());
        let pins = [0, 0, 1].map(|id| rig.create(&first, id, None));
        assert_eq!(failure_of(first.object(), SIBLINGS, 0), "");
        drop((pins, first, second));
        rig.unload();
    });
}

#[test]
fn mutexes_keep_other_threads_of_a_driver_out() {
    each_seed(|| {
        const SIBLINGS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e70);
        let rig = Rig::start("tests/ks/siblings.c");
        let by_pin = rig.open();
        let pin = rig.create(&by_pin, 0, None);
        assert_eq!(failure_of(by_pin.object(), SIBLINGS, 1), "");
        let whole = rig.open_filter(1);
        assert_eq!(failure_of(whole.object(), SIBLINGS, 1), "");
        drop((pin, by_pin, whole));
        rig.unload();
    });
}

/// Its frame is the last of a pin that the client has closed, whose Close comes while the driver lets the clone go.
#[test]
fn a_thread_of_a_driver_lets_the_last_frame_of_a_closed_pin_go_by_a_clone() {
    each_seed(|| {
        for (way, name) in (0..).zip(["unlock", "advance", "offsets"]) {
            let rig = Rig::start("tests/ks/pointers.c");
            let filter = rig.open();
            let pin = rig.create(&filter, 0, None);
            pin.pin.set_state(KsState::PAUSE).unwrap();
            let read = pin.read(1);
            assert_eq!(failure_of(pin.pin.object(), POINTERS, 11), "");
            drop(pin);
            assert!(!read.is_done(), "the driver has the frame");
            // Nobody waits for it: nothing but the request keeps the pin open.
            drop(read);
            assert_eq!(filter.object().property::<u32>(POINTERS, way).unwrap(), 0, "{name}");
            drop(filter);
            rig.unload();
        }
    });
}

#[test]
fn a_clone_in_a_circuit_goes_where_the_edge_stands_and_names_its_request() {
    each_seed(|| {
        let rig = Rig::start_all(&["tests/ks/pointers.c", "drain/drain.c"]);
        let (from, to) = (rig.open_of(0), rig.open_of(1));
        let sink = rig.create(&to, 0, None);
        let source = rig.create(&from, 0, Some(&sink));
        for state in [KsState::ACQUIRE, KsState::PAUSE] {
            sink.pin.set_state(state).unwrap();
            source.pin.set_state(state).unwrap();
        }
        assert_eq!(failure_of(source.pin.object(), POINTERS, 6), "");
        for state in [KsState::ACQUIRE, KsState::STOP] {
            source.pin.set_state(state).unwrap();
            sink.pin.set_state(state).unwrap();
        }
        drop((source, sink, from, to));
        rig.unload();
    });
}

#[test]
fn a_clone_that_went_off_the_queue_is_locked_on_the_frame_that_comes() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/pointers.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        pin.pin.set_state(KsState::PAUSE).unwrap();
        let first = pin.read(1);
        assert_eq!(failure_of(pin.pin.object(), POINTERS, 7), "");
        first.wait().unwrap();
        let second = pin.read(1);
        assert_eq!(failure_of(pin.pin.object(), POINTERS, 8), "");
        second.wait().unwrap();
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn the_edge_goes_on_from_a_cancelled_frame_that_a_clone_has_locked() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/pointers.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        pin.pin.set_state(KsState::PAUSE).unwrap();
        let (first, second) = (pin.read(1), pin.read(1));
        assert_eq!(failure_of(pin.pin.object(), POINTERS, 9), "");
        first.cancel();
        assert!(!first.is_done(), "the driver has it locked");
        assert_eq!(failure_of(pin.pin.object(), POINTERS, 10), "");
        assert_eq!(first.wait().unwrap_err().status, ks_abi::STATUS_CANCELLED);
        second.wait().unwrap();
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();
    });
}

/// By the edge and by a clone of a pin, and by a process pin.
#[test]
fn used_bytes_that_a_driver_writes_into_a_header_are_not_added_to() {
    each_seed(|| {
        const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
        let rig = Rig::start("tests/avs/offsets.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        pin.pin.set_state(KsState::PAUSE).unwrap();
        let reads = [pin.read(1), pin.read(1), pin.read(1)];
        assert_eq!(failure_of(pin.pin.object(), CHECKS, 4), "");
        assert_eq!(reads.map(|read| read.wait().unwrap()[0].header.data_used), [10, 11, 12]);
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();

        let rig = Rig::start_with(&["tests/avs/passes.c"], &["-DFEW=10"]);
        let filter = rig.open();
        let (input, output) = (rig.create(&filter, 0, None), rig.create(&filter, 1, None));
        for pin in [&output, &input] {
            pin.pin.set_state(KsState::RUN).unwrap();
        }
        let read = output.read(1);
        input.write(&[5; 64]).wait().unwrap();
        assert_eq!(read.wait().unwrap()[0].data(), [5; 10]);
        for pin in [&input, &output] {
            pin.pin.set_state(KsState::STOP).unwrap();
        }
        drop((input, output, filter));
        rig.unload();
    });
}

#[test]
fn a_timeout_that_was_cancelled_does_not_come() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/pointers.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        pin.pin.set_state(KsState::PAUSE).unwrap();
        let read = pin.read(1);
        assert_eq!(failure_of(pin.pin.object(), POINTERS, 3), "");
        read.wait().unwrap();
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();
    });
}

/// The driver deletes its clone in both: one comes, and the other not while it runs and not after it.
#[test]
fn a_clone_is_told_of_its_timeout_or_of_its_cancel_whichever_is_first() {
    each_seed(|| {
        let rig = Rig::start("tests/ks/pointers.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        let object = pin.pin.object();
        pin.pin.set_state(KsState::PAUSE).unwrap();
        // The timeout is being told when the cancel comes; and the timeout passes while the cancel is being told.
        for first in ["timeout", "cancel"] {
            let read = pin.read(1);
            assert_eq!(failure_of(object, POINTERS, 4), "");
            read.cancel();
            let _ = read.wait();
            let [most, ended] = object.property::<[i32; 2]>(POINTERS, 5).unwrap();
            assert_eq!((most, ended), (1, 1), "{first} first");
        }
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();
    });
}

/// A pin of its own driver, and one of a driver without AVStream.
#[test]
fn a_driver_sends_requests_of_its_own_to_the_pin_that_it_is_connected_to() {
    each_seed(|| {
        const CONTROLS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
        let rig = Rig::start_all(&["tests/ks/control.c", "ks10/ks10.c"]);
        for to in [rig.open_of(0), rig.open_of(1)] {
            let from = rig.open_of(0);
            let sink = rig.create(&to, 1, None);
            let source = rig.create(&from, 0, Some(&sink));
            assert_eq!(failure_of(source.pin.object(), CONTROLS, 7), "");
            drop((source, sink, from, to));
        }
        rig.unload();
    });
}

#[test]
fn a_driver_with_an_add_device_of_its_own_has_a_device() {
    each_seed(|| {
        const DEVICE: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e80);
        for options in [&[][..], &["-DINITIALIZE"], &["-DALONE"]] {
            let rig = Rig::start_with(&["tests/ks/own_device.c"], options);
            let filter = rig.open();
            assert_eq!(filter.object().property::<u32>(DEVICE, 0).unwrap(), 1, "{options:?}");
            // Its requests come by the dispatch table of its driver object, whoever filled it.
            let device = rig.driver(0).devices()[0].clone();
            device.rebalance().unwrap();
            device.sleep(ks_abi::kernel::DevicePowerState::D3).unwrap();
            device.wake().unwrap();
            assert_eq!(filter.object().property::<u32>(DEVICE, 1).unwrap(), 2, "{options:?}");
            drop(device);
            drop(filter);
            rig.unload();
        }
    });
}
