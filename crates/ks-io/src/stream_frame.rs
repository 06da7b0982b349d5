//! One frame of a stream request: its header in pinned memory, and the buffer that belongs to it.

use crate::sync::{Arc, thread_local};
use crate::time::{Ticks, Time};
use ks_abi::{KsStreamHeader, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};
use ks_mem::{Block, BlockPart, BlockPrefix, Frame, Learning, fallible};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use zerocopy::FromBytes;

const SIZE: usize = 0;
const TIME: usize = 8;
const NUMERATOR: usize = 16;
const DENOMINATOR: usize = 20;
const DURATION: usize = 24;
const FRAME_EXTENT: usize = 32;
const DATA_USED: usize = 36;
const DATA: usize = 40;
const OPTIONS_FLAGS: usize = 48;

/// Option bits that the documentation defines.
const KNOWN_OPTIONS: u32 = 0x8007_FFDF;

/// Bytes of a stream header without extension.
pub const STREAM_HEADER_BYTES: usize = 56;

/// A header and its buffer, one struct, so that they cannot be paired wrongly.
///
/// The header is the only truth: sizes, times and flags are read from it and written to it, because a driver does so
/// too. The buffer bounds what the header may claim.
#[derive(Debug)]
#[doc(alias = "KSSTREAM_HEADER")]
pub struct StreamFrame {
    /// At least [`STREAM_HEADER_BYTES`], in memory that the headers of its request share.
    header: BlockPart,
    buffer: Option<Frame>,
    /// When the frame left its data source, for a latency that is measured; 0: nobody measures.
    stamp: AtomicI64,
    place: CircuitPlace,
    /// There for a frame that somebody else waits for.
    loan: Option<Loan>,
}

/// Where a frame of a circuit belongs.
///
/// It stays with the frame when that goes on in the request of another pin, and stands in none of the words that a driver
/// may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CircuitPlace {
    /// Number of the allocator, or of the branch, that it was made for.
    pub circuit: u64,
    /// Which of the circuit's frames it is.
    pub frame: u32,
}

/// Who waits for frames that are out on loan.
pub trait FrameLender: Send + Sync {
    /// A frame that was out is gone for good, with whoever had it.
    fn lost(&self, frame: CircuitPlace);
}

/// In the frame itself: whoever has the frame in the cache has this too.
struct Loan {
    lender: Arc<dyn FrameLender>,
    out: AtomicBool,
}

impl std::fmt::Debug for Loan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loan").field("out", &self.out).finish_non_exhaustive()
    }
}

impl Drop for StreamFrame {
    fn drop(&mut self) {
        if let Some(loan) = &self.loan
            && loan.out.load(Ordering::Relaxed)
        {
            loan.lender.lost(self.place);
        }
    }
}

impl StreamFrame {
    fn new(header: BlockPart, buffer: Option<Frame>) -> Arc<StreamFrame> {
        let (stamp, place) = (AtomicI64::new(0), CircuitPlace::default());
        Arc::new(StreamFrame { header, buffer, stamp, place, loan: None })
    }

    /// The frame goes out. If it is dropped before [`StreamFrame::take_back`], its lender is told.
    #[inline]
    pub fn lend(&self) {
        if let Some(loan) = &self.loan {
            loan.out.store(true, Ordering::Relaxed);
        }
    }

    /// The frame is back.
    #[inline]
    pub fn take_back(&self) {
        if let Some(loan) = &self.loan {
            loan.out.store(false, Ordering::Relaxed);
        }
    }

    /// Says of this frame what the header of `other` says: times, flags, valid bytes, and as much of the extension as
    /// there is room for. Size, extent and buffer stay.
    #[inline]
    pub fn mirror(&self, other: &StreamFrame) {
        let (to, from) = (self.plain(), other.plain());
        for at in [TIME, NUMERATOR, DURATION, OPTIONS_FLAGS] {
            to.store_u64(at, from.load_u64(at));
        }
        self.set_data_used(other.data_used());
        self.stamp.store(other.stamp.load(Ordering::Relaxed), Ordering::Relaxed);
        if self.header.len() > STREAM_HEADER_BYTES && other.header.len() > STREAM_HEADER_BYTES {
            self.mirror_extension(other);
        }
    }

