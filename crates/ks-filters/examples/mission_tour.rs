//! The five pages in code: find a filter, discover its pins, create a pin and an allocator, stream, and close.
//! `docs/mission-tour.md` shows each step beside what a C program calls.
#![forbid(unsafe_code)]

use std::sync::Arc;

use ks_abi::{
    HResult, IoControlCode, KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSCATEGORY_VIDEO, KSINTERFACE_STANDARD_LOOPED_STREAMING,
    KSINTERFACESETID_Standard, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_READ,
    KSMETHOD_TYPE_WRITE, KSMETHODSETID_StreamAllocator, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_PIN_COMMUNICATION,
    KSPROPERTY_PIN_CTYPES, KSPROPERTY_PIN_DATAFLOW, KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_PIN_DATARANGES,
    KSPROPERTY_STREAMINTERFACE_HEADERSIZE, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_Connection,
    KSPROPSETID_Pin, KSPROPSETID_StreamInterface, KsAllocatorFraming, KsHandshake, KsIdentifier, KsMethod,
    KsPinCommunication, KsPinConnect, KsPinDataFlow, KsPriority, KsProperty, KsState, KsStreamHeader, KsTime, KspPin,
    NtStatus, Ptr64, STATUS_BUFFER_OVERFLOW, STATUS_SUCCESS,
};
use ks_client::com;
use ks_client::create::broker;
use ks_io::{AccessMask, Handle, Outcome, Services, Session, Transport};
use zerocopy::IntoBytes;

/// What the tour saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) pins: u32,
    pub(crate) without_com: HResult,
    pub(crate) looped: HResult,
    pub(crate) handshake: NtStatus,
    pub(crate) frame_bytes: u32,
    pub(crate) handles_left: usize,
}

fn ask(session: &Session, on: Handle, request: &[u8], room: usize) -> (Outcome, Vec<u8>) {
    let mut answer = vec![0; room];
    let outcome = session.device_io_control(on, IoControlCode::KS_PROPERTY, request, &mut answer);
    answer.truncate(outcome.information);
    (outcome, answer)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn of_pin(item: u32, pin_id: u32) -> Vec<u8> {
    let property = KsProperty::new(KSPROPSETID_Pin, item, KSPROPERTY_TYPE_GET);
    KspPin { property, pin_id, flags: 0 }.as_bytes().to_vec()
}

// Find a filter by its category, and open it.
fn open(session: &Session) -> Option<Handle> {
    let interfaces = session.interfaces(Some(KSCATEGORY_VIDEO));
    let camera = interfaces.iter().find(|interface| interface.reference == "test-camera")?;
    let both = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
    session.open(&camera.symbolic_link, both).ok()
}

// Discover the pin factories: the size first, then the list.
fn discover(session: &Session, filter: Handle) -> (u32, Vec<u8>) {
    let count = KsProperty::new(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET);
    let (_, pins) = ask(session, filter, count.as_bytes(), 4);
    let (_, flow) = ask(session, filter, &of_pin(KSPROPERTY_PIN_DATAFLOW, 0), 4);
    let (_, communication) = ask(session, filter, &of_pin(KSPROPERTY_PIN_COMMUNICATION, 0), 4);
    assert_eq!(number(&flow), KsPinDataFlow::OUT.0);
    assert_eq!(number(&communication), KsPinCommunication::BOTH.0);
    let (size, _) = ask(session, filter, &of_pin(KSPROPERTY_PIN_DATARANGES, 0), 0);
    assert_eq!(size.status, STATUS_BUFFER_OVERFLOW);
    let (_, ranges) = ask(session, filter, &of_pin(KSPROPERTY_PIN_DATARANGES, 0), size.information);
    let request = [of_pin(KSPROPERTY_PIN_DATAINTERSECTION, 0), ranges].concat();
    let (_, format) = ask(session, filter, &request, 1024);
    (number(&pins), format)
}

// KSPIN_CONNECT, and right behind it the KSDATAFORMAT.
fn connect_request(interface: KsIdentifier, format: &[u8]) -> Vec<u8> {
    let connect = KsPinConnect {
        interface,
        medium: KsIdentifier::STANDARD_DEVIO,
        pin_id: 0,
        pin_to_handle: 0,
        priority: KsPriority::NORMAL,
        ..Default::default()
    };
    [connect.as_bytes(), format].concat()
}

// KsCreatePin2: COM first, read access for data that comes out, the output written on success only.
fn create_pin(session: &Session, filter: Handle, format: &[u8], seen: &mut Seen) -> Handle {
    let connect = connect_request(KsIdentifier::STANDARD_STREAMING, format);
    let mut pin = Handle::NULL;
    seen.without_com = broker::create_pin2(session, filter, &connect, AccessMask::GENERIC_READ, &mut pin);
    assert_eq!(pin, Handle::NULL);
    let _com = com::initialize();
    let looped = KsIdentifier::new(KSINTERFACESETID_Standard, KSINTERFACE_STANDARD_LOOPED_STREAMING, 0);
    let refused = connect_request(looped, format);
    seen.looped = broker::create_pin2(session, filter, &refused, AccessMask::GENERIC_READ, &mut pin);
    let made = broker::create_pin2(session, filter, &connect, AccessMask::GENERIC_READ, &mut pin);
    assert_eq!(made, HResult::S_OK);
    pin
}

// KsCreateAllocator2 on the connection, and a frame of it by its method.
fn allocate(session: &Session, pin: Handle, frame_size: u32) -> (Handle, u64) {
    let _com = com::initialize();
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 2,
        frame_size,
        file_alignment: 0xFFF,
        ..Default::default()
    };
    let mut allocator = Handle::NULL;
    assert_eq!(broker::create_allocator2(session, pin, &framing, &mut allocator), HResult::S_OK);
    let alloc = KsMethod::new(KSMETHODSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_WRITE);
    let mut frame = [0; 8];
    let outcome = session.device_io_control(allocator, IoControlCode::KS_METHOD, alloc.as_bytes(), &mut frame);
    assert_eq!(outcome.status, STATUS_SUCCESS);
    (allocator, u64::from_le_bytes(frame))
}

