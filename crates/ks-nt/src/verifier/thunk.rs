//! What an import of a verified driver is bound to: code that asks [`super::calls`] before it goes on to the routine, with
//! every argument where it was. Drivers that are not verified are bound to the routines themselves, and pay nothing.

use crate::exports::{self, Export, Module, Target};
use crate::image::{Mapping, Protection};
use crate::verifier::calls::{self, Call, Goes};
use crate::verifier::levels;
use ks_io::Level;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A routine that is called through a thunk.
pub(super) struct Record {
    pub(super) name: &'static str,
    /// The highest level at which it may be called; `None`: any.
    pub(super) most: Option<Level>,
}

/// Room for the code of one.
const THUNK_BYTES: usize = 96;

/// The thunks of all routines, by name. They stay for as long as the process: drivers hold their addresses.
fn thunks() -> &'static HashMap<&'static str, u64> {
    static THUNKS: OnceLock<HashMap<&'static str, u64>> = OnceLock::new();
    THUNKS.get_or_init(|| make().unwrap_or_default())
}

/// Is it a routine that a rule is about?
fn is_verified(export: &Export) -> bool {
    let code = matches!(export.target, Target::Code(_));
    code && (export.module == Module::Ks || matches!(export.name, "IofCompleteRequest" | "IoCompleteRequest"))
}

fn make() -> Option<HashMap<&'static str, u64>> {
    const PAGE_BYTES: u64 = 4096;
    let verified: Vec<&Export> = exports::all().filter(|export| is_verified(export)).collect();
    let bytes = ((verified.len() * THUNK_BYTES) as u64).next_multiple_of(PAGE_BYTES);
    let mut code = Mapping::new(bytes, None).ok()?;
    let start = code.address();
    let mut by_name = HashMap::new();
    for (at, (export, place)) in verified.iter().zip(code.bytes().chunks_exact_mut(THUNK_BYTES)).enumerate() {
        let record: &'static Record =
            Box::leak(Box::new(Record { name: export.name, most: levels::most(export.name) }));
        write(place, record, export.target.address());
        by_name.insert(export.name, start + (at * THUNK_BYTES) as u64);
    }
    code.protect(0..bytes, Protection { read: true, write: false, execute: true }).ok()?;
    std::mem::forget(code);
    Some(by_name)
}

/// The address that a verified driver's import of this export is bound to.
pub(super) fn address_of(export: &Export) -> u64 {
    thunks().get(export.name).copied().unwrap_or_else(|| export.target.address())
}

/// Saves the four arguments that are in registers, asks, restores them, and jumps to the routine or returns 0.
fn write(place: &mut [u8], record: &'static Record, target: u64) {
    let mut code = Vec::with_capacity(THUNK_BYTES);
    // push r9; push r8; push rdx; push rcx; sub rsp, 0x28: room for the callee, and an aligned stack
    code.extend([0x41, 0x51, 0x41, 0x50, 0x52, 0x51, 0x48, 0x83, 0xEC, 0x28]);
    // mov rcx, record; lea rdx, [rsp + 0x28]
    code.extend([0x48, 0xB9]);
    code.extend((std::ptr::from_ref(record) as u64).to_le_bytes());
    code.extend([0x48, 0x8D, 0x54, 0x24, 0x28]);
    // mov rax, called; call rax
    code.extend([0x48, 0xB8]);
    code.extend((called as *const () as u64).to_le_bytes());
    code.extend([0xFF, 0xD0]);
    // add rsp, 0x28; pop rcx; pop rdx; pop r8; pop r9
    code.extend([0x48, 0x83, 0xC4, 0x28, 0x59, 0x5A, 0x41, 0x58, 0x41, 0x59]);
    // test eax, eax; jnz over the next two
    code.extend([0x85, 0xC0, 0x75, 0x0C]);
    // mov rax, target; jmp rax
    code.extend([0x48, 0xB8]);
    code.extend(target.to_le_bytes());
    code.extend([0xFF, 0xE0]);
    // xor eax, eax; ret
    code.extend([0x31, 0xC0, 0xC3]);
    place[..code.len()].copy_from_slice(&code);
}

extern "win64" fn called(record: *const Record, call: *const Call) -> u32 {
    // SAFETY: the thunk has the address of a record that is leaked.
    let record = unsafe { &*record };
    // SAFETY: the thunk has pushed four words there, above them is its return address, and it waits for this to return.
    let call = unsafe { &*call };
    match calls::check(record, call) {
        Goes::On => 0,
        Goes::Back => 1,
    }
}
