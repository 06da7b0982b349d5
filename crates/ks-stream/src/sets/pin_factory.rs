//! KSPROPSETID_Pin: what a filter's pin factories are, asked on the filter.

use crate::automation::{PropertyItem, PropertySet};
use crate::descriptor::PinId;
use crate::factories::PinFactories;
use crate::filter::Filter;
use crate::pin::intersect;
use crate::property::PropertyCall;
use ks_abi::{
    Guid, KSPROPERTY_PIN_CATEGORY, KSPROPERTY_PIN_CINSTANCES, KSPROPERTY_PIN_COMMUNICATION,
    KSPROPERTY_PIN_CONSTRAINEDDATARANGES, KSPROPERTY_PIN_CTYPES, KSPROPERTY_PIN_DATAFLOW,
    KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_PIN_DATARANGES, KSPROPERTY_PIN_INTERFACES, KSPROPERTY_PIN_MEDIUMS,
    KSPROPERTY_PIN_NAME, KSPROPERTY_PIN_NECESSARYINSTANCES, KSPROPERTY_PIN_PROPOSEDATAFORMAT, KSPROPSETID_Pin,
    KsMultipleItem, KsPinCInstances, KspPin, NtStatus, STATUS_INVALID_PARAMETER, STATUS_NO_MATCH, STATUS_NOT_FOUND,
    STATUS_SUCCESS,
};
use ks_io::{Aspect, Refusal};
use zerocopy::IntoBytes;

// ks-coverage: KSPROPERTY_PIN_CTYPES done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_CINSTANCES done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_DATAFLOW done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_DATARANGES done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_DATAINTERSECTION done test=data_intersection_takes_the_first_pair_that_gives_a_format
// ks-coverage: KSPROPERTY_PIN_INTERFACES done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_MEDIUMS done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_COMMUNICATION done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_NECESSARYINSTANCES done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_CATEGORY done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_NAME done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_CONSTRAINEDDATARANGES done test=a_client_discovers_pins_by_property_requests
// ks-coverage: KSPROPERTY_PIN_PROPOSEDATAFORMAT done test=a_proposed_format_is_tested_and_changes_nothing

const KSP_PIN_BYTES: usize = size_of::<KspPin>();