fn set_state(session: &Session, pin: Handle, state: KsState) {
    let request = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
    let mut state = state.0.to_le_bytes();
    let outcome = session.device_io_control(pin, IoControlCode::KS_PROPERTY, request.as_bytes(), &mut state);
    assert_eq!(outcome.status, STATUS_SUCCESS);
}

// Read one frame: an empty header goes in, the data comes back in the frame that it names.
fn read(session: &Session, pin: Handle, frame: u64, frame_size: u32) -> u32 {
    let item = KSPROPERTY_STREAMINTERFACE_HEADERSIZE;
    let size = KsProperty::new(KSPROPSETID_StreamInterface, item, KSPROPERTY_TYPE_GET);
    let (_, header_bytes) = ask(session, pin, size.as_bytes(), 4);
    let header = KsStreamHeader {
        size: number(&header_bytes),
        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
        frame_extent: frame_size,
        data: Ptr64(frame),
        ..Default::default()
    };
    let mut list = header.as_bytes().to_vec();
    list.resize(number(&header_bytes) as usize, 0);
    set_state(session, pin, KsState::ACQUIRE);
    set_state(session, pin, KsState::PAUSE);
    let request = session.submit(pin, IoControlCode::KS_READ_STREAM, &[], list);
    set_state(session, pin, KsState::RUN);
    let finished = request.wait();
    assert_eq!(finished.outcome.status, STATUS_SUCCESS);
    set_state(session, pin, KsState::PAUSE);
    set_state(session, pin, KsState::STOP);
    number(&finished.output[36..40])
}

// A handshake is between drivers: a client is refused.
fn handshake(session: &Session, pin: Handle) -> NtStatus {
    let offer = KsHandshake::default();
    let mut answer = offer.as_bytes().to_vec();
    session.device_io_control(pin, IoControlCode::KS_HANDSHAKE, offer.as_bytes(), &mut answer).status
}

// Close what was created, the source of requests first.
fn close(session: &Session, allocator: Handle, frame: u64, pin: Handle, filter: Handle) -> usize {
    let free = KsMethod::new(KSMETHODSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_READ);
    let mut frame = frame.to_le_bytes();
    let outcome = session.device_io_control(allocator, IoControlCode::KS_METHOD, free.as_bytes(), &mut frame);
    assert_eq!(outcome.status, STATUS_SUCCESS);
    for handle in [allocator, pin, filter] {
        assert_eq!(session.close(handle).status, STATUS_SUCCESS);
    }
    session.open_handles()
}

/// The whole tour on an engine with the built-in filters.
pub(crate) fn tour(session: &Arc<Session>) -> Option<Seen> {
    let (without_com, looped, handshake_status) = (HResult::S_OK, HResult::S_OK, STATUS_SUCCESS);
    let mut seen = Seen { pins: 0, without_com, looped, handshake: handshake_status, frame_bytes: 0, handles_left: 0 };
    let filter = open(session)?;
    let (pins, format) = discover(session, filter);
    seen.pins = pins;
    // FormatSize, Flags, SampleSize: the bytes of a picture.
    let frame_size = number(&format[8..12]);
    let pin = create_pin(session, filter, &format, &mut seen);
    seen.handshake = handshake(session, pin);
    let (allocator, frame) = allocate(session, pin, frame_size);
    seen.frame_bytes = read(session, pin, frame, frame_size);
    seen.handles_left = close(session, allocator, frame, pin, filter);
    Some(seen)
}

fn main() {
    let system = ks_filters::system(Services::real()).expect("the built-in filters start");
    println!("{:#?}", tour(&system.session()));
}
