//! What pins on both sides of a border agree on: the frames that cross it, whom to complain to, and a clock.

use crate::rig::{camera, client, connect, engine, host, renderer, run};
use ks_abi::{
    KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY,
    KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_VIDEO,
    KSMEMORY_TYPE_SYSTEM, KSPROPERTY_QUALITY_REPORT, KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_STREAM_QUALITY,
    KSPROPSETID_Quality, KSPROPSETID_Stream, KsAllocatorFraming, KsAllocatorFramingEx, KsDataFormat, KsPinDataFlow,
    KsQuality, KsQualityManager, KsState, NtStatus, Ptr64, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_client::graph::run::RunStatus;
use ks_io::{IoManager, Refusal, Ticks};
use ks_mem::{Frame, FrameMemory, FramePool, PoolSpec};
use ks_stream::{
    AllocatorFraming, AutomationTable, DataFormat, DataRange, ExtendedFraming, Filter, FilterDescriptor,
    FilterDispatch, FilterInstance, FrameSource, Framing, Pin, PinDescriptor, PinInstance, PropertyCall, PropertyItem,
    PropertySet, quality_manager_item,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};

const SAMPLE_BYTES: u32 = 128;

/// A filter of one pin that asks for frames in full, and fills or takes them.
#[derive(Clone)]
struct Asking {
    framing: ExtendedFraming,
    automation: Option<Arc<AutomationTable<Pin>>>,
    /// The memory that it has frames in.
    brings: Option<FrameMemory>,
}

/// Frames of a driver's own.
struct Own {
    io: Arc<IoManager>,
    framing: AllocatorFraming,
    memory: FrameMemory,
    frames: Mutex<HashMap<u64, Frame>>,
}

impl FrameSource for Own {
    fn allocate(&self) -> Option<u64> {
        let (frame_bytes, alignment) = (self.framing.frame_bytes as usize, self.framing.alignment as usize);
        let spec = PoolSpec { frames: 1, frame_bytes, alignment };
        let frame = FramePool::in_memory(self.memory, spec, self.io.regions()).ok()?.take()?;
        let address = frame.address();
        self.frames.lock().unwrap().insert(address, frame);
        Some(address)
    }
    fn free(&self, frame: u64) {
        self.frames.lock().unwrap().remove(&frame);
    }
    fn lend(&self, frame: u64) -> Option<Frame> {
        self.frames.lock().unwrap().remove(&frame)
    }
}

fn format() -> DataFormat {
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size: SAMPLE_BYTES, ..head }, &[])
}

fn asks(frames: u32, mask: u32, bytes: (u32, u32)) -> ExtendedFraming {
    let simple = KsAllocatorFramingEx::simple(KSMEMORY_TYPE_SYSTEM, 0, frames, mask, bytes.0, bytes.1);
    ExtendedFraming { compression: simple.output_compression, items: simple.framing_item.to_vec() }
}

fn filter(
    name: &'static str,
    flow: KsPinDataFlow,
    framing: ExtendedFraming,
    automation: Option<AutomationTable<Pin>>,
) -> FilterDescriptor {
    let asking = Arc::new(Asking { framing, automation: automation.map(Arc::new), brings: None });
    let pin = PinDescriptor::new(flow, vec![format()]);
    FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], vec![pin], asking)
}

impl FilterDispatch for Asking {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl FilterInstance for Asking {
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
    fn intersect(&self, _: u32, _: &DataRange, _: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(format())
    }
}

impl PinInstance for Asking {
    /// A sink complains of each frame.
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            match pin.data_flow() {
                KsPinDataFlow::OUT => frame.set_data_used(SAMPLE_BYTES),
                _ => pin.report_quality(500, Ticks(4000)),
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    }
    fn framing(&self, _: &Pin) -> Option<Framing> {
        Some(Framing { frames: 0, frame_bytes: SAMPLE_BYTES, alignment: 0 })
    }
    fn extended_framing(&self, _: &Pin) -> Option<ExtendedFraming> {
        Some(self.framing.clone())
    }
    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        self.automation.as_deref()
    }
    fn circuit_frames(
        &self,
        pin: &Arc<Pin>,
        framing: &AllocatorFraming,
        memory: FrameMemory,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        assert_eq!(memory, FrameMemory::Shared, "the frames cross");
        let (io, framing, frames) = (pin.io().clone(), *framing, Mutex::default());
        Ok(self.brings.map(|memory| Arc::new(Own { io, framing, memory, frames }) as Arc<dyn FrameSource>))
    }
}

