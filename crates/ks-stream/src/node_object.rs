//! A topology node object: a node of a filter, or of a pin's stream, behind a handle of its own.
//!
//! Source: nf-ks-kscreatetopologynode, ns-ks-ksnode_create, nf-ks-ksvalidatetopologynodecreaterequest.

use crate::automation;
use crate::event::{self, EnabledBy};
use crate::filter::Filter;
use crate::io_control::default_completion;
use crate::pin::Pin;
use crate::{method, property};
use ks_abi::{
    IoControlCode, KSALL_NODES, KsNodeCreate, STATUS_DEVICE_REMOVED, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_PARAMETER,
};
use ks_io::sync::Arc;
use ks_io::{Aspect, CreateRequest, Created, Dispatch, Dispatched, Irp, Refusal};
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, IntoBytes};

/// One open node. Its properties, methods and events are those of the node's automation table, asked without naming the
/// node. The events that it enables are raised with those of its filter or pin, and end with it.
pub struct NodeObject {
    parent: NodeParent,
    node: u32,
    /// Of this node object alone.
    number: u64,
}

/// What the node is created on.
pub(crate) enum NodeParent {
    Filter(Arc<Filter>),
    Pin(Arc<Pin>),
}

impl NodeParent {
    fn filter(&self) -> &Arc<Filter> {
        match self {
            NodeParent::Filter(filter) => filter,
            NodeParent::Pin(pin) => pin.filter(),
        }
    }
}

impl NodeParent {
    /// Does the minidriver answer for its nodes as a whole?
    fn answers_as_a_whole(&self) -> bool {
        match self {
            NodeParent::Filter(filter) => filter.table_of(Some(KSALL_NODES)).is_some(),
            NodeParent::Pin(pin) => pin.table_of(Some(KSALL_NODES)).is_some(),
        }
    }
}

/// The refusal of KSALL_NODES, where the minidriver has no table for its nodes as a whole.
pub(crate) fn no_node_as_a_whole(filter: &Filter) -> Refusal {
    let nodes = filter.descriptor().nodes().len();
    let reason = format!("{} has {nodes} topology nodes and does not answer for them as a whole", filter.name());
    Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason)
}

/// The parameters of a node create: a KSNODE_CREATE without flags, of one of `nodes` nodes.
///
/// Decision: KSALL_NODES, which speaks of the nodes as a whole where a filter supports that, is no one of them and is
/// refused here; filters and pins whose minidriver has a table for it take it before.
#[doc(alias = "KsValidateTopologyNodeCreateRequest")]
pub fn validate_node_create(parameters: &[u8], nodes: u32) -> Result<KsNodeCreate, Refusal> {
    let bad = |status, reason: String| Err(Refusal::new(status, Aspect::Request, reason));
    let Ok(create) = KsNodeCreate::read_from_bytes(parameters) else {
        let reason = format!("a KSNODE_CREATE has 8 bytes, the request {}", parameters.len());
        return bad(STATUS_INVALID_BUFFER_SIZE, reason);
    };
    if create.create_flags != 0 {
        return bad(STATUS_INVALID_PARAMETER, format!("CreateFlags is {:#x}, not 0", create.create_flags));
    }
    if create.node >= nodes {
        return bad(STATUS_INVALID_PARAMETER, format!("there are {nodes} topology nodes and no node {}", create.node));
    }
    Ok(create)
}

/// `IRP_MJ_CREATE` of class `KSSTRING_TopologyNode` below a filter or a pin.
pub(crate) fn create(parent: NodeParent, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
    let nodes = parent.filter().descriptor().nodes().len();
    // Relaxed: it only has to be unique.
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let of_all = KsNodeCreate { create_flags: 0, node: KSALL_NODES };
    let create = match request.parameters == of_all.as_bytes() && parent.answers_as_a_whole() {
        true => of_all,
        false => validate_node_create(request.parameters, u32::try_from(nodes).unwrap_or(u32::MAX))?,
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let object = Arc::new(NodeObject { parent, node: create.node, number });
    Ok(Created { object, granted: request.access })
}

impl NodeObject {
    /// Number of the node; KSALL_NODES for all as a whole.
    pub fn node(&self) -> u32 {
        self.node
    }

    fn event_request(&self, irp: Irp) -> Dispatched {
        let by = EnabledBy::Node(self.node, self.number);
        let enables = irp.io_control_code() == IoControlCode::KS_ENABLE_EVENT;
        match &self.parent {
            NodeParent::Filter(filter) if enables => {
                filter.events().enable_by(by, &**filter, irp, &[], filter.table_of(Some(self.node)))
            }
            NodeParent::Filter(filter) => filter.events().disable_by(by, &**filter, irp, |node| filter.table_of(node)),
            NodeParent::Pin(pin) if enables => {
                pin.events().enable_by(by, &**pin, irp, &[], pin.table_of(Some(self.node)))
            }
            NodeParent::Pin(pin) => pin.events().disable_by(by, &**pin, irp, |node| pin.table_of(node)),
        }
    }
}

impl Dispatch for NodeObject {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        if self.parent.filter().device().is_removed() {
            return irp.done(STATUS_DEVICE_REMOVED);
        }
        let code = irp.io_control_code();
        let names_node = match code {
            IoControlCode::KS_PROPERTY | IoControlCode::KS_METHOD => automation::is_for_node(irp.input()),
            IoControlCode::KS_ENABLE_EVENT => event::is_for_node(irp.input()),
            IoControlCode::KS_DISABLE_EVENT => false,
            _ => return irp.done(default_completion(code)),
        };
        // A request that names a node as well must name this one.
        if names_node && automation::node_of(irp.input()) != Some(self.node) {
            let reason = format!("the request names another node than {}, which it was sent to", self.node);
            let refusal = Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason);
            return Dispatched::Completed(irp.refuse(refusal));
        }
        if event::is_event_code(code) {
            return self.event_request(irp);
        }
        match &self.parent {
            NodeParent::Filter(filter) => {
                let table = filter.instance().and_then(|instance| instance.node_automation(self.node));
                match code {
                    IoControlCode::KS_METHOD => method::handle(&**filter, irp, table.as_slice()),
                    _ => property::handle(&**filter, irp, table.as_slice()),
                }
            }
            NodeParent::Pin(pin) => {
                let table = pin.instance().and_then(|instance| instance.node_automation(self.node));
                match code {
                    IoControlCode::KS_METHOD => method::handle(&**pin, irp, table.as_slice()),
                    _ => property::handle(&**pin, irp, table.as_slice()),
                }
            }
        }
    }

    fn cleanup(&self) {
        let by = EnabledBy::Node(self.node, self.number);
        match &self.parent {
            NodeParent::Filter(filter) => filter.events().free_by(by, &**filter, |node| filter.table_of(node)),
            NodeParent::Pin(pin) => pin.events().free_by(by, &**pin, |node| pin.table_of(node)),
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl std::fmt::Debug for NodeObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeObject").field("node", &self.node).finish_non_exhaustive()
    }
}
