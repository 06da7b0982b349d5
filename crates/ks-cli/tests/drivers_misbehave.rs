//! Drivers that do what a driver must not: each is reported and ruins its own process, and nothing else.

#[path = "drivers_misbehave/callbacks.rs"]
mod callbacks;
mod driver_rig;
#[path = "drivers_misbehave/rules.rs"]
mod rules;
mod support;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use ks_abi::{
    Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsProperty, KsState, NtStatus, STATUS_DEVICE_REMOVED,
    STATUS_NOT_IMPLEMENTED, STATUS_SUCCESS,
};
use ks_broker::driver_host::{Imports, Sandbox};
use ks_broker::drivers::{DriverError, Hosting};
use ks_broker::report::{CodePlace, DriverReport, Remainder, ReportKind};
use ks_client::Filter;
use zerocopy::IntoBytes;

use driver_rig::{
    Hosted, ONE_SECOND, Rig, ask, assert_nothing_runs, copied, create, hosting, hosts_of, is_running, misbehaving,
    sample,
};
use support::{Ran, Scratch, ks, ks_command, tool};

const FAULTS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e10);
const HANGS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e11);
const LEAKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e12);
const UNKNOWN: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e13);
const HOSTILE: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e14);

/// The faults of `faults.c`: item, kind, words of the report, the routine and a word of its line.
const KINDS: [(u32, ReportKind, &str, &str, &str); 11] = [
    (0, ReportKind::Fault, "read", "ReadAt", "the faulting line"),
    (1, ReportKind::Fault, "write", "OnFault", "&Constant = 8"),
    (2, ReportKind::Fault, "call of 0x0", "OnFault", "(ULONG_PTR)zero)()"),
    (3, ReportKind::Fault, "divi", "OnFault", "Constant / zero"),
    (4, ReportKind::Fault, "instruction", "OnFault", "ud2"),
    (5, ReportKind::BugCheck, "DEAD", "OnFault", "KeBugCheckEx"),
    (6, ReportKind::Misuse, "free", "OnFault", "ExFreePoolWithTag"),
    (7, ReportKind::Misuse, "level", "OnFault", "KeWaitForSingleObject"),
    // The routine of the compiler that touches each page of a frame; it has no source here.
    (8, ReportKind::Fault, "stack overflow", "___chkstk_ms", ""),
    (9, ReportKind::Fault, "cli", "OnFault", "cli"),
    // The allocator finds what a driver wrote behind its block, with its own lock held.
    (10, ReportKind::Fault, "memory may be damaged", "Overrun", "ExFreePoolWithTag"),
];

/// Where a report says that the driver was.
#[track_caller]
fn place(report: &DriverReport) -> &CodePlace {
    // A call to nowhere is at its address; what matters is who called.
    let own = |place: &&CodePlace| ["faults", "hangs"].iter().any(|name| place.image.starts_with(name));
    let at = report.at.iter().chain(&report.called_from).find(own);
    at.unwrap_or_else(|| panic!("no place in the image:\n{report}"))
}

fn fault(filter: &Filter, item: u32) -> NtStatus {
    ask(filter, FAULTS, item, KSPROPERTY_TYPE_GET, 0).0
}

#[test]
fn each_kind_of_fault_is_reported_with_its_place_level_request_and_events() {
    let rig = Rig::new();
    let driver = misbehaving("faults", &["--symbols"]);
    let source = std::fs::read_to_string(driver_rig::sources().join("tests/misbehave/faults.c")).expect("the source");
    let mut failed = Vec::new();
    for (item, kind, words, routine, line) in KINDS {
        let hosted = rig.start(&driver);
        let filter = hosted.open();
        assert_eq!(fault(&filter, item), STATUS_DEVICE_REMOVED, "item {item}");
        assert!(hosted.host.has_ended(), "item {item}: the report comes before the end of the request");
        drop(filter);
        let report = hosted.stop().report.unwrap_or_else(|| panic!("item {item}: no report"));
        let place = place(&report);
        let told_line = place.line.as_deref().and_then(|line| line.rsplit_once(':')).map_or("", |(_, line)| line);
        let at_line = told_line.parse().ok().and_then(|line: usize| source.lines().nth(line.checked_sub(1)?));
        let symbol = place.symbol.as_deref().unwrap_or("");
        let is_told = report.kind == kind
            && report.what.to_lowercase().contains(&words.to_lowercase())
            && place.offset >= 0x1000
            && symbol.starts_with(routine)
            && at_line.unwrap_or("").contains(line)
            && report.level.is_some()
            && report.thread.is_some()
            && report.request.as_deref().is_some_and(|request| request.to_lowercase().contains("2f8d2a10"))
            && !report.events.is_empty();
        if !is_told {
            failed
                .push(format!("item {item} ({kind}, {words}, {routine}, {line}); it says line {at_line:?}\n{report}"));
        }
    }
    assert!(failed.is_empty(), "{} of {} reports lack something:\n{}", failed.len(), KINDS.len(), failed.join("\n"));
}

