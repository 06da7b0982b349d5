//! The built-in filters, streaming.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use ks_abi::KsState;
use ks_filters::media::audio::AudioFormat;
use ks_filters::media::pattern::Pattern;
use ks_filters::media::video::{PixelLayout, Ratio, VideoFormat};
use ks_filters::media::wav::{WavReader, WavWriter};
use ks_filters::media::y4m::{Y4mReader, Y4mWriter};
use support::{Scratch, World};

/// The frames of a Y4M file, and their counters as `pattern` reads them.
fn counters(path: &str, pattern: &Pattern) -> Vec<u32> {
    let mut reader = Y4mReader::open(path).unwrap();
    let mut frame = vec![0; reader.format().frame_bytes()];
    let mut counters = Vec::new();
    while reader.read_frame(&mut frame).unwrap() > 0 {
        counters.push(pattern.read_counter(&frame).unwrap());
    }
    counters
}

fn camera_into_a_file(live: &str, format: &str, file_layout: PixelLayout) {
    let scratch = Scratch::new(&format!("camera-{live}-{format}"));
    let path = scratch.path("camera.y4m");
    let world = World::new(7);
    let settings = [("width", "320"), ("height", "180"), ("fps", "30000/1001"), ("live", live), ("format", format)];
    let camera = world.open("test-camera", &settings);
    let writer = world.open("y4m-writer", &[("path", &path)]);
    let before = world.session_time();
    let statistics = world.stream(camera, writer, 150);
    assert_eq!((statistics.frames, statistics.dropped, statistics.copies), (150, 0, 0));
    let pattern = Pattern::new(&VideoFormat::new(file_layout, 320, 180).unwrap()).unwrap();
    assert_eq!(counters(&path, &pattern), (0..150).collect::<Vec<_>>());
    assert_eq!(Y4mReader::open(&path).unwrap().format().frame_rate, Ratio::new(30_000, 1001));
    if live == "true" {
        let elapsed = world.session_time() - before;
        assert!(elapsed >= 149 * 1001 * 10_000 / 30, "{elapsed} for 150 frames");
    }
}

impl World {
    /// The engine's time in 100-ns units.
    fn session_time(&self) -> i64 {
        ks_io::Transport::services(&*self.session).now().0
    }
}

#[test]
fn a_live_camera_leaves_frames_whose_counter_has_no_gap() {
    camera_into_a_file("true", "any", PixelLayout::I420);
    camera_into_a_file("true", "yuy2", PixelLayout::Yuy2);
}

#[test]
fn a_camera_that_is_not_live_leaves_frames_whose_counter_has_no_gap() {
    camera_into_a_file("false", "i420", PixelLayout::I420);
    camera_into_a_file("false", "nv12", PixelLayout::I420);
}

#[test]
fn a_second_stream_of_one_connection_starts_anew() {
    let scratch = Scratch::new("second-stream");
    let path = scratch.path("camera.y4m");
    let world = World::new(8);
    let camera = world.open("test-camera", &[("width", "64"), ("height", "48"), ("live", "false")]);
    let writer = world.open("y4m-writer", &[("path", &path)]);
    let (source, sink) = world.connect((camera, 0), (writer, 0)).unwrap();
    let pattern = Pattern::new(&VideoFormat::new(PixelLayout::I420, 64, 48).unwrap()).unwrap();
    for frames in [9, 4] {
        world.limit(source, frames);
        world.run(&[sink, source]);
        world.wait_until("the end of the stream", || world.statistics(sink).ended == 1);
        world.stop(&[sink, source]);
        assert_eq!(counters(&path, &pattern), (0..frames as u32).collect::<Vec<_>>());
    }
}

