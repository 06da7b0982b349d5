//! The handles of one client: numbers that name objects until they are closed, and never again after.

use crate::access::AccessMask;
use crate::file_object::FileObject;
use crate::semaphore::Semaphore;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, RwLock, Weak, thread_local};
use crate::wait::Event;
use ks_abi::{
    NtStatus, STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH,
};
use ks_mem::fallible;
use std::cell::RefCell;

/// A handle value. Its low two bits are zero, as on Windows; the rest is an index and that slot's generation, so a
/// handle that was closed stays invalid when its slot is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

impl Handle {
    /// The handle that names nothing.
    pub const NULL: Handle = Handle(0);

    #[inline]
    fn remembered_at(self) -> usize {
        (self.0 >> 2) as usize % REMEMBERED
    }
}

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// The most handles that one client may hold.
pub const HANDLE_LIMIT: usize = 1 << 16;

/// What a handle can name.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    File(Arc<FileObject>),
    Event(Event),
    Semaphore(Semaphore),
}

/// The handle table of one client.
#[derive(Debug)]
pub(crate) struct HandleTable {
    /// Tells this table from every other one of the process.
    number: u64,
    /// How many times handles became invalid. Raised with release under the write lock; what a thread remembers of a
    /// lookup counts only while an acquiring load gives the same number.
    closes: AtomicU64,
    slots: RwLock<Slots>,
}

impl Default for HandleTable {
    fn default() -> HandleTable {
        // Relaxed: the number only has to be unique.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        HandleTable { number, closes: AtomicU64::new(0), slots: RwLock::default() }
    }
}

