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
    /// Number of the client, with [`HERE`]: every request copies its origin.
    client: u64,
    mode: RequestorMode,
}

/// The client's own thread makes its requests. No engine has so many clients that its bit would be one of the number.
const HERE: u64 = 1 << 63;

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
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Origin { client: if place == Place::Here { number | HERE } else { number }, mode }
    }

    /// The class driver speaking for itself: its own handshake with a peer, with no byte of a client's in it.
    pub fn class_driver() -> Origin {
        Origin { client: 0, mode: RequestorMode::Kernel }
    }

    /// Number of the client; 0 is the class driver.
    pub fn client(&self) -> u64 {
        self.client & !HERE
    }

    /// Mode of the requestor.
    pub fn mode(&self) -> RequestorMode {
        self.mode
    }

    /// Is this a client of this process, whose own thread makes the request and bears what that takes?
    pub fn is_client_here(&self) -> bool {
        self.client & HERE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_here_is_known_by_its_origin_and_its_number_is_its_own() {
        let here = Origin::new_requestor(RequestorMode::User, Place::Here);
        let elsewhere = Origin::new_requestor(RequestorMode::User, Place::Elsewhere);
        assert!(here.is_client_here() && !elsewhere.is_client_here() && !Origin::class_driver().is_client_here());
        assert!(here.client() > 0 && elsewhere.client() > here.client());
    }
}
