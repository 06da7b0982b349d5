//! Creating pins: every check of a connect request, its status, what it is about, and what it says.

mod support;

use ks_abi::*;
use ks_io::{AccessMask, Aspect, Handle, Outcome, RequestorMode, Transport};
use ks_stream::DataFormat;
use support::specimen::*;
use support::video;

/// A create that must fail and leave nothing behind; gives the reason.
#[track_caller]
fn refused(bench: &Bench, create: &PinCreate, status: NtStatus, aspect: Aspect) -> String {
    let handles = bench.session.open_handles();
    bench.script.taken();
    let outcome = bench.create(create).expect_err("the create is refused");
    let refusal = outcome.refusal.expect("it says why");
    assert_eq!((outcome.status, refusal.aspect), (status, aspect), "{}", refusal.reason);
    assert_eq!(bench.session.open_handles(), handles);
    assert!(!bench.script.taken().iter().any(|call| call.starts_with("create")), "the driver's Create was not called");
    assert!(!refusal.reason.is_empty() && !refusal.reason.ends_with('.'));
    refusal.reason
}

#[track_caller]
fn says(reason: &str, words: &[&str]) {
    for word in words {
        assert!(reason.contains(word), "{reason:?} names {word}");
    }
}

#[test]
fn a_pin_number_must_exist() {
    let bench = bench();
    for id in [PIN_COUNT, PIN_COUNT + 1, 1 << 31, u32::MAX] {
        let reason = refused(&bench, &pin_create(id), STATUS_INVALID_PARAMETER, Aspect::PinId);
        says(&reason, &["specimen", "10 pins", &id.to_string()]);
    }
}

#[test]
fn the_interface_must_be_one_that_the_pin_lists() {
    let bench = bench();
    let mut create = pin_create(OUT);
    for interface in [LOOPED, OTHER_MEDIUM, KsIdentifier::default()] {
        create.connect.interface = interface;
        let reason = refused(&bench, &create, STATUS_NO_MATCH, Aspect::Interface);
        says(&reason, &["specimen.0", "offers the interfaces", "asked for"]);
    }
    let mut create = pin_create(IN);
    create.connect.interface = LOOPED;
    assert!(bench.create(&create).is_ok(), "the second of its list");
}

#[test]
fn the_medium_must_be_one_that_the_pin_lists() {
    let bench = bench();
    let mut create = pin_create(OUT);
    create.connect.medium = OTHER_MEDIUM;
    let reason = refused(&bench, &create, STATUS_NO_MATCH, Aspect::Medium);
    says(&reason, &["specimen.0", "offers the mediums", "asked for"]);
    let mut create = pin_create(IN);
    create.connect.medium.id = 1;
    refused(&bench, &create, STATUS_NO_MATCH, Aspect::Medium);
    create.connect.medium = OTHER_MEDIUM;
    assert!(bench.create(&create).is_ok());
}

#[test]
fn the_communication_decides_whether_a_handle_is_needed() {
    let bench = bench();
    let (invalid, communication) = (STATUS_INVALID_DEVICE_REQUEST, Aspect::Communication);
    let sink = bench.pin(IN);
    let reason = refused(&bench, &pin_create(OUT_SOURCE_ONLY), invalid, communication);
    says(&reason, &["specimen.2", "SOURCE", "without a pin"]);
    let reason = refused(&bench, &pin_create(IN).to(bench.pin(OUT)), invalid, communication);
    says(&reason, &["specimen.1", "SINK", "with a pin"]);
    for id in [NO_COMMUNICATION, BRIDGE] {
        refused(&bench, &pin_create(id), invalid, communication);
        refused(&bench, &pin_create(id).to(sink), invalid, communication);
    }
    assert!(bench.create(&pin_create(OUT_SOURCE_ONLY).to(sink)).is_ok());
    assert!(bench.create(&pin_create(OUT)).is_ok(), "BOTH without a handle is an IRP sink");
    let role = |handle| bench.engine_pin(handle).communication();
    let other = bench.pin(IN);
    let source = bench.create(&pin_create(FIXED).to(other)).unwrap();
    assert_eq!((role(other), role(source)), (KsPinCommunication::SINK, KsPinCommunication::SOURCE));
}

