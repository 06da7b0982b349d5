//! The kernel's printf: one engine for every routine that formats.
//!
//! `long` has 32 bits, an argument list is an array of 8-byte slots, and the text is UTF-16 inside; a routine of bytes
//! converts at the end, by a code page in which every byte has its own unit.

#![expect(unsafe_op_in_unsafe_fn, reason = "a conversion trusts the driver's arguments, as printf does")]

use ks_abi::kernel::UnicodeString;

use super::code_page;
use super::driver_memory::get;

/// What `%s` and `%c` mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flavor {
    /// The routine takes bytes: `%s` is bytes and `%S` is UTF-16.
    Narrow,
    /// The routine takes UTF-16: `%s` is UTF-16 and `%S` is bytes.
    Wide,
}

/// A formatted text.
pub(crate) struct Formatted {
    /// As much of it as was asked for.
    pub(crate) units: Vec<u16>,
    /// Units of the whole.
    pub(crate) total: usize,
}

/// Width and precision above this are taken as this.
const MOST_FIELD: i64 = 1 << 20;

struct Arguments(*const u64);

impl Arguments {
    unsafe fn take(&mut self) -> u64 {
        let value = get(self.0);
        self.0 = self.0.wrapping_add(1);
        value
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Size {
    #[default]
    Plain,
    Char,
    Short,
    Long,
    Wide,
    Bits64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    size: Size,
}

struct Output {
    units: Vec<u16>,
    limit: usize,
    total: usize,
}

impl Output {
    fn put(&mut self, unit: u16) {
        if self.units.len() < self.limit {
            self.units.push(unit);
        }
        self.total += 1;
    }

    fn fill(&mut self, unit: u8, count: usize) {
        (0..count).for_each(|_| self.put(unit.into()));
    }

    /// A text in its field, padded with spaces, or with zeroes between prefix and body.
    fn field(&mut self, spec: &Spec, prefix: &[u8], body: &[u16], zero: bool) {
        let padding = spec.width.saturating_sub(prefix.len() + body.len());
        if !spec.left && !zero {
            self.fill(b' ', padding);
        }
        prefix.iter().for_each(|byte| self.put((*byte).into()));
        if !spec.left && zero {
            self.fill(b'0', padding);
        }
        body.iter().for_each(|unit| self.put(*unit));
        if spec.left {
            self.fill(b' ', padding);
        }
    }
}

/// Formats; keeps at most `limit` units.
///
/// # Safety
/// The arguments are as the format says.
pub(crate) unsafe fn format(text: &[u16], flavor: Flavor, arguments: *const u64, limit: usize) -> Formatted {
    let mut output = Output { units: Vec::new(), limit, total: 0 };
    let mut arguments = Arguments(arguments);
    let mut rest = text;
    while let Some((unit, after)) = rest.split_first() {
        rest = after;
        if *unit != u16::from(b'%') {
            output.put(*unit);
            continue;
        }
        let (spec, after) = read_spec(rest, &mut arguments);
        let Some((conversion, after)) = after.split_first() else { break };
        rest = after;
        convert(&mut output, &spec, *conversion, flavor, &mut arguments);
    }
    Formatted { units: output.units, total: output.total }
}

fn is(unit: Option<&u16>, byte: u8) -> bool {
    unit == Some(&u16::from(byte))
}

unsafe fn read_spec<'a>(mut rest: &'a [u16], arguments: &mut Arguments) -> (Spec, &'a [u16]) {
    let mut spec = Spec::default();
    while let Some((unit, after)) = rest.split_first() {
        match u8::try_from(*unit) {
            Ok(b'-') => spec.left = true,
            Ok(b'+') => spec.plus = true,
            Ok(b' ') => spec.space = true,
            Ok(b'#') => spec.alternate = true,
            Ok(b'0') => spec.zero = true,
            _ => break,
        }
        rest = after;
    }
    let (width, after) = read_number(rest, arguments);
    rest = after;
    if let Some(width) = width {
        spec.left |= width < 0;
        spec.width = width.unsigned_abs() as usize;
    }
    if is(rest.first(), b'.') {
        let (precision, after) = read_number(&rest[1..], arguments);
        rest = after;
        spec.precision = match precision {
            Some(precision) => usize::try_from(precision).ok(),
            None => Some(0),
        };
    }
    while let Some((unit, after)) = rest.split_first() {
        let next = after.first();
        let (size, skip) = match u8::try_from(*unit) {
            Ok(b'h') if spec.size == Size::Short => (Size::Char, 1),
            Ok(b'h') => (Size::Short, 1),
            Ok(b'l') if spec.size == Size::Long => (Size::Bits64, 1),
            Ok(b'l') => (Size::Long, 1),
            Ok(b'w') => (Size::Wide, 1),
            Ok(b'I') if is(next, b'6') && is(after.get(1), b'4') => (Size::Bits64, 3),
            Ok(b'I') if is(next, b'3') && is(after.get(1), b'2') => (Size::Plain, 3),
            Ok(b'I' | b'z' | b't' | b'j') => (Size::Bits64, 1),
            _ => break,
        };
        spec.size = size;
        rest = &rest[skip..];
    }
    (spec, rest)
}

unsafe fn read_number<'a>(mut rest: &'a [u16], arguments: &mut Arguments) -> (Option<i64>, &'a [u16]) {
    if is(rest.first(), b'*') {
        let value = i64::from(arguments.take() as u32 as i32);
        return (Some(value.clamp(-MOST_FIELD, MOST_FIELD)), &rest[1..]);
    }
    let mut value = None;
    while let Some((unit, after)) = rest.split_first() {
        let Some(digit) = char::from_u32((*unit).into()).and_then(|c| c.to_digit(10)) else { break };
        value = Some((value.unwrap_or(0) * 10 + i64::from(digit)).min(MOST_FIELD));
        rest = after;
    }
    (value, rest)
}

