//! From one format of pictures to another: layout, size, matrix and range.
//!
//! `Decision:` neither KS data formats nor most files say by which matrix luma and chroma were made. Unless it is told,
//! the conversion takes BT.601 for pictures of up to 576 rows and BT.709 for higher ones, at both ends; the range is that
//! of the format, and limited where none is said. Chroma is taken to lie amid its pixels, and to reach to the edges of
//! the picture at odd sizes. Alpha is kept between BGRA and BGRA, and is opaque where there was none.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use super::error::FieldError;
use super::video::{ColorRange, Interlacing, PixelLayout, RowOrder, VideoFormat};

/// The most pixels of a picture, at either end: four times those of 4320 rows.
pub const MAX_PIXELS: u64 = 1 << 27;

/// By what luma and chroma are made of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Matrix {
    /// BT.601 up to 576 rows, BT.709 above.
    #[default]
    ByHeight,
    /// BT.601.
    Bt601,
    /// BT.709.
    Bt709,
}

/// A matrix and a range, settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Colors {
    is_bt709: bool,
    is_full: bool,
}

impl Colors {
    fn of(format: &VideoFormat, matrix: Matrix) -> Self {
        let is_bt709 = match matrix {
            Matrix::ByHeight => format.height() > 576,
            Matrix::Bt601 => false,
            Matrix::Bt709 => true,
        };
        Self { is_bt709, is_full: format.color_range == ColorRange::Full }
    }

    fn matrix(self) -> YuvStandardMatrix {
        if self.is_bt709 { YuvStandardMatrix::Bt709 } else { YuvStandardMatrix::Bt601 }
    }

    fn range(self) -> YuvRange {
        if self.is_full { YuvRange::Full } else { YuvRange::Limited }
    }
}

/// Pictures on their way from one format to another. Keeps what it needs for one of them from picture to picture.
pub struct VideoConversion {
    input: VideoFormat,
    output: VideoFormat,
    from: Colors,
    to: Colors,
    resizer: Resizer,
}

/// Luma and chroma, each in a plane of its own.
struct Planes {
    luma: Plane,
    u: Plane,
    v: Plane,
}

struct Plane {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Plane {
    fn new(width: usize, height: usize, bytes: Vec<u8>) -> Self {
        Self { width, height, bytes }
    }
}

/// Size of the chroma planes of a layout.
fn chroma_size(format: &VideoFormat) -> (usize, usize) {
    let (width, height) = (format.width() as usize, format.height() as usize);
    match format.layout() {
        PixelLayout::I420 | PixelLayout::Nv12 => (width.div_ceil(2), height.div_ceil(2)),
        PixelLayout::Yuy2 => (width.div_ceil(2), height),
        PixelLayout::Rgb24 | PixelLayout::Bgra => (width, height),
    }
}

/// Whether pictures of one format can be made into those of another.
///
/// # Errors
/// Refuses pictures of more than [`MAX_PIXELS`], and another height where a picture holds two fields.
pub fn check(input: &VideoFormat, output: &VideoFormat) -> Result<(), FieldError> {
    for format in [input, output] {
        let pixels = u64::from(format.width()) * u64::from(format.height());
        if pixels > MAX_PIXELS {
            return Err(FieldError::new("the size of the picture", pixels, format!("at most {MAX_PIXELS} pixels")));
        }
    }
    let has_fields = !matches!(input.interlacing, Interlacing::Unknown | Interlacing::Progressive);
    if has_fields && input.height() != output.height() {
        return Err(FieldError::new(
            "the height",
            output.height(),
            format!("{}, that of its two fields", input.height()),
        ));
    }
    Ok(())
}

impl VideoConversion {
    /// A conversion between two formats.
    ///
    /// # Errors
    /// As [`check`].
    pub fn new(input: &VideoFormat, output: &VideoFormat, matrix: Matrix) -> Result<Self, FieldError> {
        check(input, output)?;
        let (from, to) = (Colors::of(input, matrix), Colors::of(output, matrix));
        Ok(Self { input: *input, output: *output, from, to, resizer: Resizer::new() })
    }

    /// The format of what is made.
    pub fn output(&self) -> &VideoFormat {
        &self.output
    }

