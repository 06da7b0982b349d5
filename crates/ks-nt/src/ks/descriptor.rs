//! Descriptors as they stand in the driver's memory, read at each use.

use crate::ks::address::Address;
use crate::ks::media_names;
use ks_abi::kernel::{KsFilterDescriptor, KsNodeDescriptor, KsPinDescriptor, KsPinDescriptorEx};
use ks_abi::{
    Guid, KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED, KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, KSDATARANGE_ATTRIBUTES,
    KsAllocatorFramingEx, KsComponentId, KsDataFormat, KsMultipleItem, KsPinCommunication, KsPinDataFlow,
    KsPinInterface, KsPinMedium, KsTopologyConnection,
};
use ks_stream::{
    DataRange, DescribeFilter, DescribePin, ExtendedFraming, FilterDispatch, FilterFlags, Framing, PinFlags, PinId,
};
use std::borrow::Cow;
use std::mem::offset_of;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// More of anything than this is no descriptor but an accident.
pub(crate) const MOST_PINS: u32 = 256;
pub(crate) const MOST_NODES: u32 = 256;
pub(crate) const MOST_ENTRIES: u32 = 1024;
/// The largest data range, format or attribute.
pub(crate) const MOST_RANGE_BYTES: u32 = 1 << 20;

/// A filter as a descriptor in the driver's memory describes it. The descriptor is found anew at each use through the
/// first word of a public block, because a driver may edit it.
pub(crate) struct FilterView {
    /// Address of the KSFILTERFACTORY or KSFILTER.
    owner: Address,
    reference: String,
    friendly_name: String,
    pins: Vec<PinView>,
    dispatch: Arc<dyn FilterDispatch>,
}

/// A pin factory of a [`FilterView`].
pub(crate) struct PinView {
    owner: Address,
    id: PinId,
}

/// What an object that is closed points at: a descriptor of nothing. The engine may look once more on another thread,
/// when the driver's memory is gone.
static CLOSED: Closed = Closed { words: [0; 32] };

#[repr(C, align(16))]
struct Closed {
    /// As many as the largest descriptor has.
    words: [u64; 32],
}

const _: () = assert!(size_of::<KsPinDescriptorEx>() <= size_of::<Closed>());

/// Address of a filter's or pin's descriptor that describes nothing.
pub(crate) fn closed() -> u64 {
    CLOSED.words.as_ptr() as u64
}

impl FilterView {
    pub(crate) fn new(
        owner: u64,
        reference: &str,
        friendly_name: &str,
        dispatch: Arc<dyn FilterDispatch>,
    ) -> FilterView {
        let owner = Address(owner);
        FilterView {
            owner,
            reference: reference.to_owned(),
            friendly_name: friendly_name.to_owned(),
            pins: (0..MOST_PINS).map(|id| PinView { owner, id }).collect(),
            dispatch,
        }
    }

    fn descriptor(&self) -> Address {
        self.owner.follow(0)
    }

    /// Has the descriptor a reference GUID?
    pub(crate) fn has_reference_guid(&self) -> bool {
        self.descriptor().follow(offset_of!(KsFilterDescriptor, reference_guid)).some().is_some()
    }

    /// The descriptor of a pin factory.
    pub(crate) fn pin_address(&self, id: PinId) -> Option<Address> {
        self.pins.get(id as usize)?.address()
    }
}

/// Address of a pin factory's descriptor below a filter's; the size in the filter's descriptor is a stride.
pub(crate) fn pin_descriptor(filter: Address, id: PinId) -> Option<Address> {
    if filter.is_null() || id >= filter.get::<u32>(offset_of!(KsFilterDescriptor, pin_descriptors_count)) {
        return None;
    }
    let stride: u32 = filter.get(offset_of!(KsFilterDescriptor, pin_descriptor_size));
    let pins = filter.follow(offset_of!(KsFilterDescriptor, pin_descriptors)).some()?;
    Some(pins.at(id as usize * stride as usize))
}

