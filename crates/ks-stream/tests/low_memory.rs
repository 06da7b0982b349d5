//! A11, what is released twice on an error path: every allocation whose size a client chooses fails once, one after the
//! other, in every scenario below. The request that needed it is refused, everything is given back once, and the same
//! steps succeed right after.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "the modules of one test program")]

#[allow(dead_code, reason = "written for another test program, too")]
#[path = "stream/rig.rs"]
mod rig;
mod support;

use ks_abi::*;
use ks_client::ClientError;
use ks_io::{Handle, Outcome, Session, Transport};
use ks_mem::{
    FaultyAllocator, Frame, FrameMemory, FramePool, PoolSpec, RegionTable, end_faults, fail_allocation, fault_sites,
    largest_unmarked,
};
use ks_stream::{
    AutomationTable, DataFormat, Device, DmaAdapter, EventItem, EventSet, Filter, FilterDescriptor, InjectedFrame,
    PinFlags, ProcessPins, PropertyCall, PropertyItem, PropertySet, SERIALIZED_BY_SIZE_QUERY,
};
use rig::{DOWN, FRAME_BYTES, Rig, Setup, UP, take, try_create};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use support::specimen::*;
use zerocopy::{FromBytes, IntoBytes};

#[global_allocator]
static FAULTY: FaultyAllocator = FaultyAllocator;

/// The faults are of the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SET: Guid = Guid::from_u128(0x77777777_2222_3333_4444_555555555555);
const NO_MEMORY: NtStatus = STATUS_INSUFFICIENT_RESOURCES;

type Steps = Result<(), NtStatus>;

/// One run of a scenario.
struct Run {
    /// Which allocation fails.
    nth: u64,
    struck: Mutex<bool>,
}

impl Run {
    /// Takes the steps with the fault, and then without: the fault may have done no harm.
    fn steps(&self, what: &str, steps: impl Fn() -> Steps) {
        fail_allocation(self.nth);
        let result = steps();
        let struck = end_faults();
        match result {
            Ok(()) => {}
            Err(NO_MEMORY) if struck => {}
            Err(status) => panic!("{what}, allocation {} fails: {status}", self.nth),
        }
        *self.struck.lock().unwrap() = struck;
        assert_eq!(steps(), Ok(()), "{what}, after allocation {} failed", self.nth);
    }
}

/// Lets the first allocation fail, then the second, until none is left. Each run has a thread of its own, so that what
/// threads keep for the next request is there for none. Gives how many failed.
fn every_fault(scenario: Scenario) -> u64 {
    for nth in 1.. {
        let run = Run { nth, struck: Mutex::new(false) };
        std::thread::scope(|scope| scope.spawn(|| scenario(&run)).join().unwrap());
        if !*run.struck.lock().unwrap() {
            return nth - 1;
        }
    }
    unreachable!("a scenario ends")
}

fn told<T>(result: Result<T, ClientError>) -> Result<T, NtStatus> {
    result.map_err(|error| error.status)
}

fn ok(outcome: Outcome) -> Steps {
    if outcome.status == STATUS_SUCCESS { Ok(()) } else { Err(outcome.status) }
}

/// A handle that is closed at the end of its scope.
struct Open<'s>(&'s Session, Handle);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        assert_eq!(self.0.close(self.1).status, STATUS_SUCCESS);
    }
}

