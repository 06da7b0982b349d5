//! Built-in filters whose format changes while they stream, and the clock that a graph goes by.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use ks_abi::{KsIdentifier, KsPinDataFlow, KsState};
use ks_abi::{STATUS_DEVICE_BUSY, STATUS_INVALID_DEVICE_REQUEST};
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options, RunStatus};
use ks_client::{Client, Connect, Filter, Format, Pin};
use ks_io::{Services, Ticks, Transport};

struct World {
    system: ks_filters::System,
    client: Client,
}

impl World {
    fn new() -> World {
        ks_stream::verifier::enable();
        let system = ks_filters::system(Services::virtual_time(5)).unwrap();
        let client = Client::new(system.session());
        World { system, client }
    }

    fn open(&self, name: &str, settings: &[(&str, &str)]) -> Filter {
        let filter = self.client.open_by_name(name).unwrap();
        settings.iter().for_each(|(name, value)| filter.set_setting(name, value).unwrap());
        filter
    }

    fn pass(&self, millis: i64) {
        let services = self.system.session().services().clone();
        let _ = services.delay_until(services.now() + Ticks::from_millis(millis));
    }
}

/// The format that a filter's output offers for this layout, by its place in the list of ranges.
fn offered(filter: &Filter, pin: u32, at: usize) -> Format {
    let ranges = filter.data_ranges(pin).unwrap();
    filter.intersect(pin, &ranges[at..=at]).unwrap()
}

fn create(filter: &Filter, id: u32, flow: KsPinDataFlow, pin_to: Option<&Pin>, format: &Format) -> Pin {
    let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
    filter.create_pin(Connect { pin_id: id, interface, medium, pin_to, format }, flow).unwrap()
}

const CAMERA: &[(&str, &str)] = &[("width", "64"), ("height", "48"), ("live", "true")];

#[test]
fn a_camera_changes_its_layout_while_it_streams_through_a_pass_through() {
    let world = World::new();
    let (camera, pass, sink) =
        (world.open("test-camera", CAMERA), world.open("pass-through", &[]), world.open("null-renderer", &[]));
    // YUY2 first: its frames are the larger ones.
    let [nv12, i420, yuy2] = [0, 1, 2].map(|at| offered(&camera, 0, at));
    let into = create(&pass, 0, KsPinDataFlow::IN, None, &yuy2);
    let source = create(&camera, 0, KsPinDataFlow::OUT, Some(&into), &yuy2);
    let end = create(&sink, 0, KsPinDataFlow::IN, None, &yuy2);
    let out = create(&pass, 1, KsPinDataFlow::OUT, Some(&end), &yuy2);
    let pins = [&end, &out, &into, &source];
    let set = |state| pins.iter().for_each(|pin| pin.set_state(state).unwrap());
    set(KsState::RUN);
    let mut frames = 0;
    for (format, bytes) in [(&nv12, 64 * 48 * 3 / 2), (&yuy2, 64 * 48 * 2), (&i420, 64 * 48 * 3 / 2)] {
        source.set_format(format).unwrap();
        world.pass(1000);
        assert!(pins.iter().all(|pin| pin.format().unwrap().bytes() == format.bytes()));
        let before = end.statistics().unwrap();
        world.pass(1000);
        let now = end.statistics().unwrap();
        assert_eq!((now.bytes - before.bytes) % bytes, 0);
        assert_eq!((now.bytes - before.bytes) / bytes, now.frames - before.frames, "pictures of the new layout");
        assert!(now.frames - before.frames >= 29, "{} pictures a second", now.frames - before.frames);
        frames = now.frames;
    }
    // Started with the small pictures, there is no room for the large ones.
    set(KsState::STOP);
    set(KsState::RUN);
    let refused = source.set_format(&yuy2).unwrap_err();
    assert_eq!(refused.status, STATUS_DEVICE_BUSY);
    assert!(refused.reason().contains("the new format needs 6144"), "{}", refused.reason());
    world.pass(1000);
    assert!(end.statistics().unwrap().frames >= 29, "the old stream runs on, after {frames} pictures of the first");
}

