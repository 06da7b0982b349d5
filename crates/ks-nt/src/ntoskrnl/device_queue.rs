//! Device queues: the requests that wait while a device is busy, in order of arrival or of a key.

use super::block::Block;
use super::{irql, spin_lock};
use crate::exports;
use crate::exports::Export;

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeInitializeDeviceQueue, KeInsertDeviceQueue, KeInsertByKeyDeviceQueue, KeRemoveDeviceQueue,
    KeRemoveByKeyDeviceQueue, KeRemoveByKeyDeviceQueueIfBusy, KeRemoveEntryDeviceQueue,
);

/// A KDEVICE_QUEUE: type, size, the list, its lock, and whether the device is busy.
const TYPE: i16 = 20;
const BYTES: usize = 40;
const LIST: usize = 8;
const LOCK: usize = 24;
const BUSY: usize = 32;

/// A KDEVICE_QUEUE_ENTRY: links, the key, and whether it is in a queue.
const KEY: usize = 16;
const INSERTED: usize = 20;

/// Does something under the lock of the queue, at the level of the caller, which is to be DISPATCH_LEVEL.
fn locked<T>(queue: Block, routine: &'static str, action: impl FnOnce() -> T) -> T {
    irql::at_most(irql::DISPATCH, routine);
    let before = irql::set(irql::DISPATCH);
    spin_lock::acquire(queue.field(LOCK), routine);
    let answer = action();
    spin_lock::release(queue.field(LOCK), routine);
    irql::set(before);
    answer
}

fn link(entry: Block, before: Block, after: Block) {
    entry.put_block(0, after);
    entry.put_block(8, before);
    before.put_block(0, entry);
    after.put_block(8, entry);
    entry.put(INSERTED, 1u8);
}

fn unlink(entry: Block) -> Block {
    let (after, before) = (entry.get_block(0), entry.get_block(8));
    before.put_block(0, after);
    after.put_block(8, before);
    entry.put(INSERTED, 0u8);
    entry
}

/// The first entry whose key is `key` or more.
fn find(queue: Block, key: u32) -> Option<Block> {
    let head = queue.field(LIST);
    let mut entry = head.get_block(0);
    while entry != head {
        if entry.get::<u32>(KEY) >= key {
            return Some(entry);
        }
        entry = entry.get_block(0);
    }
    None
}

fn first(queue: Block) -> Option<Block> {
    let head = queue.field(LIST);
    Some(head.get_block(0)).filter(|entry| *entry != head)
}

pub(crate) unsafe extern "win64" fn KeInitializeDeviceQueue(queue: Block) {
    queue.clear(BYTES);
    queue.put(0, TYPE);
    queue.put(2, BYTES as i16);
    queue.put_empty_list(LIST);
}

/// False if the device was not busy: it is now, and the entry is in hand instead of in the queue.
fn insert(queue: Block, entry: Block, routine: &'static str, place: impl FnOnce() -> Block) -> u8 {
    locked(queue, routine, || {
        if queue.get::<u8>(BUSY) == 0 {
            queue.put(BUSY, 1u8);
            entry.put(INSERTED, 0u8);
            return 0;
        }
        let after = place();
        link(entry, after.get_block(8), after);
        1
    })
}

pub(crate) unsafe extern "win64" fn KeInsertDeviceQueue(queue: Block, entry: Block) -> u8 {
    insert(queue, entry, "KeInsertDeviceQueue", || queue.field(LIST))
}

/// Behind the entries of the same key.
pub(crate) unsafe extern "win64" fn KeInsertByKeyDeviceQueue(queue: Block, entry: Block, key: u32) -> u8 {
    entry.put(KEY, key);
    insert(queue, entry, "KeInsertByKeyDeviceQueue", || {
        key.checked_add(1).and_then(|next| find(queue, next)).unwrap_or(queue.field(LIST))
    })
}

/// Takes the next entry, or has the device idle if there is none.
fn remove(queue: Block, routine: &'static str, choose: impl FnOnce() -> Option<Block>) -> Block {
    locked(queue, routine, || match choose() {
        Some(entry) => unlink(entry),
        None => {
            queue.put(BUSY, 0u8);
            Block::NULL
        }
    })
}

pub(crate) unsafe extern "win64" fn KeRemoveDeviceQueue(queue: Block) -> Block {
    remove(queue, "KeRemoveDeviceQueue", || first(queue))
}

/// The first entry of this key or a greater one; from the start again if there is none.
pub(crate) unsafe extern "win64" fn KeRemoveByKeyDeviceQueue(queue: Block, key: u32) -> Block {
    remove(queue, "KeRemoveByKeyDeviceQueue", || find(queue, key).or_else(|| first(queue)))
}

pub(crate) unsafe extern "win64" fn KeRemoveByKeyDeviceQueueIfBusy(queue: Block, key: u32) -> Block {
    let routine = "KeRemoveByKeyDeviceQueueIfBusy";
    if locked(queue, routine, || queue.get::<u8>(BUSY)) == 0 {
        return Block::NULL;
    }
    remove(queue, routine, || find(queue, key).or_else(|| first(queue)))
}

/// Takes one entry out; false if it was in no queue.
pub(crate) unsafe extern "win64" fn KeRemoveEntryDeviceQueue(queue: Block, entry: Block) -> u8 {
    locked(queue, "KeRemoveEntryDeviceQueue", || {
        let inserted = entry.get::<u8>(INSERTED);
        if inserted != 0 {
            unlink(entry);
        }
        inserted
    })
}
