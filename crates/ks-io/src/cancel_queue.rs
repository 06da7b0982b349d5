//! The cancel-safe queue: the only place where an IRP may wait.

use crate::cancel::CancelTarget;
use crate::irp::Irp;
use crate::sync::{Arc, Mutex, Weak};
use ks_abi::{NtStatus, STATUS_CANCELLED};
use std::collections::VecDeque;

/// A queue of IRPs that can be cancelled at any moment, closed once, and never loses or doubles one.
#[doc(alias = "IO_CSQ")]
pub struct CancelSafeQueue {
    state: Mutex<State>,
    me: Weak<CancelSafeQueue>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Irp)>,
    next_key: u64,
    closed: Option<NtStatus>,
}

impl CancelSafeQueue {
    /// An empty, open queue.
    pub fn new() -> Arc<CancelSafeQueue> {
        Arc::new_cyclic(|me| CancelSafeQueue { state: Mutex::new(State::default()), me: me.clone() })
    }

    /// Puts an IRP at the end. If the queue is closed or the IRP was cancelled before, it completes at once instead.
    ///
    /// The closed mark is read and the IRP armed under the queue's lock, so neither a close nor a cancel can slip
    /// between the check and the insertion.
    // ks-coverage: KsAddIrpToCancelableQueue done test=a_plain_sink_gets_write_requests_and_its_completions_keep_the_circuit_going
    #[doc(alias = "KsAddIrpToCancelableQueue")]
    pub fn insert(&self, irp: Irp) {
        let refused = {
            let mut state = self.state.lock();
            if let Some(status) = state.closed {
                Some((irp, status))
            } else {
                let key = state.next_key;
                state.next_key += 1;
                let me: Weak<dyn CancelTarget> = self.me.clone();
                match irp.arm(me, key) {
                    Ok(()) => {
                        state.waiting.push_back((key, irp));
                        None
                    }
                    Err(_) => Some((irp, STATUS_CANCELLED)),
                }
            }
        };
        if let Some((irp, status)) = refused {
            drop(irp.complete(status));
        }
    }

    /// Takes the oldest IRP; from now on its cancel only leaves a mark.
    // ks-coverage: KsRemoveIrpFromCancelableQueue done test=a_plain_source_gets_read_requests
    #[doc(alias = "KsRemoveIrpFromCancelableQueue")]
    pub fn remove(&self) -> Option<Irp> {
        let (_, irp) = self.state.lock().waiting.pop_front()?;
        irp.disarm();
        Some(irp)
    }

    /// Completes every waiting IRP with `status` and, from now on, every new one too.
    pub fn close(&self, status: NtStatus) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed.get_or_insert(status);
            std::mem::take(&mut state.waiting)
        };
        for (_, irp) in waiting {
            irp.disarm();
            drop(irp.complete(status));
        }
    }

    /// How many IRPs wait.
    pub fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl CancelTarget for CancelSafeQueue {
    fn cancel(&self, key: u64) {
        let cancelled = {
            let mut state = self.state.lock();
            let at = state.waiting.iter().position(|(waiting, _)| *waiting == key);
            at.and_then(|at| state.waiting.remove(at))
        };
        if let Some((_, irp)) = cancelled {
            drop(irp.complete(STATUS_CANCELLED));
        }
    }
}

impl std::fmt::Debug for CancelSafeQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelSafeQueue").field("waiting", &self.len()).finish()
    }
}
