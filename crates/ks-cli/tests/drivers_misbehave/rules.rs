//! Drivers that break a rule of the verifier: each is told with rule, callback, object, and the function that broke it.

use crate::driver_rig::{self, Hosted, Rig, assert_nothing_runs, copied, of_tests};
use crate::support::{Scratch, ks};
use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier, KsState};
use ks_broker::drivers::DriverError;
use ks_broker::report::{CodePlace, DriverReport, ReportKind};
use ks_client::{Connect, Filter, Pin};
use zerocopy::IntoBytes;

/// The check of `rules.c`.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);

/// Creates a pin, if the driver agrees.
fn create(filter: &Filter, id: u32, pin_to: Option<&Pin>) -> Option<Pin> {
    let factory = &filter.pins().ok()?[id as usize];
    let format = filter.intersect(id, &factory.data_ranges).ok()?;
    let (interface, medium) = (factory.interfaces[0], factory.mediums[0]);
    filter.create_pin(Connect { pin_id: id, interface, medium, pin_to, format: &format }, factory.data_flow).ok()
}

/// Everything that a client does with the driver until it has ended: it may refuse what it likes.
pub(crate) fn stream(hosted: &Hosted, filter: &Filter) {
    let check = |pin: &Pin, id| {
        let request = KsIdentifier { set: CHECKS, id, flags: KSPROPERTY_TYPE_GET };
        let _ = pin.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut [0; 200]);
    };
    let sink = create(filter, 1, None);
    let source = sink.as_ref().and_then(|sink| create(filter, 0, Some(sink)));
    let pins: Vec<&Pin> = [&sink, &source].into_iter().flatten().collect();
    for pin in &pins {
        for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
            let _ = pin.set_state(state);
            check(pin, 0);
        }
    }
    if let Some(source) = &source
        && !hosted.host.has_ended()
    {
        check(source, 1);
    }
    for pin in pins.iter().rev() {
        let _ = pin.set_state(KsState::STOP);
    }
    drop((source, sink));
}

/// What is told of the driver of `rules.c` with this defect.
fn report_of(rig: &Rig, defect: &str) -> DriverReport {
    let driver = of_tests("verifier/rules", &[defect, "--symbols"]);
    let hosted = match rig.try_start(&driver_rig::hosting(), &driver) {
        Ok(hosted) => hosted,
        Err(DriverError::Broken(report)) => return *report,
        Err(other) => panic!("{defect}: {other}"),
    };
    let filter = hosted.try_open();
    if let Some(filter) = filter {
        stream(&hosted, &filter);
    }
    hosted.stop().report.unwrap_or_else(|| panic!("{defect}: no report"))
}

