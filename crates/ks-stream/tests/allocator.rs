//! Allocator objects: creation by both kinds of framing, frames by method and in kernel form, status and events.

mod support;

use ks_abi::*;
use ks_io::{Event, Handle, Outcome, Request, RequestorMode, Session, Transport};
use ks_stream::{AllocatorFraming, AllocatorObject, FrameSource, Framing};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::specimen::*;
use zerocopy::{FromBytes, IntoBytes};

fn framing(frames: u32, frame_size: u32, file_alignment: u32) -> KsAllocatorFraming {
    let flags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
    KsAllocatorFraming { flags, frames, frame_size, file_alignment, ..Default::default() }
}

fn create(bench: &Bench, pin: Handle, framing: KsAllocatorFraming) -> Result<Handle, Outcome> {
    bench.session.create(pin, KSSTRING_ALLOCATOR, framing.as_bytes(), both_accesses())
}

fn create_ex(bench: &Bench, pin: Handle, framing: &[u8]) -> Result<Handle, Outcome> {
    bench.session.create(pin, KSSTRING_ALLOCATOR_EX, framing, both_accesses())
}

fn method(id: u32, flags: u32) -> KsMethod {
    KsMethod::new(KSMETHODSETID_StreamAllocator, id, flags)
}

/// Sends an allocation that may wait.
fn alloc(session: &Session, allocator: Handle) -> Request {
    let request = method(KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_SEND);
    session.submit(allocator, IoControlCode::KS_METHOD, request.as_bytes(), vec![0; 8])
}

fn frame_of(request: Request) -> Result<u64, NtStatus> {
    let finished = request.wait();
    match finished.outcome.status {
        STATUS_SUCCESS => {
            assert_eq!(finished.outcome.information, 8);
            Ok(u64::read_from_bytes(&finished.output).expect("eight bytes"))
        }
        status => Err(status),
    }
}

/// An allocation that is known not to wait.
fn allocate(bench: &Bench, allocator: Handle) -> Result<u64, NtStatus> {
    let request = alloc(&bench.session, allocator);
    assert!(request.is_done(), "a frame should be free");
    frame_of(request)
}

fn free(bench: &Bench, allocator: Handle, frame: u64) -> NtStatus {
    let request = method(KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_SEND);
    bench.control(allocator, IoControlCode::KS_METHOD, request.as_bytes(), &mut frame.to_le_bytes()).status
}

fn status(bench: &Bench, allocator: Handle) -> KsStreamAllocatorStatus {
    let request = property(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPERTY_TYPE_GET);
    bench.value(allocator, request.as_bytes())
}

fn object(bench: &Bench, allocator: Handle) -> Arc<AllocatorObject> {
    bench.session.file_object(allocator).and_then(|file| file.object_as()).expect("it is an allocator")
}

