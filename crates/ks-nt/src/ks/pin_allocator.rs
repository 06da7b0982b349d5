//! The allocator of a pin whose driver implements it: KSPIN_DISPATCH.Allocator.

use crate::ks::address::{Address, Routine, status};
use ks_abi::kernel::KsAllocatorDispatch;
use ks_abi::{KsAllocatorFraming, NtStatus, STATUS_NOT_IMPLEMENTED};
use ks_mem::Block;
use ks_stream::{AllocatorFraming, AskedFraming, FrameSource};
use std::mem::offset_of;
use std::sync::Arc;

/// A driver's allocator: its routines, and the context that it gave itself.
struct DriverFrames {
    table: Address,
    context: u64,
}

impl DriverFrames {
    fn routine(&self, at: usize, name: &'static str) -> Option<Routine> {
        Routine::optional(self.table.follow(at), name)
    }
}

impl FrameSource for DriverFrames {
    fn allocate(&self) -> Option<u64> {
        let routine = self.routine(offset_of!(KsAllocatorDispatch, allocate), "an allocator's Allocate")?;
        Some(routine.call1(self.context)).filter(|frame| *frame != 0)
    }

    fn free(&self, frame: u64) {
        if let Some(routine) = self.routine(offset_of!(KsAllocatorDispatch, free), "an allocator's Free") {
            routine.call2(self.context, frame);
        }
    }
}

impl Drop for DriverFrames {
    fn drop(&mut self) {
        let at = offset_of!(KsAllocatorDispatch, delete_allocator);
        if let Some(routine) = self.routine(at, "DeleteAllocator") {
            routine.call1(self.context);
        }
    }
}

/// Starts an allocator of a pin with this table. STATUS_NOT_IMPLEMENTED: the table cannot allocate and free.
pub(crate) fn start(pin: u64, table: Address, framing: &AllocatorFraming) -> Result<Arc<dyn FrameSource>, NtStatus> {
    let needed = [offset_of!(KsAllocatorDispatch, allocate), offset_of!(KsAllocatorDispatch, free)];
    if needed.into_iter().any(|at| table.follow(at).is_null()) {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    let mut context = 0u64;
    let start = table.follow(offset_of!(KsAllocatorDispatch, initialize_allocator));
    if let Some(routine) = Routine::optional(start, "InitializeAllocator") {
        let asked = match framing.asked {
            AskedFraming::Plain(asked) => asked,
            AskedFraming::Extended(_) => KsAllocatorFraming {
                frames: framing.frames,
                frame_size: framing.frame_bytes,
                file_alignment: framing.alignment.saturating_sub(1),
                ..KsAllocatorFraming::default()
            },
        };
        let block = Block::zeroed(size_of::<KsAllocatorFraming>(), 16).map_err(|_| STATUS_NOT_IMPLEMENTED)?;
        block.write(0, &asked);
        let place = std::ptr::from_mut(&mut context) as u64;
        let answer = status(routine.call3(pin, block.address(), place));
        if !answer.is_success() {
            return Err(answer);
        }
    }
    Ok(Arc::new(DriverFrames { table, context }))
}
