//! A Kernel Streaming driver without AVStream that answers everything but streams: methods, events and a topology by tables of
//! its own, and below its filter the class driver's clock and allocator and nodes of the driver's.

use ks_abi::{
    Guid, IoControlCode, KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSCATEGORY_RENDER, KSFILTER_NODE,
    KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_BASICSUPPORT, KSMETHOD_TYPE_READ,
    KSMETHOD_TYPE_SEND, KSMETHODSETID_StreamAllocator, KSNAME_Allocator, KSNAME_Clock, KSNAME_TopologyNode,
    KSPROPERTY_CLOCK_STATE, KSPROPERTY_TYPE_GET, KSPROPSETID_Clock, KsAllocatorFraming, KsMethod, KsNodeCreate,
    KsProperty, KsState, KsTopologyConnection, NtStatus, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
};
use ks_client::{Client, Filter, Scope};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{
    AccessMask, Aspect, CreateRequest, Created, DeviceObject, Dispatch, Dispatched, Handle, InterfaceRecord, IoManager,
    Irp, Refusal, Services, Transport,
};
use ks_stream::{
    AllocatorFraming, AllocatorObject, AutomationTable, ClockObject, DefaultClock, EventItem, EventList, EventSet,
    Framing, MethodItem, MethodSet, PropertyCall, PropertyItem, PropertySet, Topology, answer_event, answer_method,
    answer_property, answer_topology_property, validate_clock_create, validate_node_create,
};
use std::any::Any;
use std::borrow::Cow;
use zerocopy::IntoBytes;

/// The driver's own set of methods, events and properties of nodes.
const SET: Guid = Guid::from_u128(0x7c1d_5b60_4a3e_4f0a_9d55_0be1_6a2f_8d10);
const NODE_TYPES: [Guid; 2] = [Guid::from_u128(0xA1), Guid::from_u128(0xA2)];
const NODE_NUMBER: u32 = 3;
/// Adds the bytes of its data up, and raises the event.
const SUM: u32 = 0;
const SUMMED: u32 = 5;
const CONNECTIONS: [KsTopologyConnection; 2] = [
    KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: 0, to_node: 0, to_node_pin: 1 },
    KsTopologyConnection { from_node: 0, from_node_pin: 0, to_node: 1, to_node_pin: 1 },
];
const MOST_BYTES: u64 = 1 << 20;

struct Plain {
    io: Arc<IoManager>,
    filters: Mutex<Vec<Weak<PlainFilter>>>,
}

impl DeviceObject for Plain {
    fn name(&self) -> &str {
        "plain"
    }
    fn create(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let filter = Arc::new(PlainFilter {
            io: self.io.clone(),
            events: EventList::default(),
            told: Mutex::default(),
            table: filter_table(),
        });
        self.filters.lock().push(Arc::downgrade(&filter));
        Ok(Created { object: filter, granted: request.access })
    }
}

struct PlainFilter {
    io: Arc<IoManager>,
    events: EventList,
    /// What its handlers were asked.
    told: Mutex<Vec<String>>,
    table: AutomationTable<PlainFilter>,
}

impl Topology for PlainFilter {
    fn categories(&self) -> Cow<'_, [Guid]> {
        vec![KSCATEGORY_RENDER].into()
    }
    fn nodes(&self) -> Cow<'_, [Guid]> {
        NODE_TYPES.as_slice().into()
    }
    fn connections(&self) -> Cow<'_, [KsTopologyConnection]> {
        CONNECTIONS.as_slice().into()
    }
    fn node_name(&self, node: u32) -> Option<Cow<'_, str>> {
        (node == 1).then(|| "second".into())
    }
}

fn filter_table() -> AutomationTable<PlainFilter> {
    let sum = MethodItem::new(SUM, KSMETHOD_TYPE_READ, |filter: &PlainFilter, call: &mut PropertyCall<'_>| {
        let sum: u32 = call.data().iter().map(|byte| u32::from(*byte)).sum();
        filter.told.lock().push(format!("sum {sum}"));
        filter.events.generate(SET, SUMMED);
        STATUS_SUCCESS
    });
    let mut summed = EventItem::new(SUMMED);
    summed.add = Some(Box::new(|filter: &PlainFilter, request| {
        filter.told.lock().push(format!("add {}", request.event().id));
        STATUS_SUCCESS
    }));
    summed.remove = Some(Box::new(|filter: &PlainFilter, _| filter.told.lock().push("remove".to_owned())));
    let mut refused = EventItem::new(SUMMED + 1);
    refused.add = Some(Box::new(|_: &PlainFilter, _| STATUS_UNSUCCESSFUL));
    AutomationTable {
        methods: vec![MethodSet { set: SET, items: vec![sum.data_bytes(2)] }],
        events: vec![EventSet { set: SET, items: vec![summed, refused] }],
        ..AutomationTable::default()
    }
}

