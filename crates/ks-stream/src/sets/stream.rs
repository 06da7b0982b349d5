//! KSPROPSETID_Stream and KSPROPSETID_StreamInterface, asked on the pin.

use crate::automation::{PropertyItem, PropertySet};
use crate::pin::Pin;
use crate::property::PropertyCall;
use ks_abi::{
    KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_STREAMINTERFACE_HEADERSIZE,
    KSPROPSETID_Stream, KSPROPSETID_StreamInterface, KsState, NtStatus, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_HANDLE, STATUS_NOT_IMPLEMENTED, STATUS_SUCCESS,
};

// ks-coverage: KSPROPERTY_STREAM_ALLOCATOR not-implemented
// ks-coverage: KSPROPERTY_STREAM_MASTERCLOCK done test=a_master_clock_is_set_in_stop_only
// ks-coverage: KSPROPERTY_STREAMINTERFACE_HEADERSIZE done test=a_camera_has_extended_headers

pub(super) fn set() -> PropertySet<Pin> {
    PropertySet {
        set: KSPROPSETID_Stream,
        items: vec![
            // The default allocator belongs to the pipe; allocators as objects are not there yet.
            PropertyItem::new(KSPROPERTY_STREAM_ALLOCATOR)
                .data_bytes(8)
                .get(|_: &Pin, _: &mut PropertyCall<'_>| STATUS_NOT_IMPLEMENTED)
                .set(|_: &Pin, _: &mut PropertyCall<'_>| STATUS_NOT_IMPLEMENTED),
            // Success of the GET is the answer; the handle itself is NULL.
            PropertyItem::new(KSPROPERTY_STREAM_MASTERCLOCK)
                .data_bytes(8)
                .get(|_: &Pin, call: &mut PropertyCall<'_>| call.answer_value(&0u64))
                .set(set_master_clock),
        ],
    }
}

pub(super) fn interface_set() -> PropertySet<Pin> {
    PropertySet {
        set: KSPROPSETID_StreamInterface,
        items: vec![
            PropertyItem::new(KSPROPERTY_STREAMINTERFACE_HEADERSIZE)
                .data_bytes(4)
                .get(|pin: &Pin, call: &mut PropertyCall<'_>| call.answer_value(&pin.stream_header_bytes())),
        ],
    }
}

/// In STOP only. The pin keeps the clock's file object until another is set; the client still closes its handle.
fn set_master_clock(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let handle: u64 = match call.data_as() {
        Ok(handle) => handle,
        Err(status) => return status,
    };
    let clock = match (handle, call.file_object()) {
        (0, _) => None,
        (_, Some(file)) => match file.file_by_handle(handle) {
            Some(clock) if clock.object_as::<crate::clock_object::ClockObject>().is_some() => Some(clock),
            _ => return STATUS_INVALID_HANDLE,
        },
        (_, None) => return STATUS_INVALID_HANDLE,
    };
    let old = {
        // No change of state comes between.
        let _control = pin.filter().control().hold();
        if pin.agreed_state() != KsState::STOP {
            return STATUS_INVALID_DEVICE_STATE;
        }
        std::mem::replace(&mut *pin.master_clock().lock(), clock)
    };
    // The old clock goes after the locks are released: this may have been its last reference.
    drop(old);
    STATUS_SUCCESS
}
