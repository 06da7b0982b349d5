//! The handles of one client: numbers that name objects until they are closed, and never again after.

use crate::access::AccessMask;
use crate::file_object::FileObject;
use crate::sync::{Arc, RwLock};
use crate::wait::Event;
use ks_abi::{
    NtStatus, STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH,
};

/// A handle value. Its low two bits are zero, as on Windows; the rest is an index and that slot's generation, so a
/// handle that was closed stays invalid when its slot is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

impl Handle {
    /// The handle that names nothing.
    pub const NULL: Handle = Handle(0);
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
}

/// The handle table of one client.
#[derive(Debug, Default)]
pub(crate) struct HandleTable {
    slots: RwLock<Slots>,
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
                table.slots.push(Slot { generation: 1, object: None });
                table.slots.len() - 1
            }
        };
        let slot = &mut table.slots[index];
        slot.object = Some(object);
        Ok(Handle((slot.generation << INDEX_BITS | index as u64) << 2))
    }

    /// The file object of a handle whose access allows `needed`.
    #[inline]
    pub(crate) fn file(&self, handle: Handle, needed: AccessMask) -> Result<Arc<FileObject>, NtStatus> {
        let table = self.slots.read();
        match table.find(handle) {
            Some(Object::File(file)) if needed.0 == 0 || file.granted().allows(needed) => Ok(file.clone()),
            Some(Object::File(_)) => Err(STATUS_ACCESS_DENIED),
            Some(Object::Event(_)) => Err(STATUS_OBJECT_TYPE_MISMATCH),
            None => Err(STATUS_INVALID_HANDLE),
        }
    }

    pub(crate) fn event(&self, handle: Handle) -> Option<Event> {
        match self.slots.read().find(handle) {
            Some(Object::Event(event)) => Some(event.clone()),
            _ => None,
        }
    }

    pub(crate) fn remove(&self, handle: Handle) -> Result<Object, NtStatus> {
        let mut table = self.slots.write();
        let index = table.index(handle).ok_or(STATUS_INVALID_HANDLE)?;
        let slot = &mut table.slots[index];
        let object = slot.object.take().ok_or(STATUS_INVALID_HANDLE)?;
        slot.generation += 1;
        table.free.push(index as u32);
        Ok(object)
    }

    /// Empties the table, newest handle first.
    pub(crate) fn drain(&self) -> Vec<Object> {
        let mut table = self.slots.write();
        let objects = table.slots.iter_mut().rev().filter_map(|slot| slot.object.take()).collect();
        *table = Slots::default();
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
        Object::File(Arc::new(FileObject::new(None, Origin::new_client(), Default::default())))
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
