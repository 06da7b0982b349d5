//! Scatter/gather mappings: a frame as a device with DMA would see it.
//!
//! There is no such device here. The mappings describe plain memory, a physical address is the address of the bytes,
//! and what a driver gives to its device it can read and write itself.
//!
//! Source: "AVStream DMA services", ns-ks-_ksmapping, nf-ks-ksdeviceregisteradapterobject.

use ks_io::StreamFrame;
use ks_io::sync::Mutex;
use ks_mem::Block;

/// The DMA adapter of a device, as far as mappings go.
#[doc(alias = "KsDeviceRegisterAdapterObject")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaAdapter {
    /// The most bytes of one mapping; 0: no limit.
    pub most_mapping_bytes: u32,
    /// Bytes from one mapping of a table to the next, at least those of a KSMAPPING; the rest is the driver's.
    pub mapping_stride: u32,
}

/// A piece of a frame.
#[doc(alias = "KSMAPPING")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Address of the bytes.
    #[doc(alias = "PhysicalAddress")]
    pub address: u64,
    /// How many there are.
    #[doc(alias = "ByteCount")]
    pub bytes: u32,
}

/// Where a device keeps its adapter.
#[derive(Debug, Default)]
pub(crate) struct AdapterSlot(Mutex<Option<DmaAdapter>>);

impl AdapterSlot {
    pub(crate) fn set(&self, adapter: DmaAdapter) {
        *self.0.lock() = Some(adapter);
    }

    fn get(&self) -> Option<DmaAdapter> {
        *self.0.lock()
    }
}

/// Bytes of a KSMAPPING: address, byte count, alignment.
pub(crate) const MAPPING_BYTES: u32 = 16;
/// The largest step from one mapping to the next.
pub(crate) const MOST_STRIDE: u32 = 4096;
/// The most mappings of one frame.
const MOST_MAPPINGS: u32 = 1 << 16;
/// Addresses are not said to be aligned better than a page is.
const MOST_ALIGNMENT: u32 = 4096;

/// The mappings of one frame.
pub(crate) struct MappingTable {
    block: Block,
    piece_bytes: u32,
    total_bytes: u32,
    stride: u32,
}

impl MappingTable {
    /// The mappings of the first `bytes` of a frame; `None` without an adapter, bytes or memory.
    pub(crate) fn of(frame: &StreamFrame, bytes: u32, slot: &AdapterSlot) -> Option<MappingTable> {
        let adapter = slot.get()?;
        let start = frame.buffer()?.address();
        let piece_bytes = if adapter.most_mapping_bytes == 0 { bytes } else { adapter.most_mapping_bytes };
        let stride = adapter.mapping_stride;
        let count = bytes.checked_div(piece_bytes)? + u32::from(!bytes.is_multiple_of(piece_bytes));
        if count > MOST_MAPPINGS {
            return None;
        }
        let block = Block::zeroed(count as usize * stride as usize, 16).ok()?;
        let table = MappingTable { block, piece_bytes, total_bytes: bytes, stride };
        for index in 0..count {
            let address = start + u64::from(index) * u64::from(piece_bytes);
            let alignment = 1u32 << address.trailing_zeros().min(MOST_ALIGNMENT.trailing_zeros());
            let mut mapping = [0; MAPPING_BYTES as usize];
            mapping[..8].copy_from_slice(&address.to_le_bytes());
            mapping[8..12].copy_from_slice(&table.bytes(index, 1).to_le_bytes());
            mapping[12..].copy_from_slice(&alignment.to_le_bytes());
            table.block.write_bytes(index as usize * stride as usize, &mapping);
        }
        Some(table)
    }

    /// The mappings from one on, as they stand in the table.
    pub(crate) fn list(&self, from: u32) -> Vec<Mapping> {
        let at = |index: u32| {
            let offset = index as usize * self.stride as usize;
            Mapping { address: self.block.load_u64(offset), bytes: self.block.load_u32(offset + 8) }
        };
        (from..self.count()).map(at).collect()
    }

    pub(crate) fn address(&self) -> u64 {
        self.block.address()
    }

    pub(crate) fn stride(&self) -> u32 {
        self.stride
    }

    pub(crate) fn count(&self) -> u32 {
        self.total_bytes.div_ceil(self.piece_bytes)
    }

    /// Bytes of `count` mappings from one on.
    pub(crate) fn bytes(&self, from: u32, count: u32) -> u32 {
        let edge = |mapping: u32| self.total_bytes.min(mapping.saturating_mul(self.piece_bytes));
        edge(from.saturating_add(count)) - edge(from)
    }
}