    /// Makes one picture. `data` is one of the input format and `into` has the bytes of one of the output format.
    ///
    /// # Errors
    /// Refuses other numbers of bytes.
    pub fn convert(&mut self, data: &[u8], into: &mut [u8]) -> Result<(), FieldError> {
        for (bytes, format) in [(data.len(), &self.input), (into.len(), &self.output)] {
            if bytes != format.frame_bytes() {
                let expected = format!("{} bytes", format.frame_bytes());
                return Err(FieldError::new("the frame size", format!("{bytes} bytes"), expected));
            }
        }
        let (input, output) = (self.input, self.output);
        let same_size = (input.width(), input.height()) == (output.width(), output.height());
        let same_colors = self.from == self.to;
        let (from_rgb, to_rgb) = (input.layout().is_rgb(), output.layout().is_rgb());
        if input.layout() == output.layout()
            && same_size
            && (same_colors || to_rgb)
            && input.row_order == output.row_order
        {
            into.copy_from_slice(data);
            return Ok(());
        }
        if !from_rgb && !to_rgb && same_colors {
            let planes = unpack(&input, data);
            let planes = self.scale_planes(planes, chroma_size(&output))?;
            pack(&output, &planes, into);
            return Ok(());
        }
        let mut pixels = if from_rgb { unpack_rgb(&input, data) } else { self.colored(&input, data)? };
        if !same_size {
            pixels = self.scale_pixels(&pixels)?;
        }
        if to_rgb {
            pack_rgb(&output, &pixels, into);
        } else {
            let planes = self.uncolored(&output, &pixels)?;
            pack(&output, &planes, into);
        }
        Ok(())
    }

    /// BGRA of a picture of luma and chroma.
    fn colored(&mut self, format: &VideoFormat, data: &[u8]) -> Result<Vec<u8>, FieldError> {
        let (width, height) = (format.width() as usize, format.height() as usize);
        let mut planes = unpack(format, data);
        planes.u = self.scale(&planes.u, (width, height))?;
        planes.v = self.scale(&planes.v, (width, height))?;
        let image = YuvPlanarImage {
            y_plane: &planes.luma.bytes,
            y_stride: format.width(),
            u_plane: &planes.u.bytes,
            u_stride: format.width(),
            v_plane: &planes.v.bytes,
            v_stride: format.width(),
            width: format.width(),
            height: format.height(),
        };
        let mut pixels = vec![255; width * height * 4];
        yuv::yuv444_to_bgra(&image, &mut pixels, format.width() * 4, self.from.range(), self.from.matrix())
            .map_err(|error| FieldError::new("the picture", error, "one that can be converted"))?;
        Ok(pixels)
    }

    /// Luma and chroma of BGRA.
    fn uncolored(&mut self, format: &VideoFormat, pixels: &[u8]) -> Result<Planes, FieldError> {
        let (width, height) = (format.width() as usize, format.height() as usize);
        let plane = || Plane::new(width, height, vec![0; width * height]);
        let mut planes = Planes { luma: plane(), u: plane(), v: plane() };
        let mut image = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut planes.luma.bytes),
            y_stride: format.width(),
            u_plane: BufferStoreMut::Borrowed(&mut planes.u.bytes),
            u_stride: format.width(),
            v_plane: BufferStoreMut::Borrowed(&mut planes.v.bytes),
            v_stride: format.width(),
            width: format.width(),
            height: format.height(),
        };
        let mode = YuvConversionMode::Balanced;
        yuv::bgra_to_yuv444(&mut image, pixels, format.width() * 4, self.to.range(), self.to.matrix(), mode)
            .map_err(|error| FieldError::new("the picture", error, "one that can be converted"))?;
        let size = chroma_size(format);
        planes.u = self.scale(&planes.u, size)?;
        planes.v = self.scale(&planes.v, size)?;
        Ok(planes)
    }

    fn scale_planes(&mut self, planes: Planes, chroma: (usize, usize)) -> Result<Planes, FieldError> {
        let size = (self.output.width() as usize, self.output.height() as usize);
        Ok(Planes {
            luma: self.scaled(planes.luma, size)?,
            u: self.scaled(planes.u, chroma)?,
            v: self.scaled(planes.v, chroma)?,
        })
    }

    fn scaled(&mut self, plane: Plane, size: (usize, usize)) -> Result<Plane, FieldError> {
        if (plane.width, plane.height) == size {
            return Ok(plane);
        }
        self.scale(&plane, size)
    }

    /// BGRA in the size of the output: a plane a component.
    fn scale_pixels(&mut self, pixels: &[u8]) -> Result<Vec<u8>, FieldError> {
        let (width, height) = (self.output.width() as usize, self.output.height() as usize);
        let mut scaled = vec![0; width * height * 4];
        for component in 0..4 {
            let bytes = pixels.chunks_exact(4).map(|pixel| pixel[component]).collect();
            let plane = Plane::new(self.input.width() as usize, self.input.height() as usize, bytes);
            let plane = self.scale(&plane, (width, height))?;
            for (pixel, byte) in scaled.chunks_exact_mut(4).zip(plane.bytes) {
                pixel[component] = byte;
            }
        }
        Ok(scaled)
    }

    /// A plane in another size.
    ///
    /// Planes of bytes are all that is ever scaled: the code of the crate is made anew for each type of pixels, here, and
    /// takes longer to compile than the rest of this crate.
    fn scale(&mut self, plane: &Plane, (width, height): (usize, usize)) -> Result<Plane, FieldError> {
        let refused = |error: &dyn std::fmt::Display| FieldError::new("the picture", error, "one that can be scaled");
        let mut bytes = vec![0; width * height];
        let from = TypedImageRef::<U8>::from_buffer(plane.width as u32, plane.height as u32, &plane.bytes);
        let from = from.map_err(|error| refused(&error))?;
        let to = TypedImage::<U8>::from_buffer(width as u32, height as u32, &mut bytes);
        let mut to = to.map_err(|error| refused(&error))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
        self.resizer.resize_typed(&from, &mut to, &options).map_err(|error| refused(&error))?;
        drop(to);
        Ok(Plane::new(width, height, bytes))
    }
}

