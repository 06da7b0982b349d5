//! Driver Verifier's rules for AVStream on a Rust minidriver: one source with a defect a rule, and the matrix of defects
//! and rules.

use crate::misbehaving::{Bad, Place, broken};
use crate::rig::{FRAME_BYTES, Rig, Setup, UP, bring, frames, video};
use ks_abi::{KSCATEGORY_CAPTURE, KsPinDataFlow, KsState, NtStatus, STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT};
use ks_io::sync::Arc;
use ks_io::{Level, Refusal};
use ks_stream::{
    Filter, FilterDescriptor, FilterDispatch, FilterInstance, LeadingEdge, PinDescriptor, PinFlags, Rule, TrailingEdge,
};

/// The rules that a filter in Rust can break. Those of devices (V06) are in `device.rs`; it is lent no requests (V20).
const REACHABLE: [Rule; 14] = [
    Rule::DeviceMutex,
    Rule::StreamPointerClone,
    Rule::StreamPointerLock,
    Rule::StreamPointerUnlock,
    Rule::CallbackReturn,
    Rule::IrqlFilterCallbacks,
    Rule::IrqlPinCallbacks,
    Rule::IrqlDdis,
    Rule::FilterMutex,
    Rule::ProcessingMutex,
    Rule::InvalidStreamPointer,
    Rule::MarkPendingIrp,
    Rule::RequiredMutex,
    Rule::StateSteps,
];

/// Property 0 of the set.
const HANDLER: &str = "property, method or event";

/// In which callbacks of which objects each defect breaks its rule. What a pin leaves behind is found at its Close.
const WHERE: [&[(&str, &str)]; REACHABLE.len()] = [
    &[(HANDLER, "bad")],
    &[("pin Close", "bad.0")],
    &[("pin Process", "bad.0")],
    &[("pin Close", "bad.0")],
    &[("pin Process", "bad.0")],
    &[(HANDLER, "bad")],
    &[("pin SetDeviceState", "bad-sink.0"), ("pin SetDeviceState", "bad.0")],
    &[(HANDLER, "bad")],
    &[("pin SetDeviceState", "bad-sink.0"), ("pin SetDeviceState", "bad.0")],
    &[("pin Process", "bad.0")],
    &[("filter Close", "bad"), ("filter Close", "bad-sink")],
    &[("pin Create", "bad-sink.0")],
    &[(HANDLER, "bad")],
    &[(HANDLER, "bad.0")],
];

/// A minidriver with one defect, or none.
fn minidriver(defect: Option<Rule>, place: &Place<'_>) -> NtStatus {
    let is_output = place.pin.is_some_and(|pin| pin.data_flow() == KsPinDataFlow::OUT);
    match (defect, place.name) {
        (Some(Rule::DeviceMutex), "handler") => {
            if let Some(filter) = place.filter {
                filter.device().mutex().acquire();
            }
        }
        (Some(Rule::StreamPointerClone), "pin Process") if is_output => {
            let clone = place.shared.and_then(|pin| pin.leading_edge()?.clone_pointer());
            place.kept.clones.lock().extend(clone);
        }
        (Some(Rule::StreamPointerLock), "pin Process") => {
            if let Some(mut clone) = place.shared.and_then(|pin| pin.leading_edge()?.clone_pointer()) {
                let _ = clone.lock();
            }
        }
        (Some(Rule::StreamPointerUnlock), "pin Process") if is_output => {
            let edge = place.shared.and_then(LeadingEdge::of).filter(LeadingEdge::lock);
            place.kept.edges.lock().extend(edge);
            return STATUS_PENDING;
        }
        (Some(Rule::CallbackReturn), "pin Process") => return STATUS_TIMEOUT,
        (Some(Rule::IrqlFilterCallbacks), "handler") if place.filter.is_some() => Level::Dispatch.set_current(),
        (Some(Rule::IrqlPinCallbacks), "pin SetDeviceState") => Level::Apc.set_current(),
        (Some(Rule::IrqlDdis), "handler") => {
            if let Some(filter) = place.filter {
                let _level = Level::Dispatch.raise();
                filter.device().mutex().acquire();
            }
        }
        (Some(Rule::FilterMutex), "pin SetDeviceState") => {
            if let Some(pin) = place.pin {
                pin.filter().control().acquire();
            }
        }
        (Some(Rule::ProcessingMutex), "pin Process") => {
            if let Some(pin) = place.pin {
                pin.filter().control().acquire();
            }
        }
        (Some(Rule::InvalidStreamPointer), "pin Create") => {
            place.kept.edges.lock().extend(place.shared.and_then(LeadingEdge::of));
        }
        (Some(Rule::InvalidStreamPointer), "filter Close") => {
            place.kept.edges.lock().iter().for_each(|edge| assert!(!edge.lock()));
        }
        (Some(Rule::MarkPendingIrp), "pin Create") => return STATUS_PENDING,
        (Some(Rule::RequiredMutex), "handler") => {
            if let Some(filter) = place.filter {
                filter.device().add_factory(Arc::new(FilterDescriptor::new(
                    "later",
                    "later",
                    &[KSCATEGORY_CAPTURE],
                    vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![video()])],
                    Arc::new(Nothing),
                )));
            }
        }
        (Some(Rule::StateSteps), "handler") if is_output => {
            let pin = place.pin.and_then(|pin| pin.filter().pins(0).into_iter().next());
            if let Some(pin) = pin.filter(|pin| pin.state() == KsState::ACQUIRE)
                && let Some(frame) = pin.leading_edge()
            {
                frame.set_data_used(FRAME_BYTES);
                frame.eject();
            }
        }
        // A correct one takes and gives back each mutex where it may.
        (None, "handler") => {
            if let Some(filter) = place.filter {
                filter.device().mutex().acquire();
                filter.control().acquire();
                filter.control().release();
                filter.device().mutex().release();
            }
        }
        (None, "pin Process") => {
            if let Some(mut clone) = place.shared.and_then(|pin| pin.leading_edge()?.clone_pointer()) {
                clone.unlock();
                let _ = clone.lock();
            }
        }
        _ => {}
    }
    STATUS_SUCCESS
}

