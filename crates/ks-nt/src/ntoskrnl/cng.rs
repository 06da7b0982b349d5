//! The random numbers of the kernel's cryptography (`cng.sys`). Hashes and ciphers are not there.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use ks_abi::status::{
    NtStatus, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};

use super::driver_memory::{put, wide_string};
use super::random;
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] =
    exports!(Ntoskrnl: BCryptOpenAlgorithmProvider, BCryptCloseAlgorithmProvider, BCryptGenRandom);

/// `BCRYPT_USE_SYSTEM_PREFERRED_RNG`: no provider is named.
const USE_SYSTEM_PREFERRED_RNG: u32 = 2;
/// `BCRYPT_RNG_ALG_HANDLE`, which stands for a provider without opening one.
const RNG_HANDLE: u64 = 0x81;
/// What an open provider of random numbers is.
const PROVIDER: u64 = 0x9D;

/// Opens the provider of random numbers, the only one.
pub(crate) unsafe extern "win64" fn BCryptOpenAlgorithmProvider(
    handle: *mut u64,
    algorithm: *const u16,
    _implementation: *const u16,
    _flags: u32,
) -> NtStatus {
    if handle.is_null() || algorithm.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let name = String::from_utf16_lossy(&wide_string(algorithm));
    if !matches!(name.as_str(), "RNG" | "FIPS186DSARNG" | "DUALECRNG") {
        return STATUS_NOT_FOUND;
    }
    put(handle, PROVIDER);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn BCryptCloseAlgorithmProvider(handle: u64, _flags: u32) -> NtStatus {
    if handle == PROVIDER { STATUS_SUCCESS } else { STATUS_INVALID_HANDLE }
}

/// Fills a buffer with bytes that nobody can guess.
pub(crate) unsafe extern "win64" fn BCryptGenRandom(handle: u64, to: *mut u8, length: u32, flags: u32) -> NtStatus {
    let known = match flags & USE_SYSTEM_PREFERRED_RNG {
        0 => handle == PROVIDER || handle == RNG_HANDLE,
        _ => handle == 0,
    };
    if !known {
        return STATUS_INVALID_HANDLE;
    }
    if to.is_null() && length > 0 {
        return STATUS_INVALID_PARAMETER;
    }
    if random::fill(to, length as usize) { STATUS_SUCCESS } else { STATUS_UNSUCCESSFUL }
}
