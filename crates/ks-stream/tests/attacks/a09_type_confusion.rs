//! A9, a handle of another kind: every kind of object with every property, method and event set. An object knows its own sets
//! and refuses the others, and a handle that is none of this client's is no object at all.

use crate::bytes_of;
use crate::support::specimen::*;
use ks_abi::*;
use ks_io::{Handle, Transport};
use std::collections::BTreeSet;

/// What stands behind a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Filter,
    Pin,
    StoppedPin,
    Clock,
    Allocator,
    Node,
    /// A handle of this client, of no file object.
    Event,
    /// Closed or never given out.
    Nothing,
}

/// The property sets that the class driver answers on each kind.
fn own_sets(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Filter => &["KSPROPSETID_Pin", "KSPROPSETID_Topology", "KSPROPSETID_General"],
        Kind::Pin | Kind::StoppedPin => {
            &["KSPROPSETID_Connection", "KSPROPSETID_Stream", "KSPROPSETID_StreamInterface"]
        }
        Kind::Clock => &["KSPROPSETID_Clock"],
        Kind::Allocator => &["KSPROPSETID_StreamAllocator"],
        Kind::Node | Kind::Event | Kind::Nothing => &[],
    }
}

fn objects(bench: &Bench) -> Vec<(Kind, Handle)> {
    let create = |on, class, parameters: &[u8]| bench.session.create(on, class, parameters, both_accesses()).unwrap();
    let running = bench.pin(OUT);
    assert_eq!(bench.set_state(running, KsState::ACQUIRE).status, STATUS_SUCCESS);
    let stopped = bench.pin(IN);
    let clock = create(running, KSSTRING_CLOCK, &[0; 4]);
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 1,
        frame_size: 64,
        ..Default::default()
    };
    let allocator = create(stopped, KSSTRING_ALLOCATOR, &bytes_of(&framing));
    let node = create(bench.filter, KSSTRING_TOPOLOGY_NODE, &bytes_of(&KsNodeCreate { create_flags: 0, node: 0 }));
    let (event, _) = bench.session.create_event().unwrap();
    let closed = bench.pin(WILD);
    assert_eq!(bench.session.close(closed).status, STATUS_SUCCESS);
    vec![
        (Kind::Filter, bench.filter),
        (Kind::Pin, running),
        (Kind::StoppedPin, stopped),
        (Kind::Clock, clock),
        (Kind::Allocator, allocator),
        (Kind::Node, node),
        (Kind::Event, event),
        (Kind::Nothing, closed),
        (Kind::Nothing, Handle(0x7FFF_FFF8)),
        (Kind::Nothing, Handle(u64::MAX)),
        (Kind::Nothing, Handle::NULL),
    ]
}

fn name(set: Guid) -> String {
    set.name().map_or_else(|| set.to_string(), str::to_owned)
}

#[test]
fn a9_every_kind_of_object_answers_its_own_sets_and_refuses_all_others() {
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME], None, None);
    let property_sets: BTreeSet<[u8; 16]> =
        known_properties().map(|item| bytes_of(&item.set).try_into().unwrap()).collect();
    let method_sets: BTreeSet<[u8; 16]> = known_methods().map(|item| bytes_of(&item.set).try_into().unwrap()).collect();
    let event_sets: BTreeSet<[u8; 16]> = known_events().map(|item| bytes_of(&item.set).try_into().unwrap()).collect();
    let guid = |bytes: &[u8; 16]| -> Guid { zerocopy::FromBytes::read_from_bytes(bytes).unwrap() };
    let mut cells = 0;
    for (kind, handle) in objects(&bench) {
        for set in property_sets.iter().chain(&method_sets).chain(&event_sets).map(guid) {
            let request = bytes_of(&property(set, 0, KSPROPERTY_TYPE_SETSUPPORT));
            let status = bench.property(handle, &request, &mut []).status;
            let expected = match kind {
                Kind::Event => STATUS_OBJECT_TYPE_MISMATCH,
                Kind::Nothing => STATUS_INVALID_HANDLE,
                _ if own_sets(kind).contains(&name(set).as_str()) => STATUS_SUCCESS,
                _ => STATUS_PROPSET_NOT_FOUND,
            };
            assert_eq!(status, expected, "{kind:?} and the property set {}", name(set));
            // What is no set of the object is answered to no verb.
            if expected == STATUS_PROPSET_NOT_FOUND {
                for verb in [KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPERTY_TYPE_BASICSUPPORT] {
                    let request = bytes_of(&property(set, 0, verb));
                    let status = bench.property(handle, &request, &mut [0; 64]).status;
                    assert_eq!(status, STATUS_PROPSET_NOT_FOUND, "{kind:?}, {} and verb {verb:#x}", name(set));
                }
            }
            cells += 1;
        }
        for set in method_sets.iter().map(guid) {
            let request = bytes_of(&KsMethod::new(set, 0, KSMETHOD_TYPE_SETSUPPORT));
            let status = bench.control(handle, IoControlCode::KS_METHOD, &request, &mut []).status;
            let is_own = kind == Kind::Allocator && name(set) == "KSMETHODSETID_StreamAllocator";
            let expected = match kind {
                Kind::Event => STATUS_OBJECT_TYPE_MISMATCH,
                Kind::Nothing => STATUS_INVALID_HANDLE,
                _ if is_own => STATUS_SUCCESS,
                _ => STATUS_PROPSET_NOT_FOUND,
            };
            assert_eq!(status, expected, "{kind:?} and the method set {}", name(set));
            cells += 1;
        }
    }
    assert!(cells > 300, "{cells} cells");
}

#[test]
fn a9_another_clients_handle_is_no_handle() {
    let bench = bench();
    let stranger = bench.io.session();
    let filter = stranger.open(&bench.link, both_accesses()).unwrap();
    // So many that none of their numbers can be one of ours.
    let parameters = pin_create(NON_STANDARD).parameters();
    let theirs: Vec<_> =
        (0..64).map(|_| stranger.create(filter, KSSTRING_PIN, &parameters, both_accesses()).unwrap()).collect();
    for handle in &theirs[8..] {
        let request = bytes_of(&property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET));
        assert_eq!(bench.property(*handle, &request, &mut [0; 4]).status, STATUS_INVALID_HANDLE);
        assert_eq!(bench.session.close(*handle).status, STATUS_INVALID_HANDLE);
        let to = pin_create(FIXED).to(*handle);
        assert_eq!(bench.create(&to).unwrap_err().status, STATUS_INVALID_HANDLE, "nor is it one inside of a request");
    }
}