/// A source and a sink, of which one is in the other engine.
fn apart(
    source: FilterDescriptor,
    sink: FilterDescriptor,
    sink_is_far: bool,
) -> (crate::rig::Host, ks_client::Client, impl Sized) {
    let (here, there) = if sink_is_far { (source, sink) } else { (sink, source) };
    let parent = engine(vec![here]);
    let (host, peer) = host(&parent, vec![there]);
    let (client, session) = client(&parent);
    (host, client, (parent, peer, session))
}

#[test]
fn a_pin_of_the_other_engine_has_a_say_in_the_frames_that_cross_to_it() {
    for sink_is_far in [true, false] {
        for source_takes_requests in [false, true] {
            let near = filter("filling", KsPinDataFlow::OUT, asks(3, 0, (1, 4096)), None);
            let far = filter("taking", KsPinDataFlow::IN, asks(9, 255, (200, 4096)), None);
            let (_host, client, _kept) = apart(near, far, sink_is_far);
            let (source, sink) = (client.open_by_name("filling").unwrap(), client.open_by_name("taking").unwrap());
            let (from, to) = connect(&source, &sink, source_takes_requests);
            for pin in [&to, &from] {
                pin.set_state(KsState::ACQUIRE).unwrap();
            }
            // Who asks for the frames or sends them owns them.
            let (head, other) = if source_takes_requests { (&to, "filling") } else { (&from, "taking") };
            let pipe = head.pipe().unwrap();
            let of_sink = match source_takes_requests {
                true => "taking.0".to_owned(),
                false => format!("the pin behind {}", head.name()),
            };
            let agreed: Vec<_> = pipe.agreed.iter().map(|one| (&*one.what, one.value, one.by.clone())).collect();
            let by = |value| (value, of_sink.clone());
            let [frames, bytes, alignment] = [9, 200, 256].map(by);
            assert_eq!(
                agreed,
                [("frames", frames.0, frames.1), ("bytes", bytes.0, bytes.1), ("alignment", alignment.0, alignment.1)],
                "{other} is behind the border"
            );
            for state in [KsState::RUN, KsState::STOP] {
                [&to, &from].iter().for_each(|pin| pin.set_state(state).unwrap());
            }
        }
    }
}

#[test]
fn a_pin_of_the_other_engine_that_takes_no_such_frames_refuses_the_start() {
    let near = filter("filling", KsPinDataFlow::OUT, asks(3, 0, (128, 4096)), None);
    let far = filter("taking", KsPinDataFlow::IN, asks(3, 0, (1, 100)), None);
    let (_host, client, _kept) = apart(near, far, true);
    let (source, sink) = (client.open_by_name("filling").unwrap(), client.open_by_name("taking").unwrap());
    let (from, to) = connect(&source, &sink, false);
    to.set_state(KsState::ACQUIRE).unwrap();
    let refused = from.set_state(KsState::ACQUIRE).unwrap_err();
    assert_eq!(refused.status, STATUS_INVALID_PARAMETER);
    assert!(refused.reason().contains("the pin behind filling.0 takes at most 100"), "{refused}");
    assert_eq!(from.state().unwrap(), KsState::STOP);
    // Nor may it ask for memory without end.
    let near = filter("filling", KsPinDataFlow::OUT, asks(3, 0, (128, 0)), None);
    let far = filter("taking", KsPinDataFlow::IN, asks(1000, 0, (400_000, 0)), None);
    let (_host, client, _kept) = apart(near, far, true);
    let (source, sink) = (client.open_by_name("filling").unwrap(), client.open_by_name("taking").unwrap());
    let (from, to) = connect(&source, &sink, false);
    to.set_state(KsState::ACQUIRE).unwrap();
    let refused = from.set_state(KsState::ACQUIRE).unwrap_err();
    assert!(refused.reason().contains("1000 frames for the pin behind filling.0"), "{refused}");
}

