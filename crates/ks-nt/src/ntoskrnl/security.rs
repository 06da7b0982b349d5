//! Security as a driver meets it: every caller is the system.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use ks_abi::kernel::UnicodeString;
use ks_abi::status::{NtStatus, STATUS_INVALID_PARAMETER, STATUS_REVISION_MISMATCH, STATUS_SUCCESS};

use super::driver_memory::{get, put, put_optional};
use crate::exports;
use crate::exports::Export;
use crate::machine::{NT_BUILD_NUMBER, NT_MAJOR_VERSION, NT_MINOR_VERSION};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    SeSinglePrivilegeCheck, SeAccessCheck, SeCaptureSubjectContext, SeReleaseSubjectContext, SeLockSubjectContext,
    SeUnlockSubjectContext, SeTokenIsAdmin, RtlMapGenericMask, RtlAreAllAccessesGranted, RtlAreAnyAccessesGranted,
    PsGetVersion, RtlGetVersion, RtlVerifyVersionInfo, VerSetConditionMask, RtlIsNtDdiVersionAvailable,
    RtlIsServicePackVersionInstalled, RtlAssert, RtlCaptureStackBackTrace, RtlNtStatusToDosError,
    RtlNtStatusToDosErrorNoTeb,
);

pub(crate) unsafe extern "win64" fn SeSinglePrivilegeCheck(_privilege: u64, _mode: u8) -> u8 {
    1
}

/// GENERIC_MAPPING: what read, write, execute and all mean for a type.
type GenericMapping = [u32; 4];

/// Grants what is asked for.
pub(crate) unsafe extern "win64" fn SeAccessCheck(
    _descriptor: *const u8,
    _subject: *const u8,
    _locked: u8,
    desired: u32,
    previous: u32,
    privileges: *mut u64,
    mapping: *const GenericMapping,
    _mode: u8,
    granted: *mut u32,
    status: *mut NtStatus,
) -> u8 {
    let mut access = desired;
    if !mapping.is_null() {
        RtlMapGenericMask(&raw mut access, mapping);
    }
    put_optional(privileges, 0);
    put(granted, access | previous);
    put(status, STATUS_SUCCESS);
    1
}

pub(crate) unsafe extern "win64" fn SeCaptureSubjectContext(subject: *mut [u64; 4]) {
    put(subject, [0; 4]);
}

pub(crate) unsafe extern "win64" fn SeReleaseSubjectContext(_subject: *mut [u64; 4]) {}

pub(crate) unsafe extern "win64" fn SeLockSubjectContext(_subject: *mut [u64; 4]) {}

pub(crate) unsafe extern "win64" fn SeUnlockSubjectContext(_subject: *mut [u64; 4]) {}

pub(crate) unsafe extern "win64" fn SeTokenIsAdmin(_token: u64) -> u8 {
    1
}

pub(crate) unsafe extern "win64" fn RtlMapGenericMask(access: *mut u32, mapping: *const GenericMapping) {
    let (mut mask, mapping) = (get(access), get(mapping));
    for (at, generic) in [0x8000_0000, 0x4000_0000, 0x2000_0000, 0x1000_0000].into_iter().enumerate() {
        if mask & generic != 0 {
            mask = mask & !generic | mapping[at];
        }
    }
    put(access, mask & 0x0FFF_FFFF);
}

pub(crate) unsafe extern "win64" fn RtlAreAllAccessesGranted(granted: u32, desired: u32) -> u8 {
    u8::from(desired & !granted == 0)
}

pub(crate) unsafe extern "win64" fn RtlAreAnyAccessesGranted(granted: u32, desired: u32) -> u8 {
    u8::from(desired & granted != 0)
}

/// TRUE would say a checked build.
pub(crate) unsafe extern "win64" fn PsGetVersion(
    major: *mut u32,
    minor: *mut u32,
    build: *mut u32,
    service_pack: *mut UnicodeString,
) -> u8 {
    put_optional(major, NT_MAJOR_VERSION);
    put_optional(minor, NT_MINOR_VERSION);
    put_optional(build, NT_BUILD_NUMBER);
    put_optional(service_pack, UnicodeString::default());
    0
}

/// RTL_OSVERSIONINFOW, and RTL_OSVERSIONINFOEXW when its size says so.
pub(crate) unsafe extern "win64" fn RtlGetVersion(information: *mut u32) -> NtStatus {
    const BYTES: u32 = 276;
    const BYTES_EX: u32 = 284;
    const WIN32_NT: u32 = 2;
    let bytes = get(information);
    if bytes != BYTES && bytes != BYTES_EX {
        return STATUS_INVALID_PARAMETER;
    }
    information.cast::<u8>().write_bytes(0, bytes as usize);
    for (at, word) in [bytes, NT_MAJOR_VERSION, NT_MINOR_VERSION, NT_BUILD_NUMBER, WIN32_NT].into_iter().enumerate() {
        put(information.wrapping_add(at), word);
    }
    if bytes == BYTES_EX {
        // wProductType: VER_NT_WORKSTATION.
        put(information.cast::<u8>().wrapping_add(282), 1);
    }
    STATUS_SUCCESS
}

