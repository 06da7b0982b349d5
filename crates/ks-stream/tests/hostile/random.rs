//! Random requests in random order.

use crate::streams::header_list;
use crate::support::specimen::*;
use crate::{bounded, bytes_of};
use ks_abi::*;
use ks_io::{Ticks, Transport};
use ks_mem::Frame;
use proptest::prelude::*;
use zerocopy::FromBytes;

/// One step of a random client.
#[derive(Debug, Clone)]
enum Step {
    Open,
    /// A sink and a source that is connected to it.
    Pair {
        sink: u32,
        source: u32,
    },
    Create {
        parent: usize,
        id: u32,
        to: Option<usize>,
        class: u8,
        damage: Option<(usize, u8)>,
    },
    Control {
        on: usize,
        code: u8,
        set: u8,
        item: u32,
        flags: u32,
        extra: Vec<u8>,
        output: Vec<u8>,
    },
    State {
        on: usize,
        state: u32,
    },
    Stream {
        on: usize,
        write: bool,
        headers: usize,
        damage: Option<(usize, u8)>,
    },
    CancelAll {
        on: usize,
    },
    Event,
    Close {
        on: usize,
    },
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    let on = 0..24usize;
    let damage = || proptest::option::weighted(0.15, (0..200usize, any::<u8>()));
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    let flags = prop_oneof![
        4 => Just(1u32),
        4 => Just(2u32),
        1 => Just(0x100u32),
        1 => Just(0x200u32),
        1 => Just(0x400u32),
        1 => any::<u32>()
    ];
    prop_oneof![
        1 => Just(Step::Open),
        3 => (prop_oneof![Just(IN), Just(WILD)], prop_oneof![Just(OUT), Just(FIXED), Just(OUT_SOURCE_ONLY)])
            .prop_map(|(sink, source)| Step::Pair { sink, source }),
        4 => (on.clone(), 0..PIN_COUNT + 1, proptest::option::weighted(0.3, on.clone()), 0..12u8, damage())
            .prop_map(|(parent, id, to, class, damage)| Step::Create { parent, id, to, class, damage }),
        6 => (on.clone(), 0..9u8, 0..10u8, 0..17u32, flags, bytes(96), bytes(96)).prop_map(
            |(on, code, set, item, flags, extra, output)| Step::Control { on, code, set, item, flags, extra, output }
        ),
        4 => (on.clone(), 0..5u32).prop_map(|(on, state)| Step::State { on, state }),
        3 => (on.clone(), any::<bool>(), 0..4usize, damage())
            .prop_map(|(on, write, headers, damage)| Step::Stream { on, write, headers, damage }),
        1 => on.clone().prop_map(|on| Step::CancelAll { on }),
        1 => Just(Step::Event),
        2 => on.prop_map(|on| Step::Close { on }),
        1 => prop_oneof![30 => Just(Step::Event), 1 => Just(Step::Remove)],
    ]
}

const CODES: [IoControlCode; 9] = [
    IoControlCode::KS_PROPERTY,
    IoControlCode::KS_PROPERTY,
    IoControlCode::KS_PROPERTY,
    IoControlCode::KS_ENABLE_EVENT,
    IoControlCode::KS_DISABLE_EVENT,
    IoControlCode::KS_METHOD,
    IoControlCode::KS_RESET_STATE,
    IoControlCode::KS_HANDSHAKE,
    IoControlCode(0x002F_0023),
];

const SETS: [Guid; 10] = [
    KSPROPSETID_Pin,
    KSPROPSETID_Topology,
    KSPROPSETID_General,
    KSPROPSETID_Connection,
    KSPROPSETID_Stream,
    KSPROPSETID_StreamInterface,
    KSPROPSETID_Clock,
    USERKS_PROPSET_PIN,
    USERKS_EVENTSET_PIN,
    Guid::NULL,
];

fn damaged(mut bytes: Vec<u8>, damage: Option<(usize, u8)>) -> Vec<u8> {
    if let Some((at, value)) = damage {
        match bytes.get_mut(at) {
            Some(byte) => *byte = value,
            None => bytes.truncate(at % 100),
        }
    }
    bytes
}

