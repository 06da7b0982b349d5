//! Control requests that are no property, method, event or stream: what an object answers to a code that it does not know,
//! and what a reset asks for.

use ks_abi::{
    IoControlCode, KsReset, NtStatus, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_PROPSET_NOT_FOUND,
};
use zerocopy::FromBytes;

/// The status of a control code that an object does not answer; AVStream's objects end with it, and a driver without
/// AVStream may.
///
/// Decision: property, method and event requests fail with STATUS_PROPSET_NOT_FOUND, so that an unknown set does not
/// look like an invalid request; every other code is an invalid device request. Source: nf-ks-ksdefaultdeviceiocompletion.
// ks-coverage: KsDefaultDeviceIoCompletion done test=every_kind_of_handle_has_an_outcome_for_every_code,a_rust_driver_without_avstream_answers_codes_that_it_does_not_know_as_avstream_does
#[doc(alias = "KsDefaultDeviceIoCompletion")]
pub fn default_completion(code: IoControlCode) -> NtStatus {
    match code {
        IoControlCode::KS_PROPERTY | IoControlCode::KS_METHOD | IoControlCode::KS_ENABLE_EVENT => {
            STATUS_PROPSET_NOT_FOUND
        }
        _ => STATUS_INVALID_DEVICE_REQUEST,
    }
}

/// What an IOCTL_KS_RESET_STATE asks for, from its input.
///
/// STATUS_INVALID_BUFFER_SIZE: there is less than a KSRESET; STATUS_INVALID_PARAMETER: it neither begins nor ends.
/// Source: nf-ks-ksacquireresetvalue.
// ks-coverage: KsAcquireResetValue done test=a_reset_of_an_avstream_source_reaches_a_rust_driver_without_avstream
#[doc(alias = "KsAcquireResetValue")]
pub fn reset_value(input: &[u8]) -> Result<KsReset, NtStatus> {
    match KsReset::read_from_prefix(input) {
        Ok((reset @ (KsReset::BEGIN | KsReset::END), _)) => Ok(reset),
        Ok(_) => Err(STATUS_INVALID_PARAMETER),
        Err(_) => Err(STATUS_INVALID_BUFFER_SIZE),
    }
}
