//! Allocators that a driver implements: KSPIN_DISPATCH.Allocator, and what KsCreateDefaultAllocatorEx is given.
//!
//! One that serves a circuit of its process gives memory away: the engine has each frame until the circuit is done with it,
//! and then the driver's Free is called, with no mutex held. The pin does not close before.

use crate::ks::address::{Address, Routine, status};
use ks_abi::kernel::KsAllocatorDispatch;
use ks_abi::{KsAllocatorFraming, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_IMPLEMENTED};
use ks_io::{FileObject, Work, deferred};
use ks_mem::{Block, Frame, Region};
use ks_stream::{AllocatorFraming, AskedFraming, FrameSource, Pin};
use std::mem::offset_of;
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

    /// Can anything be allocated, and freed again?
    pub(crate) fn can_allocate(&self) -> bool {
        !self.allocate.is_null() && !self.free.is_null()
    }
}

/// An allocator that was initialized. It is deleted with the last reference.
struct Started {
    callbacks: Callbacks,
    /// What the driver gave itself.
    context: u64,
    /// The pin that it is for stays open until it is deleted.
    _file: Option<Arc<FileObject>>,
}

impl Started {
    /// Calls InitializeAllocator; `initial` is what it is told by. STATUS_NOT_IMPLEMENTED: the routines cannot allocate and
    /// free.
    fn start(
        callbacks: Callbacks,
        initial: u64,
        framing: &AllocatorFraming,
        file: Option<Arc<FileObject>>,
    ) -> Result<Started, NtStatus> {
        if !callbacks.can_allocate() {
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
            let block =
                Block::zeroed(size_of::<KsAllocatorFraming>(), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
            block.write(0, &asked);
            let place = std::ptr::from_mut(&mut context) as u64;
            let answer = status(routine.call3(initial, block.address(), place));
            if !answer.is_success() {
                return Err(answer);
            }
        }
        Ok(Started { callbacks, context, _file: file })
    }

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

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(routine) = Routine::optional(self.callbacks.delete, "DeleteAllocator") {
            routine.call1(self.context);
        }
    }
}

/// What an allocator is to do when nobody holds a lock: free a frame, or only be let go of.
struct Later {
    started: Arc<Started>,
    frame: Option<u64>,
}

impl Work for Later {
    fn run(self: Arc<Self>) {
        if let Some(frame) = self.frame {
            self.started.free(frame);
        }
    }
}

/// The frames of an allocator of a driver without AVStream, which nobody else can have.
struct RequestFrames(Started);

impl FrameSource for RequestFrames {
    fn allocate(&self) -> Option<u64> {
        self.0.allocate()
    }

    fn free(&self, frame: u64) {
        self.0.free(frame);
    }
}

/// The frames of a pin's allocator.
struct PinFrames {
    started: Arc<Started>,
    pin: Weak<Pin>,
    bytes: usize,
    alignment: u64,
}

impl FrameSource for PinFrames {
    fn allocate(&self) -> Option<u64> {
        self.started.allocate()
    }

    fn free(&self, frame: u64) {
        self.started.free(frame);
    }

    /// Decision: what is no memory of the size and alignment that the driver was told, or what is in use already, is not
    /// lent.
    fn lend(&self, frame: u64) -> Option<Frame> {
        let pin = self.pin.upgrade()?;
        let regions = pin.io().regions();
        let last = frame.checked_add(self.bytes as u64)? - 1;
        let in_use = [frame, last].iter().any(|byte| regions.resolve(*byte, 1).is_some());
        if in_use || !frame.is_multiple_of(self.alignment) || !Address(frame).is_readable(self.bytes) {
            return None;
        }
        let started = self.started.clone();
        let release = move || deferred::run_later(Arc::new(Later { started, frame: Some(frame) }));
        // SAFETY: the memory is there, was just read, and is the engine's until Free is called, as the pages on allocators
        // say; no other region of the engine lies over it.
        let region = unsafe { Region::over_lent(frame, self.bytes, release) }.ok()?;
        regions.register(&region);
        region.part(frame, self.bytes)
    }
}

impl Drop for PinFrames {
    fn drop(&mut self) {
        // Whoever lets go of the allocator may hold a mutex of the pin's filter.
        deferred::run_later(Arc::new(Later { started: self.started.clone(), frame: None }));
    }
}

fn of_pin(
    callbacks: Callbacks,
    initial: u64,
    pin: &Arc<Pin>,
    framing: &AllocatorFraming,
) -> Result<Arc<PinFrames>, NtStatus> {
    let started = Arc::new(Started::start(callbacks, initial, framing, pin.file_object())?);
    let (bytes, alignment) = (framing.frame_bytes as usize, u64::from(framing.alignment.max(1)));
    Ok(Arc::new(PinFrames { started, pin: Arc::downgrade(pin), bytes, alignment }))
}

/// Starts an allocator with these routines; `initial` is what the first of them is told by. STATUS_NOT_IMPLEMENTED: they
/// cannot allocate and free.
pub(crate) fn start(
    callbacks: Callbacks,
    initial: u64,
    framing: &AllocatorFraming,
) -> Result<Arc<dyn FrameSource>, NtStatus> {
    Ok(Arc::new(RequestFrames(Started::start(callbacks, initial, framing, None)?)))
}

/// The same for an allocator object of a pin.
pub(crate) fn start_of_pin(
    callbacks: Callbacks,
    initial: u64,
    pin: &Arc<Pin>,
    framing: &AllocatorFraming,
) -> Result<Arc<dyn FrameSource>, NtStatus> {
    Ok(of_pin(callbacks, initial, pin, framing)?)
}

/// The allocator of a pin that serves its circuit.
#[derive(Default)]
pub(crate) struct CircuitAllocator(Mutex<Option<(AllocatorFraming, Weak<PinFrames>)>>);

impl CircuitAllocator {
    /// That of the last time while its frames are about, if it is for the same framing; else a new one.
    pub(crate) fn source(
        &self,
        callbacks: Callbacks,
        initial: u64,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
    ) -> Result<Arc<dyn FrameSource>, NtStatus> {
        let known = self.known().as_ref().filter(|(of, _)| of == framing).and_then(|(_, source)| source.upgrade());
        if let Some(known) = known {
            return Ok(known);
        }
        let made = of_pin(callbacks, initial, pin, framing)?;
        *self.known() = Some((*framing, Arc::downgrade(&made)));
        Ok(made)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(AllocatorFraming, Weak<PinFrames>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
