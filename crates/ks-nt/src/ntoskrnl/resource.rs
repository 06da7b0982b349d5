//! ERESOURCEs: held by one thread alone or by several together, again and again by the same.
//!
//! Unlike the other objects a resource is made and deleted by a call, so its state is a table's; of its memory only the
//! address is used, and the counts that debuggers show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ks_abi::NtStatus;

use super::block::Block;
use super::dispatcher::Turn;
use super::{irql, thread};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ExInitializeResourceLite, ExReinitializeResourceLite, ExDeleteResourceLite, ExAcquireResourceExclusiveLite,
    ExTryToAcquireResourceExclusiveLite, ExAcquireResourceSharedLite, ExAcquireSharedStarveExclusive,
    ExAcquireSharedWaitForExclusive, ExReleaseResourceLite, ExReleaseResourceForThreadLite,
    ExConvertExclusiveToSharedLite, ExIsResourceAcquiredExclusiveLite, ExIsResourceAcquiredSharedLite,
    ExGetExclusiveWaiterCount, ExGetSharedWaiterCount, ExSetResourceOwnerPointer, ExSetResourceOwnerPointerEx,
    ExEnterCriticalRegionAndAcquireResourceExclusive, ExEnterCriticalRegionAndAcquireResourceShared,
    ExEnterCriticalRegionAndAcquireSharedWaitForExclusive, ExReleaseResourceAndLeaveCriticalRegion,
    ExDisableResourceBoostLite,
);

/// Size of an ERESOURCE.
const BYTES: usize = 104;

/// A thread's address, or the pointer that a driver put in its place.
type Owner = u64;

#[derive(Default)]
struct Resource {
    /// The one that holds it alone, and how often.
    exclusive: Option<(Owner, u32)>,
    shared: BTreeMap<Owner, u32>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    owner: Owner,
    mode: Mode,
    turn: Arc<Turn>,
}

/// How a resource is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Exclusive,
    /// After those who wait to have it alone, unless the thread holds it already.
    Shared,
    /// Before those who wait to have it alone.
    SharedStarveExclusive,
    /// After those who wait to have it alone, whatever the thread holds.
    SharedWaitForExclusive,
}

/// Whether a thread waits for what it cannot have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Try,
    Wait,
}

impl Resource {
    fn exclusive_waits(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.mode == Mode::Exclusive)
    }

    /// Gives the resource to an owner if it may have it now, ahead of who waits where the mode says so.
    fn take(&mut self, owner: Owner, mode: Mode) -> bool {
        let waits = self.exclusive_waits();
        let may = match mode {
            Mode::Shared => !waits || self.shared.contains_key(&owner) || self.is_exclusive(owner),
            Mode::SharedWaitForExclusive => !waits || self.is_exclusive(owner),
            Mode::Exclusive | Mode::SharedStarveExclusive => true,
        };
        may && self.grant(owner, mode)
    }

    fn is_exclusive(&self, owner: Owner) -> bool {
        self.exclusive.is_some_and(|(holder, _)| holder == owner)
    }

    /// As [`take`](Self::take), but only who holds the resource is asked.
    fn grant(&mut self, owner: Owner, mode: Mode) -> bool {
        match (&mut self.exclusive, mode) {
            // Who has it alone and wants it shared has it alone once more.
            (Some((holder, count)), _) if *holder == owner => *count += 1,
            (Some(_), _) => return false,
            (None, Mode::Exclusive) if !self.shared.is_empty() => return false,
            (None, Mode::Exclusive) => self.exclusive = Some((owner, 1)),
            (None, _) => *self.shared.entry(owner).or_default() += 1,
        }
        true
    }

    /// Takes one acquisition back; false if there is none.
    fn release(&mut self, owner: Owner) -> bool {
        if let Some((holder, count)) = &mut self.exclusive {
            if *holder != owner {
                return false;
            }
            *count -= 1;
            if *count == 0 {
                self.exclusive = None;
            }
        } else if let Some(count) = self.shared.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.shared.remove(&owner);
            }
        } else {
            return false;
        }
        self.let_go();
        true
    }

    /// Gives the resource to those who wait, first come first served.
    fn let_go(&mut self) {
        while let Some(next) = self.waiting.pop_front() {
            if !self.grant(next.owner, next.mode) {
                self.waiting.push_front(next);
                return;
            }
            next.turn.grant();
        }
    }
}