#[test]
fn a_pause_makes_no_gap_and_no_jump() {
    let scratch = Scratch::new("pause");
    let path = scratch.path("camera.y4m");
    let world = World::new(9);
    let camera = world.open("test-camera", &[("width", "64"), ("height", "48"), ("fps", "100")]);
    let writer = world.open("y4m-writer", &[("path", &path)]);
    let (source, sink) = world.connect((camera, 0), (writer, 0)).unwrap();
    world.run(&[sink, source]);
    world.wait_until("ten frames", || world.statistics(sink).frames >= 10);
    world.set_state(source, KsState::PAUSE).unwrap();
    let paused = world.statistics(source).frames;
    let before = world.session_time();
    world.wait_until("a second", || world.session_time() - before >= 10_000_000);
    assert_eq!(world.statistics(source).frames, paused);
    world.set_state(source, KsState::RUN).unwrap();
    world.wait_until("ten more frames", || world.statistics(sink).frames >= paused + 10);
    world.stop(&[sink, source]);
    assert_eq!(world.statistics(source).dropped, 0);
    let pattern = Pattern::new(&VideoFormat::new(PixelLayout::I420, 64, 48).unwrap()).unwrap();
    let counters = counters(&path, &pattern);
    assert!(counters.len() as u64 >= paused + 10);
    assert_eq!(counters, (0..counters.len() as u32).collect::<Vec<_>>());
}

#[test]
fn a_live_microphone_keeps_time_and_its_signal() {
    let scratch = Scratch::new("microphone");
    let path = scratch.path("a.wav");
    for live in ["true", "false"] {
        let world = World::new(10);
        let settings = [("rate", "11025"), ("channels", "3"), ("format", "s24"), ("live", live)];
        let microphone = world.open("test-microphone", &settings);
        let writer = world.open("wav-writer", &[("path", &path)]);
        let before = world.session_time();
        let statistics = world.stream(microphone, writer, 200);
        assert_eq!((statistics.frames, statistics.bytes), (200, 2 * 11_025 * 9));
        if live == "true" {
            assert!(world.session_time() - before >= 2 * 10_000_000);
        }
        let format = AudioFormat::int(24, 3, 11_025).unwrap();
        let mut reader = WavReader::open(&path).unwrap();
        assert_eq!(*reader.format(), format);
        let mut samples = vec![0; 2 * 11_025 * 9];
        assert_eq!(reader.read(&mut samples).unwrap(), samples.len());
        let tone = ks_filters::media::tone::Tone::new(
            ks_filters::media::tone::Signal::SINE_997_HZ,
            ks_filters::media::tone::DEFAULT_LEVEL_DB,
            &format,
        );
        let mut expected = vec![0; samples.len()];
        tone.unwrap().fill(0, &mut expected);
        assert!(samples == expected);
    }
}

#[test]
fn wav_files_of_every_format_are_copied_bit_for_bit() {
    let scratch = Scratch::new("wav-copy");
    let (input, output) = (scratch.path("in.wav"), scratch.path("out.wav"));
    for channels in [1, 2, 6, 8] {
        let mut formats: Vec<_> =
            [8, 16, 24, 32].iter().map(|bits| AudioFormat::int(*bits, channels, 44_100).unwrap()).collect();
        formats.push(AudioFormat::float(32, channels, 96_000).unwrap());
        formats.push(AudioFormat::float(64, channels, 8000).unwrap().with_channel_mask(0x3F));
        for format in formats {
            let mut writer = WavWriter::create(&input, &format).unwrap();
            let samples: Vec<u8> = (0..format.block_bytes() as u32 * 20_011).map(|i| ((i * 7) >> 3) as u8).collect();
            writer.write(&samples).unwrap();
            writer.finish().unwrap();
            let world = World::new(11);
            let reader = world.open("wav-reader", &[("path", &input)]);
            let writer = world.open("wav-writer", &[("path", &output)]);
            world.stream(reader, writer, 0);
            assert!(std::fs::read(&input).unwrap() == std::fs::read(&output).unwrap(), "{format:?}");
        }
    }
}

#[test]
fn an_empty_wav_file_gives_an_empty_wav_file() {
    let scratch = Scratch::new("wav-empty");
    let (input, output) = (scratch.path("in.wav"), scratch.path("out.wav"));
    WavWriter::create(&input, &AudioFormat::int(16, 1, 8000).unwrap()).unwrap().finish().unwrap();
    let world = World::new(12);
    let reader = world.open("wav-reader", &[("path", &input)]);
    let writer = world.open("wav-writer", &[("path", &output)]);
    world.stream(reader, writer, 0);
    assert_eq!(std::fs::read(&input).unwrap(), std::fs::read(&output).unwrap());
}

