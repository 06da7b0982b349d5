//! Prints what a driver can import: a line `MODULE NAME STATE` a name, where STATE is `works` or `refuses`.
#![forbid(unsafe_code)]

use ks_nt::exports::{self, Module};
use std::collections::HashSet;
use std::io::{Write as _, stdout};

fn main() -> std::io::Result<()> {
    let refusing: HashSet<&str> = exports::refusing().map(|export| export.name).collect();
    let mut out = stdout().lock();
    for export in exports::all() {
        let module = match export.module {
            Module::Ntoskrnl => "ntoskrnl.exe",
            Module::Hal => "hal.dll",
            Module::Ks => "ks.sys",
        };
        let state = if refusing.contains(export.name) { "refuses" } else { "works" };
        writeln!(out, "{module} {} {state}", export.name)?;
    }
    Ok(())
}
