//! Which requests carry data in the buffer that is called their output.
//!
//! All KS control codes are METHOD_NEITHER: the meaning of the second buffer depends on the request. It is captured
//! where it is data and left alone where it is only room, so a caller that offers much room costs nothing.

use ks_abi::{IoControlCode, KSEVENT_TYPE_QUERYBUFFER, KSPROPERTY_TYPE_GET};

/// Where the flags of a KSIDENTIFIER stand.
const FLAGS: std::ops::Range<usize> = 20..24;

pub(crate) fn output_is_data(code: IoControlCode, input: &[u8]) -> bool {
    let flags = input.get(FLAGS).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    match code {
        IoControlCode::KS_PROPERTY => flags & KSPROPERTY_TYPE_GET == 0,
        IoControlCode::KS_ENABLE_EVENT => flags & KSEVENT_TYPE_QUERYBUFFER == 0,
        IoControlCode::KS_METHOD | IoControlCode::KS_READ_STREAM | IoControlCode::KS_WRITE_STREAM => true,
        _ => false,
    }
}
