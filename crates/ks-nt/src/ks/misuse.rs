//! What is told of a driver that calls `ks.sys` against its rules.

use crate::report::{self, BugCheck};

/// Reports a misuse; if the reporter returns, the caller goes on with the mildest reading of the call.
#[cold]
pub(crate) fn misuse(code: BugCheck, routine: &'static str, what: impl Into<String>) {
    report::misuse(code, routine, what);
}

/// Reports an address that stands for no living object of the kind that the routine wants.
#[cold]
pub(crate) fn dead(routine: &'static str, kind: &str, address: u64) {
    misuse(
        BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
        routine,
        format!("{address:#x} is no living {kind}: it was closed or deleted before, or never was one"),
    );
}