thread_local! {
    /// What this thread found by handle, so that it need not lock the table to find it again. Weak: what is remembered
    /// keeps no object open. The place is chosen by the handle's index.
    static FOUND: RefCell<[Option<Found>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

const REMEMBERED: usize = 8;

struct Found {
    table: u64,
    closes: u64,
    handle: Handle,
    file: Weak<FileObject>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    object: Option<Object>,
}

impl HandleTable {
    pub(crate) fn insert(&self, object: Object) -> Result<Handle, NtStatus> {
        let mut table = self.slots.write();
        let index = match table.free.pop() {
            Some(index) => index as usize,
            None if table.slots.len() >= HANDLE_LIMIT => return Err(STATUS_INSUFFICIENT_RESOURCES),
            None => {
                fallible(|| table.slots.try_reserve(1)).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
                table.slots.push(Slot { generation: 1, object: None });
                table.slots.len() - 1
            }
        };
        let slot = &mut table.slots[index];
        slot.object = Some(object);
        Ok(Handle((slot.generation << INDEX_BITS | index as u64) << 2))
    }

    /// The file object of a handle whose access allows `needed`.
    #[inline(always)]
    pub(crate) fn file(&self, handle: Handle, needed: AccessMask) -> Result<Arc<FileObject>, NtStatus> {
        let file = match self.remembered(handle) {
            Some(file) => file,
            None => self.look_up(handle)?,
        };
        if needed.0 == 0 || file.granted().allows(needed) { Ok(file) } else { Err(STATUS_ACCESS_DENIED) }
    }

    /// What this thread found before, if no handle was closed since.
    #[inline(always)]
    fn remembered(&self, handle: Handle) -> Option<Arc<FileObject>> {
        FOUND
            .try_with(|found| {
                let found = found.borrow();
                let found = found[handle.remembered_at()].as_ref()?;
                let known = found.handle == handle
                    && found.table == self.number
                    && found.closes == self.closes.load(Ordering::Acquire);
                if known { found.file.upgrade() } else { None }
            })
            .ok()?
    }

    #[cold]
    fn look_up(&self, handle: Handle) -> Result<Arc<FileObject>, NtStatus> {
        let (file, closes) = {
            let table = self.slots.read();
            let file = match table.find(handle) {
                Some(Object::File(file)) => file.clone(),
                Some(Object::Event(_) | Object::Semaphore(_)) => return Err(STATUS_OBJECT_TYPE_MISMATCH),
                None => return Err(STATUS_INVALID_HANDLE),
            };
            // Under the lock, so no handle can be closed between the lookup and the number that it counts for.
            (file, self.closes.load(Ordering::Relaxed))
        };
        let entry = Found { table: self.number, closes, handle, file: Arc::downgrade(&file) };
        let _ = FOUND.try_with(|found| found.borrow_mut()[handle.remembered_at()] = Some(entry));
        Ok(file)
    }

    pub(crate) fn event(&self, handle: Handle) -> Option<Event> {
        match self.slots.read().find(handle) {
            Some(Object::Event(event)) => Some(event.clone()),
            _ => None,
        }
    }

    pub(crate) fn semaphore(&self, handle: Handle) -> Option<Semaphore> {
        match self.slots.read().find(handle) {
            Some(Object::Semaphore(semaphore)) => Some(semaphore.clone()),
            _ => None,
        }
    }

    pub(crate) fn remove(&self, handle: Handle) -> Result<Object, NtStatus> {
        let mut table = self.slots.write();
        let index = table.index(handle).ok_or(STATUS_INVALID_HANDLE)?;
        let slot = &mut table.slots[index];
        let object = slot.object.take().ok_or(STATUS_INVALID_HANDLE)?;
        slot.generation += 1;
        if matches!(object, Object::File(_)) {
            self.closes.fetch_add(1, Ordering::Release);
        }
        table.free.push(index as u32);
        Ok(object)
    }

    /// Empties the table, newest handle first.
    pub(crate) fn drain(&self) -> Vec<Object> {
        let mut table = self.slots.write();
        let objects = table.slots.iter_mut().rev().filter_map(|slot| slot.object.take()).collect();
        *table = Slots::default();
        self.closes.fetch_add(1, Ordering::Release);
        objects
    }

    pub(crate) fn len(&self) -> usize {
        let table = self.slots.read();
        table.slots.len() - table.free.len()
    }
}

impl Slots {
    #[inline]
    fn find(&self, handle: Handle) -> Option<&Object> {
        self.slots[self.index(handle)?].object.as_ref()
    }

    #[inline]
    fn index(&self, handle: Handle) -> Option<usize> {
        if handle.0 & 3 != 0 {
            return None;
        }
        let index = (handle.0 >> 2 & INDEX_MASK) as usize;
        let slot = self.slots.get(index)?;
        (slot.generation == handle.0 >> 2 >> INDEX_BITS).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    fn file() -> Object {
        let origin = Origin::new_requestor(crate::RequestorMode::User, crate::origin::Place::Here);
        Object::File(Arc::new(FileObject::new(None, origin, Default::default())))
    }

    #[test]
    fn a_closed_handle_never_names_the_next_object_in_its_slot() {
        let table = HandleTable::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10_000 {
            let handle = table.insert(file()).unwrap();
            assert!(seen.insert(handle));
            assert!(table.file(handle, AccessMask::NONE).is_ok());
            table.remove(handle).unwrap();
            assert_eq!(table.file(handle, AccessMask::NONE).unwrap_err(), STATUS_INVALID_HANDLE);
            assert!(table.remove(handle).is_err());
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_handle_of_one_table_is_not_found_in_another() {
        let (table, other) = (HandleTable::default(), HandleTable::default());
        let (handle, same) = (table.insert(file()).unwrap(), other.insert(file()).unwrap());
        assert_eq!(handle, same);
        let found = |table: &HandleTable| Arc::as_ptr(&table.file(handle, AccessMask::NONE).unwrap());
        let (first, second) = (found(&table), found(&other));
        assert_ne!(first, second);
        assert_eq!((found(&table), found(&other)), (first, second));
    }

    #[test]
    fn what_a_thread_remembers_keeps_no_file_open() {
        let table = HandleTable::default();
        let handles: Vec<_> = (0..3 * REMEMBERED).map(|_| table.insert(file()).unwrap()).collect();
        let files: Vec<_> =
            handles.iter().map(|&handle| Arc::downgrade(&table.file(handle, AccessMask::NONE).unwrap())).collect();
        drop(table.drain());
        assert!(files.iter().all(|file| file.strong_count() == 0));
        assert_eq!(table.file(handles[0], AccessMask::NONE).unwrap_err(), STATUS_INVALID_HANDLE);
    }

    #[test]
    fn made_up_handles_are_invalid() {
        let table = HandleTable::default();
        let handle = table.insert(file()).unwrap();
        for made_up in [0, 1, handle.0 + 1, handle.0 + 4, handle.0 | 1 << 63, u64::MAX, u64::MAX - 3] {
            assert_eq!(table.file(Handle(made_up), AccessMask::NONE).unwrap_err(), STATUS_INVALID_HANDLE);
        }
    }

    #[test]
    fn a_client_cannot_hold_more_handles_than_the_limit() {
        let table = HandleTable::default();
        for _ in 0..HANDLE_LIMIT {
            table.insert(file()).unwrap();
        }
        assert_eq!(table.insert(file()).unwrap_err(), STATUS_INSUFFICIENT_RESOURCES);
    }
}
