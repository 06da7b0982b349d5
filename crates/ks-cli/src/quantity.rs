//! Numbers as people read them.

/// A duration: "870 ns", "12.3 µs", "1.2 ms", "5.01 s", "2 min 5 s".
pub(crate) fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", three_digits(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(ns, 1_000_000)),
        1_000_000_000..60_000_000_000 => format!("{}.{:02} s", ns / 1_000_000_000, ns % 1_000_000_000 / 10_000_000),
        _ => format!("{} min {} s", ns / 60_000_000_000, ns % 60_000_000_000 / 1_000_000_000),
    }
}

/// An amount of bytes in powers of 1000: "17 B", "4.1 kB", "207 MB".
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1_000_000_000_000_000, "PB"),
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    UNITS
        .iter()
        .find(|(unit, _)| bytes >= *unit)
        .map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", three_digits(bytes, *unit)))
}

/// A count with a thin mark at each thousand: "1'234'567".
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\'');
        }
        text.push(digit);
    }
    text
}

/// "1 frame", "2 frames".
pub(crate) fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `value / unit` below 1000 (or more for the largest unit), with one decimal below 100; rounded down.
fn three_digits(value: u64, unit: u64) -> String {
    let whole = value / unit;
    if whole >= 100 { whole.to_string() } else { format!("{whole}.{}", value % unit / (unit / 10)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_fits() {
        let shown = [0, 999, 1_000, 12_345, 123_456, 1_200_000, 5_016_000_000, 125_900_000_000].map(duration);
        assert_eq!(shown, ["0 ns", "999 ns", "1.0 µs", "12.3 µs", "123 µs", "1.2 ms", "5.01 s", "2 min 5 s"]);
        assert!(!duration(u64::MAX).is_empty());
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let shown = [0, 999, 4_096, 207_360_000, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "4.0 kB", "207 MB", "18446 PB"]);
    }

    #[test]
    fn counts_are_marked_at_the_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1'000", "1'234'567"]);
        assert_eq!([plural(1, "frame"), plural(150, "frame")], ["1 frame", "150 frames"]);
    }
}
