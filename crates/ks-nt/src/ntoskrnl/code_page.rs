//! ANSI text: code page 1252.
//!
//! Decision: the machine's ANSI code page is that of a western Windows, 1252, whatever the Linux locale says, so that a
//! driver converts the same bytes to the same characters everywhere. The OEM code page is taken to be the same.

/// What stands for a character that the code page does not have.
pub(crate) const DEFAULT: u8 = b'?';

/// Characters of 0x80 to 0x9F.
const HIGH: [u16; 32] = [
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008D,
    0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A,
    0x0153, 0x009D, 0x017E, 0x0178,
];

/// The UTF-16 unit of a byte.
pub(crate) fn to_unicode(byte: u8) -> u16 {
    match byte {
        0x80..=0x9F => HIGH[usize::from(byte - 0x80)],
        _ => byte.into(),
    }
}

/// The byte of a UTF-16 unit, if the code page has it.
pub(crate) fn from_unicode(unit: u16) -> Option<u8> {
    match unit {
        0..=0x7F | 0xA0..=0xFF => Some(unit as u8),
        _ => HIGH.iter().position(|high| *high == unit).map(|at| at as u8 + 0x80),
    }
}

/// A unit in upper case, as the kernel's table has it: one unit for one unit, and only where the way back is the same.
pub(crate) fn upcase(unit: u16) -> u16 {
    one_to_one(unit, |c| single(c.to_uppercase()), |c| single(c.to_lowercase()))
}

/// A unit in lower case.
pub(crate) fn downcase(unit: u16) -> u16 {
    one_to_one(unit, |c| single(c.to_lowercase()), |c| single(c.to_uppercase()))
}

fn one_to_one(unit: u16, there: impl Fn(char) -> Option<char>, back: impl Fn(char) -> Option<char>) -> u16 {
    let Some(character) = char::from_u32(unit.into()) else { return unit };
    there(character)
        .filter(|other| back(*other) == Some(character))
        .and_then(|other| u16::try_from(u32::from(other)).ok())
        .unwrap_or(unit)
}

fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next();
    if characters.next().is_some() { None } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255 {
            assert_eq!(from_unicode(to_unicode(byte)), Some(byte));
        }
        assert_eq!(to_unicode(0x80), 0x20AC);
        assert_eq!(from_unicode(0x3042), None);
    }

    #[test]
    fn case_maps_one_unit_to_one() {
        assert_eq!(upcase(u16::from(b'k')), u16::from(b'K'));
        assert_eq!(upcase(0xE4), 0xC4);
        assert_eq!(upcase(0xFF), 0x178);
        assert_eq!(upcase(0xDF), 0xDF);
        assert_eq!(upcase(0x131), 0x131);
        assert_eq!(downcase(0xC4), 0xE4);
        assert_eq!(upcase(0xD800), 0xD800);
    }
}
