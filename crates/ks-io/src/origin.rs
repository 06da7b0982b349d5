//! Who a request comes from, fixed where it enters.

use std::sync::atomic::{AtomicU64, Ordering};

/// The processor mode that a requestor has on Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "KPROCESSOR_MODE")]
pub enum RequestorMode {
    /// A driver, or the class driver itself.
    Kernel,
    /// A client.
    User,
}

/// The client and mode that a request carries for its whole life.
///
/// An origin is made where a request enters (by a session) and otherwise only inherited: a re-issued request clones the
/// origin of the request that caused it, so no path raises a user's request to kernel mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    client: u64,
    mode: RequestorMode,
    place: Place,
}

/// Whose thread makes the requests of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The client's own, in this process.
    Here,
    /// One that works for a client of another process, or for a driver.
    Elsewhere,
}

impl Origin {
    /// A new client, or a driver of another process.
    pub(crate) fn new_requestor(mode: RequestorMode, place: Place) -> Origin {
        // Relaxed: the number only has to be unique.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Origin { client: NEXT.fetch_add(1, Ordering::Relaxed), mode, place }
    }

    /// The class driver speaking for itself: its own handshake with a peer, with no byte of a client's in it.
    pub fn class_driver() -> Origin {
        Origin { client: 0, mode: RequestorMode::Kernel, place: Place::Elsewhere }
    }

    /// Number of the client; 0 is the class driver.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// Mode of the requestor.
    pub fn mode(&self) -> RequestorMode {
        self.mode
    }

    /// Is this a client of this process, whose own thread makes the request and bears what that takes?
    pub fn is_client_here(&self) -> bool {
        self.place == Place::Here
    }
}
