//! Finding a routine by its name at run time.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;

use ks_abi::kernel::UnicodeString;

use super::driver_memory;
use crate::exports;
use crate::exports::{Export, Module};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl: MmGetSystemRoutineAddress);

/// NULL for a name that neither the kernel nor the HAL has, by which a driver learns to do without it.
pub(crate) unsafe extern "win64" fn MmGetSystemRoutineAddress(name: *const UnicodeString) -> *const () {
    let name = driver_memory::text(name);
    match exports::find(&name) {
        Some(export) if export.module != Module::Ks => export.target.address() as *const (),
        _ => ptr::null(),
    }
}
