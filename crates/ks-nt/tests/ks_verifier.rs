//! Driver Verifier's rules for AVStream on a Windows driver: one source with a defect a rule, and the matrix of defects
//! and rules.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier, KsState};
use ks_client::{Object, Pin};
use ks_nt::report::{self, BugCheck, Report};
use ks_rig::Rig;
use ks_stream::Rule;
use std::sync::{Arc, Mutex};
use zerocopy::IntoBytes;

/// The check of the driver.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];

/// Runs a check of the driver's own; what it says is not looked at. The second waits until the source was called.
fn check(object: &Object, id: u32) {
    let request = KsIdentifier { set: CHECKS, id, flags: KSPROPERTY_TYPE_GET };
    let _ = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut [0; 200]);
}

/// What was reported, and in which callback.
type Reports = Arc<Mutex<Vec<(Report, Option<&'static str>)>>>;

/// Takes the reports of the process; drivers go on after one.
fn collect() -> Reports {
    let reports = Reports::default();
    let to = reports.clone();
    report::set_reporter(Some(Arc::new(move |report| {
        to.lock().unwrap().push((report.clone(), report::in_hand().map(|in_hand| in_hand.routine)));
    })));
    reports
}

/// Everything that a client does with the driver; it may refuse what it likes.
fn run(defect: &str) {
    let rig = Rig::start_with(&["tests/verifier/rules.c"], &[&format!("-DRULE={defect}")]);
    let filter = rig.open();
    let sink = rig.try_create(&filter, 1, None);
    let source = sink.as_ref().ok().and_then(|sink| rig.try_create(&filter, 0, Some(sink)).ok());
    let pins: Vec<&Pin> =
        [sink.as_ref().ok(), source.as_ref()].into_iter().flatten().map(|created| &created.pin).collect();
    for pin in &pins {
        for state in UP {
            let _ = pin.set_state(state);
            check(pin.object(), 0);
        }
    }
    if let Some(source) = source.as_ref().filter(|source| source.pin.state().is_ok_and(|state| state == KsState::RUN)) {
        check(source.pin.object(), 1);
    }
    for pin in pins.iter().rev() {
        let _ = pin.set_state(KsState::PAUSE);
        let _ = pin.set_state(KsState::STOP);
    }
    drop((source, sink, filter));
    rig.unload();
}

#[test]
fn each_defect_of_a_driver_breaks_its_own_rule_and_no_other() {
    let reports = collect();
    run("0");
    assert_eq!(*reports.lock().unwrap(), [], "a correct driver");
    for defect in Rule::ALL {
        run(defect.number().trim_start_matches('V').trim_start_matches('0'));
        let reports = std::mem::take(&mut *reports.lock().unwrap());
        let mut broken: Vec<Rule> = reports.iter().filter_map(|(report, _)| report.rule).collect();
        broken.sort_unstable();
        broken.dedup();
        assert_eq!(broken, [defect], "{reports:?}");
        for (report, callback) in &reports {
            assert_eq!(report.code, BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "{report}");
            assert_eq!(report.parameters[0], u64::from(defect.code()), "{report}");
            assert!(report.to_string().contains(&format!("rule {defect}")), "{report}");
            let is_leftover = matches!(defect, Rule::StreamPointerClone | Rule::StreamPointerUnlock);
            assert!(callback.is_some() || is_leftover, "in which callback: {report}");
        }
    }
    report::set_reporter(None);
}
