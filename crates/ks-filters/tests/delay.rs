//! The delay.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use ks_abi::{KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsIdentifier, KsPinDataFlow, KsState};
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options, RunStatus};
use ks_client::{Client, Connect};
use ks_filters::media::audio::AudioFormat;
use ks_filters::media::wav::WavWriter;
use support::{Scratch, World};

fn run(text: &str) {
    let world = World::new(5);
    let client = Client::new(world.system.session());
    let runner = GraphRunner::build(&client, &grammar::parse(text).unwrap(), Options::default()).unwrap();
    let report = runner.run(&mut |_| {});
    assert_eq!((report.status, &report.error), (RunStatus::Completed, &None), "{text}");
}

#[test]
fn what_is_delayed_is_the_same_in_the_end() {
    let scratch = Scratch::new("delay-same");
    let (from, to) = (scratch.path("in"), scratch.path("out"));
    for (blocks, ms) in [(0, 100), (1, 100), (200_000, 0), (200_000, 1), (200_000, 250), (200_000, 60_000)] {
        let mut writer = WavWriter::create(&from, &AudioFormat::int(24, 1, 44_100).unwrap()).unwrap();
        writer.write(&(0..blocks * 3).map(|at| ((at * 7) >> 4) as u8).collect::<Vec<_>>()).unwrap();
        writer.finish().unwrap();
        run(&format!("wav-reader path={from} ! delay ms={ms} ! wav-writer path={to}"));
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap(), "{blocks} blocks by {ms} ms");
    }
    let camera = "test-camera live=false width=64 height=48 format=i420 frames=40";
    run(&format!("{camera} ! y4m-writer path={from}"));
    // Twice in one circuit of few frames: nobody runs short of them.
    run(&format!("{camera} ! delay ms=500 ! delay ms=700 ! y4m-writer path={to}"));
    assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
}

#[test]
fn every_frame_is_presented_later_by_the_delay() {
    let world = World::new(6);
    let client = Client::new(world.system.session());
    let (camera, delay) = (client.open_by_name("test-camera").unwrap(), client.open_by_name("delay").unwrap());
    for (key, value) in [("live", "false"), ("width", "64"), ("height", "48"), ("fps", "50"), ("format", "i420")] {
        camera.set_setting(key, value).unwrap();
    }
    delay.set_setting("ms", "90").unwrap();
    let format = camera.intersect(0, &delay.pin(0).unwrap().data_ranges).unwrap();
    let connect = |pin_id, pin_to| Connect {
        pin_id,
        interface: KsIdentifier::STANDARD_STREAMING,
        medium: KsIdentifier::STANDARD_DEVIO,
        pin_to,
        format: &format,
    };
    let input = delay.create_pin(connect(0, None), KsPinDataFlow::IN).unwrap();
    let source = camera.create_pin(connect(0, Some(&input)), KsPinDataFlow::OUT).unwrap();
    let output = delay.create_pin(connect(1, None), KsPinDataFlow::OUT).unwrap();
    source.set_limit(20, 0).unwrap();
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        for pin in [&output, &input, &source] {
            pin.set_state(state).unwrap();
        }
    }
    for number in 0..20 {
        let read = output.read_stream(vec![output.allocate(64 * 48 * 3 / 2).unwrap()]).unwrap().wait().unwrap();
        let header = read[0].header;
        assert_eq!(header.presentation_time.time, number * 200_000 + 900_000, "frame {number}");
        assert_eq!((header.duration, header.data_used), (200_000, 64 * 48 * 3 / 2));
        let ends = header.options_flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0;
        assert_eq!(ends, number == 19);
    }
}

#[test]
fn a_live_stream_is_held_back_for_the_delay() {
    let world = World::new(7);
    let open = |name: &str, settings: &[(&str, &str)]| world.open(name, settings);
    let camera = open("test-camera", &[("width", "64"), ("height", "48"), ("fps", "50"), ("format", "i420")]);
    let (delay, sink) = (open("delay", &[("ms", "300")]), open("null-renderer", &[]));
    let (source, input) = world.connect((camera, 0), (delay, 0)).unwrap();
    let (output, end) = world.connect((delay, 1), (sink, 0)).unwrap();
    let pins = [end, output, input, source];
    world.run(&pins);
    world.wait_until("two seconds of pictures", || world.statistics(source).frames >= 100);
    assert_eq!(world.statistics(source).frames - world.statistics(end).frames, 15, "so many come in 300 ms");
    assert_eq!(world.statistics(source).dropped, 0);
    world.stop(&pins);
    world.run(&pins);
    world.wait_until("a picture of the second stream", || world.statistics(end).frames >= 1);
    assert_eq!(world.statistics(source).frames, 16, "nothing of the first stream was left");
    world.stop(&pins);
}
