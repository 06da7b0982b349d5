//! Drivers built by mingw-w64 are loaded and called.

mod support;

use ks_nt::image::{Image, Options, Placement, describe};
use support::{Driver, Extra};

extern "win64" fn system_routine(_name: u64) -> u64 {
    0x1234
}

const EXTRA: &[Extra] = &[("MmGetSystemRoutineAddress", system_routine as *const ())];

#[test]
fn a_driver_runs_where_it_was_linked_to_and_where_it_was_not() {
    for placement in [Placement::Preferred, Placement::Anywhere] {
        let driver = Driver::with("image/first.c", EXTRA, Options { placement, ..Options::default() });
        assert_eq!(driver.enter(std::ptr::null_mut(), std::ptr::null_mut()), 0);
        driver.run_all_tests();
    }
}

#[test]
fn a_place_in_an_image_has_a_symbol_and_a_line() {
    let path = support::build(&["--symbols"], &["image/first.c"]);
    let file = std::fs::read(path).unwrap();
    let image = Image::load("first.sys", &file, &|_, _| Some(0x1000), Options::default()).unwrap();
    let offset = image.export("test_an_import_is_called").unwrap() - image.base();
    let at = describe(&file, offset);
    assert_eq!(at.symbol, Some(("test_an_import_is_called".to_owned(), 0)));
    let source = include_str!("../../../drivers/tests/image/first.c");
    let line = 1 + source.lines().position(|line| line == "TEST(an_import_is_called)").unwrap();
    let (name, found) = at.line.clone().unwrap();
    assert!(name.ends_with("tests/image/first.c"), "{name}");
    assert!((line..line + 2).contains(&(found as usize)), "{found}");
    assert!(at.to_string().starts_with("test_an_import_is_called+0x0 ("), "{at}");
    assert_eq!(describe(&file, offset + 3).symbol, Some(("test_an_import_is_called".to_owned(), 3)));
    assert!(describe(&file, 0x10_0000).line.is_none());
    assert!(describe(b"MZ", 0).is_empty());
}

#[test]
fn a_place_in_a_stripped_image_is_counted_from_the_export_before_it() {
    let file = std::fs::read(support::build(&[], &["image/first.c"])).unwrap();
    let image = Image::load("first.sys", &file, &|_, _| Some(0x1000), Options::default()).unwrap();
    let offset = image.export("test_an_import_is_called").unwrap() - image.base();
    let at = describe(&file, offset + 3);
    assert_eq!(at.to_string(), "test_an_import_is_called+0x3");
    for end in 0..file.len() {
        describe(&file[..end], offset);
    }
}

#[test]
fn an_image_with_a_security_cookie_guard_pointers_and_several_code_sections_runs() {
    let path = support::build(&["--msvc", "--entry", "GsDriverEntry"], &["image/guarded.c"]);
    for placement in [Placement::Preferred, Placement::Anywhere] {
        let driver = Driver::load(&path, EXTRA, Options { placement, ..Options::default() });
        let cookie = driver.call("cookie", [0; 4]);
        assert_eq!(driver.call("call_indirectly", [41, 0, 0, 0]), 0, "the INIT section has not run");
        assert_eq!(driver.enter(std::ptr::null_mut(), std::ptr::null_mut()), 0);
        assert_ne!(driver.call("cookie", [0; 4]), cookie, "the entry point of the image made a new cookie");
        assert_eq!(driver.call("call_indirectly", [41, 0, 0, 0]), 42);
        let bytes = [1_u8, 2, 3, 4];
        assert_eq!(driver.call("sum", [bytes.as_ptr() as u64, 4, 0, 0]), 10);
        assert_eq!(driver.call("smashed_stacks", [0; 4]), 0);
        assert_eq!(driver.call("routine", [0; 4]), 0x1234, "the import table is read-only");
        assert_eq!(driver.call("guard_pointer", [0; 4]), driver.call("guard_routine", [0; 4]));
        let sections = driver.image().sections().iter().filter(|section| section.protection.execute);
        let code: Vec<_> = sections.map(|section| section.name.as_str()).collect();
        assert_eq!(code, [".text", "INIT", "PAGE"]);
    }
}
