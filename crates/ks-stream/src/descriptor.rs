//! Descriptors: what a device, a filter and a pin say of themselves.
//!
//! The class driver never keeps what a descriptor says: it asks through [`DescribeFilter`] and [`DescribePin`] at each
//! use, because a minidriver may edit its descriptors while it runs. A Rust minidriver fills the plain structures
//! [`FilterDescriptor`] and [`PinDescriptor`].

use crate::format::DataRange;
use crate::minidriver::FilterDispatch;
use ks_abi::{
    Guid, KSINSTANCE_INDETERMINATE, KsComponentId, KsCompression, KsFramingItem, KsPinCommunication, KsPinDataFlow,
    KsPinInterface, KsPinMedium, KsTopologyConnection,
};
use std::borrow::Cow;
use std::sync::Arc;

/// Number of a pin factory: its index in the filter descriptor.
pub type PinId = u32;

bitflags::bitflags! {
    /// Flags of a pin descriptor.
    #[doc(alias = "KSPIN_DESCRIPTOR_EX")]
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct PinFlags: u32 {
        /// `KSPIN_FLAG_DISPATCH_LEVEL_PROCESSING`: an attempt at DISPATCH level processes there, not on a worker.
        const DISPATCH_LEVEL_PROCESSING = 0x1;
        /// `KSPIN_FLAG_CRITICAL_PROCESSING`: what is left to a worker is critical work.
        const CRITICAL_PROCESSING = 0x2;
        /// `KSPIN_FLAG_HYPERCRITICAL_PROCESSING`: what is left to a worker is hypercritical work.
        const HYPERCRITICAL_PROCESSING = 0x4;
        /// `KSPIN_FLAG_ASYNCHRONOUS_PROCESSING`: processing is queued to a work item of its own; what brought the frame
        /// does not wait for it.
        const ASYNCHRONOUS_PROCESSING = 0x8;
        /// `KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING`: only an explicit attempt starts processing.
        const DO_NOT_INITIATE_PROCESSING = 0x10;
        /// `KSPIN_FLAG_INITIATE_PROCESSING_ON_EVERY_ARRIVAL`: every frame triggers, not only the first of a queue.
        const INITIATE_PROCESSING_ON_EVERY_ARRIVAL = 0x20;
        /// `KSPIN_FLAG_FRAMES_NOT_REQUIRED_FOR_PROCESSING`: a filter-centric filter processes without a frame of this pin.
        const FRAMES_NOT_REQUIRED_FOR_PROCESSING = 0x40;
        /// `KSPIN_FLAG_ENFORCE_FIFO`: requests complete in the order of their arrival.
        const ENFORCE_FIFO = 0x80;
        /// `KSPIN_FLAG_GENERATE_MAPPINGS`: offsets of stream pointers count mappings of [`crate::Device::register_adapter`].
        const GENERATE_MAPPINGS = 0x100;
        /// `KSPIN_FLAG_DISTINCT_TRAILING_EDGE`: frames stay until [`crate::TrailingEdge`] has passed them, too.
        const DISTINCT_TRAILING_EDGE = 0x200;
        /// `KSPIN_FLAG_PROCESS_IN_RUN_STATE_ONLY`: the least processing state is RUN instead of PAUSE.
        const PROCESS_IN_RUN_STATE_ONLY = 0x1_0000;
        /// `KSPIN_FLAG_USE_STANDARD_TRANSPORT`: a queue whatever interface and medium the pin is connected by.
        const USE_STANDARD_TRANSPORT = 0x4_0000;
        /// `KSPIN_FLAG_SPLITTER`: every pin of this factory gets the same frames: shares of them behind a filter that works
        /// in place, else copies of those of the first pin.
        const SPLITTER = 0x2_0000;
        /// `KSPIN_FLAG_DO_NOT_USE_STANDARD_TRANSPORT`: no queue, and states are told as they are asked for.
        const DO_NOT_USE_STANDARD_TRANSPORT = 0x8_0000;
        /// `KSPIN_FLAG_FIXED_FORMAT`: the format of a pin cannot be set after its create.
        const FIXED_FORMAT = 0x10_0000;
        /// `KSPIN_FLAG_GENERATE_EOS_EVENTS`: the end of the stream raises KSEVENT_CONNECTION_ENDOFSTREAM.
        const GENERATE_EOS_EVENTS = 0x20_0000;
        /// `KSPIN_FLAG_RENDERER`: PROCESS_IN_RUN_STATE_ONLY and GENERATE_EOS_EVENTS.
        const RENDERER = 0x21_0000;
        /// `KSPIN_FLAG_IMPLEMENT_CLOCK`: the pin has a clock that others may follow.
        const IMPLEMENT_CLOCK = 0x40_0000;
        /// `KSPIN_FLAG_SOME_FRAMES_REQUIRED_FOR_PROCESSING`: a frame of one pin of this factory is enough.
        const SOME_FRAMES_REQUIRED_FOR_PROCESSING = 0x80_0000;
        /// `KSPIN_FLAG_PROCESS_IF_ANY_IN_RUN_STATE`: a filter-centric filter processes while a pin of this factory is in RUN.
        const PROCESS_IF_ANY_IN_RUN_STATE = 0x100_0000;
        /// `KSPIN_FLAG_DENY_USERMODE_ACCESS`
        const DENY_USERMODE_ACCESS = 0x8000_0000;
    }
}

