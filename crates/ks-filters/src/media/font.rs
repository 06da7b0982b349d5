//! The glyphs that the test picture burns in: digits, colon and full stop, five pixels wide and seven high.

/// The width of a glyph in font pixels.
pub(crate) const GLYPH_WIDTH: usize = 5;
/// The height of a glyph in font pixels.
pub(crate) const GLYPH_HEIGHT: usize = 7;

/// A glyph: its rows from the top; bit 4 of a row is the leftmost pixel.
pub(crate) type Glyph = [u8; GLYPH_HEIGHT];

/// The glyph of `character`; blank if there is none.
pub(crate) fn glyph(character: u8) -> Glyph {
    match character {
        b'0'..=b'9' => DIGITS[usize::from(character - b'0')],
        b':' => [0b00000, 0b00100, 0b00100, 0b00000, 0b00100, 0b00100, 0b00000],
        b'.' => [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b00110, 0b00110],
        _ => [0; GLYPH_HEIGHT],
    }
}

#[rustfmt::skip]
const DIGITS: [Glyph; 10] = [
    [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
    [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
    [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
    [0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110],
    [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
    [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
    [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
    [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
    [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
    [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_glyphs_differ_and_fit() {
        let characters = b"0123456789:.";
        for (index, one) in characters.iter().enumerate() {
            assert!(glyph(*one).iter().all(|row| row >> GLYPH_WIDTH == 0));
            for other in &characters[index + 1..] {
                assert_ne!(glyph(*one), glyph(*other));
            }
        }
    }
}
