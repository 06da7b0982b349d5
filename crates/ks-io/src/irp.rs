//! The I/O request packet: a pinned block at the x64 layout, owned by one linear token.
//!
//! An [`Irp`] is the right to complete a request. Passing it on gives that right away, completing consumes it, and a
//! token that is dropped completes its request with STATUS_CANCELLED and is counted: so there is exactly one completion
//! a request. The status, the Information, the major function, the control code and the buffer lengths live in the
//! block at the offsets that a driver reads.

use crate::buffers::{CallerMemory, Capture, Output};
use crate::cancel::{AlreadyCancelled, CancelCell, CancelTarget};
use crate::completion::{Completed, Dispatched, Reply};
use crate::file_object::{FileObject, FileReference};
use crate::origin::Origin;
use crate::refusal::Refusal;
use crate::stream_frame::{CircuitPlace, StreamFrames};
use crate::sync::{Arc, Weak, thread_local};
use crate::wait_help::HelpTicket;
use ks_abi::{IoControlCode, NtStatus, STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use ks_mem::{BlockPrefix, LateBlock, Learning};
use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const IRP_BYTES: usize = 208;
const STACK_LOCATION_BYTES: usize = 72;
/// Stack locations of an IRP: its target's, and two for targets that forward.
const STACK_LOCATIONS: usize = 3;
const BLOCK_BYTES: usize = IRP_BYTES + STACK_LOCATIONS * STACK_LOCATION_BYTES;

mod offset {
    pub(super) const IO_STATUS: usize = 48;
    pub(super) const INFORMATION: usize = 56;
    pub(super) const REQUESTOR_MODE: usize = 64;
    pub(super) const STACK_COUNT: usize = 66;
    pub(super) const CURRENT_LOCATION: usize = 67;
    pub(super) const CANCEL: usize = 68;
    pub(super) const USER_BUFFER: usize = 112;
    pub(super) const DRIVER_CONTEXT: usize = 120;
    pub(super) const CURRENT_STACK_LOCATION: usize = 184;
    // Inside a stack location.
    pub(super) const MAJOR_FUNCTION: usize = 0;
    pub(super) const OUTPUT_LENGTH: usize = 8;
    pub(super) const INPUT_LENGTH: usize = 16;
    pub(super) const IO_CONTROL_CODE: usize = 24;
    pub(super) const TYPE3_INPUT_BUFFER: usize = 32;
}

/// Where the current stack location starts: the last of the array, as for an IRP that its creator just sent.
const CURRENT: usize = IRP_BYTES + (STACK_LOCATIONS - 1) * STACK_LOCATION_BYTES;

/// What kind of request an IRP carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MajorFunction(pub u8);

impl MajorFunction {
    /// `IRP_MJ_CREATE`
    pub const CREATE: MajorFunction = MajorFunction(0x00);
    /// `IRP_MJ_READ`
    pub const READ: MajorFunction = MajorFunction(0x03);
    /// `IRP_MJ_WRITE`
    pub const WRITE: MajorFunction = MajorFunction(0x04);
    /// `IRP_MJ_DEVICE_CONTROL`
    pub const DEVICE_CONTROL: MajorFunction = MajorFunction(0x0E);
}

/// What a request is made of, apart from its file object.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The control code.
    pub code: IoControlCode,
    /// The input buffer.
    pub input: &'a [u8],
    /// What the output buffer holds now; read only where the request says that it is data.
    pub output: &'a [u8],
    /// Length of the output buffer.
    pub output_bytes: usize,
    /// The caller's address of the input buffer, a token that is never followed.
    pub input_token: u64,
    /// The caller's address of the output buffer, a token that is never followed.
    pub output_token: u64,
}

/// What a handler sees of a request, borrowed side by side.
#[derive(Debug)]
pub struct IrpParts<'a> {
    /// The captured input.
    pub input: &'a [u8],
    /// The output buffer.
    pub output: &'a mut Output,
    /// Who asks.
    pub origin: &'a Origin,
    /// The file object that the request was sent to.
    pub file: &'a FileReference,
}

/// The right to complete one request. See the module documentation.
#[must_use = "a dropped IRP completes with STATUS_CANCELLED"]
pub struct Irp(Option<Box<Body>>);

