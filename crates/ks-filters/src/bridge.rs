//! Bridge pins: the jack or the air at the far side of an audio filter. No pin is made of them; clients that enumerate
//! audio devices look for them at the end of the topology, for the kind and name of what is plugged in.

use ks_abi::{Guid, KSFILTER_NODE, KsPinCommunication, KsPinDataFlow, KsTopologyConnection, STATUS_NO_MATCH};
use ks_io::{Aspect, Refusal};
use ks_stream::{PinDescriptor, PinId};

use crate::audio_format;

/// Which way the sound goes between the filter's streaming pin 0 and its bridge pin 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the stream into the air.
    Sound,
    /// From the air into the stream.
    Hearing,
}

/// The bridge pin of this kind and name.
pub(crate) fn pin(side: Side, category: Guid, name: &'static str) -> PinDescriptor {
    let flow = if side == Side::Sound { KsPinDataFlow::OUT } else { KsPinDataFlow::IN };
    PinDescriptor {
        communication: KsPinCommunication::BRIDGE,
        category: Some(category),
        name: Some(name),
        instances_possible: 0,
        ..PinDescriptor::new(flow, vec![audio_format::analog_range()])
    }
}

/// No format is agreed with a bridge pin.
pub(crate) fn refuse(owner: &str, pin: PinId) -> Result<(), Refusal> {
    if pin == 0 {
        return Ok(());
    }
    let reason = format!("{owner}.{pin} is where the sound leaves the machine, and has no format");
    Err(Refusal::new(STATUS_NO_MATCH, Aspect::PinId, reason))
}

/// Pin 0 and pin 1 joined through the filter's one node.
pub(crate) fn connections(side: Side) -> Vec<KsTopologyConnection> {
    let (first, last) = if side == Side::Sound { (0, 1) } else { (1, 0) };
    vec![
        KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: first, to_node: 0, to_node_pin: 1 },
        KsTopologyConnection { from_node: 0, from_node_pin: 0, to_node: KSFILTER_NODE, to_node_pin: last },
    ]
}
