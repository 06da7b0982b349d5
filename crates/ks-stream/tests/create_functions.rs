//! The functions that create pins, allocators, clocks and nodes, in each world of return values, and one call that opens a
//! pin by the name of its device.

mod support;

use ks_abi::*;
use ks_client::create::{broker, kernel, win32};
use ks_client::{Client, Connect, Format, com};
use ks_io::{
    AccessMask, CancelCreates, Event, Handle, InterfaceInfo, Level, Outcome, Request, RequestorMode, Services, Session,
    Transport,
};
use ks_mem::{Frame, MemoryError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::specimen::*;
use support::video;
use zerocopy::IntoBytes;

const READ: AccessMask = AccessMask::GENERIC_READ;
const WRITE: AccessMask = AccessMask::GENERIC_WRITE;
/// What the outputs hold before a call.
const BEFORE: Handle = Handle(0x5A5A);
const CLOCK: KsClockCreate = KsClockCreate { create_flags: 0 };

fn framing() -> KsAllocatorFraming {
    KsAllocatorFraming { flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, frames: 2, frame_size: 64, ..Default::default() }
}

fn node(number: u32) -> KsNodeCreate {
    KsNodeCreate { create_flags: 0, node: number }
}

fn nodes() -> Bench {
    bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 2], None, None)
}

/// What a function returned, as a number of its world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    Kernel(NtStatus),
    Win32(Win32Error),
    Broker(HResult),
}

impl World {
    /// The three forms of one status.
    fn all(status: NtStatus) -> [World; 3] {
        [World::Kernel(status), World::Win32(status.to_win32()), World::Broker(HResult::from(status))]
    }
}

/// One function in its three worlds; what each returned, and its output.
fn pins(on: &dyn Transport, filter: Handle, connect: &[u8], access: AccessMask) -> [(World, Handle); 3] {
    let mut out = [BEFORE; 3];
    let worlds = [
        World::Kernel(kernel::create_pin(on, filter, connect, access, &mut out[0])),
        World::Win32(win32::create_pin(on, filter, connect, access, &mut out[1])),
        World::Broker(broker::create_pin2(on, filter, connect, access, &mut out[2])),
    ];
    [0, 1, 2].map(|world| (worlds[world], out[world]))
}

fn allocators(on: &dyn Transport, pin: Handle, framing: &KsAllocatorFraming) -> [(World, Handle); 3] {
    let mut out = [BEFORE; 3];
    let worlds = [
        World::Kernel(kernel::create_allocator(on, pin, framing, &mut out[0])),
        World::Win32(win32::create_allocator(on, pin, framing, &mut out[1])),
        World::Broker(broker::create_allocator2(on, pin, framing, &mut out[2])),
    ];
    [0, 1, 2].map(|world| (worlds[world], out[world]))
}

fn clocks(on: &dyn Transport, pin: Handle, create: &KsClockCreate) -> [(World, Handle); 3] {
    let mut out = [BEFORE; 3];
    let worlds = [
        World::Kernel(kernel::create_clock(on, pin, create, &mut out[0])),
        World::Win32(win32::create_clock(on, pin, create, &mut out[1])),
        World::Broker(broker::create_clock2(on, pin, create, &mut out[2])),
    ];
    [0, 1, 2].map(|world| (worlds[world], out[world]))
}

fn topology_nodes(on: &dyn Transport, parent: Handle, create: &KsNodeCreate) -> [(World, Handle); 3] {
    let mut out = [BEFORE; 3];
    let worlds = [
        World::Kernel(kernel::create_topology_node(on, parent, create, READ, &mut out[0])),
        World::Win32(win32::create_topology_node(on, parent, create, READ, &mut out[1])),
        World::Broker(broker::create_topology_node2(on, parent, create, READ, &mut out[2])),
    ];
    [0, 1, 2].map(|world| (worlds[world], out[world]))
}

/// Every world succeeded, with a handle of its own; gives the handles.
#[track_caller]
fn made(results: [(World, Handle); 3]) -> [Handle; 3] {
    assert_eq!(results.map(|(world, _)| world), World::all(STATUS_SUCCESS));
    let handles = results.map(|(_, handle)| handle);
    assert!(handles.iter().all(|&handle| handle != BEFORE && handle != Handle::NULL));
    assert!(handles[0] != handles[1] && handles[1] != handles[2] && handles[0] != handles[2]);
    handles
}

