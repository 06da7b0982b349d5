//! The picture of the test camera: colour bars with a burnt-in frame counter and time, and a counter for machines.
//!
//! # Specification
//! Whoever follows these rules gets every byte right; all arithmetic is on integers, `/` rounds down, `W` and `H` are the
//! width and height in pixels, at least 2 each, and `(x, y)` counts from the top left corner. The picture is defined as
//! a colour `(Y, Cb, Cr)` of each pixel, in BT.601 limited range. A subsampled chroma sample takes the Cb and Cr of the
//! pixel at the *top left* of those it stands for: sample `(i, j)` of 4:2:0 that of pixel `(2i, 2j)`, of 4:2:2 that of
//! `(2i, j)`. The planes are those of [`PixelLayout`]; the padding luma byte of YUY2 at an odd `W` repeats the last pixel's.
//!
//! **Bars.** The colours are
//!
//! | name | Y Cb Cr | name | Y Cb Cr | name | Y Cb Cr |
//! |---|---|---|---|---|---|
//! | grey | 180 128 128 | red | 65 100 212 | minus-I | 16 158 95 |
//! | yellow | 162 44 142 | blue | 35 212 114 | plus-Q | 16 174 149 |
//! | cyan | 131 156 44 | black | 16 128 128 | below black | 7 128 128 |
//! | green | 112 72 58 | white | 235 128 128 | above black | 25 128 128 |
//! | magenta | 84 184 198 | | | | |
//!
//! - rows `y < 2H/3`: bar number `7x/W` of grey, yellow, cyan, green, magenta, red, blue;
//! - other rows `y < 3H/4`: bar number `7x/W` of blue, black, magenta, black, cyan, black, grey;
//! - the rows below: with `u = 84x/W`: minus-I for `u < 15`, white for `u < 30`, plus-Q for `u < 45`, black for `u < 60`,
//!   below black for `u < 64`, black for `u < 68`, above black for `u < 72`, black beyond.
//!
//! **Counter for machines.** The frame number modulo 2^32 in binary, one square block a bit, in `C` columns and
//! `R = 32/C` rows of blocks of `S` pixels a side. `C` is the first of 32, 16, 8, 4, 2 for which
//! `S = min(8, 2*(W/(2C)), 2*(H/(2R)))` is not 0; if there is none, the picture has no such counter. The block of column
//! `c` and row `r` begins at pixel `(c*S, r*S)` and carries bit `31 - (r*C + c)`: white for 1, black for 0.
//!
//! **Text.** Two lines: the frame number modulo 10^8 in 8 digits, and the time as `HH:MM:SS.mmm`, in whole milliseconds
//! rounded down, hours modulo 100. A character takes a cell of 7 by 9 font pixels: its glyph of 5 by 7 at offset (1, 1),
//! white on black. A font pixel is `k` by `k` pixels, `k = max(1, min(H/180, W/168))`. A line of `n` characters begins
//! at `x = 2*((W - 7nk)/4)`; the number line at `y = 2*((H - 19k)/4)`, the time line `10k` below that. A line is drawn if
//! `7nk <= W`, `19k <= H`, and the number line's `y` is not above `R*S` (0 without a counter for machines). The glyphs, row by
//! row from the top, a hexadecimal number a row, 10 for the leftmost pixel, 01 for the rightmost:
//!
//! | | rows | | rows |
//! |---|---|---|---|
//! | 0 | 0e 11 13 15 19 11 0e | 6 | 06 08 10 1e 11 11 0e |
//! | 1 | 04 0c 04 04 04 04 0e | 7 | 1f 01 02 04 08 08 08 |
//! | 2 | 0e 11 01 06 08 10 1f | 8 | 0e 11 11 0e 11 11 0e |
//! | 3 | 1e 01 01 0e 01 01 1e | 9 | 0e 11 11 0f 01 02 0c |
//! | 4 | 02 06 0a 12 1f 02 02 | : | 00 04 04 00 04 04 00 |
//! | 5 | 1f 10 1e 01 01 11 0e | . | 00 00 00 00 00 06 06 |

use super::error::FieldError;
use super::font::{GLYPH_HEIGHT, GLYPH_WIDTH, glyph};
use super::video::{PixelLayout, VideoFormat};

/// The test picture of one format: everything that does not change is rendered once.
///
/// A frame is the copy of a template plus a few short runs of luma, so that rendering costs about what the copy costs
/// and allocates nothing.
#[derive(Debug)]
pub struct Pattern {
    template: Vec<u8>,
    layout: PixelLayout,
    width: usize,
    blocks: Option<Blocks>,
    scale: usize,
    number: Option<Place>,
    time: Option<Place>,
}