/// All of a request; handed back whole when it completes. In this order: what a hop of a circuit looks at lies together.
#[repr(C)]
pub(crate) struct Body {
    pub(crate) stream: Option<StreamFrames>,
    pub(crate) reply: Reply,
    /// Not there before a driver is shown it, for the request of a circuit; there from the beginning for any other.
    block: LateBlock<BLOCK_BYTES>,
    pub(crate) origin: Origin,
    pub(crate) file: FileReference,
    pub(crate) input: Capture,
    pub(crate) output: Output,
    pub(crate) refusal: Option<Box<Refusal>>,
    /// Made for the first who wants it: the request of a circuit has nobody who could cancel it.
    cancel: OnceLock<Arc<CancelCell>>,
    /// Somebody else may hold the cancel state, so a cancel may have reached it or still reach it.
    cancel_is_shared: bool,
}

/// Tokens that were dropped instead of completed; each one is a bug of whoever held it.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many IRPs were dropped instead of completed since the process started.
pub fn dropped_irps() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

impl Irp {
    /// A device-control request on `file`. Captures what the request needs, once.
    pub fn device_control(
        file: &Arc<FileObject>,
        origin: &Origin,
        parts: RequestParts<'_>,
        reply: Reply,
    ) -> Result<Irp, NtStatus> {
        let mut body = Body::take(origin)?;
        body.file.keep(file);
        body.fill(parts, reply)?;
        Ok(Irp(Some(body)))
    }

    /// A device-control request whose sender keeps `file` until it came back.
    #[inline(always)]
    pub(crate) fn synchronous(
        file: &Arc<FileObject>,
        origin: &Origin,
        parts: RequestParts<'_>,
        reply: Reply,
    ) -> Result<Irp, NtStatus> {
        let mut body = Body::take(origin)?;
        body.file.borrow(file);
        body.fill(parts, reply)?;
        Ok(Irp(Some(body)))
    }

    /// The same out of buffers that may change while they are read; `parts` has no bytes, only the rest.
    pub(crate) fn synchronous_from<I: CallerMemory + ?Sized, O: CallerMemory + ?Sized>(
        file: &Arc<FileObject>,
        origin: &Origin,
        (input, output): (&I, &O),
        parts: RequestParts<'_>,
        reply: Reply,
    ) -> Result<Irp, NtStatus> {
        let mut body = Body::take(origin)?;
        body.file.borrow(file);
        body.capture(parts.code, input, output, parts.output_bytes)?;
        body.address(parts, reply);
        Ok(Irp(Some(body)))
    }

    /// A stream request that a driver sends to another's pin: its frames are probed already, because they are the
    /// engine's own.
    // ks-coverage: KsStreamIo done test=an_avstream_source_writes_to_a_pin_without_avstream,a_driver_opens_another_and_reads_from_it
    #[doc(alias = "KsStreamIo")]
    pub fn stream_request(
        file: &Arc<FileObject>,
        origin: &Origin,
        code: IoControlCode,
        frames: StreamFrames,
        reply: Reply,
    ) -> Result<Irp, NtStatus> {
        let header_bytes = frames.stride() * frames.len();
        let parts =
            RequestParts { code, input: &[], output: &[], output_bytes: header_bytes, input_token: 0, output_token: 0 };
        let mut irp = Irp::device_control(file, origin, parts, reply)?;
        irp.set_stream(frames);
        Ok(irp)
    }

    /// A request of a circuit: frames that travel between queues and never have a caller. It is retired by dropping
    /// its frames, see [`Irp::retire`].
    pub fn circuit(origin: &Origin, frames: StreamFrames) -> Result<Irp, NtStatus> {
        let mut body = Body::pooled_or_new(origin);
        if let Some(block) = body.block.get() {
            body.begin(block);
        }
        body.file.clear();
        body.stream = Some(frames);
        body.reply = Reply::None;
        Ok(Irp(Some(body)))
    }

    #[inline]
    fn body(&self) -> &Body {
        self.0.as_ref().expect("invariant: only completing takes the body out, and it consumes the token")
    }

    #[inline]
    fn body_mut(&mut self) -> &mut Body {
        self.0.as_mut().expect("invariant: only completing takes the body out, and it consumes the token")
    }

    /// Notes what a pin touches that processes this request of a circuit.
    #[inline]
    pub fn footprint(&self, learning: &mut Learning<'_>) {
        let body = self.body();
        learning.object(&body.stream);
        if let Some(frame) = self.stream().and_then(|stream| stream.frame(0)) {
            frame.footprint(learning);
        }
    }

