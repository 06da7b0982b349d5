//! Clocks.

use crate::define::abi_struct;

abi_struct! {
    /// What a clock is created with.
    pub struct KsClockCreate = "KSCLOCK_CREATE", "ns-ks-ksclock_create" {
        /// Zero.
        create_flags: u32 = "CreateFlags",
    }
}

abi_struct! {
    /// A clock's time and the system's at one moment.
    pub struct KsCorrelatedTime = "KSCORRELATED_TIME", "ns-ks-kscorrelated_time" {
        /// The clock's time in 100-ns units.
        time: i64 = "Time",
        /// The system's time in 100-ns units.
        system_time: i64 = "SystemTime",
    }
}

abi_struct! {
    /// How fine and how exact a clock is, in 100-ns units.
    pub struct KsResolution = "KSRESOLUTION", "ns-ks-ksresolution" {
        /// The step; 1 is best.
        granularity: i64 = "Granularity",
        /// The error on top of the step; 0 is best.
        error: i64 = "Error",
    }
}

/// Units of 100 ns in a second, under the header's misleading name.
pub const NANOSECONDS: u32 = 10_000_000;
