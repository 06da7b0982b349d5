//! Formats and ranges in words, for refusals.

use crate::format::DataFormat;
pub use ks_abi::describe::guid;

/// One format in words.
pub fn format(format: &DataFormat) -> String {
    ks_abi::describe::format(format.bytes())
}

/// One range in words.
pub fn range(range: &DataFormat) -> String {
    ks_abi::describe::range(range.bytes())
}

/// A list of ranges in words.
pub fn ranges(ranges: &[DataFormat]) -> String {
    match ranges {
        [] => "nothing".into(),
        [one] => range(one),
        many => many.iter().map(range).collect::<Vec<_>>().join(", "),
    }
}
