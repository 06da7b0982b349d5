//! What the pins of a pipe ask of its allocator, and what they agree on or do not.

use crate::rig::{DOWN, FRAME_BYTES, FRAMES, OnCircuitFrames, Rig, Setup, UP, bring, create, number};
use ks_abi::{
    Guid, IoControlCode, KSALLOCATOR_FLAG_CAN_ALLOCATE, KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO,
    KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY, KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER,
    KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, KSMEMORY_TYPE_SYSTEM,
    KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX, KSPROPERTY_TYPE_GET, KSPROPSETID_Connection, KsAllocatorFramingEx,
    KsCompression, KsFramingItem, KsPinDataFlow, KsProperty, KsState, NtStatus, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_PENDING,
};
use ks_client::{Filter, Pin};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, IoManager, Refusal};
use ks_mem::{Frame, RegionOwner};
use ks_stream::{AllocatorFraming, ExtendedFraming, FrameSource};
use std::collections::HashMap;
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};

const IN: KsPinDataFlow = KsPinDataFlow::IN;
const OUT: KsPinDataFlow = KsPinDataFlow::OUT;

/// A framing of one item.
pub fn asks(flags: u32, frames: u32, mask: u32, bytes: (u32, u32)) -> ExtendedFraming {
    let simple = KsAllocatorFramingEx::simple(KSMEMORY_TYPE_SYSTEM, flags, frames, mask, bytes.0, bytes.1);
    ExtendedFraming { compression: simple.output_compression, items: simple.framing_item.to_vec() }
}

/// A source, a filter that works in place, and a sink.
struct Chain {
    /// In the order of the data.
    pins: [Pin; 4],
    _filters: [Filter; 3],
}

impl Chain {
    fn new(rig: &Rig) -> Chain {
        rig.source.last.store(20, std::sync::atomic::Ordering::SeqCst);
        let filters = ["source", "middle", "sink"].map(|name| rig.open(name));
        let sink = create(&filters[2], 0, IN, None);
        let output = create(&filters[1], 1, OUT, Some(&sink));
        let input = create(&filters[1], 0, IN, None);
        let source = create(&filters[0], 0, OUT, Some(&input));
        Chain { pins: [source, input, output, sink], _filters: filters }
    }

    /// Sinks first, up to the source's first step.
    fn start(&self) -> Result<(), (NtStatus, String)> {
        for pin in self.pins.iter().skip(1).rev() {
            pin.set_state(KsState::ACQUIRE).unwrap();
        }
        let refused = |error: ks_client::ClientError| (error.status, error.to_string());
        self.pins[0].set_state(KsState::ACQUIRE).map_err(refused)
    }

    /// The section as each pin tells it, which is the same.
    fn report(&self, rig: &Rig) -> Vec<Vec<String>> {
        let text = rig.source.pin().pipe_report();
        for probe in [&rig.middle, &rig.sink] {
            assert_eq!(probe.pin().pipe_report(), text);
        }
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }
}

