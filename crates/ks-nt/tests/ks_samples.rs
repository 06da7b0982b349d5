//! The sample drivers, each as the driver of a client in this process.

mod ks_rig;

use ks_abi::{
    Guid, IoControlCode, KSEVENT_TYPE_ENABLE, KSEVENTF_EVENT_HANDLE, KSMETHOD_TYPE_SEND, KSPROPERTY_TYPE_GET,
    KSPROPERTY_TYPE_SET, KSPROPERTY_TYPE_TOPOLOGY, KsEventData, KsIdentifier, KsState, KspNode, STATUS_SUCCESS,
};
use ks_rig::{Rig, each_seed, picture_number};
use zerocopy::IntoBytes;

#[test]
fn a_filter_that_processes_as_a_whole_copies_from_pin_to_pin() {
    each_seed(|| {
        let rig = Rig::start("mirror/mirror.c");
        let filter = rig.open();
        let (input, output) = (rig.create(&filter, 0, None), rig.create(&filter, 1, None));
        for pin in [&output, &input] {
            pin.pin.set_state(KsState::RUN).unwrap();
        }
        let (width, bytes) = (640, input.bytes);
        let picture: Vec<u8> = (0..bytes).map(|at| (at % width / 3) as u8).collect();
        let read = output.read(1);
        input.write(&picture).wait().unwrap();
        let mirrored = read.wait().unwrap().remove(0).data();
        assert_eq!(mirrored.len(), bytes);
        let line: Vec<u8> = picture[..width].iter().rev().copied().collect();
        assert_eq!(mirrored[..width], line);
        for pin in [&input, &output] {
            pin.pin.set_state(KsState::STOP).unwrap();
        }
        drop((input, output, filter));
        rig.unload();
    });
}

#[test]
fn pictures_of_one_driver_go_through_another() {
    each_seed(|| {
        let rig = Rig::start_all(&["synthcam/synthcam.c", "mirror/mirror.c"]);
        let (camera, mirror) = (rig.open_of(0), rig.open_of(1));
        let input = rig.create(&mirror, 0, None);
        let source = rig.create(&camera, 0, Some(&input));
        let output = rig.create(&mirror, 1, None);
        for pin in [&output, &input, &source] {
            pin.pin.set_state(KsState::PAUSE).unwrap();
        }
        let read = output.read(3);
        for pin in [&output, &input, &source] {
            pin.pin.set_state(KsState::RUN).unwrap();
        }
        let frames = read.wait().unwrap();
        let unmirror = |picture: Vec<u8>| picture[..640].iter().rev().copied().collect::<Vec<u8>>();
        let numbers: Vec<u32> = frames.iter().map(|frame| picture_number(&unmirror(frame.data()), 640)).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] > pair[0]), "{numbers:?}");
        for pin in [&source, &input, &output] {
            pin.pin.set_state(KsState::STOP).unwrap();
        }
        drop((source, input, output, camera, mirror));
        rig.unload();
    });
}