/// Address of a node's descriptor below a filter's.
pub(crate) fn node_descriptor(filter: Address, id: u32) -> Option<Address> {
    if filter.is_null() || id >= filter.get::<u32>(offset_of!(KsFilterDescriptor, node_descriptors_count)) {
        return None;
    }
    let stride: u32 = filter.get(offset_of!(KsFilterDescriptor, node_descriptor_size));
    let nodes = filter.follow(offset_of!(KsFilterDescriptor, node_descriptors)).some()?;
    Some(nodes.at(id as usize * stride as usize))
}

/// Address of the automation table of a node below a filter's descriptor, or NULL.
pub(crate) fn node_automation(filter: Address, node: u32) -> Address {
    node_descriptor(filter, node)
        .map_or(Address::NULL, |node| node.follow(offset_of!(KsNodeDescriptor, automation_table)))
}

/// The elements of an array in the driver's memory.
pub(crate) fn array<T: zerocopy::FromBytes>(start: Address, count: u32) -> Vec<T> {
    if start.is_null() {
        return Vec::new();
    }
    (0..count.min(MOST_ENTRIES) as usize).map(|at| start.get(at * size_of::<T>())).collect()
}

impl DescribeFilter for FilterView {
    fn reference(&self) -> Cow<'_, str> {
        self.reference.as_str().into()
    }

    fn friendly_name(&self) -> Cow<'_, str> {
        self.friendly_name.as_str().into()
    }

    fn categories(&self) -> Cow<'_, [Guid]> {
        let descriptor: KsFilterDescriptor = self.descriptor().read();
        array(Address(descriptor.categories.0), descriptor.categories_count).into()
    }

    fn pin_count(&self) -> u32 {
        let count: u32 = self.descriptor().get(offset_of!(KsFilterDescriptor, pin_descriptors_count));
        count.min(MOST_PINS)
    }

    fn pin(&self, id: PinId) -> Option<&dyn DescribePin> {
        let pin = self.pins.get(id as usize)?;
        pin.address().map(|_| pin as &dyn DescribePin)
    }

    fn nodes(&self) -> Cow<'_, [Guid]> {
        let descriptor = self.descriptor();
        let count: u32 = descriptor.get(offset_of!(KsFilterDescriptor, node_descriptors_count));
        let kind = |id| {
            let node = node_descriptor(descriptor, id)?;
            Some(node.follow(offset_of!(KsNodeDescriptor, node_type)).some().map_or(Guid::NULL, Address::read))
        };
        (0..count.min(MOST_ENTRIES)).filter_map(kind).collect::<Vec<_>>().into()
    }

    /// That of the GUID that the node's descriptor has for a name, or else for a type.
    fn node_name(&self, node: u32) -> Option<Cow<'_, str>> {
        let node = node_descriptor(self.descriptor(), node)?;
        let name = node.follow(offset_of!(KsNodeDescriptor, name)).some();
        let name = name.or_else(|| node.follow(offset_of!(KsNodeDescriptor, node_type)).some())?;
        Some(media_names::text(name.read()).into())
    }

    fn connections(&self) -> Cow<'_, [KsTopologyConnection]> {
        let descriptor: KsFilterDescriptor = self.descriptor().read();
        array(Address(descriptor.connections.0), descriptor.connections_count).into()
    }

    fn component_id(&self) -> Option<KsComponentId> {
        self.descriptor().follow(offset_of!(KsFilterDescriptor, component_id)).some().map(Address::read)
    }

    /// One input and one output pin whose framings both say that the frame is changed in place.
    fn in_place(&self) -> Option<(PinId, PinId)> {
        let changes = |flow| {
            let mut pins = self.pins.iter().take(self.pin_count() as usize).filter(move |pin| pin.data_flow() == flow);
            let only = pins.next().filter(|_| pins.next().is_none())?;
            let flags = only.framing_ex()?.framing_item[0].flags;
            (flags & KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER != 0).then_some(only.id)
        };
        Some((changes(KsPinDataFlow::IN)?, changes(KsPinDataFlow::OUT)?))
    }

    fn flags(&self) -> FilterFlags {
        let flags: u32 = self.descriptor().get(offset_of!(KsFilterDescriptor, flags));
        FilterFlags::from_bits_truncate(flags)
    }

    fn dispatch(&self) -> &dyn FilterDispatch {
        &*self.dispatch
    }
}

