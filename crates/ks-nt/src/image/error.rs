//! Why an image cannot be loaded.

use std::fmt;
use std::io;

/// An image that was refused: which file, and why.
#[derive(Debug, thiserror::Error)]
#[error("{image}: {cause}")]
pub struct ImageError {
    /// Name of the file, as it was given to the loader.
    pub image: String,
    /// What is wrong with it.
    pub cause: Cause,
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// Not a PE image at all.
    #[error("not a PE image: {0}")]
    NotPe(&'static str),
    /// A PE image for another processor.
    #[error("an image for {}; only x86-64 drivers can be hosted", machine_name(*.0))]
    WrongMachine(u16),
    /// The optional header is not that of a 64-bit image.
    #[error("not a 64-bit image (optional header magic {0:#x}, PE32+ has 0x20b)")]
    NotPe32Plus(u16),
    /// A program or library of user mode, of EFI, and so on.
    #[error("a {} image; a driver has the native subsystem", subsystem_name(*.0))]
    NotNative(u16),
    /// The file ends too early.
    #[error("truncated at {what}: it ends at byte {end}, the file has {file_bytes}")]
    Truncated {
        /// Header or section that is not whole.
        what: String,
        /// First byte after it.
        end: u64,
        /// What there is.
        file_bytes: u64,
    },
    /// The image wants more memory than a file of this size is given.
    #[error("an image of {image_bytes} bytes from a file of {file_bytes}; the limit is {limit_bytes}")]
    TooLarge {
        /// SizeOfImage.
        image_bytes: u64,
        /// Size of the file.
        file_bytes: u64,
        /// What it may ask for.
        limit_bytes: u64,
    },
    /// A header, table or address that cannot be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// It has no relocations and its address is taken.
    #[error("it must lie at {0:#x}, which is taken, and has no relocations")]
    NotRelocatable(u64),
    /// It uses thread-local storage, which drivers do not have.
    #[error("it has a TLS directory; there is no thread-local storage in a driver")]
    ThreadLocalStorage,
    /// Imports that nothing here exports.
    #[error("{}", unresolved(.0, *.1))]
    Unresolved(Vec<MissingImport>, usize),
    /// The system gives no memory.
    #[error("cannot map it: {0}")]
    NoMemory(#[source] io::Error),
    /// More images than a process can host.
    #[error("{0} images are loaded in this process already")]
    TooManyImages(usize),
}

impl Cause {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Cause::Malformed(what.into())
    }
}

/// An import that nothing here exports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MissingImport {
    /// Module that the image names.
    pub module: String,
    /// Name, or `#12` for an import by ordinal: only names can be resolved.
    pub name: String,
}

impl fmt::Display for MissingImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", self.module, self.name)
    }
}

fn unresolved(missing: &[MissingImport], more: usize) -> String {
    let mut text = format!("{} of its imports are not implemented:", missing.len().saturating_add(more));
    for import in missing {
        text += &format!("\n  {import}");
    }
    if more > 0 {
        text += &format!("\n  and {more} more");
    }
    text
}

fn machine_name(machine: u16) -> String {
    match machine {
        0x014C => "32-bit x86".to_owned(),
        0x01C4 => "32-bit ARM".to_owned(),
        0xAA64 | 0xA641 | 0xA64E => "ARM64".to_owned(),
        0x0200 => "Itanium".to_owned(),
        other => format!("machine {other:#06x}"),
    }
}

fn subsystem_name(subsystem: u16) -> String {
    match subsystem {
        2 => "user-mode (Windows GUI)".to_owned(),
        3 => "user-mode (Windows console)".to_owned(),
        10..=13 => "EFI".to_owned(),
        16 => "boot application".to_owned(),
        other => format!("subsystem {other}"),
    }
}