#[test]
fn frames_are_allocated_and_freed_by_method_up_to_the_limit() {
    let bench = bench();
    let pin = bench.pin(IN);
    let allocator = create(&bench, pin, framing(3, 1000, 0xFF)).unwrap();
    let frames: Vec<u64> = (0..3).map(|_| allocate(&bench, allocator).unwrap()).collect();
    for (index, &frame) in frames.iter().enumerate() {
        assert_eq!(frame % 256, 0, "aligned");
        assert!(!frames[..index].contains(&frame));
        let memory = bench.io.regions().resolve(frame, 1000).expect("stream headers may point there");
        assert!(memory.read().expect("nobody writes").iter().all(|&byte| byte == 0));
        assert!(bench.io.regions().resolve(frame, 1001).is_none(), "no byte more");
        assert!(bench.session.frame_at(frame, 1000).is_some());
        assert!(bench.io.session().frame_at(frame, 1).is_none(), "another client cannot name it");
    }
    let waits = alloc(&bench.session, allocator);
    assert!(!waits.is_done(), "all are out");
    waits.cancel();
    assert_eq!(frame_of(waits), Err(STATUS_CANCELLED));
    assert_eq!(free(&bench, allocator, frames[1]), STATUS_SUCCESS);
    assert_eq!(allocate(&bench, allocator), Ok(frames[1]), "given out again");
    // Frames that are not out: freed already, of another allocator, made up.
    assert_eq!(free(&bench, allocator, frames[0]), STATUS_SUCCESS);
    let other = create(&bench, pin, framing(1, 1000, 0)).unwrap();
    let foreign = allocate(&bench, other).unwrap();
    for bad in [frames[0], foreign, frames[1] + 1, 0, u64::MAX] {
        assert_eq!(free(&bench, allocator, bad), STATUS_INVALID_PARAMETER);
    }
    // As the pages send it: the flag is the type of the method.
    let request = method(KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_WRITE);
    let mut frame = [0; 8];
    let outcome = bench.control(allocator, IoControlCode::KS_METHOD, request.as_bytes(), &mut frame);
    assert_eq!((outcome.status, u64::from_le_bytes(frame)), (STATUS_SUCCESS, frames[0]));
    let request = method(KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_READ);
    let outcome = bench.control(allocator, IoControlCode::KS_METHOD, request.as_bytes(), &mut frame);
    assert_eq!(outcome.status, STATUS_SUCCESS);
    // No room for a pointer, no such method, and what each method's type is.
    for id in [KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_STREAMALLOCATOR_FREE] {
        let send = method(id, KSMETHOD_TYPE_SEND);
        let outcome = bench.control(allocator, IoControlCode::KS_METHOD, send.as_bytes(), &mut [0; 7]);
        assert_eq!(outcome.status, STATUS_BUFFER_TOO_SMALL);
        let outcome = bench.control(allocator, IoControlCode::KS_METHOD, send.as_bytes(), &mut []);
        assert_eq!((outcome.status, outcome.information), (STATUS_BUFFER_OVERFLOW, 8));
        let ask = method(id, KSMETHOD_TYPE_BASICSUPPORT);
        let mut kind = [0; 4];
        let outcome = bench.control(allocator, IoControlCode::KS_METHOD, ask.as_bytes(), &mut kind);
        let expected = if id == KSMETHOD_STREAMALLOCATOR_ALLOC { KSMETHOD_TYPE_WRITE } else { KSMETHOD_TYPE_READ };
        assert_eq!((outcome.status, u32::from_le_bytes(kind)), (STATUS_SUCCESS, expected));
    }
    let none = bench.control(allocator, IoControlCode::KS_METHOD, method(2, 1).as_bytes(), &mut [0; 8]);
    assert_eq!(none.status, STATUS_NOT_FOUND);
}

#[test]
fn an_allocation_that_waits_gets_the_next_frame_that_is_freed() {
    let bench = bench();
    let allocator = create(&bench, bench.pin(IN), framing(1, 64, 0)).unwrap();
    let frame = allocate(&bench, allocator).unwrap();
    let (first, cancelled, second) =
        (alloc(&bench.session, allocator), alloc(&bench.session, allocator), alloc(&bench.session, allocator));
    cancelled.cancel();
    assert_eq!(frame_of(cancelled), Err(STATUS_CANCELLED));
    assert_eq!(object(&bench, allocator).allocate(), None, "the kernel form does not wait");
    assert_eq!(free(&bench, allocator, frame), STATUS_SUCCESS);
    assert!(first.is_done() && !second.is_done(), "the oldest first");
    assert_eq!(frame_of(first), Ok(frame));
    assert_eq!(object(&bench, allocator).free(frame), STATUS_SUCCESS, "the kernel form serves those who wait, too");
    assert_eq!(frame_of(second), Ok(frame));
    assert_eq!(status(&bench, allocator).allocated_frames, 1);
    // A handle that is closed ends what waits, and frees the frames.
    let waits = alloc(&bench.session, allocator);
    let kept = object(&bench, allocator);
    let _ = bench.session.close(allocator);
    assert_eq!(frame_of(waits), Err(STATUS_CANCELLED));
    assert_eq!(kept.allocate(), None);
    assert!(bench.io.regions().resolve(frame, 1).is_some(), "somebody refers to the allocator still");
    drop(kept);
    assert!(bench.io.regions().resolve(frame, 1).is_none());
}

