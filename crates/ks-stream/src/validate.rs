//! The checks of a connect request, in one order, each with a status and a reason of its own.
//!
//! Source: nf-ks-ksvalidateconnectrequest, ns-ks-kspin_connect. The pages name the checks but not their order or
//! statuses.

use crate::describe;
use crate::descriptor::{DescribePin, PinFlags};
use crate::factories::PinFactories;
use crate::filter::Filter;
use crate::format::{DataFormat, DataRange, attributes_agree, falls_into};
use ks_abi::{
    KSINSTANCE_INDETERMINATE, KSINTERFACE_STANDARD_CONTROL, KSINTERFACESETID_Standard, KsIdentifier,
    KsPinCommunication, KsPinConnect, KsPinDataFlow, NtStatus, STATUS_ACCESS_DENIED, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NO_MATCH,
    STATUS_NOT_SUPPORTED,
};
use ks_io::{AccessMask, Aspect, CreateRequest, Refusal, RequestorMode};
use std::sync::Arc;
use zerocopy::FromBytes;

/// A connect request that passed every check.
pub struct ValidConnect {
    /// The parameters.
    pub connect: KsPinConnect,
    /// The format, attributes included.
    pub format: DataFormat,
    /// The role that the pin takes.
    pub communication: KsPinCommunication,
    /// The factory's ranges that the format falls into, in order of preference.
    pub ranges: Vec<DataRange>,
}

/// Checks a connect request against the filter's pin factories.
///
/// Decision: the order is shape, pin id, user access, interface, medium, communication, format, attributes, access
/// mask, instances. A list that has no match gives STATUS_NO_MATCH; a shape or number that cannot be gives
/// STATUS_INVALID_BUFFER_SIZE or STATUS_INVALID_PARAMETER; a pin that is busy gives STATUS_INVALID_DEVICE_STATE, which
/// clients read as "busy".
// ks-coverage: KsValidateConnectRequest done test=the_checks_are_made_in_their_order
#[doc(alias = "KsValidateConnectRequest")]
pub fn connect_request(filter: &Arc<Filter>, request: &CreateRequest<'_>) -> Result<ValidConnect, Refusal> {
    let valid = connect(&**filter, request.parameters, request.access, request.origin.mode())?;
    let wanted = valid.connect.interface;
    if (wanted.set, wanted.id) == (KSINTERFACESETID_Standard, KSINTERFACE_STANDARD_CONTROL) {
        let reason = format!(
            "{}.{} lists KSINTERFACE_STANDARD_CONTROL, which is not supported",
            filter.name(),
            valid.connect.pin_id
        );
        return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Interface, reason));
    }
    Ok(valid)
}

/// As [`connect_request`], of an object that need not be a filter: `parameters` are a KSPIN_CONNECT and its format.
pub fn connect(
    filter: &dyn PinFactories,
    parameters: &[u8],
    access: AccessMask,
    mode: RequestorMode,
) -> Result<ValidConnect, Refusal> {
    let refuse = |status: NtStatus, aspect: Aspect, reason: String| Err(Refusal::new(status, aspect, reason));
    // Written for a refusal only.
    let name = || filter.name();
    let Ok((connect, rest)) = KsPinConnect::read_from_prefix(parameters) else {
        let reason = format!("{}: a KSPIN_CONNECT has 72 bytes, the request {}", name(), parameters.len());
        return refuse(STATUS_INVALID_BUFFER_SIZE, Aspect::Request, reason);
    };
    let (format, _) = DataFormat::parse(rest).map_err(|status| {
        let reason = format!("{}: the data format behind KSPIN_CONNECT does not fit its {} bytes", name(), rest.len());
        Refusal::new(status, Aspect::Request, reason)
    })?;
    let Some(pin) = filter.factory(connect.pin_id) else {
        let count = filter.count();
        let reason = format!("{} has {count} pins; there is no pin {}", name(), connect.pin_id);
        return refuse(STATUS_INVALID_PARAMETER, Aspect::PinId, reason);
    };
    let pin_name = || format!("{}.{}", name(), connect.pin_id);
    if pin.flags().contains(PinFlags::DENY_USERMODE_ACCESS) && mode == RequestorMode::User {
        let reason = format!("{} is closed to user mode", pin_name());
        return refuse(STATUS_INVALID_DEVICE_REQUEST, Aspect::Access, reason);
    }
    if !listed(&pin.interfaces(), connect.interface) {
        let reason = format!(
            "{} offers the interfaces {}; asked for {}",
            pin_name(),
            identifiers(&pin.interfaces()),
            identifier(&connect.interface)
        );
        return refuse(STATUS_NO_MATCH, Aspect::Interface, reason);
    }
    if !listed(&pin.mediums(), connect.medium) {
        let reason = format!(
            "{} offers the mediums {}; asked for {}",
            pin_name(),
            identifiers(&pin.mediums()),
            identifier(&connect.medium)
        );
        return refuse(STATUS_NO_MATCH, Aspect::Medium, reason);
    }
    let communication = role(pin, connect.pin_to_handle, &pin_name)?;
    let ranges = matching_ranges(filter, pin, connect.pin_id, &format)?;
    let needed = match pin.data_flow() {
        KsPinDataFlow::IN => AccessMask::GENERIC_WRITE,
        _ => AccessMask::GENERIC_READ,
    };
    if !access.allows(needed) {
        let reason = format!("{} needs {needed} access for its data; the mask asks for {access}", pin_name());
        return refuse(STATUS_ACCESS_DENIED, Aspect::Access, reason);
    }
    let possible = pin.instances_possible();
    if possible != KSINSTANCE_INDETERMINATE && filter.instances(connect.pin_id) >= possible {
        let reason = format!("{} can have {possible} instances and has them", pin_name());
        return refuse(STATUS_INVALID_DEVICE_STATE, Aspect::Instances, reason);
    }
    Ok(ValidConnect { connect, format, communication, ranges })
}

