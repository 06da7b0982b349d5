//! How a Windows driver's pins conduct themselves in a graph: formats that change in the stream, resets along its topology,
//! a state that pends, and a filter that grows while it is open.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    KSPROPERTY_STREAM_QUALITY, KSPROPERTY_STREAM_RATE, KSPROPERTY_STREAM_RATECAPABILITY, KSPROPERTY_TYPE_GET,
    KSPROPSETID_Stream, KSRATE_NOPRESENTATIONDURATION, KSRATE_NOPRESENTATIONSTART,
    KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsIdentifier, KsProperty, KsQualityManager, KsRate, KsRateCapability,
    KsReset, KsState, Ptr64, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE, STATUS_NO_MATCH, STATUS_NOT_SUPPORTED,
};
use ks_client::{Connect, Pin, StreamFrame};
use ks_rig::{Rig, each_seed, eventually, failure, sized};
use zerocopy::IntoBytes;

const DRIVER: &str = "tests/avs/conduct.c";
const QUALITY: &str = "tests/avs/quality.c";

fn write(pin: &Pin, bytes: &[u8], flags: u32) -> Result<(), ks_abi::NtStatus> {
    let mut frame = pin.allocate(64).unwrap();
    assert!(frame.fill(bytes));
    frame.header.options_flags = flags;
    pin.write_stream(vec![frame]).unwrap().wait().map(drop).map_err(|error| error.status)
}

fn read(pin: &Pin) -> StreamFrame {
    let frames = vec![pin.allocate(64).unwrap()];
    pin.read_stream(frames).unwrap().wait().unwrap().remove(0)
}