const VER_MINORVERSION: u32 = 0x1;
const VER_MAJORVERSION: u32 = 0x2;
const VER_BUILDNUMBER: u32 = 0x4;
const VER_PLATFORMID: u32 = 0x8;
const VER_SERVICEPACKMINOR: u32 = 0x10;
const VER_SERVICEPACKMAJOR: u32 = 0x20;
const VER_SUITENAME: u32 = 0x40;
const VER_PRODUCT_TYPE: u32 = 0x80;

/// Adds a condition, of three bits, for one of the eight parts of a version.
pub(crate) unsafe extern "win64" fn VerSetConditionMask(mask: u64, part: u32, condition: u8) -> u64 {
    let condition = u64::from(condition & 7);
    match (0..8).find(|bit| part & 1 << bit != 0) {
        Some(bit) => mask | condition << (bit * 3),
        None => mask,
    }
}

fn compares(condition: u64, ours: u32, wanted: u32) -> bool {
    match condition {
        1 => ours == wanted,
        2 => ours > wanted,
        3 => ours >= wanted,
        4 => ours < wanted,
        5 => ours <= wanted,
        6 => ours & wanted == wanted,
        7 => ours & wanted != 0,
        _ => false,
    }
}

/// Compares this version with a wanted one by the conditions; major, minor and service pack as one number.
pub(crate) unsafe extern "win64" fn RtlVerifyVersionInfo(information: *const u32, parts: u32, mask: u64) -> NtStatus {
    let word = |at: usize| get(information.wrapping_add(at));
    let half = |at: usize| u32::from(get(information.cast::<u8>().wrapping_add(at).cast::<u16>()));
    let condition = |part: u32| mask >> (part.trailing_zeros() * 3) & 7;
    if parts == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let (mut ours, mut wanted, mut how) = (0u64, 0u64, 0);
    let version = [
        (VER_MAJORVERSION, NT_MAJOR_VERSION, word(1)),
        (VER_MINORVERSION, NT_MINOR_VERSION, word(2)),
        (VER_SERVICEPACKMAJOR, 0, half(276)),
        (VER_SERVICEPACKMINOR, 0, half(278)),
    ];
    for (part, mine, theirs) in version.into_iter().filter(|(part, ..)| parts & part != 0) {
        ours = ours << 16 | u64::from(mine & 0xFFFF);
        wanted = wanted << 16 | u64::from(theirs & 0xFFFF);
        if how == 0 {
            how = condition(part);
        }
    }
    let order = match how {
        0 => parts & (VER_MAJORVERSION | VER_MINORVERSION | VER_SERVICEPACKMAJOR | VER_SERVICEPACKMINOR) == 0,
        1 => ours == wanted,
        2 => ours > wanted,
        3 => ours >= wanted,
        4 => ours < wanted,
        5 => ours <= wanted,
        _ => false,
    };
    let single = [
        (VER_BUILDNUMBER, NT_BUILD_NUMBER, word(3)),
        (VER_PLATFORMID, 2, word(4)),
        (VER_SUITENAME, 0, if parts & VER_SUITENAME != 0 { half(280) } else { 0 }),
        (VER_PRODUCT_TYPE, 1, if parts & VER_PRODUCT_TYPE != 0 { half(282) & 0xFF } else { 0 }),
    ];
    let rest = single
        .into_iter()
        .filter(|(part, ..)| parts & part != 0)
        .all(|(part, mine, theirs)| compares(condition(part), mine, theirs));
    if order && rest { STATUS_SUCCESS } else { STATUS_REVISION_MISMATCH }
}

/// NTDDI_VERSION: major, minor and service pack in its bytes.
pub(crate) unsafe extern "win64" fn RtlIsNtDdiVersionAvailable(version: u32) -> u8 {
    // The low byte, a sub-version, must be zero.
    u8::from(version & 0xFF == 0 && version >> 16 <= NT_MAJOR_VERSION << 8 | NT_MINOR_VERSION)
}

/// There is no service pack.
pub(crate) unsafe extern "win64" fn RtlIsServicePackVersionInstalled(version: u32) -> u8 {
    u8::from(version >> 16 == NT_MAJOR_VERSION << 8 | NT_MINOR_VERSION && version & 0xFF00 == 0)
}

/// The assertion of a checked build failed; the driver is told on, and goes on.
pub(crate) unsafe extern "win64" fn RtlAssert(failed: *const u8, file: *const u8, line: u32, message: *const u8) {
    let text = |from: *const u8| String::from_utf8_lossy(&super::driver_memory::byte_string(from)).into_owned();
    let message = if message.is_null() { String::new() } else { format!(": {}", text(message)) };
    super::debug_print::print_line(format!("Assertion failed: {} ({}:{line}){message}\n", text(failed), text(file)));
}

/// No frame: the stack of a driver is walked by a debugger only.
pub(crate) unsafe extern "win64" fn RtlCaptureStackBackTrace(
    _skip: u32,
    _count: u32,
    _frames: *mut u64,
    hash: *mut u32,
) -> u16 {
    put_optional(hash, 0);
    0
}

pub(crate) unsafe extern "win64" fn RtlNtStatusToDosError(status: NtStatus) -> u32 {
    status.to_win32().0
}

pub(crate) unsafe extern "win64" fn RtlNtStatusToDosErrorNoTeb(status: NtStatus) -> u32 {
    status.to_win32().0
}
