//! Why a request was refused, in a form that a program and a person can read.

use ks_abi::NtStatus;
use std::fmt;

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// The name, class string or handle of the object.
    Name,
    /// The shape of the request: a size, a count, a flag.
    Request,
    /// The pin factory's number.
    PinId,
    /// The interface of a connection.
    Interface,
    /// The medium of a connection.
    Medium,
    /// Who issues the IRPs.
    Communication,
    /// The direction of the data.
    DataFlow,
    /// The major format of a data format.
    MajorFormat,
    /// The subformat of a data format.
    SubFormat,
    /// The specifier of a data format.
    Specifier,
    /// Something inside the format block: a size, a rate, a channel count.
    FormatBlock,
    /// An attribute of a data format.
    Attribute,
    /// An access right.
    Access,
    /// An instance limit.
    Instances,
    /// The state of the object.
    State,
    /// An allocator, its framing or memory.
    Memory,
    /// A setting of a filter.
    Setting,
    /// A file that a filter reads or writes.
    File,
    /// The device is gone or not started.
    Device,
    /// The rest: the minidriver said no.
    Driver,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A refusal: status, what it is about, and a sentence that names the culprit and what was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status with which the request completes.
    pub status: NtStatus,
    /// What the refusal is about.
    pub aspect: Aspect,
    /// A sentence for a person, without a final full stop.
    pub reason: String,
}

impl Refusal {
    /// A refusal with its reason.
    #[cold]
    pub fn new(status: NtStatus, aspect: Aspect, reason: impl Into<String>) -> Refusal {
        Refusal { status, aspect, reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.status)
    }
}

impl std::error::Error for Refusal {}