/// Every world said this, and left its output alone.
#[track_caller]
fn refused(results: [(World, Handle); 3], status: NtStatus) {
    assert_eq!(results.map(|(world, _)| world), World::all(status));
    assert_eq!(results.map(|(_, handle)| handle), [BEFORE; 3], "untouched");
}

#[test]
fn the_functions_create_in_three_worlds() {
    let _com = com::initialize();
    let bench = nodes();
    let on = &*bench.session;
    let connect = pin_create(NON_STANDARD).parameters();
    for pin in made(pins(on, bench.filter, &connect, READ)) {
        assert_eq!(bench.engine_pin(pin).id(), NON_STANDARD, "PinId chose it, below the filter that was named");
        assert_eq!(on.close(pin).status, STATUS_SUCCESS, "closing the handle ends the connection");
    }
    assert_eq!(bench.engine_filter(bench.filter).pin_count(NON_STANDARD), 0);
    let pin = bench.pin(OUT);
    for allocator in made(allocators(on, pin, &framing())) {
        let request = property(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPERTY_TYPE_GET);
        let status: KsStreamAllocatorStatus = bench.value(allocator, request.as_bytes());
        assert_eq!(status.framing, framing());
    }
    for clock in made(clocks(on, pin, &CLOCK)) {
        let request = property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_STATE, KSPROPERTY_TYPE_GET);
        assert_eq!(bench.value::<KsState>(clock, request.as_bytes()), KsState::STOP);
    }
    for parent in [bench.filter, pin] {
        for made in made(topology_nodes(on, parent, &node(1))) {
            let file = bench.session.file_object(made).expect("the handle is open");
            assert_eq!(file.object_as::<ks_stream::NodeObject>().map(|node| node.node()), Some(1));
            assert_eq!(file.granted(), READ, "the access that was asked for");
        }
    }
}

