//! The image of a driver: parsed, mapped, relocated, bound.
//!
//! [`Image::load`] takes the bytes of a file to an image whose [entry](Image::entry) can be called. Nothing in the file
//! is believed: every size, offset and address is checked, and a refusal says which file and why. Nothing of the driver
//! runs here.

mod bind;
mod describe;
mod error;
mod export;
mod map;
mod parse;
mod relocate;
mod stubs;

use std::collections::BTreeMap;

pub use bind::Resolver;
pub use describe::{Description, describe, follows_call};
pub use error::{Cause, ImageError, MissingImport};
pub use parse::{Protection, Section};
pub use stubs::set_missing_import_reporter;

use crate::machine::images::{self, Registration};
pub(crate) use map::Mapping;
use parse::Headers;
use stubs::Stubs;

/// How an image is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Where it is to lie.
    pub placement: Placement,
    /// What becomes of imports that nothing exports.
    pub missing_imports: MissingImports,
}

/// Where an image is to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// Where it was linked to, if that is free, so that addresses are those of a debugger's listing.
    #[default]
    Preferred,
    /// Wherever there is room.
    Anywhere,
}

/// What becomes of imports that nothing exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingImports {
    /// The load fails, and the error lists all of them.
    #[default]
    Refuse,
    /// Each is bound to code that names it once, when it is called, and returns STATUS_NOT_IMPLEMENTED.
    Stub,
}

/// A loaded driver.
///
/// Dropping it unmaps the code: whoever does so must know that no thread runs in it or will be called back into it.
#[derive(Debug)]
pub struct Image {
    name: String,
    entry: u64,
    sections: Vec<Section>,
    exports: BTreeMap<String, u32>,
    missing: Vec<MissingImport>,
    _registration: Registration,
    _stubs: Option<Stubs>,
    mapping: Mapping,
}

impl Image {
    /// Parses, maps, relocates, binds and protects. `name` is the file's, for messages.
    ///
    /// `resolver` is asked for every import by module and name (`#12` for an ordinal) and gives its address.
    pub fn load(name: &str, file: &[u8], resolver: &Resolver<'_>, options: Options) -> Result<Self, ImageError> {
        load(name, file, resolver, options).map_err(|cause| ImageError { image: name.to_owned(), cause })
    }

    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it lies.
    pub fn base(&self) -> u64 {
        self.mapping.address()
    }

    /// Size in memory, a multiple of the page size.
    pub fn bytes(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// Address of the entry point of its header, which may be before the driver's own DriverEntry.
    #[doc(alias = "DriverEntry")]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Whether an address is inside of it.
    pub fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.base()) < self.bytes()
    }

    /// Its sections, in ascending order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Address of what it exports under a name.
    pub fn export(&self, name: &str) -> Option<u64> {
        self.exports.get(name).map(|rva| self.base() + u64::from(*rva))
    }

    /// The names that it exports, sorted.
    pub fn exports(&self) -> impl Iterator<Item = &str> {
        self.exports.keys().map(String::as_str)
    }

    /// Imports that were bound to stubs.
    pub fn missing_imports(&self) -> &[MissingImport] {
        &self.missing
    }
}

fn load(name: &str, file: &[u8], resolver: &Resolver<'_>, options: Options) -> Result<Image, Cause> {
    let headers = Headers::parse(file)?;
    let mut mapping = map::map(&headers, file, options.placement)?;
    let base = mapping.address();
    let distance = base.wrapping_sub(headers.preferred_base);
    relocate::relocate(mapping.bytes(), headers.relocations(file)?, distance)?;
    let missing = bind::bind(mapping.bytes(), &headers, resolver, file.len())?;
    let stubs = match options.missing_imports {
        _ if missing.imports.is_empty() => None,
        MissingImports::Stub if missing.more == 0 => Some(Stubs::new(name, &missing.imports)?),
        _ => return Err(Cause::Unresolved(missing.imports, missing.more)),
    };
    if let Some(stubs) = &stubs {
        for (place, index) in &missing.places {
            bind::write(mapping.bytes(), *place, stubs.address(*index));
        }
    }
    let exports = export::exports(mapping.bytes(), &headers, file.len())?;
    map::protect(&mapping, &headers)?;
    let range = base..base + mapping.len() as u64;
    Ok(Image {
        name: name.to_owned(),
        entry: base + u64::from(headers.entry_rva),
        sections: headers.sections,
        exports,
        missing: missing.imports,
        _registration: images::register(range, name).ok_or(Cause::TooManyImages(images::MOST_IMAGES))?,
        _stubs: stubs,
        mapping,
    })
}