impl<'s> Open<'s> {
    fn create(bench: &'s Bench, parent: Handle, class: &str, parameters: &[u8]) -> Result<Open<'s>, NtStatus> {
        let made = bench.session.create(parent, class, parameters, both_accesses());
        made.map(|handle| Open(&bench.session, handle)).map_err(|outcome| outcome.status)
    }

    fn pin(bench: &'s Bench, create: &PinCreate) -> Result<Open<'s>, NtStatus> {
        let made = bench.create(create);
        made.map(|handle| Open(&bench.session, handle)).map_err(|outcome| outcome.status)
    }
}

/// The scenario on a bench, which has as many handles behind it as before.
fn on(bench: &Bench, run: &Run, what: &str, steps: impl Fn() -> Steps) {
    let before = bench.session.open_handles();
    run.steps(what, || {
        let result = steps();
        assert_eq!(bench.session.open_handles(), before, "{what}: a handle is left");
        result
    });
}

fn start_and_open(run: &Run) {
    let bench = bench();
    let descriptor = |name: &'static str| {
        let pins = vec![ks_stream::PinDescriptor::new(KsPinDataFlow::OUT, vec![support::video()])];
        FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, Arc::new(Nothing))
    };
    on(&bench, run, "start and open", || {
        let device = Device::start(&bench.io, "another", vec![Arc::new(descriptor("another"))])?;
        let opened = bench.session.open(&bench.link, both_accesses());
        let opened = opened.map(|handle| Open(&bench.session, handle)).map_err(|outcome| outcome.status);
        device.surprise_remove();
        opened.map(drop)
    });
}

struct Nothing;

impl ks_stream::FilterDispatch for Nothing {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn ks_stream::FilterInstance>, ks_io::Refusal> {
        Err(ks_io::Refusal::new(STATUS_UNSUCCESSFUL, ks_io::Aspect::Driver, "it is never opened"))
    }
}

fn create_objects(run: &Run) {
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 2], None, None);
    let (out, with_attributes) = (pin_create(OUT), pin_create(ATTRIBUTED));
    on(&bench, run, "pin, clock, allocator and node", || {
        let pin = Open::pin(&bench, &out)?;
        drop(Open::create(&bench, pin.1, KSSTRING_CLOCK, &[0; 4])?);
        drop(Open::create(&bench, bench.filter, KSSTRING_TOPOLOGY_NODE, &[0; 8])?);
        drop(Open::pin(&bench, &with_attributes)?);
        let framing = KsAllocatorFraming {
            flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
            frames: 3,
            frame_size: 4096,
            file_alignment: 0xFFF,
            ..Default::default()
        };
        let allocator = Open::create(&bench, pin.1, KSSTRING_ALLOCATOR, framing.as_bytes())?;
        let alloc = KsMethod::new(KSMETHODSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_SEND);
        let ask = || bench.session.submit(allocator.1, IoControlCode::KS_METHOD, alloc.as_bytes(), vec![0; 8]);
        let mut taken = std::collections::VecDeque::new();
        let mut result = Ok(());
        for _ in 0..3 {
            let request = ask().wait();
            match ok(request.outcome) {
                Ok(()) => taken.push_back(request.output),
                refused => result = refused,
            }
        }
        // One that waits for the first that is freed.
        let mut waits = (taken.len() == 3).then(ask);
        while let Some(mut frame) = taken.pop_front() {
            let free = KsMethod::new(KSMETHODSETID_StreamAllocator, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_SEND);
            let mut freed = bench.control(allocator.1, IoControlCode::KS_METHOD, free.as_bytes(), &mut frame);
            if freed.status == NO_MEMORY {
                // It was not taken back, so it can be given back again.
                result = result.and(Err(NO_MEMORY));
                freed = bench.control(allocator.1, IoControlCode::KS_METHOD, free.as_bytes(), &mut frame);
            }
            assert_eq!(freed.status, STATUS_SUCCESS, "a frame is given back once");
            if let Some(request) = waits.take() {
                assert!(request.is_done(), "a frame was freed, and it has it or not");
                let request = request.wait();
                match ok(request.outcome) {
                    // It is the same frame, which is out again.
                    Ok(()) => {
                        assert_eq!(request.output, frame);
                        taken.push_back(request.output);
                        continue;
                    }
                    refused => result = result.and(refused),
                }
            }
            let again = bench.control(allocator.1, IoControlCode::KS_METHOD, free.as_bytes(), &mut frame);
            assert_eq!(again.status, STATUS_INVALID_PARAMETER, "and not twice");
        }
        let ask = property(KSPROPSETID_StreamAllocator, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPERTY_TYPE_GET);
        let (outcome, answer) = bench.ask(allocator.1, ask.as_bytes(), size_of::<KsStreamAllocatorStatus>());
        ok(outcome)?;
        let status = KsStreamAllocatorStatus::read_from_bytes(&answer).unwrap();
        assert_eq!(status.allocated_frames, 0, "all frames are free");
        result
    });
}

