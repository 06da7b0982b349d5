//! Topology: nodes, connections and the identity of a filter.

use crate::define::abi_struct;
use crate::guid::Guid;
use crate::pointer::Ptr64;

abi_struct! {
    /// A connection inside a filter.
    pub struct KsTopologyConnection = "KSTOPOLOGY_CONNECTION", "ns-ks-kstopology_connection" {
        /// Where data comes from; [`KSFILTER_NODE`] for the filter's own pins.
        from_node: u32 = "FromNode",
        /// Pin there.
        from_node_pin: u32 = "FromNodePin",
        /// Where data goes to; [`KSFILTER_NODE`] for the filter's own pins.
        to_node: u32 = "ToNode",
        /// Pin there.
        to_node_pin: u32 = "ToNodePin",
    }
}

abi_struct! {
    /// A filter's categories, nodes and connections.
    pub struct KsTopology = "KSTOPOLOGY", "ns-ks-kstopology" {
        /// Number of categories.
        categories_count: u32 = "CategoriesCount",
        #[doc(hidden)]
        _padding1: u32 = "",
        /// Array of GUIDs.
        categories: Ptr64 = "Categories",
        /// Number of nodes.
        topology_nodes_count: u32 = "TopologyNodesCount",
        #[doc(hidden)]
        _padding2: u32 = "",
        /// Array of type GUIDs.
        topology_nodes: Ptr64 = "TopologyNodes",
        /// Number of connections.
        topology_connections_count: u32 = "TopologyConnectionsCount",
        #[doc(hidden)]
        _padding3: u32 = "",
        /// Array of [`KsTopologyConnection`].
        topology_connections: Ptr64 = "TopologyConnections",
        /// Array of name GUIDs.
        topology_nodes_names: Ptr64 = "TopologyNodesNames",
        /// Zero.
        reserved: u32 = "Reserved",
        #[doc(hidden)]
        _padding4: u32 = "",
    }
}

abi_struct! {
    /// What a topology node object is created with.
    pub struct KsNodeCreate = "KSNODE_CREATE", "ns-ks-ksnode_create" {
        /// Zero.
        create_flags: u32 = "CreateFlags",
        /// The node.
        node: u32 = "Node",
    }
}

abi_struct! {
    /// Identity of a filter.
    pub struct KsComponentId = "KSCOMPONENTID", "ns-ks-kscomponentid" {
        /// Who made it.
        manufacturer: Guid = "Manufacturer",
        /// The product.
        product: Guid = "Product",
        /// The component.
        component: Guid = "Component",
        /// Its name.
        name: Guid = "Name",
        /// Version.
        version: u32 = "Version",
        /// Revision.
        revision: u32 = "Revision",
    }
}

/// The filter itself in a topology connection.
pub const KSFILTER_NODE: u32 = u32::MAX;
/// All nodes.
pub const KSALL_NODES: u32 = u32::MAX;