unsafe fn convert(output: &mut Output, spec: &Spec, conversion: u16, flavor: Flavor, arguments: &mut Arguments) {
    let wide = match spec.size {
        Size::Short | Size::Char => false,
        Size::Long | Size::Wide => true,
        _ if matches!(u8::try_from(conversion), Ok(b'S' | b'C')) => flavor == Flavor::Narrow,
        _ => flavor == Flavor::Wide,
    };
    match u8::try_from(conversion) {
        Ok(b'd' | b'i') => {
            let value = signed(arguments.take(), spec.size);
            let sign: &[u8] = match value {
                ..0 => b"-",
                _ if spec.plus => b"+",
                _ if spec.space => b" ",
                _ => b"",
            };
            integer(output, spec, sign, value.unsigned_abs(), 10, u8::to_ascii_lowercase);
        }
        Ok(b'u') => integer(output, spec, b"", unsigned(arguments.take(), spec.size), 10, u8::to_ascii_lowercase),
        Ok(b'o') => {
            let value = unsigned(arguments.take(), spec.size);
            let prefix: &[u8] = if spec.alternate && value != 0 { b"0" } else { b"" };
            integer(output, spec, prefix, value, 8, u8::to_ascii_lowercase);
        }
        Ok(b'x' | b'X') => {
            let value = unsigned(arguments.take(), spec.size);
            let (prefix, case): (&[u8], fn(&u8) -> u8) = if conversion == u16::from(b'x') {
                (b"0x", u8::to_ascii_lowercase)
            } else {
                (b"0X", u8::to_ascii_uppercase)
            };
            integer(output, spec, if spec.alternate && value != 0 { prefix } else { b"" }, value, 16, case);
        }
        Ok(b'p') => {
            let spec = Spec { precision: Some(16), ..*spec };
            integer(output, &spec, b"", arguments.take(), 16, u8::to_ascii_uppercase);
        }
        Ok(b'c' | b'C') => {
            let value = arguments.take();
            let unit = if wide { value as u16 } else { code_page::to_unicode(value as u8) };
            output.field(spec, b"", &[unit], false);
        }
        Ok(b's' | b'S') => {
            let address = arguments.take();
            let most = spec.precision.unwrap_or(usize::MAX);
            let text = if wide { wide_text(address, most) } else { byte_text(address, most) };
            output.field(spec, b"", &text, false);
        }
        Ok(b'Z') => {
            let counted = matches!(spec.size, Size::Wide | Size::Long);
            let text = counted_text(arguments.take(), counted, spec.precision.unwrap_or(usize::MAX));
            output.field(spec, b"", &text, false);
        }
        Ok(b'e' | b'E' | b'f' | b'F' | b'g' | b'G') => {
            let value = f64::from_bits(arguments.take());
            let (sign, text) = real(value, spec, conversion as u8);
            output.field(spec, sign, &text.encode_utf16().collect::<Vec<_>>(), spec.zero && value.is_finite());
        }
        // Writing through %n is off, as in the C runtime; its argument is passed over.
        Ok(b'n') => drop(arguments.take()),
        _ => output.put(conversion),
    }
}