fn many_handles(run: &Run) {
    let bench = bench();
    on(&bench, run, "handles", || {
        let mut events = Vec::new();
        for _ in 0..100 {
            match bench.session.create_event() {
                Ok((handle, _)) => events.push(Open(&bench.session, handle)),
                Err(outcome) => return Err(outcome.status),
            }
        }
        Ok(())
    });
}

/// A format with a block as long as a client likes.
fn long_format(bytes: usize) -> DataFormat {
    let head =
        KsDataFormat::new(KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_SUBTYPE_PCM, KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, 0);
    DataFormat::new(KsDataFormat { sample_size: 4, ..head }, &vec![0x5A; bytes])
}

fn properties(run: &Run) {
    let bench = bench();
    let pin = bench.pin(IN);
    let format = long_format(70_000);
    on(&bench, run, "properties", || {
        let get = |handle, request: &[u8], room| ok(bench.ask(handle, request, room).0);
        for item in [KSPROPERTY_PIN_DATARANGES, KSPROPERTY_PIN_INTERFACES, KSPROPERTY_PIN_MEDIUMS, KSPROPERTY_PIN_NAME]
        {
            get(bench.filter, of_pin(item, OUT).as_bytes(), 70_000)?;
        }
        get(bench.filter, property(Guid::NULL, 0, KSPROPERTY_TYPE_SETSUPPORT).as_bytes(), 4096)?;
        get(bench.filter, property(KSPROPSETID_Pin, 0, KSPROPERTY_TYPE_BASICSUPPORT).as_bytes(), 72)?;
        let mut intersection = of_pin(KSPROPERTY_PIN_DATAINTERSECTION, OUT).as_bytes().to_vec();
        intersection.extend(range_list(&[format.clone(), support::video()]));
        get(bench.filter, &intersection, 4096)?;
        let set = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_SET);
        ok(bench.property(pin, set.as_bytes(), &mut format.bytes().to_vec()))?;
        let read = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_GET);
        get(pin, read.as_bytes(), 80_000)
    });
}

fn serialized_sets(run: &Run) {
    let held = Arc::new(Mutex::new(vec![7_u8; 3000]));
    let (reads, writes) = (held.clone(), held.clone());
    let value = PropertyItem::new(0)
        .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer(&reads.lock().unwrap()))
        .set(move |_: &Filter, call: &mut PropertyCall<'_>| {
            *writes.lock().unwrap() = call.data().to_vec();
            STATUS_SUCCESS
        })
        .serialized_bytes(SERIALIZED_BY_SIZE_QUERY);
    let table = AutomationTable::of_properties(vec![PropertySet { set: SET, items: vec![value] }]);
    let bench = bench_with(|_| (), Some(table), None);
    on(&bench, run, "serialized sets", || {
        let (outcome, mut block) =
            bench.ask(bench.filter, property(SET, 0, KSPROPERTY_TYPE_SERIALIZESET).as_bytes(), 8192);
        ok(outcome)?;
        ok(bench.property(bench.filter, property(SET, 0, KSPROPERTY_TYPE_UNSERIALIZESET).as_bytes(), &mut block))?;
        assert_eq!(*held.lock().unwrap(), [7; 3000]);
        Ok(())
    });
}