    #[cold]
    fn mirror_extension(&self, other: &StreamFrame) {
        let extension = self.extension_bytes().min(other.extension_bytes());
        for at in (STREAM_HEADER_BYTES..STREAM_HEADER_BYTES + extension).step_by(8) {
            self.header.store_u64(at, other.header.load_u64(at));
        }
    }

    /// The header without its extension.
    #[inline]
    fn plain(&self) -> BlockPrefix<'_, STREAM_HEADER_BYTES> {
        self.header.prefix()
    }

    /// Notes when the frame left its source.
    pub fn set_stamp(&self, time: Time) {
        self.stamp.store(time.0, Ordering::Relaxed);
    }

    /// When the frame left its source, if somebody measures; asking forgets it.
    pub fn take_stamp(&self) -> Option<Time> {
        let stamp = self.stamp.load(Ordering::Relaxed);
        if stamp == 0 {
            return None;
        }
        self.stamp.store(0, Ordering::Relaxed);
        Some(Time(stamp))
    }

    /// Notes what its writer touches.
    pub fn footprint(self: &Arc<Self>, learning: &mut Learning<'_>) {
        learning.object(&**self);
        learning.bytes(self.header.address(), STREAM_HEADER_BYTES);
        if let Some(buffer) = &self.buffer {
            buffer.footprint(learning);
        }
    }

    /// Address of the header.
    pub fn header_address(&self) -> u64 {
        self.header.address()
    }

    /// The buffer; `None` for a frame without data.
    #[inline]
    pub fn buffer(&self) -> Option<&Frame> {
        self.buffer.as_ref()
    }

    /// Size of the header with its extension, in bytes, as the header says.
    #[inline]
    pub fn header_bytes(&self) -> u32 {
        self.plain().load_u32(SIZE)
    }

    /// Bytes that the buffer can hold: what the header says, never more than the buffer has.
    #[inline]
    pub fn frame_extent(&self) -> u32 {
        self.plain().load_u32(FRAME_EXTENT).min(self.room())
    }

    /// Valid bytes, never more than the buffer has.
    #[inline]
    pub fn data_used(&self) -> u32 {
        self.plain().load_u32(DATA_USED).min(self.room())
    }

    /// Sets the number of valid bytes; more than the buffer has is cut to it.
    #[inline]
    pub fn set_data_used(&self, bytes: u32) {
        self.plain().store_u32(DATA_USED, bytes.min(self.room()));
    }

    #[inline]
    fn room(&self) -> u32 {
        self.buffer.as_ref().map_or(0, |buffer| u32::try_from(buffer.len()).unwrap_or(u32::MAX))
    }

    /// `KSSTREAM_HEADER_OPTIONSF_*` bits.
    #[inline]
    pub fn options_flags(&self) -> u32 {
        self.plain().load_u32(OPTIONS_FLAGS)
    }

    /// Replaces the option bits.
    #[inline]
    pub fn set_options_flags(&self, flags: u32) {
        self.plain().store_u32(OPTIONS_FLAGS, flags);
    }

    /// Presentation time in 100-ns units, scaled by numerator and denominator (numerator first).
    pub fn presentation_time(&self) -> Time {
        let header = self.plain();
        let time = i128::from(header.load_u64(TIME).cast_signed());
        let numerator = i128::from(header.load_u32(NUMERATOR).max(1));
        let denominator = i128::from(header.load_u32(DENOMINATOR).max(1));
        Time((time * numerator / denominator).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }

    /// Stamps the frame: presentation time and duration in 100-ns units, scale 1/1. The caller sets the flags.
    #[inline]
    pub fn set_presentation(&self, time: Time, duration: Ticks) {
        let header = self.plain();
        header.store_u64(TIME, time.0.cast_unsigned());
        header.store_u64(NUMERATOR, 1 | 1 << 32);
        header.store_u64(DURATION, duration.0.cast_unsigned());
    }

    /// Duration in 100-ns units.
    pub fn duration(&self) -> Ticks {
        Ticks(self.plain().load_u64(DURATION).cast_signed())
    }

    /// Bytes of header extension behind the plain header.
    pub fn extension_bytes(&self) -> usize {
        (self.header_bytes() as usize).min(self.header.len()).saturating_sub(STREAM_HEADER_BYTES)
    }

    /// Writes into the extension (a `KS_FRAME_INFO`, say) as many of `bytes` as it holds.
    pub fn write_extension(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.extension_bytes())];
        let (headers, offset) = self.header.place();
        headers.write_bytes(offset + STREAM_HEADER_BYTES, bytes);
    }

    /// Reads as much of the extension as there is and as `into` holds; returns the count.
    pub fn read_extension(&self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.extension_bytes());
        let (headers, offset) = self.header.place();
        headers.read_bytes(offset + STREAM_HEADER_BYTES, &mut into[..count]);
        count
    }

    /// A snapshot of the whole plain header.
    pub fn header(&self) -> KsStreamHeader {
        let (headers, offset) = self.header.place();
        headers.read(offset)
    }

    /// Takes over what another process made of this frame's header: times, flags, valid bytes and extension. Size,
    /// extent and address stay, and the valid bytes are cut to the extent.
    pub fn absorb(&self, header: &[u8]) {
        let Ok((plain, extension)) = KsStreamHeader::read_from_prefix(header) else { return };
        let time = plain.presentation_time;
        let header = self.plain();
        header.store_u64(TIME, time.time.cast_unsigned());
        header.store_u32(NUMERATOR, time.numerator.max(1));
        header.store_u32(DENOMINATOR, time.denominator.max(1));
        header.store_u64(DURATION, plain.duration.cast_unsigned());
        self.set_data_used(plain.data_used.min(self.frame_extent()));
        self.set_options_flags(plain.options_flags & KNOWN_OPTIONS);
        self.write_extension(extension);
    }

    /// An empty frame again: no data, no flags, no times; size, extent and buffer stay.
    #[inline]
    pub fn rewind(&self) {
        let header = self.plain();
        header.store_u32(DATA_USED, 0);
        header.store_u64(OPTIONS_FLAGS, 0);
    }
}

