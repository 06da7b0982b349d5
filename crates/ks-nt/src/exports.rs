//! The names that a driver can import, and where their code is.

use crate::{ks, ntoskrnl};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The modules that a driver may import from. Their boundaries have moved between versions of Windows, so a name is
/// found whatever module an image asks for; the module here is where the documentation has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Module {
    /// `ntoskrnl.exe`
    Ntoskrnl,
    /// `hal.dll`
    Hal,
    /// `ks.sys`
    Ks,
}

/// One importable name.
#[derive(Debug, Clone, Copy)]
pub struct Export {
    /// Module that documents it.
    pub module: Module,
    /// Name in the import table.
    pub name: &'static str,
    /// Code, in the Windows calling convention, or data.
    pub target: Target,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// A routine.
    Code(*const ()),
    /// A variable, such as `KeTickCount`; the import is its address.
    Data(*const ()),
}

// SAFETY: the pointers are addresses of functions and statics; nothing is read through them here.
unsafe impl Sync for Target {}
// SAFETY: as above.
unsafe impl Send for Target {}

impl Target {
    /// The address that goes into the import table.
    pub fn address(self) -> u64 {
        match self {
            Target::Code(pointer) | Target::Data(pointer) => pointer as u64,
        }
    }
}

/// Makes a list of [`Export`]s of functions in scope: `exports!(Ntoskrnl: KeSetEvent, KeResetEvent)`.
#[macro_export]
macro_rules! exports {
    ($module:ident: $($name:ident),* $(,)?) => {
        &[$($crate::exports::Export {
            module: $crate::exports::Module::$module,
            name: stringify!($name),
            target: $crate::exports::Target::Code($name as *const ()),
        }),*]
    };
}

/// Every name, once.
pub fn all() -> impl Iterator<Item = &'static Export> {
    ntoskrnl::TABLES.iter().chain(ks::TABLES).copied().flatten()
}

/// The names among them that an image can import and that refuse when they are called.
pub fn refusing() -> impl Iterator<Item = &'static Export> {
    ks::REFUSING.iter().copied().flatten()
}

/// The export of this name.
pub fn find(name: &str) -> Option<&'static Export> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static Export>> = OnceLock::new();
    BY_NAME.get_or_init(|| all().map(|export| (export.name, export)).collect()).get(name).copied()
}
