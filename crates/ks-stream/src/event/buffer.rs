//! What a buffered event was raised with, until its client fetches it.
//!
//! Source: ns-ks-ksquerybuffer, ns-ks-ksbuffer_item.

use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MORE_ENTRIES};
use ks_io::Output;
use std::collections::VecDeque;

/// The most raises that wait on one event, and the most bytes that wait on one object.
const MOST_ITEMS: usize = 64;
const MOST_BYTES: usize = 1 << 20;

/// One item a raise, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Buffered {
    items: VecDeque<Vec<u8>>,
}

impl Buffered {
    /// Keeps what the event was raised with; gives the bytes that it takes.
    ///
    /// Decision: when there is no room the newest is lost, as with the slots that a driver prepares on Windows.
    pub(super) fn keep(&mut self, data: &[u8], waiting_bytes: usize) -> Result<usize, NtStatus> {
        let fits = self.items.len() < MOST_ITEMS && data.len() <= MOST_BYTES.saturating_sub(waiting_bytes);
        let mut item = Vec::new();
        if !fits || item.try_reserve_exact(data.len()).is_err() || self.items.try_reserve(1).is_err() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        item.extend_from_slice(data);
        self.items.push_back(item);
        Ok(data.len())
    }

    /// Answers with the oldest item, and forgets it when it was given; tells the bytes that are free again.
    pub(super) fn fetch(&mut self, output: &mut Output) -> (NtStatus, usize) {
        let Some(item) = self.items.front() else { return (STATUS_NO_MORE_ENTRIES, 0) };
        let status = output.answer(item);
        let taken = if status.is_success() { self.items.pop_front().map_or(0, |item| item.len()) } else { 0 };
        (status, taken)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.items.iter().map(Vec::len).sum()
    }
}