bitflags::bitflags! {
    /// Flags of a filter descriptor.
    #[doc(alias = "KSFILTER_DESCRIPTOR")]
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FilterFlags: u32 {
        /// `KSFILTER_FLAG_DISPATCH_LEVEL_PROCESSING`: an attempt at DISPATCH level processes there, not on a worker.
        const DISPATCH_LEVEL_PROCESSING = 0x1;
        /// `KSFILTER_FLAG_CRITICAL_PROCESSING`: what is left to a worker is critical work.
        const CRITICAL_PROCESSING = 0x2;
        /// `KSFILTER_FLAG_HYPERCRITICAL_PROCESSING`: what is left to a worker is hypercritical work.
        const HYPERCRITICAL_PROCESSING = 0x4;
        /// `KSFILTER_FLAG_RECEIVE_ZERO_LENGTH_SAMPLES`: a filter-centric filter is given input frames without data, too.
        const RECEIVE_ZERO_LENGTH_SAMPLES = 0x8;
        /// `KSFILTER_FLAG_PRIORITIZE_REFERENCEGUID`: the reference GUID tells this kind of filter from all others. Who
        /// publishes camera profiles for it must say so; nothing else asks.
        const PRIORITIZE_REFERENCEGUID = 0x10;
        /// `KSFILTER_FLAG_DENY_USERMODE_ACCESS`
        const DENY_USERMODE_ACCESS = 0x8000_0000;
    }
}

/// What a pin asks of the allocator of its frames. A zero means: no opinion.
#[doc(alias = "KSALLOCATOR_FRAMING")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framing {
    /// Frames in the circuit.
    pub frames: u32,
    /// Bytes of one frame.
    pub frame_bytes: u32,
    /// Alignment of a frame in bytes, a power of two up to 4096.
    pub alignment: u32,
}

/// What a pin asks of the allocator of its frames, in full: ranges of sizes, kinds of memory, and what its filter makes of
/// the size of a frame. What it says goes before the same of a [`Framing`].
#[doc(alias = "KSALLOCATOR_FRAMING_EX")]
#[derive(Debug, Clone, PartialEq)]
pub struct ExtendedFraming {
    /// At the output of a filter that works in place: the size of a frame that leaves, by that of one that comes in.
    #[doc(alias = "OutputCompression")]
    pub compression: KsCompression,
    /// One for each kind of memory, see [`KsFramingItem`].
    #[doc(alias = "FramingItem")]
    pub items: Vec<KsFramingItem>,
}

