//! Flags of pins and filters that say on which thread, at which level and by which transport they process.

use crate::rig::{Rig, Setup, UP, bring, create, fill, filled, frames};
use ks_abi::{
    KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsPinDataFlow,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_FOUND, STATUS_PENDING,
};
use ks_client::Client;
use ks_io::{Event, EventKind, Level, RequestorMode, Signal, Work, WorkQueue};
use ks_stream::{FilterFlags, PinFlags};
use std::sync::Arc;

fn with_source(source_flags: PinFlags) -> Rig {
    Rig::with(Setup { source_flags, ..Setup::default() })
}

/// A filter that processes as a whole, with a frame at both of its pins and its gate closed.
fn whole(middle_filter_flags: FilterFlags) -> (Rig, Vec<Box<dyn std::any::Any>>) {
    let rig = Rig::with(Setup { middle_filter_flags, middle_in_place: None, ..Setup::default() });
    rig.middle.script_filter(|_, _, pins| {
        pins.iter().for_each(|pin| pin.terminate());
        STATUS_PENDING
    });
    let filter = rig.open("middle");
    let input = create(&filter, 0, KsPinDataFlow::IN, None);
    let output = create(&filter, 1, KsPinDataFlow::OUT, None);
    rig.middle.pin().filter().and_gate().unwrap().turn_input_off();
    bring(&output, &UP);
    bring(&input, &UP);
    let write = input.write_stream(vec![filled(&input, 1)]).unwrap();
    let read = output.read_stream(frames(&output, 1)).unwrap();
    rig.settle();
    rig.middle.pin().filter().and_gate().unwrap().turn_input_on();
    (rig, vec![Box::new((write, read)), Box::new((input, output)), Box::new(filter)])
}

#[test]
fn a_pin_for_dispatch_level_processes_where_it_is_attempted() {
    for (flags, calls) in [(PinFlags::empty(), 0), (PinFlags::DISPATCH_LEVEL_PROCESSING, 1)] {
        let rig = with_source(flags);
        let (_filter, client) = rig.alone("source");
        rig.source.script(move |probe, pin| {
            let wanted = if flags.is_empty() { Level::Passive } else { Level::Dispatch };
            assert_eq!(Level::current(), wanted);
            fill(probe, pin)
        });
        rig.source.pin().and_gate().turn_input_off();
        bring(&client, &UP);
        let request = client.read_stream(frames(&client, 1)).unwrap();
        rig.source.pin().and_gate().turn_input_on();
        {
            let _raised = Level::Dispatch.raise();
            rig.source.pin().attempt_processing();
            assert_eq!(rig.source.calls(), calls, "{flags:?}");
        }
        assert_eq!(request.wait().unwrap().len(), 1);
    }
}

#[test]
fn a_circuit_that_begins_at_dispatch_level_goes_on_at_passive_level_where_a_pin_does_not_allow_it() {
    let rig = with_source(PinFlags::DISPATCH_LEVEL_PROCESSING);
    rig.source.last.store(6, std::sync::atomic::Ordering::SeqCst);
    rig.sink.script(|probe, pin| {
        assert_eq!(Level::current(), Level::Passive);
        crate::rig::take(probe, pin)
    });
    let pair = rig.pair();
    rig.source.pin().and_gate().turn_input_off();
    pair.bring(&UP);
    rig.settle();
    rig.source.pin().and_gate().turn_input_on();
    {
        let _raised = Level::Dispatch.raise();
        rig.source.pin().attempt_processing();
        assert_eq!(rig.source.calls(), 1, "a timer of a camera does so");
    }
    rig.settle();
    assert_eq!(rig.sink.seen_now(), (0..6).collect::<Vec<u32>>());
    drop(pair);
    rig.assert_quiescent();
}

#[test]
fn a_filter_for_dispatch_level_processes_where_it_is_attempted() {
    for (flags, calls) in [(FilterFlags::empty(), 0), (FilterFlags::DISPATCH_LEVEL_PROCESSING, 1)] {
        let (rig, _open) = whole(flags);
        {
            let _raised = Level::Dispatch.raise();
            rig.middle.pin().filter().attempt_processing();
            assert_eq!(rig.middle.calls(), calls, "{flags:?}");
        }
        rig.settle();
        assert_eq!(rig.middle.calls(), 1);
    }
}

/// Holds a processing mutex, or nothing but the thread, until it is told to end.
struct Busy {
    pin: Option<Arc<ks_stream::Pin>>,
    begun: Event,
    end: Event,
}