#[test]
fn a_fault_in_a_driver_without_symbols_is_told_by_image_and_offset() {
    let rig = Rig::new();
    let driver = misbehaving("faults", &[]);
    for (item, kind, ..) in KINDS {
        let hosted = rig.start(&driver);
        let filter = hosted.open();
        assert_eq!(fault(&filter, item), STATUS_DEVICE_REMOVED);
        drop(filter);
        let report = hosted.stop().report.expect("a report");
        assert_eq!(report.kind, kind, "{report}");
        let place = place(&report);
        assert!(place.image == "faults.sys" && place.offset >= 0x1000 && place.line.is_none(), "{report}");
    }
}

/// The report of a driver that breaks on a thread of the kernel's, after a property said so.
fn report_of_other_thread(driver: &str, item: u32) -> DriverReport {
    let hosted = Rig::new().start(driver);
    let filter = hosted.open();
    // Its answer and its end may come in any order.
    _ = fault(&filter, item);
    while !hosted.host.has_ended() {
        std::thread::yield_now();
    }
    drop(filter);
    hosted.stop().report.expect("a report")
}

#[test]
fn a_stack_that_overflows_is_told_on_each_kind_of_thread_with_who_used_it_up() {
    let driver = misbehaving("faults", &["--symbols"]);
    let reports = [(8, "2f8d2a10"), (11, "a DPC"), (12, "a work item"), (13, "a system thread")];
    for (item, request) in reports {
        let report = report_of_other_thread(&driver, item);
        assert!(report.kind == ReportKind::Fault && report.what.starts_with("stack overflow, all "), "{report}");
        let caller = report.called_from.as_ref().expect("who called");
        assert!(caller.symbol.as_deref().is_some_and(|symbol| symbol.starts_with("Recurse")), "{report}");
        let told = report.request.as_deref().unwrap_or("").to_lowercase();
        assert!(told.contains(&request.to_lowercase()), "{report}");
        assert_eq!(report.level, Some(if item == 11 { 2 } else { 0 }), "{report}");
    }
}

#[test]
fn the_level_of_a_driver_that_waits_at_dispatch_level_is_told() {
    let rig = Rig::new();
    let hosted = rig.start(&misbehaving("faults", &[]));
    let filter = hosted.open();
    assert_eq!(fault(&filter, 7), STATUS_DEVICE_REMOVED);
    drop(filter);
    let report = hosted.stop().report.expect("a report");
    assert_eq!(report.level, Some(2), "{report}");
    assert!(report.to_string().contains("DISPATCH_LEVEL"), "{report}");
}

/// Streams so many pictures from a camera, and answers when they came.
fn streams(hosted: &Hosted, during: impl FnOnce()) {
    let filter = hosted.open();
    let pin = create(&filter, 0, None);
    pin.pin.set_state(KsState::PAUSE).expect("pause");
    let first = pin.read(2);
    pin.pin.set_state(KsState::RUN).expect("run");
    first.wait().expect("pictures before");
    during();
    for _ in 0..3 {
        pin.read(2).wait().expect("pictures after");
    }
    pin.pin.set_state(KsState::STOP).expect("stop");
}