/// Where the counter for machines has its blocks.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    columns: usize,
    side: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    x: usize,
    y: usize,
}

const NUMBER_CHARACTERS: usize = 8;
const TIME_CHARACTERS: usize = 12;
const CELL_WIDTH: usize = 7;
const CELL_HEIGHT: usize = 9;
/// The second line of text begins so many font pixels below the first.
const LINE_PITCH: usize = 10;
const COUNTER_BITS: usize = 32;
const MAX_BLOCK_SIDE: usize = 8;
/// The luma bytes of a cell's row at the largest scale, in a layout of two bytes a pixel.
const MAX_RUN_BYTES: usize = CELL_WIDTH * (super::video::MAX_DIMENSION as usize / 168) * 2;
const NEUTRAL: u8 = 128;

type Color = [u8; 3];
const GREY: Color = [180, 128, 128];
const YELLOW: Color = [162, 44, 142];
const CYAN: Color = [131, 156, 44];
const GREEN: Color = [112, 72, 58];
const MAGENTA: Color = [84, 184, 198];
const RED: Color = [65, 100, 212];
const BLUE: Color = [35, 212, 114];
const BLACK: Color = [16, NEUTRAL, NEUTRAL];
const WHITE: Color = [235, NEUTRAL, NEUTRAL];
const MINUS_I: Color = [16, 158, 95];
const PLUS_Q: Color = [16, 174, 149];
const BELOW_BLACK: Color = [7, 128, 128];
const ABOVE_BLACK: Color = [25, 128, 128];

impl Pattern {
    /// Renders what does not change of the picture in `format`.
    ///
    /// # Errors
    /// Refuses formats that are less than two pixels wide or high, and RGB.
    pub fn new(format: &VideoFormat) -> Result<Self, FieldError> {
        if format.layout().is_rgb() {
            return Err(FieldError::new("the layout", "RGB", "I420, NV12 or YUY2, in which patterns are drawn"));
        }
        for (field, value) in [("the width", format.width()), ("the height", format.height())] {
            if value < 2 {
                return Err(FieldError::new(field, value, "2 or more for the test picture"));
            }
        }
        let (width, height) = (format.width() as usize, format.height() as usize);
        let blocks = Blocks::fit(width, height);
        let blocks_height = blocks.map_or(0, |b| COUNTER_BITS / b.columns * b.side);
        let scale = (height / 180).min(width / 168).max(1);
        let line = |characters: usize, offset: usize| {
            let line_width = CELL_WIDTH * characters * scale;
            let text_height = (LINE_PITCH + CELL_HEIGHT) * scale;
            if line_width > width || text_height > height {
                return None;
            }
            let top = 2 * ((height - text_height) / 4);
            (top >= blocks_height).then_some(Place { x: 2 * ((width - line_width) / 4), y: top + offset * scale })
        };
        let mut pattern = Self {
            template: vec![0; format.frame_bytes()],
            layout: format.layout(),
            width,
            blocks,
            scale,
            number: line(NUMBER_CHARACTERS, 0),
            time: line(TIME_CHARACTERS, LINE_PITCH),
        };
        pattern.render_template(height);
        Ok(pattern)
    }

    /// The bytes of one frame.
    pub fn frame_bytes(&self) -> usize {
        self.template.len()
    }

    /// The picture with nothing burnt in yet, for callers that fill frames by their own means.
    pub fn template(&self) -> &[u8] {
        &self.template
    }

    /// Renders the frame of this number and time, in 100-ns units, to the start of `frame`.
    ///
    /// # Errors
    /// Refuses a buffer that is smaller than a frame.
    pub fn render_into(&self, frame_number: u64, time_100ns: u64, frame: &mut [u8]) -> Result<(), FieldError> {
        let buffer_bytes = frame.len();
        let Some(frame) = frame.get_mut(..self.frame_bytes()) else {
            return Err(FieldError::new(
                "the size of the frame buffer",
                buffer_bytes,
                format!("at least {}", self.frame_bytes()),
            ));
        };
        frame.copy_from_slice(&self.template);
        self.burn_in(frame_number, time_100ns, |offset, run| {
            frame[offset..offset + run.len()].copy_from_slice(run);
        });
        Ok(())
    }

