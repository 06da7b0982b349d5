//! Requests of the other side that are running, for their cancel.

use super::peer::Inner;
use super::pending::MOST_REQUESTS;
use ks_io::CancelCell;
use ks_io::sync::Arc;
use ks_wire::{Message, RequestId, WireError};

/// The running requests by their numbers, which the other side chose, in order. A request that comes and goes asks for
/// no memory.
#[derive(Default)]
pub(super) struct Incoming {
    running: Vec<(RequestId, Arc<CancelCell>)>,
}

impl Incoming {
    fn find(&self, request: RequestId) -> Result<usize, usize> {
        self.running.binary_search_by_key(&request, |(number, _)| *number)
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn contains(&self, request: RequestId) -> bool {
        self.find(request).is_ok()
    }

    pub(super) fn get(&self, request: RequestId) -> Option<Arc<CancelCell>> {
        self.find(request).ok().map(|at| self.running[at].1.clone())
    }

    /// Notes a request; gives back the one that had its number.
    pub(super) fn insert(&mut self, request: RequestId, cell: Arc<CancelCell>) -> Option<Arc<CancelCell>> {
        match self.find(request) {
            Ok(at) => Some(std::mem::replace(&mut self.running[at].1, cell)),
            Err(at) => {
                self.running.insert(at, (request, cell));
                None
            }
        }
    }

    pub(super) fn remove(&mut self, request: RequestId) -> Option<Arc<CancelCell>> {
        self.find(request).ok().map(|at| self.running.remove(at).1)
    }

    /// All of them.
    pub(super) fn cells(&self) -> Vec<Arc<CancelCell>> {
        self.running.iter().map(|(_, cell)| cell.clone()).collect()
    }
}

impl Inner {
    /// A number that a running request has names no other.
    pub(super) fn must_be_new(&self, request: RequestId) -> Result<(), WireError> {
        let incoming = self.incoming.lock();
        if incoming.contains(request) {
            return Err(WireError::Protocol("the number of a running request was used again"));
        }
        if incoming.len() >= MOST_REQUESTS {
            return Err(WireError::Protocol("too many requests at once"));
        }
        Ok(())
    }

    /// Notes a request that another thread may receive the cancel of before it is dispatched.
    pub(super) fn note_request(&self, message: &Message<'_>) -> Result<(), WireError> {
        let request = match message {
            _ if !self.is_greeted() => return Ok(()),
            Message::Open(open) => open.request,
            Message::Create(create) => create.request,
            Message::Control(control) => control.request,
            _ => return Ok(()),
        };
        self.must_be_new(request)?;
        drop(self.incoming.lock().insert(request, Arc::default()));
        Ok(())
    }

    /// The cancel state of a request that was noted.
    pub(super) fn noted(&self, request: RequestId) -> Arc<CancelCell> {
        self.incoming.lock().get(request).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_in_whatever_order_they_come_and_go() {
        let mut incoming = Incoming::default();
        for number in [7, 1, u64::MAX, 3, 0] {
            assert!(incoming.insert(number, Arc::default()).is_none());
        }
        assert!(incoming.insert(3, Arc::default()).is_some());
        assert!(incoming.remove(1).is_some() && incoming.remove(1).is_none());
        assert!(incoming.get(7).is_some() && incoming.get(2).is_none());
        assert!(incoming.contains(u64::MAX) && !incoming.contains(1));
        assert_eq!((incoming.len(), incoming.cells().len()), (4, 4));
    }
}
