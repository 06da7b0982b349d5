//! Lists that several threads change: sequenced singly linked ones, and linked ones under a spin lock.

use std::sync::{Mutex, PoisonError};

use super::block::Block;
use super::{irql, spin_lock};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    InitializeSListHead, RtlInitializeSListHead, ExpInterlockedPushEntrySList, ExpInterlockedPopEntrySList,
    ExpInterlockedFlushSList, ExInterlockedPushEntrySList, ExInterlockedPopEntrySList, ExInterlockedFlushSList,
    InterlockedPushEntrySList, InterlockedPopEntrySList, InterlockedFlushSList, ExQueryDepthSList, RtlFirstEntrySList,
    ExInterlockedInsertHeadList, ExInterlockedInsertTailList, ExInterlockedRemoveHeadList,
    ExInterlockedPushEntryList, ExInterlockedPopEntryList, ExInterlockedAddLargeInteger, ExInterlockedAddUlong,
);

/// Locks of sequenced lists, by the address of the head: every access to one goes through this file, so that a lock
/// does what Windows does with a 16-byte exchange, and no entry is read that another thread has freed.
static STRIPES: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

fn stripe(head: Block) -> std::sync::MutexGuard<'static, ()> {
    STRIPES[head.address() / 16 % STRIPES.len()].lock().unwrap_or_else(PoisonError::into_inner)
}

/// An SLIST_HEADER: depth in the low 16 bits of the first word, a sequence number above; the first entry in the second,
/// whose low 4 bits are none of an aligned entry's.
const FIRST: usize = 8;

fn first(head: Block) -> Block {
    let word = head.get::<usize>(FIRST) & !0xF;
    // SAFETY: zero, or the entry that a push put here.
    unsafe { Block::at(word as *mut u8) }
}

fn change(head: Block, entry: Block, depth: u16) {
    let sequence = (head.get::<u64>(0) >> 16).wrapping_add(1) << 16;
    head.put_block(FIRST, entry);
    head.put(0, sequence | u64::from(depth));
}

fn depth(head: Block) -> u16 {
    head.get::<u16>(0)
}

fn push(head: Block, entry: Block) -> Block {
    if !entry.address().is_multiple_of(16) {
        report::misuse(
            BugCheck::KMODE_EXCEPTION_NOT_HANDLED,
            "InterlockedPushEntrySList",
            format!("the entry at {:#x} is not aligned to 16 bytes", entry.address()),
        );
        return Block::NULL;
    }
    let _stripe = stripe(head);
    let before = first(head);
    entry.put_block(0, before);
    change(head, entry, depth(head).wrapping_add(1));
    before
}

fn pop(head: Block) -> Block {
    let _stripe = stripe(head);
    let entry = first(head);
    if !entry.is_null() {
        change(head, entry.get_block(0), depth(head).wrapping_sub(1));
    }
    entry
}

fn flush(head: Block) -> Block {
    let _stripe = stripe(head);
    let entry = first(head);
    if !entry.is_null() {
        change(head, Block::NULL, 0);
    }
    entry
}

pub(crate) unsafe extern "win64" fn InitializeSListHead(head: Block) {
    head.clear(16);
}

pub(crate) unsafe extern "win64" fn RtlInitializeSListHead(head: Block) {
    head.clear(16);
}

pub(crate) unsafe extern "win64" fn ExpInterlockedPushEntrySList(head: Block, entry: Block) -> Block {
    push(head, entry)
}

pub(crate) unsafe extern "win64" fn ExpInterlockedPopEntrySList(head: Block) -> Block {
    pop(head)
}

pub(crate) unsafe extern "win64" fn ExpInterlockedFlushSList(head: Block) -> Block {
    flush(head)
}

// The names of older headers: the lock that some of them pass is not needed.
pub(crate) unsafe extern "win64" fn ExInterlockedPushEntrySList(head: Block, entry: Block, _lock: Block) -> Block {
    push(head, entry)
}

pub(crate) unsafe extern "win64" fn ExInterlockedPopEntrySList(head: Block, _lock: Block) -> Block {
    pop(head)
}

pub(crate) unsafe extern "win64" fn ExInterlockedFlushSList(head: Block) -> Block {
    flush(head)
}

