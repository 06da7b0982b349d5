//! `ks play` and `ks record`.

mod support;

use std::fs;

use support::{Ran, Scratch, ks_command, tool};

/// `ks` for a user who has set no renderer.
fn ks(arguments: &[&str]) -> Ran {
    ks_in("/nowhere", arguments)
}

fn ks_in(config: &str, arguments: &[&str]) -> Ran {
    ks_command(arguments).env("XDG_CONFIG_HOME", config).output().expect("timeout(1) runs").into()
}

fn tone(path: &str) {
    ks(&["record", "test-microphone", "live=false", "-o", path, "--seconds", "1"]).done();
}

#[test]
fn what_is_recorded_is_played() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.path("my tone.wav"), scratch.path("copy.wav"));
    let ran = ks(&["record", "test-microphone live=false", "-o", &from, "--seconds", "0.5", "--json"]).done();
    let document = ran.json();
    assert_eq!(document["status"], "completed", "{ran}");
    assert_eq!(document["connections"][0]["to"], "wav-writer.0", "{ran}");
    let ran = ks(&["play", &from, "-o", &to]).done();
    assert!(ran.stdout.contains("wav-reader.0 -> wav-writer.0") && ran.stdout.contains("completed in "), "{ran}");
    assert!(fs::read(&from).expect("a file") == fs::read(&to).expect("a file"));
    ks(&["play", &from, "-o", &format!("wav-writer path='{to}' rate=22050 channels=1 format=f32")]).done();
    let probed =
        tool("ffprobe", &["-v", "error", "-show_entries", "stream=sample_rate,codec_name,duration", &to]).done();
    for word in ["sample_rate=22050", "codec_name=pcm_f32le", "duration=0.500000"] {
        assert!(probed.stdout.contains(word), "{probed}");
    }
}

#[test]
fn a_converter_goes_in_between_where_the_formats_differ() {
    let scratch = Scratch::new();
    let path = scratch.path("a.y4m");
    let ran = ks(&["record", "test-camera live=false width=64 height=48", "-o", &path, "--frames", "3"]).done();
    assert!(!ran.stdout.contains("video-converter"), "{ran}");
    let wav = scratch.path("a.wav");
    tone(&wav);
    let ran = ks(&["play", &wav, "-o", "wav-writer rate=8000 path=/dev/null"]).done();
    assert!(ran.stderr.contains("the formats differ") && ran.stdout.contains("audio-converter.1"), "{ran}");
}

#[test]
fn what_nothing_plays_goes_to_the_null_renderer_and_says_so() {
    let scratch = Scratch::new();
    let (wav, y4m) = (scratch.path("a.wav"), scratch.path("a.y4m"));
    tone(&wav);
    ks(&["record", "test-camera live=false width=64 height=48", "-o", &y4m, "--frames", "7"]).done();
    let ran = ks(&["play", &y4m, "--json"]).done();
    assert!(ran.stderr.contains("null-renderer"), "{ran}");
    assert_eq!(ran.json()["connections"][0]["frames"], 7, "{ran}");
    let ran = ks(&["play", &wav, "--seconds", "0.1"]).done();
    assert!(ran.stderr.contains("-o names another filter"), "{ran}");
}

#[test]
fn sound_goes_to_the_renderer_that_is_set() {
    let scratch = Scratch::new();
    let (wav, config) = (scratch.path("a.wav"), scratch.path("config"));
    tone(&wav);
    ks_in(&config, &["default", "set", "audio-renderer", "null-renderer"]).done();
    let ran = ks_in(&config, &["play", &wav, "--seconds", "0.1", "--json"]).done();
    assert_eq!((ran.stderr.as_str(), &ran.json()["status"]), ("", &"completed".into()), "{ran}");
    assert!(ran.json()["connections"][0]["to"].as_str().is_some_and(|to| to.contains("enderer")), "{ran}");
    fs::write(scratch.path("config/userks/defaults.toml"), "[links]\naudio-renderer = \"gone\"\n").expect("a file");
    ks_in(&config, &["play", &wav]).refused(2, &["default renderer", "gone"]);
}