/// The frames of one stream request: an array of headers with one stride, each with its buffer.
#[derive(Debug)]
pub struct StreamFrames {
    stride: usize,
    /// Most requests have one frame: then there is no list to go through.
    first: Option<Arc<StreamFrame>>,
    rest: Vec<Arc<StreamFrame>>,
    /// The memory serves the next request of the thread that lets go of it. That of a circuit does not: it lives as
    /// long as the circuit, and whoever ends one need not make another.
    comes_again: bool,
}

/// The memory of a request of one frame, without its buffer.
struct Spare {
    stride: usize,
    frame: Arc<StreamFrame>,
}

thread_local! {
    /// Memory of requests that were let go of on this thread, kept for the next ones.
    static SPARE: RefCell<Vec<Spare>> = const { RefCell::new(Vec::new()) };
}

const MOST_SPARE: usize = 16;
/// Longer headers are not kept.
const MOST_SPARE_STRIDE: usize = 512;

impl StreamFrames {
    /// Frames over an array of headers captured from a client. Each header's size, extent and address were checked by
    /// the caller; `buffers` has one entry a header.
    pub fn captured(
        headers: &[u8],
        stride: usize,
        buffers: impl IntoIterator<Item = Option<Frame>>,
    ) -> Result<StreamFrames, NtStatus> {
        if stride < STREAM_HEADER_BYTES || !stride.is_multiple_of(8) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let mut buffers = buffers.into_iter();
        if headers.len() == stride
            && let Some(mut spare) = Self::spare(stride)
            && let Some(frame) = Arc::get_mut(&mut spare.frame)
        {
            frame.header.place().0.write_bytes(0, headers);
            frame.buffer = buffers.next().flatten();
            *frame.stamp.get_mut() = 0;
            frame.place = CircuitPlace::default();
            return Ok(StreamFrames { stride, first: Some(spare.frame), rest: Vec::new(), comes_again: true });
        }
        let block = Block::zeroed(headers.len().max(stride), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        block.write_bytes(0, headers);
        let mut frames = StreamFrames::over(block, stride, buffers)?;
        frames.comes_again = frames.len() == 1 && headers.len() == stride && stride <= MOST_SPARE_STRIDE;
        Ok(frames)
    }

    fn spare(stride: usize) -> Option<Spare> {
        let spare = SPARE.try_with(|spare| {
            let mut spare = spare.try_borrow_mut().ok()?;
            let at = spare.iter().rposition(|one| one.stride == stride)?;
            Some(spare.swap_remove(at))
        });
        spare.ok().flatten()
    }

    /// One empty frame with a header of `stride` bytes over `buffer`: what a circuit's IRP carries.
    pub fn empty(stride: usize, buffer: Frame) -> Result<StreamFrames, NtStatus> {
        StreamFrames::row(stride, std::iter::once(buffer))?.next().ok_or(STATUS_INSUFFICIENT_RESOURCES)
    }

    /// For each buffer what [`StreamFrames::empty`] makes of it, with the headers side by side in one allocation: a circuit
    /// has many.
    pub fn row(
        stride: usize,
        buffers: impl ExactSizeIterator<Item = Frame>,
    ) -> Result<impl Iterator<Item = StreamFrames>, NtStatus> {
        let stride = stride.max(STREAM_HEADER_BYTES);
        // No two headers share a cache line: they travel on their own.
        let apart = stride.next_multiple_of(64);
        let bytes = apart.checked_mul(buffers.len().max(1)).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let block = Arc::new(Block::zeroed(bytes, 64).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?);
        let size = u32::try_from(stride).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(buffers.enumerate().map(move |(index, buffer)| {
            let header = BlockPart::new(&block, index * apart, stride);
            let plain = header.prefix::<STREAM_HEADER_BYTES>();
            plain.store_u32(SIZE, size);
            plain.store_u32(FRAME_EXTENT, u32::try_from(buffer.len()).unwrap_or(u32::MAX));
            plain.store_u64(DATA, buffer.address());
            plain.store_u64(NUMERATOR, 1 | 1 << 32);
            let first = StreamFrame::new(header, Some(buffer));
            StreamFrames { stride, first: Some(first), rest: Vec::new(), comes_again: false }
        }))
    }

    /// They belong to a circuit.
    #[must_use]
    pub fn of_circuit(mut self, place: CircuitPlace) -> StreamFrames {
        for frame in self.first.iter_mut().chain(&mut self.rest).filter_map(Arc::get_mut) {
            frame.place = place;
        }
        self
    }

    /// Where they belong, see [`StreamFrames::of_circuit`].
    #[inline]
    pub fn place(&self) -> CircuitPlace {
        self.first.as_ref().map_or_else(CircuitPlace::default, |first| first.place)
    }

    /// The frames belong to `lender`, who waits for each while it is out, see [`StreamFrame::lend`].
    #[must_use]
    pub fn on_loan_from(mut self, lender: &Arc<dyn FrameLender>) -> StreamFrames {
        for frame in self.first.iter_mut().chain(&mut self.rest).filter_map(Arc::get_mut) {
            frame.loan = Some(Loan { lender: lender.clone(), out: AtomicBool::new(false) });
        }
        self
    }

    fn over(
        block: Block,
        stride: usize,
        buffers: impl IntoIterator<Item = Option<Frame>>,
    ) -> Result<StreamFrames, NtStatus> {
        let block = Arc::new(block);
        let frame = |(index, buffer)| StreamFrame::new(BlockPart::new(&block, index * stride, stride), buffer);
        let mut frames = buffers.into_iter().enumerate().map(frame);
        let first = frames.next();
        let mut rest = Vec::new();
        fallible(|| rest.try_reserve_exact(frames.size_hint().0)).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        rest.extend(frames);
        Ok(StreamFrames { stride, first, rest, comes_again: false })
    }

    /// Number of frames.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// True for a request without frames.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Bytes from one header to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The frame at `index`.
    #[inline]
    pub fn frame(&self, index: usize) -> Option<&Arc<StreamFrame>> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(index) => self.rest.get(index),
        }
    }

    /// All frames in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StreamFrame>> {
        self.first.iter().chain(&self.rest)
    }

    /// Copies the header array out, for the client that gets it back.
    pub fn headers(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.copy_headers(&mut bytes);
        bytes
    }

    /// Copies as much of the header array out as there is room for.
    pub(crate) fn read_headers(&self, into: &mut [u8]) {
        let count = into.len().min(self.stride * self.len());
        if let Some(first) = &self.first {
            let (headers, offset) = first.header.place();
            headers.read_bytes(offset, &mut into[..count]);
        }
    }

    /// As [`StreamFrames::headers`], into memory that is there; what it held is replaced.
    pub fn copy_headers(&self, into: &mut Vec<u8>) {
        into.resize(self.stride * self.len(), 0);
        if let Some(first) = &self.first {
            let (headers, offset) = first.header.place();
            headers.read_bytes(offset, into);
        }
    }
}

