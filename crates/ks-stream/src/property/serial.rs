//! A property set as one block of bytes: SERIALIZESET, UNSERIALIZESET and SERIALIZESIZE.
//!
//! The block is a KSPROPERTY_SERIALHDR and, for each property, a KSPROPERTY_SERIAL at a multiple of four and its value.
//! The requests that a serialized set is read and written by are of the client that asks, see [`Asked::run`]; a value
//! that is a serialized set itself is a value like any other.
//!
//! Source: ns-ks-ksidentifier, ns-ks-ksproperty_serialhdr, ns-ks-ksproperty_serial.

use super::{Asked, unknown_set};
use crate::automation::{AutomationTable, PropertyItem, SERIALIZED_BY_SIZE_QUERY};
use ks_abi::{
    KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KsIdentifier, KsMultipleItem, KsPropertySerial, KsPropertySerialHeader,
    NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_SUCCESS,
};
use ks_io::{Aspect, Output, Refusal};
use ks_mem::fallible;
use zerocopy::{FromBytes, IntoBytes};

const HEADER_BYTES: usize = size_of::<KsPropertySerialHeader>();
const ENTRY_BYTES: usize = size_of::<KsPropertySerial>();
/// FILE_LONG_ALIGNMENT
const ALIGNMENT: usize = 4;
/// The most bytes of a serialized set.
const MOST_BYTES: usize = 16 << 20;

/// The properties of a set that are serialized with it: those with a serialized size, the driver's before the class
/// driver's. `None`: no table has the set.
fn serialized<'t, T>(
    asked: &Asked<'_>,
    tables: &[&'t AutomationTable<T>],
) -> Result<Vec<&'t PropertyItem<T>>, Refusal> {
    let mut items: Vec<&PropertyItem<T>> = Vec::new();
    let mut known = false;
    for set in tables.iter().flat_map(|table| &table.properties).filter(|set| set.set == asked.property.set) {
        known = true;
        for item in &set.items {
            if !items.iter().any(|before| before.id == item.id) {
                items.push(item);
            }
        }
    }
    if !known {
        return Err(unknown_set(asked.property.set, "property"));
    }
    items.retain(|item| item.serialized_bytes != 0);
    Ok(items)
}

fn value_type<T: 'static>(item: &PropertyItem<T>) -> KsIdentifier {
    item.values.as_ref().map_or_else(KsIdentifier::default, |values| values.value_type)
}

/// Bytes of one serialized value. One of unknown size is asked for its size, and else for the head of its list.
fn value_bytes<T: 'static>(
    object: &T,
    asked: &Asked<'_>,
    item: &PropertyItem<T>,
) -> Result<Result<usize, NtStatus>, Refusal> {
    if item.serialized_bytes != SERIALIZED_BY_SIZE_QUERY {
        return Ok(Ok(item.serialized_bytes as usize));
    }
    let size = asked.size_of_answer(object, item)?;
    if let Ok(bytes) = size
        && bytes > 0
    {
        return Ok(Ok(bytes));
    }
    let mut head = Output::with_room(size_of::<KsMultipleItem>());
    let status = asked.run(object, item, KSPROPERTY_TYPE_GET, &mut head)?;
    Ok(match KsMultipleItem::read_from_bytes(head.answered()) {
        Ok(list) if status.is_success() => Ok(list.size as usize),
        // A value without bytes, or a failure.
        _ => size,
    })
}

/// SERIALIZESIZE: the bytes of one value, without the heads around it.
pub(super) fn serialized_size<T: 'static>(
    object: &T,
    asked: &Asked<'_>,
    item: &PropertyItem<T>,
    output: &mut Output,
) -> Result<NtStatus, Refusal> {
    if output.limit() < size_of::<u32>() {
        return Ok(output.too_small(size_of::<u32>()));
    }
    if item.serialized_bytes == 0 {
        return Ok(output.answer_value(&0u32));
    }
    Ok(match value_bytes(object, asked, item)? {
        Ok(bytes) => output.answer_value(&u32::try_from(bytes).unwrap_or(u32::MAX)),
        Err(failure) => failure,
    })
}

