//! Driver Verifier's rules for AVStream on a Windows driver: one source with a defect a rule, and the matrix of defects
//! and rules.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::kernel::DevicePowerState;
use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier, KsState};
use ks_client::{Filter, Object, Pin};
use ks_nt::report::{self, BugCheck, Report};
use ks_rig::{Rig, each_seed};
use ks_stream::Rule;
use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use zerocopy::IntoBytes;

/// The check of the driver.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];

/// Runs a check of the driver's own, which may be refused. The second waits for a while until the source was called, which
/// a defect may prevent.
fn check(object: &Object, id: u32) {
    let request = KsIdentifier { set: CHECKS, id, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    if id == 0 && outcome.status.is_success() {
        assert_eq!(String::from_utf8_lossy(&answer[..outcome.information]), "", "check {id}");
    }
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
    run_with(&format!("-DRULE={defect}"));
}

/// The same, and what is asked of a device in its life.
fn run_with(option: &str) {
    let rig = Rig::start_with(&["tests/verifier/rules.c"], &[option]);
    let device = rig.driver(0).devices()[0].clone();
    if let Ok(filter) = rig.try_open(0) {
        stream(&rig, filter);
    }
    device.query_capabilities();
    let _ = rig.driver(0).query_interface(CHECKS, 1, 32);
    let _ = device.rebalance();
    let _ = device.sleep(DevicePowerState::D3);
    let _ = device.wake();
    let _ = device.query_remove();
    let _ = device.cancel_remove();
    drop(device);
    rig.unload();
}

fn stream(rig: &Rig, filter: Filter) {
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
}

#[test]
fn each_defect_of_a_driver_breaks_its_own_rule_and_no_other() {
    each_seed(|| {
        let reports = collect();
        run("0");
        assert_eq!(*reports.lock().unwrap(), [], "a correct driver");
        let mut fired: Vec<&'static Location<'static>> = Vec::new();
        for defect in Rule::ALL {
            run(defect.number().trim_start_matches('V').trim_start_matches('0'));
            let reports = std::mem::take(&mut *reports.lock().unwrap());
            let mut broken: Vec<Rule> = reports.iter().filter_map(|(report, _)| report.rule).collect();
            broken.sort_unstable();
            broken.dedup();
            assert_eq!(broken, [defect], "{reports:?}");
            let (number, callback, routine, objects) =
                WHERE[Rule::ALL.iter().position(|rule| *rule == defect).unwrap()];
            assert_eq!(number, defect.number());
            for (report, at) in &reports {
                assert_eq!((*at, report.routine), (callback, routine), "{report}");
                let is_named = objects.iter().any(|object| report.what.contains(object));
                assert!(is_named, "{objects:?}: {report}");
            }
            for object in objects {
                assert!(reports.iter().any(|(report, _)| report.what.contains(object)), "{object}: {reports:?}");
            }
            fired.extend(reports.iter().filter_map(|(report, _)| report.check));
            for (report, callback) in &reports {
                assert_eq!(report.code, BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "{report}");
                assert_eq!(report.parameters[0], u64::from(defect.code()), "{report}");
                assert!(report.to_string().contains(&format!("rule {defect}")), "{report}");
                let is_leftover = matches!(defect, Rule::StreamPointerClone | Rule::StreamPointerUnlock);
                assert!(callback.is_some() || is_leftover, "in which callback: {report}");
            }
        }
        // What the defects do not do, in one driver, which goes on after each.
        run_with("-DEVERY_WAY");
        let ways = std::mem::take(&mut *reports.lock().unwrap());
        let told = ways.iter().map(|(report, _)| (report.rule.map_or("none", Rule::number), report.routine));
        assert_eq!(told.collect::<Vec<_>>(), WAYS);
        fired.extend(ways.iter().filter_map(|(report, _)| report.check));
        // Each callback that answers, with an answer that it may not give.
        for (number, callback, rule) in ANSWERS {
            let option = format!("-DRETURNS_IN={number}");
            // A start that is refused is none: the driver is not loaded.
            let run = std::panic::catch_unwind(|| run_with(&option));
            assert_eq!(run.is_err(), ["Add", "Start", "PostStart"].contains(&callback), "{callback}");
            let reports = std::mem::take(&mut *reports.lock().unwrap());
            assert!(!reports.is_empty(), "{callback} is called");
            for (report, at) in &reports {
                assert_eq!((report.rule, report.routine), (Some(rule), callback), "{report}");
                assert_eq!(*at, Some(callback), "{report}");
            }
            fired.extend(reports.iter().filter_map(|(report, _)| report.check));
        }
        report::set_reporter(None);
        let file_and_line =
            |check: &'static Location<'static>| (check.file().rsplit('/').next().unwrap(), check.line());
        let fired: BTreeSet<_> = fired.into_iter().map(file_and_line).collect();
        let checks: BTreeSet<_> = SOURCES.into_iter().flat_map(|(file, text)| checks_of(file, text)).collect();
        assert_eq!(fired, checks, "each check of the verifier's found a defect");
    });
}

/// The sources with the checks.
const SOURCES: [(&str, &str); 2] =
    [("mod.rs", include_str!("../src/verifier/mod.rs")), ("calls.rs", include_str!("../src/verifier/calls.rs"))];

/// The lines of a source that report a broken rule. What they call to do so is none of them.
fn checks_of(file: &'static str, text: &str) -> Vec<(&'static str, u32)> {
    let reports = |line: &str| [" broken(", ".broke(", "Broken::by("].iter().any(|call| line.contains(call));
    let lines = (1..).zip(text.lines().map(str::trim_start));
    let own = ["fn ", "report::broken(broken", "tell(Broken::by(rule, "];
    let calls = lines.filter(|(_, line)| reports(&format!(" {line}")) && !own.iter().any(|own| line.starts_with(own)));
    calls.map(|(number, _)| (file, number)).collect()
}

/// What `-DEVERY_WAY` of `rules.c` does: the rule that it breaks, and the routine that is named.
const WAYS: [(&str, &str); 27] = [
    ("V01", "KsReleaseDevice"),
    ("V10", "KsAcquireControl"),
    ("V10", "KsReleaseControl"),
    ("V11", "KsPinAcquireProcessingMutex"),
    ("V11", "KsPinReleaseProcessingMutex"),
    ("V12", "KsStreamPointerDelete"),
    ("V12", "KsStreamPointerDelete"),
    ("V03", "KsStreamPointerUnlock"),
    ("V03", "KsStreamPointerAdvanceOffsetsAndUnlock"),
    ("V09", "KsGetParent"),
    ("V09", "KsCancelIo"),
    ("V19", "KsFilterGetChildPinCount"),
    ("V19", "KsFilterGetFirstChildPin"),
    ("V19", "KsPinGetNextSiblingPin"),
    ("V19", "KsGetFirstChild"),
    ("V19", "KsGetNextSibling"),
    ("V19", "KsAddItemToObjectBag"),
    ("V19", "KsCopyObjectBagItems"),
    ("V19", "_KsEdit"),
    ("V19", "KsRemoveItemFromObjectBag"),
    ("V19", "KsMergeAutomationTables"),
    ("V19", "KsFilterAddTopologyConnections"),
    ("V19", "KsFilterCreateNode"),
    ("V19", "KsFilterCreatePinFactory"),
    ("V11", "a property's get handler"),
    ("V10", "a property's get handler"),
    ("V01", "a property's get handler"),
];

const GETS: Option<&str> = Some("a property's get handler");
const PROCESSES: Option<&str> = Some("pin Process");
const DEVICE: &str = "(device rules.sys)";
const FILTER: &str = "(filter {1A4F3E52-7F0B-4C60-9D35-2B5E84110D21})";
const SOURCE: &str = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110D21}.0";
const SINK: &str = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110D21}.1";