fn buffered_events(run: &Run) {
    let events = vec![EventSet { set: SET, items: vec![EventItem::new(0)] }];
    let bench = bench_with(|_| (), Some(AutomationTable { events, ..AutomationTable::default() }), None);
    let filter = bench.engine_filter(bench.filter);
    let (event, _) = bench.session.create_event().unwrap();
    on(&bench, run, "buffered events", || {
        let mut token =
            Box::new(KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() });
        let enable = KsEvent::new(SET, 0, KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ENABLEBUFFERED);
        let code = IoControlCode::KS_ENABLE_EVENT;
        ok(bench.control(bench.filter, code, enable.as_bytes(), token.as_mut_bytes()))?;
        let raised = filter.generate_data_events(SET, 0, &[5; 900]);
        let ask = KsQueryBuffer {
            event: KsEvent::new(SET, 0, KSEVENT_TYPE_QUERYBUFFER),
            event_data: Ptr64(std::ptr::from_ref(&*token) as u64),
            reserved: Ptr64(0),
        };
        let mut answer = vec![0; 900];
        let fetched = bench.control(bench.filter, code, ask.as_bytes(), &mut answer);
        let mut disabled = bench.control(bench.filter, IoControlCode::KS_DISABLE_EVENT, token.as_bytes(), &mut []);
        let mut result = Ok(());
        if disabled.status == NO_MEMORY {
            result = Err(NO_MEMORY);
            disabled = bench.control(bench.filter, IoControlCode::KS_DISABLE_EVENT, token.as_bytes(), &mut []);
        }
        assert_eq!(disabled.status, STATUS_SUCCESS, "it is enabled once");
        match (raised, fetched.status) {
            (STATUS_SUCCESS, status) => result.and(ok(Outcome { status, ..fetched })),
            (lost, STATUS_NO_MORE_ENTRIES | NO_MEMORY) => Err(lost),
            other => panic!("{other:?}"),
        }
    });
}

/// A rig, whose clients leave nothing behind whether or not their steps succeed.
fn on_rig(rig: &Rig, run: &Run, what: &str, steps: impl Fn() -> Steps) {
    run.steps(what, || {
        let result = steps();
        rig.assert_quiescent();
        result
    });
}

fn client_streams(run: &Run) {
    let rig = Rig::new(1);
    rig.source.script(|probe, pin| {
        // A clone with a context of the driver's own on every frame.
        while let Some(frame) = pin.leading_edge() {
            let Some(clone) = frame.clone_pointer() else { return STATUS_PENDING };
            let copied = clone.clone_pointer(300).is_some();
            rig::put(&frame, probe.next.fetch_add(1, SeqCst), false);
            drop(clone);
            drop(frame.advance());
            if !copied {
                return STATUS_PENDING;
            }
        }
        STATUS_PENDING
    });
    for name in ["source", "sink"] {
        on_rig(&rig, run, name, || {
            let filter = told(rig_open(&rig, name))?;
            let flow = if name == "source" { KsPinDataFlow::OUT } else { KsPinDataFlow::IN };
            let pin = told(try_create(&filter, 0, flow, None))?;
            for state in UP {
                told(pin.set_state(state))?;
            }
            for count in [1, 5, 20] {
                let own = || -> Result<Vec<_>, NtStatus> {
                    (0..count).map(|_| told(pin.allocate(FRAME_BYTES as usize))).collect()
                };
                let request = match name {
                    "source" => pin.read_stream(own()?),
                    _ => {
                        let mut frames = own()?;
                        frames.iter_mut().for_each(|frame| assert!(frame.fill(&[1; FRAME_BYTES as usize])));
                        pin.write_stream(frames)
                    }
                };
                let request = told(request)?;
                rig.settle();
                if !request.is_done() {
                    // The driver had no memory for its clone; what waits is ended once, by its client.
                    request.cancel();
                    assert_eq!(told(request.wait()).map(drop), Err(STATUS_CANCELLED));
                    return Err(NO_MEMORY);
                }
                let back = told(request.wait())?;
                assert_eq!(back.len(), count, "every buffer comes back");
                for frame in &back {
                    assert!(frame.buffer().write().is_some(), "nobody else has the buffer");
                }
            }
            Ok(())
        });
    }
}

fn rig_open(rig: &Rig, name: &str) -> Result<ks_client::Filter, ClientError> {
    ks_client::Client::new(rig.session.clone()).open_by_name(name)
}