    /// Address of the IRP, as a driver is lent it.
    pub fn address(&self) -> u64 {
        self.body().fields().address()
    }

    /// The kind of request.
    pub fn major_function(&self) -> MajorFunction {
        MajorFunction(self.body().fields().load_u8(CURRENT + offset::MAJOR_FUNCTION))
    }

    /// The control code of a device-control request.
    #[inline]
    pub fn io_control_code(&self) -> IoControlCode {
        IoControlCode(self.body().fields().load_u32(CURRENT + offset::IO_CONTROL_CODE))
    }

    /// Who asks.
    #[inline]
    pub fn origin(&self) -> &Origin {
        &self.body().origin
    }

    /// The file object that the request was sent to; `None` for a circuit's IRP.
    #[inline]
    pub fn file_object(&self) -> Option<Arc<FileObject>> {
        self.body().file.upgrade()
    }

    /// The captured input.
    #[inline]
    pub fn input(&self) -> &[u8] {
        self.body().input.bytes()
    }

    /// The caller's address of the input buffer; identifies an event, is never followed.
    pub fn input_token(&self) -> u64 {
        self.body().fields().load_u64(CURRENT + offset::TYPE3_INPUT_BUFFER)
    }

    /// The caller's address of the output buffer; identifies an event, is never followed.
    pub fn output_token(&self) -> u64 {
        self.body().fields().load_u64(offset::USER_BUFFER)
    }

    /// The output buffer.
    #[inline]
    pub fn output(&self) -> &Output {
        &self.body().output
    }

    /// The parts that a handler reads beside the output that it fills.
    #[inline]
    pub fn parts(&mut self) -> IrpParts<'_> {
        let body = self.body_mut();
        IrpParts { input: body.input.bytes(), output: &mut body.output, origin: &body.origin, file: &body.file }
    }

    /// The frames of a stream request, once it was probed.
    #[inline]
    pub fn stream(&self) -> Option<&StreamFrames> {
        self.body().stream.as_ref()
    }

    /// Makes this a probed stream request.
    pub fn set_stream(&mut self, frames: StreamFrames) {
        self.body_mut().stream = Some(frames);
    }

    /// Takes the frames out.
    pub fn take_stream(&mut self) -> Option<StreamFrames> {
        self.body_mut().stream.take()
    }

    /// Where a request of a circuit belongs; of any other it means nothing.
    #[inline]
    pub fn place(&self) -> CircuitPlace {
        self.stream().map_or_else(CircuitPlace::default, StreamFrames::place)
    }

    /// One of the four words that the current owner of the IRP may use.
    #[inline]
    pub fn driver_context(&self, index: usize) -> u64 {
        self.body().fields().load_u64(offset::DRIVER_CONTEXT + 8 * (index & 3))
    }

    /// Sets one of the four words.
    pub fn set_driver_context(&self, index: usize, value: u64) {
        self.body().fields().store_u64(offset::DRIVER_CONTEXT + 8 * (index & 3), value);
    }

    /// The status that the IRP carries so far.
    #[doc(alias = "IoStatus")]
    #[inline]
    pub fn status(&self) -> NtStatus {
        self.body().block.get().map_or(STATUS_SUCCESS, |block| NtStatus(block.load_u32(offset::IO_STATUS)))
    }

    /// Sets the status that the IRP carries, for the frames' owner to complete with.
    pub fn set_status(&self, status: NtStatus) {
        match self.body().block.get() {
            Some(block) => block.store_u32(offset::IO_STATUS, status.0),
            // What a block says that is made now.
            None if status == STATUS_SUCCESS => {}
            None => self.body().fields().store_u32(offset::IO_STATUS, status.0),
        }
    }

    /// True when somebody may wait for this request and so may cancel it; a circuit's IRP has nobody.
    #[inline]
    pub fn has_caller(&self) -> bool {
        !matches!(self.body().reply, Reply::None)
    }

    /// The ticket for help with this request: `None` where no client waits for it.
    pub fn help_ticket(&self) -> Option<HelpTicket> {
        match &self.body().reply {
            Reply::Client(pending) => Some(HelpTicket::of(pending)),
            _ => None,
        }
    }

    /// True once a cancel was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.body().cancel.get().is_some_and(|cancel| cancel.is_cancelled())
    }

    /// Makes `target` the queue where a cancel finds this IRP under `key`; see [`CancelTarget`]. A queue calls this
    /// with its lock held, right before it keeps the IRP, and must not keep it when refused.
    pub fn arm(&self, target: Weak<dyn CancelTarget>, key: u64) -> Result<(), AlreadyCancelled> {
        self.body().cancel.get_or_init(Arc::default).arm(target, key)
    }

    /// The queue has let go of the IRP.
    pub fn disarm(&self) {
        if let Some(cancel) = self.body().cancel.get() {
            cancel.disarm();
        }
    }

    /// The cancel state, to be kept by whoever may cancel the request.
    pub fn cancel_cell(&mut self) -> Arc<CancelCell> {
        let body = self.body_mut();
        body.cancel_is_shared = true;
        body.cancel.get_or_init(Arc::default).clone()
    }

    /// Completes the request with a status.
    #[inline]
    pub fn complete(mut self, status: NtStatus) -> Completed {
        let body = self.0.take().expect("invariant: only completing takes the body out, and it consumes the token");
        // Nothing is left to drop.
        std::mem::forget(self);
        let block = body.fields();
        block.store_u32(offset::IO_STATUS, status.0);
        block.store_u64(offset::INFORMATION, body.output.information as u64);
        Completed::new(body)
    }

    /// Completes the request with a refusal and its reason.
    pub fn refuse(mut self, refusal: Refusal) -> Completed {
        let status = refusal.status;
        self.body_mut().refusal = Some(Box::new(refusal));
        self.complete(status)
    }

    /// Notes why the request is being refused; the completion carries it to the caller.
    pub fn explain(&mut self, refusal: Refusal) {
        self.body_mut().refusal = Some(Box::new(refusal));
    }

    /// [`Irp::complete`], as the answer of a dispatch routine.
    #[inline]
    pub fn done(self, status: NtStatus) -> Dispatched {
        Dispatched::Completed(self.complete(status))
    }

    /// Takes a circuit's IRP apart: nobody is told. An IRP with a caller completes with STATUS_CANCELLED instead.
    pub fn retire(mut self) {
        if self.has_caller() {
            drop(self.complete(STATUS_CANCELLED));
        } else if let Some(body) = self.0.take() {
            body.recycle();
        }
    }
}

