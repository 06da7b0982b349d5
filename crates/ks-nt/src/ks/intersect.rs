//! Data intersection: the driver's handler is asked for a format.

use crate::ks::address::{Address, Routine, status};
use crate::ks::descriptor;
use crate::ks::filter::{HostedFilter, is_agreed, refused};
use crate::ks::irp::{LentIrp, Target};
use ks_abi::kernel::{IRP_MJ_DEVICE_CONTROL, KsPinDescriptorEx};
use ks_abi::{
    IoControlCode, KSDATAFORMAT_SPECIFIER_NONE, KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_TYPE_GET, KSPROPSETID_Pin,
    KsDataFormat, KsIdentifier, KspPin, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE,
    STATUS_NO_MATCH,
};
use ks_io::{Aspect, Refusal};
use ks_mem::Block;
use ks_stream::{DataFormat, DataRange, DescribeFilter, Intersection};
use std::mem::offset_of;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// The largest format that a driver may answer with.
const MOST_FORMAT_BYTES: u32 = 1 << 20;

fn no_memory<E>(_: E) -> Refusal {
    Refusal::new(ks_abi::STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, "no memory for a data format")
}

/// A copy of bytes that a driver may read.
fn lent(bytes: &[u8]) -> Result<Block, Refusal> {
    let block = Block::zeroed(bytes.len().max(8), 16).map_err(no_memory)?;
    block.write_bytes(0, bytes);
    Ok(block)
}

/// Asks a handler for the format in a client's range and its own matching one: first for its size, then for it.
pub(crate) fn ask(
    filter: &Arc<HostedFilter>,
    handler: Routine,
    descriptor: Address,
    asked: &Intersection<'_>,
) -> Result<DataFormat, Refusal> {
    let &Intersection { pin, range, matching, matching_index, origin } = asked;
    let client = lent(range.bytes())?;
    let plain = descriptor.get(offset_of!(KsPinDescriptorEx, pin_descriptor));
    // A handler may tell its ranges apart by their addresses, or keep members of its own behind them. The driver may have
    // edited its descriptor since the ranges were listed.
    let ranges = descriptor::ranges(&plain);
    let in_place = ranges.get(matching_index).filter(|(_, own)| own == matching);
    let own = in_place.or_else(|| ranges.iter().find(|(_, own)| own == matching)).map(|(address, _)| address.0);
    let copy = lent(matching.bytes())?;
    let own = own.unwrap_or_else(|| copy.address());
    let request = KspPin {
        property: KsIdentifier {
            set: KSPROPSETID_Pin,
            id: KSPROPERTY_PIN_DATAINTERSECTION,
            flags: KSPROPERTY_TYPE_GET,
        },
        pin_id: pin,
        ..KspPin::default()
    };
    let request = lent(request.as_bytes())?;
    let irp = LentIrp::lend(Target::Filter(filter.clone()), IRP_MJ_DEVICE_CONTROL, origin.mode());
    let irp = irp.map_err(no_memory)?;
    irp.set_parameter(1, size_of::<KspPin>() as u64);
    irp.set_parameter(2, u64::from(IoControlCode::KS_PROPERTY.0));
    let size = Block::zeroed(8, 8).map_err(no_memory)?;
    let call = |room: u32, data: u64| {
        size.store_u32(0, 0);
        let answer = handler.call8(
            filter.address(),
            irp.address(),
            request.address(),
            client.address(),
            own,
            u64::from(room),
            data,
            size.address(),
        );
        (status(answer), size.load_u32(0))
    };
    let (first, bytes) = call(0, 0);
    let asked = first == STATUS_BUFFER_OVERFLOW || first == STATUS_BUFFER_TOO_SMALL || is_agreed(first);
    if !asked {
        return Err(refused("intersect handler", &format!("{}.{pin}", filter.view().reference()), first));
    }
    if bytes < size_of::<KsDataFormat>() as u32 || bytes > MOST_FORMAT_BYTES {
        let reason = format!("the intersect handler asks for {bytes} bytes for a data format");
        return Err(Refusal::new(STATUS_INVALID_BUFFER_SIZE, Aspect::Driver, reason));
    }
    let data = Block::zeroed(bytes as usize, 16).map_err(no_memory)?;
    let (second, written) = call(bytes, data.address());
    if !is_agreed(second) {
        return Err(refused("intersect handler", &format!("{}.{pin}", filter.view().reference()), second));
    }
    let mut format = vec![0; written.min(bytes) as usize];
    data.read_bytes(0, &mut format);
    DataFormat::parse(&format).map(|(format, _)| format).map_err(|status| {
        Refusal::new(status, Aspect::Driver, "the intersect handler answered with a format whose sizes do not add up")
    })
}

/// What AVStream intersects without a handler: ranges without a format block.
pub(crate) fn default_handler(range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
    let (client, factory) = (range.head(), matching.head());
    if factory.specifier != KSDATAFORMAT_SPECIFIER_NONE {
        let reason = "the driver has no intersect handler for a range with a format block";
        return Err(Refusal::new(STATUS_NO_MATCH, Aspect::Specifier, reason));
    }
    let either = |one: ks_abi::Guid, other| if one.is_null() { other } else { one };
    let head = KsDataFormat {
        sample_size: factory.sample_size.max(client.sample_size),
        ..KsDataFormat::new(
            either(factory.major_format, client.major_format),
            either(factory.sub_format, client.sub_format),
            KSDATAFORMAT_SPECIFIER_NONE,
            0,
        )
    };
    Ok(DataFormat::new(head, &[]))
}
