//! Why a graph does not run.

use crate::error::ClientError;
use ks_abi::{NtStatus, STATUS_CANCELLED};
use std::fmt;

/// Why a graph could not be built or run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphError {
    /// There is no filter of this name. `at`: byte offset of the word in the text.
    UnknownFilter {
        /// The word.
        name: String,
        /// Where it stands.
        at: usize,
        /// The names there are.
        known: Vec<String>,
    },
    /// A driver file was named that nobody has loaded: a graph does not host drivers, see
    /// [`Element::opens`](super::spec::Element::opens).
    DriverFile {
        /// The word.
        name: String,
        /// Where it stands.
        at: usize,
    },
    /// The filter has no setting of this name, or does not take this value.
    Setting {
        /// The filter.
        filter: String,
        /// The setting.
        key: String,
        /// The value.
        value: String,
        /// Where it stands.
        at: usize,
        /// The settings there are.
        known: Vec<String>,
        /// What the filter said.
        error: ClientError,
    },
    /// An element has no pin of this number or direction, or it is taken.
    Pin {
        /// The filter.
        filter: String,
        /// Where it stands.
        at: usize,
        /// What is wrong, and which pins there are.
        reason: String,
    },
    /// Two pins do not connect.
    Connect {
        /// The data source.
        from: String,
        /// The data sink.
        to: String,
        /// Why.
        error: ClientError,
    },
    /// An element is in no connection.
    Unconnected {
        /// The filter.
        filter: String,
        /// Where it stands.
        at: usize,
    },
    /// Streaming failed in a filter.
    Stream {
        /// The pin.
        pin: String,
        /// Status of the failure.
        status: NtStatus,
        /// Why.
        reason: String,
    },
    /// A request failed.
    Request(ClientError),
}

impl GraphError {
    /// True when a create was cancelled, see [`Client::cancel_creates`](crate::Client::cancel_creates).
    pub fn is_cancelled(&self) -> bool {
        match self {
            GraphError::Setting { error, .. } | GraphError::Connect { error, .. } | GraphError::Request(error) => {
                error.status == STATUS_CANCELLED
            }
            _ => false,
        }
    }

    /// True when the text of the graph is at fault, not the work.
    pub fn is_usage(&self) -> bool {
        match self {
            GraphError::UnknownFilter { .. }
            | GraphError::DriverFile { .. }
            | GraphError::Pin { .. }
            | GraphError::Unconnected { .. } => true,
            GraphError::Setting { error, .. } => error.status == ks_abi::STATUS_INVALID_PARAMETER,
            _ => false,
        }
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::UnknownFilter { name, known, .. } => {
                write!(f, "there is no filter named {name}; there are: {}", known.join(", "))
            }
            GraphError::DriverFile { name, .. } => {
                write!(f, "{name} names a driver file, and no driver was loaded from it")
            }
            GraphError::Setting { error, .. } => write!(f, "{}", error.reason()),
            GraphError::Pin { reason, .. } => f.write_str(reason),
            GraphError::Connect { error, .. } => write!(f, "{}", error.reason()),
            GraphError::Unconnected { filter, .. } => {
                write!(f, "{filter} is connected to nothing; link it with `!`")
            }
            GraphError::Stream { pin, reason, .. } => write!(f, "{pin}: {reason}"),
            GraphError::Request(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for GraphError {}

impl From<ClientError> for GraphError {
    fn from(error: ClientError) -> GraphError {
        GraphError::Request(error)
    }
}
