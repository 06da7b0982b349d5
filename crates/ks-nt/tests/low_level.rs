//! Kernel Streaming below AVStream, called from the code of drivers that have no AVStream.

mod support;

use ks_nt::exports;
use std::collections::BTreeSet;
use std::path::Path;
use support::Driver;

#[test]
fn property_and_method_tables_answer_a_drivers_own_requests() {
    Driver::of_tests("low_level/tables.c").run_all_tests();
}

#[test]
fn creates_and_requests_are_routed_by_headers_items_and_dispatch_tables() {
    Driver::of_tests("low_level/routing.c").run_all_tests();
}

#[test]
fn objects_keep_security_descriptors() {
    Driver::of_tests("low_level/routing.c").run_test("KsDispatchQuerySecurity");
}

#[test]
fn requests_wait_in_cancelable_queues() {
    Driver::of_tests("low_level/queues.c").run_all_tests();
}

#[test]
fn requests_are_passed_on_and_caught() {
    let driver = Driver::of_tests("low_level/forward.c");
    driver.run_test("KsForwardIrp");
    driver.run_test("KsForwardAndCatchIrp");
}

#[test]
fn stack_depth_power_and_pnp_follow_the_headers() {
    let driver = Driver::of_tests("low_level/forward.c");
    driver.run_test("KsRecalculateStackDepth");
    driver.run_test("KsDefaultForwardIrp");
    driver.run_test("KsDefaultDispatchPower");
    driver.run_test("KsDefaultDispatchPnp");
}

#[test]
fn pin_and_topology_properties_come_from_plain_structures() {
    let driver = Driver::of_tests("low_level/pins.c");
    driver.run_test("KsPinPropertyHandler");
    driver.run_test("KsTopologyPropertyHandler");
    driver.run_test("KsPinDataIntersection");
    let routine = exports::find("KsPinDataIntersectionEx").expect("an export").target.address();
    driver.call("GiveIntersectionEx", [routine, 0, 0, 0]);
    driver.run_test("KsPinDataIntersectionEx");
}

#[test]
fn create_requests_are_validated() {
    let driver = Driver::of_tests("low_level/pins.c");
    driver.run_test("KsValidateConnectRequest");
    driver.run_test("KsValidateClockCreateRequest");
    driver.run_test("KsValidateAllocatorFramingEx");
}

#[test]
fn stream_requests_are_probed() {
    let driver = Driver::of_tests("low_level/pins.c");
    driver.run_test("KsProbeStreamIrp");
    driver.run_test("KsAllocateExtraData");
    driver.run_test("KsAcquireResetValue");
}

#[test]
fn events_are_enabled_on_a_drivers_own_lists() {
    Driver::of_tests("low_level/events.c").run_all_tests();
}

#[test]
fn what_an_event_of_a_drivers_own_list_was_raised_with_is_fetched() {
    Driver::of_tests("low_level/events.c").run_test("KsGenerateDataEvent");
}

#[test]
fn a_drivers_own_clock_is_shared_by_its_file_objects() {
    let driver = Driver::of_tests("low_level/class_objects.c");
    driver.run_test("KsAllocateDefaultClock");
    driver.run_test("KsAllocateDefaultClockEx");
}

#[test]
fn the_default_allocator_serves_a_driver_without_avstream() {
    let driver = Driver::of_tests("low_level/class_objects.c");
    driver.run_test("KsCreateDefaultAllocator");
    driver.run_test("KsCreateDefaultAllocatorEx");
}

#[test]
fn a_set_is_serialized_and_comes_back_from_the_registry() {
    Driver::of_tests("low_level/serialized.c").run_all_tests();
}

#[test]
fn files_are_read_written_and_asked_by_fast_routines_and_packets() {
    let driver = Driver::of_tests("low_level/file_io.c");
    driver.run_test("KsReadFile");
    driver.run_test("KsQueryInformationFile");
}

#[test]
fn stream_and_control_requests_go_to_any_file_object() {
    let driver = Driver::of_tests("low_level/file_io.c");
    driver.run_test("KsStreamIo");
    driver.run_test("KsSynchronousIoControlDevice");
}

#[test]
fn a_driver_loads_resources_of_its_image() {
    let driver = Driver::of_tests("low_level/resources.c");
    driver.run_test("KsLoadResource");
    driver.run_test("KsIsCurrentProcessFrameServer");
}

#[test]
fn a_driver_registers_a_filter_without_pins() {
    Driver::of_tests("low_level/resources.c").run_test("KsRegisterFilterWithNoKSPins");
}

/// The drivers that test the names of `ks/low_level`.
const DRIVERS: &[&str] = &[
    "tables",
    "routing",
    "queues",
    "forward",
    "pins",
    "events",
    "class_objects",
    "serialized",
    "file_io",
    "resources",
];

#[test]
fn every_name_of_the_low_level_has_a_test_in_a_driver() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ks/low_level");
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(sources).expect("the sources") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a source file");
        for list in text.split("exports!(Ks:").skip(1) {
            let list = list.split(')').next().unwrap_or_default();
            names.extend(list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        }
    }
    assert!(names.len() >= 40, "{} names", names.len());
    let drivers: Vec<_> = DRIVERS.iter().map(|name| Driver::of_tests(&format!("low_level/{name}.c"))).collect();
    let tested: BTreeSet<_> = drivers
        .iter()
        .flat_map(|driver| driver.image().exports())
        .filter_map(|name| name.strip_prefix("test_"))
        .collect();
    for name in &names {
        assert!(exports::find(name).is_some(), "{name} is not exported");
    }
    let untested: Vec<_> = names.iter().filter(|name| !tested.contains(name.as_str())).collect();
    assert!(untested.is_empty(), "without a test: {untested:?}");
}
