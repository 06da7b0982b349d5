//! KSPROPSETID_Topology and KSPROPSETID_General, asked on the filter.

use crate::automation::{PropertyItem, PropertySet};
use crate::factories::Topology;
use crate::filter::Filter;
use crate::property::PropertyCall;
use ks_abi::{
    Guid, KSFILTER_NODE, KSPROPERTY_GENERAL_COMPONENTID, KSPROPERTY_TOPOLOGY_CATEGORIES,
    KSPROPERTY_TOPOLOGY_CONNECTIONS, KSPROPERTY_TOPOLOGY_NAME, KSPROPERTY_TOPOLOGY_NODES, KSPROPSETID_General,
    KSPROPSETID_Topology, KsComponentId, KsPinDataFlow, KsTopologyConnection, KspNode, NtStatus,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
};
use ks_io::{Aspect, Refusal};
use std::borrow::Cow;
use zerocopy::IntoBytes;

// ks-coverage: KSPROPERTY_TOPOLOGY_CATEGORIES done test=topology_lists_categories_nodes_and_connections
// ks-coverage: KSPROPERTY_TOPOLOGY_NODES done test=topology_lists_categories_nodes_and_connections
// ks-coverage: KSPROPERTY_TOPOLOGY_CONNECTIONS done test=topology_lists_categories_nodes_and_connections
// ks-coverage: KSPROPERTY_TOPOLOGY_NAME done test=topology_lists_categories_nodes_and_connections
// ks-coverage: KSPROPERTY_GENERAL_COMPONENTID done test=a_filter_tells_its_component_id

pub(super) fn topology_set() -> PropertySet<Filter> {
    let item = |id: u32, request_bytes: usize| {
        PropertyItem::new(id)
            .request_bytes(request_bytes)
            .get(|filter: &Filter, call: &mut PropertyCall<'_>| topology_property(filter, call))
    };
    PropertySet {
        set: KSPROPSETID_Topology,
        items: vec![
            item(KSPROPERTY_TOPOLOGY_CATEGORIES, 0),
            item(KSPROPERTY_TOPOLOGY_NODES, 0),
            item(KSPROPERTY_TOPOLOGY_CONNECTIONS, 0),
            item(KSPROPERTY_TOPOLOGY_NAME, size_of::<KspNode>()),
        ],
    }
}

/// Answers a GET of KSPROPSETID_Topology.
pub(crate) fn topology_property(topology: &dyn Topology, call: &mut PropertyCall<'_>) -> NtStatus {
    match call.property().id {
        KSPROPERTY_TOPOLOGY_CATEGORIES => call.answer_list(topology.categories().iter().map(|one| one.as_bytes())),
        KSPROPERTY_TOPOLOGY_NODES => call.answer_list(topology.nodes().iter().map(|one| one.as_bytes())),
        KSPROPERTY_TOPOLOGY_CONNECTIONS => call.answer_list(topology.connections().iter().map(|one| one.as_bytes())),
        KSPROPERTY_TOPOLOGY_NAME => {
            let node: KspNode = match call.request_as() {
                Ok(node) => node,
                Err(status) => return status,
            };
            let nodes = topology.nodes().len();
            if node.node_id as usize >= nodes {
                let reason = format!("there are {nodes} topology nodes and no node {}", node.node_id);
                return call.refuse(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason));
            }
            match topology.node_name(node.node_id) {
                Some(name) => call.answer(&super::pin_factory::utf16(&name)),
                None => STATUS_NOT_FOUND,
            }
        }
        _ => STATUS_NOT_FOUND,
    }
}

impl Topology for Filter {
    fn categories(&self) -> Cow<'_, [Guid]> {
        self.descriptor().categories()
    }

    fn nodes(&self) -> Cow<'_, [Guid]> {
        self.descriptor().nodes()
    }

    fn connections(&self) -> Cow<'_, [KsTopologyConnection]> {
        connections(self).into()
    }

    /// Where the descriptor has no name, that of the type stands in.
    fn node_name(&self, node: u32) -> Option<Cow<'_, str>> {
        let descriptor = self.descriptor();
        descriptor.node_name(node).or_else(|| descriptor.nodes().get(node as usize)?.name().map(Cow::from))
    }
}

pub(super) fn general_set() -> PropertySet<Filter> {
    PropertySet {
        set: KSPROPSETID_General,
        items: vec![PropertyItem::new(KSPROPERTY_GENERAL_COMPONENTID).data_bytes(size_of::<KsComponentId>()).get(
            |filter: &Filter, call: &mut PropertyCall<'_>| match filter.descriptor().component_id() {
                Some(component) => call.answer_value(&component),
                None => STATUS_NOT_FOUND,
            },
        )],
    }
}

/// The declared connections; without any, one node joined to every pin, from and to by its data flow.
///
/// Decision: a filter without nodes has its pins joined to the filter's node 0 all the same, as the descriptor page says.
fn connections(filter: &Filter) -> Vec<KsTopologyConnection> {
    let declared = filter.descriptor().connections();
    if !declared.is_empty() {
        return declared.into_owned();
    }
    let pins = 0..filter.descriptor().pin_count();
    pins.filter_map(|id| {
        let pin = filter.pin_descriptor(id)?;
        Some(match pin.data_flow() {
            KsPinDataFlow::IN => {
                KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: id, to_node: 0, to_node_pin: id }
            }
            _ => KsTopologyConnection { from_node: 0, from_node_pin: id, to_node: KSFILTER_NODE, to_node_pin: id },
        })
    })
    .collect()
}
