//! One frame of video, and its colours as a screen has them.

/// How the bytes of a frame stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All Y, then all U, then all V; U and V for blocks of 2x2.
    I420,
    /// All Y, then pairs of U and V for blocks of 2x2.
    Nv12,
    /// Y U Y V for two neighbours.
    Yuy2,
    /// U Y V Y for two neighbours.
    Uyvy,
    /// Blue, green, red; lines of a multiple of four bytes.
    Bgr24(Lines),
    /// Blue, green, red and one more byte.
    Bgr32(Lines),
}

/// Which line of a picture comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// The lowest: a bitmap whose height is above zero.
    BottomUp,
    /// The highest.
    TopDown,
}

/// A frame without padding between its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) layout: Layout,
    pub(crate) bytes: Vec<u8>,
}

impl Picture {
    /// Red, green and blue of each pixel, line by line from the top, or `None` when the frame does not have the bytes
    /// of its size.
    ///
    /// The colours are those of BT.601 in limited range, in integer arithmetic: the same everywhere.
    pub(crate) fn rgb(&self) -> Option<Vec<u8>> {
        let (width, height) = (usize::try_from(self.width).ok()?, usize::try_from(self.height).ok()?);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let luma = width.checked_mul(height)?;
        let chroma = half_width.checked_mul(half_height)?;
        let frame_bytes = match self.layout {
            Layout::I420 | Layout::Nv12 => luma.checked_add(chroma.checked_mul(2)?)?,
            Layout::Yuy2 | Layout::Uyvy => half_width.checked_mul(4)?.checked_mul(height)?,
            Layout::Bgr24(_) => width.checked_mul(3)?.checked_next_multiple_of(4)?.checked_mul(height)?,
            Layout::Bgr32(_) => width.checked_mul(4)?.checked_mul(height)?,
        };
        if luma == 0 || self.bytes.len() < frame_bytes {
            return None;
        }
        let mut rgb = Vec::with_capacity(luma.checked_mul(3)?);
        let bytes = &self.bytes;
        for y in 0..height {
            for x in 0..width {
                if let Layout::Bgr24(lines) | Layout::Bgr32(lines) = self.layout {
                    let line = if lines == Lines::BottomUp { height - 1 - y } else { y };
                    let at = match self.layout {
                        Layout::Bgr32(_) => (line * width + x) * 4,
                        _ => line * (width * 3).next_multiple_of(4) + x * 3,
                    };
                    rgb.extend([bytes[at + 2], bytes[at + 1], bytes[at]]);
                    continue;
                }
                let block = y / 2 * half_width + x / 2;
                let (y, u, v) = match self.layout {
                    Layout::I420 => (bytes[y * width + x], bytes[luma + block], bytes[luma + chroma + block]),
                    Layout::Nv12 => (bytes[y * width + x], bytes[luma + 2 * block], bytes[luma + 2 * block + 1]),
                    Layout::Yuy2 => {
                        let pair = y * half_width * 4 + x / 2 * 4;
                        (bytes[pair + x % 2 * 2], bytes[pair + 1], bytes[pair + 3])
                    }
                    // What is left is UYVY; the others have no chroma.
                    Layout::Uyvy | Layout::Bgr24(_) | Layout::Bgr32(_) => {
                        let pair = y * half_width * 4 + x / 2 * 4;
                        (bytes[pair + 1 + x % 2 * 2], bytes[pair], bytes[pair + 2])
                    }
                };
                rgb.extend(bt601(y, u, v));
            }
        }
        Some(rgb)
    }
}

fn bt601(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (298 * (i32::from(y) - 16), i32::from(u) - 128, i32::from(v) - 128);
    let level = |value: i32| u8::try_from(((value + 128) >> 8).clamp(0, 255)).unwrap_or(u8::MAX);
    [level(y + 409 * v), level(y - 100 * u - 208 * v), level(y + 516 * u)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_limited_range_are_black_and_white() {
        assert_eq!(bt601(16, 128, 128), [0; 3]);
        assert_eq!(bt601(235, 128, 128), [255; 3]);
        assert_eq!(bt601(0, 128, 128), [0; 3]);
        assert_eq!(bt601(81, 90, 240), [255, 0, 0]);
    }

    #[test]
    fn all_layouts_of_a_picture_have_the_same_colours() {
        let (y, u, v) = ([16, 60, 120, 200, 81, 145, 41, 235], [90, 54], [240, 34]);
        let i420 = Picture {
            width: 4,
            height: 2,
            layout: Layout::I420,
            bytes: y.iter().chain(&u).chain(&v).copied().collect(),
        };
        let nv12 = Picture {
            layout: Layout::Nv12,
            bytes: y.iter().chain(&[u[0], v[0], u[1], v[1]]).copied().collect(),
            ..i420.clone()
        };
        let yuy2 = Picture {
            layout: Layout::Yuy2,
            bytes: vec![y[0], u[0], y[1], v[0], y[2], u[1], y[3], v[1], y[4], u[0], y[5], v[0], y[6], u[1], y[7], v[1]],
            ..i420.clone()
        };
        let swapped = yuy2.bytes.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
        let uyvy = Picture { layout: Layout::Uyvy, bytes: swapped, ..i420.clone() };
        assert_eq!(uyvy.rgb(), yuy2.rgb());
        let rgb = i420.rgb().expect("whole");
        assert_eq!(rgb.len(), 24);
        assert_eq!(rgb[..3], bt601(16, 90, 240));
        assert_eq!(rgb[21..], bt601(235, 54, 34));
        assert_eq!(nv12.rgb(), Some(rgb.clone()));
        assert_eq!(yuy2.rgb(), Some(rgb));
    }

    #[test]
    fn bitmaps_are_turned_the_right_way_up_and_their_padding_is_left_out() {
        // Two lines of one pixel: 1 2 3 below, 4 5 6 above, each padded to four bytes.
        let bitmap = Picture {
            width: 1,
            height: 2,
            layout: Layout::Bgr24(Lines::BottomUp),
            bytes: vec![1, 2, 3, 99, 4, 5, 6, 99],
        };
        assert_eq!(bitmap.rgb(), Some(vec![6, 5, 4, 3, 2, 1]));
        for layout in [Layout::Bgr24(Lines::TopDown), Layout::Bgr32(Lines::TopDown)] {
            assert_eq!(Picture { layout, ..bitmap.clone() }.rgb(), Some(vec![3, 2, 1, 6, 5, 4]));
        }
        assert_eq!(Picture { bytes: vec![0; 7], ..bitmap }.rgb(), None);
    }

    #[test]
    fn a_frame_that_is_too_short_for_its_size_has_no_colours() {
        for layout in [Layout::I420, Layout::Nv12, Layout::Yuy2] {
            let bytes = if layout == Layout::Yuy2 { 24 } else { 9 + 8 };
            let whole = Picture { width: 3, height: 3, layout, bytes: vec![128; bytes] };
            assert_eq!(whole.rgb().map(|rgb| rgb.len()), Some(27));
            assert_eq!(Picture { bytes: vec![128; bytes - 1], ..whole.clone() }.rgb(), None);
            assert_eq!(Picture { width: u32::MAX, height: u32::MAX, ..whole.clone() }.rgb(), None);
            assert_eq!(Picture { width: 0, ..whole }.rgb(), None);
        }
    }
}
