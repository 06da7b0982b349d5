//! Drivers built by mingw-w64 are loaded and called.

mod support;

use ks_nt::image::{Options, Placement};
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
