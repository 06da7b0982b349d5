//! Queues of requests that can be cancelled: a list in the driver's memory, guarded by the driver's spin lock.
//!
//! A request in a queue belongs to whoever exchanges its cancel routine for NULL: a cancel, which calls it, or a routine
//! here, which has then *acquired* the request. The cancel lock of the system is taken only to call a cancel routine.

use super::request::DriverIrp;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::kernel::{self, SpinLock};
use ks_abi::kernel::{Irp, KsIrpRemovalOperation, KsListEntryLocation};
use ks_abi::{NtStatus, STATUS_CANCELLED, STATUS_INVALID_PARAMETER, STATUS_NO_MATCH, STATUS_SUCCESS};
use std::mem::offset_of;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsAddIrpToCancelableQueue, KsRemoveIrpFromCancelableQueue, KsRemoveSpecificIrpFromCancelableQueue,
    KsReleaseIrpOnCancelableQueue, KsMoveIrpsOnCancelableQueue, KsCancelIo, KsCancelRoutine,
);

const LINK: usize = offset_of!(Irp, list_entry);
/// The slot of the queue's lock, see KSQUEUE_SPINLOCK_IRP_STORAGE.
const LOCK_SLOT: usize = 1;

/// A doubly linked list at its head; an entry is one too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct List(pub(super) Address);

impl List {
    fn next(self) -> List {
        List(self.0.follow(0))
    }

    fn previous(self) -> List {
        List(self.0.follow(8))
    }

    /// Puts an entry behind this one; behind the head is the front.
    pub(super) fn insert_behind(self, entry: List) {
        let next = self.next();
        entry.0.put(0, next.0.0);
        entry.0.put(8, self.0.0);
        next.0.put(8, entry.0.0);
        self.0.put(0, entry.0.0);
    }

    /// Puts an entry before this one; before the head is the end.
    pub(super) fn insert_before(self, entry: List) {
        self.previous().insert_behind(entry);
    }

    /// Takes this entry out of its list. It is a list of its own then, so that a second removal harms nobody.
    pub(super) fn remove(self) {
        let (next, previous) = (self.next(), self.previous());
        previous.0.put(0, next.0.0);
        next.0.put(8, previous.0.0);
        self.0.put(0, self.0.0);
        self.0.put(8, self.0.0);
    }

    /// The entries from one end; each may be taken out when it is given.
    pub(super) fn entries(self, location: KsListEntryLocation) -> impl Iterator<Item = List> {
        let step =
            move |entry: List| if location == KsListEntryLocation::HEAD { entry.next() } else { entry.previous() };
        let mut at = step(self);
        std::iter::from_fn(move || {
            let entry = at;
            if entry == self || entry.0.is_null() {
                return None;
            }
            at = step(entry);
            Some(entry)
        })
    }

    fn irp(self) -> DriverIrp {
        DriverIrp::new(Address(self.0.0.wrapping_sub(LINK as u64)))
    }
}

fn link(irp: DriverIrp) -> List {
    List(irp.address().at(LINK))
}

fn cancel_routine(chosen: u64) -> u64 {
    if chosen == 0 { KsCancelRoutine as *const () as u64 } else { chosen }
}

/// Arms a request that is in its queue. One that was cancelled meanwhile is cancelled now, with nothing held.
fn arm(irp: DriverIrp, routine: u64, held: kernel::Held) {
    irp.swap_cancel_routine(cancel_routine(routine));
    // Whoever takes the routine calls it: this thread, or the one that cancels.
    let routine = if irp.is_cancelled() { irp.swap_cancel_routine(0) } else { 0 };
    drop(held);
    if routine != 0 {
        kernel::run_cancel_routine(irp.address(), routine);
    }
}

// ks-coverage: KsAddIrpToCancelableQueue done test=requests_wait_in_cancelable_queues
pub(crate) unsafe extern "win64" fn KsAddIrpToCancelableQueue(
    queue: Address,
    lock: Address,
    irp: Address,
    location: u32,
    routine: u64,
) {
    let irp = DriverIrp::new(irp);
    let held = SpinLock::at(lock).acquire();
    irp.set_storage(LOCK_SLOT, lock.0);
    match KsListEntryLocation(location) {
        KsListEntryLocation::HEAD => List(queue).insert_behind(link(irp)),
        _ => List(queue).insert_before(link(irp)),
    }
    arm(irp, routine, held);
}