/// Writes a Y4M file of test pictures.
fn picture_file(path: &str, layout: PixelLayout, width: u32, height: u32, frames: u64) {
    let mut format = VideoFormat::new(layout, width, height).unwrap();
    format.frame_rate = Ratio::new(25, 1);
    format.pixel_aspect = Ratio::new(1, 1);
    format.interlacing = ks_filters::media::video::Interlacing::Progressive;
    let pattern = Pattern::new(&format).unwrap();
    let mut frame = vec![0; format.frame_bytes()];
    let mut writer = Y4mWriter::create(path, &format).unwrap();
    for number in 0..frames {
        pattern.render_into(number, number * 400_000, &mut frame).unwrap();
        writer.write_frame(&frame).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn y4m_files_are_copied_byte_for_byte_directly_and_through_a_filter() {
    let scratch = Scratch::new("y4m-copy");
    let (input, output) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    for (layout, width, height) in [
        (PixelLayout::I420, 64, 48),
        (PixelLayout::I420, 33, 17),
        (PixelLayout::Yuy2, 64, 48),
        (PixelLayout::Yuy2, 35, 40),
    ] {
        picture_file(&input, layout, width, height, 21);
        let world = World::new(13);
        let reader = world.open("y4m-reader", &[("path", &input)]);
        let writer = world.open("y4m-writer", &[("path", &output)]);
        assert_eq!(world.stream(reader, writer, 0).frames, 21);
        assert!(std::fs::read(&input).unwrap() == std::fs::read(&output).unwrap(), "{layout:?} {width}x{height}");

        std::fs::remove_file(&output).unwrap();
        let reader = world.open("y4m-reader", &[("path", &input)]);
        let pass = world.open("pass-through", &[]);
        let writer = world.open("y4m-writer", &[("path", &output)]);
        let (source, pass_in) = world.connect((reader, 0), (pass, 0)).unwrap();
        let (pass_out, sink) = world.connect((pass, 1), (writer, 0)).unwrap();
        let pins = [sink, pass_out, pass_in, source];
        world.run(&pins);
        world.wait_until("the end of the stream", || world.statistics(sink).ended == 1);
        world.stop(&pins);
        assert_eq!(world.statistics(sink).copies, 0);
        assert!(std::fs::read(&input).unwrap() == std::fs::read(&output).unwrap(), "{layout:?} {width}x{height}");
    }
}

#[test]
fn a_y4m_file_that_is_cut_in_a_frame_gives_the_frames_before_and_says_so() {
    let scratch = Scratch::new("y4m-cut");
    let (input, output) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    picture_file(&input, PixelLayout::I420, 64, 48, 5);
    let whole = std::fs::read(&input).unwrap();
    std::fs::write(&input, &whole[..whole.len() - 7]).unwrap();
    let world = World::new(14);
    let reader = world.open("y4m-reader", &[("path", &input)]);
    let writer = world.open("y4m-writer", &[("path", &output)]);
    let (source, sink) = world.connect((reader, 0), (writer, 0)).unwrap();
    world.run(&[sink, source]);
    world.wait_until("the end of the stream", || world.statistics(sink).ended == 1);
    world.stop(&[sink, source]);
    let failure = world.failure(source).unwrap();
    assert!(failure.contains("within frame 4") && failure.contains("in.y4m"), "{failure}");
    assert_eq!(std::fs::read(&output).unwrap(), &whole[..whole.len() - 6 - 64 * 48 * 3 / 2]);
}

#[test]
fn a_wav_file_that_is_cut_gives_its_whole_blocks_and_says_so() {
    let scratch = Scratch::new("wav-cut");
    let (input, output) = (scratch.path("in.wav"), scratch.path("out.wav"));
    let mut writer = WavWriter::create(&input, &AudioFormat::int(16, 2, 8000).unwrap()).unwrap();
    writer.write(&[7; 400_000]).unwrap();
    writer.finish().unwrap();
    let whole = std::fs::read(&input).unwrap();
    std::fs::write(&input, &whole[..whole.len() - 3]).unwrap();
    let world = World::new(15);
    let reader = world.open("wav-reader", &[("path", &input)]);
    let writer = world.open("wav-writer", &[("path", &output)]);
    let (source, sink) = world.connect((reader, 0), (writer, 0)).unwrap();
    world.run(&[sink, source]);
    world.wait_until("the end of the stream", || world.statistics(sink).ended == 1);
    world.stop(&[sink, source]);
    assert!(world.failure(source).unwrap().contains("cut off"));
    assert_eq!(WavReader::open(&output).unwrap().remaining_bytes(), 399_996);
}

#[test]
fn the_null_renderer_takes_video_and_audio() {
    let world = World::new(16);
    for source in ["test-camera", "test-microphone"] {
        let from = world.open(source, &[("live", "false")]);
        let to = world.open("null-renderer", &[]);
        assert_eq!(world.stream(from, to, 1000).frames, 1000);
    }
}

#[test]
fn a_full_disk_fails_the_pin_with_its_cause() {
    let world = World::new(17);
    let camera = world.open("test-camera", &[("live", "false")]);
    let writer = world.open("y4m-writer", &[("path", "/dev/full")]);
    let (source, sink) = world.connect((camera, 0), (writer, 0)).unwrap();
    world.run(&[sink, source]);
    world.wait_until("the failure", || world.failure(sink).is_some());
    let failure = world.failure(sink).unwrap();
    for words in ["y4m-writer", "/dev/full", "No space left on device", "0 whole frames"] {
        assert!(failure.contains(words), "{failure}");
    }
    world.stop(&[sink, source]);

    let microphone = world.open("test-microphone", &[("live", "false")]);
    let writer = world.open("wav-writer", &[("path", "/dev/full")]);
    let (_, reason) = world.connect((microphone, 0), (writer, 0)).unwrap_err();
    assert!(reason.contains("wav-writer") && reason.contains("/dev/full"), "{reason}");
}

#[test]
fn a_sink_that_is_too_slow_makes_drops_that_add_up() {
    let world = World::new(18);
    let camera = world.open("test-camera", &[("width", "64"), ("height", "48"), ("fps", "100")]);
    let format = world.intersect(camera, 0, &world.ranges(camera, 0)).unwrap();
    let source = world.create_pin(camera, 0, &format, None).unwrap();
    world.run(&[source]);
    // Twenty reads of one frame each, 35 ms apart, of a camera that has one every 10 ms.
    let mut pictures = Vec::new();
    for _ in 0..20 {
        pictures.push(world.read_picture_number(source, format.len()));
        let before = world.session_time();
        world.wait_until("35 ms", || world.session_time() - before >= 350_000);
    }
    let dropped = world.statistics(source).dropped;
    assert!(dropped >= 19, "{dropped}: {pictures:?}");
    for (index, (number, drops, burnt_in)) in pictures.iter().enumerate() {
        assert_eq!(*number, index as i64 + 1 + drops, "picture numbers count the dropped ones");
        assert_eq!(i64::from(*burnt_in), number - 1);
    }
    assert_eq!(pictures.last().unwrap().1 as u64, dropped);
}

impl World {
    /// Reads one frame of a 64x48 NV12 camera: picture number, drop count and the counter in the picture.
    fn read_picture_number(&self, pin: ks_io::Handle, _format_bytes: usize) -> (i64, i64, u32) {
        use ks_abi::{IoControlCode, KsFrameInfo, KsStreamHeader};
        use zerocopy::{FromBytes, IntoBytes};
        let bytes = 64 * 48 * 3 / 2;
        let memory = ks_io::Transport::allocate(&*self.session, bytes, 64).unwrap();
        let mut header = vec![0; 56 + size_of::<KsFrameInfo>()];
        header[0..4].copy_from_slice(&(56 + size_of::<KsFrameInfo>() as u32).to_le_bytes());
        header[16..24].copy_from_slice([1u32, 1].as_bytes());
        header[32..36].copy_from_slice(&(bytes as u32).to_le_bytes());
        header[40..48].copy_from_slice(&memory.address().to_le_bytes());
        let outcome =
            ks_io::Transport::device_io_control(&*self.session, pin, IoControlCode::KS_READ_STREAM, &[], &mut header);
        assert!(outcome.status.is_success(), "{outcome:?}");
        let (head, _) = KsStreamHeader::read_from_prefix(&header).unwrap();
        assert_eq!(head.data_used as usize, bytes);
        let info = KsFrameInfo::read_from_bytes(&header[56..]).unwrap();
        let pattern = Pattern::new(&VideoFormat::new(PixelLayout::Nv12, 64, 48).unwrap()).unwrap();
        let counter = pattern.read_counter(&memory.read().unwrap()).unwrap();
        (info.picture_number, info.drop_count, counter)
    }
}

#[test]
fn no_order_of_threads_loses_or_doubles_a_frame() {
    let scratch = Scratch::new("orders");
    let path = scratch.path("camera.y4m");
    let pattern = Pattern::new(&VideoFormat::new(PixelLayout::I420, 64, 48).unwrap()).unwrap();
    for seed in 0..100 {
        let world = World::new(seed);
        let live = if seed % 2 == 0 { "true" } else { "false" };
        let camera = world.open("test-camera", &[("width", "64"), ("height", "48"), ("live", live)]);
        let pass = world.open("pass-through", &[]);
        let writer = world.open("y4m-writer", &[("path", &path)]);
        let (source, pass_in) = world.connect((camera, 0), (pass, 0)).unwrap();
        let (pass_out, sink) = world.connect((pass, 1), (writer, 0)).unwrap();
        world.limit(source, 40);
        let pins = [sink, pass_out, pass_in, source];
        world.run(&pins);
        world.wait_until("the end of the stream", || world.statistics(sink).ended == 1);
        world.stop(&pins);
        assert_eq!(counters(&path, &pattern), (0..40).collect::<Vec<_>>(), "seed {seed}");
        world.close(&[pass_out, source, pass_in, sink, camera, pass, writer]);
    }
}

/// A live source that goes by the clock of another pin.
fn follows_a_master(name: &str, settings: &[(&str, &str)], frame_100ns: i64) {
    let world = World::new(17);
    // Another camera, whose pin is the clock's; nothing takes its frames.
    let other = world.open("test-camera", &[("width", "64"), ("height", "48"), ("format", "i420")]);
    let silent = world.open("null-renderer", &[]);
    let (master, master_sink) = world.connect((other, 0), (silent, 0)).unwrap();
    let clock = world.create_clock(master);
    let source = world.open(name, settings);
    let sink = world.open("null-renderer", &[]);
    let (pin, into) = world.connect((source, 0), (sink, 0)).unwrap();
    world.set_master_clock(pin, clock);
    let frames = || world.statistics(into).frames as i64;
    let pass = |ticks: i64| {
        let services = ks_io::Transport::services(&*world.session);
        let _ = services.delay_until(services.now() + ks_io::Ticks(ticks));
    };
    let set = |pins: &[ks_io::Handle], state| pins.iter().for_each(|pin| world.set_state(*pin, state).unwrap());
    world.run(&[into, pin]);
    pass(10_000_000);
    // At zero there is a picture, and no sound yet.
    let at_start = i64::from(name == "test-camera");
    assert_eq!(frames(), at_start, "the master stands");
    world.run(&[master_sink, master]);
    // Not at the very moment at which a frame is due: whether that one still comes is the scheduler's choice.
    pass(10_000_000 + frame_100ns / 2);
    let first = frames();
    assert!((first - 10_000_000 / frame_100ns).abs() <= 1, "{first} in a second");
    set(&[master], KsState::PAUSE);
    pass(10_000_000);
    assert_eq!(frames(), first, "the master pauses");
    set(&[master], KsState::RUN);
    pass(10_000_000);
    assert!((frames() - 20_000_000 / frame_100ns).abs() <= 2, "{} in two seconds", frames());
    // A pause of the source itself loses its time, and nothing is made up for afterwards.
    set(&[pin], KsState::PAUSE);
    let paused = frames();
    pass(30_000_000);
    set(&[pin], KsState::RUN);
    pass(10_000_000);
    assert!((frames() - paused - 10_000_000 / frame_100ns).abs() <= 2, "{} after {paused}", frames());
    assert_eq!(world.statistics(pin).dropped, 0);
    world.stop(&[into, pin]);
    world.stop(&[master_sink, master]);
    assert_eq!(world.failure(pin), None);
    world.close(&[clock, pin, into, master, master_sink, source, sink, other, silent]);
}

#[test]
fn a_camera_goes_by_the_master_clock_that_its_client_set() {
    follows_a_master("test-camera", &[("width", "64"), ("height", "48"), ("format", "i420"), ("fps", "50")], 200_000);
}

#[test]
fn a_microphone_goes_by_the_master_clock_that_its_client_set() {
    follows_a_master("test-microphone", &[], 100_000);
}
