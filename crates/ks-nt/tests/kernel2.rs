//! The kernel's strings, formats, registry, files, requests and the like, called from driver code.

mod support;

use ks_nt::ntoskrnl::{debug_print, registry};
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
