//! The pin factories and the topology of an object: what the connect checks, data intersection and the properties of
//! KSPROPSETID_Pin and KSPROPSETID_Topology are asked of. A [`Filter`] is one such object, and a driver without AVStream
//! brings its own.

use crate::descriptor::{DescribePin, PinId};
use crate::filter::Filter;
use crate::format::DataRange;
use crate::property::PropertyCall;
use crate::sets;
use ks_abi::{Guid, KsProperty, KsTopologyConnection, NtStatus, STATUS_INVALID_BUFFER_SIZE};
use ks_io::{IrpParts, Refusal};
use std::borrow::Cow;
use zerocopy::FromBytes;

/// The pin factories of an object.
#[doc(alias = "KSPIN_DESCRIPTOR")]
pub trait PinFactories {
    /// Name for messages.
    fn name(&self) -> Cow<'_, str>;
    /// How many there are.
    fn count(&self) -> u32;
    /// The factory with this number.
    fn factory(&self, id: PinId) -> Option<&dyn DescribePin>;
    /// Its data ranges now.
    fn ranges(&self, id: PinId) -> Vec<DataRange>;
    /// How many pins of it there are.
    fn instances(&self, id: PinId) -> u32;
}

impl PinFactories for Filter {
    fn name(&self) -> Cow<'_, str> {
        self.descriptor().reference()
    }

    fn count(&self) -> u32 {
        self.descriptor().pin_count()
    }

    fn factory(&self, id: PinId) -> Option<&dyn DescribePin> {
        self.pin_descriptor(id)
    }

    fn ranges(&self, id: PinId) -> Vec<DataRange> {
        self.data_ranges(id)
    }

    fn instances(&self, id: PinId) -> u32 {
        self.pin_count(id)
    }
}

/// The topology of an object.
#[doc(alias = "KSTOPOLOGY")]
pub trait Topology {
    /// Categories of the object.
    fn categories(&self) -> Cow<'_, [Guid]>;
    /// Types of its nodes.
    fn nodes(&self) -> Cow<'_, [Guid]>;
    /// Connections, the default ones included.
    fn connections(&self) -> Cow<'_, [KsTopologyConnection]>;
    /// Name of a node that there is, if it has one.
    fn node_name(&self, node: u32) -> Option<Cow<'_, str>>;
}

/// Answers a GET of a static item of KSPROPSETID_Pin, as a filter of AVStream's would; nothing is completed.
#[doc(alias = "KsPinPropertyHandler")]
pub fn answer_pin_property(factories: &dyn PinFactories, parts: IrpParts<'_>) -> Result<NtStatus, Refusal> {
    answer(parts, |call| sets::static_property(factories, call))
}

/// Answers a GET of KSPROPSETID_Topology, as a filter of AVStream's would; nothing is completed.
#[doc(alias = "KsTopologyPropertyHandler")]
pub fn answer_topology_property(topology: &dyn Topology, parts: IrpParts<'_>) -> Result<NtStatus, Refusal> {
    answer(parts, |call| sets::topology_property(topology, call))
}

fn answer(parts: IrpParts<'_>, handler: impl FnOnce(&mut PropertyCall<'_>) -> NtStatus) -> Result<NtStatus, Refusal> {
    let IrpParts { input, output, origin, file } = parts;
    let Ok((property, _)) = KsProperty::ref_from_prefix(input) else { return Ok(STATUS_INVALID_BUFFER_SIZE) };
    let mut call = PropertyCall::new(property, input, output, origin, file);
    let status = handler(&mut call);
    call.outcome(status)
}