/// The dispatch table of a factory that nobody opens.
struct Nothing;

impl FilterDispatch for Nothing {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        unreachable!("nobody opens it")
    }
}

#[test]
fn each_defect_of_a_minidriver_breaks_its_own_rule_and_no_other() {
    for (defect, places_of_defect) in REACHABLE.into_iter().zip(WHERE) {
        let bad = Bad::new(move |place| minidriver(Some(defect), place));
        let said = bad.run();
        let violations = bad.device.violations();
        assert_eq!(broken(&violations), [defect], "{violations:?} {said:?}");
        let mut places: Vec<_> = violations.iter().map(|one| (one.callback, one.object.as_str())).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, places_of_defect, "{defect}: {violations:?}");
        bad.rig.assert_clean();
    }
}

#[test]
fn an_edge_that_a_minidriver_keeps_is_locked_and_unlocked_in_turns() {
    let defects: [fn(&LeadingEdge, &TrailingEdge); 4] = [
        |edge, _| assert!(edge.lock() && edge.lock()),
        |edge, _| assert!(!edge.unlock() && !edge.eject()),
        |_, edge| assert!(edge.lock().is_some() && edge.lock().is_some()),
        |_, edge| assert!(!edge.unlock() && !edge.eject()),
    ];
    for (number, defect) in defects.into_iter().enumerate() {
        let rig = Rig::with(Setup { source_flags: PinFlags::DISTINCT_TRAILING_EDGE, ..Setup::default() });
        rig.source.script(move |_, pin| {
            let (leading, trailing) = (LeadingEdge::of(pin).unwrap(), pin.trailing_edge().unwrap());
            defect(&leading, &trailing);
            if leading.is_locked() {
                leading.unlock();
            }
            if trailing.frame().is_some() {
                trailing.unlock();
            }
            STATUS_PENDING
        });
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let request = pin.read_stream(frames(&pin, 1)).unwrap();
        assert!(request.wait().is_err(), "{number}");
        let violations = rig.devices[0].violations();
        assert_eq!(broken(&violations), [Rule::StreamPointerLock], "{number}: {violations:?}");
        assert!(violations.iter().all(|one| one.callback == "pin Process" && one.object == "source.0"), "{number}");
        drop((pin, filter));
    }
}

#[test]
fn a_correct_minidriver_breaks_no_rule() {
    let bad = Bad::new(|place| minidriver(None, place));
    assert_eq!(bad.run(), Vec::<String>::new());
    assert_eq!(bad.device.violations(), []);
    bad.rig.assert_quiescent();
}

#[test]
fn mutexes_that_are_not_given_back_are_given_back_for_the_minidriver() {
    let bad = Bad::new(|place| minidriver(Some(Rule::DeviceMutex), place));
    let _ = bad.run();
    assert!(bad.device.mutex().try_acquire(), "the next one gets it");
    bad.device.mutex().release();
}

#[test]
fn every_rule_has_a_number_a_name_and_a_code() {
    for rule in Rule::ALL {
        assert_eq!(Rule::named(rule.number()), Some(rule));
        assert_eq!(Rule::named(rule.name()), Some(rule));
        assert!((0x81000..0x90000).contains(&rule.code()));
    }
    // The documentation gives one code to two rules.
    assert_eq!(Rule::MarkPendingIrp.code(), Rule::IrqlPinCallbacks.code());
    assert_eq!(Rule::ProcessingMutex.to_string(), "KsProcessingMutex (V11, 0x8100b)");
}