pub(crate) unsafe extern "win64" fn InterlockedPushEntrySList(head: Block, entry: Block) -> Block {
    push(head, entry)
}

pub(crate) unsafe extern "win64" fn InterlockedPopEntrySList(head: Block) -> Block {
    pop(head)
}

pub(crate) unsafe extern "win64" fn InterlockedFlushSList(head: Block) -> Block {
    flush(head)
}

pub(crate) unsafe extern "win64" fn ExQueryDepthSList(head: Block) -> u16 {
    let _stripe = stripe(head);
    depth(head)
}

pub(crate) unsafe extern "win64" fn RtlFirstEntrySList(head: Block) -> Block {
    let _stripe = stripe(head);
    first(head)
}

/// Does something under a driver's spin lock, at a level that no interrupt would break in.
fn under<T>(lock: Block, routine: &'static str, change: impl FnOnce() -> T) -> T {
    let before = irql::set(irql::HIGH);
    spin_lock::acquire(lock, routine);
    let answer = change();
    spin_lock::release(lock, routine);
    irql::set(before);
    answer
}

/// Links of a LIST_ENTRY.
const FORWARD: usize = 0;
const BACKWARD: usize = 8;

fn insert_between(entry: Block, before: Block, after: Block) {
    entry.put_block(FORWARD, after);
    entry.put_block(BACKWARD, before);
    before.put_block(FORWARD, entry);
    after.put_block(BACKWARD, entry);
}

fn unless_head(entry: Block, head: Block) -> Block {
    if entry == head { Block::NULL } else { entry }
}

/// Returns the entry that was first, or NULL.
pub(crate) unsafe extern "win64" fn ExInterlockedInsertHeadList(head: Block, entry: Block, lock: Block) -> Block {
    under(lock, "ExInterlockedInsertHeadList", || {
        let first = head.get_block(FORWARD);
        insert_between(entry, head, first);
        unless_head(first, head)
    })
}

/// Returns the entry that was last, or NULL.
pub(crate) unsafe extern "win64" fn ExInterlockedInsertTailList(head: Block, entry: Block, lock: Block) -> Block {
    under(lock, "ExInterlockedInsertTailList", || {
        let last = head.get_block(BACKWARD);
        insert_between(entry, last, head);
        unless_head(last, head)
    })
}

pub(crate) unsafe extern "win64" fn ExInterlockedRemoveHeadList(head: Block, lock: Block) -> Block {
    under(lock, "ExInterlockedRemoveHeadList", || {
        let entry = head.get_block(FORWARD);
        if entry == head {
            return Block::NULL;
        }
        let next = entry.get_block(FORWARD);
        head.put_block(FORWARD, next);
        next.put_block(BACKWARD, head);
        entry
    })
}

/// For a SINGLE_LIST_ENTRY; returns the entry that was first, or NULL.
pub(crate) unsafe extern "win64" fn ExInterlockedPushEntryList(head: Block, entry: Block, lock: Block) -> Block {
    under(lock, "ExInterlockedPushEntryList", || {
        let first = head.get_block(0);
        entry.put_block(0, first);
        head.put_block(0, entry);
        first
    })
}

pub(crate) unsafe extern "win64" fn ExInterlockedPopEntryList(head: Block, lock: Block) -> Block {
    under(lock, "ExInterlockedPopEntryList", || {
        let first = head.get_block(0);
        if !first.is_null() {
            head.put_block(0, first.get_block(0));
        }
        first
    })
}

/// Returns the value before.
pub(crate) unsafe extern "win64" fn ExInterlockedAddLargeInteger(addend: Block, increment: i64, lock: Block) -> i64 {
    under(lock, "ExInterlockedAddLargeInteger", || {
        let before = addend.get::<i64>(0);
        addend.put(0, before.wrapping_add(increment));
        before
    })
}

/// Returns the value before.
pub(crate) unsafe extern "win64" fn ExInterlockedAddUlong(addend: Block, increment: u32, lock: Block) -> u32 {
    under(lock, "ExInterlockedAddUlong", || {
        let before = addend.get::<u32>(0);
        addend.put(0, before.wrapping_add(increment));
        before
    })
}