/// Plays the steps and tells how many creates the drivers saw and how many closes.
fn play(steps: Vec<Step>) {
    let bench = bench();
    let buffers: Vec<Frame> = (0..4).map(|_| bench.session.allocate(64, 64).expect("memory")).collect();
    let mut handles = vec![bench.filter];
    let mut running = Vec::new();
    for step in steps {
        // The newest handles are the likeliest to be open.
        let at = |on: usize| handles[handles.len() - 1 - on % handles.len()];
        match step {
            Step::Open => handles.extend(bench.session.open(&bench.link, both_accesses())),
            Step::Pair { sink, source } => {
                let Ok(sink) = bench.create(&pin_create(sink)) else { continue };
                handles.push(sink);
                handles.extend(bench.create(&pin_create(source).to(sink)));
            }
            Step::Create { parent, id, to, class, damage } => {
                let create = pin_create(id);
                let create = if let Some(to) = to { create.to(at(to)) } else { create };
                let (name, parameters) = match class {
                    0 => (KSSTRING_CLOCK, vec![0; 4]),
                    1 => (KSSTRING_ALLOCATOR, vec![0; 24]),
                    _ => (KSSTRING_PIN, create.parameters()),
                };
                let parent = if class > 2 { bench.filter } else { at(parent) };
                let made = bench.session.create(parent, name, &damaged(parameters, damage), both_accesses());
                handles.extend(made);
            }
            Step::Control { on, code, set, item, flags, extra, mut output } => {
                let mut input = bytes_of(&property(SETS[set as usize], item, flags));
                input.extend_from_slice(&extra);
                let code = CODES[code as usize];
                let carried = input.len() + output.len();
                let outcome = bounded(carried, "a random request", || bench.control(at(on), code, &input, &mut output));
                assert_ne!(outcome.status, STATUS_PENDING);
            }
            Step::State { on, state } => {
                let _ = bench.set_state(at(on), KsState(state));
            }
            Step::Stream { on, write, headers, damage } => {
                let (code, used) =
                    if write { (IoControlCode::KS_WRITE_STREAM, 8) } else { (IoControlCode::KS_READ_STREAM, 0) };
                let list = damaged(header_list(&buffers[..headers], used), damage);
                running.push(bench.session.submit(at(on), code, &[], list));
            }
            Step::CancelAll { on } => {
                let _ = bench.session.cancel_all(at(on));
            }
            Step::Event => handles.extend(bench.session.create_event().map(|(handle, _)| handle)),
            Step::Close { on } => {
                let _ = bench.session.close(at(on));
            }
            Step::Remove => bench.device.surprise_remove(),
        }
    }
    let Bench { session, device, script, io, .. } = &bench;
    for handle in handles {
        let _ = session.close(handle);
    }
    // Every request has ended, because its pin is closed.
    for request in running {
        assert!(request.is_done());
        let _ = request.wait();
    }
    assert_eq!(session.open_handles(), 0);
    // A worker may still be letting go of the last pin; virtual time moves only when all have.
    let services = io.services();
    let _ = services.delay_until(services.now() + Ticks::from_secs(1));
    assert_eq!(device.open_filters(), 0);
    let calls = script.taken();
    let count = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
    assert_eq!(count("create "), count("close "), "every pin that was made is closed");
    assert_eq!(count("connect "), count("disconnect "), "every connection is undone");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_requests_never_panic_hang_or_leave_anything_behind(steps in proptest::collection::vec(step(), 1..60)) {
        play(steps);
    }

    #[test]
    fn random_bytes_are_no_request(
        code in any::<u32>(),
        low in 0..9usize,
        input in proptest::collection::vec(any::<u8>(), 0..200),
        output in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let bench = bench();
        let pin = bench.pin(OUT);
        for handle in [bench.filter, pin] {
            for code in [IoControlCode(code), CODES[low]] {
                let mut output = output.clone();
                let carried = input.len() + output.len();
                let outcome = bounded(carried, "random bytes", || bench.control(handle, code, &input, &mut output));
                let allowed = matches!(code, IoControlCode::KS_DISABLE_EVENT | IoControlCode::KS_ENABLE_EVENT | IoControlCode::KS_RESET_STATE);
                prop_assert!(!outcome.status.is_success() || allowed, "{code:?}");
            }
        }
        let parsed = KsProperty::read_from_prefix(&input).is_ok();
        prop_assert_eq!(parsed, input.len() >= 24);
    }
}