/// SERIALIZESET. A value that has grown since its size was asked does not fit any more and fails the request.
pub(super) fn serialize_set<T: 'static>(
    object: &T,
    asked: &Asked<'_>,
    output: &mut Output,
    tables: &[&AutomationTable<T>],
) -> Result<NtStatus, Refusal> {
    let items: Vec<_> = serialized(asked, tables)?.into_iter().filter(|item| item.get.is_some()).collect();
    let room = output.limit();
    let header = KsPropertySerialHeader { property_set: asked.property.set, count: items.len() as u32 };
    let mut bytes = header.as_bytes().to_vec();
    let mut size = HEADER_BYTES;
    for item in items {
        let value = match value_bytes(object, asked, item)? {
            Ok(value) => value,
            Err(failure) => return Ok(failure),
        };
        size = size.next_multiple_of(ALIGNMENT) + ENTRY_BYTES;
        size = match size.checked_add(value) {
            Some(size) if size <= MOST_BYTES => size,
            _ => return Ok(STATUS_INSUFFICIENT_RESOURCES),
        };
        if room == 0 {
            continue;
        }
        if size > room {
            return Ok(output.too_small(size));
        }
        let mut answer = Output::with_room(value);
        match asked.run(object, item, KSPROPERTY_TYPE_GET, &mut answer)? {
            STATUS_SUCCESS => {}
            STATUS_BUFFER_OVERFLOW => return Ok(STATUS_BUFFER_TOO_SMALL),
            failure => return Ok(failure),
        }
        let value = answer.answered();
        if fallible(|| bytes.try_reserve(ALIGNMENT + ENTRY_BYTES + value.len())).is_err() {
            return Ok(STATUS_INSUFFICIENT_RESOURCES);
        }
        let property_length = value.len() as u32;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        let entry = KsPropertySerial { prop_type_set: value_type(item), id: item.id, property_length };
        bytes.extend_from_slice(entry.as_bytes());
        bytes.extend_from_slice(value);
        size = bytes.len();
    }
    Ok(if room == 0 { output.too_small(size) } else { output.answer(&bytes) })
}

/// UNSERIALIZESET: the whole block is read before the first value is written. The first value that is refused ends it;
/// those before it stay written.
pub(super) fn unserialize_set<T: 'static>(
    object: &T,
    asked: &Asked<'_>,
    output: &mut Output,
    tables: &[&AutomationTable<T>],
) -> Result<NtStatus, Refusal> {
    let items = serialized(asked, tables)?;
    if output.data().len() < HEADER_BYTES {
        return Ok(output.too_small(HEADER_BYTES));
    }
    for (item, value) in entries(asked, output.data(), &items)? {
        let mut data = match Output::new(value.len(), value) {
            Ok(data) => data,
            Err(status) => return Ok(status),
        };
        let status = asked.run(object, item, KSPROPERTY_TYPE_SET, &mut data)?;
        if !status.is_success() {
            return Ok(status);
        }
    }
    Ok(STATUS_SUCCESS)
}

type Entries<'t, 'd, T> = Vec<(&'t PropertyItem<T>, &'d [u8])>;

/// The properties and values of a serialized set.
fn entries<'t, 'd, T: 'static>(
    asked: &Asked<'_>,
    data: &'d [u8],
    items: &[&'t PropertyItem<T>],
) -> Result<Entries<'t, 'd, T>, Refusal> {
    let refused = |status, reason: String| Refusal::new(status, Aspect::Request, reason);
    let cut = |index: u32| refused(STATUS_INVALID_BUFFER_SIZE, format!("the serialized set ends in property {index}"));
    let Ok((header, mut rest)) = KsPropertySerialHeader::read_from_prefix(data) else { return Err(cut(0)) };
    let (set, count) = (header.property_set, header.count);
    if set != asked.property.set {
        let reason = format!("the set {set} is serialized, and {} was asked to take it", asked.property.set);
        return Err(refused(STATUS_INVALID_PARAMETER, reason));
    }
    let mut entries = Vec::new();
    for index in 0..count {
        // Every part before was a multiple of four long, or the value before this.
        let at = (data.len() - rest.len()).next_multiple_of(ALIGNMENT);
        let Some((entry, values)) = data.get(at..).and_then(|rest| KsPropertySerial::read_from_prefix(rest).ok())
        else {
            return Err(cut(index));
        };
        let Some((value, after)) = values.split_at_checked(entry.property_length as usize) else {
            return Err(cut(index));
        };
        rest = after;
        let Some(item) = items.iter().find(|item| item.id == entry.id && item.set.is_some()) else {
            let reason = format!("property {} is no part of the serialized set", entry.id);
            return Err(refused(STATUS_NOT_FOUND, reason));
        };
        if entry.prop_type_set != value_type(item) {
            let reason = format!("property {} is serialized with a type that it does not have", entry.id);
            return Err(refused(STATUS_INVALID_PARAMETER, reason));
        }
        if fallible(|| entries.try_reserve(1)).is_err() {
            return Err(refused(STATUS_INSUFFICIENT_RESOURCES, format!("no memory for {count} properties")));
        }
        entries.push((*item, value));
    }
    if rest.len() >= ALIGNMENT {
        let reason = format!("{} bytes stand behind the last of {count} properties", rest.len());
        return Err(refused(STATUS_INVALID_BUFFER_SIZE, reason));
    }
    Ok(entries)
}