impl Drop for Irp {
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            body.fields().store_u32(offset::IO_STATUS, STATUS_CANCELLED.0);
            body.fields().store_u64(offset::INFORMATION, 0);
            drop(Completed::new(body));
        }
    }
}

impl std::fmt::Debug for Irp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Irp").field("code", &self.io_control_code()).finish_non_exhaustive()
    }
}

#[allow(clippy::vec_box, reason = "a body keeps its box between requests; unboxing it would move 400 bytes twice")]
mod pool_type {
    pub(super) type Pool = Vec<Box<super::Body>>;
}

thread_local! {
    /// IRPs that completed on this thread, kept for the next requests. Bounded, so a burst goes back. Boxed, because a
    /// request keeps its box all its life.
    static POOL: RefCell<pool_type::Pool> = const { RefCell::new(Vec::new()) };
}

const POOL_LIMIT: usize = 32;

impl Body {
    #[inline(always)]
    fn take(origin: &Origin) -> Result<Box<Body>, NtStatus> {
        let body = Body::pooled_or_new(origin);
        match body.block.get() {
            Some(block) => body.begin(block),
            None => body.make_block()?,
        }
        Ok(body)
    }

    #[inline(always)]
    fn pooled_or_new(origin: &Origin) -> Box<Body> {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        let mut body = pooled.unwrap_or_else(Body::allocate);
        body.origin.clone_from(origin);
        body
    }

    /// The block has served another request.
    #[inline(always)]
    fn begin(&self, block: BlockPrefix<'_, BLOCK_BYTES>) {
        block.store_u32(offset::IO_STATUS, 0);
        block.store_u64(offset::INFORMATION, 0);
        block.store_u8(offset::REQUESTOR_MODE, self.requestor_mode());
        block.store_u8(offset::CANCEL, 0);
        for word in 0..4 {
            block.store_u64(offset::DRIVER_CONTEXT + 8 * word, 0);
        }
    }

    #[inline]
    fn requestor_mode(&self) -> u8 {
        u8::from(self.origin.mode() == crate::RequestorMode::User)
    }

