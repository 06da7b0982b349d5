//! What windows-sys, generated from the metadata of the Windows SDK, says. The lists name what it has; whether they are
//! complete does not matter, as everything that no source confirms must be listed as an exception.

mod client;
mod constants;
mod guids;
mod kernel;

use crate::Facts;

/// Adds one structure.
macro_rules! structures {
    ($facts:ident, $($module:ident)::+: $($name:literal => $($member:ident).+,)*) => {{
        type Theirs = $($module)::+;
        let structure = stringify!($($module)::+).rsplit("::").next().unwrap().trim();
        $facts.insert(Key::size(structure), size_of::<Theirs>() as u128);
        $facts.insert(Key::align(structure), align_of::<Theirs>() as u128);
        $($facts.insert(Key::offset(structure, $name), std::mem::offset_of!(Theirs, $($member).+) as u128);)*
    }};
}
use structures;

/// All of it.
pub(crate) fn facts() -> Facts {
    let mut facts = Facts::new();
    client::add(&mut facts);
    kernel::add(&mut facts);
    constants::add(&mut facts);
    guids::add(&mut facts);
    facts
}