static RESOURCES: Mutex<BTreeMap<Block, Resource>> = Mutex::new(BTreeMap::new());

fn resources() -> MutexGuard<'static, BTreeMap<Block, Resource>> {
    RESOURCES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn me() -> Owner {
    thread::current().address() as Owner
}

/// Does something with a resource; one that was never made is reported, and made.
fn with<T>(resource: Block, routine: &'static str, action: impl FnOnce(&mut Resource) -> T) -> T {
    let mut resources = resources();
    if !resources.contains_key(&resource) {
        drop(resources);
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            format!("there is no resource at {:#x}: it was not initialized, or is deleted", resource.address()),
        );
        resources = self::resources();
    }
    action(resources.entry(resource).or_default())
}

fn acquire(resource: Block, mode: Mode, patience: Patience, routine: &'static str) -> u8 {
    irql::at_most(irql::APC, routine);
    let owner = me();
    let turn = with(resource, routine, |resource| {
        if resource.take(owner, mode) {
            return Ok(true);
        }
        if patience == Patience::Try {
            return Ok(false);
        }
        let turn = Turn::new();
        resource.waiting.push_back(Waiting { owner, mode, turn: Arc::clone(&turn) });
        Err(turn)
    });
    match turn {
        Ok(taken) => u8::from(taken),
        Err(turn) => {
            turn.wait();
            1
        }
    }
}

fn release(resource: Block, owner: Owner, routine: &'static str) {
    if !with(resource, routine, |resource| resource.release(owner)) {
        report::misuse(
            BugCheck::RESOURCE_NOT_OWNED,
            routine,
            format!("releases the resource at {:#x}, which the thread does not own", resource.address()),
        );
    }
}

fn patience(wait: u8) -> Patience {
    if wait != 0 { Patience::Wait } else { Patience::Try }
}

