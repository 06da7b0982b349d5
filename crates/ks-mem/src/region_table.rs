//! From an address in a stream header to the frame that it names.

use crate::frame::{Frame, Region};
use crate::sync::{Arc, RwLock, Weak};
use std::collections::BTreeMap;

/// The regions that a header's `Data` member may point into. An address outside all of them is refused, so no request
/// ever makes the engine touch memory that was not registered.
#[derive(Debug, Default)]
pub struct RegionTable {
    regions: RwLock<BTreeMap<u64, Weak<Region>>>,
}

impl RegionTable {
    /// An empty table.
    pub fn new() -> RegionTable {
        RegionTable::default()
    }

    /// Makes a region known until its last frame is dropped.
    pub fn register(&self, region: &Arc<Region>) {
        let mut regions = self.regions.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        regions.retain(|_, known| known.strong_count() > 0);
        regions.insert(region.address(), Arc::downgrade(region));
    }

    /// A frame of its own region, registered.
    pub fn allocate(&self, bytes: usize, alignment: usize) -> Result<Frame, crate::MemoryError> {
        let frame = Frame::zeroed(bytes, alignment)?;
        self.register(frame.region());
        Ok(frame)
    }

    /// The bytes `address .. address + bytes`, if they lie inside one frame of a registered region.
    pub fn resolve(&self, address: u64, bytes: usize) -> Option<Frame> {
        let regions = self.regions.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (_, region) = regions.range(..=address).next_back()?;
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
}
