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
/// The most memory that stands in for private frames, on its way and kept.
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

/// Memory of the other side.
struct Known {
    regions: BTreeMap<u64, Arc<Region>>,
    /// Retired regions, which stay mapped as long as somebody here has a frame of them.
    retired: Vec<Weak<Region>>,
    most_bytes: u64,
}

impl Default for Known {
    fn default() -> Known {
        Known { regions: BTreeMap::new(), retired: Vec::new(), most_bytes: MOST_MAPPED_BYTES }
    }
}

impl Known {
    /// How much more may be mapped. What is retired counts until the last of its frames is gone: the other side says when it
    /// announces and retires, and must not be able to have this one map without end.
    fn room(&mut self) -> Result<u64, WireError> {
        self.retired.retain(|region| region.strong_count() > 0);
        if self.regions.len() + self.retired.len() >= MOST_REGIONS {
            return Err(WireError::Protocol("too many regions"));
        }
        let bytes = |region: &Region| region.shared_memory().map_or(0, |memory| memory.len() as u64);
        let kept = self.retired.iter().filter_map(Weak::upgrade).map(|region| bytes(&region)).sum::<u64>();
        let mapped = kept + self.regions.values().map(|region| bytes(region)).sum::<u64>();
        Ok(self.most_bytes.saturating_sub(mapped))
    }

    fn learn(&mut self, number: u64, cut: RegionCut, descriptor: OwnedFd) -> Result<(), WireError> {
        if self.regions.contains_key(&number) {
            return Err(WireError::Protocol("a region was announced twice"));
        }
        let memory = SharedMemory::open(descriptor, self.room()?).map_err(WireError::Memory)?;
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| WireError::Protocol("a region is cut wrongly"));
        let cut = Cut {
            frames: cut.frames as usize,
            frame_bytes: size(cut.frame_bytes)?,
            stride_bytes: size(cut.stride_bytes)?,
        };
        let region = Region::over_shared(memory, cut).map_err(|_| WireError::Protocol("a region is cut wrongly"))?;
        self.regions.insert(number, region);
        Ok(())
    }

    fn forget(&mut self, number: u64) -> Result<(), WireError> {
        let region = self.regions.remove(&number).ok_or(WireError::Protocol("an unknown region was retired"))?;
        self.retired.push(Arc::downgrade(&region));
        Ok(())
    }
}

/// Shared frames that stand in for private ones, by their size, which is a power of two.
struct Bounce {
    free: BTreeMap<usize, Vec<Frame>>,
    out_bytes: usize,
    kept_bytes: usize,
    most_bytes: usize,
}

impl Default for Bounce {
    fn default() -> Bounce {
        Bounce { free: BTreeMap::new(), out_bytes: 0, kept_bytes: 0, most_bytes: MOST_BOUNCE_BYTES }
    }
}

/// What [`Bounce::take`] found.
enum Found {
    Kept(Frame),
    /// There is room for a new one, when these are gone.
    Room(Vec<Frame>),
    /// Too much is on its way.
    Nothing,
}

impl Bounce {
    /// A frame of so many bytes, or the room for one; it is on its way from now on.
    fn take(&mut self, class: usize) -> Found {
        if let Some(frame) = self.free.get_mut(&class).and_then(Vec::pop) {
            self.kept_bytes -= class;
            self.out_bytes += class;
            return Found::Kept(frame);
        }
        if self.out_bytes.saturating_add(class) > self.most_bytes {
            return Found::Nothing;
        }
        // Frames of sizes that nobody asks for any more make room, the largest first.
        let mut gone = Vec::new();
        while self.out_bytes + self.kept_bytes + class > self.most_bytes {
            let Some(mut largest) = self.free.last_entry() else { break };
            match largest.get_mut().pop() {
                Some(frame) => {
                    self.kept_bytes -= frame.len();
                    gone.push(frame);
                }
                None => drop(largest.remove()),
            }
        }
        self.out_bytes += class;
        Found::Room(gone)
    }