    #[cold]
    #[inline(never)]
    fn make_block(&self) -> Result<(), NtStatus> {
        let made = self.block.make(|block| self.lay_out(block));
        made.map(drop).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    }

    /// What stands in a block from the beginning.
    fn lay_out(&self, block: BlockPrefix<'_, BLOCK_BYTES>) {
        block.store_u16(0, 6); // IO_TYPE_IRP
        block.store_u16(2, BLOCK_BYTES as u16);
        block.store_u8(offset::REQUESTOR_MODE, self.requestor_mode());
        block.store_u8(offset::STACK_COUNT, STACK_LOCATIONS as u8);
        block.store_u8(offset::CURRENT_LOCATION, STACK_LOCATIONS as u8);
        block.store_u64(offset::CURRENT_STACK_LOCATION, block.address() + CURRENT as u64);
    }

    #[cold]
    #[inline(never)]
    fn allocate() -> Box<Body> {
        Box::new(Body {
            block: LateBlock::new(),
            origin: Origin::class_driver(),
            file: FileReference::default(),
            input: Capture::default(),
            output: Output::default(),
            stream: None,
            refusal: None,
            reply: Reply::None,
            cancel: OnceLock::new(),
            cancel_is_shared: false,
        })
    }

    #[inline]
    fn fields(&self) -> BlockPrefix<'_, BLOCK_BYTES> {
        match self.block.get() {
            Some(block) => block,
            None => self.late_fields(),
        }
    }

    #[cold]
    #[inline(never)]
    fn late_fields(&self) -> BlockPrefix<'_, BLOCK_BYTES> {
        self.block.made(|block| self.lay_out(block))
    }

    #[inline]
    fn fill(&mut self, parts: RequestParts<'_>, reply: Reply) -> Result<(), NtStatus> {
        self.capture(parts.code, parts.input, parts.output, parts.output_bytes)?;
        self.address(parts, reply);
        Ok(())
    }

    /// Captures what the request needs, once. What the second buffer is, the captured input says: the caller's own may say
    /// something else by now.
    #[inline]
    fn capture<I: CallerMemory + ?Sized, O: CallerMemory + ?Sized>(
        &mut self,
        code: IoControlCode,
        input: &I,
        output: &O,
        output_bytes: usize,
    ) -> Result<(), NtStatus> {
        self.input.fill(input)?;
        // The rest of it was reset when the memory's last request let go of it.
        self.output.limit = output_bytes;
        if crate::capture::output_is_data(code, self.input.bytes()) {
            self.output.data.fill(output)?;
        }
        Ok(())
    }

    /// Writes the stack location, and who waits for the request.
    #[inline]
    fn address(&mut self, parts: RequestParts<'_>, reply: Reply) {
        self.reply = reply;
        let input_bytes = self.input.bytes().len();
        let block = self.fields();
        block.store_u8(CURRENT + offset::MAJOR_FUNCTION, MajorFunction::DEVICE_CONTROL.0);
        block.store_u32(CURRENT + offset::OUTPUT_LENGTH, u32::try_from(parts.output_bytes).unwrap_or(u32::MAX));
        block.store_u32(CURRENT + offset::INPUT_LENGTH, u32::try_from(input_bytes).unwrap_or(u32::MAX));
        block.store_u32(CURRENT + offset::IO_CONTROL_CODE, parts.code.0);
        block.store_u64(CURRENT + offset::TYPE3_INPUT_BUFFER, parts.input_token);
        block.store_u64(offset::USER_BUFFER, parts.output_token);
    }

    #[inline]
    pub(crate) fn status(&self) -> NtStatus {
        NtStatus(self.fields().load_u32(offset::IO_STATUS))
    }

    pub(crate) fn information(&self) -> usize {
        self.fields().load_u64(offset::INFORMATION) as usize
    }

    /// Keeps the memory for the next request, unless somebody still holds the cancel state.
    #[inline]
    pub(crate) fn recycle(mut self: Box<Body>) {
        self.file.let_go();
        self.stream = None;
        self.refusal = None;
        self.reply = Reply::None;
        self.input.clear();
        self.output.reset(0);
        if std::mem::take(&mut self.cancel_is_shared) {
            let Some(cancel) = self.cancel.get_mut().and_then(Arc::get_mut) else { return };
            cancel.reset();
        }
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < POOL_LIMIT
            {
                pool.push(self);
            }
        });
    }
}