impl Busy {
    fn queue(rig: &Rig, queue: WorkQueue, pin: Option<Arc<ks_stream::Pin>>) -> Arc<Busy> {
        let event = || rig.services().event(EventKind::Notification, Signal::Clear);
        let busy = Arc::new(Busy { pin, begun: event(), end: event() });
        rig.services().queue_work(queue, busy.clone());
        let _ = busy.begun.wait();
        busy
    }
}

impl Work for Busy {
    fn run(self: Arc<Self>) {
        let held = self.pin.as_ref().map(|pin| pin.processing_mutex().hold());
        self.begun.set();
        let _ = self.end.wait();
        drop(held);
    }
}

#[test]
fn at_dispatch_level_nobody_waits_for_the_processing_mutex() {
    let rig = with_source(PinFlags::DISPATCH_LEVEL_PROCESSING);
    let (_filter, client) = rig.alone("source");
    rig.source.pin().and_gate().turn_input_off();
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 1)).unwrap();
    rig.source.pin().and_gate().turn_input_on();
    let busy = Busy::queue(&rig, WorkQueue::Critical, Some(rig.source.pin()));
    {
        let _raised = Level::Dispatch.raise();
        rig.source.pin().attempt_processing();
    }
    assert_eq!(rig.source.calls(), 0);
    busy.end.set();
    assert_eq!(request.wait().unwrap().len(), 1, "a worker waited instead");
}

#[test]
fn processing_is_left_to_the_workers_that_the_flags_name() {
    let asynchronous = PinFlags::ASYNCHRONOUS_PROCESSING;
    let of_pins = [
        (asynchronous, WorkQueue::Delayed),
        (asynchronous | PinFlags::CRITICAL_PROCESSING, WorkQueue::Critical),
        (asynchronous | PinFlags::HYPERCRITICAL_PROCESSING, WorkQueue::HyperCritical),
    ];
    for (flags, queue) in of_pins {
        for other in [WorkQueue::Critical, WorkQueue::HyperCritical] {
            let rig = with_source(flags);
            let (_filter, client) = rig.alone("source");
            bring(&client, &UP);
            rig.settle();
            let busy = Busy::queue(&rig, other, None);
            let request = client.read_stream(frames(&client, 1)).unwrap();
            rig.settle();
            assert_eq!(request.is_done(), queue != other, "{flags:?} while {other:?} is busy");
            busy.end.set();
            request.wait().unwrap();
        }
    }
    let of_filters = [
        (FilterFlags::empty(), WorkQueue::Delayed),
        (FilterFlags::CRITICAL_PROCESSING, WorkQueue::Critical),
        (FilterFlags::HYPERCRITICAL_PROCESSING, WorkQueue::HyperCritical),
    ];
    for (flags, queue) in of_filters {
        for other in [WorkQueue::Critical, WorkQueue::HyperCritical] {
            let (rig, _open) = whole(flags);
            let busy = Busy::queue(&rig, other, None);
            rig.middle.pin().filter().attempt_processing_later();
            rig.settle();
            assert_eq!(rig.middle.calls() == 1, queue != other, "{flags:?} while {other:?} is busy");
            busy.end.set();
            rig.settle();
            assert_eq!(rig.middle.calls(), 1);
        }
    }
}

#[test]
fn the_standard_transport_can_be_refused_and_forced() {
    let without = PinFlags::DO_NOT_USE_STANDARD_TRANSPORT;
    for (flags, has_queue) in [(without, false), (without | PinFlags::USE_STANDARD_TRANSPORT, true)] {
        let rig = with_source(flags);
        let (_filter, client) = rig.alone("source");
        bring(&client, &UP);
        match client.read_stream(frames(&client, 1)).unwrap().wait() {
            Ok(read) => assert!(has_queue && read.len() == 1),
            Err(error) => assert!(!has_queue && error.status == STATUS_INVALID_DEVICE_REQUEST),
        }
    }
}

#[test]
fn a_filter_for_drivers_is_not_opened_from_user_mode() {
    for flags in [FilterFlags::empty(), FilterFlags::DENY_USERMODE_ACCESS] {
        let rig = Rig::with(Setup { middle_filter_flags: flags, ..Setup::default() });
        let of_user = Client::new(rig.session.clone()).open_by_name("middle");
        match of_user {
            Ok(_) => assert!(flags.is_empty()),
            Err(error) => assert!(!flags.is_empty() && error.status == STATUS_INVALID_DEVICE_REQUEST),
        }
        let of_driver = Client::new(rig.io.session_as(RequestorMode::Kernel)).open_by_name("middle").unwrap();
        create(&of_driver, 0, KsPinDataFlow::IN, None);
    }
}