impl PinView {
    fn address(&self) -> Option<Address> {
        pin_descriptor(self.owner.follow(0), self.id)
    }

    fn plain(&self) -> KsPinDescriptor {
        self.address().map(|pin| pin.get(offset_of!(KsPinDescriptorEx, pin_descriptor))).unwrap_or_default()
    }

    fn word(&self, offset: usize) -> u32 {
        self.address().map_or(0, |pin| pin.get(offset))
    }

    fn framing_ex(&self) -> Option<KsAllocatorFramingEx> {
        framing_ex(self.address()?)
    }
}

/// The framing of a KSPIN_DESCRIPTOR_EX.
pub(crate) fn framing_ex(pin: Address) -> Option<KsAllocatorFramingEx> {
    let framing = pin.follow(offset_of!(KsPinDescriptorEx, allocator_framing)).some()?;
    // An empty list is shorter than the structure.
    (framing.get::<u32>(0) > 0).then(|| framing.read())
}

/// The most items of a framing that are read.
const MOST_FRAMING_ITEMS: u32 = 64;

/// The whole framing of a KSPIN_DESCRIPTOR_EX, with all of its items.
pub(crate) fn extended_framing(pin: Address) -> Option<ExtendedFraming> {
    let framing = pin.follow(offset_of!(KsPinDescriptorEx, allocator_framing)).some()?;
    let count: u32 = framing.get(0);
    let items = array(framing.at(offset_of!(KsAllocatorFramingEx, framing_item)), count.min(MOST_FRAMING_ITEMS));
    let compression = framing.get(offset_of!(KsAllocatorFramingEx, output_compression));
    (count > 0).then_some(ExtendedFraming { compression, items })
}

/// What a framing asks of the allocator of a pin whose format has samples of `sample_bytes`, 0 if that is not known.
///
/// Decision: the first item counts. A range of sizes gives the sample size, moved into the range; without a sample size
/// its upper end, or its lower one where the upper is no size that anybody means (above 64 MiB).
pub(crate) fn framing(framing: &KsAllocatorFramingEx, sample_bytes: u32) -> Framing {
    const NO_SIZE: u32 = 64 << 20;
    let item = &framing.framing_item[0];
    let range = item.framing_range.range;
    let (least, most) = (range.min_frame_size, range.max_frame_size.max(range.min_frame_size));
    let frame_bytes = match sample_bytes {
        0 | 1 if most > NO_SIZE => least,
        0 | 1 => most,
        sample => sample.clamp(least, most),
    };
    // FILE_*_ALIGNMENT is a mask: 2^n - 1. What no frame can have is refused where frames are made. The pitch of a line
    // stands in its place with that flag.
    let pitch = item.flags & KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED != 0;
    let alignment = item.file_alignment.checked_add(1).and_then(u32::checked_next_power_of_two).unwrap_or(u32::MAX);
    Framing { frames: item.frames, frame_bytes, alignment: if pitch { 0 } else { alignment } }
}