#[test]
fn the_kernel_form_and_the_method_share_their_frames() {
    let bench = bench();
    let allocator = create(&bench, bench.pin(IN), framing(2, 64, 0)).unwrap();
    let object = object(&bench, allocator);
    let (one, two) = (object.allocate().unwrap(), allocate(&bench, allocator).unwrap());
    assert_ne!(one, two);
    assert_eq!((object.allocate(), object.allocated_frames()), (None, 2));
    assert_eq!(free(&bench, allocator, one), STATUS_SUCCESS, "freed by the other form");
    assert_eq!(object.allocate(), Some(one));
    assert_eq!(object.free(two), STATUS_SUCCESS);
    assert_eq!(object.free(two), STATUS_INVALID_PARAMETER);
    // The table of its routines is for drivers in their own process; a client gets none.
    let request = property(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE, KSPROPERTY_TYPE_GET);
    assert_eq!(bench.ask(allocator, request.as_bytes(), 16).0.status, STATUS_INVALID_DEVICE_REQUEST);
    let driver = bench.io.session_as(RequestorMode::Kernel);
    let lent = driver.lend(&bench.session.file_object(allocator).unwrap()).unwrap();
    let outcome = driver.device_io_control(lent, IoControlCode::KS_PROPERTY, request.as_bytes(), &mut [0; 16]);
    assert_eq!(outcome.status, STATUS_NOT_SUPPORTED);
    driver.forget(lent);
}

#[test]
fn an_allocators_status_is_its_framing_and_the_frames_that_are_out() {
    let bench = bench();
    let pin = bench.pin(IN);
    let asked = framing(4, 0, 0x3F);
    let allocator = create(&bench, pin, asked).unwrap();
    let frame = allocate(&bench, allocator).unwrap();
    let told = status(&bench, allocator);
    assert_eq!((told.framing, told.allocated_frames, told.reserved), (asked, 1, 0), "as it was created");
    assert_eq!(object(&bench, allocator).framing().frame_bytes, 64, "the size is the pin's: a sample of its format");
    assert_eq!(free(&bench, allocator, frame), STATUS_SUCCESS);
    assert_eq!(status(&bench, allocator).allocated_frames, 0);
    let request = property(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPERTY_TYPE_GET);
    assert_eq!(bench.whole(allocator, request.as_bytes()).len(), size_of::<KsStreamAllocatorStatus>());
    assert_eq!(bench.ask(allocator, request.as_bytes(), 31).0.status, STATUS_BUFFER_TOO_SMALL);
    let set = property(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPERTY_TYPE_SET);
    assert_eq!(bench.ask(allocator, set.as_bytes(), 32).0.status, STATUS_NOT_FOUND, "read only");
    // An extended allocator tells the item that it serves; in the short form to those who know no other.
    let extended = KsAllocatorFramingEx::simple(KSMEMORY_TYPE_KERNEL_NONPAGED, 2, 5, 0x1F, 100, 200);
    let allocator = create_ex(&bench, pin, extended.as_bytes()).unwrap();
    let _ = allocate(&bench, allocator).unwrap();
    let told = KsStreamAllocatorStatusEx::read_from_bytes(&bench.whole(allocator, request.as_bytes())).unwrap();
    assert_eq!((told.framing, told.allocated_frames), (extended, 1));
    let short = status(&bench, allocator);
    assert_eq!((short.framing.frames, short.framing.frame_size, short.framing.file_alignment), (5, 100, 0x1F));
}