#[test]
fn others_stream_on_while_a_driver_faults_and_it_can_be_started_again() {
    let rig = Rig::new();
    let (camera, faults) = (rig.start(&sample("synthcam")), misbehaving("faults", &[]));
    streams(&camera, || {
        for round in 0..3 {
            let hosted = rig.start(&faults);
            let process = hosted.host.process_id();
            let (broken, idle) = (hosted.open(), hosted.open());
            assert_eq!(fault(&broken, round), STATUS_DEVICE_REMOVED);
            assert_eq!(fault(&idle, round), STATUS_DEVICE_REMOVED, "its other objects are dead too");
            drop((broken, idle));
            assert!(hosted.stop().report.is_some());
            assert!(!is_running(process));
        }
    });
    // Again, and whole.
    let again = rig.start(&faults);
    let filter = again.open();
    assert!(filter.pins().expect("an answer").is_empty());
    drop(filter);
    again.stop_in_order();
    camera.stop_in_order();
}

#[test]
fn a_host_that_is_killed_in_mid_stream_ends_its_streams_and_no_others() {
    let rig = Rig::new();
    let (camera, victim) = (rig.start(&sample("synthcam")), rig.start(&sample("pacer")));
    let filter = victim.open();
    let pin = create(&filter, 0, None);
    pin.pin.set_state(KsState::PAUSE).expect("pause");
    let first = pin.read(2);
    pin.pin.set_state(KsState::RUN).expect("run");
    first.wait().expect("pictures before");
    let pending: Vec<_> = (0..8).map(|_| pin.read(4)).collect();
    streams(&camera, || {
        tool("kill", &["-9", &victim.host.process_id().to_string()]).done();
        let ends: Vec<_> = pending.into_iter().map(|read| read.wait().map(|_| ())).collect();
        // What was full before the end is good; the last cannot be.
        let statuses: Vec<_> = ends.into_iter().filter_map(|end| end.err().map(|error| error.status)).collect();
        assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == STATUS_DEVICE_REMOVED), "{statuses:?}");
    });
    assert!(pin.pin.set_state(KsState::STOP).is_err());
    drop((pin, filter));
    let report = victim.stop().report.expect("a report");
    assert_eq!(report.kind, ReportKind::Ended);
    assert!(report.what.contains("signal 9"), "{report}");
    camera.stop_in_order();
}