    /// Takes a frame back; gives it back where it is not kept.
    fn give_back(&mut self, frame: Frame) -> Option<Frame> {
        let class = frame.len();
        self.out_bytes = self.out_bytes.saturating_sub(class);
        let kept = self.free.entry(class).or_default();
        if kept.len() >= MOST_KEPT || frame.region().is_quarantined() {
            return Some(frame);
        }
        kept.push(frame);
        self.kept_bytes += class;
        None
    }
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
        self.known.lock().learn(number, cut, descriptor)
    }

    /// The other side uses a region no more.
    pub(super) fn forget(&self, number: u64) -> Result<(), WireError> {
        self.known.lock().forget(number)
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
        let found = self.bounce.lock().take(class);
        match found {
            Found::Kept(frame) => return Some(frame),
            Found::Nothing => return None,
            Found::Room(gone) => drop(gone),
        }
        let spec = PoolSpec { frames: 1, frame_bytes: class, alignment: 4096 };
        let frame = FramePool::in_memory(FrameMemory::Shared, spec, io.regions()).ok().and_then(|pool| pool.take());
        if frame.is_none() {
            self.bounce.lock().out_bytes -= class;
        }
        frame
    }

    /// Takes back what [`Memory::borrow`] gave.
    pub(super) fn give_back(&self, frame: Frame) {
        let too_many = self.bounce.lock().give_back(frame);
        drop(too_many);
    }

    /// The other side may write and does not answer for it any more: none of this memory is used for anything new.
    pub(super) fn quarantine(&self) {
        for region in self.announced.lock().values().filter_map(Weak::upgrade) {
            region.quarantine();
        }
        let known = std::mem::take(&mut *self.known.lock());
        known.regions.values().for_each(|region| region.quarantine());
        let kept = {
            let mut bounce = self.bounce.lock();
            bounce.kept_bytes = 0;
            std::mem::take(&mut bounce.free)
        };
        drop(kept);
    }

    /// Regions that this side announced, and those of the other side.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.announced.lock().len(), self.known.lock().regions.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_io::Services;
    use ks_mem::SharedMemoryError;

    const PAGE: usize = 4096;

    fn bytes_of(frames: &BTreeMap<usize, Vec<Frame>>) -> usize {
        frames.values().flatten().map(|frame| frame.region().len()).sum()
    }

    #[test]
    fn frames_that_are_kept_for_later_requests_are_a_part_of_the_memory_that_a_client_gets() {
        let io = IoManager::new(Services::real());
        let most_bytes = 64 * PAGE;
        let memory = Memory { bounce: Mutex::new(Bounce { most_bytes, ..Bounce::default() }), ..Memory::default() };
        // A client that uses all of it in every size.
        for class in [PAGE, 2 * PAGE, 4 * PAGE, 8 * PAGE, 16 * PAGE, 32 * PAGE, 64 * PAGE, 2 * PAGE] {
            let mut out = Vec::new();
            while let Some(frame) = memory.borrow(class, &io) {
                assert_eq!(frame.len(), class);
                out.push(frame);
                let kept = bytes_of(&memory.bounce.lock().free);
                assert!(kept + out.len() * class <= most_bytes, "{kept} kept, {} of {class} out", out.len());
            }
            assert_eq!(out.len(), most_bytes / class, "what is kept makes room");
            out.into_iter().for_each(|frame| memory.give_back(frame));
            let bounce = memory.bounce.lock();
            assert_eq!((bytes_of(&bounce.free), bounce.out_bytes), (bounce.kept_bytes, 0));
        }
        // What is of use is still kept.
        assert!(matches!(memory.bounce.lock().take(2 * PAGE), Found::Kept(_)));
    }

    #[test]
    fn a_retired_region_takes_room_until_the_last_frame_of_it_is_gone() {
        let memory = Memory {
            known: Mutex::new(Known { most_bytes: 8 * PAGE as u64, ..Known::default() }),
            ..Memory::default()
        };
        let cut = RegionCut { frames: 4, frame_bytes: PAGE as u64, stride_bytes: PAGE as u64 };
        let announce = |number| {
            let shared = SharedMemory::create("test", 4 * PAGE).unwrap();
            memory.learn(number, cut, shared.descriptor().try_clone_to_owned().unwrap())
        };
        let refused = |most| Err(WireError::Memory(SharedMemoryError::Size { bytes: 4 * PAGE as u64, most }));
        announce(1).unwrap();
        announce(2).unwrap();
        assert_eq!(announce(3), refused(0));
        let held = memory.find(FramePart { region: 1, offset: 0, bytes: 16 }).unwrap().unwrap();
        memory.forget(1).unwrap();
        assert_eq!(announce(3), refused(0), "its memory is mapped yet");
        memory.forget(2).unwrap();
        announce(3).unwrap();
        assert_eq!(announce(4), refused(0));
        drop(held);
        announce(4).unwrap();
        assert_eq!(memory.forget(1), Err(WireError::Protocol("an unknown region was retired")));
    }
}
