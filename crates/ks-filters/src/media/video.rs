//! The formats of uncompressed video that the built-in filters stream.

use super::error::FieldError;

/// How the pixels of a frame lie in memory: 8 bits a component, no padding between rows or planes.
///
/// In subsampled directions chroma rounds up, so odd sizes lose nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelLayout {
    /// 4:2:0 in three planes: Y, U (Cb), V (Cr). FOURCC `I420`.
    I420,
    /// 4:2:0 in two planes: Y, then U and V interleaved. FOURCC `NV12`.
    Nv12,
    /// 4:2:2 in one plane: Y0 U Y1 V for every two pixels. FOURCC `YUY2`. With an odd width the last Y1 of a row is a
    /// copy of its Y0 where we write it, and ignored where we read it.
    Yuy2,
    /// Three bytes a pixel: blue, green, red. Rows take a multiple of four bytes.
    Rgb24,
    /// Four bytes a pixel: blue, green, red, alpha.
    Bgra,
}

/// The most pixels that a frame may have in either direction.
pub const MAX_DIMENSION: u32 = 16_384;
/// The most bytes that a frame may have.
pub const MAX_FRAME_BYTES: u64 = 1 << 30;

impl PixelLayout {
    /// The FOURCC under which Windows knows the layout; zeros for RGB.
    #[doc(alias = "biCompression")]
    pub fn fourcc(self) -> [u8; 4] {
        match self {
            Self::I420 => *b"I420",
            Self::Nv12 => *b"NV12",
            Self::Yuy2 => *b"YUY2",
            // BI_RGB.
            Self::Rgb24 | Self::Bgra => [0; 4],
        }
    }

    /// The layout with this FOURCC, in either case; `IYUV` is another name of `I420`.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        match &fourcc.map(|byte| byte.to_ascii_uppercase()) {
            b"I420" | b"IYUV" => Some(Self::I420),
            b"NV12" => Some(Self::Nv12),
            b"YUY2" => Some(Self::Yuy2),
            _ => None,
        }
    }

    /// The bits that a pixel takes on average.
    #[doc(alias = "biBitCount")]
    pub fn bits_per_pixel(self) -> u16 {
        match self {
            Self::I420 | Self::Nv12 => 12,
            Self::Yuy2 => 16,
            Self::Rgb24 => 24,
            Self::Bgra => 32,
        }
    }

    /// Whether pixels are colours as a screen shows them, and not luma and chroma.
    pub fn is_rgb(self) -> bool {
        matches!(self, Self::Rgb24 | Self::Bgra)
    }
}

/// A fraction as media files give it; 0:0 stands for unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ratio {
    /// The part above the line.
    pub numerator: u32,
    /// The part below the line.
    pub denominator: u32,
}

impl Ratio {
    /// The value that is not known.
    pub const UNKNOWN: Self = Self::new(0, 0);

    /// `numerator` over `denominator`.
    pub const fn new(numerator: u32, denominator: u32) -> Self {
        Self { numerator, denominator }
    }

    /// Whether both parts are positive.
    pub fn is_known(self) -> bool {
        self.numerator != 0 && self.denominator != 0
    }

    /// With this as frames a second: the time, in 100-ns units, at which frame `frame_index` begins, rounded down, so
    /// that nothing drifts. `None` if the rate is not known.
    pub fn frame_time_100ns(self, frame_index: u64) -> Option<u64> {
        if !self.is_known() {
            return None;
        }
        let units = u128::from(frame_index) * 10_000_000 * u128::from(self.denominator);
        Some(u64::try_from(units / u128::from(self.numerator)).unwrap_or(u64::MAX))
    }
}

/// How the lines of a frame were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Interlacing {
    /// Not said.
    #[default]
    Unknown,
    /// All lines at once.
    Progressive,
    /// Two fields, the top one first.
    TopFirst,
    /// Two fields, the bottom one first.
    BottomFirst,
    /// Differs from frame to frame.
    Mixed,
}

/// Where the chroma samples of 4:2:0 lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChromaSiting {
    /// Not said.
    #[default]
    Unknown,
    /// Amid four pixels, as in JPEG.
    Jpeg,
    /// Between two lines, at the left pixel, as in MPEG-2.
    Mpeg2,
    /// As in PAL DV: Cb and Cr on alternate lines.
    PalDv,
}

/// The range of the component values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ColorRange {
    /// Not said.
    #[default]
    Unknown,
    /// 16 to 235 (luma) and 16 to 240 (chroma).
    Limited,
    /// 0 to 255.
    Full,
}

/// Which row comes first in memory; of meaning for RGB only, others begin with the top one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RowOrder {
    /// The top one.
    #[default]
    TopDown,
    /// The bottom one: a positive `biHeight`.
    BottomUp,
}

