//! Frame memory that both sides have mapped.

use ks_io::IoManager;
use ks_io::sync::{Arc, Mutex, Weak};
use ks_mem::{Cut, Frame, FrameMemory, FramePool, PoolSpec, Region, SharedMemory};
use ks_wire::{FramePart, Message, RegionCut, Sender, WireError};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// The most memory of the other side that this one maps: two circuits of the largest size that a device allows.
const MOST_MAPPED_BYTES: u64 = 1 << 30;
/// The most regions of the other side.
const MOST_REGIONS: usize = 1024;
/// The most memory that stands in for private frames at one time.
const MOST_BOUNCE_BYTES: usize = 256 << 20;
/// Frames that wait for the next request of their size.
const MOST_KEPT: usize = 32;

#[derive(Default)]
pub(super) struct Memory {
    /// Regions that this side announced. Held while one is announced, so that nobody names it earlier.
    announced: Mutex<BTreeMap<u64, Weak<Region>>>,
    known: Mutex<Known>,
    bounce: Mutex<Bounce>,
}

#[derive(Default)]
struct Known {
    regions: BTreeMap<u64, Arc<Region>>,
    bytes: u64,
}

#[derive(Default)]
struct Bounce {
    free: BTreeMap<usize, Vec<Frame>>,
    out_bytes: usize,
}

fn retire_gone(announced: &mut BTreeMap<u64, Weak<Region>>, sender: &mut Sender) -> Result<(), WireError> {
    let gone: Vec<u64> =
        announced.iter().filter(|(_, region)| region.strong_count() == 0).map(|(number, _)| *number).collect();
    for number in gone {
        announced.remove(&number);
        sender.send(&Message::RetireRegion { region: number })?;
    }
    Ok(())
}

impl Memory {
    /// How the other side finds a frame in shared memory. Its region is announced the first time.
    pub(super) fn place(&self, frame: &Frame, sender: &Mutex<Sender>) -> Result<FramePart, WireError> {
        let region = frame.region();
        let part = FramePart {
            region: region.number(),
            offset: frame.address() - region.address(),
            bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        };
        let mut announced = self.announced.lock();
        if announced.contains_key(&region.number()) {
            return Ok(part);
        }
        let Some(memory) = region.shared_memory() else { return Err(WireError::Protocol("a private frame was sent")) };
        let mut sender = sender.lock();
        retire_gone(&mut announced, &mut sender)?;
        let Cut { frames, frame_bytes, stride_bytes } = region.cut();
        let cut = RegionCut {
            frames: u32::try_from(frames).unwrap_or(u32::MAX),
            frame_bytes: frame_bytes as u64,
            stride_bytes: stride_bytes as u64,
        };
        let message = Message::AnnounceRegion { region: region.number(), cut };
        sender.send_with(&message, Some(memory.descriptor()))?;
        announced.insert(region.number(), Arc::downgrade(region));
        Ok(part)
    }

    /// Tells the other side of the regions that nobody here uses any more. It hears of them at the latest when the next one
    /// is announced.
    pub(super) fn retire(&self, sender: &Mutex<Sender>) -> Result<(), WireError> {
        let mut announced = self.announced.lock();
        retire_gone(&mut announced, &mut sender.lock())
    }

    /// Maps a region of the other side.
    pub(super) fn learn(&self, number: u64, cut: RegionCut, descriptor: OwnedFd) -> Result<(), WireError> {
        let mut known = self.known.lock();
        if known.regions.contains_key(&number) {
            return Err(WireError::Protocol("a region was announced twice"));
        }
        if known.regions.len() >= MOST_REGIONS {
            return Err(WireError::Protocol("too many regions"));
        }
        let memory = SharedMemory::open(descriptor, MOST_MAPPED_BYTES - known.bytes).map_err(WireError::Memory)?;
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| WireError::Protocol("a region is cut wrongly"));
        let cut = Cut {
            frames: cut.frames as usize,
            frame_bytes: size(cut.frame_bytes)?,
            stride_bytes: size(cut.stride_bytes)?,
        };
        let bytes = memory.len() as u64;
        let region = Region::over_shared(memory, cut).map_err(|_| WireError::Protocol("a region is cut wrongly"))?;
        known.bytes += bytes;
        known.regions.insert(number, region);
        Ok(())
    }

    /// The other side uses a region no more.
    pub(super) fn forget(&self, number: u64) -> Result<(), WireError> {
        let mut known = self.known.lock();
        let region = known.regions.remove(&number).ok_or(WireError::Protocol("an unknown region was retired"))?;
        known.bytes -= region.shared_memory().map_or(0, |memory| memory.len() as u64);
        Ok(())
    }

    /// The frame that the other side names; `None`: it names no bytes.
    pub(super) fn find(&self, part: FramePart) -> Result<Option<Frame>, WireError> {
        if part.region == 0 {
            return Ok(None);
        }
        let known = self.known.lock();
        let region = known.regions.get(&part.region).ok_or(WireError::Protocol("a frame of an unknown region"))?;
        let address = region.address().checked_add(part.offset);
        let frame = address.and_then(|address| region.part(address, part.bytes as usize));
        frame.map(Some).ok_or(WireError::Protocol("a frame outside of its region"))
    }

    /// A shared frame that stands in for a private one of `bytes` bytes; `None` without memory.
    pub(super) fn borrow(&self, bytes: usize, io: &IoManager) -> Option<Frame> {
        let class = bytes.max(4096).checked_next_power_of_two()?;
        let mut bounce = self.bounce.lock();
        if bounce.out_bytes.saturating_add(class) > MOST_BOUNCE_BYTES {
            return None;
        }
        bounce.out_bytes += class;
        if let Some(frame) = bounce.free.get_mut(&class).and_then(Vec::pop) {
            return Some(frame);
        }
        drop(bounce);
        let spec = PoolSpec { frames: 1, frame_bytes: class, alignment: 4096 };
        let frame = FramePool::in_memory(FrameMemory::Shared, spec, io.regions()).ok().and_then(|pool| pool.take());
        if frame.is_none() {
            self.bounce.lock().out_bytes -= class;
        }
        frame
    }

    /// Takes back what [`Memory::borrow`] gave.
    pub(super) fn give_back(&self, frame: Frame) {
        let mut bounce = self.bounce.lock();
        bounce.out_bytes = bounce.out_bytes.saturating_sub(frame.len());
        let kept = bounce.free.entry(frame.len()).or_default();
        if kept.len() < MOST_KEPT && !frame.region().is_quarantined() {
            kept.push(frame);
        }
    }

    /// The other side may write and does not answer for it any more: none of this memory is used for anything new.
    pub(super) fn quarantine(&self) {
        for region in self.announced.lock().values().filter_map(Weak::upgrade) {
            region.quarantine();
        }
        let known = std::mem::take(&mut *self.known.lock());
        known.regions.values().for_each(|region| region.quarantine());
        let kept = std::mem::take(&mut self.bounce.lock().free);
        drop(kept);
    }

    /// Regions that this side announced, and those of the other side.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.announced.lock().len(), self.known.lock().regions.len())
    }
}
