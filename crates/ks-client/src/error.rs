//! What a client is told when something did not work.

use ks_abi::{NtStatus, Win32Error};
use ks_io::{Aspect, Outcome, Refusal};
use std::fmt;

/// A request that failed: what was being done, to which object, with which status, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// What was being done, as an infinitive: `create pin 0`.
    pub doing: String,
    /// The object: a filter, a pin, a symbolic link.
    pub object: String,
    /// Status of the request.
    pub status: NtStatus,
    /// Why, where the engine said so.
    pub refusal: Option<Box<Refusal>>,
}

impl ClientError {
    pub(crate) fn new(doing: impl Into<String>, object: impl Into<String>, outcome: Outcome) -> ClientError {
        ClientError { doing: doing.into(), object: object.into(), status: outcome.status, refusal: outcome.refusal }
    }

    /// An error that the library itself found.
    pub(crate) fn own(doing: &str, object: &str, status: NtStatus, aspect: Aspect, reason: String) -> ClientError {
        let refusal = Some(Box::new(Refusal::new(status, aspect, reason)));
        ClientError { doing: doing.into(), object: object.into(), status, refusal }
    }

    /// The status as the Win32 functions return it.
    pub fn win32(&self) -> Win32Error {
        self.status.to_win32()
    }

    /// What the refusal is about.
    pub fn aspect(&self) -> Option<Aspect> {
        self.refusal.as_ref().map(|refusal| refusal.aspect)
    }

    /// Why, in one sentence: the engine's reason, or the name of the status.
    pub fn reason(&self) -> String {
        match &self.refusal {
            Some(refusal) => refusal.reason.clone(),
            None => self.status.to_string(),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} of {}: {}", self.doing, self.object, self.reason())?;
        if self.refusal.is_some() {
            write!(f, " ({})", self.status)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClientError {}