#[test]
fn extended_framing_takes_the_weightiest_item_in_memory_that_there_is() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let item = |memory, weight, least| {
        let simple = KsAllocatorFramingEx::simple(memory, 0, 2, 0xFFF, least, 4000);
        KsFramingItem { memory_type_weight: weight, ..simple.framing_item[0] }
    };
    let list = |items: &[KsFramingItem]| {
        let head = KsAllocatorFramingEx { count_items: items.len() as u32, ..Default::default() };
        let mut bytes = head.as_bytes()[..24].to_vec();
        items.iter().for_each(|item| bytes.extend_from_slice(item.as_bytes()));
        bytes
    };
    let items = [
        item(KSMEMORY_TYPE_DEVICE_UNKNOWN, 99, 1),
        item(KSMEMORY_TYPE_SYSTEM, 1, 100),
        item(KSMEMORY_TYPE_USER, 7, 1500),
        item(KSMEMORY_TYPE_DONT_CARE, 7, 1600),
    ];
    let allocator = create_ex(&bench, pin, &list(&items)).unwrap();
    assert_eq!(object(&bench, allocator).framing().frame_bytes, 1500, "the first of equals, at least that much");
    assert_eq!(allocate(&bench, allocator).unwrap() % 4096, 0);
    let allocator = create_ex(&bench, pin, &list(&items[..2])).unwrap();
    assert_eq!(object(&bench, allocator).framing().frame_bytes, 1000, "what the pin asks for lies in the range");
    let refused = |bytes: &[u8]| create_ex(&bench, pin, bytes).unwrap_err().status;
    assert_eq!(refused(&list(&items[..1])), STATUS_INVALID_PARAMETER, "memory of a device only");
    assert_eq!(refused(&list(&[])), STATUS_INVALID_PARAMETER);
    assert_eq!(refused(&list(&items)[..24 + 4 * 88 - 1]), STATUS_INVALID_BUFFER_SIZE);
}

#[test]
fn framing_that_cannot_be_met_is_refused_with_its_reason() {
    let bench = bench();
    let pin = bench.pin(IN);
    let refused = |framing| {
        let outcome = create(&bench, pin, framing).unwrap_err();
        assert!(outcome.refusal.is_some(), "{framing:?} says why");
        outcome.status
    };
    let good = framing(2, 64, 0);
    assert_eq!(refused(KsAllocatorFraming { flags: 0, ..good }), STATUS_INVALID_PARAMETER, "not system memory");
    assert_eq!(refused(KsAllocatorFraming { flags: 7, ..good }), STATUS_INVALID_PARAMETER, "no such option");
    assert_eq!(refused(KsAllocatorFraming { reserved: 1, ..good }), STATUS_INVALID_PARAMETER);
    for mask in [2, 0x1FFF, u32::MAX, 0x8000_0000] {
        assert_eq!(refused(framing(2, 64, mask)), STATUS_INVALID_PARAMETER, "alignment {mask:#x}");
    }
    for (frames, bytes) in [(1025, 1), (u32::MAX, 1), (2, u32::MAX), (u32::MAX, u32::MAX), (1024, 1 << 20)] {
        assert_eq!(refused(framing(frames, bytes, 0)), STATUS_INSUFFICIENT_RESOURCES, "{frames} x {bytes}");
    }
    assert!(create(&bench, pin, framing(0, 512 << 20, 0xFFF)).is_ok(), "one frame, which nobody has asked for yet");
    bench.device.set_most_circuit_bytes(1000);
    assert_eq!(refused(framing(0, 1001, 0)), STATUS_INSUFFICIENT_RESOURCES);
    let small = create(&bench, pin, framing(0, 300, 0)).unwrap();
    assert_eq!(object(&bench, small).framing().frames, 3, "as many as the device allows");
    // Only a pin that takes requests has allocators.
    let sink = bench.pin(WILD);
    let source = bench.create(&pin_create(FIXED).to(sink)).unwrap();
    assert_eq!(create(&bench, source, good).unwrap_err().status, STATUS_INVALID_DEVICE_REQUEST);
    assert_eq!(create(&bench, bench.pin(NON_STANDARD), good).unwrap_err().status, STATUS_INVALID_DEVICE_REQUEST);
}

