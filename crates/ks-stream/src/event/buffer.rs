//! What a buffered event was raised with, until its client fetches it.
//!
//! Source: ns-ks-ksquerybuffer, ns-ks-ksbuffer_item.

use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MORE_ENTRIES};
use ks_io::Output;
use ks_mem::fallible;
use std::collections::VecDeque;

/// The most raises that wait on one event, and the most bytes that wait on one object.
const MOST_ITEMS: usize = 64;
const MOST_BYTES: usize = 1 << 20;

/// What one buffered event was raised with: one item a raise, the oldest first.
#[doc(alias = "KSBUFFER_ITEM")]
#[derive(Debug, Default)]
pub struct EventBuffer {
    items: VecDeque<Vec<u8>>,
}

impl EventBuffer {
    /// Keeps what the event was raised with, where `waiting_bytes` wait on its object already; gives the bytes that it
    /// takes. STATUS_INSUFFICIENT_RESOURCES: there is no room.
    ///
    /// Decision: when there is no room the newest is lost, as with the slots that a driver prepares on Windows.
    pub fn keep(&mut self, data: &[u8], waiting_bytes: usize) -> Result<usize, NtStatus> {
        let fits = self.items.len() < MOST_ITEMS && data.len() <= MOST_BYTES.saturating_sub(waiting_bytes);
        let mut item = Vec::new();
        let kept = fits && fallible(|| item.try_reserve_exact(data.len())).is_ok();
        if !kept || fallible(|| self.items.try_reserve(1)).is_err() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        item.extend_from_slice(data);
        self.items.push_back(item);
        Ok(data.len())
    }

    /// Answers a query with the oldest item, and forgets it when it was given; tells the bytes that are free again.
    /// STATUS_NO_MORE_ENTRIES: nothing waits.
    pub fn fetch(&mut self, output: &mut Output) -> (NtStatus, usize) {
        let Some(item) = self.items.front() else { return (STATUS_NO_MORE_ENTRIES, 0) };
        let status = output.answer(item);
        let taken = if status.is_success() { self.items.pop_front().map_or(0, |item| item.len()) } else { 0 };
        (status, taken)
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.items.iter().map(Vec::len).sum()
    }
}