#[test]
fn the_format_must_fall_into_a_range_and_the_nearest_miss_is_named() {
    let bench = bench();
    let head = *video().head();
    let refused_for = |head: KsDataFormat, aspect| {
        let reason = refused(&bench, &pin_create(OUT).format(&DataFormat::new(head, &[])), STATUS_NO_MATCH, aspect);
        says(&reason, &["specimen.0 offers", "asked for", &aspect.to_string()]);
    };
    refused_for(KsDataFormat { major_format: KSDATAFORMAT_TYPE_AUDIO, ..head }, Aspect::MajorFormat);
    refused_for(KsDataFormat { sub_format: KSDATAFORMAT_SUBTYPE_YUY2, ..head }, Aspect::SubFormat);
    refused_for(KsDataFormat { specifier: KSDATAFORMAT_SPECIFIER_VIDEOINFO, ..head }, Aspect::Specifier);
    // Wildcards are for ranges. In a format they match nothing but a wildcard.
    refused_for(KsDataFormat { major_format: Guid::NULL, ..head }, Aspect::MajorFormat);
    refused_for(KsDataFormat { sub_format: Guid::NULL, ..head }, Aspect::SubFormat);
    refused_for(KsDataFormat { specifier: Guid::NULL, ..head }, Aspect::Specifier);
    // A range with a wildcard subformat takes every subformat and specifier of its major format.
    let odd = KsDataFormat { sub_format: ATTRIBUTE, specifier: ATTRIBUTE, ..head };
    assert!(bench.create(&pin_create(WILD).format(&DataFormat::new(odd, &[1; 20]))).is_ok());
    let reason = refused(&bench, &pin_create(WILD).format(&audio()), STATUS_NO_MATCH, Aspect::MajorFormat);
    says(&reason, &["specimen.8 takes"]);
}

#[test]
fn a_required_attribute_must_be_matched_by_the_other_side() {
    let bench = bench();
    let attribute =
        |id, format: &DataFormat| refused(&bench, &pin_create(id).format(format), STATUS_NO_MATCH, Aspect::Attribute);
    says(&attribute(ATTRIBUTED, &video()), &["specimen.5", "Attribute"]);
    attribute(ATTRIBUTED, &attributed(&video(), 0, 1, OTHER_MEDIUM.set));
    attribute(OUT, &attributed(&video(), 0, 1, ATTRIBUTE));
    assert!(bench.create(&pin_create(ATTRIBUTED).format(&attributed(&video(), 0, 0, ATTRIBUTE))).is_ok());
    assert!(bench.create(&pin_create(OUT).format(&attributed(&video(), 0, 0, ATTRIBUTE))).is_ok(), "not required");
}

#[test]
fn each_matching_range_is_offered_to_the_driver_in_order() {
    let twice = |filter: &mut ks_stream::FilterDescriptor| filter.pins[0].data_ranges = vec![video(), video(), audio()];
    let bench = bench_with(twice, None, None);
    *bench.script.accept.lock() = Some(Box::new(|_, _| Err(no_match())));
    let outcome = bench.create(&pin_create(OUT)).unwrap_err();
    assert_eq!(outcome.status, STATUS_NO_MATCH);
    assert_eq!(bench.script.taken(), ["accept 0", "accept 0"], "both ranges that match, and no other");
    *bench.script.accept.lock() = Some(Box::new(|_, _| Err(refusal())));
    assert_eq!(bench.create(&pin_create(OUT)).unwrap_err().status, STATUS_UNSUCCESSFUL);
    assert_eq!(bench.script.taken(), ["accept 0"], "any other error ends the search");
    *bench.script.accept.lock() = None;
    bench.create(&pin_create(OUT)).unwrap();
    assert_eq!(bench.script.taken(), ["accept 0", "create 0"], "SetDataFormat comes before Create");
}

#[test]
fn the_access_mask_must_hold_the_right_that_the_data_needs() {
    let bench = bench();
    let with = |id, access| PinCreate { access, ..pin_create(id) };
    let (read, write) = (AccessMask::GENERIC_READ, AccessMask::GENERIC_WRITE);
    for access in [write, AccessMask::NONE, AccessMask::FILE_WRITE_DATA] {
        let reason = refused(&bench, &with(OUT, access), STATUS_ACCESS_DENIED, Aspect::Access);
        says(&reason, &["specimen.0", "needs read access"]);
    }
    let reason = refused(&bench, &with(IN, read), STATUS_ACCESS_DENIED, Aspect::Access);
    says(&reason, &["specimen.1", "needs write access", "asks for read"]);
    // Regardless of who issues the IRPs: a data source that is the IRP source needs to be read, too.
    let sink = bench.pin(IN);
    refused(
        &bench,
        &PinCreate { access: write, ..pin_create(OUT_SOURCE_ONLY).to(sink) },
        STATUS_ACCESS_DENIED,
        Aspect::Access,
    );
    for (id, access) in [(OUT, read), (IN, write), (OUT, AccessMask::GENERIC_ALL), (OUT_SOURCE_ONLY, read)] {
        let create = with(id, access);
        let create = if id == OUT_SOURCE_ONLY { create.to(sink) } else { create };
        assert!(bench.create(&create).is_ok());
    }
}