/// The flag is PROCESS_IN_RUN_STATE_ONLY and GENERATE_EOS_EVENTS.
#[test]
fn a_renderer_processes_in_run_and_raises_the_end_of_its_stream() {
    assert_eq!(PinFlags::RENDERER, PinFlags::PROCESS_IN_RUN_STATE_ONLY | PinFlags::GENERATE_EOS_EVENTS);
    for (sink_flags, in_pause) in [(PinFlags::empty(), 1), (PinFlags::RENDERER, 0)] {
        let rig = Rig::with(Setup { sink_flags, ..Setup::default() });
        let (_filter, client) = rig.alone("sink");
        let end = client.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM);
        bring(&client, &UP[..2]);
        let write = client.write_stream(vec![filled(&client, 3)]).unwrap();
        rig.settle();
        assert_eq!(rig.sink.seen_now().len(), in_pause, "{sink_flags:?}");
        bring(&client, &UP[2..]);
        write.wait().unwrap();
        assert_eq!(rig.sink.seen_now(), [3]);
        let mut last = filled(&client, 4);
        last.header.options_flags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        client.write_stream(vec![last]).unwrap().wait().unwrap();
        rig.settle();
        match end {
            Ok(end) => assert!(!sink_flags.is_empty() && end.event().is_set()),
            Err(error) => assert!(sink_flags.is_empty() && error.status == STATUS_NOT_FOUND),
        }
    }
}

#[test]
fn a_filter_is_given_frames_without_data_if_it_asks_for_them() {
    for (flags, calls) in [(FilterFlags::empty(), 0), (FilterFlags::RECEIVE_ZERO_LENGTH_SAMPLES, 1)] {
        let rig = Rig::with(Setup { middle_filter_flags: flags, middle_in_place: None, ..Setup::default() });
        rig.middle.script_filter(|_, _, pins| {
            assert!(pins.of(0).all(|input| input.bytes_available() == 0));
            pins.iter().for_each(|pin| pin.terminate());
            STATUS_PENDING
        });
        let filter = rig.open("middle");
        let input = create(&filter, 0, KsPinDataFlow::IN, None);
        let output = create(&filter, 1, KsPinDataFlow::OUT, None);
        bring(&output, &UP);
        bring(&input, &UP);
        let read = output.read_stream(frames(&output, 1)).unwrap();
        let mut empty = filled(&input, 1);
        empty.header.data_used = 0;
        input.write_stream(vec![empty]).unwrap().wait().unwrap();
        rig.settle();
        assert_eq!(rig.middle.calls(), calls, "{flags:?}");
        drop((read, input, output));
    }
}

#[test]
fn of_a_frame_without_data_all_is_used_also_where_the_filter_does_not_terminate_it() {
    let middle_filter_flags = FilterFlags::RECEIVE_ZERO_LENGTH_SAMPLES;
    let rig = Rig::with(Setup { middle_filter_flags, middle_in_place: None, ..Setup::default() });
    rig.middle.script_filter(|_, _, _| STATUS_PENDING);
    let filter = rig.open("middle");
    let input = create(&filter, 0, KsPinDataFlow::IN, None);
    let output = create(&filter, 1, KsPinDataFlow::OUT, None);
    bring(&output, &UP);
    bring(&input, &UP);
    let read = output.read_stream(frames(&output, 1)).unwrap();
    let mut empty = filled(&input, 1);
    empty.header.data_used = 0;
    let write = input.write_stream(vec![empty]).unwrap();
    rig.settle();
    assert_eq!(rig.middle.calls(), 1);
    assert!(write.is_done() && !read.is_done());
    write.wait().unwrap();
    drop((read, input, output));
}

/// Names of the tests below `crates/ks-stream/tests`.
fn tests_of(directory: &std::path::Path, into: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_of(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_page_of_the_flags_has_each_with_tests_that_there_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../../docs/avstream-flags.md")).unwrap();
    let (pins, filters) = page.split_once("## Filters").unwrap();
    let mut tests = String::new();
    tests_of(&root.join("tests"), &mut tests);
    // A flag that only a Windows driver can have an effect of.
    tests_of(&root.join("../ks-nt/tests"), &mut tests);
    let pin_flags = PinFlags::all().iter_names().map(|(name, _)| name).chain(["RENDERER"]);
    let filter_flags = FilterFlags::all().iter_names().map(|(name, _)| name);
    for (name, part) in pin_flags.map(|name| (name, pins)).chain(filter_flags.map(|name| (name, filters))) {
        let row = part
            .lines()
            .find(|row| row.split('|').nth(1).is_some_and(|names| names.split(',').any(|one| one.trim() == name)));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        let named: Vec<_> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{name} names no test");
        for test in named.into_iter().filter(|word| !word.starts_with("crates/")) {
            assert!(tests.contains(&format!("#[test]\nfn {test}()")), "{name}: there is no test {test}");
        }
    }
}
