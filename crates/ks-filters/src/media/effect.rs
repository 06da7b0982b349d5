//! Changes of single pixels: each component of a picture becomes another by a table.

use super::video::{PixelLayout, VideoFormat};

/// What becomes of each value of a component.
type Table = [u8; 256];

/// A change of every pixel by itself, in a picture of any layout.
///
/// Luma is taken to run from 16 to 235 and chroma around 128, as pictures in these layouts do unless they say otherwise;
/// the components of RGB from 0 to 255. Alpha stays.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Of a colour component of RGB.
    colour: Table,
    luma: Table,
    chroma: Table,
}

fn table(value: impl Fn(i32) -> i32) -> Table {
    let mut table = [0; 256];
    for (from, to) in (0..).zip(&mut table) {
        *to = value(from).clamp(0, 255) as u8;
    }
    table
}

impl Effect {
    /// Every colour becomes its opposite: black white, yellow blue.
    pub fn negative() -> Self {
        Self {
            colour: table(|value| 255 - value),
            luma: table(|value| 251 - value),
            chroma: table(|value| 256 - value),
        }
    }

    /// Contrast around the middle grey in percent, 100 being what it was; then brightness, 100 being the way from black to
    /// white.
    pub fn level(brightness_percent: i32, contrast_percent: i32) -> Self {
        let level = |value: i32, black: i32, white: i32| {
            let (middle, range) = (black + white, white - black);
            // In half units, so that the middle of an odd range is exact; rounded to the nearest.
            let turned = (2 * value - middle) * contrast_percent + 2 * range * brightness_percent;
            (turned + 100 * middle + 100).div_euclid(200)
        };
        Self {
            colour: table(|value| level(value, 0, 255)),
            luma: table(|value| level(value, 16, 235)),
            chroma: table(|value| value),
        }
    }

    /// Changes a picture in its place. Bytes beyond those of a picture are left alone, and of a shorter one what is there
    /// is changed.
    pub fn apply(&self, format: &VideoFormat, picture: &mut [u8]) {
        let luma_bytes = format.width() as usize * format.height() as usize;
        let picture_bytes = picture.len().min(format.frame_bytes());
        let picture = &mut picture[..picture_bytes];
        match format.layout() {
            PixelLayout::I420 | PixelLayout::Nv12 => {
                let (luma, chroma) = picture.split_at_mut(luma_bytes.min(picture_bytes));
                luma.iter_mut().for_each(|value| *value = self.luma[usize::from(*value)]);
                chroma.iter_mut().for_each(|value| *value = self.chroma[usize::from(*value)]);
            }
            PixelLayout::Yuy2 => {
                for pair in picture.chunks_exact_mut(2) {
                    pair[0] = self.luma[usize::from(pair[0])];
                    pair[1] = self.chroma[usize::from(pair[1])];
                }
            }
            PixelLayout::Rgb24 => picture.iter_mut().for_each(|value| *value = self.colour[usize::from(*value)]),
            PixelLayout::Bgra => {
                for pixel in picture.chunks_exact_mut(4) {
                    pixel[..3].iter_mut().for_each(|value| *value = self.colour[usize::from(*value)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUTS: [PixelLayout; 5] =
        [PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2, PixelLayout::Rgb24, PixelLayout::Bgra];

    fn applied(effect: &Effect, layout: PixelLayout, picture: &[u8]) -> Vec<u8> {
        let format = VideoFormat::new(layout, 2, 2).unwrap();
        assert_eq!(picture.len(), format.frame_bytes(), "{layout:?}");
        let mut changed = picture.to_vec();
        effect.apply(&format, &mut changed);
        changed
    }

    #[test]
    fn black_becomes_white_and_a_colour_its_opposite() {
        let negative = Effect::negative();
        // Four pixels: black, white, and twice a red of the studio range.
        let i420 = applied(&negative, PixelLayout::I420, &[16, 235, 81, 81, 90, 240]);
        assert_eq!(i420, [235, 16, 170, 170, 166, 16]);
        let nv12 = applied(&negative, PixelLayout::Nv12, &[16, 235, 81, 81, 90, 240]);
        assert_eq!(nv12, i420, "the planes are as long");
        let yuy2 = applied(&negative, PixelLayout::Yuy2, &[16, 90, 235, 240, 0, 0, 255, 255]);
        assert_eq!(yuy2, [235, 166, 16, 16, 251, 255, 0, 1], "what is out of range stays in a byte");
        let bgra = applied(&negative, PixelLayout::Bgra, &[0, 255, 10, 7].repeat(4));
        assert_eq!(bgra, [255, 0, 245, 7].repeat(4), "alpha stays");
    }

    #[test]
    fn twice_turned_is_as_it_was() {
        let negative = Effect::negative();
        for layout in LAYOUTS {
            let format = VideoFormat::new(layout, 16, 8).unwrap();
            let picture: Vec<u8> = (0..format.frame_bytes()).map(|at| 16 + (at * 7 % 220) as u8).collect();
            let mut changed = picture.clone();
            negative.apply(&format, &mut changed);
            assert_ne!(changed, picture, "{layout:?}");
            negative.apply(&format, &mut changed);
            assert_eq!(changed, picture, "{layout:?}");
        }
    }

    #[test]
    fn levels_are_around_the_middle_grey_and_end_at_black_and_white() {
        let luma = |brightness, contrast, value: u8| {
            applied(&Effect::level(brightness, contrast), PixelLayout::I420, &[value, 16, 16, 16, 100, 200])[0]
        };
        for value in 0..=255 {
            assert_eq!(luma(0, 100, value), value, "nothing was asked for");
        }
        assert_eq!([luma(0, 200, 126), luma(0, 200, 136), luma(0, 200, 235)], [127, 147, 255]);
        assert_eq!([luma(0, 0, 16), luma(0, 0, 235)], [126, 126], "no contrast is one grey");
        assert_eq!([luma(100, 100, 16), luma(-100, 100, 235), luma(10, 100, 100)], [235, 16, 122]);
        let chroma = applied(&Effect::level(50, 50), PixelLayout::I420, &[16, 16, 16, 16, 100, 200]);
        assert_eq!(chroma[4..], [100, 200], "colours stay");
        let rgb = applied(&Effect::level(20, 100), PixelLayout::Bgra, &[0, 100, 250, 9].repeat(4));
        assert_eq!(rgb, [51, 151, 255, 9].repeat(4));
    }

    #[test]
    fn a_picture_of_another_length_is_changed_as_far_as_it_is_one() {
        let format = VideoFormat::new(PixelLayout::I420, 2, 2).unwrap();
        let mut longer = [16; 8];
        Effect::negative().apply(&format, &mut longer);
        assert_eq!(longer, [235, 235, 235, 235, 240, 240, 16, 16]);
        let mut shorter = [16; 3];
        Effect::negative().apply(&format, &mut shorter);
        assert_eq!(shorter, [235; 3]);
        Effect::negative().apply(&format, &mut []);
    }
}
