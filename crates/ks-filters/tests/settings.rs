//! The settings of the built-in filters, and what their pins accept and refuse.

mod support;

use ks_abi::{
    STATUS_DATA_ERROR, STATUS_FILE_IS_A_DIRECTORY, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
    STATUS_NO_MATCH, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SHARING_VIOLATION,
};
use ks_filters::media::audio::AudioFormat;
use ks_filters::media::wav::WavWriter;
use support::{Scratch, World};

#[test]
fn every_setting_lists_its_default_and_takes_it() {
    let world = World::new(1);
    // Topology filters have none.
    let looped = [ks_filters::looped_speaker::NAME, ks_filters::looped_microphone::NAME];
    let looped = [ks_filters::looped_speaker::descriptors(), ks_filters::looped_microphone::descriptors()]
        .into_iter()
        .flatten()
        .filter(|descriptor| looped.contains(&descriptor.reference));
    for descriptor in ks_filters::descriptors().into_iter().chain(looped) {
        let filter = world.open(descriptor.reference, &[]);
        for setting in world.settings(filter) {
            let [name, kind, default, help] = &setting[..] else { panic!("{setting:?}") };
            assert!(!kind.is_empty() && !help.is_empty(), "{setting:?}");
            assert_eq!(world.value(filter, name), *default, "{}", descriptor.reference);
            if name != "path" {
                world.set(filter, name, default).unwrap();
                assert_eq!(world.value(filter, name), *default);
            }
        }
    }
}