#[test]
fn a_killed_host_fails_the_run_that_streams_from_it_and_leaves_its_file_whole() {
    let scratch = Scratch::new();
    let (camera, file) = (copied(&scratch, &sample("synthcam")), scratch.path("cut.y4m"));
    let graph = format!("{camera} ! y4m-writer path={file}");
    let run = ks_command(&["run", &graph]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ks runs");
    let some = 3 * 640 * 480 * 3 / 2;
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < some {
        std::thread::yield_now();
    }
    for host in hosts_of(scratch.directory()) {
        tool("kill", &["-9", &host.to_string()]).done();
    }
    let ran = Ran::from(run.wait_with_output().expect("the end"));
    let ran = ran.refused(1, &["synthcam.sys", "signal 9"]);
    let bytes = std::fs::read(&file).expect("the file");
    let header = bytes.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
    assert_eq!((bytes.len() - header) % (6 + 640 * 480 * 3 / 2), 0, "whole frames\n{ran}");
    assert_nothing_runs(&scratch);
}

#[test]
fn a_driver_that_hangs_is_ended_by_the_watchdog() {
    let rig = Rig::new();
    let watched = Hosting { watchdog: Some(ONE_SECOND), ..hosting() };
    let camera = rig.start(&sample("synthcam"));
    let driver = misbehaving("hangs", &["--symbols"]);
    // In a loop, in a wait, and in a DPC for which the request waits.
    let hangs = [("2f8d2a10", "OnHang"), ("2f8d2a10", "OnHang"), ("a dpc", "OnTimer")];
    streams(&camera, || {
        for (item, (request, routine)) in (0..).zip(hangs) {
            let hosted = rig.try_start(&watched, &driver).unwrap_or_else(|error| panic!("{error}"));
            let filter = hosted.open();
            assert_eq!(ask(&filter, HANGS, item, KSPROPERTY_TYPE_GET, 0).0, STATUS_DEVICE_REMOVED, "item {item}");
            drop(filter);
            let report = hosted.stop().report.expect("a report");
            assert_eq!(report.kind, ReportKind::Hang, "item {item}: {report}");
            assert!(report.what.contains("1000 ms"), "{report}");
            assert!(report.what.contains(" does not return: "), "{report}");
            let told = report.request.as_deref().unwrap_or("").to_lowercase();
            assert!(told.contains(request), "item {item}: {report}");
            let place = place(&report);
            assert!(place.symbol.as_deref().is_some_and(|symbol| symbol.starts_with(routine)), "item {item}: {report}");
            assert!(report.thread.is_some() && report.level.is_some() && !report.events.is_empty(), "{report}");
            // A handler is for the filter that was asked.
            assert_eq!(report.what.contains(" of filter {"), request != "a dpc", "{report}");
        }
    });
    camera.stop_in_order();
}

#[test]
fn a_dpc_that_does_not_return_is_seen_though_no_request_waits_for_it() {
    let rig = Rig::new();
    let watched = Hosting { watchdog: Some(ONE_SECOND), ..hosting() };
    let hosted = rig.try_start(&watched, &misbehaving("hangs", &[])).unwrap_or_else(|error| panic!("{error}"));
    let filter = hosted.open();
    assert_eq!(ask(&filter, HANGS, 3, KSPROPERTY_TYPE_GET, 0).0, STATUS_SUCCESS);
    while !hosted.host.has_ended() {
        std::thread::yield_now();
    }
    drop(filter);
    let report = hosted.stop().report.expect("a report");
    assert_eq!(report.kind, ReportKind::Hang, "{report}");
    assert!(report.what.contains("DPC"), "{report}");
}

#[test]
fn a_work_item_that_does_not_return_is_seen_and_one_that_waits_is_none_of_them() {
    let rig = Rig::new();
    let watched = Hosting { watchdog: Some(ONE_SECOND), ..hosting() };
    let hosted = rig.try_start(&watched, &misbehaving("hangs", &[])).unwrap_or_else(|error| panic!("{error}"));
    let waiting =
        rig.try_start(&watched, &misbehaving("hangs", &["-DWAITS"])).unwrap_or_else(|error| panic!("{error}"));
    let (filter, other) = (hosted.open(), waiting.open());
    assert_eq!(ask(&other, HANGS, 5, KSPROPERTY_TYPE_GET, 0).0, STATUS_SUCCESS);
    assert_eq!(ask(&filter, HANGS, 4, KSPROPERTY_TYPE_GET, 0).0, STATUS_SUCCESS);
    while !hosted.host.has_ended() {
        std::thread::yield_now();
    }
    drop(filter);
    let report = hosted.stop().report.expect("a report");
    assert!(report.kind == ReportKind::Hang && report.what.contains("work item"), "{report}");
    // The one that waits began before it, and is told at the unload only.
    assert!(!waiting.host.has_ended());
    drop(other);
    let ended = waiting.stop();
    assert!(ended.report.is_none(), "{ended:?}");
    assert_eq!(ended.remainders, [Remainder::WorkItems(1)]);
}

#[test]
fn a_thread_that_does_not_end_is_named_at_the_unload() {
    let rig = Rig::new();
    let watched = Hosting { watchdog: Some(ONE_SECOND), ..hosting() };
    let driver = misbehaving("hangs", &["--symbols"]);
    let hosted = rig.try_start(&watched, &driver).unwrap_or_else(|error| panic!("{error}"));
    let filter = hosted.open();
    assert_eq!(ask(&filter, HANGS, 6, KSPROPERTY_TYPE_GET, 0).0, STATUS_SUCCESS);
    drop(filter);
    let ended = hosted.stop();
    assert!(ended.report.is_none(), "{ended:?}");
    let [Remainder::Thread { routine: Some(routine), .. }] = &ended.remainders[..] else { panic!("{ended:?}") };
    assert_eq!(routine.symbol.as_deref(), Some("OnWork+0x0"), "{ended:?}");
}

#[test]
fn a_driver_whose_unload_does_not_return_is_ended_and_told() {
    let rig = Rig::new();
    let hosted = rig.start(&misbehaving("hangs", &["-DHANGS_IN_UNLOAD", "--symbols"]));
    let report = hosted.stop().report.expect("a report");
    assert_eq!(report.kind, ReportKind::Hang, "{report}");
    let told = "DriverUnload does not return: its unload has not returned within 2000 ms";
    assert_eq!((report.what.as_str(), report.request.as_deref()), (told, Some("DriverUnload")), "{report}");
    let place = place(&report);
    assert!(place.symbol.as_deref().is_some_and(|symbol| symbol.starts_with("OnUnload+")), "{report}");
    assert!(place.line.as_deref().is_some_and(|line| line.contains("hangs.c:")), "{report}");
    assert!(report.thread.is_some() && report.level == Some(0) && !report.events.is_empty(), "{report}");
}

#[test]
fn a_hang_is_told_with_its_callback_object_and_calls() {
    let scratch = Scratch::new();
    let driver = copied(&scratch, &driver_rig::of_tests("verifier/rules", &["-DHANGS_IN_PROCESS", "--symbols"]));
    let ran = ks(&["run", &format!("{driver} ! null-renderer frames=3"), "--watchdog", "1", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    let report = &ran.json()["reports"][0];
    assert_eq!((&report["kind"], &report["request"]), (&"hang".into(), &"pin Process".into()), "{ran}");
    let what = report["what"].as_str().unwrap_or("");
    assert!(what.starts_with("pin Process of pin {") && what.contains("}.0 does not return: "), "{ran}");
    assert!(what.ends_with(" ms (the watchdog allows 1000 ms)"), "{ran}");
    let symbol = |place: &serde_json::Value| place["symbol"].as_str().unwrap_or("").to_owned();
    // The compiler may have made a copy of it.
    assert!(symbol(&report["at"]).starts_with("Process"), "{ran}");
    assert!(symbol(&report["called_from"]).starts_with("OnProcess+"), "{ran}");
    assert_nothing_runs(&scratch);
}

#[test]
fn a_driver_that_hangs_in_its_entry_is_ended_by_the_watchdog() {
    let scratch = Scratch::new();
    let driver = copied(&scratch, &misbehaving("refuses", &["-DHANGS_IN_ENTRY"]));
    let words = ["refuses-DHANGSINENTRY.sys", "hang", "DriverEntry does not return", "1000 ms"];
    ks(&["inspect", &driver, "--watchdog", "1"]).refused(1, &words);
    assert_nothing_runs(&scratch);
}

#[test]
fn what_a_driver_has_not_given_back_is_told_by_its_tags() {
    let rig = Rig::new();
    let hosted = rig.start(&misbehaving("leaks", &[]));
    let filter = hosted.open();
    for _ in 0..2 {
        assert_eq!(ask(&filter, LEAKS, 0, KSPROPERTY_TYPE_GET, 0).0, STATUS_SUCCESS);
    }
    drop(filter);
    let ended = hosted.stop();
    assert!(ended.report.is_none(), "{ended:?}");
    let leaks: BTreeSet<_> = ended.leaks.iter().map(|leak| (leak.tag.as_str(), leak.blocks, leak.bytes)).collect();
    assert_eq!(leaks, BTreeSet::from([("Lak1", 4, 600), ("Lak2", 2, 10_000)]));
}

#[test]
fn a_leak_is_told_and_fails_the_command_where_that_is_asked() {
    let scratch = Scratch::new();
    let driver = copied(&scratch, &misbehaving("leaks", &["-DLEAKS_IN_ENTRY"]));
    let told = "not given back at the unload: 1 blocks of tag 'Lak3', 300 bytes";
    let ran = ks(&["inspect", &driver]).done();
    assert!(ran.stderr.contains(told), "{ran}");
    ks(&["inspect", &driver, "--fail-on-leak"]).refused(1, &[told, "cannot unload"]);
    assert_nothing_runs(&scratch);
}

#[test]
fn a_run_whose_driver_leaks_streams_to_its_end_and_says_so_in_its_document() {
    let scratch = Scratch::new();
    let driver = copied(&scratch, &misbehaving("forgets", &[]));
    let graph = format!("{driver} ! null-renderer frames=3");
    let ran = ks(&["run", &graph, "--json"]).done();
    let document = ran.json();
    assert_eq!((&document["status"], &document["error"]), (&"completed".into(), &serde_json::Value::Null), "{ran}");
    let leak = &document["left_behind"][0];
    assert!(leak["driver"].as_str().is_some_and(|driver| driver.starts_with("forgets")), "{ran}");
    assert!(
        leak["blocks"].as_u64() >= Some(1) && leak["bytes"].as_u64() >= Some(1) && leak["tag"].is_string(),
        "{ran}"
    );
    let ran = ks(&["run", &graph, "--json", "--fail-on-leak"]).refused(1, &["not given back", "cannot unload"]);
    let document = ran.json();
    assert_eq!((&document["status"], &document["error"]["kind"]), (&"failed".into(), &"job".into()), "{ran}");
    assert_eq!(document["connections"][0]["frames"], 3, "{ran}");
    // One that keeps nothing passes.
    let whole = copied(&scratch, &sample("synthcam"));
    let ran = ks(&["run", &format!("{whole} ! null-renderer frames=3"), "--json", "--fail-on-leak"]).done();
    assert!(ran.json().get("left_behind").is_none(), "{ran}");
}

#[test]
fn a_name_that_would_steer_a_terminal_is_shown_harmless_as_text_and_as_json() {
    let scratch = Scratch::new();
    let driver = scratch.path("cam\u{1b}[2J\u{9b}31m\u{202e}.sys");
    std::fs::copy(sample("synthcam"), &driver).expect("a copy of the driver");
    let harmful = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
    let ran = ks(&["inspect", &driver]).done();
    assert!(ran.stdout.contains("cam\u{fffd}[2J\u{fffd}31m\u{fffd}") && !ran.stdout.contains(harmful), "{ran}");
    let ran = ks(&["inspect", &driver, "--json"]).done();
    let document = ran.json();
    assert!(!document.to_string().contains("u001b") && !ran.stdout.contains(harmful), "{ran}");
    assert_eq!(document["friendly_name"], "cam\u{fffd}[2J\u{fffd}31m\u{fffd}");
    let ran = ks(&["run", &format!("'{driver}' ! null-renderer frames=2")]).done();
    assert!(!ran.stdout.contains(harmful) && !ran.stderr.contains(harmful), "{ran}");
    // What is said of a file that is no driver has its name too.
    std::fs::write(&driver, b"no driver").expect("a file");
    let ran = ks(&["inspect", &driver]).refused(1, &["cam\u{fffd}[2J"]);
    assert!(!ran.stderr.contains(harmful), "{ran}");
}

#[test]
fn a_driver_with_unknown_imports_is_refused_and_all_are_listed() {
    let scratch = Scratch::new();
    let driver = copied(&scratch, &misbehaving("unknown", &[]));
    let ran = ks(&["inspect", &driver]);
    let ran = ran.refused(1, &["unknown.sys", "HalAllocateQuantumChannel", "KeEntangleProcessors", "--permissive"]);
    assert_eq!(ran.stdout, "");
    assert_nothing_runs(&scratch);
    ks(&["inspect", &driver, "--permissive"]).done();
}

#[test]
fn a_call_of_an_unknown_import_is_told_and_answered() {
    let rig = Rig::new();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let taken = lines.clone();
    let output: ks_broker::host_process::OutputSink =
        Arc::new(move |line: &str| taken.lock().expect("lines").push(line.to_owned()));
    let permissive = Hosting { imports: Imports::Permissive, output: Some(output), ..hosting() };
    let hosted = rig.try_start(&permissive, &misbehaving("unknown", &[])).unwrap_or_else(|error| panic!("{error}"));
    let filter = hosted.open();
    for item in [0, 1, 0] {
        assert_eq!(ask(&filter, UNKNOWN, item, KSPROPERTY_TYPE_GET, 0).0, STATUS_NOT_IMPLEMENTED);
    }
    drop(filter);
    hosted.stop_in_order();
    let lines = lines.lock().expect("lines");
    for name in ["HalAllocateQuantumChannel", "KeEntangleProcessors"] {
        assert!(lines.iter().any(|line| line.contains(name) && line.contains("unknown.sys")), "{name}: {lines:?}");
    }
}

#[test]
fn a_routine_of_a_driver_that_fails_at_the_start_is_named_with_its_status() {
    for (place, routine, status) in [
        ("-DIN_ENTRY", "DriverEntry", "STATUS_NOT_SUPPORTED"),
        ("-DIN_ADD", "AddDevice", "STATUS_DEVICE_CONFIGURATION_ERROR"),
        ("-DIN_START", "Start", "STATUS_DEVICE_POWER_FAILURE"),
    ] {
        let scratch = Scratch::new();
        let driver = copied(&scratch, &misbehaving("refuses", &[place]));
        for arguments in [["inspect", &driver], ["run", &driver]] {
            ks(&arguments).refused(1, &["refuses-D", routine, status]);
        }
        assert_nothing_runs(&scratch);
    }
}

/// What each act of `hostile.c` tries, by the name of its system call.
const ACTS: [&str; 36] = [
    "open",
    "openat",
    "openat2",
    "creat",
    "unlink",
    "mkdir",
    "symlink",
    "chdir",
    "access",
    "readlink",
    "socket (stream)",
    "socket (datagram)",
    "socket (local)",
    "socketpair",
    "connect",
    "execve",
    "fork",
    "clone",
    "kill of the parent",
    "ptrace",
    "process_vm_readv",
    "mmap of an executable page",
    "mprotect to executable",
    "personality",
    "setuid",
    "unshare",
    "setrlimit",
    "io_uring_setup",
    "bpf",
    "perf_event_open",
    "keyctl",
    "userfaultfd",
    "sched_setscheduler",
    "dup",
    "inotify_init1",
    "name_to_handle_at",
];

fn act(filter: &Filter, item: u32) -> (NtStatus, i64) {
    let mut answer = [0; 8];
    let request = KsProperty::new(HOSTILE, item, KSPROPERTY_TYPE_GET);
    let outcome = filter.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    (outcome.status, i64::from_le_bytes(answer))
}

#[test]
fn a_hostile_driver_can_do_none_of_thirty_acts_that_it_could_without_the_sandbox() {
    let rig = Rig::new();
    let driver = misbehaving("hostile", &[]);
    let confined = rig.start(&driver);
    let filter = confined.open();
    for (item, name) in ACTS.iter().enumerate() {
        let (status, result) = act(&filter, item as u32);
        assert_eq!(status, STATUS_SUCCESS, "{name}: the host lives on");
        assert!(result < 0, "{name}: {result} in the sandbox");
    }
    drop(filter);
    confined.stop_in_order();

    // What is refused there must be possible elsewhere, or it shows nothing.
    let free = Hosting { sandbox: Sandbox::Off, ..hosting() };
    let mut shown = 0;
    for (item, name) in ACTS.iter().enumerate() {
        let hosted = rig.try_start(&free, &driver).unwrap_or_else(|error| panic!("{error}"));
        let filter = hosted.open();
        let (status, result) = act(&filter, item as u32);
        match status == STATUS_SUCCESS && result >= 0 {
            true => shown += 1,
            false => println!("n/a: {name}: {status:?}, {result} without the sandbox"),
        }
        drop(filter);
        drop(hosted);
    }
    _ = std::fs::remove_file("/tmp/userks-hostile");
    println!("{shown} of {} acts are possible without the sandbox", ACTS.len());
    assert!(shown >= 25, "{shown}");
}

#[test]
fn a_report_of_a_driver_that_breaks_at_its_start_is_printed() {
    let scratch = Scratch::new();
    let driver = copied(&scratch, &misbehaving("refuses", &["-DFAULTS_IN_ENTRY"]));
    let rig = Rig::new();
    match rig.try_start(&hosting(), &driver) {
        Err(DriverError::Broken(report)) => assert_eq!(report.kind, ReportKind::Fault, "{report}"),
        other => panic!("{:?}", other.map(|_| "it runs")),
    }
    let refused = ks(&["inspect", &driver]).refused(1, &["refuses-DFAULTSINENTRY.sys+0x", "fault", "DriverEntry"]);
    assert!(refused.stderr.contains("request      DriverEntry\n"), "{refused}");
    assert_nothing_runs(&scratch);
}

#[test]
fn a_report_of_a_driver_that_breaks_while_its_device_starts_names_the_phase() {
    let rig = Rig::new();
    for (place, phase) in [("-DFAULTS_IN_ADD", "Add"), ("-DFAULTS_IN_START", "Start")] {
        match rig.try_start(&hosting(), &misbehaving("refuses", &[place])) {
            Err(DriverError::Broken(report)) => {
                assert_eq!((report.kind, report.request.as_deref()), (ReportKind::Fault, Some(phase)), "{report}");
            }
            other => panic!("{:?}", other.map(|_| "it runs")),
        }
    }
}