#[test]
fn a_pin_has_no_more_instances_than_it_may() {
    let bench = bench();
    let first = bench.pin(OUT);
    bench.pin(OUT);
    let reason = refused(&bench, &pin_create(OUT), STATUS_INVALID_DEVICE_STATE, Aspect::Instances);
    says(&reason, &["specimen.0", "2 instances"]);
    let _ = bench.session.close(first);
    bench.pin(OUT);
    refused(&bench, &pin_create(OUT), STATUS_INVALID_DEVICE_STATE, Aspect::Instances);
    for _ in 0..50 {
        bench.pin(NON_STANDARD);
    }
}

#[test]
fn a_refused_create_takes_no_instance() {
    let bench = bench();
    *bench.script.refuse_create.lock() = true;
    for _ in 0..5 {
        assert_eq!(bench.create(&pin_create(OUT)).unwrap_err().status, STATUS_UNSUCCESSFUL);
    }
    assert!(!bench.script.taken().iter().any(|call| call.starts_with("close")), "what was not made is not closed");
    *bench.script.refuse_create.lock() = false;
    bench.pin(OUT);
    bench.pin(OUT);
}

#[test]
fn a_pin_can_be_closed_to_user_mode() {
    let bench = bench();
    let reason = refused(&bench, &pin_create(KERNEL_ONLY), STATUS_INVALID_DEVICE_REQUEST, Aspect::Access);
    says(&reason, &["specimen.6", "user mode"]);
    // A driver creates it, and user mode the pins of the same filter that have no such flag.
    let driver = bench.io.session_as(RequestorMode::Kernel);
    let filter = driver.open(&bench.link, both_accesses()).unwrap();
    let create = pin_create(KERNEL_ONLY);
    driver.create(filter, &create.class, &create.parameters(), create.access).unwrap();
    bench.pin(IN);
}

#[test]
fn pin_to_handle_must_be_an_open_pin_of_this_client() {
    let bench = bench();
    let clock = bench.session.create(bench.pin(OUT), KSSTRING_CLOCK, &[0; 4], both_accesses()).unwrap();
    let (event, _) = bench.session.create_event().unwrap();
    let closed = bench.pin(IN);
    let _ = bench.session.close(closed);
    for handle in [bench.filter, clock, event, closed, Handle(u64::MAX), Handle(3), Handle(1 << 40)] {
        let reason = refused(&bench, &pin_create(FIXED).to(handle), STATUS_INVALID_HANDLE, Aspect::Name);
        says(&reason, &["PinToHandle", "no open pin of this client"]);
    }
    // Another session's pin: its handle means nothing here.
    let other = bench.io.session();
    let filter = other.open(&bench.link, both_accesses()).unwrap();
    let mut last = Handle::NULL;
    for _ in 0..20 {
        last = other.create(filter, KSSTRING_PIN, &pin_create(NON_STANDARD).parameters(), both_accesses()).unwrap();
    }
    refused(&bench, &pin_create(FIXED).to(last), STATUS_INVALID_HANDLE, Aspect::Name);
    assert_eq!(bench.session.file_object(last).map(|_| ()), None);
}

#[test]
fn two_ends_cannot_have_the_same_data_flow() {
    let bench = bench();
    let out = bench.pin(OUT);
    bench.script.taken();
    for id in [OUT, FIXED, OUT_SOURCE_ONLY, NON_STANDARD] {
        let outcome = bench.create(&pin_create(id).to(out)).unwrap_err();
        let refusal = outcome.refusal.unwrap();
        assert_eq!((outcome.status, refusal.aspect), (STATUS_INVALID_DEVICE_REQUEST, Aspect::DataFlow));
        says(&refusal.reason, &["specimen.0", "OUT"]);
    }
    // The driver's Create had run by then, so its Close ran too, and the instance is free.
    let calls = bench.script.taken();
    let count = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
    assert_eq!((count("create"), count("close"), count("connect"), count("disconnect")), (4, 4, 0, 0));
    let inward = bench.pin(IN);
    assert!(bench.create(&pin_create(OUT).to(inward)).is_ok());
    assert!(!bench.engine_pin(out).is_connected());
}

