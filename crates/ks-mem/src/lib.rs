//! Sole owner of the memory that drivers, clients and peers can see: public blocks at ABI offsets, frame pools and
//! registered regions.
//!
//! Three kinds of memory leave it:
//!
//! * a [`Block`] is a pinned, zeroed allocation for structures that a driver may read and write at any time (an IRP,
//!   `KSPIN`, an array of stream headers). It is touched only through accessors that are atomic field by field; no
//!   reference into it ever exists.
//! * a [`Frame`] is a piece of a frame buffer. It carries its own borrow state, so a slice of it is handed out only
//!   while nobody else holds one that could change under it. Of memory that another process can write none is handed out.
//! * [`SharedMemory`] is a sealed memfd that another process maps too; it is touched by atomics and copies only.
#![warn(missing_docs)]

mod block;
#[cfg(feature = "counting")]
mod counting;
mod fallible;
#[cfg(feature = "faults")]
mod faults;
mod footprint;
mod frame;
mod late_block;
mod pool;
mod region_table;
mod shared;
mod sync;

pub use block::{Block, BlockPart, BlockPrefix};
#[cfg(feature = "counting")]
pub use counting::{Allocations, CountingAllocator, held_by_the_process, peak_of_this_thread};
pub use fallible::fallible;
#[cfg(feature = "faults")]
pub use faults::{FaultyAllocator, end_faults, fail_allocation, fault_sites, largest_unmarked};
pub use footprint::{Footprint, Learning, Part, fetch};
pub use frame::{
    Cut, Frame, FrameBytes, FrameBytesMut, FrameRead, FrameWrite, MOST_SHARED_FRAMES, Region, quarantined_regions,
};
pub use late_block::LateBlock;
pub use pool::{FrameMemory, FramePool, PoolSpec};
pub use region_table::{RegionOwner, RegionTable};
pub use shared::{SharedMemory, SharedMemoryError, copied_frame_bytes};

/// The memory that was asked for cannot be had, or its shape makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// A length of zero, an alignment that is no power of two or above [`MAX_ALIGNMENT`], or a product that overflows.
    #[error("a region of {frames} x {frame_bytes} bytes aligned to {alignment} cannot be laid out")]
    Shape {
        /// Number of frames asked for.
        frames: usize,
        /// Bytes of one frame.
        frame_bytes: usize,
        /// Alignment of each frame in bytes.
        alignment: usize,
    },
    /// The allocator has no memory for this many bytes.
    #[error("no memory for {bytes} bytes")]
    Exhausted {
        /// Bytes asked for.
        bytes: usize,
    },
}

/// The largest alignment that a frame can have: one page, as the documented `FILE_*_ALIGNMENT` masks end at a page.
pub const MAX_ALIGNMENT: usize = 4096;