    /// Gives the runs of bytes, by offset, that make a frame of this number and time from the template.
    ///
    /// The runs of any two frames cover the same bytes, so a buffer that holds one frame of this pattern becomes another by
    /// its runs alone.
    pub fn burn_in(&self, frame_number: u64, time_100ns: u64, mut write: impl FnMut(usize, &[u8])) {
        if let Some(blocks) = self.blocks {
            self.burn_blocks(blocks, frame_number as u32, &mut write);
        }
        if let Some(place) = self.number {
            let mut text = [0; NUMBER_CHARACTERS];
            put_digits(&mut text, frame_number);
            self.burn_text(place, &text, &mut write);
        }
        if let Some(place) = self.time {
            self.burn_text(place, &time_text(time_100ns), &mut write);
        }
    }

    /// Reads the counter for machines back from a frame, even one that was coded with some loss.
    ///
    /// `None` if frames of this format have none, the buffer is smaller than a frame, or a block is neither black nor white.
    pub fn read_counter(&self, frame: &[u8]) -> Option<u32> {
        const TOLERANCE: u8 = 48;
        let blocks = self.blocks?;
        let frame = frame.get(..self.frame_bytes())?;
        let mut counter = 0;
        for bit in 0..COUNTER_BITS {
            let x = bit % blocks.columns * blocks.side + blocks.side / 2;
            let y = bit / blocks.columns * blocks.side + blocks.side / 2;
            let luma = frame[self.luma_offset(x, y)];
            let is_white = luma.abs_diff(WHITE[0]) <= TOLERANCE;
            if !is_white && luma.abs_diff(BLACK[0]) > TOLERANCE {
                return None;
            }
            counter = counter << 1 | u32::from(is_white);
        }
        Some(counter)
    }

    fn luma_offset(&self, x: usize, y: usize) -> usize {
        match self.layout {
            PixelLayout::I420 | PixelLayout::Nv12 => y * self.width + x,
            PixelLayout::Yuy2 => y * self.width.div_ceil(2) * 4 + x * 2,
            PixelLayout::Rgb24 | PixelLayout::Bgra => 0,
        }
    }

    /// The bytes from one pixel's luma to the next.
    fn luma_step(&self) -> usize {
        match self.layout {
            PixelLayout::I420 | PixelLayout::Nv12 => 1,
            PixelLayout::Yuy2 => 2,
            PixelLayout::Rgb24 | PixelLayout::Bgra => 0,
        }
    }

    fn burn_blocks(&self, blocks: Blocks, counter: u32, write: &mut impl FnMut(usize, &[u8])) {
        let step = self.luma_step();
        for bit in 0..COUNTER_BITS {
            let is_white = counter >> (COUNTER_BITS - 1 - bit) & 1 == 1;
            let mut run = [NEUTRAL; MAX_BLOCK_SIDE * 2];
            let run = &mut run[..blocks.side * step];
            run.iter_mut().step_by(step).for_each(|luma| *luma = luma_of(is_white));
            let (x, y) = (bit % blocks.columns * blocks.side, bit / blocks.columns * blocks.side);
            for row in y..y + blocks.side {
                write(self.luma_offset(x, row), run);
            }
        }
    }

    fn burn_text(&self, place: Place, text: &[u8], write: &mut impl FnMut(usize, &[u8])) {
        let step = self.luma_step();
        let cell_width = CELL_WIDTH * self.scale;
        let mut run = [NEUTRAL; MAX_RUN_BYTES];
        let run = &mut run[..cell_width * step];
        for (index, character) in text.iter().enumerate() {
            let x = place.x + index * cell_width;
            let glyph = glyph(*character);
            for font_row in 0..CELL_HEIGHT {
                // The rows above and below the glyph are blank; bit 6 of a cell's row is its leftmost pixel.
                let bits = font_row
                    .checked_sub(1)
                    .and_then(|row| glyph.get(row))
                    .map_or(0, |bits| bits << (CELL_WIDTH - GLYPH_WIDTH - 1));
                for (column, pixels) in run.chunks_exact_mut(self.scale * step).enumerate() {
                    let luma = luma_of(bits >> (CELL_WIDTH - 1 - column) & 1 == 1);
                    pixels.iter_mut().step_by(step).for_each(|pixel| *pixel = luma);
                }
                let top = place.y + font_row * self.scale;
                for y in top..top + self.scale {
                    write(self.luma_offset(x, y), run);
                }
            }
        }
    }