/// A circuit of a source, a filter in the middle and a sink, to its end and down.
fn circuit(rig: &Rig) -> Steps {
    let (from, through, to) =
        (told(rig_open(rig, "source"))?, told(rig_open(rig, "middle"))?, told(rig_open(rig, "sink"))?);
    let sink = told(try_create(&to, 0, KsPinDataFlow::IN, None))?;
    let output = told(try_create(&through, 1, KsPinDataFlow::OUT, Some(&sink)))?;
    let input = told(try_create(&through, 0, KsPinDataFlow::IN, None))?;
    let source = told(try_create(&from, 0, KsPinDataFlow::OUT, Some(&input)))?;
    rig.sink.seen.lock().clear();
    for state in UP {
        for pin in [&sink, &output, &input, &source] {
            told(pin.set_state(state))?;
        }
    }
    rig.settle();
    let seen = rig.sink.seen_now().len();
    for state in DOWN {
        for pin in [&source, &input, &output, &sink] {
            told(pin.set_state(state))?;
        }
    }
    if seen == 12 { Ok(()) } else { Err(NO_MEMORY) }
}

fn circuits(run: &Run) {
    let rig = Rig::with(Setup { middle_in_place: Some((0, 1)), ..Setup::default() });
    rig.source.last.store(12, SeqCst);
    on_rig(&rig, run, "a circuit in place", || circuit(&rig));
}

fn filter_circuits(run: &Run) {
    let rig = Rig::with(Setup { middle_in_place: None, ..Setup::default() });
    rig.source.last.store(12, SeqCst);
    rig.middle.script_filter(|_, _, pins: &ProcessPins<'_>| {
        let (Some(input), Some(output)) = (pins.of(0).next(), pins.of(1).next()) else { return STATUS_PENDING };
        let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
        let used = input.bytes_available();
        let (Some(source), Some(target)) = (from.buffer(), to.buffer()) else { return STATUS_PENDING };
        let bytes = source.read().unwrap()[..used as usize].to_vec();
        target.write().unwrap()[..used as usize].copy_from_slice(&bytes);
        to.set_options_flags(from.options_flags());
        input.set_bytes_used(used);
        output.set_bytes_used(used);
        output.terminate();
        STATUS_SUCCESS
    });
    on_rig(&rig, run, "a filter-centric circuit", || circuit(&rig));
}

fn mapped_streams(run: &Run) {
    let rig = Rig::with(Setup { sink_flags: PinFlags::GENERATE_MAPPINGS, ..Setup::default() });
    rig.devices[2].register_adapter(DmaAdapter { most_mapping_bytes: 24, mapping_stride: 32 }).unwrap();
    rig.sink.script(|probe, pin| {
        if pin.leading_edge().is_some_and(|edge| edge.mappings().is_empty()) {
            // It cannot be transferred now.
            return STATUS_PENDING;
        }
        take(probe, pin)
    });
    on_rig(&rig, run, "mappings", || {
        let filter = told(rig_open(&rig, "sink"))?;
        let pin = told(try_create(&filter, 0, KsPinDataFlow::IN, None))?;
        for state in UP {
            told(pin.set_state(state))?;
        }
        let mut frame = told(pin.allocate(FRAME_BYTES as usize))?;
        assert!(frame.fill(&[1; FRAME_BYTES as usize]));
        let request = told(pin.write_stream(vec![frame]))?;
        rig.settle();
        if !request.is_done() {
            request.cancel();
            assert_eq!(told(request.wait()).map(drop), Err(STATUS_CANCELLED));
            return Err(NO_MEMORY);
        }
        told(request.wait()).map(drop)
    });
}

fn injected_frames(run: &Run) {
    let rig = Rig::new(1);
    rig.source.injects.store(true, SeqCst);
    on_rig(&rig, run, "injected frames", || {
        let (from, to) = (told(rig_open(&rig, "source"))?, told(rig_open(&rig, "sink"))?);
        let sink = told(try_create(&to, 0, KsPinDataFlow::IN, None))?;
        let source = told(try_create(&from, 0, KsPinDataFlow::OUT, Some(&sink)))?;
        for state in UP {
            told(sink.set_state(state))?;
            told(source.set_state(state))?;
        }
        let pin = rig.source.pin();
        rig.source.returned.lock().clear();
        let mut sent = 0;
        let mut result = Ok(());
        for number in 0..3_u64 {
            let submitted = pin.allocate_injected(FRAME_BYTES as usize).and_then(|buffer| {
                let header = KsStreamHeader { data_used: FRAME_BYTES, ..KsStreamHeader::default() };
                let header = Some(header.as_bytes().to_vec());
                pin.submit_frame(InjectedFrame { buffer: Some(buffer), header, context: number })
            });
            match submitted {
                Ok(()) => sent += 1,
                Err(status) => result = Err(status),
            }
        }
        rig.settle();
        assert_eq!(rig.source.returned.lock().len(), sent, "each frame comes back once");
        for state in DOWN {
            told(source.set_state(state))?;
            told(sink.set_state(state))?;
        }
        result
    });
}