pub(crate) unsafe extern "win64" fn ExInitializeResourceLite(resource: Block) -> NtStatus {
    resource.clear(BYTES);
    resource.put_empty_list(0);
    if resources().insert(resource, Resource::default()).is_some() {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "ExInitializeResourceLite",
            format!("the resource at {:#x} is initialized again", resource.address()),
        );
    }
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ExReinitializeResourceLite(resource: Block) -> NtStatus {
    with(resource, "ExReinitializeResourceLite", |resource| *resource = Resource::default());
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ExDeleteResourceLite(resource: Block) -> NtStatus {
    irql::at_most(irql::DISPATCH, "ExDeleteResourceLite");
    let held = with(resource, "ExDeleteResourceLite", |resource| {
        resource.exclusive.is_some() || !resource.shared.is_empty() || !resource.waiting.is_empty()
    });
    resources().remove(&resource);
    if held {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "ExDeleteResourceLite",
            format!("the resource at {:#x} is deleted while it is held or waited for", resource.address()),
        );
    }
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ExAcquireResourceExclusiveLite(resource: Block, wait: u8) -> u8 {
    acquire(resource, Mode::Exclusive, patience(wait), "ExAcquireResourceExclusiveLite")
}

pub(crate) unsafe extern "win64" fn ExTryToAcquireResourceExclusiveLite(resource: Block) -> u8 {
    acquire(resource, Mode::Exclusive, Patience::Try, "ExTryToAcquireResourceExclusiveLite")
}

pub(crate) unsafe extern "win64" fn ExAcquireResourceSharedLite(resource: Block, wait: u8) -> u8 {
    acquire(resource, Mode::Shared, patience(wait), "ExAcquireResourceSharedLite")
}

pub(crate) unsafe extern "win64" fn ExAcquireSharedStarveExclusive(resource: Block, wait: u8) -> u8 {
    acquire(resource, Mode::SharedStarveExclusive, patience(wait), "ExAcquireSharedStarveExclusive")
}

pub(crate) unsafe extern "win64" fn ExAcquireSharedWaitForExclusive(resource: Block, wait: u8) -> u8 {
    acquire(resource, Mode::SharedWaitForExclusive, patience(wait), "ExAcquireSharedWaitForExclusive")
}

pub(crate) unsafe extern "win64" fn ExReleaseResourceLite(resource: Block) {
    release(resource, me(), "ExReleaseResourceLite");
}

pub(crate) unsafe extern "win64" fn ExReleaseResourceForThreadLite(resource: Block, thread: u64) {
    release(resource, thread, "ExReleaseResourceForThreadLite");
}

pub(crate) unsafe extern "win64" fn ExConvertExclusiveToSharedLite(resource: Block) {
    let converted = with(resource, "ExConvertExclusiveToSharedLite", |resource| {
        let Some((owner, count)) = resource.exclusive.filter(|(owner, _)| *owner == me()) else { return false };
        resource.exclusive = None;
        resource.shared.insert(owner, count);
        resource.let_go();
        true
    });
    if !converted {
        report::misuse(
            BugCheck::RESOURCE_NOT_OWNED,
            "ExConvertExclusiveToSharedLite",
            format!("the calling thread does not hold the resource at {:#x} alone", resource.address()),
        );
    }
}

pub(crate) unsafe extern "win64" fn ExIsResourceAcquiredExclusiveLite(resource: Block) -> u8 {
    u8::from(with(resource, "ExIsResourceAcquiredExclusiveLite", |resource| resource.is_exclusive(me())))
}

/// How often the calling thread holds the resource, in whatever way.
pub(crate) unsafe extern "win64" fn ExIsResourceAcquiredSharedLite(resource: Block) -> u32 {
    with(resource, "ExIsResourceAcquiredSharedLite", |resource| match resource.exclusive {
        Some((owner, count)) if owner == me() => count,
        Some(_) => 0,
        None => resource.shared.get(&me()).copied().unwrap_or(0),
    })
}

fn count(resource: Block, routine: &'static str, counts: impl Fn(Mode) -> bool) -> u32 {
    with(resource, routine, |resource| resource.waiting.iter().filter(|waiting| counts(waiting.mode)).count() as u32)
}

pub(crate) unsafe extern "win64" fn ExGetExclusiveWaiterCount(resource: Block) -> u32 {
    count(resource, "ExGetExclusiveWaiterCount", |mode| mode == Mode::Exclusive)
}

pub(crate) unsafe extern "win64" fn ExGetSharedWaiterCount(resource: Block) -> u32 {
    count(resource, "ExGetSharedWaiterCount", |mode| mode != Mode::Exclusive)
}

/// Puts a pointer in the place of the calling thread, so that another thread can release for it.
fn set_owner(resource: Block, pointer: u64, routine: &'static str) {
    let owned = with(resource, routine, |resource| {
        if let Some((owner, _)) = &mut resource.exclusive
            && *owner == me()
        {
            *owner = pointer;
            return true;
        }
        match resource.shared.remove(&me()) {
            Some(count) => {
                *resource.shared.entry(pointer).or_default() += count;
                true
            }
            None => false,
        }
    });
    if !owned {
        report::misuse(
            BugCheck::RESOURCE_NOT_OWNED,
            routine,
            format!("the calling thread does not own the resource at {:#x}", resource.address()),
        );
    }
}

pub(crate) unsafe extern "win64" fn ExSetResourceOwnerPointer(resource: Block, pointer: u64) {
    set_owner(resource, pointer, "ExSetResourceOwnerPointer");
}

pub(crate) unsafe extern "win64" fn ExSetResourceOwnerPointerEx(resource: Block, pointer: u64, _flags: u32) {
    set_owner(resource, pointer, "ExSetResourceOwnerPointerEx");
}

pub(crate) unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireResourceExclusive(resource: Block) -> Block {
    irql::enter_critical_region();
    acquire(resource, Mode::Exclusive, Patience::Wait, "ExEnterCriticalRegionAndAcquireResourceExclusive");
    Block::NULL
}

pub(crate) unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireResourceShared(resource: Block) -> Block {
    irql::enter_critical_region();
    acquire(resource, Mode::Shared, Patience::Wait, "ExEnterCriticalRegionAndAcquireResourceShared");
    Block::NULL
}

pub(crate) unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireSharedWaitForExclusive(resource: Block) -> Block {
    irql::enter_critical_region();
    let routine = "ExEnterCriticalRegionAndAcquireSharedWaitForExclusive";
    acquire(resource, Mode::SharedWaitForExclusive, Patience::Wait, routine);
    Block::NULL
}

pub(crate) unsafe extern "win64" fn ExReleaseResourceAndLeaveCriticalRegion(resource: Block) {
    release(resource, me(), "ExReleaseResourceAndLeaveCriticalRegion");
    irql::leave_critical_region("ExReleaseResourceAndLeaveCriticalRegion");
}

// There are no priorities that could be boosted.
pub(crate) unsafe extern "win64" fn ExDisableResourceBoostLite(_resource: Block) {}
