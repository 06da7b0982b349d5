//! From an address in a stream header to the frame that it names.

use crate::frame::{Frame, Region};
use crate::sync::{Arc, RwLock, Weak};
use std::collections::BTreeMap;

/// Who may name a region by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionOwner {
    /// The engine and its drivers: no client can name it.
    Engine,
    /// The client of this number.
    Client(u64),
    /// Every client.
    Everyone,
}

/// The regions that a header's `Data` member may point into. An address outside all of them is refused, so no request
/// ever makes the engine touch memory that was not registered.
#[derive(Debug, Default)]
pub struct RegionTable {
    regions: RwLock<BTreeMap<u64, (Weak<Region>, RegionOwner)>>,
}

impl RegionTable {
    /// An empty table.
    pub fn new() -> RegionTable {
        RegionTable::default()
    }

    /// Makes a region of the engine known until its last frame is dropped.
    pub fn register(&self, region: &Arc<Region>) {
        self.register_for(RegionOwner::Engine, region);
    }

    /// Makes a region known to its owner until its last frame is dropped.
    pub fn register_for(&self, owner: RegionOwner, region: &Arc<Region>) {
        let mut regions = self.regions.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        regions.retain(|_, (known, _)| known.strong_count() > 0);
        regions.insert(region.address(), (Arc::downgrade(region), owner));
    }

    /// A frame of its own region, that every client may name.
    pub fn allocate(&self, bytes: usize, alignment: usize) -> Result<Frame, crate::MemoryError> {
        self.allocate_for(RegionOwner::Everyone, bytes, alignment)
    }

    /// A frame of its own region, that its owner may name.
    pub fn allocate_for(
        &self,
        owner: RegionOwner,
        bytes: usize,
        alignment: usize,
    ) -> Result<Frame, crate::MemoryError> {
        let frame = Frame::zeroed(bytes, alignment)?;
        self.register_for(owner, frame.region());
        Ok(frame)
    }

    /// The bytes `address .. address + bytes`, if they lie inside one frame of a registered region, whoever asks: for
    /// drivers.
    pub fn resolve(&self, address: u64, bytes: usize) -> Option<Frame> {
        self.find(address, bytes, |_| true)
    }

    /// The same for a client, who finds its own regions and those of everyone.
    pub fn resolve_for(&self, client: u64, address: u64, bytes: usize) -> Option<Frame> {
        self.find(address, bytes, |owner| {
            matches!(owner, RegionOwner::Everyone) || owner == RegionOwner::Client(client)
        })
    }

    fn find(&self, address: u64, bytes: usize, may: impl Fn(RegionOwner) -> bool) -> Option<Frame> {
        let regions = self.regions.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (_, (region, owner)) = regions.range(..=address).next_back()?;
        if !may(*owner) {
            return None;
        }
        region.upgrade()?.part(address, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_of_a_living_registered_frame_resolve() {
        let table = RegionTable::new();
        let frame = table.allocate(4096, 4096).unwrap();
        let at = frame.address();
        assert_eq!(table.resolve(at, 4096).unwrap().len(), 4096);
        assert!(table.resolve(at, 4097).is_none());
        assert!(table.resolve(at + 4095, 2).is_none());
        assert!(table.resolve(0, 1).is_none());
        assert!(table.resolve(u64::MAX, 1).is_none());
        drop(frame);
        assert!(table.resolve(at, 1).is_none(), "a frame that is gone has no bytes");
    }

    #[test]
    fn a_client_finds_its_own_regions_and_those_of_everyone() {
        let table = RegionTable::new();
        let mine = table.allocate_for(RegionOwner::Client(1), 64, 64).unwrap();
        let shared = table.allocate(64, 64).unwrap();
        let engines = table.allocate_for(RegionOwner::Engine, 64, 64).unwrap();
        for (frame, first, second) in [(&mine, true, false), (&shared, true, true), (&engines, false, false)] {
            assert_eq!(table.resolve_for(1, frame.address(), 64).is_some(), first);
            assert_eq!(table.resolve_for(2, frame.address(), 64).is_some(), second);
            assert!(table.resolve(frame.address(), 64).is_some());
        }
    }
}