#[test]
fn refusals_name_what_was_wrong_and_what_to_try() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name);
    ks(&["play", &path("none.wav")]).refused(1, &["none.wav", "No such file"]);
    ks(&["play", "/"]).refused(1, &["directory"]);
    fs::write(path("text.txt"), "hello, world").expect("a file");
    ks(&["play", &path("text.txt")]).refused(1, &["hello, world", "WAV"]);
    fs::write(path("bad.wav"), "RIFF\x04\0\0\0WAVE").expect("a file");
    ks(&["play", &path("bad.wav")]).refused(1, &["bad.wav", "fmt"]);
    ks(&["record", "test-camera", "-o", &path("a.mp4")]).refused(2, &["a.mp4", ".y4m"]);
    ks(&["record", "test-camra", "-o", &path("a.y4m")]).refused(2, &["did you mean `test-camera`?"]);
    ks(&["record", "test-microphone", "-o", &path("a.y4m"), "--seconds", "1"]).refused(1, &["test-microphone.0"]);
    assert!(!fs::exists(path("a.y4m")).expect("a directory"), "nothing was written");
    ks(&["record", "test-camera ! null-renderer", "-o", &path("a.y4m")]).refused(2, &["ks run"]);
    tone(&path("a.wav"));
    let looped = ["looped-microphone.0 and looped-speaker.0", "a buffer of its own", "audio-converter"];
    ks(&["run", "looped-microphone ! looped-speaker"]).refused(1, &looped);
    ks(&["play", &path("a.wav"), "-o", "wav-writter path=x"]).refused(2, &["did you mean `wav-writer`?"]);
    let ran = ks(&["play", &path("none.wav"), "--json"]);
    assert_eq!(ran.json()["error"]["kind"], "job", "{ran}");
}

/// A WAV file of 16 bits in stereo, byte by byte, and its samples: noise of a linear congruential generator.
fn noise(blocks: usize) -> (Vec<u8>, Vec<u8>) {
    let mut state = 0x2545_F491_u32;
    let samples: Vec<u8> = (0..4 * blocks)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + samples.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    file.extend(48_000_u32.to_le_bytes());
    file.extend(192_000_u32.to_le_bytes());
    file.extend(b"\x04\0\x10\0data");
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(&samples);
    (file, samples)
}

/// The samples of a file as ffmpeg reads them.
fn decoded(path: &str, options: &[&str]) -> Vec<u8> {
    let raw = format!("{path}.raw");
    let arguments = [&["-v", "error", "-xerror", "-y", "-i", path], options, &["-f", "s16le", &raw]].concat();
    assert_eq!(tool("ffmpeg", &arguments).done().stderr, "");
    fs::read(raw).expect("what ffmpeg wrote")
}