fn signed(value: u64, size: Size) -> i64 {
    match size {
        Size::Bits64 => value as i64,
        Size::Char => (value as i8).into(),
        Size::Short => (value as i16).into(),
        _ => (value as i32).into(),
    }
}

fn unsigned(value: u64, size: Size) -> u64 {
    match size {
        Size::Bits64 => value,
        Size::Char => (value as u8).into(),
        Size::Short => (value as u16).into(),
        _ => (value as u32).into(),
    }
}

fn integer(output: &mut Output, spec: &Spec, prefix: &[u8], value: u64, base: u32, case: fn(&u8) -> u8) {
    let mut digits = super::c_runtime::digits(value, base);
    if value == 0 && spec.precision == Some(0) {
        digits.clear();
    }
    let zeroes = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    let body: Vec<u16> = core::iter::repeat_n(b'0', zeroes).chain(digits.iter().map(case)).map(u16::from).collect();
    output.field(spec, prefix, &body, spec.zero && spec.precision.is_none());
}

fn null(most: usize) -> Vec<u16> {
    "(null)".encode_utf16().take(most).collect()
}

unsafe fn wide_text(address: u64, most: usize) -> Vec<u16> {
    if address == 0 {
        return null(most);
    }
    let text = address as *const u16;
    super::driver_memory::wide(text, super::c_string::length(text, most))
}

unsafe fn byte_text(address: u64, most: usize) -> Vec<u16> {
    if address == 0 {
        return null(most);
    }
    let text = address as *const u8;
    let bytes = super::driver_memory::bytes(text, super::c_string::length(text, most));
    bytes.into_iter().map(code_page::to_unicode).collect()
}

/// UNICODE_STRING or ANSI_STRING; the precision counts characters.
unsafe fn counted_text(address: u64, wide: bool, most: usize) -> Vec<u16> {
    if address == 0 {
        return null(most);
    }
    let string = get(address as *const UnicodeString);
    if string.buffer.is_null() {
        return null(most);
    }
    if wide {
        let units = usize::from(string.length / 2).min(most);
        super::driver_memory::wide(string.buffer.0 as *const u16, units)
    } else {
        let bytes = super::driver_memory::bytes(string.buffer.0 as *const u8, usize::from(string.length).min(most));
        bytes.into_iter().map(code_page::to_unicode).collect()
    }
}

/// Sign and text of a floating-point number; exponents have three digits, as the kernel's C runtime writes them.
fn real(value: f64, spec: &Spec, conversion: u8) -> (&'static [u8], String) {
    let sign: &[u8] = match () {
        () if value.is_sign_negative() => b"-",
        () if spec.plus => b"+",
        () if spec.space => b" ",
        () => b"",
    };
    let amount = value.abs();
    let precision = spec.precision.unwrap_or(6).min(512);
    if !amount.is_finite() {
        let name = if amount.is_nan() { "#QNAN" } else { "#INF" };
        return (sign, format!("1.{name:0<precision$}"));
    }
    let text = match conversion.to_ascii_lowercase() {
        b'f' => fixed(amount, precision, spec.alternate),
        b'e' => exponential(amount, precision, spec.alternate),
        _ => {
            let precision = precision.max(1);
            let exponent = exponent_of(amount, precision - 1);
            let text = if (-4..precision as i32).contains(&exponent) {
                fixed(amount, (precision as i32 - 1 - exponent) as usize, spec.alternate)
            } else {
                exponential(amount, precision - 1, spec.alternate)
            };
            if spec.alternate { text } else { without_zeroes(&text) }
        }
    };
    (sign, if conversion.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text })
}

fn fixed(amount: f64, precision: usize, point: bool) -> String {
    let text = format!("{amount:.precision$}");
    if point && precision == 0 { text + "." } else { text }
}