/// A filter that works in place.
fn passing(output: ExtendedFraming) -> FilterDescriptor {
    let asking = Arc::new(Asking { framing: output, automation: None, brings: None });
    let pins = [KsPinDataFlow::IN, KsPinDataFlow::OUT].map(|flow| PinDescriptor::new(flow, vec![format()]));
    let mut filter = FilterDescriptor::new("passing", "passing", &[KSCATEGORY_CAPTURE], pins.to_vec(), asking);
    filter.in_place = Some((0, 1));
    filter
}

/// A source, a filter in place of another engine, and a sink of that engine or of the source's, connected.
struct Passed {
    /// In the order of the data.
    pins: [ks_client::Pin; 4],
    _kept: Box<dyn std::any::Any>,
}

impl Passed {
    fn new(passes: ExtendedFraming, takes: ExtendedFraming, sink_is_near: bool) -> Passed {
        let source = filter("filling", KsPinDataFlow::OUT, asks(3, 0, (128, 4096)), None);
        let sink = filter("taking", KsPinDataFlow::IN, takes, None);
        let (near, far) = match sink_is_near {
            true => (vec![source, sink], vec![passing(passes)]),
            false => (vec![source], vec![passing(passes), sink]),
        };
        let parent = engine(near);
        let (host, peer) = host(&parent, far);
        let (client, session) = client(&parent);
        let [source, middle, sink] = ["filling", "passing", "taking"].map(|name| client.open_by_name(name).unwrap());
        let taken = create(&sink, 0, KsPinDataFlow::IN, None);
        let given = create(&middle, 1, KsPinDataFlow::OUT, Some(&taken));
        let passed = create(&middle, 0, KsPinDataFlow::IN, None);
        let filled = create(&source, 0, KsPinDataFlow::OUT, Some(&passed));
        for pin in [&taken, &given, &passed] {
            pin.set_state(KsState::ACQUIRE).unwrap();
        }
        let kept = Box::new((source, middle, sink, client, session, peer, host, parent));
        Passed { pins: [filled, passed, given, taken], _kept: kept }
    }
}

fn create(filter: &ks_client::Filter, id: u32, flow: KsPinDataFlow, to: Option<&ks_client::Pin>) -> ks_client::Pin {
    let factory = filter.pin(id).unwrap();
    let format = ks_client::Format::from_bytes(format().bytes()).unwrap();
    let (interface, medium) = (factory.interfaces[0], factory.mediums[0]);
    filter.create_pin(ks_client::Connect { pin_id: id, interface, medium, pin_to: to, format: &format }, flow).unwrap()
}

#[test]
fn pins_behind_a_filter_in_place_of_the_other_engine_have_a_say_too() {
    for sink_is_near in [false, true] {
        let mut doubles = asks(2, 0, (1, 4096));
        doubles.compression.ratio_numerator = 2;
        let chain = Passed::new(doubles, asks(9, 255, (1, 4096)), sink_is_near);
        let source = &chain.pins[0];
        source.set_state(KsState::ACQUIRE).unwrap();
        let pipe = source.pipe().unwrap();
        let agreed: Vec<_> = pipe.agreed.iter().map(|one| (&*one.what, one.value, &*one.by)).collect();
        // Over two borders the pin is named by the one that it is connected to.
        let by = match sink_is_near {
            false => "taking.0 behind filling.0",
            true => "the pin behind passing.1 behind filling.0",
        };
        // Twice the 128 bytes that the filter asks for as the source does.
        let filter = "the pin behind filling.0";
        assert_eq!(agreed, [("frames", 9, by), ("bytes", 256, filter), ("alignment", 256, by)]);
        for pin in chain.pins.iter().rev() {
            pin.set_state(KsState::RUN).unwrap();
        }
        for pin in &chain.pins {
            pin.set_state(KsState::STOP).unwrap();
        }
    }
}