/// A filter as it describes itself, asked at each use.
#[doc(alias = "KSFILTER_DESCRIPTOR")]
pub trait DescribeFilter: Send + Sync {
    /// The reference string: which create item opens this filter. Unique on its device.
    #[doc(alias = "ReferenceGuid")]
    fn reference(&self) -> Cow<'_, str>;
    /// Name for a person, as an INF registers it.
    fn friendly_name(&self) -> Cow<'_, str>;
    /// One device interface a category.
    fn categories(&self) -> Cow<'_, [Guid]>;
    /// Number of pin factories.
    fn pin_count(&self) -> u32;
    /// The pin factory with this number.
    fn pin(&self, id: PinId) -> Option<&dyn DescribePin>;
    /// Types of the topology nodes.
    fn nodes(&self) -> Cow<'_, [Guid]>;
    /// Answer to KSPROPERTY_TOPOLOGY_NAME of a node; `None`: the name of its type.
    fn node_name(&self, node: u32) -> Option<Cow<'_, str>> {
        let _ = node;
        None
    }
    /// Topology connections; empty: the default, one node joined to every pin.
    fn connections(&self) -> Cow<'_, [KsTopologyConnection]>;
    /// Answer to KSPROPERTY_GENERAL_COMPONENTID.
    fn component_id(&self) -> Option<KsComponentId>;
    /// Input and output pin whose frames are the same memory, changed in place.
    fn in_place(&self) -> Option<(PinId, PinId)>;
    /// Whether a filter that works in place writes to its frames. One that does gets copies behind a splitter.
    #[doc(alias = "KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER")]
    fn modifies_in_place(&self) -> bool {
        true
    }
    /// Flags.
    fn flags(&self) -> FilterFlags {
        FilterFlags::empty()
    }
    /// The routines.
    fn dispatch(&self) -> &dyn FilterDispatch;
}

/// A pin factory as it describes itself, asked at each use.
#[doc(alias = "KSPIN_DESCRIPTOR_EX")]
pub trait DescribePin: Send + Sync {
    /// Direction of the data.
    fn data_flow(&self) -> KsPinDataFlow;
    /// Who issues the IRPs.
    fn communication(&self) -> KsPinCommunication;
    /// Interfaces in order of preference; empty: standard streaming.
    fn interfaces(&self) -> Cow<'_, [KsPinInterface]>;
    /// Mediums in order of preference; empty: standard devio.
    fn mediums(&self) -> Cow<'_, [KsPinMedium]>;
    /// Data ranges in order of preference.
    fn data_ranges(&self) -> Cow<'_, [DataRange]>;
    /// `PINNAME_*` or a category of the driver's own.
    fn category(&self) -> Option<Guid>;
    /// Name of the pin, for a person.
    fn name(&self) -> Option<Cow<'_, str>>;
    /// Flags.
    fn flags(&self) -> PinFlags;
    /// How many pins there may be; `u32::MAX`: no limit.
    fn instances_possible(&self) -> u32;
    /// How many pins there must be before the filter can leave STOP.
    fn instances_necessary(&self) -> u32;
    /// What the pin asks of its allocator; `None`: the framing properties are not supported.
    fn framing(&self) -> Option<Framing>;
}

/// The descriptor of a Rust filter.
pub struct FilterDescriptor {
    /// See [`DescribeFilter::reference`].
    pub reference: &'static str,
    /// See [`DescribeFilter::friendly_name`].
    pub friendly_name: &'static str,
    /// See [`DescribeFilter::categories`].
    pub categories: Vec<Guid>,
    /// The pin factories; the index is the pin id.
    pub pins: Vec<PinDescriptor>,
    /// See [`DescribeFilter::nodes`].
    pub nodes: Vec<Guid>,
    /// See [`DescribeFilter::node_name`]; those that are not there have the names of their types.
    pub node_names: Vec<&'static str>,
    /// See [`DescribeFilter::connections`].
    pub connections: Vec<KsTopologyConnection>,
    /// See [`DescribeFilter::component_id`].
    pub component_id: Option<KsComponentId>,
    /// See [`DescribeFilter::in_place`].
    pub in_place: Option<(PinId, PinId)>,
    /// See [`DescribeFilter::modifies_in_place`].
    pub modifies_in_place: bool,
    /// Flags.
    pub flags: FilterFlags,
    /// The routines.
    pub dispatch: Arc<dyn FilterDispatch>,
}

impl FilterDescriptor {
    /// A descriptor without topology of its own.
    pub fn new(
        reference: &'static str,
        friendly_name: &'static str,
        categories: &[Guid],
        pins: Vec<PinDescriptor>,
        dispatch: Arc<dyn FilterDispatch>,
    ) -> FilterDescriptor {
        FilterDescriptor {
            reference,
            friendly_name,
            categories: categories.to_vec(),
            pins,
            nodes: Vec::new(),
            node_names: Vec::new(),
            connections: Vec::new(),
            component_id: None,
            in_place: None,
            modifies_in_place: true,
            flags: FilterFlags::empty(),
            dispatch,
        }
    }
}