// ks-coverage: KsRemoveIrpFromCancelableQueue done test=requests_wait_in_cancelable_queues
pub(crate) unsafe extern "win64" fn KsRemoveIrpFromCancelableQueue(
    queue: Address,
    lock: Address,
    location: u32,
    operation: u32,
) -> u64 {
    let operation = KsIrpRemovalOperation(operation);
    let single = matches!(
        operation,
        KsIrpRemovalOperation::ACQUIRE_ONLY_SINGLE_ITEM | KsIrpRemovalOperation::ACQUIRE_AND_REMOVE_ONLY_SINGLE_ITEM
    );
    let removes = matches!(
        operation,
        KsIrpRemovalOperation::ACQUIRE_AND_REMOVE | KsIrpRemovalOperation::ACQUIRE_AND_REMOVE_ONLY_SINGLE_ITEM
    );
    let _held = SpinLock::at(lock).acquire();
    let tried = if single { 1 } else { usize::MAX };
    let mut entries = List(queue).entries(KsListEntryLocation(location)).take(tried);
    let Some(entry) = entries.find(|entry| entry.irp().swap_cancel_routine(0) != 0) else { return 0 };
    if removes {
        entry.remove();
    }
    entry.irp().address().0
}

/// The request was acquired before.
// ks-coverage: KsRemoveSpecificIrpFromCancelableQueue done test=requests_wait_in_cancelable_queues
pub(crate) unsafe extern "win64" fn KsRemoveSpecificIrpFromCancelableQueue(irp: Address) {
    let irp = DriverIrp::new(irp);
    let _held = SpinLock::at(Address(irp.storage(LOCK_SLOT))).acquire();
    link(irp).remove();
}

// ks-coverage: KsReleaseIrpOnCancelableQueue done test=requests_wait_in_cancelable_queues
pub(crate) unsafe extern "win64" fn KsReleaseIrpOnCancelableQueue(irp: Address, routine: u64) {
    let irp = DriverIrp::new(irp);
    let held = SpinLock::at(Address(irp.storage(LOCK_SLOT))).acquire();
    arm(irp, routine, held);
}

/// Decision: with two locks the cancel lock is held too, as the page says, because a cancel routine reads under it which
/// queue's lock to take.
// ks-coverage: KsMoveIrpsOnCancelableQueue done test=requests_wait_in_cancelable_queues
pub(crate) unsafe extern "win64" fn KsMoveIrpsOnCancelableQueue(
    source: Address,
    source_lock: Address,
    destination: Address,
    destination_lock: Address,
    location: u32,
    callback: Address,
    context: u64,
) -> NtStatus {
    let Some(callback) = Routine::optional(callback, "the callback of KsMoveIrpsOnCancelableQueue") else {
        return STATUS_INVALID_PARAMETER;
    };
    let location = KsListEntryLocation(location);
    let _cancel = destination_lock.some().map(|_| kernel::hold_cancel_lock());
    let _source = SpinLock::at(source_lock).acquire();
    let _destination = destination_lock.some().map(|lock| SpinLock::at(lock).acquire());
    let mut answer = STATUS_SUCCESS;
    for entry in List(source).entries(location) {
        let irp = entry.irp();
        match status(callback.call2(irp.address().0, context)) {
            STATUS_SUCCESS => {
                entry.remove();
                // Taken from the front they go to the end, and the other way round.
                match location {
                    KsListEntryLocation::HEAD => List(destination).insert_before(entry),
                    _ => List(destination).insert_behind(entry),
                }
                if let Some(lock) = destination_lock.some() {
                    irp.set_storage(LOCK_SLOT, lock.0);
                }
            }
            STATUS_NO_MATCH => {}
            other => {
                answer = other;
                break;
            }
        }
    }
    callback.call2(0, context);
    answer
}

/// Marks every request as cancelled, and calls the cancel routines of those that nobody has acquired.
// ks-coverage: KsCancelIo done test=requests_wait_in_cancelable_queues
pub(crate) unsafe extern "win64" fn KsCancelIo(queue: Address, lock: Address) {
    loop {
        let held = SpinLock::at(lock).acquire();
        let taken = List(queue).entries(KsListEntryLocation::HEAD).map(List::irp).find_map(|irp| {
            irp.set_cancelled();
            Some((irp, irp.swap_cancel_routine(0))).filter(|(_, routine)| *routine != 0)
        });
        drop(held);
        match taken {
            Some((irp, routine)) => kernel::run_cancel_routine(irp.address(), routine),
            None => return,
        }
    }
}

/// The cancel routine of requests that have no other: takes the request out of its queue and completes it.
// ks-coverage: KsCancelRoutine done test=requests_wait_in_cancelable_queues
pub(crate) unsafe extern "win64" fn KsCancelRoutine(_device: u64, irp: Address) {
    let irp = DriverIrp::new(irp);
    let held = SpinLock::at(Address(irp.storage(LOCK_SLOT))).acquire();
    link(irp).remove();
    drop(held);
    kernel::release_cancel_lock(irp.address());
    irp.set_status(STATUS_CANCELLED);
    kernel::complete_request(irp.address().0);
}
