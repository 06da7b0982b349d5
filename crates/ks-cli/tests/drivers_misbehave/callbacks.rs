//! A driver that goes wrong in any of its callbacks in any of these ways: each is told by callback and place, ends its own
//! process, and another driver streams on.

use crate::driver_rig::{self, Hosted, Rig, copied, misbehaving, sample};
use crate::rules::stream;
use crate::support::Scratch;
use ks_broker::device_request::DeviceRequest;
use ks_broker::drivers::DriverError;
use ks_broker::report::{DriverReport, ReportKind};
use std::path::Path;

/// The callbacks of `anywhere.c`, in the order of their numbers, which begin with 1, as reports name them. Nobody asks a hosted
/// driver for capabilities or interfaces.
const CALLBACKS: [&str; 25] = [
    "DriverEntry",
    "Add",
    "Start",
    "PostStart",
    "QueryStop",
    "CancelStop",
    "Stop",
    "QueryRemove",
    "CancelRemove",
    "Remove",
    "SurpriseRemoval",
    "QueryPower",
    "SetPower",
    "filter Create",
    "filter Close",
    "pin Create",
    "pin Close",
    "pin Process",
    "pin SetDataFormat",
    "pin SetDeviceState",
    "pin Connect",
    "pin Disconnect",
    "pin IntersectHandler",
    "a property's get handler for {2F8D2A10-",
    "DriverUnload",
];

/// What it does there, in the order of its numbers: the kind of report and words of it.
const WAYS: [(ReportKind, &str); 5] = [
    (ReportKind::Fault, "call of 0x0"),
    (ReportKind::Fault, "breakpoint (int3)"),
    (ReportKind::Fault, "stack overflow"),
    (ReportKind::Fault, "write to 0xffff800000001000"),
    (ReportKind::Misuse, "is no living "),
];

/// What is told of the driver; everything is asked of it that calls one of its routines.
fn report_of(rig: &Rig, driver: &str) -> Option<DriverReport> {
    let hosted = match rig.try_start(&driver_rig::hosting(), driver) {
        Ok(hosted) => hosted,
        Err(DriverError::Broken(report) | DriverError::Load(report)) => return Some(*report),
        Err(other) => panic!("{other}"),
    };
    if let Some(filter) = hosted.try_open() {
        stream(&hosted, &filter);
    }
    let of_its_life = [
        DeviceRequest::CancelStop,
        DeviceRequest::Rebalance,
        DeviceRequest::CancelRemove,
        DeviceRequest::Sleep,
        DeviceRequest::Wake,
        DeviceRequest::Disable,
        DeviceRequest::Enable,
        DeviceRequest::SurpriseRemoval,
    ];
    for request in of_its_life {
        if !hosted.host.has_ended() {
            let _ = hosted.host.request(Path::new(driver), request);
        }
    }
    hosted.stop().report
}

/// Reads pictures of a camera, which come as long as it streams.
fn pictures(camera: &Hosted, during: impl FnOnce()) {
    let filter = camera.open();
    let pin = driver_rig::create(&filter, 0, None);
    pin.pin.set_state(ks_abi::KsState::PAUSE).expect("pause");
    let first = pin.read(2);
    pin.pin.set_state(ks_abi::KsState::RUN).expect("run");
    first.wait().expect("pictures before");
    during();
    pin.read(2).wait().expect("pictures after");
    pin.pin.set_state(ks_abi::KsState::STOP).expect("stop");
}

#[test]
fn a_driver_that_goes_wrong_in_any_callback_in_any_way_is_told_by_callback_and_place() {
    let (rig, scratch) = (Rig::new(), Scratch::new());
    let driver = copied(&scratch, &misbehaving("anywhere", &["--symbols"]));
    let settings = scratch.path("anywhere-symbols.toml");
    let camera = rig.start(&sample("synthcam"));
    assert_eq!(report_of(&rig, &driver), None, "it does nothing wrong where it is not told to");
    let mut failed = Vec::new();
    pictures(&camera, || {
        for (number, callback) in (1..).zip(CALLBACKS) {
            for (how, (kind, words)) in WAYS.into_iter().enumerate() {
                std::fs::write(&settings, format!("In = {number}\nHow = {how}\n")).expect("settings");
                let Some(report) = report_of(&rig, &driver) else {
                    failed.push(format!("{callback}, {words}: no report"));
                    continue;
                };
                let calls = report.at.iter().chain(&report.called_from);
                let mut symbols = calls.map(|place| place.symbol.as_deref().unwrap_or(""));
                let is_told = report.kind == kind
                    && report.what.contains(words)
                    && report.request.as_deref().is_some_and(|request| request.starts_with(callback))
                    && symbols
                        .any(|symbol| ["GoWrong+", "Recurse", "___chkstk"].iter().any(|own| symbol.starts_with(own)));
                if !is_told {
                    failed.push(format!("{callback}, {words}\n{report}"));
                }
            }
        }
    });
    assert!(failed.is_empty(), "{} reports lack something:\n{}", failed.len(), failed.join("\n"));
    camera.stop_in_order();
}