fn exponent_of(amount: f64, precision: usize) -> i32 {
    format!("{amount:.precision$e}").split('e').next_back().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn exponential(amount: f64, precision: usize, point: bool) -> String {
    let text = format!("{amount:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let dot = if point && precision == 0 { "." } else { "" };
    format!("{mantissa}{dot}e{}{:03}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn without_zeroes(text: &str) -> String {
    let (mantissa, exponent) = text.split_at(text.find('e').unwrap_or(text.len()));
    if !mantissa.contains('.') {
        return text.to_owned();
    }
    format!("{}{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(text: &str, arguments: &[u64]) -> String {
        let text: Vec<u16> = text.encode_utf16().collect();
        // SAFETY: the tests pass what their formats say.
        let formatted = unsafe { format(&text, Flavor::Narrow, arguments.as_ptr(), usize::MAX) };
        assert_eq!(formatted.total, formatted.units.len());
        String::from_utf16(&formatted.units).expect("the tests' texts are UTF-16")
    }

    #[test]
    fn integers_have_the_widths_of_64_bit_windows() {
        let minus_one = u64::MAX;
        assert_eq!(narrow("%d %ld %I64d %hd", &[minus_one, minus_one, minus_one, minus_one]), "-1 -1 -1 -1");
        assert_eq!(narrow("%u %lu %I64u", &[minus_one; 3]), "4294967295 4294967295 18446744073709551615");
        assert_eq!(narrow("%x|%X|%#x|%#o|%08x", &[255, 255, 255, 8, 255]), "ff|FF|0xff|010|000000ff");
        assert_eq!(narrow("%5d|%-5d|%05d|%+d|% d|%.3d", &[7; 6]), "    7|7    |00007|+7| 7|007");
        assert_eq!(narrow("%*d|%-*d|%.*d", &[4, 1, 4, 2, 3, 3]), "   1|2   |003");
        assert_eq!(narrow("%p", &[0xABC]), "0000000000000ABC");
        assert_eq!(narrow("%llx %Ix %I32x", &[1 << 40, 1 << 40, 1 << 40]), "10000000000 10000000000 0");
        assert_eq!(narrow("%.0d|%%|%y", &[0]), "|%|y");
    }

    #[test]
    fn strings_are_bytes_units_or_counted() {
        let bytes = b"abc\0";
        let wide: Vec<u16> = "xyz\0".encode_utf16().collect();
        let counted = UnicodeString {
            length: 4,
            maximum_length: 6,
            buffer: ks_abi::pointer::Ptr64(wide.as_ptr() as u64),
            ..Default::default()
        };
        let (b, w, z) = (bytes.as_ptr() as u64, wide.as_ptr() as u64, &raw const counted as u64);
        assert_eq!(narrow("%s|%hs|%S|%ls|%ws|%wZ", &[b, b, w, w, w, z]), "abc|abc|xyz|xyz|xyz|xy");
        assert_eq!(narrow("%5s|%-5s|%.2s|%.*s", &[b, b, b, 1, b]), "  abc|abc  |ab|a");
        assert_eq!(narrow("%s %wZ", &[0, 0]), "(null) (null)");
        assert_eq!(narrow("%c%C", &[65, 66]), "AB");
        let text: Vec<u16> = "%s|%S|%hs".encode_utf16().collect();
        // SAFETY: two strings of bytes and one of units.
        let formatted = unsafe { format(&text, Flavor::Wide, [w, b, b].as_ptr(), usize::MAX) };
        assert_eq!(String::from_utf16_lossy(&formatted.units), "xyz|abc|abc");
    }

    #[test]
    fn numbers_with_a_point_follow_the_c_runtime() {
        let bits = |value: f64| value.to_bits();
        assert_eq!(narrow("%f|%.2f|%8.3f", &[bits(1.5), bits(2.345), bits(-1.0)]), "1.500000|2.35|  -1.000");
        assert_eq!(narrow("%e|%.1E", &[bits(12345.678), bits(0.00012)]), "1.234568e+004|1.2E-004");
        assert_eq!(narrow("%g|%g|%g", &[bits(0.0001), bits(1e10), bits(100.0)]), "0.0001|1e+010|100");
        assert_eq!(narrow("%f", &[bits(f64::INFINITY)]), "1.#INF00");
    }

    #[test]
    fn a_limit_cuts_the_text_and_not_its_length() {
        let text: Vec<u16> = "%1000000000d".encode_utf16().collect();
        // SAFETY: one integer.
        let formatted = unsafe { format(&text, Flavor::Narrow, [1].as_ptr(), 10) };
        assert_eq!(formatted.units.len(), 10);
        assert_eq!(formatted.total, 1 << 20);
    }
}
