//! Drivers whose start fails, and descriptors that cannot be: a message that names the file and the cause.

mod ks_rig;

use ks_rig::refused;

#[test]
fn what_is_wrong_with_a_descriptor_is_said_before_the_device_starts() {
    let cases = [
        (1, "PinDescriptors of filter descriptor 0 has 1073741824 entries"),
        (2, "PinDescriptors of filter descriptor 0 has 1 entries at NULL"),
        (3, "PinDescriptorSize of filter descriptor 0 is 12"),
        (4, "filter descriptor 0 is NULL"),
        (5, "data range 0 of pin descriptor 0 of filter descriptor 0 says that it has 3 bytes"),
        (6, "data range 0 of pin descriptor 0 of filter descriptor 0 is NULL"),
        (7, "DataFlow of pin descriptor 0 of filter descriptor 0 is 9"),
        (8, "Categories of filter descriptor 0 lies at 0x1234, where nothing can be read"),
        (9, "AutomationTable of filter descriptor 0 lies at 0x10, where nothing can be read"),
        (14, "FilterDescriptors of the device descriptor has 4294967295 entries"),
        (15, "Name of node 0 of filter descriptor 0 lies at 0x1234, where nothing can be read"),
    ];
    for (case, expected) in cases {
        let message = refused("tests/ks/absurd.c", &format!("-DCASE={case}"));
        assert!(message.starts_with("absurd.sys: DriverEntry failed with STATUS_INVALID_PARAMETER"), "{message}");
        assert!(message.contains(expected), "{message:?} says {expected:?}");
    }
}

#[test]
fn a_routine_that_fails_is_named_with_its_status() {
    let cases = [
        (10, "absurd.sys: DriverEntry failed with STATUS_INSUFFICIENT_RESOURCES"),
        (11, "absurd.sys: DriverEntry set no AddDevice routine"),
        (12, "absurd.sys: AddDevice failed with STATUS_DEVICE_BUSY"),
        (13, "absurd.sys: Start failed with STATUS_DEVICE_NOT_READY"),
    ];
    for (case, expected) in cases {
        let message = refused("tests/ks/absurd.c", &format!("-DCASE={case}"));
        assert!(message.starts_with(expected), "{message}");
    }
}