/// Takes luma and chroma apart.
fn unpack(format: &VideoFormat, data: &[u8]) -> Planes {
    let (width, height) = (format.width() as usize, format.height() as usize);
    let (chroma_width, chroma_height) = chroma_size(format);
    let chroma = chroma_width * chroma_height;
    let (luma, u, v) = match format.layout() {
        PixelLayout::Yuy2 => {
            let (mut luma, mut u, mut v) =
                (Vec::with_capacity(width * height), Vec::with_capacity(chroma), Vec::with_capacity(chroma));
            for row in data.chunks_exact(chroma_width * 4) {
                luma.extend(row.chunks_exact(2).take(width).map(|pair| pair[0]));
                u.extend(row.chunks_exact(4).map(|pixels| pixels[1]));
                v.extend(row.chunks_exact(4).map(|pixels| pixels[3]));
            }
            (luma, u, v)
        }
        PixelLayout::Nv12 => {
            let (luma, pairs) = data.split_at(width * height);
            let part = |index: usize| pairs.chunks_exact(2).map(|pair| pair[index]).collect();
            (luma.to_vec(), part(0), part(1))
        }
        _ => {
            let (luma, rest) = data.split_at(width * height);
            let (u, v) = rest.split_at(chroma.min(rest.len()));
            (luma.to_vec(), u.to_vec(), v.to_vec())
        }
    };
    let plane = |bytes| Plane::new(chroma_width, chroma_height, bytes);
    Planes { luma: Plane::new(width, height, luma), u: plane(u), v: plane(v) }
}

/// Puts luma and chroma together.
fn pack(format: &VideoFormat, planes: &Planes, into: &mut [u8]) {
    let (luma, u, v) = (&planes.luma.bytes, &planes.u.bytes, &planes.v.bytes);
    match format.layout() {
        PixelLayout::Yuy2 => {
            let (width, chroma_width) = (planes.luma.width, planes.u.width);
            let rows = into.chunks_exact_mut(chroma_width * 4).zip(luma.chunks_exact(width));
            let chroma = u.chunks_exact(chroma_width).zip(v.chunks_exact(chroma_width));
            for ((row, luma), (u, v)) in rows.zip(chroma) {
                let pairs = luma.chunks(2).zip(u.iter().zip(v));
                for (pixels, (pair, (u, v))) in row.chunks_exact_mut(4).zip(pairs) {
                    pixels.copy_from_slice(&[pair[0], *u, pair[pair.len() - 1], *v]);
                }
            }
        }
        PixelLayout::Nv12 => {
            let (to_luma, to_chroma) = into.split_at_mut(luma.len());
            to_luma.copy_from_slice(luma);
            for (pair, (u, v)) in to_chroma.chunks_exact_mut(2).zip(u.iter().zip(v)) {
                pair.copy_from_slice(&[*u, *v]);
            }
        }
        _ => {
            let (to_luma, to_chroma) = into.split_at_mut(luma.len());
            to_luma.copy_from_slice(luma);
            let (to_u, to_v) = to_chroma.split_at_mut(u.len());
            to_u.copy_from_slice(u);
            to_v.copy_from_slice(v);
        }
    }
}

