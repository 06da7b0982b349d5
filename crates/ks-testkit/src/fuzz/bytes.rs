//! Reads a fuzzer's bytes as numbers; what is missing at the end reads as zero.

/// A place in the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'d> {
    rest: &'d [u8],
}

impl<'d> Bytes<'d> {
    pub(super) fn new(data: &'d [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Up to `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> &'d [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Everything that is left.
    pub(super) fn take_rest(&mut self) -> &'d [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from(self.u8()) | u16::from(self.u8()) << 8
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian_and_zero_past_the_end() {
        let mut bytes = Bytes::new(&[1, 2, 3, 4, 5]);
        assert_eq!(bytes.u16(), 0x0201);
        assert_eq!(bytes.u32(), 0x0005_0403);
        assert!(bytes.is_empty());
        assert_eq!(bytes.take(3), []);
    }
}