fn event(bench: &Bench, allocator: Handle, id: u32) -> Result<Event, NtStatus> {
    let (handle, event) = bench.session.create_event().expect("a handle is free");
    let mut data = KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: handle.0, ..Default::default() };
    let request = KsEvent::new(KSEVENTSETID_StreamAllocator, id, KSEVENT_TYPE_ENABLE);
    let outcome = bench.control(allocator, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), data.as_mut_bytes());
    if outcome.status == STATUS_SUCCESS { Ok(event) } else { Err(outcome.status) }
}

#[test]
fn a_freed_frame_raises_its_event() {
    let bench = bench();
    let allocator = create(&bench, bench.pin(IN), framing(1, 64, 0)).unwrap();
    let freed = event(&bench, allocator, KSEVENT_STREAMALLOCATOR_FREEFRAME).unwrap();
    let frame = allocate(&bench, allocator).unwrap();
    assert!(!freed.is_set());
    assert_eq!(free(&bench, allocator, frame), STATUS_SUCCESS);
    assert!(freed.is_set());
    freed.clear();
    assert_eq!(free(&bench, allocator, frame), STATUS_INVALID_PARAMETER);
    assert!(!freed.is_set(), "nothing was freed");
    let internal = event(&bench, allocator, KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME);
    assert_eq!(internal.err(), Some(STATUS_INVALID_DEVICE_REQUEST), "no client's business");
    // A driver may wait for it.
    let driver = bench.io.session_as(RequestorMode::Kernel);
    let other = create(&bench, bench.pin(IN), framing(1, 64, 0)).unwrap();
    let file = bench.session.file_object(other).unwrap();
    let lent = driver.adopt(file.object().unwrap().clone(), both_accesses()).unwrap();
    let (handle, event) = driver.create_event().unwrap();
    let mut data = KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: handle.0, ..Default::default() };
    let id = KSEVENT_STREAMALLOCATOR_INTERNAL_FREEFRAME;
    let request = KsEvent::new(KSEVENTSETID_StreamAllocator, id, KSEVENT_TYPE_ENABLE);
    let code = IoControlCode::KS_ENABLE_EVENT;
    let enabled = driver.device_io_control(lent, code, request.as_bytes(), data.as_mut_bytes());
    assert_eq!(enabled.status, STATUS_SUCCESS);
    let frame = allocate(&bench, other).unwrap();
    assert_eq!(object(&bench, other).free(frame), STATUS_SUCCESS);
    assert!(event.is_set());
}

