//! The kernel's strings, formats, registry, files, requests and the like, called from driver code.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ks_nt::exports;
use ks_nt::ntoskrnl::{debug_print, file, folder, registry};
use support::Driver;

#[test]
fn the_c_runtime_follows_its_documentation() {
    Driver::of_tests("kernel2/c_runtime.c").run_all_tests();
}

#[test]
fn counted_strings_are_compared_copied_and_converted() {
    Driver::of_tests("kernel2/strings.c").run_all_tests();
}

#[test]
fn text_is_formatted_with_the_types_of_64_bit_windows() {
    Driver::of_tests("kernel2/formats.c").run_all_tests();
    let printed: Vec<_> = debug_print::recent().into_iter().map(|text| text.text).collect();
    for expected in [
        "DbgPrint 42 text xy -1\n",
        "DbgPrintEx 1 2 3\n",
        "vDbgPrintEx ab\n",
        "prefix: vDbgPrintExWithPrefix c\n",
        "DbgPrintReturnControlC x\n",
    ] {
        assert!(printed.iter().any(|text| text == expected), "{expected:?} is not in {printed:?}");
    }
}

#[test]
fn memory_bitmaps_and_dates_follow_their_documentation() {
    Driver::of_tests("kernel2/rtl.c").run_all_tests();
}

#[test]
fn requests_travel_down_and_up_a_device_stack_and_can_be_cancelled() {
    Driver::of_tests("kernel2/io.c").run_all_tests();
}

#[test]
fn memory_is_described_by_lists() {
    Driver::of_tests("kernel2/mdl.c").run_all_tests();
}

#[test]
fn the_registry_is_what_the_drivers_file_says() {
    let text = r#"
        FrameRate = 30
        Name = "abc"
        Modes = ["slow", "fast"]
        Table = { type = "REG_BINARY", data = "01 02 03 04 05 06" }
        [Parameters]
        Seed = 7
        [Tree]
        a = 1
        b = 2
        [Tree.One]
        [Tree.Two]
        ["\\Device"]
        FriendlyName = "A camera"
    "#;
    registry::load("tester", text).expect("the text is right");
    Driver::of_tests("kernel2/registry.c").run_all_tests();
}

#[test]
fn files_are_those_of_a_folder_and_devices_are_opened_by_name() {
    let root = std::env::temp_dir().join(format!("ks-nt-kernel2-{}", std::process::id()));
    std::fs::create_dir_all(root.join("C")).expect("a folder for the test");
    std::fs::write(root.join("C/read.txt"), "0123456789").expect("a file in it");
    file::set_file_service(Some(Arc::new(folder::Folder::open(&root).expect("the folder"))));
    Driver::of_tests("kernel2/file.c").run_all_tests();
    file::set_file_service(None);
    std::fs::remove_dir_all(root).expect("the test's folder");
}

#[test]
fn interfaces_power_tracing_and_security_answer() {
    Driver::of_tests("kernel2/system.c").run_all_tests();
    assert!(debug_print::recent().iter().any(|text| text.text.contains("as it was meant")));
}

/// The files of the kernel whose names are tested here, and the drivers that test them.
const FILES: &[&str] = &[
    "c_printf",
    "c_runtime",
    "c_string",
    "debug_print",
    "device_file",
    "file",
    "io_build",
    "io_csq",
    "io_device",
    "io_interface",
    "io_name",
    "io_request",
    "mdl",
    "object_manager",
    "power",
    "random",
    "registry_key",
    "routine_address",
    "rtl_bitmap",
    "rtl_guid",
    "rtl_memory",
    "rtl_registry",
    "rtl_string",
    "rtl_string_ansi",
    "rtl_time",
    "security",
    "trace",
];
const DRIVERS: &[&str] = &["c_runtime", "file", "formats", "io", "mdl", "registry", "rtl", "strings", "system"];

#[test]
fn every_exported_name_of_these_files_has_a_test_in_a_driver() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ntoskrnl");
    let mut names = BTreeSet::new();
    for file in FILES {
        let text = std::fs::read_to_string(sources.join(file).with_extension("rs")).expect("a source file");
        for list in text.split("exports!(Ntoskrnl:").skip(1) {
            let list = list.split(')').next().unwrap_or_default();
            names.extend(list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        }
        let variables = text.split("variable(\"").skip(1).filter_map(|rest| rest.split('"').next());
        names.extend(variables.map(str::to_owned));
    }
    assert!(names.len() >= 400, "{} names", names.len());
    let drivers: Vec<_> = DRIVERS.iter().map(|name| Driver::of_tests(&format!("kernel2/{name}.c"))).collect();
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
    println!("{} names", names.len());
}
