//! A topology node object: a node of a filter, or of a pin's stream, behind a handle of its own.
//!
//! Source: nf-ks-kscreatetopologynode, ns-ks-ksnode_create, nf-ks-ksvalidatetopologynodecreaterequest.

use crate::automation;
use crate::filter::{Filter, default_completion};
use crate::pin::Pin;
use crate::{method, property};
use ks_abi::{
    IoControlCode, KsNodeCreate, STATUS_DEVICE_REMOVED, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER,
};
use ks_io::sync::Arc;
use ks_io::{Aspect, CreateRequest, Created, Dispatch, Dispatched, Irp, Refusal};
use zerocopy::FromBytes;

/// One open node. Its properties and methods are those of the node's automation table, asked without naming the node.
pub struct NodeObject {
    parent: NodeParent,
    node: u32,
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

/// The parameters of a node create: a KSNODE_CREATE without flags, of one of `nodes` nodes.
///
/// Decision: KSALL_NODES, which speaks of the nodes as a whole where a filter supports that, is refused: no automation
/// table belongs to all of them.
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
    let create = validate_node_create(request.parameters, u32::try_from(nodes).unwrap_or(u32::MAX))?;
    let object = Arc::new(NodeObject { parent, node: create.node });
    Ok(Created { object, granted: request.access })
}

impl NodeObject {
    /// Number of the node.
    pub fn node(&self) -> u32 {
        self.node
    }
}

impl Dispatch for NodeObject {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        if self.parent.filter().device().is_removed() {
            return irp.done(STATUS_DEVICE_REMOVED);
        }
        let code = irp.io_control_code();
        if !matches!(code, IoControlCode::KS_PROPERTY | IoControlCode::KS_METHOD) {
            return irp.done(default_completion(code));
        }
        // A request that names a node as well must name this one.
        if automation::is_for_node(irp.input()) && automation::node_of(irp.input()) != Some(self.node) {
            let reason = format!("the request names another node than {}, which it was sent to", self.node);
            let refusal = Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason);
            return Dispatched::Completed(irp.refuse(refusal));
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

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl std::fmt::Debug for NodeObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeObject").field("node", &self.node).finish_non_exhaustive()
    }
}