impl Drop for StreamFrames {
    fn drop(&mut self) {
        if !self.comes_again {
            return;
        }
        // Whoever else holds the frame may still read and write its header.
        let Some(mut frame) = self.first.take() else { return };
        let Some(only) = Arc::get_mut(&mut frame) else { return };
        only.buffer = None;
        let kept = Spare { stride: self.stride, frame };
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < MOST_SPARE
            {
                spare.push(kept);
            }
        });
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn header(seed: u8, stride: usize) -> Vec<u8> {
        (0..stride).map(|at| seed.wrapping_add(at as u8)).collect()
    }

    #[test]
    fn kept_memory_shows_nothing_of_the_request_before() {
        for stride in [STREAM_HEADER_BYTES, 104, STREAM_HEADER_BYTES] {
            let first = StreamFrames::captured(&header(1, stride), stride, [None]).unwrap();
            first.frame(0).unwrap().set_stamp(Time(5));
            let address = first.frame(0).unwrap().header_address();
            drop(first);
            let second = StreamFrames::captured(&header(9, stride), stride, [None]).unwrap();
            assert_eq!(second.frame(0).unwrap().header_address(), address);
            assert_eq!(second.headers(), header(9, stride));
            assert_eq!(second.frame(0).unwrap().take_stamp(), None);
        }
    }

    #[test]
    fn a_header_that_somebody_still_holds_is_not_used_again() {
        let first = StreamFrames::captured(&header(1, 56), 56, [None]).unwrap();
        let held = first.frame(0).unwrap().clone();
        drop(first);
        let second = StreamFrames::captured(&header(9, 56), 56, [None]).unwrap();
        assert_ne!(second.frame(0).unwrap().header_address(), held.header_address());
        assert_eq!(held.header_bytes(), u32::from_le_bytes([1, 2, 3, 4]));
    }

    struct Lender(AtomicI64);

    impl FrameLender for Lender {
        fn lost(&self, frame: CircuitPlace) {
            self.0.fetch_add(i64::from(frame.frame), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_lender_hears_of_a_frame_that_is_dropped_while_it_is_out_and_of_no_other() {
        let lender = Arc::new(Lender(AtomicI64::new(0)));
        let waiting: Arc<dyn FrameLender> = lender.clone();
        let lend = |frame| {
            let frames = StreamFrames::empty(56, Frame::zeroed(64, 64).unwrap()).unwrap();
            frames.of_circuit(CircuitPlace { circuit: 1, frame }).on_loan_from(&waiting)
        };
        let (at_rest, out, back) = (lend(1), lend(2), lend(4));
        out.frame(0).unwrap().lend();
        back.frame(0).unwrap().lend();
        back.frame(0).unwrap().take_back();
        drop((at_rest, out, back));
        assert_eq!(lender.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_mirrored_header_says_the_same_and_keeps_its_own_size() {
        let made = |stride| StreamFrames::empty(stride, Frame::zeroed(64, 64).unwrap()).unwrap();
        let (from, to, plain) = (made(104), made(112), made(56));
        let from = from.frame(0).unwrap();
        from.set_presentation(Time(-5), Ticks(7));
        from.set_options_flags(0x102);
        from.set_data_used(33);
        from.set_stamp(Time(9));
        from.write_extension(&[3; 48]);
        for to in [to.frame(0).unwrap(), plain.frame(0).unwrap()] {
            let size = to.header_bytes();
            let address = to.header().data;
            to.mirror(from);
            assert_eq!((to.presentation_time(), to.duration(), to.options_flags()), (Time(-5), Ticks(7), 0x102));
            assert_eq!((to.data_used(), to.take_stamp(), to.header_bytes()), (33, Some(Time(9)), size));
            assert_eq!(to.header().data, address);
        }
        let mut extension = [0; 56];
        assert_eq!(to.frame(0).unwrap().read_extension(&mut extension), 56);
        assert_eq!(extension[..48], [3; 48]);
    }

    #[test]
    fn a_thread_that_keeps_memory_can_end() {
        let keeping = || drop((0..4).map(|_| StreamFrames::captured(&header(1, 56), 56, [None])).collect::<Vec<_>>());
        std::thread::spawn(keeping).join().unwrap();
    }

    #[test]
    fn a_thread_keeps_no_more_than_a_few() {
        let many: Vec<_> = (0..3 * MOST_SPARE).map(|_| StreamFrames::captured(&header(1, 56), 56, [None])).collect();
        drop(many);
        assert_eq!(SPARE.with(|spare| spare.borrow().len()), MOST_SPARE);
    }
}
