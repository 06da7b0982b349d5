//! What can go wrong with a media file, said so that the message alone is enough to mend it.

use std::io;
use std::path::{Path, PathBuf};

/// The result of every operation of the media code.
pub type Result<T> = std::result::Result<T, MediaError>;

/// A value that cannot be accepted: which field, what it holds, and what was expected.
///
/// It knows no file; [`MediaError::field`] adds the file and what was being done with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, expected {expected}")]
pub struct FieldError {
    /// The field as its documentation names it.
    pub field: &'static str,
    /// The value found, printable and short whatever the file held.
    pub value: String,
    /// What would have been accepted.
    pub expected: String,
}

impl FieldError {
    /// A refusal of `field` because of `value`.
    pub fn new(field: &'static str, value: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self { field, value: value.to_string(), expected: expected.into() }
    }
}

/// Why a media file could not be read or written.
///
/// Every variant says what was being done, with which file, why it failed and what to try.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {error}; {advice}", .path.display())]
    Io {
        /// What was being done, as in "cannot *read* a.wav".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
        /// What to try.
        advice: &'static str,
    },
    /// A field of the file, or of the format asked for, is not acceptable.
    #[error("cannot {doing} {}: {problem}", .path.display())]
    Field {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The field, its value, and what was expected.
        problem: FieldError,
    },
    /// The file format, or this implementation, can hold no more.
    #[error("cannot {doing} {}: {limit}; {advice}", .path.display())]
    Limit {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The limit that was reached.
        limit: String,
        /// What to try.
        advice: &'static str,
    },
    /// The file is open elsewhere in a way that this use would spoil.
    #[error(
        "cannot {doing} {}: it is open in another reader or writer; use another file, or close the other one first",
        .path.display()
    )]
    Busy {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A caller's parameter is not acceptable; no file is involved.
    #[error(transparent)]
    Argument(#[from] FieldError),
}

impl MediaError {
    /// An error of the operating system, with advice that fits its kind.
    pub fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        let advice = advice_for(error.kind());
        Self::Io { doing, path: path.to_owned(), error, advice }
    }

    /// A refused field of the file at `path`.
    pub fn field(doing: &'static str, path: &Path, problem: FieldError) -> Self {
        Self::Field { doing, path: path.to_owned(), problem }
    }

    /// The kind of the system's error, if the system refused.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { error, .. } => Some(error.kind()),
            _ => None,
        }
    }
}

fn advice_for(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check the permissions of the file and its directory",
        io::ErrorKind::IsADirectory => "name a file, not a directory",
        io::ErrorKind::NotADirectory => "a part of the path is not a directory; check the path",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space, or write to another place",
        io::ErrorKind::FileTooLarge => "raise the limit on file sizes (ulimit -f), or write less to this file",
        io::ErrorKind::ReadOnlyFilesystem => "write to another place",
        io::ErrorKind::BrokenPipe => "the program that reads this pipe has ended",
        _ => "check the file and the device that holds it",
    }
}

/// Bytes from a file as short printable text, in quotes.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const SHOWN: usize = 32;
    let head: Vec<u8> = bytes.iter().copied().take(SHOWN).collect();
    let dots = if bytes.len() > SHOWN { "..." } else { "" };
    format!("\"{}{dots}\"", head.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_file_the_field_the_value_and_what_was_expected() {
        let error = MediaError::field("read", Path::new("a.wav"), FieldError::new("fmt nChannels", 0, "1 to 32"));
        assert_eq!(error.to_string(), "cannot read a.wav: fmt nChannels is 0, expected 1 to 32");
    }

    #[test]
    fn a_full_disk_comes_with_advice() {
        let error = MediaError::io("write", Path::new("out.y4m"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.to_string().starts_with("cannot write out.y4m: "));
        assert!(error.to_string().contains("free some space"));
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
    }

    #[test]
    fn bytes_of_a_file_are_shown_escaped_and_cut() {
        assert_eq!(printable(b"RI\0F\x1b"), "\"RI\\x00F\\x1b\"");
        assert_eq!(printable(&[b'a'; 100]).len(), 32 + 3 + 2);
    }
}