/// The rows of an RGB picture from the top, each as long as it is in memory.
fn row_index(format: &VideoFormat, row: usize) -> usize {
    match format.row_order {
        RowOrder::TopDown => row,
        RowOrder::BottomUp => format.height() as usize - 1 - row,
    }
}

/// BGRA from the top, of an RGB picture.
fn unpack_rgb(format: &VideoFormat, data: &[u8]) -> Vec<u8> {
    let (width, height) = (format.width() as usize, format.height() as usize);
    let stride = format.frame_bytes() / height;
    let mut pixels = Vec::with_capacity(width * height * 4);
    for row in 0..height {
        let start = row_index(format, row) * stride;
        let row = &data[start..start + stride];
        match format.layout() {
            PixelLayout::Rgb24 => pixels.extend(row[..width * 3].chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255])),
            _ => pixels.extend_from_slice(row),
        }
    }
    pixels
}

/// An RGB picture of BGRA from the top.
fn pack_rgb(format: &VideoFormat, pixels: &[u8], into: &mut [u8]) {
    let (width, height) = (format.width() as usize, format.height() as usize);
    let stride = format.frame_bytes() / height;
    for (row, from) in pixels.chunks_exact(width * 4).enumerate() {
        let start = row_index(format, row) * stride;
        let to = &mut into[start..start + stride];
        match format.layout() {
            PixelLayout::Rgb24 => {
                for (to, from) in to.chunks_exact_mut(3).zip(from.chunks_exact(4)) {
                    to.copy_from_slice(&from[..3]);
                }
                to[width * 3..].fill(0);
            }
            _ => to.copy_from_slice(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(layout: PixelLayout, width: u32, height: u32) -> VideoFormat {
        VideoFormat::new(layout, width, height).unwrap()
    }

    /// A smooth colour at each point of a picture, in 0 to 1.
    fn color(x: f64, y: f64) -> [f64; 3] {
        let wave = |phase: f64| 0.5 + 0.35 * (3.0 * x + phase).sin() * (2.0 * y + phase).cos();
        [wave(0.3), wave(1.4), wave(2.9)]
    }

    /// Luma, Cb and Cr of red, green and blue by the sentences of the standards, in limited range.
    fn luma_and_chroma([red, green, blue]: [f64; 3], is_bt709: bool) -> [f64; 3] {
        let (kr, kb) = if is_bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let luma = kr * red + (1.0 - kr - kb) * green + kb * blue;
        let cb = (blue - luma) / (2.0 - 2.0 * kb);
        let cr = (red - luma) / (2.0 - 2.0 * kr);
        [16.0 + 219.0 * luma, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr]
    }

    /// The picture that a format shows of [`color`], computed point by point.
    fn picture(format: &VideoFormat) -> Vec<u8> {
        let (width, height) = (format.width() as usize, format.height() as usize);
        let is_bt709 = format.height() > 576;
        let at = |x: f64, y: f64| color(x / width as f64, y / height as f64);
        if format.layout().is_rgb() {
            let mut pixels = Vec::new();
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let [red, green, blue] = at(x as f64 + 0.5, y as f64 + 0.5).map(|part| (part * 255.0).round() as u8);
                pixels.extend([blue, green, red, 255]);
            }
            let mut data = vec![0; format.frame_bytes()];
            pack_rgb(format, &pixels, &mut data);
            return data;
        }
        let plane = |index: usize, (w, h): (usize, usize)| {
            let (by_x, by_y) = (width as f64 / w as f64, height as f64 / h as f64);
            let points = (0..h).flat_map(|y| (0..w).map(move |x| (x, y)));
            let value = |(x, y): (usize, usize)| {
                let color = at((x as f64 + 0.5) * by_x, (y as f64 + 0.5) * by_y);
                luma_and_chroma(color, is_bt709)[index].round() as u8
            };
            Plane::new(w, h, points.map(value).collect())
        };
        let chroma = chroma_size(format);
        let planes = Planes { luma: plane(0, (width, height)), u: plane(1, chroma), v: plane(2, chroma) };
        let mut data = vec![0; format.frame_bytes()];
        pack(format, &planes, &mut data);
        data
    }

    fn psnr(one: &[u8], other: &[u8]) -> f64 {
        let squares: f64 = one.iter().zip(other).map(|(one, other)| f64::from(one.abs_diff(*other)).powi(2)).sum();
        10.0 * (255.0 * 255.0 / (squares / one.len() as f64).max(1e-9)).log10()
    }

    const LAYOUTS: [PixelLayout; 5] =
        [PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2, PixelLayout::Rgb24, PixelLayout::Bgra];

    #[test]
    fn every_layout_becomes_every_other_as_an_independent_computation_has_it() {
        for (from, to) in LAYOUTS.iter().flat_map(|from| LAYOUTS.iter().map(move |to| (*from, *to))) {
            for ((width, height), (to_width, to_height)) in
                [((160, 120), (160, 120)), ((101, 75), (101, 75)), ((160, 120), (96, 144)), ((64, 720), (64, 480))]
            {
                let (input, output) = (format(from, width, height), format(to, to_width, to_height));
                let mut conversion = VideoConversion::new(&input, &output, Matrix::ByHeight).unwrap();
                let mut made = vec![0; output.frame_bytes()];
                conversion.convert(&picture(&input), &mut made).unwrap();
                let psnr = psnr(&made, &picture(&output));
                assert!(psnr > 45.0, "{from:?} {width}x{height} to {to:?} {to_width}x{to_height}: {psnr} dB");
            }
        }
    }

    #[test]
    fn a_wrong_matrix_is_seen_by_the_computation() {
        let (input, output) = (format(PixelLayout::Bgra, 160, 120), format(PixelLayout::I420, 160, 120));
        let mut made = vec![0; output.frame_bytes()];
        VideoConversion::new(&input, &output, Matrix::Bt709).unwrap().convert(&picture(&input), &mut made).unwrap();
        assert!(psnr(&made, &picture(&output)) < 40.0);
    }

    #[test]
    fn rows_from_the_bottom_come_to_the_top() {
        let top = format(PixelLayout::Rgb24, 3, 2);
        let mut bottom = top;
        bottom.row_order = RowOrder::BottomUp;
        let data: Vec<u8> = (0..24).collect();
        let mut made = vec![0xFF; 24];
        VideoConversion::new(&top, &bottom, Matrix::ByHeight).unwrap().convert(&data, &mut made).unwrap();
        assert_eq!(made[..9], data[12..21]);
        assert_eq!(made[9..12], [0; 3], "padding");
    }

    #[test]
    fn white_is_white_in_both_ranges() {
        for (color_range, white) in [(ColorRange::Unknown, 235), (ColorRange::Full, 255)] {
            let mut output = format(PixelLayout::Nv12, 16, 16);
            output.color_range = color_range;
            let input = format(PixelLayout::Bgra, 16, 16);
            let mut made = vec![0; output.frame_bytes()];
            VideoConversion::new(&input, &output, Matrix::ByHeight).unwrap().convert(&[255; 1024], &mut made).unwrap();
            assert!(made[..256].iter().all(|luma| *luma == white), "{color_range:?}: {}", made[0]);
            assert!(made[256..].iter().all(|chroma| *chroma == 128));
        }
    }

    #[test]
    fn pictures_too_large_fields_and_wrong_sizes_are_refused() {
        let small = format(PixelLayout::I420, 16, 16);
        assert!(VideoConversion::new(&format(PixelLayout::I420, 16_384, 16_384), &small, Matrix::ByHeight).is_err());
        let mut fields = small;
        fields.interlacing = Interlacing::TopFirst;
        assert!(check(&fields, &format(PixelLayout::I420, 16, 8)).is_err());
        assert!(check(&fields, &format(PixelLayout::Nv12, 8, 16)).is_ok());
        let mut conversion = VideoConversion::new(&small, &small, Matrix::ByHeight).unwrap();
        assert!(conversion.convert(&[0; 383], &mut [0; 384]).is_err());
        assert!(conversion.convert(&[0; 384], &mut [0; 385]).is_err());
    }
}