#[test]
fn what_a_pin_behind_a_filter_of_the_other_engine_does_not_take_refuses_the_start() {
    for sink_is_near in [false, true] {
        let chain = Passed::new(asks(2, 0, (1, 4096)), asks(2, 0, (1, 100)), sink_is_near);
        let refused = chain.pins[0].set_state(KsState::ACQUIRE).unwrap_err();
        assert_eq!(refused.status, STATUS_INVALID_PARAMETER);
        assert!(refused.reason().contains("behind filling.0 takes at most 100"), "{refused}");
        assert_eq!(chain.pins[0].state().unwrap(), KsState::STOP);
    }
    // A filter over there that changes the frames of somebody who wants them kept is refused as one here.
    let mut chain = None;
    for flags in [0, KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY] {
        let mut whole = asks(3, 0, (128, 4096));
        whole.items[0].flags = flags;
        let parent = engine(vec![filter("filling", KsPinDataFlow::OUT, whole, None)]);
        let sink = filter("taking", KsPinDataFlow::IN, asks(2, 0, (1, 4096)), None);
        let (host, peer) = host(&parent, vec![passing(asks(2, 0, (1, 4096))), sink]);
        let (client, session) = client(&parent);
        let [source, middle, sink] = ["filling", "passing", "taking"].map(|name| client.open_by_name(name).unwrap());
        let taken = create(&sink, 0, KsPinDataFlow::IN, None);
        let given = create(&middle, 1, KsPinDataFlow::OUT, Some(&taken));
        let passed = create(&middle, 0, KsPinDataFlow::IN, None);
        let filled = create(&source, 0, KsPinDataFlow::OUT, Some(&passed));
        let started = filled.set_state(KsState::ACQUIRE).map_err(|error| error.reason().to_owned());
        match flags {
            0 => started.unwrap(),
            _ => {
                let reason = started.unwrap_err();
                assert!(reason.contains("filling.0") && reason.contains("passing.1 behind filling.0"), "{reason}");
            }
        }
        chain = Some((filled, passed, given, taken, source, middle, sink, client, session, peer, host, parent));
    }
    drop(chain);
}

#[test]
fn frames_that_a_pin_brings_cross_where_they_lie_in_memory_that_can_be_mapped() {
    for brings in [None, Some(FrameMemory::Private), Some(FrameMemory::Shared)] {
        let mut must = asks(3, 63, (128, 4096));
        must.items[0].flags = KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE;
        let bringing = Arc::new(Asking { framing: must, automation: None, brings });
        let pin = PinDescriptor::new(KsPinDataFlow::OUT, vec![format()]);
        let near = FilterDescriptor::new("filling", "filling", &[KSCATEGORY_CAPTURE], vec![pin], bringing);
        let far = filter("taking", KsPinDataFlow::IN, asks(2, 0, (1, 4096)), None);
        let (_host, client, _kept) = apart(near, far, true);
        let (source, sink) = (client.open_by_name("filling").unwrap(), client.open_by_name("taking").unwrap());
        let (from, to) = connect(&source, &sink, false);
        to.set_state(KsState::ACQUIRE).unwrap();
        let started = from.set_state(KsState::ACQUIRE);
        if brings == Some(FrameMemory::Private) {
            let refused = started.unwrap_err();
            assert_eq!(refused.status, STATUS_NOT_SUPPORTED);
            assert!(refused.reason().contains("none that another process can map"), "{refused}");
            continue;
        }
        started.unwrap();
        let why = match brings {
            None => "must allocate, and the class driver does, as the frames leave the process",
            Some(_) => "must allocate",
        };
        let pipe = from.pipe().unwrap();
        assert_eq!((&*pipe.owner, &*pipe.why), ("filling.0", why));
        [&to, &from].iter().for_each(|pin| pin.set_state(KsState::RUN).unwrap());
        while to.statistics().unwrap().frames < 20 {
            std::thread::yield_now();
        }
        assert_eq!((from.statistics().unwrap().copies, to.statistics().unwrap().copies), (0, 0));
        [&from, &to].iter().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
    }
}

/// A client's own frames are private memory: to go to another process they are copied, and the connection says so.
#[test]
fn frames_of_private_memory_that_cross_are_counted_as_copies_of_their_connection() {
    let sink = filter("taking", KsPinDataFlow::IN, asks(2, 0, (1, 4096)), None);
    let parent = engine(vec![passing(asks(2, 0, (1, 4096)))]);
    let (_host, _peer) = host(&parent, vec![sink]);
    let (client, _session) = client(&parent);
    let [middle, sink] = ["passing", "taking"].map(|name| client.open_by_name(name).unwrap());
    let taken = create(&sink, 0, KsPinDataFlow::IN, None);
    let given = create(&middle, 1, KsPinDataFlow::OUT, Some(&taken));
    let passed = create(&middle, 0, KsPinDataFlow::IN, None);
    // Each stream is counted by itself.
    for frames in [5, 3] {
        [&taken, &given, &passed].iter().for_each(|pin| pin.set_state(KsState::RUN).unwrap());
        let written: Vec<_> = (0..frames)
            .map(|_| {
                let mut frame = passed.allocate(SAMPLE_BYTES as usize).unwrap();
                assert!(frame.fill(&[1; SAMPLE_BYTES as usize]));
                passed.write_stream(vec![frame]).unwrap()
            })
            .collect();
        written.into_iter().for_each(|request| drop(request.wait().unwrap()));
        assert_eq!(taken.statistics().unwrap().frames, frames);
        let copies = [&passed, &given, &taken].map(|pin| pin.statistics().unwrap().copies);
        assert_eq!(copies, [0, frames, 0], "counted once, where they leave");
        [&passed, &given, &taken].iter().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
    }
}