/// Where each defect of `rules.c` is: rule, callback, the routine that is named, and the objects. What a pin leaves
/// behind is found when it is closed, after its last callback.
type Place = (&'static str, Option<&'static str>, &'static str, &'static [&'static str]);
const WHERE: [Place; Rule::ALL.len()] = [
    ("V01", GETS, "a property's get handler", &[DEVICE]),
    ("V02", None, "pin Close", &[SOURCE]),
    ("V03", PROCESSES, "KsStreamPointerUnlock", &[SOURCE, SINK]),
    ("V04", None, "pin Close", &[SOURCE]),
    ("V05", Some("pin SetDeviceState"), "pin SetDeviceState", &[SOURCE, SINK]),
    ("V06", Some("Start"), "Start", &[DEVICE]),
    ("V07", Some("filter Create"), "filter Create", &[FILTER]),
    ("V08", Some("pin SetDeviceState"), "pin SetDeviceState", &[SOURCE, SINK]),
    ("V09", GETS, "KsGetDevice", &[SOURCE, SINK]),
    ("V10", GETS, "KsReleaseControl", &[SOURCE, SINK]),
    ("V11", PROCESSES, "KsAcquireControl", &[SOURCE, SINK]),
    ("V12", PROCESSES, "KsStreamPointerDelete", &[SOURCE, SINK]),
    ("V18", Some("pin Create"), "pin Create", &[SOURCE, SINK]),
    ("V19", GETS, "KsAddItemToObjectBag", &[SOURCE, SINK]),
    ("V20", PROCESSES, "IofCompleteRequest", &[SOURCE, SINK]),
    ("V21", GETS, "KsStreamPointerUnlock", &[SOURCE]),
];

/// The callbacks of device, filter and pin that answer, by their numbers in `rules.c`, and the rule of a wrong answer.
const ANSWERS: [(u32, &str, Rule); 21] = [
    (1, "Add", Rule::CallbackReturn),
    (2, "Start", Rule::CallbackReturn),
    (3, "PostStart", Rule::CallbackReturn),
    (4, "QueryStop", Rule::CallbackReturn),
    (5, "QueryRemove", Rule::CallbackReturn),
    (6, "QueryCapabilities", Rule::CallbackReturn),
    (7, "QueryPower", Rule::CallbackReturn),
    (8, "QueryInterface", Rule::CallbackReturn),
    (9, "filter Create", Rule::MarkPendingIrp),
    (10, "pin SetDataFormat", Rule::CallbackReturn),
    (11, "pin Connect", Rule::CallbackReturn),
    (12, "pin Close", Rule::CallbackReturn),
    (13, "pin Close", Rule::MarkPendingIrp),
    (14, "pin Process", Rule::CallbackReturn),
    (15, "pin SetDeviceState", Rule::CallbackReturn),
    (16, "pin Create", Rule::MarkPendingIrp),
    (17, "filter Close", Rule::CallbackReturn),
    (18, "filter Close", Rule::MarkPendingIrp),
    (19, "pin handshake", Rule::CallbackReturn),
    (20, "pin IntersectHandler", Rule::CallbackReturn),
    (21, "pin IntersectHandler", Rule::CallbackReturn),
];