#[test]
fn a_failure_leaves_the_output_alone_in_every_world() {
    let _com = com::initialize();
    let bench = nodes();
    let on = &*bench.session;
    let good = pin_create(OUT);
    let connect = good.parameters();
    let with = |edit: fn(&mut PinCreate)| {
        let mut create = pin_create(OUT);
        edit(&mut create);
        create.parameters()
    };
    refused(pins(on, bench.filter, &with(|create| create.connect.interface = LOOPED), READ), STATUS_NO_MATCH);
    refused(pins(on, bench.filter, &with(|create| create.connect.medium = OTHER_MEDIUM), READ), STATUS_NO_MATCH);
    refused(pins(on, bench.filter, &pin_create(OUT).format(&audio()).parameters(), READ), STATUS_NO_MATCH);
    refused(pins(on, bench.filter, &with(|create| create.connect.pin_id = 99), READ), STATUS_INVALID_PARAMETER);
    refused(pins(on, bench.filter, &connect[..71], READ), STATUS_INVALID_BUFFER_SIZE);
    refused(pins(on, bench.filter, &connect[..72], READ), STATUS_INVALID_BUFFER_SIZE);
    refused(pins(on, Handle(8), &connect, READ), STATUS_INVALID_HANDLE);
    refused(pins(on, Handle::NULL, &connect, READ), STATUS_INVALID_HANDLE);
    let pin = bench.pin(OUT);
    refused(pins(on, pin, &connect, READ), STATUS_OBJECT_NAME_NOT_FOUND);
    // The right that the data needs, whoever sends the requests.
    refused(pins(on, bench.filter, &connect, WRITE), STATUS_ACCESS_DENIED);
    refused(pins(on, bench.filter, &connect, AccessMask::NONE), STATUS_ACCESS_DENIED);
    refused(pins(on, bench.filter, &pin_create(IN).parameters(), READ), STATUS_ACCESS_DENIED);
    let sink = bench.pin(WILD);
    let as_source = pin_create(FIXED).to(sink).parameters();
    refused(pins(on, bench.filter, &as_source, WRITE), STATUS_ACCESS_DENIED);
    // What is busy.
    let second = bench.pin(OUT);
    refused(pins(on, bench.filter, &connect, READ), STATUS_INVALID_DEVICE_STATE);
    let _ = on.close(second);
    bench.script.refuse_create.lock().clone_from(&true);
    refused(pins(on, bench.filter, &connect, READ), STATUS_UNSUCCESSFUL);
    bench.script.refuse_create.lock().clone_from(&false);
    for (framing, status) in [
        (KsAllocatorFraming { flags: 0, ..framing() }, STATUS_INVALID_PARAMETER),
        (KsAllocatorFraming { frames: u32::MAX, ..framing() }, STATUS_INSUFFICIENT_RESOURCES),
    ] {
        refused(allocators(on, pin, &framing), status);
    }
    refused(allocators(on, bench.filter, &framing()), STATUS_OBJECT_NAME_NOT_FOUND);
    refused(clocks(on, pin, &KsClockCreate { create_flags: 1 }), STATUS_INVALID_PARAMETER);
    refused(clocks(on, sink, &CLOCK), STATUS_INVALID_DEVICE_REQUEST);
    refused(topology_nodes(on, pin, &node(2)), STATUS_INVALID_PARAMETER);
    refused(topology_nodes(on, pin, &KsNodeCreate { create_flags: 1, node: 0 }), STATUS_INVALID_PARAMETER);
    // Every function is for PASSIVE_LEVEL.
    {
        let _level = Level::Dispatch.raise();
        refused(pins(on, bench.filter, &connect, READ), STATUS_INVALID_DEVICE_REQUEST);
        refused(allocators(on, pin, &framing()), STATUS_INVALID_DEVICE_REQUEST);
        refused(clocks(on, pin, &CLOCK), STATUS_INVALID_DEVICE_REQUEST);
        refused(topology_nodes(on, pin, &node(0)), STATUS_INVALID_DEVICE_REQUEST);
    }
    // What old clients test for by number.
    let mut out = BEFORE;
    let no_match = with(|create| create.connect.interface = LOOPED);
    assert_eq!(win32::create_pin(on, bench.filter, &no_match, READ, &mut out), Win32Error(1169));
    assert_eq!(broker::create_pin2(on, bench.filter, &no_match, READ, &mut out), HResult(0x8007_0491_u32 as i32));
    bench.device.surprise_remove();
    refused(pins(on, bench.filter, &connect, READ), STATUS_DEVICE_REMOVED);
    refused(allocators(on, pin, &framing()), STATUS_DEVICE_REMOVED);
    refused(clocks(on, pin, &CLOCK), STATUS_DEVICE_REMOVED);
    refused(topology_nodes(on, bench.filter, &node(0)), STATUS_DEVICE_REMOVED);
}

/// A transport that counts what goes over it.
struct Counting {
    session: Arc<Session>,
    sent: AtomicU32,
}

impl Counting {
    fn count(&self) -> &Session {
        self.sent.fetch_add(1, Ordering::Relaxed);
        &self.session
    }
}

impl Transport for Counting {
    fn interfaces(&self, category: Option<Guid>) -> Vec<InterfaceInfo> {
        self.count().interfaces(category)
    }
    fn open(&self, symbolic_link: &str, access: AccessMask) -> Result<Handle, Outcome> {
        self.count().open(symbolic_link, access)
    }
    fn create(&self, parent: Handle, class: &str, parameters: &[u8], access: AccessMask) -> Result<Handle, Outcome> {
        self.count().create(parent, class, parameters, access)
    }
    fn device_io_control(&self, handle: Handle, code: IoControlCode, input: &[u8], output: &mut [u8]) -> Outcome {
        self.count().device_io_control(handle, code, input, output)
    }
    fn submit(&self, handle: Handle, code: IoControlCode, input: &[u8], output: Vec<u8>) -> Request {
        self.count().submit(handle, code, input, output)
    }
    fn cancel_all(&self, handle: Handle) -> Outcome {
        self.count().cancel_all(handle)
    }
    fn cancel_creates(&self, which: CancelCreates) {
        self.count().cancel_creates(which);
    }
    fn close(&self, handle: Handle) -> Outcome {
        self.count().close(handle)
    }
    fn allocate(&self, bytes: usize, alignment: usize) -> Result<Frame, MemoryError> {
        self.count().allocate(bytes, alignment)
    }
    fn create_event(&self) -> Result<(Handle, Event), Outcome> {
        self.count().create_event()
    }
    fn create_semaphore(&self, count: u32, limit: u32) -> Result<(Handle, ks_io::Semaphore), Outcome> {
        self.count().create_semaphore(count, limit)
    }
    fn services(&self) -> &Services {
        self.session.services()
    }
}

