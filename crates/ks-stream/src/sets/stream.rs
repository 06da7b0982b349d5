//! KSPROPSETID_Stream and KSPROPSETID_StreamInterface, asked on the pin.

use crate::allocator::{AllocatorObject, allocator_of_another_process};
use crate::automation::{PropertyItem, PropertySet};
use crate::clock::MasterClock;
use crate::pin::Pin;
use crate::property::PropertyCall;
use ks_abi::{
    KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_STREAMINTERFACE_HEADERSIZE,
    KSPROPSETID_Stream, KSPROPSETID_StreamInterface, KsState, NtStatus, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_HANDLE, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};
use ks_io::FileObject;
use ks_io::sync::{Arc, Mutex};
use ks_mem::FrameMemory;

// ks-coverage: KSPROPERTY_STREAM_ALLOCATOR done test=an_allocator_is_named_to_a_pin_in_stop_only,a_circuit_takes_its_frames_from_the_allocator_that_was_named
// ks-coverage: KSPROPERTY_STREAM_MASTERCLOCK done test=a_master_clock_is_set_in_stop_only,a_driver_goes_by_the_clock_of_another_process,a_graph_goes_by_the_clock_that_a_driver_offers
// ks-coverage: KSPROPERTY_STREAMINTERFACE_HEADERSIZE done test=a_camera_has_extended_headers

pub(super) fn set() -> PropertySet<Pin> {
    PropertySet {
        set: KSPROPSETID_Stream,
        items: vec![
            PropertyItem::new(KSPROPERTY_STREAM_ALLOCATOR).data_bytes(8).get(allocator_support).set(set_allocator),
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

/// The pin keeps the clock's file object until another is set; the client still closes its handle. The clock may be in
/// another process: what it shows is asked there first.
fn set_master_clock(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    match assign(pin, call, |file| MasterClock::of(file, pin.services()), Pin::master_clock) {
        Ok(old) => {
            if let Some(old) = old {
                old.let_go();
            }
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// Success of the GET is the answer that the pin can provide an allocator; the handle itself is NULL.
fn allocator_support(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    if pin.has_allocators() { call.answer_value(&0u64) } else { STATUS_NOT_SUPPORTED }
}

/// The allocator that the pin's frames are to come from; it is kept like a master clock.
fn set_allocator(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let allocator = |file: &Arc<FileObject>| match file.object_as::<AllocatorObject>() {
        Some(_) => Ok(file.clone()),
        None if file.object().is_some_and(|object| object.frame_memory() == FrameMemory::Shared) => {
            Err(STATUS_NOT_SUPPORTED)
        }
        None => Err(STATUS_INVALID_HANDLE),
    };
    match assign(pin, call, allocator, Pin::stream_allocator) {
        Ok(old) => {
            drop(old);
            pin.give_lent_frames_back();
            STATUS_SUCCESS
        }
        Err(STATUS_NOT_SUPPORTED) => call.refuse(allocator_of_another_process()),
        Err(status) => status,
    }
}

/// Keeps the object that the data names by handle; 0 lets go. In STOP only. Gives the old one, which goes after the locks are
/// released: this may have been its last reference.
fn assign<T>(
    pin: &Pin,
    call: &mut PropertyCall<'_>,
    find: impl FnOnce(&Arc<FileObject>) -> Result<T, NtStatus>,
    place: fn(&Pin) -> &Mutex<Option<T>>,
) -> Result<Option<T>, NtStatus> {
    let handle: u64 = call.data_as()?;
    let named = match (handle, call.file_object()) {
        (0, _) => None,
        (_, Some(file)) => Some(find(&file.file_by_handle(handle).ok_or(STATUS_INVALID_HANDLE)?)?),
        (_, None) => return Err(STATUS_INVALID_HANDLE),
    };
    // No change of state comes between.
    let control = pin.filter().control().hold();
    if pin.agreed_state() != KsState::STOP {
        drop(control);
        drop(named);
        return Err(STATUS_INVALID_DEVICE_STATE);
    }
    Ok(std::mem::replace(&mut *place(pin).lock(), named))
}