impl DescribeFilter for FilterDescriptor {
    fn reference(&self) -> Cow<'_, str> {
        self.reference.into()
    }
    fn friendly_name(&self) -> Cow<'_, str> {
        self.friendly_name.into()
    }
    fn categories(&self) -> Cow<'_, [Guid]> {
        (&self.categories).into()
    }
    fn pin_count(&self) -> u32 {
        self.pins.len() as u32
    }
    fn pin(&self, id: PinId) -> Option<&dyn DescribePin> {
        self.pins.get(id as usize).map(|pin| pin as &dyn DescribePin)
    }
    fn nodes(&self) -> Cow<'_, [Guid]> {
        (&self.nodes).into()
    }
    fn node_name(&self, node: u32) -> Option<Cow<'_, str>> {
        self.node_names.get(node as usize).map(|name| Cow::from(*name))
    }
    fn connections(&self) -> Cow<'_, [KsTopologyConnection]> {
        (&self.connections).into()
    }
    fn component_id(&self) -> Option<KsComponentId> {
        self.component_id
    }
    fn in_place(&self) -> Option<(PinId, PinId)> {
        self.in_place
    }
    fn modifies_in_place(&self) -> bool {
        self.modifies_in_place
    }
    fn flags(&self) -> FilterFlags {
        self.flags
    }
    fn dispatch(&self) -> &dyn FilterDispatch {
        &*self.dispatch
    }
}

/// The descriptor of a Rust filter's pin factory.
#[derive(Debug, Clone)]
pub struct PinDescriptor {
    /// Direction of the data.
    pub data_flow: KsPinDataFlow,
    /// Who issues the IRPs.
    pub communication: KsPinCommunication,
    /// See [`DescribePin::interfaces`].
    pub interfaces: Vec<KsPinInterface>,
    /// See [`DescribePin::mediums`].
    pub mediums: Vec<KsPinMedium>,
    /// See [`DescribePin::data_ranges`].
    pub data_ranges: Vec<DataRange>,
    /// See [`DescribePin::category`].
    pub category: Option<Guid>,
    /// See [`DescribePin::name`].
    pub name: Option<&'static str>,
    /// Flags.
    pub flags: PinFlags,
    /// See [`DescribePin::instances_possible`].
    pub instances_possible: u32,
    /// See [`DescribePin::instances_necessary`].
    pub instances_necessary: u32,
    /// See [`DescribePin::framing`].
    pub framing: Option<Framing>,
}

impl PinDescriptor {
    /// One instance, standard interface and medium, BOTH for communication, no flags.
    pub fn new(data_flow: KsPinDataFlow, data_ranges: Vec<DataRange>) -> PinDescriptor {
        PinDescriptor {
            data_flow,
            communication: KsPinCommunication::BOTH,
            interfaces: Vec::new(),
            mediums: Vec::new(),
            data_ranges,
            category: None,
            name: None,
            flags: PinFlags::empty(),
            instances_possible: 1,
            instances_necessary: 0,
            framing: None,
        }
    }

    /// No limit on instances.
    pub const UNLIMITED: u32 = KSINSTANCE_INDETERMINATE;
}

impl DescribePin for PinDescriptor {
    fn data_flow(&self) -> KsPinDataFlow {
        self.data_flow
    }
    fn communication(&self) -> KsPinCommunication {
        self.communication
    }
    fn interfaces(&self) -> Cow<'_, [KsPinInterface]> {
        if self.interfaces.is_empty() {
            const DEFAULT: &[KsPinInterface] = &[KsPinInterface::STANDARD_STREAMING];
            return DEFAULT.into();
        }
        (&self.interfaces).into()
    }
    fn mediums(&self) -> Cow<'_, [KsPinMedium]> {
        if self.mediums.is_empty() {
            const DEFAULT: &[KsPinMedium] = &[KsPinMedium::STANDARD_DEVIO];
            return DEFAULT.into();
        }
        (&self.mediums).into()
    }
    fn data_ranges(&self) -> Cow<'_, [DataRange]> {
        (&self.data_ranges).into()
    }
    fn category(&self) -> Option<Guid> {
        self.category
    }
    fn name(&self) -> Option<Cow<'_, str>> {
        self.name.map(Into::into)
    }
    fn flags(&self) -> PinFlags {
        self.flags
    }
    fn instances_possible(&self) -> u32 {
        self.instances_possible
    }
    fn instances_necessary(&self) -> u32 {
        self.instances_necessary
    }
    fn framing(&self) -> Option<Framing> {
        self.framing
    }
}