fn ended(irp: Irp, answer: Result<NtStatus, Refusal>) -> Dispatched {
    match answer {
        Ok(status) => irp.done(status),
        Err(refusal) => Dispatched::Completed(irp.refuse(refusal)),
    }
}

impl Dispatch for PlainFilter {
    fn device_io_control(&self, mut irp: Irp) -> Dispatched {
        match irp.io_control_code() {
            IoControlCode::KS_PROPERTY => {
                let answer = answer_topology_property(self, irp.parts());
                ended(irp, answer)
            }
            IoControlCode::KS_METHOD => {
                let answer = answer_method(self, irp.parts(), &[&self.table]);
                ended(irp, answer)
            }
            IoControlCode::KS_ENABLE_EVENT | IoControlCode::KS_DISABLE_EVENT => {
                answer_event(&self.events, self, irp, &self.table)
            }
            _ => irp.done(STATUS_INVALID_DEVICE_REQUEST),
        }
    }

    /// The create items of the filter.
    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let class = request.name.trim_end_matches('\\').parse::<Guid>();
        let object: Arc<dyn Dispatch> = match class {
            Ok(class) if class == KSNAME_Clock => {
                validate_clock_create(request.parameters)?;
                ClockObject::new(DefaultClock::new(self.io.services().clone()))
            }
            Ok(class) if class == KSNAME_Allocator => {
                let framing = AllocatorFraming::plain(request.parameters, Framing::default(), MOST_BYTES)?;
                AllocatorObject::of_system_memory(framing, &self.io)
            }
            Ok(class) if class == KSNAME_TopologyNode => {
                let create = validate_node_create(request.parameters, NODE_TYPES.len() as u32)?;
                Arc::new(PlainNode { number: create.node, table: node_table() })
            }
            _ => return Err(Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, "no such create item")),
        };
        Ok(Created { object, granted: request.access })
    }

    fn cleanup(&self) {
        self.events.free(self, Some(&self.table));
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

struct PlainNode {
    number: u32,
    table: AutomationTable<PlainNode>,
}

fn node_table() -> AutomationTable<PlainNode> {
    let number = PropertyItem::new(NODE_NUMBER)
        .data_bytes(4)
        .get(|node: &PlainNode, call: &mut PropertyCall<'_>| call.answer_value(&node.number));
    AutomationTable::of_properties(vec![PropertySet { set: SET, items: vec![number] }])
}

impl Dispatch for PlainNode {
    fn device_io_control(&self, mut irp: Irp) -> Dispatched {
        let answer = answer_property(self, irp.parts(), &[&self.table]);
        ended(irp, answer)
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The driver, and a client that has its filter open.
struct Bench {
    plain: Arc<Plain>,
    filter: Filter,
}

impl Bench {
    fn new() -> Bench {
        let io = IoManager::new(Services::virtual_time(1));
        let plain = Arc::new(Plain { io: io.for_device(), filters: Mutex::default() });
        assert!(io.register_interface(InterfaceRecord {
            category: KSCATEGORY_RENDER,
            reference: "plain".into(),
            friendly_name: "plain".into(),
            device: plain.clone(),
        }));
        let filter = Client::new(io.session()).open_by_name("plain").unwrap();
        Bench { plain, filter }
    }

    fn told(&self) -> Vec<String> {
        let filter = self.plain.filters.lock()[0].upgrade().unwrap();
        std::mem::take(&mut *filter.told.lock())
    }

    fn transport(&self) -> &Arc<dyn Transport> {
        self.filter.object().transport()
    }

    fn method(&self, set: Guid, id: u32, flags: u32, data: &mut [u8]) -> NtStatus {
        let request = KsMethod::new(set, id, flags);
        self.filter.object().control(IoControlCode::KS_METHOD, request.as_bytes(), data).status
    }

    fn create(&self, class: Guid, parameters: &[u8]) -> Result<Handle, NtStatus> {
        let parent = self.filter.object().handle();
        let created = self.transport().create(parent, &class.to_string(), parameters, AccessMask::GENERIC_READ);
        created.map_err(|outcome| outcome.status)
    }

    fn property(&self, object: Handle, set: Guid, id: u32, data: &mut [u8]) -> NtStatus {
        let request = KsProperty::new(set, id, KSPROPERTY_TYPE_GET);
        self.transport().device_io_control(object, IoControlCode::KS_PROPERTY, request.as_bytes(), data).status
    }
}

#[test]
fn a_driver_without_avstream_runs_methods_and_raises_events_by_tables_of_its_own() {
    let bench = Bench::new();
    let event = bench.filter.object().enable_event(Scope::Object, SET, SUMMED).unwrap();
    assert_eq!(bench.told(), ["add 5"]);
    assert_eq!(bench.method(SET, SUM, KSMETHOD_TYPE_READ, &mut [1]), ks_abi::STATUS_BUFFER_TOO_SMALL, "by the table");
    assert!(!event.event().is_set());
    assert_eq!(bench.method(SET, SUM, KSMETHOD_TYPE_READ, &mut [0, 0]), STATUS_SUCCESS);
    assert_eq!(bench.told(), ["sum 0"]);
    assert!(event.event().is_set());
    let unknown = [
        bench.method(SET, 9, KSMETHOD_TYPE_READ, &mut [0; 2]),
        bench.method(Guid::NULL, 0, KSMETHOD_TYPE_READ, &mut []),
    ];
    assert_eq!(unknown, [STATUS_NOT_FOUND, STATUS_PROPSET_NOT_FOUND]);
    let mut kind = [0; 4];
    assert_eq!(bench.method(SET, SUM, KSMETHOD_TYPE_BASICSUPPORT, &mut kind), STATUS_SUCCESS);
    assert_eq!(u32::from_le_bytes(kind), KSMETHOD_TYPE_READ);
    let enable =
        |id| bench.filter.object().enable_event(Scope::Object, SET, id).map(drop).map_err(|error| error.status);
    assert_eq!(enable(SUMMED + 1), Err(STATUS_UNSUCCESSFUL), "as its handler said");
    assert_eq!(enable(SUMMED + 2), Err(STATUS_NOT_FOUND));
    // All of the client's: no input.
    let none = bench.filter.object().control(IoControlCode::KS_DISABLE_EVENT, &[], &mut []);
    assert_eq!((none.status, bench.told()), (STATUS_SUCCESS, vec!["remove".to_owned()]));
    event.event().clear();
    assert_eq!(bench.method(SET, SUM, KSMETHOD_TYPE_READ, &mut [0, 0]), STATUS_SUCCESS);
    assert!(!event.event().is_set(), "it is enabled no more");
    drop(bench.filter.object().enable_event(Scope::Object, SET, SUMMED).unwrap());
}

#[test]
fn a_driver_without_avstream_tells_its_topology_and_has_nodes() {
    let bench = Bench::new();
    let topology = bench.filter.topology().unwrap();
    assert_eq!((topology.categories, topology.nodes), (vec![KSCATEGORY_RENDER], NODE_TYPES.to_vec()));
    assert_eq!(topology.connections, CONNECTIONS);
    for node in [0, 1] {
        let object = bench.create(KSNAME_TopologyNode, KsNodeCreate { create_flags: 0, node }.as_bytes()).unwrap();
        let mut number = [0; 4];
        assert_eq!(bench.property(object, SET, NODE_NUMBER, &mut number), STATUS_SUCCESS);
        assert_eq!(u32::from_le_bytes(number), node);
        assert_eq!(bench.transport().close(object).status, STATUS_SUCCESS);
    }
    let refused = |create: KsNodeCreate| bench.create(KSNAME_TopologyNode, create.as_bytes()).unwrap_err();
    assert_eq!(refused(KsNodeCreate { create_flags: 0, node: 2 }), STATUS_INVALID_PARAMETER);
    assert_eq!(refused(KsNodeCreate { create_flags: 1, node: 0 }), STATUS_INVALID_PARAMETER);
    assert_eq!(bench.create(SET, &[]), Err(STATUS_OBJECT_NAME_NOT_FOUND));
}

#[test]
fn a_driver_without_avstream_has_the_class_drivers_clock_and_allocator() {
    let bench = Bench::new();
    assert_eq!(bench.create(KSNAME_Clock, &[0; 3]), Err(STATUS_INVALID_BUFFER_SIZE));
    let clock = bench.create(KSNAME_Clock, &[0; 4]).unwrap();
    let mut state = [9; 4];
    assert_eq!(bench.property(clock, KSPROPSETID_Clock, KSPROPERTY_CLOCK_STATE, &mut state), STATUS_SUCCESS);
    assert_eq!(u32::from_le_bytes(state), KsState::STOP.0);
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 1,
        frame_size: 128,
        ..KsAllocatorFraming::default()
    };
    let allocator = bench.create(KSNAME_Allocator, framing.as_bytes()).unwrap();
    let method = |id, data: &mut [u8]| {
        let request = KsMethod::new(KSMETHODSETID_StreamAllocator, id, KSMETHOD_TYPE_SEND);
        bench.transport().device_io_control(allocator, IoControlCode::KS_METHOD, request.as_bytes(), data).status
    };
    let mut frame = [0; 8];
    assert_eq!(method(KSMETHOD_STREAMALLOCATOR_ALLOC, &mut frame), STATUS_SUCCESS);
    assert!(bench.transport().frame_at(u64::from_le_bytes(frame), 128).is_some(), "memory that headers may name");
    assert_eq!(method(KSMETHOD_STREAMALLOCATOR_FREE, &mut frame), STATUS_SUCCESS);
    let unflagged = KsAllocatorFraming { flags: 0, ..framing };
    assert_eq!(bench.create(KSNAME_Allocator, unflagged.as_bytes()), Err(STATUS_INVALID_PARAMETER));
    for object in [clock, allocator] {
        assert_eq!(bench.transport().close(object).status, STATUS_SUCCESS);
    }
}