pub(super) fn set() -> PropertySet<Filter> {
    let fixed = |id: u32, request_bytes: usize, data_bytes: usize| {
        PropertyItem::new(id)
            .request_bytes(request_bytes)
            .data_bytes(data_bytes)
            .get(|filter: &Filter, call: &mut PropertyCall<'_>| static_property(filter, call))
    };
    PropertySet {
        set: KSPROPSETID_Pin,
        items: vec![
            fixed(KSPROPERTY_PIN_CTYPES, 0, 4),
            PropertyItem::new(KSPROPERTY_PIN_CINSTANCES).request_bytes(KSP_PIN_BYTES).data_bytes(8).get(instances),
            fixed(KSPROPERTY_PIN_DATAFLOW, KSP_PIN_BYTES, 4),
            fixed(KSPROPERTY_PIN_COMMUNICATION, KSP_PIN_BYTES, 4),
            fixed(KSPROPERTY_PIN_NECESSARYINSTANCES, KSP_PIN_BYTES, 4),
            fixed(KSPROPERTY_PIN_DATARANGES, KSP_PIN_BYTES, 0),
            fixed(KSPROPERTY_PIN_CONSTRAINEDDATARANGES, KSP_PIN_BYTES, 0),
            fixed(KSPROPERTY_PIN_INTERFACES, KSP_PIN_BYTES, 0),
            fixed(KSPROPERTY_PIN_MEDIUMS, KSP_PIN_BYTES, 0),
            fixed(KSPROPERTY_PIN_CATEGORY, KSP_PIN_BYTES, size_of::<Guid>()),
            fixed(KSPROPERTY_PIN_NAME, KSP_PIN_BYTES, 0),
            PropertyItem::new(KSPROPERTY_PIN_DATAINTERSECTION)
                .request_bytes(KSP_PIN_BYTES + size_of::<KsMultipleItem>())
                .get(data_intersection),
            PropertyItem::new(KSPROPERTY_PIN_PROPOSEDATAFORMAT)
                .request_bytes(KSP_PIN_BYTES)
                .data_bytes(crate::format::HEAD_BYTES)
                .set(propose_data_format),
        ],
    }
}

/// Answers a GET of a static item of KSPROPSETID_Pin: all but the instances and data intersection.
pub(crate) fn static_property(factories: &dyn PinFactories, call: &mut PropertyCall<'_>) -> NtStatus {
    let item = call.property().id;
    if item == KSPROPERTY_PIN_CTYPES {
        return call.answer_value(&factories.count());
    }
    let id = match pin_of(factories, call) {
        Ok(id) => id,
        Err(status) => return status,
    };
    let Some(pin) = factories.factory(id) else { return STATUS_INVALID_PARAMETER };
    match item {
        KSPROPERTY_PIN_DATAFLOW => call.answer_value(&pin.data_flow()),
        KSPROPERTY_PIN_COMMUNICATION => call.answer_value(&pin.communication()),
        KSPROPERTY_PIN_NECESSARYINSTANCES => call.answer_value(&pin.instances_necessary()),
        KSPROPERTY_PIN_DATARANGES | KSPROPERTY_PIN_CONSTRAINEDDATARANGES => {
            let ranges = factories.ranges(id);
            call.answer_list(ranges.iter().map(|range| range.bytes()))
        }
        KSPROPERTY_PIN_INTERFACES => call.answer_list(pin.interfaces().iter().map(|one| one.as_bytes())),
        KSPROPERTY_PIN_MEDIUMS => call.answer_list(pin.mediums().iter().map(|one| one.as_bytes())),
        KSPROPERTY_PIN_CATEGORY => match pin.category() {
            Some(category) => call.answer_value(&category),
            None => STATUS_NOT_FOUND,
        },
        KSPROPERTY_PIN_NAME => match pin.name() {
            Some(name) => call.answer(&utf16(&name)),
            None => STATUS_NOT_FOUND,
        },
        _ => STATUS_NOT_FOUND,
    }
}

fn instances(filter: &Filter, call: &mut PropertyCall<'_>) -> NtStatus {
    let id = match pin_of(filter, call) {
        Ok(id) => id,
        Err(status) => return status,
    };
    let Some(pin) = filter.pin_descriptor(id) else { return STATUS_INVALID_PARAMETER };
    let current_count = filter.pin_count(id);
    call.answer_value(&KsPinCInstances { possible_count: pin.instances_possible(), current_count })
}

fn pin_of(filter: &dyn PinFactories, call: &mut PropertyCall<'_>) -> Result<PinId, NtStatus> {
    let request: KspPin = call.request_as()?;
    let count = filter.count();
    if request.pin_id >= count {
        let reason = format!("{} has {count} pins; there is no pin {}", filter.name(), request.pin_id);
        return Err(call.refuse(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::PinId, reason)));
    }
    Ok(request.pin_id)
}

fn data_intersection(filter: &Filter, call: &mut PropertyCall<'_>) -> NtStatus {
    let id = match pin_of(filter, call) {
        Ok(id) => id,
        Err(status) => return status,
    };
    let found = intersect::RangeList::parse(&call.request()[KSP_PIN_BYTES..])
        .and_then(|ranges| intersect::intersect(filter, id, &ranges, call.origin()));
    match found {
        Ok(format) => call.answer(format.bytes()),
        Err(refusal) => call.refuse(refusal),
    }
}

/// SET tests a format and changes nothing.
fn propose_data_format(filter: &Filter, call: &mut PropertyCall<'_>) -> NtStatus {
    let id = match pin_of(filter, call) {
        Ok(id) => id,
        Err(status) => return status,
    };
    let format = match crate::format::DataFormat::parse(call.data()) {
        Ok((format, _)) => format,
        Err(status) => return status,
    };
    let Some(instance) = filter.instance() else { return STATUS_NO_MATCH };
    let _control = filter.control().hold();
    for range in filter.data_ranges(id) {
        if crate::format::falls_into(format.head(), range.head()).is_ok()
            && crate::format::attributes_agree(&format, &range).is_ok()
            && instance.accept_format(id, &format, &range).is_ok()
        {
            return STATUS_SUCCESS;
        }
    }
    STATUS_NO_MATCH
}

/// A zero-terminated UTF-16 string, as the header's Unicode answers are.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