/// Is the wanted interface or medium in the list? Flags are reserved and not compared.
fn listed(offered: &[KsIdentifier], wanted: KsIdentifier) -> bool {
    offered.iter().any(|one| one.set == wanted.set && one.id == wanted.id)
}

/// SINK needs no handle, SOURCE needs one, BOTH adapts; NONE and BRIDGE make no pin.
fn role(
    pin: &dyn DescribePin,
    pin_to_handle: u64,
    pin_name: &dyn Fn() -> String,
) -> Result<KsPinCommunication, Refusal> {
    let offered = pin.communication();
    let wanted = if pin_to_handle == 0 { KsPinCommunication::SINK } else { KsPinCommunication::SOURCE };
    if offered == wanted || offered == KsPinCommunication::BOTH {
        return Ok(wanted);
    }
    let asked = if pin_to_handle == 0 { "without a pin to connect to" } else { "with a pin to connect to" };
    let reason = format!("{} communicates as {offered} and was created {asked}, as {wanted}", pin_name());
    Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Communication, reason))
}

fn matching_ranges(
    filter: &dyn PinFactories,
    pin: &dyn DescribePin,
    id: u32,
    format: &DataFormat,
) -> Result<Vec<DataRange>, Refusal> {
    let mut matching = filter.ranges(id);
    let mut nearest = Aspect::MajorFormat;
    matching.retain(|range| {
        match falls_into(format.head(), range.head()).and_then(|()| attributes_agree(format, range)) {
            Ok(()) => true,
            Err(aspect) => {
                nearest = nearest.max_by_depth(aspect);
                false
            }
        }
    });
    if matching.is_empty() {
        let verb = if pin.data_flow() == KsPinDataFlow::IN { "takes" } else { "offers" };
        let reason = format!(
            "{}.{id} {verb} {}; asked for {}; refused: {nearest}",
            filter.name(),
            describe::ranges(&filter.ranges(id)),
            describe::format(format)
        );
        return Err(Refusal::new(STATUS_NO_MATCH, nearest, reason));
    }
    Ok(matching)
}

trait Depth {
    fn max_by_depth(self, other: Aspect) -> Aspect;
}

impl Depth for Aspect {
    /// Of two fields that did not match, the one that was compared later: the nearer miss.
    fn max_by_depth(self, other: Aspect) -> Aspect {
        let depth = |aspect| match aspect {
            Aspect::MajorFormat => 0,
            Aspect::SubFormat => 1,
            Aspect::Specifier => 2,
            _ => 3,
        };
        if depth(other) > depth(self) { other } else { self }
    }
}

fn identifiers(list: &[KsIdentifier]) -> String {
    list.iter().map(identifier).collect::<Vec<_>>().join(", ")
}

/// An interface or medium, for messages.
pub(crate) fn identifier(one: &KsIdentifier) -> String {
    format!("{} {}", describe::guid(one.set), one.id)
}