#[test]
fn a_sink_takes_one_source() {
    let bench = bench();
    let sink = bench.pin(IN);
    let first = bench.create(&pin_create(OUT).to(sink)).unwrap();
    assert_eq!(bench.script.taken().last().unwrap(), "connect 1");
    for id in [OUT, FIXED, OUT_SOURCE_ONLY] {
        let outcome = bench.create(&pin_create(id).to(sink)).unwrap_err();
        let refusal = outcome.refusal.unwrap();
        assert_eq!((outcome.status, refusal.aspect), (STATUS_INVALID_DEVICE_REQUEST, Aspect::State));
        says(&refusal.reason, &["specimen.1", "connected already"]);
    }
    // Neither can the connected source be a sink for another.
    let outcome = bench.create(&pin_create(WILD).to(first)).unwrap_err();
    assert_eq!(outcome.refusal.unwrap().aspect, Aspect::State);
    let peer = bench.engine_pin(sink).peer().expect("still connected to the first");
    assert!(ks_io::sync::Arc::ptr_eq(&peer, &bench.engine_pin(first)));
    drop(peer);
    bench.script.taken();
    let _ = bench.session.close(first);
    assert_eq!(bench.script.taken(), ["disconnect 1", "close 0"]);
    assert!(bench.create(&pin_create(FIXED).to(sink)).is_ok(), "free again");
}

#[test]
fn a_driver_that_refuses_to_connect_leaves_both_pins_unconnected() {
    let bench = bench();
    let sink = bench.pin(IN);
    *bench.script.refuse_connect.lock() = true;
    bench.script.taken();
    let outcome = bench.create(&pin_create(OUT).to(sink)).unwrap_err();
    assert_eq!(outcome.status, STATUS_UNSUCCESSFUL);
    assert_eq!(bench.script.taken(), ["accept 0", "create 0", "connect 1", "close 0"], "and no Disconnect");
    let pin = bench.engine_pin(sink);
    assert!(!pin.is_connected() && pin.peer().is_none() && pin.connection_is_external());
    drop(pin);
    *bench.script.refuse_connect.lock() = false;
    assert!(bench.create(&pin_create(OUT).to(sink)).is_ok());
    assert!(!bench.engine_pin(sink).connection_is_external());
}

fn class(bench: &Bench, parent: Handle, class: &str, parameters: &[u8]) -> Outcome {
    match bench.session.create(parent, class, parameters, both_accesses()) {
        Ok(handle) => {
            let _ = bench.session.close(handle);
            Outcome::status(STATUS_SUCCESS)
        }
        Err(outcome) => outcome,
    }
}

#[test]
fn a_class_string_selects_the_kind_of_object() {
    let bench = bench();
    let parameters = pin_create(OUT).parameters();
    let with = |name: &str| class(&bench, bench.filter, name, &parameters);
    let pin_class = KSSTRING_PIN;
    for name in [pin_class.to_string(), format!("{pin_class}\\"), pin_class.to_lowercase(), pin_class.to_uppercase()] {
        assert_eq!(with(&name).status, STATUS_SUCCESS, "{name}");
    }
    let bare = pin_class.trim_matches(['{', '}']);
    for name in [
        "",
        "\\",
        "Pin",
        bare,
        &format!("{pin_class}\\\\"),
        &format!(" {pin_class}"),
        &pin_class[..37],
        KSSTRING_CLOCK,
        KSSTRING_ALLOCATOR,
        KSSTRING_FILTER,
        "ÄÖÜ\u{1F3A5}",
    ] {
        let outcome = with(name);
        assert_eq!(outcome.status, STATUS_OBJECT_NAME_NOT_FOUND, "{name}");
        assert_eq!(outcome.refusal.unwrap().aspect, Aspect::Name);
    }
    let pin = bench.pin(OUT);
    assert_eq!(class(&bench, pin, &KSSTRING_CLOCK.to_lowercase(), &[0; 4]).status, STATUS_SUCCESS);
    assert_eq!(class(&bench, pin, pin_class, &parameters).status, STATUS_OBJECT_NAME_NOT_FOUND, "a pin has no pins");
    let clock = bench.session.create(pin, KSSTRING_CLOCK, &[0; 4], both_accesses()).unwrap();
    assert_eq!(class(&bench, clock, KSSTRING_CLOCK, &[0; 4]).status, STATUS_OBJECT_NAME_NOT_FOUND);
}