/// The data ranges of a KSPIN_DESCRIPTOR with the address of each.
pub(crate) fn ranges(pin: &KsPinDescriptor) -> Vec<(Address, DataRange)> {
    let pointers: Vec<u64> = array(Address(pin.data_ranges.0), pin.data_ranges_count);
    let mut ranges = Vec::with_capacity(pointers.len());
    let mut pointers = pointers.into_iter();
    while let Some(address) = pointers.next().map(Address) {
        if address.is_null() {
            continue;
        }
        let head: KsDataFormat = address.read();
        let bytes = head.format_size.clamp(size_of::<KsDataFormat>() as u32, MOST_RANGE_BYTES);
        let mut bytes = address.bytes(bytes as usize);
        if head.flags & KSDATARANGE_ATTRIBUTES != 0 {
            // The next pointer of the array is that of the attributes.
            let attributes = pointers.next().map_or(Address::NULL, Address);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.extend(attribute_list(attributes));
        }
        if let Ok((range, _)) = DataRange::parse(&bytes) {
            ranges.push((address, range));
        }
    }
    ranges
}

/// A KSATTRIBUTE_LIST as a client sees it: a KSMULTIPLE_ITEM with the attributes behind it.
fn attribute_list(list: Address) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (count, attributes) = if list.is_null() { (0, Address::NULL) } else { (list.get::<u32>(0), list.follow(8)) };
    let pointers: Vec<u64> = array(attributes, count);
    let mut listed = 0;
    for attribute in pointers.into_iter().map(Address).filter(|attribute| !attribute.is_null()) {
        let size: u32 = attribute.get(0);
        bytes.extend(attribute.bytes(size.min(MOST_RANGE_BYTES) as usize));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        listed += 1;
    }
    let head = KsMultipleItem { size: (size_of::<KsMultipleItem>() + bytes.len()) as u32, count: listed };
    [head.as_bytes(), &bytes].concat()
}

/// The interfaces of a pin factory; none is standard streaming.
pub(crate) fn interfaces<'a>(pin: &KsPinDescriptor) -> Cow<'a, [KsPinInterface]> {
    const DEFAULT: &[KsPinInterface] = &[KsPinInterface::STANDARD_STREAMING];
    match pin.interfaces_count {
        0 => DEFAULT.into(),
        count => array(Address(pin.interfaces.0), count).into(),
    }
}

/// The mediums of a pin factory; none is the standard one.
pub(crate) fn mediums<'a>(pin: &KsPinDescriptor) -> Cow<'a, [KsPinMedium]> {
    const DEFAULT: &[KsPinMedium] = &[KsPinMedium::STANDARD_DEVIO];
    match pin.mediums_count {
        0 => DEFAULT.into(),
        count => array(Address(pin.mediums.0), count).into(),
    }
}

pub(crate) fn category(pin: &KsPinDescriptor) -> Option<Guid> {
    Address(pin.category.0).some().map(Address::read)
}

pub(crate) fn name<'a>(pin: &KsPinDescriptor) -> Option<Cow<'a, str>> {
    let name: Guid = Address(pin.name.0).some()?.read();
    Some(media_names::text(name).into())
}

impl DescribePin for PinView {
    fn data_flow(&self) -> KsPinDataFlow {
        self.plain().data_flow
    }

    fn communication(&self) -> KsPinCommunication {
        self.plain().communication
    }

    fn interfaces(&self) -> Cow<'_, [KsPinInterface]> {
        interfaces(&self.plain())
    }

    fn mediums(&self) -> Cow<'_, [KsPinMedium]> {
        mediums(&self.plain())
    }

    fn data_ranges(&self) -> Cow<'_, [DataRange]> {
        ranges(&self.plain()).into_iter().map(|(_, range)| range).collect::<Vec<_>>().into()
    }

    fn category(&self) -> Option<Guid> {
        category(&self.plain())
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        name(&self.plain())
    }

    fn flags(&self) -> PinFlags {
        PinFlags::from_bits_retain(self.word(offset_of!(KsPinDescriptorEx, flags)))
    }

    fn instances_possible(&self) -> u32 {
        self.word(offset_of!(KsPinDescriptorEx, instances_possible))
    }

    fn instances_necessary(&self) -> u32 {
        self.word(offset_of!(KsPinDescriptorEx, instances_necessary))
    }

    fn framing(&self) -> Option<Framing> {
        self.framing_ex().map(|ex| framing(&ex, 0))
    }
}