#[test]
fn a_written_format_reaches_set_data_format_in_its_turn() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let filter = rig.open();
        let sink = rig.create(&filter, 0, None);
        assert_eq!(failure(sink.pin.object(), 6), "");
        sink.pin.set_state(KsState::RUN).unwrap();
        write(&sink.pin, &[64], 0).unwrap();
        write(&sink.pin, sized(&sink, 32).bytes(), KSSTREAM_HEADER_OPTIONSF_TYPECHANGED).unwrap();
        write(&sink.pin, &[32], 0).unwrap();
        write(&sink.pin, &[32], 0).unwrap();
        assert_eq!(failure(sink.pin.object(), 0), "");
        assert_eq!(sink.pin.format().unwrap().bytes(), sized(&sink, 32).bytes());
        let refused = write(&sink.pin, sized(&sink, 13).bytes(), KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
        assert_eq!(refused, Err(STATUS_NO_MATCH));
        assert!(write(&sink.pin, &[13], 0).is_err(), "nothing of a format that was refused");
        assert_eq!(failure(sink.pin.object(), 0), "", "the old one is shown");
        drop((sink, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_changes_the_format_in_its_stream_and_its_reader_fetches_it() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let filter = rig.open();
        let source = rig.create(&filter, 1, None);
        assert_eq!(failure(source.pin.object(), 6), "");
        source.pin.set_state(KsState::RUN).unwrap();
        assert_eq!(failure(source.pin.object(), 1), "");
        let told = read(&source.pin);
        assert_ne!(told.header.options_flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, 0);
        assert_eq!(told.data(), sized(&source, 32).bytes());
        assert_eq!(failure(source.pin.object(), 2), "");
        assert_eq!(source.pin.format().unwrap().bytes(), sized(&source, 32).bytes());
        assert_eq!(read(&source.pin).data(), [32]);
        drop((source, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_follows_what_another_of_its_filters_changes_in_the_stream() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let (from, to) = (rig.open(), rig.open());
        let sink = rig.create(&to, 0, None);
        let source = rig.create(&from, 1, Some(&sink));
        assert_eq!(failure(source.pin.object(), 6), "");
        for pin in [&sink.pin, &source.pin] {
            pin.set_state(KsState::RUN).unwrap();
        }
        assert_eq!(failure(source.pin.object(), 1), "");
        eventually(sink.pin.object(), 3);
        for pin in [&sink, &source] {
            assert_eq!(pin.pin.format().unwrap().bytes(), sized(pin, 32).bytes());
        }
        for pin in [&source.pin, &sink.pin] {
            pin.set_state(KsState::STOP).unwrap();
        }
        drop((source, sink, from, to));
        rig.unload();
    });
}

#[test]
fn a_reset_reaches_the_pins_that_a_drivers_topology_leads_to() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let filter = rig.open();
        let (sink, source) = (rig.create(&filter, 0, None), rig.create(&filter, 1, None));
        assert_eq!(failure(sink.pin.object(), 6), "");
        sink.pin.reset(KsReset::BEGIN).unwrap();
        sink.pin.reset(KsReset::END).unwrap();
        assert_eq!(failure(sink.pin.object(), 4), "");
        drop((sink, source, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_that_ends_the_stream_of_an_output_is_told_of_a_reset_that_ends() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let (filter, other) = (rig.open(), rig.open());
        let sink = rig.create(&filter, 0, None);
        let (end, source) = {
            let end = rig.create(&other, 0, None);
            let source = rig.create(&filter, 1, Some(&end));
            (end, source)
        };
        assert_eq!(failure(sink.pin.object(), 6), "");
        for pin in [&end.pin, &source.pin] {
            pin.set_state(KsState::RUN).unwrap();
        }
        // Its topology leads from an input: another stream follows, and ends again.
        for stream in 1..=2 {
            assert_eq!(failure(source.pin.object(), 6), "");
            assert_eq!(failure(source.pin.object(), 7), "");
            eventually(sink.pin.object(), 7);
            while end.pin.statistics().unwrap().frames < stream {
                ks_rig::moment();
            }
        }
        for pin in [&source.pin, &end.pin] {
            pin.set_state(KsState::STOP).unwrap();
        }
        drop((source, end, sink, filter, other));
        rig.unload();
    });
}

#[test]
fn a_driver_complains_to_the_manager_that_its_client_named_and_another_pin_hears_it() {
    each_seed(|| {
        let rig = Rig::start(QUALITY);
        let (from, to) = (rig.open(), rig.open());
        let sink = rig.create(&to, 0, None);
        let source = rig.create(&from, 1, Some(&sink));
        assert_eq!(failure(sink.pin.object(), 4), "");
        let name = |handle: u64| {
            let manager = KsQualityManager { quality_manager: handle, context: Ptr64(0x77) };
            let named = sink.pin.object().set_property(KSPROPSETID_Stream, KSPROPERTY_STREAM_QUALITY, &manager);
            named.map_err(|error| error.status)
        };
        // A handle is the client's own: small numbers are open in the driver's world.
        for wrong in [4, 0x0dd0, u64::MAX] {
            assert_eq!(name(wrong), Err(STATUS_INVALID_HANDLE));
        }
        name(source.pin.object().handle().0).unwrap();
        for pin in [&sink.pin, &source.pin] {
            pin.set_state(KsState::RUN).unwrap();
        }
        assert_eq!(failure(source.pin.object(), 0), "");
        eventually(sink.pin.object(), 1);
        assert_eq!(failure(sink.pin.object(), 2), "");
        name(0).unwrap();
        assert_eq!(failure(source.pin.object(), 0), "");
        while sink.pin.statistics().unwrap().frames < 6 {
            ks_rig::moment();
        }
        assert_eq!(failure(sink.pin.object(), 3), "");
        // A manager is let go of when the pin that complains is closed.
        name(source.pin.object().handle().0).unwrap();
        for pin in [&source.pin, &sink.pin] {
            pin.set_state(KsState::STOP).unwrap();
        }
        drop((source, sink, from, to));
        rig.unload();
    });
}

#[test]
fn a_driver_that_says_beforehand_what_it_takes_keeps_the_old_stream_running() {
    each_seed(|| {
        let rig = Rig::start(QUALITY);
        let (from, to) = (rig.open(), rig.open());
        let sink = rig.create(&to, 0, None);
        let source = rig.create(&from, 1, Some(&sink));
        assert_eq!(failure(sink.pin.object(), 4), "");
        for pin in [&sink.pin, &source.pin] {
            pin.set_state(KsState::RUN).unwrap();
        }
        for pin in [&source.pin, &sink.pin] {
            assert_eq!(pin.set_format(&sized(&sink, 13)).unwrap_err().status, STATUS_NO_MATCH);
        }
        assert_eq!(failure(source.pin.object(), 0), "");
        while sink.pin.statistics().unwrap().frames < 3 {
            ks_rig::moment();
        }
        assert!(sink.pin.failure().is_none(), "it never came to a refusal in the stream");
        sink.pin.set_format(&sized(&sink, 32)).unwrap();
        eventually(sink.pin.object(), 5);
        for pin in [&source.pin, &sink.pin] {
            assert_eq!(pin.format().unwrap().bytes(), sized(&sink, 32).bytes());
            pin.set_state(KsState::STOP).unwrap();
        }
        drop((source, sink, from, to));
        rig.unload();
    });
}

#[test]
fn a_drivers_stream_goes_at_the_rate_that_its_client_sets() {
    each_seed(|| {
        let rig = Rig::start(QUALITY);
        let filter = rig.open();
        let source = rig.create(&filter, 1, None);
        let (set, nominal) = (KSPROPSETID_Stream, 1000);
        let rate = |rate: i32| KsRate {
            interface: KsIdentifier::STANDARD_STREAMING,
            rate,
            flags: KSRATE_NOPRESENTATIONSTART | KSRATE_NOPRESENTATIONDURATION,
            ..KsRate::default()
        };
        let ask = |asked: i32| {
            let property = KsProperty::new(set, KSPROPERTY_STREAM_RATECAPABILITY, KSPROPERTY_TYPE_GET);
            let request = KsRateCapability { property, rate: rate(asked) };
            let left =
                source.pin.object().property_at::<KsRate>(request.as_bytes(), set, KSPROPERTY_STREAM_RATECAPABILITY);
            left.map(|left| left.rate).map_err(|error| error.status)
        };
        let put = |asked: i32| {
            let outcome = source.pin.object().set_property(set, KSPROPERTY_STREAM_RATE, &rate(asked));
            outcome.map_err(|error| error.status)
        };
        let get = || source.pin.object().property::<KsRate>(set, KSPROPERTY_STREAM_RATE).unwrap().rate;
        source.pin.set_state(KsState::ACQUIRE).unwrap();
        assert_eq!((ask(nominal), put(nominal)), (Err(STATUS_INVALID_DEVICE_STATE), Err(STATUS_INVALID_DEVICE_STATE)));
        source.pin.set_state(KsState::RUN).unwrap();
        assert_eq!([500, 4000, 4001, -1000].map(ask), [Ok(nominal), Ok(nominal), Ok(4001), Ok(-1000)]);
        let durations = || {
            assert_eq!(failure(source.pin.object(), 0), "");
            [(); 3].map(|()| read(&source.pin).header.duration)
        };
        assert_eq!(durations(), [400_000; 3]);
        put(2000).unwrap();
        assert_eq!((durations(), get()), ([200_000; 3], 2000));
        assert_eq!((put(4001), get()), (Err(STATUS_NOT_SUPPORTED), 2000), "no best fit");
        put(500).unwrap();
        assert_eq!(durations(), [800_000; 3]);
        source.pin.set_state(KsState::ACQUIRE).unwrap();
        source.pin.set_state(KsState::RUN).unwrap();
        assert_eq!((durations(), get()), ([400_000; 3], nominal), "a rate does not outlive PAUSE");
        drop((source, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_that_answers_its_state_itself_may_let_acquire_pend() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let filter = rig.open();
        let pin = rig.create(&filter, 2, None);
        pin.pin.set_state(KsState::ACQUIRE).unwrap();
        assert_eq!(pin.pin.state().unwrap(), KsState::ACQUIRE, "the request was completed when its worker was done");
        drop((pin, filter));
        rig.unload();
    });
}

#[test]
fn a_driver_adds_factories_nodes_and_connections_while_its_filter_streams() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let filter = rig.open();
        let sink = rig.create(&filter, 0, None);
        assert_eq!(failure(sink.pin.object(), 6), "");
        sink.pin.set_state(KsState::RUN).unwrap();
        write(&sink.pin, &[64], 0).unwrap();
        let before = filter.topology().unwrap();
        assert_eq!((filter.pin_count().unwrap(), before.nodes.len(), before.connections.len()), (3, 0, 1));
        assert_eq!(failure(sink.pin.object(), 5), "");
        let after = filter.topology().unwrap();
        assert_eq!((filter.pin_count().unwrap(), after.nodes.len(), after.connections.len()), (4, 1, 3));
        let factory = filter.pin(3).unwrap();
        let connect = Connect {
            pin_id: 3,
            interface: factory.interfaces[0],
            medium: factory.mediums[0],
            pin_to: None,
            format: &sink.format,
        };
        let grown = filter.create_pin(connect, factory.data_flow).unwrap();
        grown.set_state(KsState::RUN).unwrap();
        write(&grown, &[64], 0).unwrap();
        write(&sink.pin, &[64], 0).unwrap();
        drop((grown, sink, filter));
        rig.unload();
    });
}