#[test]
fn the_pins_of_a_pipe_agree_and_the_report_says_who_decided_what() {
    let rig = Rig::new(1);
    *rig.middle.extended.lock() = Some(asks(0, 6, 255, (100, 4096)));
    *rig.sink.extended.lock() = Some(asks(0, 5, 0, (128, 8192)));
    let chain = Chain::new(&rig);
    chain.start().unwrap();
    let counters = chain.pins[3].statistics().unwrap();
    assert_eq!((counters.allocator_frames, counters.allocator_frame_bytes), (6, 128));
    let lines = chain.report(&rig);
    let line = |name: &str| lines.iter().find(|line| line[0] == name).unwrap()[1..].join(" ");
    assert_eq!(line("pins"), "source.0 middle.0 middle.1 sink.0");
    assert_eq!(line("frames"), "6 middle.0");
    assert_eq!(line("bytes"), "128 sink.0");
    assert_eq!(line("alignment"), "256 middle.0");
    assert_eq!(line("owner"), "source.0 heads the section");
    for pin in &chain.pins {
        bring(pin, &UP[1..]);
    }
    rig.settle();
    assert_eq!(rig.sink.seen_now(), (0..20).collect::<Vec<_>>());
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn a_size_that_is_not_agreed_refuses_the_start_and_changes_nothing() {
    let rig = Rig::new(1);
    *rig.source.extended.lock() = Some(asks(0, 2, 0, (1000, 0)));
    *rig.sink.extended.lock() = Some(asks(0, 2, 0, (16, 512)));
    let chain = Chain::new(&rig);
    rig.take_log();
    let (status, reason) = chain.start().unwrap_err();
    assert_eq!(status, STATUS_INVALID_PARAMETER);
    assert!(reason.contains("source.0 asks for frames of at least 1000 bytes, sink.0 takes at most 512"), "{reason}");
    let log = rig.take_log();
    assert!(!log.iter().any(|line| line.starts_with("source.0")), "the driver was not asked: {log:?}");
    assert_eq!(chain.pins[0].state().unwrap(), KsState::STOP);
    assert_eq!(chain.pins[3].statistics().unwrap().allocator_frames, 0);
    // A preference gives way, and that is told.
    *rig.sink.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, 2, 0, (16, 512)));
    chain.pins[0].set_state(KsState::ACQUIRE).unwrap();
    assert_eq!(chain.pins[3].statistics().unwrap().allocator_frame_bytes, 1000);
    let notes: Vec<_> = chain.report(&rig).into_iter().filter(|line| line[0] == "note").collect();
    assert_eq!(notes.len(), 1);
    assert!(notes[0][1].contains("sink.0 takes at most 512"), "{notes:?}");
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn a_filter_that_makes_its_frames_larger_gets_room_for_what_goes_out() {
    let rig = Rig::new(1);
    let mut grows = asks(0, 0, 0, (0, 0));
    grows.compression = KsCompression { ratio_numerator: 5, ratio_denominator: 2, ratio_constant_margin: 4 };
    *rig.middle.extended.lock() = Some(grows);
    let chain = Chain::new(&rig);
    chain.start().unwrap();
    let counters = chain.pins[0].statistics().unwrap();
    assert_eq!(counters.allocator_frame_bytes, FRAME_BYTES * 5 / 2 + 4, "at its output only, and once");
    assert_eq!(counters.allocator_frames, FRAMES);
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn frames_that_a_pin_wants_kept_whole_are_not_changed_in_place() {
    let rig = Rig::new(1);
    *rig.source.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY, 0, 0, (0, 0)));
    let chain = Chain::new(&rig);
    let (status, reason) = chain.start().unwrap_err();
    assert_eq!(status, STATUS_NOT_SUPPORTED);
    assert!(reason.contains("source.0") && reason.contains("middle.1") && reason.contains("tee"), "{reason}");
    drop(chain);
    rig.assert_quiescent();
}

/// Frames of a driver's own, and how many were asked for.
struct Own {
    io: Arc<IoManager>,
    framing: AllocatorFraming,
    frames: Mutex<HashMap<u64, Frame>>,
    all: Arc<Mutex<Vec<u64>>>,
}

impl FrameSource for Own {
    fn allocate(&self) -> Option<u64> {
        let (bytes, alignment) = (self.framing.frame_bytes as usize, self.framing.alignment as usize);
        let frame = self.io.regions().allocate_for(RegionOwner::Everyone, bytes, alignment).ok()?;
        let address = frame.address();
        self.all.lock().push(address);
        self.frames.lock().insert(address, frame);
        Some(address)
    }
    fn free(&self, frame: u64) {
        self.frames.lock().remove(&frame);
    }
    fn lend(&self, frame: u64) -> Option<Frame> {
        self.frames.lock().remove(&frame)
    }
}