#[test]
fn without_com_the_broker_is_not_asked() {
    let bench = nodes();
    let pin = bench.pin(OUT);
    let on = Counting { session: bench.session.clone(), sent: AtomicU32::new(0) };
    let connect = pin_create(NON_STANDARD).parameters();
    let create = |out: &mut Handle| {
        [
            broker::create_pin2(&on, bench.filter, &connect, READ, out),
            broker::create_allocator2(&on, pin, &framing(), out),
            broker::create_clock2(&on, pin, &CLOCK, out),
            broker::create_topology_node2(&on, bench.filter, &node(0), READ, out),
        ]
    };
    let mut out = BEFORE;
    assert_eq!(create(&mut out), [HResult::CO_E_NOTINITIALIZED; 4]);
    assert_eq!((out, on.sent.load(Ordering::Relaxed)), (BEFORE, 0), "nothing was sent, and nothing written");
    // The older functions need no COM.
    assert_eq!(win32::create_clock(&on, pin, &CLOCK, &mut out), Win32Error::ERROR_SUCCESS);
    // Another thread's COM is no help.
    let com = com::initialize();
    let elsewhere = std::thread::spawn(com::is_initialized).join().unwrap();
    assert!(!elsewhere);
    on.sent.store(0, Ordering::Relaxed);
    assert_eq!(create(&mut out), [HResult::S_OK; 4], "NOERROR");
    assert_eq!(on.sent.load(Ordering::Relaxed), 4, "each is one create of the one who keeps the handles");
    drop(com);
    assert_eq!(create(&mut out), [HResult::CO_E_NOTINITIALIZED; 4]);
}

#[test]
fn a_driver_creates_what_no_client_may() {
    let bench = bench();
    let driver = bench.io.session_as(RequestorMode::Kernel);
    let mut out = BEFORE;
    let connect = pin_create(KERNEL_ONLY).parameters();
    let status = win32::create_pin(&*bench.session, bench.filter, &connect, WRITE, &mut out);
    assert_eq!((status, out), (Win32Error::ERROR_INVALID_FUNCTION, BEFORE));
    let filter = driver.open(&bench.link, both_accesses()).unwrap();
    assert_eq!(kernel::create_pin(&*driver, filter, &connect, WRITE, &mut out), STATUS_SUCCESS);
}