/// Frames that two processes share, which here are two names of one memory.
fn shared_memory(run: &Run) {
    run.steps("shared frames", || {
        let table = RegionTable::new();
        let spec = PoolSpec { frames: 8, frame_bytes: 5000, alignment: 64 };
        let pool = FramePool::in_memory(FrameMemory::Shared, spec, &table).map_err(|_| NO_MEMORY)?;
        let frames: Vec<Frame> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(frames.len(), 8);
        let written = frames[0].bytes_mut(5000).map(|mut bytes| bytes.fill(3)).ok_or(NO_MEMORY);
        for frame in frames {
            pool.put(frame).unwrap();
        }
        assert_eq!(pool.free_frames(), 8, "all frames are free");
        written
    });
}

type Scenario = fn(&Run);

const SCENARIOS: [(&str, Scenario); 12] = [
    ("start and open", start_and_open),
    ("create every kind of object", create_objects),
    ("many handles", many_handles),
    ("properties", properties),
    ("serialized sets", serialized_sets),
    ("buffered events", buffered_events),
    ("client streams", client_streams),
    ("circuit in place", circuits),
    ("filter-centric circuit", filter_circuits),
    ("mappings", mapped_streams),
    ("injected frames", injected_frames),
    ("shared memory", shared_memory),
];

/// The places of a crate's code that make such an allocation, as `file:line`.
fn sites_of(name: &str, sites: &mut Vec<String>) {
    fn walk(dir: &Path, shown: &str, sites: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let file = entry.file_name().into_string().unwrap();
            let shown = format!("{shown}/{file}");
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &shown, sites);
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let code = text.lines().take_while(|line| !line.starts_with("mod tests"));
            for (number, line) in code.enumerate() {
                let line = line.split("//").next().unwrap_or_default();
                if ["Block::zeroed(", "fallible(||", ".block.make("].iter().any(|mark| line.contains(mark)) {
                    sites.push(format!("{shown}:{}", number + 1));
                }
            }
        }
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
    walk(&dir, &format!("crates/{name}/src"), sites);
}

#[test]
fn a11_each_allocation_fails_once_and_nothing_is_released_twice() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (name, scenario) in SCENARIOS {
        let faults = every_fault(scenario);
        println!("{name}: {faults} allocations failed, one a run");
        assert!(faults > 0, "{name} makes no allocation that can fail");
    }
    let mut sites = Vec::new();
    for name in ["ks-mem", "ks-io", "ks-stream"] {
        sites_of(name, &mut sites);
    }
    // The allocators' own calls: each of their callers is a place of its own.
    sites.retain(|site| {
        !["block", "late_block"].iter().any(|file| site.starts_with(&format!("crates/ks-mem/src/{file}.rs")))
    });
    let (_, failed) = fault_sites();
    let by_site: BTreeMap<&String, bool> = sites.iter().map(|site| (site, failed.contains(site))).collect();
    for (site, failed) in &by_site {
        println!("{} {site}", if *failed { "failed  " } else { "NOT MET " });
    }
    assert!(by_site.len() > 25, "{} places are too few: does the search still find them?", by_site.len());
    let missed: Vec<_> = by_site.iter().filter(|(_, failed)| !**failed).map(|(site, _)| site).collect();
    assert!(missed.is_empty(), "no scenario lets these fail: {missed:?}");
}

/// The most that is allocated without a way to fail, whatever a client asks for.
const MOST_UNMARKED: usize = 64 << 10;