#[test]
fn a_file_is_played_into_a_looped_pin_to_the_sample() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.path("a.wav"), scratch.path("b.wav"));
    let (file, samples) = noise(33_333);
    fs::write(&from, file).expect("a file");
    let ran = ks(&["play", &from, "-o", &format!("looped-speaker path={to}"), "--json"]).done();
    let link = &ran.json()["connections"][0];
    assert_eq!(link["to"], "looped-speaker.0", "{ran}");
    assert_eq!((&link["interface"], &link["bytes"]), (&"standard looped streaming".into(), &samples.len().into()));
    assert_eq!(link["gaps"], serde_json::json!({"count": 0, "bytes": 0, "duration_ns": 0}), "{ran}");
    assert!(decoded(&to, &[]) == samples, "{ran}");
    let ran = ks(&["play", &from, "-o", &format!("looped-speaker path={to} cycle=0.05"), "--json"]).done();
    assert_eq!(ran.json()["connections"][0]["allocator"], "2 x 4800", "{ran}");
    let refused = ks(&["play", &from, "-o", &format!("looped-speaker path={to} cycle=50ms")]);
    refused.refused(2, &["cycle=50ms", "such as 0.02", "ks help run"]);
    let refused = ks(&["play", &from, "-o", &format!("wav-writer path={to} cycle=1")]);
    refused.refused(2, &["wav-writer", "none of its pins here is looped", "ks help run"]);
    let refused = ks(&["play", &from, "-o", &format!("looped-speaker path={to} cicle=1")]);
    refused.refused(2, &["cicle", "did you mean `cycle`?"]);
    // Without notification and packets nobody can tell the device where the sound ends: silence is behind it.
    let polled = format!("looped-speaker notifications=false registers=false sizes=strict path={to}");
    let ran = ks(&["play", &from, "-o", &polled]).done();
    assert!(ran.stdout.contains("wav-reader.0 -> looped-speaker.0") && ran.stdout.contains("completed"), "{ran}");
    let played = decoded(&to, &[]);
    assert!(played.starts_with(&samples) && played[samples.len()..].iter().all(|byte| *byte == 0), "{ran}");
    // The device takes 8000 to 192,000 samples a second: a converter goes in between by itself.
    fs::write(&from, tone_at(4000)).expect("a file");
    let ran = ks(&["play", &from, "-o", &format!("looped-speaker path={to}")]).done();
    assert!(ran.stderr.contains("the formats differ") && ran.stdout.contains("audio-converter.1"), "{ran}");
}

/// A tenth of a second of silence.
fn tone_at(rate: u32) -> Vec<u8> {
    let mut file = noise(rate as usize / 10).0;
    file[24..28].copy_from_slice(&rate.to_le_bytes());
    file[28..32].copy_from_slice(&(4 * rate).to_le_bytes());
    file[44..].fill(0);
    file
}

#[test]
fn what_a_looped_pin_hears_is_recorded_to_the_sample() {
    let scratch = Scratch::new();
    let path = scratch.path("a.wav");
    for device in ["looped-microphone", "looped-microphone notifications=false"] {
        let ran = ks(&["record", device, "-o", &path, "--seconds", "0.3"]).done();
        assert!(ran.stdout.contains("looped-microphone.0 -> wav-writer.0"), "{ran}");
        let rate = tool("ffprobe", &["-v", "error", "-show_entries", "stream=sample_rate", "-of", "csv=p=0", &path]);
        let rate: f64 = rate.done().stdout.trim().parse().expect("a rate");
        let samples = decoded(&path, &["-af", "pan=mono|c0=c0"]);
        assert_eq!(samples.len(), 2 * (0.3 * rate).round() as usize, "{ran}");
        // 997 Hz, 6 dB below full scale.
        let peak = 32_768.0 * 10_f64.powf(-6.0 / 20.0);
        for (at, sample) in samples.chunks_exact(2).enumerate() {
            let wanted = peak * (std::f64::consts::TAU * 997.0 * at as f64 / rate).sin();
            let sample = f64::from(i16::from_le_bytes([sample[0], sample[1]]));
            assert!((sample - wanted).abs() <= 2.0, "sample {at}: {sample}, not {wanted}");
        }
    }
}

#[cfg(not(feature = "symphonia"))]
#[test]
fn compressed_sound_names_the_feature_that_reads_it() {
    let scratch = Scratch::new();
    for (name, head) in [("a.flac", &b"fLaC\0\0\0\x22"[..]), ("b.mp3", b"ID3\x04"), ("c.ogg", b"OggS"), ("d.aac", b"")]
    {
        let path = scratch.path(name);
        fs::write(&path, head).expect("a file");
        ks(&["play", &path]).refused(2, &[name, "--features symphonia"]);
    }
    ks(&["run", "audio-reader path=a.flac ! null-renderer"]).refused(2, &["--features symphonia"]);
}