    fn render_template(&mut self, height: usize) {
        let mut colors = vec![BLACK; self.width];
        let mut band = None;
        for y in 0..height {
            if band != Some(Band::of(y, height)) {
                band = Some(Band::of(y, height));
                for (x, color) in colors.iter_mut().enumerate() {
                    *color = Band::of(y, height).color(x, self.width);
                }
            }
            self.render_row(y, height, 0, &colors);
        }
        // What is burnt in lies on black, so that its runs change luma only.
        let black = vec![BLACK; self.width];
        if let Some(Blocks { columns, side }) = self.blocks {
            for y in 0..COUNTER_BITS / columns * side {
                self.render_row(y, height, 0, &black[..columns * side]);
            }
        }
        let lines = [(self.number, NUMBER_CHARACTERS), (self.time, TIME_CHARACTERS)];
        for (place, characters) in lines {
            let Some(Place { x, y }) = place else {
                continue;
            };
            for row in y..y + CELL_HEIGHT * self.scale {
                let line_width = characters * CELL_WIDTH * self.scale;
                self.render_row(row, height, x, &black[..line_width]);
            }
        }
    }

    /// Puts `colors` into row `y` from column `left`, which is even.
    fn render_row(&mut self, y: usize, height: usize, left: usize, colors: &[Color]) {
        let (width, chroma_width) = (self.width, self.width.div_ceil(2));
        let luma_bytes = width * height;
        let chroma_bytes = chroma_width * height.div_ceil(2);
        for (x, [luma, cb, cr]) in (left..).zip(colors.iter().copied()) {
            let luma_offset = self.luma_offset(x, y);
            self.template[luma_offset] = luma;
            if x % 2 == 1 || (y % 2 == 1 && self.layout != PixelLayout::Yuy2) {
                continue;
            }
            let chroma = y / 2 * chroma_width + x / 2;
            match self.layout {
                PixelLayout::I420 => {
                    self.template[luma_bytes + chroma] = cb;
                    self.template[luma_bytes + chroma_bytes + chroma] = cr;
                }
                PixelLayout::Nv12 => {
                    self.template[luma_bytes + 2 * chroma..][..2].copy_from_slice(&[cb, cr]);
                }
                PixelLayout::Yuy2 => {
                    // The second luma is that of the next pixel, or padding if there is none.
                    self.template[luma_offset + 1..][..3].copy_from_slice(&[cb, luma, cr]);
                }
                // A pattern has no such layout.
                PixelLayout::Rgb24 | PixelLayout::Bgra => {}
            }
        }
    }
}