#[test]
fn a_pin_that_must_allocate_brings_the_frames_of_the_whole_pipe() {
    let rig = Rig::new(1);
    let own: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (io, all) = (rig.io.clone(), own.clone());
    *rig.sink.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 3, 63, (256, 0)));
    *rig.sink.on_circuit_frames.lock() = Some(Arc::new(move |framing| {
        assert_eq!((framing.frames, framing.frame_bytes, framing.alignment), (FRAMES, 256, 64), "as it was agreed");
        let frames = Mutex::default();
        Ok(Arc::new(Own { io: io.clone(), framing: *framing, frames, all: all.clone() }))
    }));
    let places: Arc<Mutex<Vec<u64>>> = Arc::default();
    let noted = places.clone();
    rig.sink.script(move |probe, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            noted.lock().push(frame.buffer().unwrap().address());
            probe.seen.lock().extend(number(&frame));
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let chain = Chain::new(&rig);
    chain.start().unwrap();
    let owner = chain.report(&rig).into_iter().find(|line| line[0] == "owner").unwrap();
    assert_eq!(owner[1..], ["sink.0", "must allocate"]);
    for pin in chain.pins.iter().rev() {
        bring(pin, &UP[1..]);
    }
    rig.settle();
    assert_eq!(rig.sink.seen_now(), (0..20).collect::<Vec<_>>());
    let own = own.lock().clone();
    assert_eq!(own.len(), FRAMES as usize);
    assert!(places.lock().iter().all(|place| own.contains(place)), "no frame is anybody else's");
    for pin in &chain.pins {
        bring(pin, &DOWN);
    }
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn an_allocator_that_refuses_refuses_the_start_with_its_reason() {
    let rig = Rig::new(1);
    *rig.sink.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 3, 63, (64, 0)));
    *rig.sink.on_circuit_frames.lock() = Some(Arc::new(|_| {
        Err(Refusal::new(STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, "the card has no frames left"))
    }));
    let chain = Chain::new(&rig);
    let (status, reason) = chain.start().unwrap_err();
    assert_eq!(status, STATUS_INSUFFICIENT_RESOURCES);
    assert!(reason.contains("the card has no frames left"), "{reason}");
    assert_eq!(chain.pins[0].state().unwrap(), KsState::STOP);
    // Without frames of its own the class driver allocates for it.
    *rig.sink.on_circuit_frames.lock() = None;
    chain.pins[0].set_state(KsState::ACQUIRE).unwrap();
    let owner = chain.report(&rig).into_iter().find(|line| line[0] == "owner").unwrap();
    assert_eq!(owner[1..], ["sink.0", "must allocate, and the class driver does"]);
    assert_eq!(chain.pins[3].statistics().unwrap().allocator_frames, FRAMES);
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn a_pin_that_can_allocate_does_where_nobody_must() {
    let rig = Rig::new(1);
    let brings = |own: &Arc<Mutex<Vec<u64>>>| {
        let (io, all) = (rig.io.clone(), own.clone());
        Some(Arc::new(move |framing: &AllocatorFraming| {
            let frames = Mutex::default();
            let own = Own { io: io.clone(), framing: *framing, frames, all: all.clone() };
            Ok(Arc::new(own) as Arc<dyn FrameSource>)
        }) as OnCircuitFrames)
    };
    let none: OnCircuitFrames =
        Arc::new(|_| Err(Refusal::new(STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, "no frames now")));
    let [of_middle, of_sink]: [Arc<Mutex<Vec<u64>>>; 2] = Default::default();
    let chain = Chain::new(&rig);
    let owner = || {
        let line = chain.report(&rig).into_iter().find(|line| line[0] == "owner").unwrap();
        line[1..].join(" ")
    };
    let start_anew = || {
        chain.pins.iter().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
        chain.start().unwrap();
    };
    for probe in [&rig.middle, &rig.sink] {
        *probe.extended.lock() = Some(asks(KSALLOCATOR_FLAG_CAN_ALLOCATE, 3, 63, (64, 0)));
    }
    *rig.middle.on_circuit_frames.lock() = brings(&of_middle);
    *rig.sink.on_circuit_frames.lock() = brings(&of_sink);
    chain.start().unwrap();
    assert_eq!((owner().as_str(), of_sink.lock().len()), ("middle.0 can allocate", 0), "the first of them");
    assert!(of_middle.lock().len() >= 3);
    // One that has none now is passed over, and one that must goes before those that can.
    *rig.middle.on_circuit_frames.lock() = Some(none.clone());
    start_anew();
    assert_eq!(owner(), "sink.0 can allocate");
    *rig.source.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 3, 63, (64, 0)));
    start_anew();
    assert_eq!(owner(), "source.0 must allocate, and the class driver does");
    *rig.source.extended.lock() = None;
    *rig.sink.on_circuit_frames.lock() = Some(none);
    start_anew();
    assert_eq!(owner(), "source.0 heads the section");
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn a_last_pin_that_changes_its_frames_breaks_the_integrity_that_another_asks_for() {
    let rig = Rig::new(1);
    *rig.source.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY, 0, 0, (0, 0)));
    let pair = rig.pair();
    pair.sink.set_state(KsState::ACQUIRE).unwrap();
    pair.source.set_state(KsState::ACQUIRE).unwrap();
    pair.source.set_state(KsState::STOP).unwrap();
    *rig.sink.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, 0, 0, (0, 0)));
    let refused = pair.source.set_state(KsState::ACQUIRE).unwrap_err();
    assert_eq!(refused.status, STATUS_NOT_SUPPORTED);
    assert!(refused.reason().contains("source.0") && refused.reason().contains("sink.0"), "{refused}");
    drop(pair);
    rig.assert_quiescent();
}