#[test]
fn every_class_names_what_it_is_created_with() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (size, parameter) = (STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER);
    let cases = [
        (bench.filter, KSSTRING_PIN, size, "KSPIN_CONNECT"),
        (bench.filter, KSSTRING_TOPOLOGY_NODE, size, "KSNODE_CREATE"),
        (pin, KSSTRING_TOPOLOGY_NODE, size, "KSNODE_CREATE"),
        (pin, KSSTRING_CLOCK, size, "KSCLOCK_CREATE"),
        (pin, KSSTRING_ALLOCATOR, parameter, "OptionsFlags"),
        (pin, KSSTRING_ALLOCATOR_EX, parameter, "framing item"),
    ];
    for (parent, name, status, word) in cases {
        let outcome = class(&bench, parent, name, &[0; 24]);
        assert_eq!(outcome.status, status, "{name}");
        says(&outcome.refusal.unwrap().reason, &[word]);
    }
}

#[test]
fn the_checks_are_made_in_their_order() {
    // Everything is wrong; each correction uncovers the next fault.
    let bench = bench();
    bench.pin(OUT);
    bench.pin(OUT);
    let mut create = pin_create(OUT);
    create.connect.pin_id = PIN_COUNT;
    create.connect.interface = LOOPED;
    create.connect.medium = OTHER_MEDIUM;
    create.connect.pin_to_handle = bench.filter.0;
    create.access = AccessMask::NONE;
    create.format = vec![0; 10];
    refused(&bench, &create, STATUS_INVALID_BUFFER_SIZE, Aspect::Request);
    create.format = audio().bytes().to_vec();
    refused(&bench, &create, STATUS_INVALID_PARAMETER, Aspect::PinId);
    create.connect.pin_id = OUT;
    refused(&bench, &create, STATUS_NO_MATCH, Aspect::Interface);
    create.connect.interface = KsIdentifier::STANDARD_STREAMING;
    refused(&bench, &create, STATUS_NO_MATCH, Aspect::Medium);
    create.connect.medium = KsIdentifier::STANDARD_DEVIO;
    refused(&bench, &create, STATUS_NO_MATCH, Aspect::MajorFormat);
    create.format = video().bytes().to_vec();
    refused(&bench, &create, STATUS_ACCESS_DENIED, Aspect::Access);
    create.access = both_accesses();
    refused(&bench, &create, STATUS_INVALID_DEVICE_STATE, Aspect::Instances);
    let create = PinCreate { connect: KsPinConnect { pin_id: FIXED, ..create.connect }, ..create };
    refused(&bench, &create, STATUS_INVALID_HANDLE, Aspect::Name);
}

#[test]
fn a_new_pin_is_stopped_and_not_in_reset() {
    let bench = bench();
    let handle = bench.pin(OUT);
    assert_eq!(bench.script.taken(), ["accept 0", "create 0"], "no state callback on a fresh pin");
    let pin = bench.engine_pin(handle);
    assert_eq!((pin.state(), pin.device_state(), pin.reset_state()), (KsState::STOP, KsState::STOP, KsReset::END));
    assert_eq!((pin.interface(), pin.medium()), (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO));
    assert_eq!(pin.priority(), KsPriority::NORMAL);
    assert!(pin.connection_is_external() && !pin.is_connected());
    assert_eq!(pin.stream_header_bytes(), 56);
}

#[test]
fn nothing_can_be_created_on_a_removed_device() {
    let bench = bench();
    let sink = bench.pin(IN);
    bench.device.surprise_remove();
    let outcome = bench.create(&pin_create(OUT)).unwrap_err();
    assert_eq!((outcome.status, outcome.refusal.unwrap().aspect), (STATUS_DEVICE_REMOVED, Aspect::Device));
    assert_eq!(bench.create(&pin_create(OUT).to(sink)).unwrap_err().status, STATUS_DEVICE_REMOVED);
    let gone = bench.session.open(&bench.link, both_accesses()).unwrap_err();
    assert_eq!(gone.status, STATUS_OBJECT_NAME_NOT_FOUND, "its interfaces are gone");
    let refused = class(&bench, sink, KSSTRING_CLOCK, &[0; 4]).status;
    assert!(refused.is_error());
}