#[test]
fn an_allocator_is_named_to_a_pin_in_stop_only() {
    let bench = bench();
    let (sink, other) = (bench.pin(IN), bench.pin(OUT));
    let allocator = create(&bench, sink, framing(2, 64, 0)).unwrap();
    let set = |pin, handle: u64| {
        let request = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_TYPE_SET);
        bench.property(pin, request.as_bytes(), &mut handle.to_le_bytes()).status
    };
    let get = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_TYPE_GET);
    assert_eq!(bench.value::<u64>(sink, get.as_bytes()), 0, "success is the answer; the handle is NULL");
    assert_eq!(bench.ask(bench.pin(NON_STANDARD), get.as_bytes(), 8).0.status, STATUS_NOT_SUPPORTED);
    assert_eq!(set(other, allocator.0), STATUS_SUCCESS);
    let clock = bench.session.create(other, KSSTRING_CLOCK, &[0; 4], both_accesses()).unwrap();
    for no_allocator in [bench.filter, sink, clock, Handle(u64::MAX), Handle(2)] {
        assert_eq!(set(other, no_allocator.0), STATUS_INVALID_HANDLE);
    }
    assert_eq!(bench.set_state(other, KsState::ACQUIRE).status, STATUS_SUCCESS);
    assert_eq!(set(other, allocator.0), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(set(other, 0), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(bench.set_state(other, KsState::STOP).status, STATUS_SUCCESS);
    // The pin keeps the allocator, and with it the pin that it was created on; the client closes its own handles.
    let _ = bench.session.close(allocator);
    let _ = bench.session.close(sink);
    bench.script.taken();
    assert_eq!(set(other, 0), STATUS_SUCCESS);
    assert_eq!(bench.script.taken(), ["close 1"]);
    // A pin that was given its own allocator still closes.
    let own = create(&bench, other, framing(2, 64, 0)).unwrap();
    assert_eq!(set(other, own.0), STATUS_SUCCESS);
    let _ = bench.session.close(own);
    let _ = bench.session.close(clock);
    let _ = bench.session.close(other);
    assert_eq!(bench.script.taken().last().unwrap(), "close 0");
}

#[test]
fn a_removed_device_ends_the_allocations_that_wait() {
    let bench = bench();
    let pin = bench.pin(IN);
    let allocator = create(&bench, pin, framing(1, 64, 0)).unwrap();
    let _ = allocate(&bench, allocator).unwrap();
    let waits = alloc(&bench.session, allocator);
    bench.device.surprise_remove();
    assert_eq!(frame_of(waits), Err(STATUS_DEVICE_REMOVED));
    assert_eq!(frame_of(alloc(&bench.session, allocator)), Err(STATUS_DEVICE_REMOVED));
    assert_eq!(object(&bench, allocator).allocate(), None);
    assert_eq!(create(&bench, pin, framing(1, 64, 0)).unwrap_err().status, STATUS_DEVICE_REMOVED);
}

#[test]
fn a_client_cannot_pile_up_allocations() {
    let bench = bench();
    let allocator = create(&bench, bench.pin(IN), framing(1, 64, 0)).unwrap();
    let frame = allocate(&bench, allocator).unwrap();
    let waiting: Vec<Request> = (0..1024).map(|_| alloc(&bench.session, allocator)).collect();
    assert!(waiting.iter().all(|request| !request.is_done()));
    assert_eq!(frame_of(alloc(&bench.session, allocator)), Err(STATUS_INSUFFICIENT_RESOURCES));
    assert_eq!(free(&bench, allocator, frame), STATUS_SUCCESS);
    let _ = bench.session.cancel_all(allocator);
    let ends: Vec<_> = waiting.into_iter().map(frame_of).collect();
    assert_eq!(ends[0], Ok(frame));
    assert!(ends[1..].iter().all(|end| *end == Err(STATUS_CANCELLED)));
}

/// Frames of a driver's own.
#[derive(Default)]
struct OnBoard {
    given: AtomicU32,
    left: AtomicU32,
    back: AtomicU32,
}

impl FrameSource for OnBoard {
    fn allocate(&self) -> Option<u64> {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        Some(0x1000 * u64::from(self.given.fetch_add(1, Ordering::Relaxed) + 1))
    }
    fn free(&self, frame: u64) {
        assert_eq!(frame % 0x1000, 0);
        self.back.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_allocator_gives_out_the_frames_of_its_owner() {
    let bench = bench();
    let board = Arc::new(OnBoard { left: AtomicU32::new(2), ..Default::default() });
    let framing = AllocatorFraming::plain(framing(3, 64, 0).as_bytes(), Framing::default(), 1 << 20).unwrap();
    let handle = bench.session.adopt(AllocatorObject::new(framing, board.clone()), both_accesses()).unwrap();
    assert_eq!((allocate(&bench, handle), allocate(&bench, handle)), (Ok(0x1000), Ok(0x2000)));
    assert_eq!(allocate(&bench, handle), Err(STATUS_INSUFFICIENT_RESOURCES), "the board is full");
    assert_eq!(free(&bench, handle, 0x1000), STATUS_SUCCESS);
    assert_eq!(allocate(&bench, handle), Ok(0x1000));
    assert_eq!(free(&bench, handle, 0x2000), STATUS_SUCCESS);
    assert_eq!(board.back.load(Ordering::Relaxed), 0, "kept for the next");
    let _ = bench.session.close(handle);
    assert_eq!(board.back.load(Ordering::Relaxed), 2, "those that are out, too");
}