#[test]
fn one_call_opens_a_pin_by_the_name_of_its_device() {
    let bench = bench();
    let _ = bench.session.close(bench.filter);
    bench.script.taken();
    let on = &bench.session;
    let create = pin_create(NON_STANDARD);
    // The reference string of the interface in any case; class string and parameters go with it.
    let link = bench.link.to_uppercase();
    let pin = on.open_object(&link, KSSTRING_PIN, &create.parameters(), READ).unwrap();
    assert_eq!(bench.engine_pin(pin).id(), NON_STANDARD);
    assert_eq!((on.open_handles(), bench.device.open_filters()), (1, 1), "the pin's handle only, and the filter below");
    let _ = on.close(pin);
    assert_eq!(bench.device.open_filters(), 0, "closed with its pin");
    assert_eq!(bench.script.taken(), ["accept 9", "create 9", "close 9", "filter close"]);
    // Each part is looked at as in two calls, and nothing stays open.
    let status = |link: &str, class, parameters: &[u8], access| {
        on.open_object(link, class, parameters, access).unwrap_err().status
    };
    let parameters = create.parameters();
    assert_eq!(status(r"\\?\nothing", KSSTRING_PIN, &parameters, READ), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_eq!(status(&link, KSSTRING_CLOCK, &parameters, READ), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_eq!(status(&link, KSSTRING_PIN, &parameters[..80], READ), STATUS_INVALID_BUFFER_SIZE);
    assert_eq!(status(&link, KSSTRING_PIN, &parameters, WRITE), STATUS_ACCESS_DENIED);
    assert_eq!((on.open_handles(), bench.device.open_filters()), (0, 0));
    // The same by the library's words, for a name that a person knows.
    let client = Client::new(bench.session.clone());
    let format = Format::from_bytes(video().bytes()).expect("a whole format");
    let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
    let connect = |pin_id| Connect { pin_id, interface, medium, pin_to: None, format: &format };
    let pin = client.open_pin("Specimen", connect(OUT), KsPinDataFlow::OUT).unwrap();
    assert_eq!(pin.state().unwrap(), KsState::STOP);
    let error = client.open_pin("Specimen", connect(99), KsPinDataFlow::OUT).unwrap_err();
    assert_eq!((error.status, error.doing.as_str()), (STATUS_INVALID_PARAMETER, "create pin 99"));
    let error = client.open_pin("nobody", connect(OUT), KsPinDataFlow::OUT).unwrap_err();
    assert_eq!(error.status, STATUS_OBJECT_NAME_NOT_FOUND);
    // The first device of a category.
    assert_eq!(client.open_default_device(KSCATEGORY_VIDEO).unwrap().pin_count().unwrap(), PIN_COUNT);
    let error = client.open_default_device(KSCATEGORY_AUDIO).unwrap_err();
    assert_eq!(error.status, STATUS_OBJECT_NAME_NOT_FOUND);
    assert!(error.reason().contains("KSCATEGORY_AUDIO"), "{}", error.reason());
}

#[test]
fn a_client_uses_allocators_clocks_and_nodes_by_their_words() {
    let bench = nodes();
    let client = Client::new(bench.session.clone());
    let filter = client.open_by_name("specimen").unwrap();
    let format = Format::from_bytes(video().bytes()).expect("a whole format");
    let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
    let create = |pin_id, flow| {
        filter.create_pin(Connect { pin_id, interface, medium, pin_to: None, format: &format }, flow).unwrap()
    };
    let (output, input) = (create(OUT, KsPinDataFlow::OUT), create(IN, KsPinDataFlow::IN));
    let allocator = output.create_allocator(&framing()).unwrap();
    let frames = [allocator.allocate().unwrap(), allocator.allocate().unwrap()];
    assert_eq!(allocator.status().unwrap().allocated_frames, 2);
    let waits = allocator.submit_allocate();
    assert!(!waits.is_done());
    allocator.free(frames[0]).unwrap();
    assert_eq!(waits.wait().output, frames[0].to_le_bytes());
    assert_eq!(allocator.free(17).unwrap_err().status, STATUS_INVALID_PARAMETER);
    assert_eq!(allocator.stream_frame(frames[1], 64).unwrap().buffer().address(), frames[1]);
    assert_eq!(allocator.stream_frame(frames[1], 65).unwrap_err().status, STATUS_INVALID_ADDRESS);
    let clock = output.create_clock().unwrap();
    input.set_master_clock(Some(&clock)).unwrap();
    input.set_allocator(Some(&allocator)).unwrap();
    output.set_state(KsState::RUN).unwrap();
    let services = bench.session.services();
    let _ = services.delay_until(services.now() + ks_io::Ticks::from_millis(3));
    assert_eq!((clock.time_100ns().unwrap(), clock.state().unwrap()), (30_000, KsState::RUN));
    assert_eq!(clock.physical_time_100ns().unwrap(), services.now().0);
    assert_eq!(clock.correlated_time().unwrap().time, 30_000);
    assert_eq!(clock.correlated_physical_time().unwrap().time, services.now().0);
    assert_eq!(clock.resolution().unwrap().granularity, 1);
    input.set_state(KsState::ACQUIRE).unwrap();
    assert_eq!(input.set_master_clock(None).unwrap_err().status, STATUS_INVALID_DEVICE_STATE);
    assert_eq!(input.set_allocator(None).unwrap_err().status, STATUS_INVALID_DEVICE_STATE);
    let node = filter.create_node(1, READ).unwrap();
    assert_eq!(node.name(), "node 1 of specimen");
    let error = output.create_node(7, READ).unwrap_err();
    assert_eq!((error.status, error.doing.as_str()), (STATUS_INVALID_PARAMETER, "create the node 7"));
    assert_eq!(input.create_clock().unwrap_err().status, STATUS_INVALID_DEVICE_REQUEST);
}