impl Blocks {
    fn fit(width: usize, height: usize) -> Option<Self> {
        [32, 16, 8, 4, 2].into_iter().find_map(|columns| {
            let rows = COUNTER_BITS / columns;
            let side = (width / (2 * columns)).min(height / (2 * rows)) * 2;
            let side = side.min(MAX_BLOCK_SIDE);
            (side > 0).then_some(Self { columns, side })
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Band {
    Top,
    Middle,
    Bottom,
}

impl Band {
    fn of(y: usize, height: usize) -> Self {
        if y < 2 * height / 3 {
            Self::Top
        } else if y < 3 * height / 4 {
            Self::Middle
        } else {
            Self::Bottom
        }
    }

    fn color(self, x: usize, width: usize) -> Color {
        match self {
            Self::Top => [GREY, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE][7 * x / width],
            Self::Middle => [BLUE, BLACK, MAGENTA, BLACK, CYAN, BLACK, GREY][7 * x / width],
            Self::Bottom => match 84 * x / width {
                0..15 => MINUS_I,
                15..30 => WHITE,
                30..45 => PLUS_Q,
                60..64 => BELOW_BLACK,
                68..72 => ABOVE_BLACK,
                _ => BLACK,
            },
        }
    }
}

fn luma_of(is_white: bool) -> u8 {
    if is_white { WHITE[0] } else { BLACK[0] }
}

/// Fills `text` with the last decimal digits of `number`.
fn put_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn time_text(time_100ns: u64) -> [u8; TIME_CHARACTERS] {
    let milliseconds = time_100ns / 10_000;
    let seconds = milliseconds / 1000;
    let mut text = *b"00:00:00.000";
    put_digits(&mut text[0..2], seconds / 3600);
    put_digits(&mut text[3..5], seconds / 60 % 60);
    put_digits(&mut text[6..8], seconds % 60);
    put_digits(&mut text[9..12], milliseconds);
    text
}

const _: () = assert!(GLYPH_HEIGHT + 2 == CELL_HEIGHT && GLYPH_WIDTH + 2 == CELL_WIDTH);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUTS: [PixelLayout; 3] = [PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2];

    fn pattern(layout: PixelLayout, width: u32, height: u32) -> Pattern {
        Pattern::new(&VideoFormat::new(layout, width, height).unwrap()).unwrap()
    }

    #[test]
    fn the_counter_is_read_back_from_the_pixels() {
        for layout in LAYOUTS {
            for (width, height) in [(1280, 720), (640, 481), (64, 2), (16, 16), (8, 16), (5, 33)] {
                let pattern = pattern(layout, width, height);
                let mut frame = vec![0; pattern.frame_bytes()];
                for number in [0, 1, 149, 0x8000_0001, 0xFFFF_FFFF] {
                    pattern.render_into(number, number * 333_333, &mut frame).unwrap();
                    let read = pattern.read_counter(&frame);
                    assert_eq!(read, Some(number as u32), "{layout:?} {width}x{height}");
                }
            }
        }
    }

    #[test]
    fn a_picture_without_counter_reads_as_none() {
        let small = pattern(PixelLayout::Nv12, 2, 2);
        let mut frame = [0; 6];
        small.render_into(7, 0, &mut frame).unwrap();
        assert_eq!(small.read_counter(&frame), None);
        let large = pattern(PixelLayout::Nv12, 320, 240);
        assert_eq!(large.read_counter(&[0; 10]), None);
        assert_eq!(large.read_counter(&vec![100; large.frame_bytes()]), None);
    }

    #[test]
    fn the_corners_have_the_colours_of_the_bars() {
        let pattern = pattern(PixelLayout::Yuy2, 640, 480);
        let pixel = |x: usize, y: usize| {
            let quad = &pattern.template()[y * 1280 + x / 2 * 4..][..4];
            [quad[x % 2 * 2], quad[1], quad[3]]
        };
        assert_eq!(pixel(0, 100), GREY);
        assert_eq!(pixel(639, 100), BLUE);
        assert_eq!(pixel(0, 330), BLUE);
        assert_eq!(pixel(639, 330), GREY);
        assert_eq!(pixel(0, 479), MINUS_I);
        assert_eq!(pixel(160, 479), WHITE);
        assert_eq!(pixel(639, 479), BLACK);
    }

    #[test]
    fn the_time_is_shown_in_hours_minutes_seconds_and_milliseconds() {
        assert_eq!(&time_text(0), b"00:00:00.000");
        assert_eq!(&time_text(333_333), b"00:00:00.033");
        assert_eq!(&time_text(45_296_789 * 10_000 + 9999), b"12:34:56.789");
        assert_eq!(&time_text(100 * 3600 * 10_000_000), b"00:00:00.000");
        time_text(u64::MAX);
    }

    #[test]
    fn a_frame_becomes_another_by_its_runs_alone() {
        for layout in LAYOUTS {
            let pattern = pattern(layout, 426, 240);
            let (mut one, mut other) = (vec![0; pattern.frame_bytes()], vec![0; pattern.frame_bytes()]);
            pattern.render_into(12_345_678, 99_999_999, &mut one).unwrap();
            pattern.render_into(87, 11, &mut other).unwrap();
            assert_ne!(one, other);
            pattern.burn_in(87, 11, |offset, run| {
                one[offset..offset + run.len()].copy_from_slice(run);
            });
            assert!(one == other, "{layout:?}");
        }
    }

    #[test]
    fn the_largest_picture_has_its_text_too() {
        let pattern = pattern(PixelLayout::Nv12, 16_384, 16_384);
        assert!(pattern.number.is_some() && pattern.time.is_some());
        let mut written_bytes = 0;
        pattern.burn_in(5, 5, |_, run| written_bytes += run.len());
        assert!(written_bytes > 0);
    }

    proptest! {
        #[test]
        fn every_size_renders_and_keeps_within_the_frame(
            width in 2u32..400,
            height in 2u32..400,
            number in any::<u64>(),
            time in any::<u64>(),
        ) {
            for layout in LAYOUTS {
                let pattern = pattern(layout, width, height);
                let mut frame = vec![0; pattern.frame_bytes()];
                pattern.render_into(number, time, &mut frame).unwrap();
                prop_assert!(pattern.render_into(number, time, &mut frame[1..]).is_err());
                if let Some(counter) = pattern.read_counter(&frame) {
                    prop_assert_eq!(counter, number as u32);
                }
            }
        }
    }
}
