//! A camera, two filters that work in place, a splitter and two sinks: one pipe, in which no byte is copied.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use ks_abi::{IoControlCode, KsState, KsStreamHeader, STATUS_INVALID_DEVICE_STATE};
use ks_filters::media::pattern::Pattern;
use ks_filters::media::video::{PixelLayout, Ratio, VideoFormat};
use ks_filters::media::y4m::Y4mReader;
use ks_io::{Handle, Transport};
use support::{Scratch, World};
use zerocopy::IntoBytes;

/// What `video-invert ! video-level brightness=10` make of a luma sample: turned over within 16 to 235, and brighter by a
/// tenth of that range. The picture has nothing that leaves it but what is cut off at 255.
fn turned_and_brighter(luma: u8) -> u8 {
    let turned = 251.0 - f64::from(luma);
    (turned + 219.0 * 0.10).round().clamp(0.0, 255.0) as u8
}

impl World {
    /// Reads one frame into memory of the client.
    fn read_frame(&self, pin: Handle, bytes: usize) -> Vec<u8> {
        let memory = self.session.allocate(bytes, 64).unwrap();
        let mut header = KsStreamHeader { size: 56, frame_extent: bytes as u32, ..KsStreamHeader::default() };
        (header.presentation_time.numerator, header.presentation_time.denominator) = (1, 1);
        header.data.0 = memory.address();
        let mut list = header.as_bytes().to_vec();
        let outcome = self.session.device_io_control(pin, IoControlCode::KS_READ_STREAM, &[], &mut list);
        assert!(outcome.status.is_success(), "{outcome:?}");
        memory.read().unwrap().to_vec()
    }
}

#[test]
fn a_camera_two_filters_in_place_a_splitter_and_two_sinks_are_one_pipe_without_a_copy() {
    const FRAMES: u64 = 60;
    let scratch = Scratch::new("one-pipe");
    let path = scratch.path("branch.y4m");
    let world = World::new(31);
    let settings = [("width", "64"), ("height", "48"), ("fps", "25"), ("format", "i420")];
    let camera = world.open("test-camera", &settings);
    let invert = world.open("video-invert", &[]);
    let level = world.open("video-level", &[("brightness", "10")]);
    let tee = world.open("tee", &[]);
    let (null, writer) = (world.open("null-renderer", &[]), world.open("y4m-writer", &[("path", &path)]));
    let mut pins: Vec<Handle> = Vec::new();
    for (from, to) in [
        ((camera, 0), (invert, 0)),
        ((invert, 1), (level, 0)),
        ((level, 1), (tee, 0)),
        ((tee, 1), (null, 0)),
        ((tee, 1), (writer, 0)),
    ] {
        let (source, sink) = world.connect(from, to).unwrap();
        pins.extend([source, sink]);
    }
    // Sinks before sources.
    pins.reverse();
    let (written, source) = (pins[0], pins[9]);
    world.limit(source, FRAMES);
    world.run(&pins);
    world.wait_until("the end of the stream", || world.statistics(written).ended == 1);
    for pin in &pins {
        let statistics = world.statistics(*pin);
        assert_eq!(statistics.copies, 0);
        assert_eq!(
            (statistics.allocator_frames, statistics.allocator_frame_bytes),
            (8, 64 * 48 * 3 / 2),
            "one allocator"
        );
        assert_eq!(world.failure(*pin), None);
    }
    world.stop(&pins);
    let mut format = VideoFormat::new(PixelLayout::I420, 64, 48).unwrap();
    format.frame_rate = Ratio::new(25, 1);
    let pattern = Pattern::new(&format).unwrap();
    let mut reader = Y4mReader::open(&path).unwrap();
    let (mut wanted, mut frame) = (vec![0; format.frame_bytes()], vec![0; format.frame_bytes()]);
    for number in 0..FRAMES {
        pattern.render_into(number, number * 400_000, &mut wanted).unwrap();
        let (luma, chroma) = wanted.split_at_mut(64 * 48);
        luma.iter_mut().for_each(|value| *value = turned_and_brighter(*value));
        chroma.iter_mut().for_each(|value| *value = (256 - u16::from(*value)).min(255) as u8);
        assert_eq!(reader.read_frame(&mut frame).unwrap(), frame.len());
        assert!(frame == wanted, "frame {number}");
    }
    assert_eq!(reader.read_frame(&mut frame).unwrap(), 0, "and no more");
}

#[test]
fn a_client_at_both_ends_of_a_filter_in_place_gets_the_picture_in_its_own_frame() {
    let world = World::new(32);
    let camera = world.open("test-camera", &[("width", "64"), ("height", "48"), ("live", "false"), ("format", "yuy2")]);
    let invert = world.open("video-invert", &[]);
    let (source, input) = world.connect((camera, 0), (invert, 0)).unwrap();
    let format = world.intersect(invert, 1, &world.ranges(invert, 1)).unwrap();
    let output = world.create_pin(invert, 1, &format, None).unwrap();
    let pins = [output, input, source];
    world.limit(source, 3);
    world.run(&pins);
    let pattern = Pattern::new(&VideoFormat::new(PixelLayout::Yuy2, 64, 48).unwrap()).unwrap();
    let mut wanted = vec![0; 64 * 48 * 2];
    for number in 0..2 {
        let picture = world.read_frame(output, 64 * 48 * 2);
        // The camera's rate is its default, 30 a second.
        pattern.render_into(number, number * 10_000_000 / 30, &mut wanted).unwrap();
        for pair in wanted.chunks_exact_mut(2) {
            pair[0] = (251 - i16::from(pair[0])).clamp(0, 255) as u8;
            pair[1] = (256 - u16::from(pair[1])).min(255) as u8;
        }
        assert!(picture == wanted, "frame {number}");
    }
    world.stop(&pins);
}

#[test]
fn an_output_that_only_sends_on_refuses_to_start_without_a_pin_to_send_to() {
    for name in ["pass-through", "tee"] {
        let world = World::new(33);
        let camera = world.open("test-camera", &[("width", "64"), ("height", "48")]);
        let filter = world.open(name, &[]);
        let (_source, _input) = world.connect((camera, 0), (filter, 0)).unwrap();
        let format = world.intersect(filter, 1, &world.ranges(filter, 1)).unwrap();
        let output = world.create_pin(filter, 1, &format, None).unwrap();
        let (status, reason) = world.set_state(output, KsState::ACQUIRE).unwrap_err();
        assert_eq!(status, STATUS_INVALID_DEVICE_STATE);
        assert!(reason.contains("must be connected"), "{reason}");
    }
}

#[test]
fn levels_out_of_range_are_refused_with_what_would_do() {
    let world = World::new(34);
    let level = world.open("video-level", &[("brightness", "-100"), ("contrast", "400")]);
    assert_eq!((world.value(level, "brightness"), world.value(level, "contrast")), ("-100".into(), "400".into()));
    for (key, value) in
        [("brightness", "101"), ("brightness", "--1"), ("brightness", ""), ("contrast", "-1"), ("contrast", "401")]
    {
        let (_, reason) = world.set(level, key, value).unwrap_err();
        assert!(reason.contains(key) && reason.contains("a whole number from"), "{reason}");
    }
    let invert = world.open("video-invert", &[]);
    assert!(world.settings(invert).is_empty());
}
