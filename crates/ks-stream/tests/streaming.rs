//! Frames through connected pins, in virtual time.
#![allow(clippy::unwrap_used, reason = "what a test sets up must be there")]

mod support;

use ks_abi::KsIdentifier;
use ks_abi::{KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KsPinCommunication, KsPinDataFlow, KsState};
use ks_client::{Client, Connect, Filter, Format, Pin, PinEvent};
use ks_io::{Services, Ticks};
use support::{World, video, world, world_with};

fn open(world: &World, name: &str) -> Filter {
    Client::new(world.session.clone()).open_by_name(name).unwrap()
}

fn create(filter: &Filter, pin_id: u32, flow: KsPinDataFlow, pin_to: Option<&Pin>) -> Pin {
    let format = Format::from_bytes(video().bytes()).unwrap();
    let connect = Connect {
        pin_id,
        interface: KsIdentifier::STANDARD_STREAMING,
        medium: KsIdentifier::STANDARD_DEVIO,
        pin_to,
        format: &format,
    };
    filter.create_pin(connect, flow).unwrap()
}

fn to_run(pins: &[&Pin]) {
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        for pin in pins {
            pin.set_state(state).unwrap();
        }
    }
}

fn to_stop(pins: &[&Pin]) {
    for pin in pins {
        pin.set_state(KsState::STOP).unwrap();
    }
}

/// Asks for the end of the stream, before it can come.
fn end_of(pin: &Pin) -> PinEvent {
    pin.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap()
}

fn wait_for_end(world: &World, end: &PinEvent) {
    let services = world.io.services();
    let outcome = end.event().wait_until(services.now() + Ticks::from_secs(60));
    assert_eq!(outcome, ks_io::WaitOutcome::Signalled, "the end of the stream did not come");
}

#[test]
fn frames_flow_from_source_to_sink_in_order() {
    let world = world(Services::virtual_time(1));
    world.source.last_frame.store(100, std::sync::atomic::Ordering::SeqCst);
    let (from, to) = (open(&world, "source"), open(&world, "sink"));
    let sink = create(&to, 0, KsPinDataFlow::IN, None);
    let source = create(&from, 0, KsPinDataFlow::OUT, Some(&sink));
    let end = end_of(&sink);
    to_run(&[&sink, &source]);
    wait_for_end(&world, &end);
    assert_eq!(*world.sink.seen.lock(), (0..100).collect::<Vec<u32>>());
    let counters = sink.statistics().unwrap();
    assert_eq!((counters.frames, counters.bytes, counters.copies, counters.ended), (100, 6400, 0, 1));
    assert_eq!((counters.allocator_frames, counters.allocator_frame_bytes), (4, 64));
    to_stop(&[&source, &sink]);
}

#[test]
fn an_in_place_filter_changes_the_frames_on_their_way() {
    let world = world(Services::virtual_time(2));
    world.source.last_frame.store(50, std::sync::atomic::Ordering::SeqCst);
    let (from, through, to) = (open(&world, "source"), open(&world, "middle"), open(&world, "sink"));
    let middle_in = create(&through, 0, KsPinDataFlow::IN, None);
    let source = create(&from, 0, KsPinDataFlow::OUT, Some(&middle_in));
    let sink = create(&to, 0, KsPinDataFlow::IN, None);
    let middle_out = create(&through, 1, KsPinDataFlow::OUT, Some(&sink));
    let end = end_of(&sink);
    to_run(&[&sink, &middle_out, &middle_in, &source]);
    wait_for_end(&world, &end);
    assert_eq!(*world.sink.seen.lock(), (0..50).map(|n| n | 1 << 24).collect::<Vec<u32>>());
    to_stop(&[&source, &middle_in, &middle_out, &sink]);
}

#[test]
fn the_data_sink_can_be_the_irp_source() {
    let world = world_with(Services::virtual_time(3), KsPinCommunication::SINK, KsPinCommunication::SOURCE);
    world.source.last_frame.store(20, std::sync::atomic::Ordering::SeqCst);
    let (from, to) = (open(&world, "source"), open(&world, "sink"));
    let source = create(&from, 0, KsPinDataFlow::OUT, None);
    let sink = create(&to, 0, KsPinDataFlow::IN, Some(&source));
    let end = end_of(&sink);
    to_run(&[&sink, &source]);
    wait_for_end(&world, &end);
    assert_eq!(*world.sink.seen.lock(), (0..20).collect::<Vec<u32>>());
}

#[test]
fn a_stopped_graph_starts_again_from_the_beginning() {
    let world = world(Services::virtual_time(4));
    world.source.last_frame.store(10, std::sync::atomic::Ordering::SeqCst);
    let (from, to) = (open(&world, "source"), open(&world, "sink"));
    let sink = create(&to, 0, KsPinDataFlow::IN, None);
    let source = create(&from, 0, KsPinDataFlow::OUT, Some(&sink));
    for _ in 0..3 {
        let end = end_of(&sink);
        to_run(&[&sink, &source]);
        wait_for_end(&world, &end);
        to_stop(&[&source, &sink]);
        assert_eq!(std::mem::take(&mut *world.sink.seen.lock()), (0..10).collect::<Vec<u32>>());
    }
}
