//! What ends a connection.

use ks_mem::SharedMemoryError;

/// Why a connection is over. Everything but [`WireError::Closed`] and [`WireError::System`] is the other side's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The other side is gone.
    #[error("the other process is gone")]
    Closed,
    /// A system call failed.
    #[error("a system call failed: {0}")]
    System(rustix::io::Errno),
    /// A ring index says more than the ring holds.
    #[error("a ring index says {used} bytes, the ring holds {capacity}")]
    RingIndex {
        /// What the index says.
        used: u32,
        /// What there is.
        capacity: u32,
    },
    /// The length of a record leaves the ring or the limit.
    #[error("a record of {bytes} bytes, of which {there} are there")]
    RecordLength {
        /// What the record says.
        bytes: u32,
        /// What the ring has.
        there: u32,
    },
    /// A message longer than [`crate::MESSAGE_LIMIT`].
    #[error("a message of {bytes} bytes; at most {} are taken", crate::MESSAGE_LIMIT)]
    MessageLength {
        /// Its length.
        bytes: u64,
    },
    /// A message of a kind that does not exist.
    #[error("a message of unknown kind {0}")]
    Kind(u8),
    /// A message ends before its last field, or goes on behind it.
    #[error("a message of kind {kind} with a wrong length")]
    Length {
        /// Its kind.
        kind: u8,
    },
    /// A field has a value that does not exist.
    #[error("a message of kind {kind} with an invalid {field}")]
    Field {
        /// Its kind.
        kind: u8,
        /// Which field.
        field: &'static str,
    },
    /// A message that promises a descriptor came without one, or with more than one.
    #[error("a message without its descriptor")]
    Descriptor,
    /// Shared memory that is not what it must be.
    #[error("{0}")]
    Memory(SharedMemoryError),
    /// The other side speaks another version.
    #[error("the other side speaks version {theirs}, this one {}", crate::VERSION)]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// A message that makes no sense now: an unknown or reused number, an answer without a question.
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    /// The other side does not read what it is sent.
    #[error("the other side reads nothing; {bytes} bytes wait for it")]
    Unread {
        /// Bytes that wait.
        bytes: usize,
    },
}