/// A framing of a filter that makes `over` bytes of `under`, and insists on that.
fn insists(over: u32, under: u32) -> ExtendedFraming {
    let mut framing = asks(KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO, 0, 0, (0, 0));
    framing.compression = KsCompression { ratio_numerator: over, ratio_denominator: under, ratio_constant_margin: 0 };
    framing
}

#[test]
fn a_filter_in_place_that_insists_on_its_ratio_gives_each_side_its_own_size() {
    let rig = Rig::new(1);
    *rig.source.extended.lock() = Some(asks(0, 0, 0, (100, 0)));
    *rig.middle.extended.lock() = Some(insists(3, 2));
    *rig.sink.extended.lock() = Some(asks(0, 0, 0, (64, 150)));
    let chain = Chain::new(&rig);
    chain.start().unwrap();
    assert_eq!(chain.pins[0].statistics().unwrap().allocator_frame_bytes, 150, "100 come in, and 150 leave");
    chain.pins.iter().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
    *rig.sink.extended.lock() = Some(asks(0, 0, 0, (64, 149)));
    let (status, reason) = chain.start().unwrap_err();
    assert_eq!(status, STATUS_INVALID_PARAMETER);
    assert!(reason.contains("middle.1 asks for frames of at least 150 bytes, sink.0 takes at most 149"), "{reason}");
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn circuits_on_both_sides_of_a_filter_that_insists_keep_its_ratio() {
    let rig = Rig::with(Setup { middle_in_place: None, ..Setup::default() });
    let chain = Chain::new(&rig);
    let bytes = |at: usize| chain.pins[at].statistics().unwrap().allocator_frame_bytes;
    let start = |order: [usize; 4]| {
        chain.pins.iter().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
        order.iter().try_for_each(|at| chain.pins[*at].set_state(KsState::ACQUIRE))
    };
    // What stands behind the filter fixes what comes to it, and the other way round.
    *rig.middle.extended.lock() = Some(insists(1, 2));
    start([3, 2, 1, 0]).unwrap();
    assert_eq!((bytes(0), bytes(3)), (2 * FRAME_BYTES, FRAME_BYTES));
    *rig.middle.extended.lock() = Some(insists(3, 2));
    start([1, 0, 3, 2]).unwrap();
    assert_eq!((bytes(0), bytes(3)), (FRAME_BYTES, 3 * FRAME_BYTES / 2));
    // Advised only, each has what its own pins ask for.
    *rig.middle.extended.lock() = Some(ExtendedFraming { items: asks(0, 0, 0, (0, 0)).items, ..insists(3, 2) });
    start([3, 2, 1, 0]).unwrap();
    assert_eq!((bytes(0), bytes(3)), (FRAME_BYTES, FRAME_BYTES));
    // Of 64 bytes behind it no whole number was made by thirds of three.
    for (framing, order, words) in [
        (insists(3, 2), [3, 2, 1, 0], "middle.1 insists on 3:2 and has 64"),
        (insists(1, 3), [1, 0, 3, 2], "it insists on 1:3 of the 64 bytes of middle.0"),
        (insists(1, 2), [1, 0, 3, 2], "it insists on 1:2 of the 64 bytes of middle.0"),
    ] {
        *rig.middle.extended.lock() = Some(framing);
        let refused = start(order).unwrap_err();
        assert_eq!(refused.status, STATUS_INVALID_PARAMETER);
        assert!(refused.reason().contains(words), "{refused}");
    }
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn a_source_of_frames_that_is_given_again_keeps_its_frames_over_a_stop() {
    let rig = Rig::new(1);
    let all: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (io, noted) = (rig.io.clone(), all.clone());
    type Known = Option<(AllocatorFraming, Arc<dyn FrameSource>)>;
    let known: Arc<Mutex<Known>> = Arc::default();
    let must = |bytes| Some(asks(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 3, 63, (bytes, 0)));
    *rig.sink.extended.lock() = must(64);
    *rig.sink.on_circuit_frames.lock() = Some(Arc::new(move |framing| {
        let mut known = known.lock();
        if let Some((of, source)) = &*known
            && of == framing
        {
            return Ok(source.clone());
        }
        let (frames, all) = (Mutex::default(), noted.clone());
        let made: Arc<dyn FrameSource> = Arc::new(Own { io: io.clone(), framing: *framing, frames, all });
        *known = Some((*framing, made.clone()));
        Ok(made)
    }));
    let chain = Chain::new(&rig);
    let stream = || {
        chain.start().unwrap();
        chain.pins.iter().rev().for_each(|pin| bring(pin, &UP[1..]));
        rig.settle();
        assert_eq!(std::mem::take(&mut *rig.sink.seen.lock()), (0..20).collect::<Vec<_>>());
        chain.pins.iter().for_each(|pin| bring(pin, &DOWN));
    };
    stream();
    stream();
    assert_eq!(all.lock().len(), FRAMES as usize, "made once");
    *rig.sink.extended.lock() = must(128);
    stream();
    assert_eq!(all.lock().len(), 2 * FRAMES as usize, "others were agreed on");
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn the_frames_of_a_pin_go_when_it_closes_though_the_others_stay() {
    let rig = Rig::new(1);
    let places: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (io, all) = (rig.io.clone(), places.clone());
    *rig.sink.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 3, 63, (64, 0)));
    *rig.sink.on_circuit_frames.lock() = Some(Arc::new(move |framing| {
        Ok(Arc::new(Own { io: io.clone(), framing: *framing, frames: Mutex::default(), all: all.clone() }))
    }));
    let Chain { pins: [source, input, output, sink], _filters: filters } = Chain::new(&rig);
    for pin in [&sink, &output, &input, &source] {
        bring(pin, &UP[..1]);
    }
    let is_there = |place: &u64| rig.io.regions().resolve(*place, 1).is_some();
    assert!(places.lock().iter().all(is_there));
    drop(sink);
    rig.settle();
    assert_eq!(source.statistics().unwrap().allocator_frames, 0, "the head stays, and has none of them");
    source.set_state(KsState::STOP).unwrap();
    assert!(!places.lock().iter().any(is_there), "nor has its queue");
    drop((output, input, source, filters));
    rig.assert_quiescent();
}

#[test]
fn two_pins_of_one_pipe_that_bring_frames_are_refused() {
    let rig = Rig::new(1);
    for probe in [&rig.source, &rig.sink] {
        let io = rig.io.clone();
        *probe.extended.lock() = Some(asks(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, 0, 0, (64, 0)));
        *probe.on_circuit_frames.lock() = Some(Arc::new(move |framing| {
            let (frames, all) = (Mutex::default(), Arc::default());
            Ok(Arc::new(Own { io: io.clone(), framing: *framing, frames, all }))
        }));
    }
    let chain = Chain::new(&rig);
    let (status, reason) = chain.start().unwrap_err();
    assert_eq!(status, STATUS_NOT_SUPPORTED);
    assert!(reason.contains("source.0 and sink.0 both must allocate"), "{reason}");
    drop(chain);
    rig.assert_quiescent();
}

#[test]
fn a_client_reads_every_item_of_an_extended_framing() {
    let rig = Rig::new(1);
    let mut framing = asks(0, 3, 15, (10, 20));
    framing.compression = KsCompression { ratio_numerator: 1, ratio_denominator: 3, ratio_constant_margin: 7 };
    framing.items.push(KsFramingItem { memory_type: Guid::from_u128(7), frames: 9, ..framing.items[0] });
    *rig.source.extended.lock() = Some(framing.clone());
    let (_filter, pin) = rig.alone("source");
    let id = KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX;
    let request = KsProperty::new(KSPROPSETID_Connection, id, KSPROPERTY_TYPE_GET);
    let (transport, handle) = (pin.object().transport(), pin.object().handle());
    let ask =
        |room: &mut [u8]| transport.device_io_control(handle, IoControlCode::KS_PROPERTY, request.as_bytes(), room);
    let bytes = ask(&mut []).information;
    assert_eq!(bytes, offset_of!(KsAllocatorFramingEx, framing_item) + 2 * size_of::<KsFramingItem>());
    let mut answer = vec![0; bytes];
    assert!(ask(&mut answer).status.is_success());
    let (head, rest) = KsAllocatorFramingEx::read_from_prefix(&answer).unwrap();
    assert_eq!(
        (head.count_items, head.output_compression, head.framing_item[0]),
        (2, framing.compression, framing.items[0])
    );
    assert_eq!(KsFramingItem::read_from_bytes(rest).unwrap(), framing.items[1]);
}
