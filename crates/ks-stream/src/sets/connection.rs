//! KSPROPSETID_Connection: state, format and framing of a pin.

use crate::automation::{PropertyItem, PropertySet};
use crate::descriptor::{ExtendedFraming, PinFlags};
use crate::format::DataFormat;
use crate::pin::Pin;
use crate::process::FirstTurn;
use crate::property::PropertyCall;
use ks_abi::{
    Guid, KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY, KSPROPERTY_CONNECTION_ALLOCATORFRAMING,
    KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_CONNECTION_PRIORITY,
    KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT, KSPROPERTY_CONNECTION_STATE, KSPROPSETID_Connection, KsAllocatorFraming,
    KsAllocatorFramingEx, KsPriority, KsState, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_NO_MATCH,
    STATUS_NOT_FOUND, STATUS_SUCCESS,
};
use ks_io::Refusal;
use std::mem::offset_of;
use zerocopy::IntoBytes;

// ks-coverage: KSPROPERTY_CONNECTION_STATE done test=a_pin_steps_through_its_states_and_back,an_acquire_that_a_driver_pends_is_completed_by_the_class_driver_and_the_pin_streams
// ks-coverage: KSPROPERTY_CONNECTION_PRIORITY done test=the_class_driver_answers_or_refuses_every_property
// ks-coverage: KSPROPERTY_CONNECTION_DATAFORMAT done test=a_fixed_format_is_read_and_cannot_be_set,a_client_changes_the_format_at_any_pin_of_a_running_circuit
// ks-coverage: KSPROPERTY_CONNECTION_ALLOCATORFRAMING done test=framing_is_told_in_both_forms
// ks-coverage: KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX done test=framing_is_told_in_both_forms
// ks-coverage: KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT done test=a_proposed_format_is_tested_and_changes_nothing,a_decoder_is_asked_before_its_stream_changes_and_its_output_follows_while_it_runs

pub(super) fn set() -> PropertySet<Pin> {
    PropertySet {
        set: KSPROPSETID_Connection,
        items: vec![
            PropertyItem::new(KSPROPERTY_CONNECTION_STATE)
                .data_bytes(size_of::<KsState>())
                .get(|pin: &Pin, call: &mut PropertyCall<'_>| call.answer_value(&pin.agreed_state()))
                .set(set_state),
            PropertyItem::new(KSPROPERTY_CONNECTION_PRIORITY)
                .data_bytes(size_of::<KsPriority>())
                .get(|pin: &Pin, call: &mut PropertyCall<'_>| call.answer_value(&pin.priority())),
            PropertyItem::new(KSPROPERTY_CONNECTION_DATAFORMAT).get(format).set(set_format),
            PropertyItem::new(KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT)
                .data_bytes(crate::format::HEAD_BYTES)
                .set(propose_format),
            PropertyItem::new(KSPROPERTY_CONNECTION_ALLOCATORFRAMING)
                .data_bytes(size_of::<KsAllocatorFraming>())
                .get(framing),
            PropertyItem::new(KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX).get(framing_ex),
        ],
    }
}

fn set_state(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let to: KsState = match call.data_as() {
        Ok(to) => to,
        Err(status) => return status,
    };
    let Some(pin) = pin.me() else { return ks_abi::STATUS_DEVICE_REMOVED };
    if to > KsState::STOP {
        FirstTurn::follows(call.origin(), pin.services());
    }
    match pin.set_state(to) {
        Ok(()) => STATUS_SUCCESS,
        Err(refusal) => call.refuse(refusal),
    }
}

/// A client that was told of a change of format in what it read has this as the answer to what the format is, and its
/// stream goes on.
fn format(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let status = call.answer(pin.format().bytes());
    if status == STATUS_SUCCESS
        && let Some(pin) = pin.me()
    {
        pin.format_fetched();
    }
    status
}

fn set_format(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    if pin.flags().contains(PinFlags::FIXED_FORMAT) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    let format = match DataFormat::parse(call.data()) {
        Ok((format, _)) => format,
        Err(status) => return status,
    };
    if !pin.has_range_for(&format) {
        return STATUS_NO_MATCH;
    }
    let Some(pin) = pin.me() else { return ks_abi::STATUS_DEVICE_REMOVED };
    match pin.request_format(format) {
        Ok(()) => STATUS_SUCCESS,
        Err(refusal) => call.refuse(refusal),
    }
}

fn propose_format(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let format = match DataFormat::parse(call.data()) {
        Ok((format, _)) => format,
        Err(status) => return status,
    };
    let Some(pin) = pin.me() else { return ks_abi::STATUS_DEVICE_REMOVED };
    match pin.proposed_format(&format) {
        Ok(()) => STATUS_SUCCESS,
        // Who asks takes that for a pin that does not know the property.
        Err(refusal) if refusal.status == STATUS_INVALID_DEVICE_REQUEST => {
            call.refuse(Refusal { status: STATUS_NO_MATCH, ..refusal })
        }
        Err(refusal) => call.refuse(refusal),
    }
}

fn has_framing(pin: &Pin) -> bool {
    let declared = pin.filter().pin_descriptor(pin.id()).and_then(|descriptor| descriptor.framing());
    declared.is_some() || pin.instance().is_some_and(|instance| instance.framing(pin).is_some())
}

/// A KSALLOCATOR_FRAMING_EX with all of its items.
fn listed(extended: &ExtendedFraming) -> Vec<u8> {
    let head = KsAllocatorFramingEx {
        count_items: extended.items.len() as u32,
        output_compression: extended.compression,
        ..Default::default()
    };
    let items = offset_of!(KsAllocatorFramingEx, framing_item);
    let mut bytes = head.as_bytes()[..items].to_vec();
    bytes.extend_from_slice(extended.items.as_bytes());
    bytes
}

fn framing(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    if !has_framing(pin) {
        return STATUS_NOT_FOUND;
    }
    let framing = pin.framing();
    call.answer_value(&KsAllocatorFraming {
        flags: KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY,
        frames: framing.frames,
        frame_size: framing.frame_bytes,
        file_alignment: framing.alignment.max(1) - 1,
        ..Default::default()
    })
}

fn framing_ex(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    if let Some(extended) = pin.extended_framing() {
        return call.answer(&listed(&extended));
    }
    if !has_framing(pin) {
        return STATUS_NOT_FOUND;
    }
    let framing = pin.framing();
    call.answer_value(&KsAllocatorFramingEx::simple(
        Guid::NULL,
        KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY,
        framing.frames,
        framing.alignment.max(1) - 1,
        framing.frame_bytes,
        framing.frame_bytes,
    ))
}