#[test]
fn a11_whatever_a_client_makes_large_can_fail() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let events = vec![EventSet { set: SET, items: vec![EventItem::new(0)] }];
    let take_it = PropertyItem::new(0).set(|_: &Filter, _: &mut PropertyCall<'_>| STATUS_SUCCESS).serialized_bytes(4);
    let table = AutomationTable {
        events,
        ..AutomationTable::of_properties(vec![PropertySet { set: SET, items: vec![take_it] }])
    };
    let bench = bench_with(|_| (), Some(table), None);
    let pin = bench.pin(IN);
    let large = long_format(900_000);
    let mut intersection = of_pin(KSPROPERTY_PIN_DATAINTERSECTION, IN).as_bytes().to_vec();
    intersection.extend(range_list(&[large.clone(), large.clone()]));
    let set_format = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_SET);
    let get_format = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_GET);
    let mut serialized = KsPropertySerialHeader { property_set: SET, count: 20_000 }.as_bytes().to_vec();
    for _ in 0..20_000 {
        let entry = KsPropertySerial { prop_type_set: KsIdentifier::default(), id: 0, property_length: 4 };
        serialized.extend_from_slice(entry.as_bytes());
        serialized.extend_from_slice(&[0; 4]);
    }
    let unserialize = property(SET, 0, KSPROPERTY_TYPE_UNSERIALIZESET);
    let mut long_request = unserialize.as_bytes().to_vec();
    long_request.resize(1 << 20, 0);
    let property_code = IoControlCode::KS_PROPERTY;
    let mut asked: Vec<(&str, Handle, Vec<u8>, Vec<u8>)> = vec![
        ("a long request", bench.filter, vec![0; 1 << 20], vec![]),
        ("long data", bench.filter, property(SET, 0, KSPROPERTY_TYPE_SET).as_bytes().to_vec(), vec![0; 1 << 20]),
        ("long ranges", bench.filter, intersection, vec![0; 1 << 20]),
        ("a long format", pin, set_format.as_bytes().to_vec(), large.bytes().to_vec()),
        ("a long answer", pin, get_format.as_bytes().to_vec(), vec![0; 1 << 20]),
        ("many serialized values", bench.filter, unserialize.as_bytes().to_vec(), serialized.clone()),
        ("a long request for serialized values", bench.filter, long_request, serialized),
    ];
    for (what, handle, input, output) in &mut asked {
        let (outcome, largest) = largest_unmarked(|| bench.control(*handle, property_code, input, output));
        println!("{what}: {}, {largest} bytes", outcome.status);
        assert!(largest <= MOST_UNMARKED, "{what}: {largest} bytes are allocated without a way to fail");
    }
    let create = pin_create(IN).format(&large).parameters();
    let (made, largest) =
        largest_unmarked(|| bench.session.create(bench.filter, KSSTRING_PIN, &create, both_accesses()));
    assert!(made.is_ok() && largest <= MOST_UNMARKED, "a long create: {largest} bytes");

    let rig = Rig::new(1);
    rig.source.script(rig::wait);
    let (filter, stream) = rig.alone("source");
    rig::bring(&stream, &UP);
    let memory = rig.session.allocate(64, 64).unwrap();
    let header = KsStreamHeader {
        size: 56,
        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
        frame_extent: 16,
        data: Ptr64(memory.address()),
        ..Default::default()
    };
    let list: Vec<u8> = (0..4096).flat_map(|_| header.as_bytes().to_vec()).collect();
    let handle = stream.object().handle();
    let (request, largest) = largest_unmarked(|| rig.session.submit(handle, IoControlCode::KS_READ_STREAM, &[], list));
    assert!(largest <= MOST_UNMARKED, "4096 stream headers: {largest} bytes are allocated without a way to fail");
    request.cancel();
    let (finished, largest) = largest_unmarked(|| request.wait());
    assert_eq!(finished.outcome.status, STATUS_CANCELLED);
    assert!(largest <= MOST_UNMARKED, "their answer: {largest} bytes are allocated without a way to fail");
    drop((memory, stream, filter));
    rig.assert_quiescent();
}