/// Where the driver was.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    /// In a call that its stack shows, innermost first.
    Stack(&'static [&'static str]),
    /// In this routine, which has returned.
    Returned(&'static str),
    /// In this function, whose call is not undone.
    Left(&'static str),
}
use Where::{Left, Returned, Stack};

const GET: Option<&str> = Some("a property's get handler for {2F8D2A10-");
const PROCESS: Option<&str> = Some("pin Process");
const STATE: Option<&str> = Some("pin SetDeviceState");
const DEVICE: &str = "(device rules-DRULE";
const FILTER: &str = "(filter {1A4F3E52-7F0B-4C60-9D35-2B5E84110D21})";
const SOURCE: &str = "pin {1A4F3E52-7F0B-4C60-9D35-2B5E84110D21}.0)";
/// The source or the sink, whichever breaks first.
const PIN: &str = "pin {1A4F3E52-7F0B-4C60-9D35-2B5E84110D21}.";

/// Each rule: the callback (none: the pin is closed), the object, and the function of `rules.c` that breaks it.
const RULES: [(&str, Option<&str>, &str, Where); 16] = [
    ("V01", GET, DEVICE, Left("OnCheck")),
    ("V02", None, SOURCE, Left("Process")),
    ("V03", PROCESS, PIN, Stack(&["Process", "OnProcess"])),
    ("V04", None, SOURCE, Left("Process")),
    ("V05", STATE, PIN, Returned("OnSetDeviceState")),
    ("V06", Some("Start"), DEVICE, Returned("OnStart")),
    ("V07", Some("filter Create"), FILTER, Returned("OnFilterCreate")),
    ("V08", STATE, PIN, Returned("OnSetDeviceState")),
    ("V09", GET, PIN, Stack(&["OnCheck", "RunCheck"])),
    ("V10", GET, PIN, Stack(&["OnCheck", "RunCheck"])),
    ("V11", PROCESS, PIN, Stack(&["Process", "OnProcess"])),
    ("V12", PROCESS, PIN, Stack(&["Process", "OnProcess"])),
    ("V18", Some("pin Create"), PIN, Returned("OnCreate")),
    ("V19", GET, PIN, Stack(&["OnCheck", "RunCheck"])),
    ("V20", PROCESS, PIN, Stack(&["Process", "OnProcess"])),
    ("V21", GET, SOURCE, Stack(&["OnCheck", "RunCheck"])),
];

/// The function of a place, and that its line is in `rules.c` or in a header.
fn function(place: Option<&CodePlace>) -> (&str, &str) {
    let symbol = place.and_then(|place| place.symbol.as_deref()).unwrap_or("");
    let line = place.and_then(|place| place.line.as_deref()).unwrap_or("");
    // A compiler makes `Process.isra.0` of it.
    (symbol.split(['+', '.']).next().unwrap_or(""), line)
}

#[test]
fn each_broken_rule_is_told_with_callback_object_and_the_function_that_broke_it() {
    let rig = Rig::new();
    for (number, callback, object, place) in RULES {
        let rule = ks_stream::Rule::named(number).unwrap();
        let defect = format!("-DRULE={}", number.trim_start_matches('V').trim_start_matches('0'));
        let report = report_of(&rig, &defect);
        assert_eq!((report.kind, report.rule.as_deref()), (ReportKind::Misuse, Some(&*rule.to_string())), "{report}");
        match callback {
            Some(callback) => assert!(report.request.as_deref().is_some_and(|of| of.starts_with(callback)), "{report}"),
            None => assert!(report.request.is_none() && report.what.starts_with("pin Close: "), "{report}"),
        }
        assert!(report.what.contains(object), "{number} names {object}: {report}");
        match place {
            Stack(functions) => {
                let stack = report.called_from.iter().chain(&report.stack);
                let told: Vec<_> = stack.map(|place| function(Some(place)).0).take(functions.len()).collect();
                assert_eq!(told, functions, "{number}: {report}");
                assert!(report.at.is_none(), "{report}");
            }
            Returned(routine) => {
                let at = report.at.as_ref().unwrap_or_else(|| panic!("{number}: {report}"));
                assert_eq!(at.symbol, Some(format!("{routine}+0x0")), "{report}");
            }
            Left(of) => {
                let (told, line) = function(report.at.as_ref());
                assert!(told == of && !line.is_empty(), "{number}: {report}");
            }
        }
        if !matches!(place, Stack(_)) {
            assert!(report.called_from.is_none() && report.stack.is_empty(), "what is over is on no stack: {report}");
        }
    }
}

#[test]
fn a_broken_rule_is_told_with_its_callback_object_and_calls() {
    let scratch = Scratch::new();
    let build = |defect| copied(&scratch, &of_tests("verifier/rules", &[defect, "--symbols"]));
    let correct = build("-DRULE=0");
    ks(&["run", &format!("{correct} ! null-renderer frames=3"), "--verifier"]).done();
    // In a process callback, whose mutex is held.
    let broken = build("-DRULE=11");
    let rule = "KsProcessingMutex (V11, 0x8100b)";
    let ran = ks(&["run", &format!("{broken} ! null-renderer frames=3"), "--verifier", "--json"]);
    assert!(ran.stderr.contains(rule) && ran.stderr.contains("DRIVER_VERIFIER_DETECTED_VIOLATION"), "{ran}");
    assert_eq!(ran.code, Some(1), "{ran}");
    let report = &ran.json()["reports"][0];
    assert_eq!((&report["rule"], &report["kind"]), (&rule.into(), &"misuse".into()), "{ran}");
    assert_eq!(report["request"], "pin Process", "{ran}");
    assert!(report["what"].as_str().is_some_and(|what| what.contains("KsAcquireControl") && what.contains("(pin ")));
    let calls = [&report["called_from"], &report["stack"][0]].map(|place| place["symbol"].as_str().unwrap_or(""));
    assert!(calls.iter().all(|symbol| symbol.contains("Process")), "{ran}");
    // A filter's create, with which a look at the driver begins.
    let broken = build("-DRULE=7");
    ks(&["inspect", &broken, "--verifier"]).refused(1, &["KsIrqlFilterCallbacks", "filter Create"]);
    assert_nothing_runs(&scratch);
}
