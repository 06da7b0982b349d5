//! A filter that gets pin factories, nodes and connections while it is open and streams.

use crate::kit::{self, UP};
use ks_abi::{
    Guid, KSCATEGORY_RENDER, KSFILTER_NODE, KSNODETYPE_MUTE, KSNODETYPE_VOLUME, KsComponentId, KsPinDataFlow,
    KsTopologyConnection, NtStatus, STATUS_INVALID_PARAMETER, STATUS_PENDING,
};
use ks_client::Client;
use ks_io::sync::{Arc, RwLock};
use ks_io::{AccessMask, IoManager, Refusal, Services};
use ks_stream::{
    AutomationTable, DescribeFilter, DescribePin, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance,
    Pin, PinDescriptor, PinId, PinInstance, PropertyItem, PropertySet,
};
use std::borrow::Cow;
use std::sync::OnceLock;

const SET: Guid = Guid::from_u128(0x51);

/// What a filter says of itself, with more each time: pins stay where they are once they are there.
struct Grown {
    pins: [OnceLock<PinDescriptor>; 4],
    nodes: RwLock<Vec<Guid>>,
    connections: RwLock<Vec<KsTopologyConnection>>,
    dispatch: OnceLock<Arc<Growing>>,
}

struct Growing(Arc<Grown>);

impl DescribeFilter for Grown {
    fn reference(&self) -> Cow<'_, str> {
        "growing".into()
    }
    fn friendly_name(&self) -> Cow<'_, str> {
        "Growing".into()
    }
    fn categories(&self) -> Cow<'_, [Guid]> {
        const { &[KSCATEGORY_RENDER] }.into()
    }
    fn pin_count(&self) -> u32 {
        self.pins.iter().filter(|pin| pin.get().is_some()).count() as u32
    }
    fn pin(&self, id: PinId) -> Option<&dyn DescribePin> {
        self.pins.get(id as usize)?.get().map(|pin| pin as &dyn DescribePin)
    }
    fn nodes(&self) -> Cow<'_, [Guid]> {
        self.nodes.read().clone().into()
    }
    fn connections(&self) -> Cow<'_, [KsTopologyConnection]> {
        self.connections.read().clone().into()
    }
    fn component_id(&self) -> Option<KsComponentId> {
        None
    }
    fn in_place(&self) -> Option<(PinId, PinId)> {
        None
    }
    fn dispatch(&self) -> &dyn FilterDispatch {
        &**self.dispatch.get().unwrap()
    }
}

impl Grown {
    fn grow(&self) -> u32 {
        let pin = || PinDescriptor::new(KsPinDataFlow::IN, vec![kit::range()]);
        let at = self.pin_count();
        assert!(self.pins[at as usize].set(pin()).is_ok());
        at
    }
}

struct Instance {
    grown: Arc<Grown>,
    node: AutomationTable<Filter>,
}

impl FilterDispatch for Growing {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let number =
            PropertyItem::new(0).get(|filter: &Filter, call| call.answer_value(&filter.descriptor().pin_count()));
        let node = AutomationTable::of_properties(vec![PropertySet { set: SET, items: vec![number] }]);
        Ok(Arc::new(Instance { grown: self.0.clone(), node }))
    }
}

impl FilterInstance for Instance {
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(GrowingPin(self.grown.clone())))
    }
    fn descriptor(&self) -> Option<&dyn DescribeFilter> {
        Some(&*self.grown)
    }
    fn node_automation(&self, _: u32) -> Option<&AutomationTable<Filter>> {
        Some(&self.node)
    }
}

/// Grows its filter with each frame.
struct GrowingPin(Arc<Grown>);

impl PinInstance for GrowingPin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            if pin.id() == 0 && self.0.pin_count() < 4 {
                self.0.grow();
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    }
}

#[test]
fn a_filter_grows_while_it_streams_and_its_client_sees_it_at_once() {
    let io = IoManager::new(Services::virtual_time(1));
    let grown = Arc::new(Grown {
        pins: Default::default(),
        nodes: RwLock::default(),
        connections: RwLock::default(),
        dispatch: OnceLock::new(),
    });
    let growing = Arc::new(Growing(grown.clone()));
    assert!(grown.dispatch.set(growing.clone()).is_ok());
    let descriptor = FilterDescriptor::new("growing", "Growing", &[KSCATEGORY_RENDER], Vec::new(), growing);
    let _device = Device::start(&io, "growing", vec![Arc::new(descriptor)]).unwrap();
    let client = Client::new(io.session());
    let filter = client.open_by_name("growing").unwrap();
    assert_eq!(filter.pin_count().unwrap(), 0, "a filter may begin without pins");
    assert_eq!(filter.pin(0).unwrap_err().status, STATUS_INVALID_PARAMETER);
    assert!(filter.topology().unwrap().connections.is_empty());
    grown.grow();
    // Without connections of its own each pin is joined to node 0.
    let default = filter.topology().unwrap().connections;
    assert_eq!(
        default,
        [KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: 0, to_node: 0, to_node_pin: 0 }]
    );

    let create = |id| kit::create(&filter, id, KsPinDataFlow::IN, None);
    let first = create(0).unwrap();
    assert!(create(1).is_err());
    for state in UP {
        first.set_state(state).unwrap();
    }
    for pins in 2..=4 {
        let mut frame = first.allocate(64).unwrap();
        assert!(frame.fill(&[0; 8]));
        first.write_stream(vec![frame]).unwrap().wait().unwrap();
        assert_eq!(filter.pin_count().unwrap(), pins);
        assert_eq!(filter.topology().unwrap().connections.len() as u32, pins);
        // The new factory's pin streams beside the old one.
        let pin = create(pins - 1).unwrap();
        pin.set_state(ks_abi::KsState::RUN).unwrap();
        let mut frame = pin.allocate(64).unwrap();
        assert!(frame.fill(&[0; 8]));
        pin.write_stream(vec![frame]).unwrap().wait().unwrap();
    }

    assert_eq!(filter.create_node(0, AccessMask::GENERIC_READ).unwrap_err().status, STATUS_INVALID_PARAMETER);
    for (number, kind) in [KSNODETYPE_VOLUME, KSNODETYPE_MUTE].into_iter().enumerate() {
        let number = number as u32;
        grown.nodes.write().push(kind);
        let mine =
            KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: number, to_node: number, to_node_pin: 1 };
        grown.connections.write().push(mine);
        let topology = filter.topology().unwrap();
        assert_eq!((topology.nodes.len() as u32, topology.connections.len() as u32), (number + 1, number + 1));
        assert_eq!(topology.connections[number as usize], mine, "its own connections, and the default ones no more");
        let node = filter.create_node(number, AccessMask::GENERIC_READ).unwrap();
        assert_eq!(node.property::<u32>(SET, 0).unwrap(), 4);
    }
}
