//! What the twins without a media format share, as `drivers/include/bytes.h`: a data range of plain bytes.

use ks_abi::{KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SUBTYPE_NONE, KSDATAFORMAT_TYPE_STREAM, KsDataFormat};
use ks_stream::{DataFormat, DataRange};

/// Samples of so many bytes.
pub(crate) fn range(sample_bytes: u32) -> DataRange {
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_STREAM, KSDATAFORMAT_SUBTYPE_NONE, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size: sample_bytes, ..head }, &[])
}