#[test]
fn a_writer_refuses_and_a_converter_ahead_of_it_follows() {
    let world = World::new();
    let folder = std::env::temp_dir().join(format!("userks-formats-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for converted in [false, true] {
        let path = folder.join(format!("{converted}.y4m"));
        let writer = world.open("y4m-writer", &[("path", path.to_str().unwrap())]);
        let camera = world.open("test-camera", CAMERA);
        let [i420, yuy2] = [1, 2].map(|at| offered(&camera, 0, at));
        let end = create(&writer, 0, KsPinDataFlow::IN, None, &yuy2);
        let converter = world.open("video-converter", &[]);
        let (pins, source);
        if converted {
            let into = create(&converter, 0, KsPinDataFlow::IN, None, &yuy2);
            source = create(&camera, 0, KsPinDataFlow::OUT, Some(&into), &yuy2);
            let out = create(&converter, 1, KsPinDataFlow::OUT, Some(&end), &yuy2);
            pins = vec![end, out, into];
        } else {
            source = create(&camera, 0, KsPinDataFlow::OUT, Some(&end), &yuy2);
            pins = vec![end];
        }
        let all = || pins.iter().chain([&source]);
        all().for_each(|pin| pin.set_state(KsState::RUN).unwrap());
        world.pass(500);
        let changed = source.set_format(&i420).map_err(|error| (error.status, error.reason().to_string()));
        world.pass(500);
        assert!(pins[0].failure().is_none());
        assert_eq!(pins[0].format().unwrap().bytes(), yuy2.bytes(), "what is written has one format");
        assert!(pins[0].statistics().unwrap().frames >= 29);
        if converted {
            assert_eq!(changed, Ok(()));
            assert_eq!(source.format().unwrap().bytes(), i420.bytes());
        } else {
            let (status, reason) = changed.unwrap_err();
            assert_eq!(status, STATUS_INVALID_DEVICE_REQUEST);
            assert!(reason.contains("y4m-writer: what is in its file has one format"), "{reason}");
            assert_eq!(source.format().unwrap().bytes(), yuy2.bytes());
        }
        all().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_graph_goes_by_the_clock_of_its_first_source_that_has_one() {
    let cases = [
        ("test-camera width=64 height=48 ! null-renderer", Some("test-camera.0")),
        ("test-camera width=64 height=48 ! pass-through ! null-renderer", Some("test-camera.0")),
        ("test-microphone ! null-renderer", Some("test-microphone.0")),
        // Two clocks: that of the source, in whichever chain it comes first.
        ("test-microphone ! test-speaker", Some("test-microphone.0")),
        ("test-camera width=64 height=48 ! null-renderer test-microphone ! null-renderer", Some("test-camera.0")),
        ("test-microphone ! null-renderer test-camera width=64 height=48 ! null-renderer", Some("test-microphone.0")),
    ];
    for (text, clock) in cases {
        let world = World::new();
        let graph = grammar::parse(text).unwrap();
        let runner =
            GraphRunner::build(&world.client, &graph, Options { frames: Some(10), ..Options::default() }).unwrap();
        for _ in 0..2 {
            let report = runner.run(&mut |_| ());
            assert_eq!(report.status, RunStatus::Completed, "{text}: {:?}", report.error);
            assert_eq!(report.clock.as_deref(), clock, "{text}");
        }
        drop(runner);
        world.pass(1);
        assert_eq!(world.system.session().open_handles(), 0, "no pin keeps another's clock");
    }
}

/// A file has no pace of its own: the renderer gives it, also through a converter.
#[test]
fn a_graph_without_a_live_source_goes_by_the_clock_of_its_renderer() {
    let folder = std::env::temp_dir().join(format!("userks-clocks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("sound.wav");
    let path = path.to_str().unwrap();
    let go = |world: &World, text: &str| {
        let graph = grammar::parse(text).unwrap();
        let runner = GraphRunner::build(&world.client, &graph, Options::default()).unwrap();
        let report = runner.run(&mut |_| ());
        assert_eq!(report.status, RunStatus::Completed, "{text}: {:?}", report.error);
        report.clock
    };
    let world = World::new();
    let recorded = go(&world, &format!("test-microphone frames=50 ! wav-writer path={path}"));
    assert_eq!(recorded.as_deref(), Some("test-microphone.0"));
    for text in [
        format!("wav-reader path={path} ! test-speaker"),
        format!("wav-reader path={path} ! audio-converter ! test-speaker"),
        format!("wav-reader path={path} ! null-renderer wav-reader path={path} ! test-speaker"),
    ] {
        assert_eq!(go(&world, &text).as_deref(), Some("test-speaker.0"), "{text}");
    }
    assert_eq!(go(&world, &format!("wav-reader path={path} ! null-renderer")), None, "nobody has a clock");
    drop(world);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// One of two live sources follows the other's clock: the time of its frames is that clock's.
#[test]
fn the_pins_of_a_graph_tell_the_time_of_one_clock() {
    let world = World::new();
    let (camera, sound) = (world.open("test-camera", CAMERA), world.open("test-microphone", &[]));
    let sinks = [world.open("null-renderer", &[]), world.open("null-renderer", &[])];
    let source = |filter: &Filter, sink: &Filter| {
        let format = offered(filter, 0, 0);
        let end = create(sink, 0, KsPinDataFlow::IN, None, &format);
        (create(filter, 0, KsPinDataFlow::OUT, Some(&end), &format), end)
    };
    let ((camera, first), (sound, second)) = (source(&camera, &sinks[0]), source(&sound, &sinks[1]));
    let clock = camera.create_clock().unwrap();
    for pin in [&first, &sound, &second] {
        pin.set_master_clock(Some(&clock)).unwrap();
    }
    // The clock goes with the state of its pin: the other source waits for it, whatever its own time is.
    for pin in [&second, &sound, &first] {
        pin.set_state(KsState::RUN).unwrap();
    }
    camera.set_state(KsState::PAUSE).unwrap();
    world.pass(1000);
    assert_eq!(second.statistics().unwrap().frames, 0, "the clock stands");
    camera.set_state(KsState::RUN).unwrap();
    world.pass(1000);
    let (pictures, packets) = (first.statistics().unwrap().frames, second.statistics().unwrap().frames);
    assert!((29..=31).contains(&pictures) && (98..=101).contains(&packets), "{pictures} pictures, {packets} packets");
    camera.set_state(KsState::PAUSE).unwrap();
    let stood = second.statistics().unwrap().frames;
    world.pass(1000);
    assert!(second.statistics().unwrap().frames <= stood + 1, "it stands again");
}
