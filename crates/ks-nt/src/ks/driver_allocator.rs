//! Allocators that a driver implements: KSPIN_DISPATCH.Allocator, and what KsCreateDefaultAllocatorEx is given.

use crate::ks::address::{Address, Routine, status};
use ks_abi::kernel::KsAllocatorDispatch;
use ks_abi::{KsAllocatorFraming, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_IMPLEMENTED};
use ks_mem::Block;
use ks_stream::{AllocatorFraming, AskedFraming, FrameSource};
use std::mem::offset_of;
use std::sync::Arc;

/// The routines of an allocator: of a pin's KSALLOCATOR_DISPATCH, or those of KsCreateDefaultAllocatorEx.
#[derive(Clone, Copy, Default)]
pub(crate) struct Callbacks {
    pub(crate) allocate: Address,
    pub(crate) free: Address,
    pub(crate) initialize: Address,
    pub(crate) delete: Address,
}

impl Callbacks {
    /// Those of a KSALLOCATOR_DISPATCH.
    pub(crate) fn of_table(table: Address) -> Callbacks {
        Callbacks {
            allocate: table.follow(offset_of!(KsAllocatorDispatch, allocate)),
            free: table.follow(offset_of!(KsAllocatorDispatch, free)),
            initialize: table.follow(offset_of!(KsAllocatorDispatch, initialize_allocator)),
            delete: table.follow(offset_of!(KsAllocatorDispatch, delete_allocator)),
        }
    }
}

/// A driver's allocator: its routines, and the context that it gave itself.
struct DriverFrames {
    callbacks: Callbacks,
    context: u64,
}

impl FrameSource for DriverFrames {
    fn allocate(&self) -> Option<u64> {
        let routine = Routine::optional(self.callbacks.allocate, "an allocator's Allocate")?;
        Some(routine.call1(self.context)).filter(|frame| *frame != 0)
    }

    fn free(&self, frame: u64) {
        if let Some(routine) = Routine::optional(self.callbacks.free, "an allocator's Free") {
            routine.call2(self.context, frame);
        }
    }
}

impl Drop for DriverFrames {
    fn drop(&mut self) {
        if let Some(routine) = Routine::optional(self.callbacks.delete, "DeleteAllocator") {
            routine.call1(self.context);
        }
    }
}

/// Starts an allocator with these routines; `initial` is what the first of them is told by. STATUS_NOT_IMPLEMENTED: they
/// cannot allocate and free.
pub(crate) fn start(
    callbacks: Callbacks,
    initial: u64,
    framing: &AllocatorFraming,
) -> Result<Arc<dyn FrameSource>, NtStatus> {
    if callbacks.allocate.is_null() || callbacks.free.is_null() {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    let mut context = 0u64;
    if let Some(routine) = Routine::optional(callbacks.initialize, "InitializeAllocator") {
        let asked = match framing.asked {
            AskedFraming::Plain(asked) => asked,
            AskedFraming::Extended(_) => KsAllocatorFraming {
                frames: framing.frames,
                frame_size: framing.frame_bytes,
                file_alignment: framing.alignment.saturating_sub(1),
                ..KsAllocatorFraming::default()
            },
        };
        let block = Block::zeroed(size_of::<KsAllocatorFraming>(), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        block.write(0, &asked);
        let place = std::ptr::from_mut(&mut context) as u64;
        let answer = status(routine.call3(initial, block.address(), place));
        if !answer.is_success() {
            return Err(answer);
        }
    }
    Ok(Arc::new(DriverFrames { callbacks, context }))
}
