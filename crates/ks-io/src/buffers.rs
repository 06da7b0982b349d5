//! The captured buffers of a request: input once, 16-byte aligned; output bounded by what the caller offered.

use ks_abi::{NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_SUCCESS};
use ks_mem::fallible;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// A caller's buffer, which the caller may change at any moment. The engine asks for each byte at most once, for its capture,
/// and looks at nothing but the capture afterwards.
pub trait CallerMemory {
    /// Length of the buffer, as it was passed.
    fn length(&self) -> usize;

    /// Copies the whole buffer; `to` has its length.
    fn copy_to(&self, to: &mut [u8]);
}

impl CallerMemory for [u8] {
    #[inline]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline]
    fn copy_to(&self, to: &mut [u8]) {
        copy(to, self);
    }
}

/// Bytes captured from a caller, 16-byte aligned, of exactly the caller's length. The memory is kept for the next
/// request that travels in the same IRP.
#[derive(Debug, Default)]
pub struct Capture {
    words: Vec<Word>,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
struct Word([u8; 16]);

impl Capture {
    /// Copies `from` in. Fails without memory, never aborts.
    #[inline]
    pub fn fill<M: CallerMemory + ?Sized>(&mut self, from: &M) -> Result<(), NtStatus> {
        let bytes = from.length();
        if bytes > self.words.as_bytes().len() {
            self.grow(bytes)?;
        }
        self.bytes = bytes;
        from.copy_to(&mut self.words.as_mut_bytes()[..bytes]);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) -> Result<(), NtStatus> {
        let words = bytes.div_ceil(size_of::<Word>());
        let more = words.saturating_sub(self.words.len());
        fallible(|| self.words.try_reserve(more)).map_err(|_| ks_abi::STATUS_INSUFFICIENT_RESOURCES)?;
        self.words.resize(words, Word::new_zeroed());
        Ok(())
    }

    /// Forgets the bytes; memory above 64 KiB goes back.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes = 0;
        if self.words.len() > 4096 {
            self.words = Vec::new();
        }
    }

    /// The captured bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.bytes]
    }
}

/// Copies bytes of equal length. The lengths of a ULONG, a LONGLONG, a KSPROPERTY and a KSP_PIN are told to the compiler:
/// a copy of unknown length writes overlapping pieces, and reading across two of them stalls the reader.
#[inline]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    fn fixed<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
        match (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            (Some(to), Some(from)) => {
                *to = *from;
                true
            }
            _ => false,
        }
    }
    let done = match from.len() {
        4 => fixed::<4>(to, from),
        8 => fixed::<8>(to, from),
        24 => fixed::<24>(to, from),
        32 => fixed::<32>(to, from),
        _ => false,
    };
    if !done {
        to.copy_from_slice(from);
    }
}

/// The caller's output buffer as a handler sees it: what the caller had in it (where the request says that it is
/// data), how much room it offers, and what has been answered so far.
///
/// Nothing is allocated for room that is not used, however large the caller says its buffer is.
#[derive(Debug, Default)]
pub struct Output {
    pub(crate) limit: usize,
    pub(crate) data: Capture,
    pub(crate) answer: Vec<u8>,
    pub(crate) information: usize,
}

impl Output {
    /// The output buffer of a request that is made of another one: room, and no data.
    pub fn with_room(limit: usize) -> Output {
        Output { limit, ..Output::default() }
    }

    /// The output buffer of a request that is no IRP of ours: its length, and what it holds where that is data.
    pub fn new(limit: usize, data: &[u8]) -> Result<Output, NtStatus> {
        let mut output = Output::with_room(limit);
        output.data.fill(data)?;
        Ok(output)
    }

    #[inline]
    pub(crate) fn reset(&mut self, limit: usize) {
        self.limit = limit;
        self.data.clear();
        self.answer.clear();
        if self.answer.capacity() > 1 << 16 {
            self.answer = Vec::new();
        }
        self.information = 0;
    }

    /// Length of the caller's buffer.
    #[inline]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What the caller's buffer held when the request entered: the data of a SET, the headers of a stream request.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.data.bytes()
    }

    /// Answers with exactly these bytes: the two-call protocol of variable-size data.
    ///
    /// No room at all gives STATUS_BUFFER_OVERFLOW and the needed size as Information; too little room gives
    /// STATUS_BUFFER_TOO_SMALL and no size.
    #[inline]
    pub fn answer(&mut self, bytes: &[u8]) -> NtStatus {
        if bytes.len() > self.limit {
            return self.too_small(bytes.len());
        }
        self.answer.clear();
        if fallible(|| self.answer.try_reserve(bytes.len())).is_err() {
            return ks_abi::STATUS_INSUFFICIENT_RESOURCES;
        }
        self.answer.extend_from_slice(bytes);
        self.information = self.answer.len();
        STATUS_SUCCESS
    }

    /// Answers with a plain structure, see [`Output::answer`].
    #[inline]
    pub fn answer_value<T: IntoBytes + Immutable>(&mut self, value: &T) -> NtStatus {
        self.answer(value.as_bytes())
    }

    /// Says how large the answer would be; the status is that of the two-call protocol.
    pub fn too_small(&mut self, needed: usize) -> NtStatus {
        if self.limit == 0 {
            self.information = needed;
            STATUS_BUFFER_OVERFLOW
        } else {
            self.information = 0;
            STATUS_BUFFER_TOO_SMALL
        }
    }

    /// Forgets what the caller's buffer held: the request says that it is no data.
    pub fn forget_data(&mut self) {
        self.data.clear();
    }

    /// Forgets the bytes answered so far, and keeps Information: nothing is copied to the caller.
    pub fn forget_answer(&mut self) {
        self.answer.clear();
    }

    /// Bytes answered, or the size that a size query learns.
    pub fn information(&self) -> usize {
        self.information
    }

    /// Sets Information where it is not the length of the answer.
    pub fn set_information(&mut self, bytes: usize) {
        self.information = bytes;
    }

    /// The bytes answered so far.
    pub fn answered(&self) -> &[u8] {
        &self.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_aligned_and_has_the_callers_exact_length() {
        let mut capture = Capture::default();
        for length in [0, 1, 15, 16, 17, 24, 4096] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            capture.fill(bytes.as_slice()).unwrap();
            assert_eq!(capture.bytes(), bytes);
            assert_eq!(capture.bytes().as_ptr() as usize % 16, 0);
        }
        capture.fill(b"abc".as_slice()).unwrap();
        assert_eq!(capture.bytes(), b"abc");
    }

    #[test]
    fn room_that_is_not_used_costs_nothing() {
        let mut output = Output::default();
        output.reset(usize::MAX);
        assert_eq!(output.answer(b"four"), STATUS_SUCCESS);
        assert!(output.answer.capacity() < 64);
        output.reset(0);
        assert_eq!(output.answer(b"four"), STATUS_BUFFER_OVERFLOW);
        assert_eq!(output.information(), 4);
        output.reset(3);
        assert_eq!(output.answer(b"four"), STATUS_BUFFER_TOO_SMALL);
        assert_eq!(output.information(), 0);
    }
}