/// One format of uncompressed video. The size is checked when the value is made and cannot be changed after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VideoFormat {
    layout: PixelLayout,
    width: u32,
    height: u32,
    /// Frames a second.
    pub frame_rate: Ratio,
    /// Width over height of a pixel.
    pub pixel_aspect: Ratio,
    /// How the lines of a frame were taken.
    pub interlacing: Interlacing,
    /// Where the chroma samples lie; of meaning for 4:2:0 only.
    pub chroma_siting: ChromaSiting,
    /// The range of the component values.
    pub color_range: ColorRange,
    /// Which row comes first.
    pub row_order: RowOrder,
}

impl VideoFormat {
    /// A format of which nothing but its size and layout is known.
    ///
    /// # Errors
    /// Refuses a width or height of 0 or above [`MAX_DIMENSION`].
    pub fn new(layout: PixelLayout, width: u32, height: u32) -> Result<Self, FieldError> {
        for (field, value) in [("the width", width), ("the height", height)] {
            if !(1..=MAX_DIMENSION).contains(&value) {
                let expected = format!("1 to {MAX_DIMENSION}");
                return Err(FieldError::new(field, value, expected));
            }
        }
        let format = Self {
            layout,
            width,
            height,
            frame_rate: Ratio::UNKNOWN,
            pixel_aspect: Ratio::UNKNOWN,
            interlacing: Interlacing::Unknown,
            chroma_siting: ChromaSiting::Unknown,
            color_range: ColorRange::Unknown,
            row_order: RowOrder::TopDown,
        };
        if format.frame_bytes() as u64 > MAX_FRAME_BYTES {
            return Err(FieldError::new(
                "the frame size",
                format!("{} bytes", format.frame_bytes()),
                format!("at most {MAX_FRAME_BYTES}"),
            ));
        }
        Ok(format)
    }

    /// The same pictures in another layout. RGB begins with its bottom row, as is the custom.
    ///
    /// # Errors
    /// Refuses what takes more than [`MAX_FRAME_BYTES`].
    pub fn in_layout(&self, layout: PixelLayout) -> Result<Self, FieldError> {
        if layout == self.layout {
            return Ok(*self);
        }
        let row_order = match (layout.is_rgb(), self.layout.is_rgb()) {
            (true, true) => self.row_order,
            (true, false) => RowOrder::BottomUp,
            _ => RowOrder::TopDown,
        };
        let made = Self::new(layout, self.width, self.height)?;
        Ok(Self { layout: made.layout, row_order, ..*self })
    }

    /// The same pictures in another size.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn resized(&self, width: u32, height: u32) -> Result<Self, FieldError> {
        let made = Self::new(self.layout, width, height)?;
        Ok(Self { width: made.width, height: made.height, ..*self })
    }

    /// How the pixels lie in memory.
    pub fn layout(&self) -> PixelLayout {
        self.layout
    }

    /// Pixels a row.
    #[doc(alias = "biWidth")]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows a frame.
    #[doc(alias = "biHeight")]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes of one frame.
    #[doc(alias = "biSizeImage")]
    pub fn frame_bytes(&self) -> usize {
        let (width, height) = (self.width as usize, self.height as usize);
        match self.layout {
            PixelLayout::I420 | PixelLayout::Nv12 => width * height + 2 * width.div_ceil(2) * height.div_ceil(2),
            PixelLayout::Yuy2 => width.div_ceil(2) * 4 * height,
            PixelLayout::Rgb24 => (width * 3).next_multiple_of(4) * height,
            PixelLayout::Bgra => width * 4 * height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_rounds_up_at_odd_sizes() {
        let bytes = |layout| VideoFormat::new(layout, 5, 3).unwrap().frame_bytes();
        assert_eq!(bytes(PixelLayout::I420), 15 + 2 * 6);
        assert_eq!(bytes(PixelLayout::Nv12), 15 + 2 * 6);
        assert_eq!(bytes(PixelLayout::Yuy2), 12 * 3);
    }

    #[test]
    fn absurd_sizes_are_refused_by_name() {
        let refused = |width, height| VideoFormat::new(PixelLayout::Yuy2, width, height).unwrap_err();
        assert_eq!(refused(0, 2).field, "the width");
        assert_eq!(refused(2, MAX_DIMENSION + 1).field, "the height");
        assert_eq!(refused(u32::MAX, u32::MAX).field, "the width");
        assert!(VideoFormat::new(PixelLayout::Yuy2, MAX_DIMENSION, MAX_DIMENSION).is_ok());
    }

    #[test]
    fn frame_times_do_not_drift() {
        let rate = Ratio::new(30_000, 1001);
        assert_eq!(rate.frame_time_100ns(1), Some(333_666));
        assert_eq!(rate.frame_time_100ns(30_000), Some(1001 * 10_000_000));
        assert_eq!(Ratio::UNKNOWN.frame_time_100ns(1), None);
    }

    #[test]
    fn a_layout_is_found_by_its_fourcc() {
        assert_eq!(PixelLayout::from_fourcc([0; 4]), None);
        for layout in [PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2] {
            assert_eq!(PixelLayout::from_fourcc(layout.fourcc()), Some(layout));
        }
        assert_eq!(PixelLayout::from_fourcc(*b"MJPG"), None);
    }
}
