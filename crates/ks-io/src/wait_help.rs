//! A thread that waits for its request may be the one that brings the end of it about: where the answer comes from
//! another process, the waiting thread can receive it itself, and one wake less is needed.
//!
//! Whoever takes a synchronous request keeps its [`HelpTicket`] and, when the request is on its way, offers help for
//! it. Only the thread that made the request, when it waits for exactly this one, accepts.

use crate::request::PendingRequest;
use crate::sync::{Arc, Weak, thread_local};
use std::cell::Cell;

/// Brings requests to their end.
pub trait WaitHelp: Send + Sync {
    /// Runs on a thread that is about to wait for the request, with no lock of the engine held and everything that the
    /// thread had put off done. It may return early, and at any time: the thread waits then.
    fn help(&self, request: u64);
}

/// Which client's request an IRP is. It keeps nothing alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelpTicket(usize);

impl HelpTicket {
    pub(crate) fn of(pending: &Arc<PendingRequest>) -> HelpTicket {
        HelpTicket(Arc::as_ptr(pending).addr())
    }

    /// Offers help for the request, which `help` knows as `request`, to the thread that calls.
    pub fn offer(self, help: Weak<dyn WaitHelp>, request: u64) {
        let _ = OFFER.try_with(|offer| offer.set(Some(Offer { ticket: self, help, request })));
    }
}

struct Offer {
    ticket: HelpTicket,
    help: Weak<dyn WaitHelp>,
    request: u64,
}

thread_local! {
    static OFFER: Cell<Option<Offer>> = const { Cell::new(None) };
}

/// Accepts what was offered on this thread for the request that it is about to wait for. An offer for another one is
/// too old and goes.
pub(crate) fn accept(pending: &Arc<PendingRequest>) {
    let Some(offer) = OFFER.try_with(Cell::take).ok().flatten() else { return };
    if offer.ticket == HelpTicket::of(pending)
        && let Some(help) = offer.help.upgrade()
    {
        pending.before_wait();
        help.help(offer.request);
    }
}