#[test]
fn a_value_that_is_none_is_refused_with_what_would_be() {
    let world = World::new(2);
    for (name, key, value, expected) in [
        ("test-camera", "width", "abc", "2 to 16384"),
        ("test-camera", "width", "1", "2 to 16384"),
        ("test-camera", "height", "16385", "2 to 16384"),
        ("test-camera", "fps", "0", "30000/1001"),
        ("test-camera", "format", "rgb9", "nv12, i420, yuy2"),
        ("test-camera", "live", "perhaps", "true or false"),
        ("test-microphone", "channels", "9", "1 to 8"),
        ("test-microphone", "rate", "", "1000 to 768000"),
        ("test-microphone", "signal", "saw", "sine, noise, silence"),
        ("test-microphone", "frequency", "NaN", "0 to 384000 Hz"),
        ("test-microphone", "level", "1", "-200 to 0 dB"),
        ("y4m-writer", "path", "", "the name of a file"),
        ("wav-reader", "path", "", "the name of a file"),
    ] {
        let filter = world.open(name, &[]);
        let before = world.value(filter, key);
        let (status, reason) = world.set(filter, key, value).unwrap_err();
        assert_eq!(status, STATUS_INVALID_PARAMETER);
        for words in [name, key, value, expected] {
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(world.value(filter, key), before);
    }
}

#[test]
fn settings_are_fixed_while_there_is_a_pin() {
    let world = World::new(3);
    let camera = world.open("test-camera", &[]);
    let format = world.intersect(camera, 0, &world.ranges(camera, 0)).unwrap();
    let pin = world.create_pin(camera, 0, &format, None).unwrap();
    let (status, _) = world.set(camera, "width", "320").unwrap_err();
    assert_eq!(status, STATUS_INVALID_DEVICE_STATE);
    world.close(&[pin]);
    world.set(camera, "width", "320").unwrap();
    let (status, reason) = world.create_pin(camera, 0, &format, None).unwrap_err();
    assert_eq!(status, STATUS_NO_MATCH);
    assert!(reason.contains("320x480"), "{reason}");
}

#[test]
fn a_file_that_cannot_be_read_is_refused_when_its_path_is_set() {
    let scratch = Scratch::new("unreadable");
    let world = World::new(4);
    let empty = scratch.path("empty");
    std::fs::write(&empty, "").unwrap();
    for name in ["wav-reader", "y4m-reader"] {
        let filter = world.open(name, &[]);
        for (path, status) in [
            (scratch.path("missing"), STATUS_OBJECT_NAME_NOT_FOUND),
            (scratch.path(""), STATUS_DATA_ERROR),
            (empty.clone(), STATUS_DATA_ERROR),
        ] {
            let (found, reason) = world.set(filter, "path", &path).unwrap_err();
            assert_eq!(found, status, "{reason}");
            assert!(reason.contains(name) && reason.contains(&path), "{reason}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_created_refuses_the_pin() {
    let scratch = Scratch::new("uncreatable");
    let world = World::new(5);
    for (path, status) in
        [(scratch.path("none/a"), STATUS_OBJECT_NAME_NOT_FOUND), (scratch.path(""), STATUS_FILE_IS_A_DIRECTORY)]
    {
        let camera = world.open("test-camera", &[]);
        let writer = world.open("y4m-writer", &[("path", &path)]);
        let (found, reason) = world.connect((camera, 0), (writer, 0)).unwrap_err();
        assert_eq!(found, status, "{reason}");
        assert!(reason.contains("y4m-writer") && reason.contains(&path), "{reason}");
    }
}

#[test]
fn a_path_that_is_not_set_is_asked_for() {
    let world = World::new(6);
    let camera = world.open("test-camera", &[]);
    let (_, reason) = world.connect((camera, 0), (world.open("y4m-writer", &[]), 0)).unwrap_err();
    assert!(reason.contains("y4m-writer: path is not set"), "{reason}");
    let reader = world.open("wav-reader", &[]);
    let (_, reason) = world.connect((reader, 0), (world.open("null-renderer", &[]), 0)).unwrap_err();
    assert!(reason.contains("wav-reader: path is not set"), "{reason}");
}

#[test]
fn a_file_that_is_to_be_read_is_not_overwritten() {
    let scratch = Scratch::new("same-file");
    let path = scratch.path("a.wav");
    let mut writer = WavWriter::create(&path, &AudioFormat::int(16, 2, 8000).unwrap()).unwrap();
    writer.write(&[9; 4000]).unwrap();
    writer.finish().unwrap();
    let before = std::fs::read(&path).unwrap();
    let world = World::new(7);
    let reader = world.open("wav-reader", &[("path", &path)]);
    let writer = world.open("wav-writer", &[("path", &path)]);
    let (status, reason) = world.connect((reader, 0), (writer, 0)).unwrap_err();
    assert_eq!(status, STATUS_SHARING_VIOLATION, "{reason}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_camera_and_a_wav_writer_have_no_format_in_common() {
    let scratch = Scratch::new("incompatible");
    let world = World::new(8);
    let camera = world.open("test-camera", &[("width", "1280"), ("height", "720")]);
    let writer = world.open("wav-writer", &[("path", &scratch.path("a.wav"))]);
    let (status, reason) = world.connect((camera, 0), (writer, 0)).unwrap_err();
    assert_eq!(status, STATUS_NO_MATCH);
    for words in ["test-camera.0", "NV12", "1280x720", "@30", "MajorFormat"] {
        assert!(reason.contains(words), "{reason}");
    }
    assert!(!std::path::Path::new(&scratch.path("a.wav")).exists());
}

#[test]
fn every_cut_and_bent_format_block_is_refused_or_taken_without_harm() {
    let scratch = Scratch::new("bent-format");
    let world = World::new(9);
    let camera = world.open("test-camera", &[("width", "64"), ("height", "48")]);
    let microphone = world.open("test-microphone", &[("channels", "6"), ("format", "s24")]);
    let video = world.intersect(camera, 0, &world.ranges(camera, 0)).unwrap();
    let audio = world.intersect(microphone, 0, &world.ranges(microphone, 0)).unwrap();
    let filters = [
        (camera, 0, &video),
        (microphone, 0, &audio),
        (world.open("y4m-writer", &[("path", &scratch.path("a.y4m"))]), 0, &video),
        (world.open("wav-writer", &[("path", &scratch.path("a.wav"))]), 0, &audio),
        (world.open("null-renderer", &[]), 0, &video),
        (world.open("pass-through", &[]), 0, &audio),
    ];
    for (filter, pin, format) in filters {
        let try_format = |bytes: &[u8]| {
            if let Ok(pin) = world.create_pin(filter, pin, bytes, None) {
                world.close(&[pin]);
            }
        };
        for length in 0..format.len() {
            try_format(&format[..length]);
        }
        for offset in (0..format.len() - 3).step_by(2) {
            for value in [0, 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
                let mut bent = format.to_vec();
                bent[offset..offset + 4].copy_from_slice(&u32::to_le_bytes(value));
                try_format(&bent);
            }
        }
    }
}