#[test]
fn an_allocator_is_named_to_pins_of_its_own_process_and_to_no_others() {
    let sources = |name| filter(name, KsPinDataFlow::OUT, asks(3, 0, (128, 4096)), None);
    let sinks = |name| filter(name, KsPinDataFlow::IN, asks(3, 0, (128, 4096)), None);
    let parent = engine(vec![sources("near-filling"), sinks("near-taking")]);
    let (host, peer) = host(&parent, vec![sources("filling"), sinks("taking")]);
    let (other, _other_peer) = crate::rig::host(&parent, vec![sinks("other-taking")]);
    let (client, session) = client(&parent);
    let open = |name: &str| client.open_by_name(name).unwrap();
    let [source, sink, near_source, near_sink, other_sink] =
        ["filling", "taking", "near-filling", "near-taking", "other-taking"].map(open);
    let (from, to) = connect(&source, &sink, false);
    let (near_from, near_to) = connect(&near_source, &near_sink, false);
    let other_to = create(&other_sink, 0, KsPinDataFlow::IN, None);
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 7,
        frame_size: 512,
        ..KsAllocatorFraming::default()
    };
    let [far, near, others] = [&to, &near_to, &other_to].map(|pin| pin.create_allocator(&framing).unwrap());

    // Of its own process, over the border: the frames of the circuit over there are its frames.
    from.set_allocator(Some(&far)).unwrap();
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        [&to, &from].iter().for_each(|pin| pin.set_state(state).unwrap());
    }
    while to.statistics().unwrap().frames < 20 {
        std::thread::yield_now();
    }
    let pipe = from.pipe().unwrap();
    assert_eq!((&*pipe.owner, &*pipe.why), ("filling.0", "named by a client"));
    let statistics = from.statistics().unwrap();
    assert_eq!((statistics.allocator_frames, statistics.allocator_frame_bytes), (3, 512));
    assert_eq!(far.status().unwrap().allocated_frames, 3);
    [&from, &to].iter().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
    from.set_allocator(None).unwrap();
    // A frame that a worker still had goes back as it comes home.
    while far.status().unwrap().allocated_frames > 0 {
        std::thread::yield_now();
    }

    // Of another one: no pin can have its frames, and each says why.
    for (pin, allocator) in [(&from, &near), (&from, &others), (&near_from, &far)] {
        let refused = pin.set_allocator(Some(allocator)).unwrap_err();
        assert_eq!(refused.status, STATUS_NOT_SUPPORTED, "{refused}");
        assert!(refused.reason().contains("created on a pin of that same process"), "{refused}");
    }
    near_from.set_allocator(Some(&near)).unwrap();
    // What is no allocator, wherever it is.
    let name = |handle: u64| {
        let named = from.object().set_property(KSPROPSETID_Stream, KSPROPERTY_STREAM_ALLOCATOR, &handle);
        named.unwrap_err().status
    };
    for none in [to.object().handle().0, near_to.object().handle().0, 0x0dd0] {
        assert_eq!(name(none), STATUS_INVALID_HANDLE);
    }
    drop((far, near, others, from, to, near_from, near_to, other_to));
    drop((source, sink, near_source, near_sink, other_sink));
    assert_eq!(session.open_handles(), 0);
    // A worker that was the last to have to do with a file closes it when it is done.
    while peer.pending_requests() + host.peer.exported_files() + other.peer.exported_files() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_branch_that_is_changed_in_the_other_engine_gets_copies() {
    const CAMERA: &str = "test-camera live=false width=64 height=48 frames=40";
    let here = vec![
        camera(),
        ks_filters::tee::descriptor(),
        ks_filters::y4m_writer::descriptor(),
        ks_filters::pass_through::descriptor(),
    ];
    let parent = engine(here);
    let there = vec![ks_filters::video_effect::invert(), renderer()];
    let (_host, _peer) = host(&parent, there);
    let (client, _session) = client(&parent);
    let folder = std::env::temp_dir().join(format!("ks-branches-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (plain, beside) = (file("plain.y4m"), file("beside.y4m"));
    let report = run(&client, &format!("{CAMERA} ! y4m-writer path={plain}"));
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    let graph = format!("{CAMERA} ! tee name=t ! y4m-writer path={beside}  t. ! video-invert ! null-renderer");
    let report = run(&client, &graph);
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    let copies: Vec<_> = report.connections.iter().map(|one| (one.from.as_str(), one.copies)).collect();
    assert!(copies.iter().any(|(from, copies)| *from == "tee.1" && *copies == 40), "{copies:?}");
    assert_eq!(std::fs::read(plain).unwrap(), std::fs::read(beside).unwrap());
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_sink_complains_to_a_manager_of_the_other_engine() {
    for sink_is_far in [true, false] {
        let (tell, heard) = mpsc::channel();
        let tell = Mutex::new(tell);
        let report = move |_: &Pin, call: &mut PropertyCall<'_>| match call.data_as::<KsQuality>() {
            Ok(said) => {
                let _ = tell.lock().unwrap().send((said.context.0, said.proportion, said.delta_time));
                STATUS_SUCCESS
            }
            Err(status) => status,
        };
        let item = PropertyItem::standard(KSPROPSETID_Quality, KSPROPERTY_QUALITY_REPORT).unwrap().set(report);
        let listening = PropertySet { set: KSPROPSETID_Quality, items: vec![item] };
        let complaining = PropertySet { set: KSPROPSETID_Stream, items: vec![quality_manager_item()] };
        let of = |set| Some(AutomationTable::of_properties(vec![set]));
        let near = filter("filling", KsPinDataFlow::OUT, asks(3, 0, (1, 4096)), of(listening));
        let far = filter("taking", KsPinDataFlow::IN, asks(3, 0, (1, 4096)), of(complaining));
        let (_host, client, _kept) = apart(near, far, sink_is_far);
        let (source, sink) = (client.open_by_name("filling").unwrap(), client.open_by_name("taking").unwrap());
        let (from, to) = connect(&source, &sink, false);
        let name = |handle| {
            let manager = KsQualityManager { quality_manager: handle, context: Ptr64(0x77) };
            let named = to.object().set_property(KSPROPSETID_Stream, KSPROPERTY_STREAM_QUALITY, &manager);
            named.map_err(|error| error.status)
        };
        assert_eq!(name(0x0dd0), Err(STATUS_INVALID_HANDLE));
        name(from.object().handle().0).unwrap();
        for pin in [&to, &from] {
            pin.set_state(KsState::RUN).unwrap();
        }
        for _ in 0..10 {
            assert_eq!(heard.recv().unwrap(), (0x77, 500, 4000));
        }
        name(0).unwrap();
        for pin in [&from, &to] {
            pin.set_state(KsState::STOP).unwrap();
        }
    }
}

#[test]
fn a_graph_over_two_engines_goes_by_the_clock_of_its_source() {
    const GRAPH: &str = "test-camera width=64 height=48 fps=200 ! null-renderer frames=20";
    for (here, there) in [(vec![renderer()], vec![camera()]), (vec![camera()], vec![renderer()])] {
        let parent = engine(here);
        let (host, peer) = host(&parent, there);
        let (client, session) = client(&parent);
        for _ in 0..2 {
            let report = run(&client, GRAPH);
            assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
            assert_eq!((report.clock.as_deref(), &*report.clock_refused), (Some("test-camera.0"), &[][..]));
            assert_eq!(report.connections[0].frames, 20);
        }
        assert_eq!((session.open_handles(), peer.pending_requests()), (0, 0));
        // A worker that was the last to have to do with a file closes it when it is done.
        while host.peer.exported_files() > 0 {
            std::thread::yield_now();
        }
    }
}