#[test]
fn a_filter_that_pends_is_called_when_it_attempts() {
    each_seed(|| {
        let rig = Rig::start("pacer/pacer.c");
        let filter = rig.open();
        let output = rig.create(&filter, 0, None);
        output.pin.set_state(KsState::PAUSE).unwrap();
        let read = output.read(3);
        output.pin.set_state(KsState::RUN).unwrap();
        let grey: Vec<u8> = read.wait().unwrap().iter().map(|frame| frame.data()[0]).collect();
        assert_eq!(grey, [0, 1, 2]);
        output.pin.set_state(KsState::STOP).unwrap();
        drop((output, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_in_cpp_has_objects_of_its_own_behind_each_pin() {
    each_seed(|| {
        let rig = Rig::start("counter/counter.cpp");
        let filter = rig.open();
        for (id, expected) in [(0, [1_000_000u32, 1_000_001]), (1, [1_000_000, 999_999])] {
            let pin = rig.create(&filter, id, None);
            pin.pin.set_state(KsState::RUN).unwrap();
            let frames = pin.read(2).wait().unwrap();
            let number = |bytes: Vec<u8>| u32::from_le_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(frames.iter().map(|frame| number(frame.data())).collect::<Vec<_>>(), expected);
            assert!(frames.iter().all(|frame| frame.header.data_used == 4), "what was written is used, and no more");
            pin.pin.set_state(KsState::STOP).unwrap();
        }
        drop(filter);
        rig.unload();
    });
}

#[test]
fn a_renderer_consumes_bytes_and_tells_how_many() {
    each_seed(|| {
        const DRAIN: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e01);
        let rig = Rig::start("drain/drain.c");
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        pin.pin.set_state(KsState::RUN).unwrap();
        pin.write(&[1, 2, 3]).wait().unwrap();
        pin.write(&[10; 100]).wait().unwrap();
        let totals: [u64; 3] = pin.pin.object().property(DRAIN, 0).unwrap();
        assert_eq!(totals, [103, 2, 1006], "bytes, frames and their sum");
        pin.pin.set_state(KsState::STOP).unwrap();
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_panel_has_properties_of_its_own() {
    each_seed(|| {
        const PANEL: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e02);
        let rig = Rig::start("panel/panel.c");
        let filter = rig.open();
        let object = filter.object();
        assert_eq!(object.property::<i32>(PANEL, 0).unwrap(), 10);
        object.set_property(PANEL, 0, &25i32).unwrap();
        assert_eq!(object.property::<i32>(PANEL, 0).unwrap(), 25);
        let refused = object.set_property(PANEL, 0, &7i32).unwrap_err();
        assert_eq!(refused.status, ks_abi::STATUS_INVALID_PARAMETER);
        let failing = object.set_property(PANEL, 2, &0i32).unwrap_err();
        assert_eq!(failing.status, ks_abi::STATUS_DEVICE_BUSY);
        drop(filter);
        rig.unload();
    });
}

#[test]
fn a_panel_has_a_method_an_event_and_a_node() {
    each_seed(|| {
        const SET: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e02);
        const METHODS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e03);
        const EVENTS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e04);
        let rig = Rig::start("panel/panel.c");
        let filter = rig.open();
        let object = filter.object();
        let method = KsIdentifier { set: METHODS, id: 0, flags: KSMETHOD_TYPE_SEND };
        let mut data = 5u32.to_le_bytes();
        let request = [method.as_bytes(), &7u64.to_le_bytes()].concat();
        let outcome = object.control(IoControlCode::KS_METHOD, &request, &mut data);
        assert_eq!((outcome.status, u32::from_le_bytes(data)), (STATUS_SUCCESS, 12));

        let (handle, raised) = object.transport().create_event().unwrap();
        let mut event =
            KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: handle.0, ..KsEventData::default() };
        let request = KsIdentifier { set: EVENTS, id: 0, flags: KSEVENT_TYPE_ENABLE };
        let outcome = object.control(IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), event.as_mut_bytes());
        assert_eq!(outcome.status, STATUS_SUCCESS);
        assert!(!raised.is_set());
        object.set_property(SET, 0, &25i32).unwrap();
        assert!(raised.is_set(), "a change is told");

        let node = |id: u32, verb: u32| KspNode {
            property: KsIdentifier { set: SET, id: 0, flags: verb | KSPROPERTY_TYPE_TOPOLOGY },
            node_id: id,
            ..KspNode::default()
        };
        let mut level = 3i32.to_le_bytes();
        let outcome = object.control(IoControlCode::KS_PROPERTY, node(1, KSPROPERTY_TYPE_SET).as_bytes(), &mut level);
        assert_eq!(outcome.status, STATUS_SUCCESS);
        let outcome = object.control(IoControlCode::KS_PROPERTY, node(1, KSPROPERTY_TYPE_GET).as_bytes(), &mut level);
        assert_eq!((outcome.status, i32::from_le_bytes(level)), (STATUS_SUCCESS, 1003), "the node answers for itself");
        let outcome = object.control(IoControlCode::KS_PROPERTY, node(0, KSPROPERTY_TYPE_GET).as_bytes(), &mut level);
        assert!(outcome.status.is_error(), "the first node has no table");
        assert!(object.transport().close(handle).status.is_success());
        drop(filter);
        rig.unload();
    });
}
