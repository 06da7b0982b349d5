//! Compressed sound, compared with what ffmpeg decodes.
#![cfg(feature = "symphonia")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Command;

use ks_client::Client;
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options, Report};
use ks_filters::media::audio::{AudioFormat, SampleKind};
use ks_filters::media::compressed::CompressedReader;
use ks_filters::media::samples::decode;
use ks_filters::media::wav::WavReader;
use proptest::prelude::*;
use support::{Scratch, World, residual_db};

fn run(text: &str) -> Report {
    let world = World::new(5);
    let client = Client::new(world.system.session());
    GraphRunner::build(&client, &grammar::parse(text).unwrap(), Options::default()).unwrap().run(&mut |_| {})
}

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let made = Command::new("ffmpeg").args(["-v", "error", "-y"]).args(arguments).output();
    let made = made.expect("ffmpeg, which `cargo xtask setup` installs");
    assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// Two seconds of a sine of 997 Hz.
const SINE: &[&str] = &["-f", "lavfi", "-i", "sine=frequency=997:duration=2:sample_rate=44100"];

fn make(path: &str, options: &[&str]) {
    ffmpeg(&[SINE, options, &[path]].concat());
}

fn wav(path: &str) -> (AudioFormat, Vec<u8>) {
    let mut reader = WavReader::open(path).unwrap();
    let mut data = vec![0; usize::try_from(reader.remaining_bytes()).unwrap()];
    let mut filled = 0;
    while filled < data.len() {
        filled += reader.read(&mut data[filled..]).unwrap();
    }
    (*reader.format(), data)
}

#[test]
fn what_is_lossless_comes_bit_for_bit() {
    let scratch = Scratch::new("lossless");
    let (from, to) = (scratch.path("in.flac"), scratch.path("out.wav"));
    for (channels, format, bits, raw) in
        [("1", "s16", 16, "s16le"), ("2", "s16", 16, "s16le"), ("6", "s16", 16, "s16le"), ("2", "s32", 24, "s24le")]
    {
        make(&from, &["-af", "volume=-3dB", "-ac", channels, "-sample_fmt", format]);
        let report = run(&format!("audio-reader path={from} ! wav-writer path={to}"));
        assert_eq!(report.error, None);
        let (made, data) = wav(&to);
        assert_eq!((made.sample_kind(), made.container_bits()), (SampleKind::Int, bits));
        assert_eq!((made.sample_rate(), made.channels().to_string().as_str()), (44_100, channels));
        assert!(data == ffmpeg(&["-i", &from, "-f", raw, "-"]), "{channels} channels of {format}");
    }
}

#[test]
fn what_is_lossy_has_its_tone_and_its_length() {
    let scratch = Scratch::new("lossy");
    let to = scratch.path("out.wav");
    for (name, options, tolerance_blocks) in [
        ("a.mp3", &["-c:a", "libmp3lame", "-b:a", "192k"][..], 0),
        ("a.ogg", &["-c:a", "libvorbis", "-q:a", "6"], 0),
        ("a.m4a", &["-c:a", "aac", "-b:a", "192k"], 2112),
        ("a.aac", &["-c:a", "aac", "-b:a", "192k"], 4096),
    ] {
        let from = scratch.path(name);
        make(&from, options);
        let report = run(&format!("audio-reader path={from} ! audio-converter ! wav-writer path={to} format=f64"));
        assert_eq!(report.error, None, "{name}");
        let (format, data) = wav(&to);
        let mut samples = Vec::new();
        decode(&format, &data, &mut samples);
        let blocks = samples.len() as i64;
        assert!((blocks - 88_200).abs() <= tolerance_blocks, "{name}: {blocks} blocks");
        // The codec's own start and end are not the tone. What it leaves in between is the same for both decoders.
        let residual = |samples: &[f64]| residual_db(&samples[8192..samples.len() - 8192], 44_100);
        let raw = ffmpeg(&["-i", &from, "-f", "f64le", "-"]);
        let theirs: Vec<f64> = raw.as_chunks::<8>().0.iter().map(|sample| f64::from_le_bytes(*sample)).collect();
        let (ours, theirs) = (residual(&samples), residual(&theirs));
        assert!(ours < -40.0 && (ours - theirs).abs() < 0.5, "{name}: {ours} dB, and {theirs} dB by ffmpeg");
    }
}

#[test]
fn a_file_that_is_cut_off_gives_what_is_there_and_says_so() {
    let scratch = Scratch::new("cut");
    let (from, to) = (scratch.path("in.flac"), scratch.path("out.wav"));
    make(&from, &[]);
    let whole = std::fs::read(&from).unwrap();
    std::fs::write(&from, &whole[..whole.len() / 2]).unwrap();
    let report = run(&format!("audio-reader path={from} ! wav-writer path={to}"));
    let blocks = wav(&to).1.len() / 2;
    assert!((20_000..88_200).contains(&blocks), "{blocks}");
    let error = report.error.unwrap().to_string();
    assert!(error.contains("is cut off"), "{error}");
}

#[test]
fn what_is_no_sound_is_refused_with_its_name() {
    let scratch = Scratch::new("no-sound");
    let path = scratch.path("x.flac");
    for bytes in [&b""[..], b"fLaC", b"%PDF-1.4 and so on", &[0; 4096], b"ID3\x04\0\0\x7f\x7f\x7f\x7f"] {
        std::fs::write(&path, bytes).unwrap();
        let error = CompressedReader::open(&path).unwrap_err().to_string();
        assert!(error.contains("x.flac"), "{error}");
    }
    let error = CompressedReader::open(scratch.path("none.mp3")).unwrap_err().to_string();
    assert!(error.contains("check the path"), "{error}");
}

fn short_file(name: &str) -> Vec<u8> {
    let scratch = Scratch::new(&format!("short-{name}"));
    let path = scratch.path(name);
    make(&path, &["-t", "0.2"]);
    std::fs::read(path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn bytes_that_were_changed_never_take_the_process_along(
        kind in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        static FILES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let files = FILES.get_or_init(|| ["a.flac", "a.mp3", "a.ogg", "a.m4a"].map(short_file).to_vec());
        let mut bytes = files[kind].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let kept = bytes.len() - cut.index(bytes.len() / 4 + 1);
        bytes.truncate(kept);
        let scratch = Scratch::new("changed");
        let path = scratch.path("changed");
        std::fs::write(&path, bytes).unwrap();
        if let Ok(mut reader) = CompressedReader::open(&path) {
            let mut data = vec![0; 64 << 10];
            while matches!(reader.read(&mut data), Ok(1..)) {}
        }
    }
}
