//! Graphs with looped pins: the client carries the sound, and none of it is lost, doubled or out of its place.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::f64::consts::TAU;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ks_client::Client;
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphError, GraphRunner, Options, Progress, Report, RunStatus};
use ks_io::{Services, Ticks};

/// One wave file's worth of what no generator of ours makes.
struct Sound {
    channels: u16,
    rate: u32,
    bits: u16,
    samples: Vec<u8>,
}

impl Sound {
    /// Noise of a linear congruential generator, in any sample format.
    fn noise(channels: u16, rate: u32, bits: u16, blocks: usize) -> Sound {
        let mut state = 0x2545_F491_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let bytes = blocks * usize::from(channels) * usize::from(bits / 8);
        Sound { channels, rate, bits, samples: (0..bytes).map(|_| next()).collect() }
    }

    /// A file of the two chunks that it must have, byte by byte.
    fn file(&self) -> Vec<u8> {
        let block = self.channels * (self.bits / 8);
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((36 + self.samples.len() as u32).to_le_bytes());
        bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
        bytes.extend(self.channels.to_le_bytes());
        bytes.extend(self.rate.to_le_bytes());
        bytes.extend((self.rate * u32::from(block)).to_le_bytes());
        bytes.extend(block.to_le_bytes());
        bytes.extend(self.bits.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend((self.samples.len() as u32).to_le_bytes());
        bytes.extend(&self.samples);
        bytes
    }
}

/// Files of one test.
struct Files(PathBuf);

impl Files {
    fn new() -> Files {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("userks-looped-graphs-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The samples of a file that was written.
    fn samples(&self, name: &str) -> Vec<u8> {
        let bytes = std::fs::read(self.path(name)).unwrap();
        let at = bytes.windows(4).position(|four| four == b"data").unwrap();
        let size = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
        let size = size as usize;
        // A chunk of odd size has a byte behind it.
        assert_eq!(size + size % 2, bytes.len() - at - 8);
        bytes[at + 8..at + 8 + size].to_vec()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn cycle_of(millis: i64) -> Options {
    Options { cycle: Some(Ticks::from_millis(millis)), ..Options::default() }
}

/// Runs a graph in virtual time, and answers how it went.
fn run(seed: u64, text: &str, options: Options, progress: &mut dyn FnMut(&Services, &Progress)) -> Report {
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(seed)).unwrap();
    let client = Client::new(system.session());
    let graph = grammar::parse(text).unwrap();
    let services = system.io().services().clone();
    let runner = GraphRunner::build(&client, &graph, options).unwrap_or_else(|error| panic!("{text}: {error}"));
    let report = runner.run(&mut |now| progress(&services, now));
    drop(runner);
    let _ = services.delay_until(services.now() + Ticks::from_millis(1));
    assert_eq!(system.session().open_handles(), 0, "{text}: nothing is left open");
    report
}

#[track_caller]
fn completed(seed: u64, text: &str, options: Options) -> Report {
    let report = run(seed, text, options, &mut |_, _| ());
    assert_eq!((report.status, &report.error), (RunStatus::Completed, &None), "{text}");
    assert!(report.connections.iter().all(|one| one.looped.is_none_or(|looped| looped.gaps == 0)), "{text}");
    report
}

#[test]
fn a_file_is_played_to_the_sample_whatever_its_format_and_length() {
    // Buffers of 20 ms, which the longer ones go round many times; the shortest ends in the first packet, others at its
    // end, at that of the buffer, and within a later one.
    let lengths = [1, 441, 882, 883, 44_100 / 7, 30_000];
    let formats = [(2, 16), (1, 8), (2, 24), (6, 32)];
    for (case, (&blocks, (channels, bits))) in lengths.iter().zip(formats.into_iter().cycle()).enumerate() {
        let (files, sound) = (Files::new(), Sound::noise(channels, 44_100, bits, blocks));
        std::fs::write(files.path("from.wav"), sound.file()).unwrap();
        let text = format!("wav-reader path={} ! looped-speaker path={}", files.path("from.wav"), files.path("to.wav"));
        let report = completed(case as u64, &text, cycle_of(20));
        assert!(files.samples("to.wav") == sound.samples, "{channels} channels of {bits} bits, {blocks} blocks");
        let link = &report.connections[0];
        assert_eq!((link.bytes, link.dropped), (sound.samples.len() as u64, 0));
        assert_eq!(link.interface, "standard looped streaming");
        let packet = 441 * usize::from(channels * bits / 8);
        assert_eq!(link.allocator, format!("2 x {packet}"), "two packets of ten milliseconds");
    }
}

#[test]
fn a_device_that_does_not_notify_is_followed_by_its_position_and_plays_silence_behind_the_end() {
    for (bits, silence) in [(16, 0), (8, 0x80)] {
        for registers in [true, false] {
            let (files, sound) = (Files::new(), Sound::noise(2, 48_000, bits, 12_345));
            std::fs::write(files.path("from.wav"), sound.file()).unwrap();
            let text = format!(
                "wav-reader path={} ! looped-speaker notifications=false sizes=strict registers={registers} path={}",
                files.path("from.wav"),
                files.path("to.wav")
            );
            let report = completed(u64::from(bits), &text, cycle_of(30));
            let played = files.samples("to.wav");
            let (sounded, behind) = played.split_at(sound.samples.len());
            assert!(sounded == sound.samples, "{bits} bits");
            assert!(behind.iter().all(|byte| *byte == silence), "nothing old is heard behind the end");
            // It is stopped when it was seen to be there: a few beats of a device that goes on.
            assert!(behind.len() <= 48 * 2 * 4 * 10, "{}", behind.len());
            assert!(report.connections[0].allocator.starts_with("1 x "), "{}", report.connections[0].allocator);
        }
    }
}

/// The format in which the recordings of these tests are.
const CD: &str = "rate=48000 channels=2 format=s16";

/// Are blocks `from..` of a stream, which stand in `recorded`, the tone that the microphone hears: 997 Hz, 6 dB below full
/// scale, on every channel?
fn is_tone(recorded: &[u8], from: usize, (channels, bits): (usize, usize)) -> bool {
    let level = 10_f64.powf(-6.0 / 20.0);
    recorded.chunks_exact(channels * bits / 8).enumerate().all(|(block, bytes)| {
        let wanted = level * (TAU * 997.0 * (from + block) as f64 / 48_000.0).sin();
        bytes.chunks_exact(bits / 8).all(|sample| match bits {
            16 => (f64::from(i16::from_le_bytes([sample[0], sample[1]])) - wanted * 32_767.0).abs() <= 1.0,
            _ => (f64::from(i32::from_le_bytes(sample.try_into().unwrap())) / 2_147_483_648.0 - wanted).abs() <= 1e-6,
        })
    })
}

#[test]
fn what_a_looped_microphone_hears_is_recorded_to_the_sample() {
    for (seed, settings) in ["", "notifications=false", "notifications=false registers=false"].into_iter().enumerate() {
        let files = Files::new();
        let text = format!("looped-microphone {settings} ! wav-writer path={} {CD}", files.path("a.wav"));
        // No whole number of frames, packets or buffers.
        let options = Options { seconds: Some(0.51238), ..cycle_of(40) };
        let report = completed(seed as u64, &text, options);
        let recorded = files.samples("a.wav");
        assert_eq!(recorded.len(), 24_594 * 4, "{settings}: 0.51238 s, in whole blocks");
        assert!(is_tone(&recorded, 0, (2, 16)), "{settings}");
        assert_eq!((report.connections[0].bytes, report.connections[0].frames), (24_594 * 4, 52));
    }
}

#[test]
fn elements_limit_what_is_carried() {
    let files = Files::new();
    let sound = Sound::noise(2, 48_000, 16, 48_000);
    std::fs::write(files.path("from.wav"), sound.file()).unwrap();
    let (from, to) = (files.path("from.wav"), files.path("to.wav"));
    completed(1, &format!("wav-reader path={from} ! looped-speaker path={to} seconds=0.1"), cycle_of(20));
    assert!(files.samples("to.wav") == sound.samples[..4800 * 4]);
    completed(2, &format!("looped-microphone frames=3 ! wav-writer path={to} {CD}"), cycle_of(40));
    assert_eq!(files.samples("to.wav").len(), 3 * 480 * 4);
}

#[test]
fn sound_goes_through_a_filter_between_two_looped_pins() {
    let files = Files::new();
    let path = files.path("a.wav");
    let text = format!("looped-microphone ! audio-converter ! looped-speaker path={path} seconds=0.3");
    let report = completed(9, &text, cycle_of(40));
    let file = std::fs::read(path).unwrap();
    let number = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let format = (number(22), number(34));
    assert_eq!((number(20), number(44)), (0xFFFE, 1), "many channels of whole numbers");
    let played = files.samples("a.wav");
    assert_eq!(played.len(), 14_400 * format.0 * format.1 / 8);
    assert!(is_tone(&played, 0, format));
    assert!(report.connections.iter().all(|one| one.looped.is_some()));
}

#[test]
fn a_filter_that_sends_on_the_frames_it_gets_has_none_for_a_client() {
    let text = "test-microphone live=false frames=9 ! pass-through ! looped-speaker";
    let report = run(2, text, cycle_of(20), &mut |_, _| ());
    assert_eq!(report.status, RunStatus::Failed);
    let error = report.error.unwrap().to_string();
    assert!(error.contains("pass-through") && error.contains("must be connected to a pin"), "{error}");
}

#[test]
fn a_client_that_is_late_loses_no_sound_and_tells_what_was_heard_instead() {
    let (files, sound) = (Files::new(), Sound::noise(2, 48_000, 16, 24_000));
    std::fs::write(files.path("from.wav"), sound.file()).unwrap();
    let text = format!("wav-reader path={} ! looped-speaker path={}", files.path("from.wav"), files.path("to.wav"));
    let mut turns = 0;
    let report = run(4, &text, cycle_of(20), &mut |services, _| {
        turns += 1;
        if turns == 10 {
            // Somebody keeps the client's thread for longer than the buffer is.
            let _ = services.delay_until(services.now() + Ticks::from_millis(50));
        }
    });
    assert_eq!((report.status, &report.error), (RunStatus::Completed, &None));
    let looped = report.connections[0].looped.unwrap();
    assert_eq!((looped.gaps, report.connections[0].dropped), (1, 1));
    assert_eq!(looped.gap_ns, looped.gap_bytes * 1_000_000_000 / (48_000 * 4));
    let played = files.samples("to.wav");
    let gap = looped.gap_bytes as usize;
    assert_eq!(played.len(), sound.samples.len() + gap);
    // The device ran into what it had played before: there the two part.
    let before = played.iter().zip(&sound.samples).position(|(one, other)| one != other).unwrap();
    let before = before - before % 4;
    assert!(played[before + gap..] == sound.samples[before..], "the rest is whole, {gap} bytes later");
    // More than the buffer less, and a moment more.
    assert!((30..=60).contains(&(gap / (48 * 4))), "{gap}");
}

#[test]
fn what_a_late_client_has_not_taken_is_told_of() {
    let files = Files::new();
    let text = format!("looped-microphone ! wav-writer path={} {CD}", files.path("a.wav"));
    let options = Options { seconds: Some(0.5), ..cycle_of(40) };
    let mut turns = 0;
    let report = run(4, &text, options, &mut |services, _| {
        turns += 1;
        if turns == 5 {
            let _ = services.delay_until(services.now() + Ticks::from_millis(100));
        }
    });
    assert_eq!((report.status, &report.error), (RunStatus::Completed, &None));
    let looped = report.connections[0].looped.unwrap();
    assert_eq!((looped.gaps, report.connections[0].dropped), (1, 1));
    let (recorded, gap) = (files.samples("a.wav"), looped.gap_bytes as usize);
    assert_eq!(recorded.len(), 24_000 * 4, "half a second of what was taken");
    // Behind the gap stands the tone as it went on meanwhile.
    let before = (0..24_000).find(|block| !is_tone(&recorded[4 * block..4 * block + 4], *block, (2, 16))).unwrap();
    assert!(is_tone(&recorded[4 * before..], before + gap / 4, (2, 16)), "the tone goes on {gap} bytes later");
    assert!((50..=130).contains(&(gap / (48 * 4))), "{gap}");
}

#[test]
fn a_run_that_is_stopped_leaves_a_whole_file_of_what_was_played_until_then() {
    let (files, sound) = (Files::new(), Sound::noise(2, 48_000, 16, 48_000));
    std::fs::write(files.path("from.wav"), sound.file()).unwrap();
    let text = format!("wav-reader path={} ! looped-speaker path={}", files.path("from.wav"), files.path("to.wav"));
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(3)).unwrap();
    let client = Client::new(system.session());
    let runner = GraphRunner::build(&client, &grammar::parse(&text).unwrap(), cycle_of(20)).unwrap();
    let stop = runner.stop_handle();
    let mut frames = Vec::new();
    let report = runner.run(&mut |now| {
        frames.push(now.frames);
        if now.elapsed > Ticks::from_millis(333) {
            stop.stop();
        }
    });
    assert_eq!((report.status, &report.error), (RunStatus::Stopped, &None));
    assert!(frames.is_sorted() && frames.last().is_some_and(|last| *last > 0), "progress is told: {frames:?}");
    let played = files.samples("to.wav");
    assert!((300 * 48 * 4..48_000 * 4).contains(&played.len()), "{}", played.len());
    assert!(played == sound.samples[..played.len()]);
}

#[test]
fn an_element_says_how_much_sound_the_buffer_of_its_looped_pin_holds() {
    let (files, sound) = (Files::new(), Sound::noise(2, 44_100, 16, 10_000));
    std::fs::write(files.path("from.wav"), sound.file()).unwrap();
    let (from, to) = (files.path("from.wav"), files.path("to.wav"));
    let report =
        completed(1, &format!("wav-reader path={from} ! looped-speaker path={to} cycle=0.02"), Options::default());
    assert!(files.samples("to.wav") == sound.samples);
    assert_eq!(report.connections[0].allocator, "2 x 1764", "twice ten milliseconds");
    let heard = format!("looped-microphone cycle=0.04 seconds=0.1 ! wav-writer path={to} {CD}");
    // What the element says goes before what the run says.
    assert_eq!(completed(2, &heard, cycle_of(500)).connections[0].allocator, "2 x 3840");
    let plain = "test-microphone live=false frames=9 ! looped-speaker";
    assert_eq!(completed(3, plain, Options::default()).connections[0].allocator, "2 x 192000", "two seconds");

    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(3)).unwrap();
    let client = Client::new(system.session());
    for (text, words) in [
        ("test-microphone ! looped-speaker cycle=0", "looped-speaker: cycle=0 is refused"),
        ("test-microphone ! looped-speaker cycle=20ms", "seconds of sound"),
        ("test-microphone cycle=1 ! null-renderer", "test-microphone: none of its pins here is looped"),
    ] {
        let graph = grammar::parse(text).unwrap();
        let error = GraphRunner::build(&client, &graph, Options::default()).unwrap_err();
        assert!(matches!(&error, GraphError::Setting { key, .. } if key == "cycle"), "{text}: {error:?}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
}

#[test]
fn a_source_that_gives_its_sound_as_it_comes_is_played_a_tenth_of_a_second_later() {
    let files = Files::new();
    let text = format!("test-microphone seconds=0.5 ! looped-speaker path={}", files.path("a.wav"));
    // The buffer holds two seconds, which it would take as long to fill.
    let report = completed(5, &text, Options::default());
    // The device had begun with its first packet when the end was known: it is stopped a beat behind it.
    let (played, bytes) = (files.samples("a.wav"), report.connections[0].bytes as usize);
    assert!((bytes..bytes + 4 * 192).contains(&played.len()), "{bytes} given, {} played", played.len());
    assert!(played[bytes..].iter().all(|byte| *byte == 0));
    let elapsed = Ticks((report.elapsed_ns / 100).cast_signed());
    let wanted = Ticks::from_millis(500);
    assert!((wanted..=wanted + Ticks::from_millis(150)).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn what_a_microphone_hears_is_written_two_frames_later_at_most_whatever_its_buffer_holds() {
    let files = Files::new();
    for settings in ["", "notifications=false", "notifications=false registers=false"] {
        let text = format!("looped-microphone {settings} ! wav-writer path={} {CD}", files.path("a.wav"));
        let options = Options { seconds: Some(0.5), ..Options::default() };
        let mut turns = Vec::new();
        let report = run(6, &text, options, &mut |_, now| turns.push((now.elapsed, now.frames)));
        assert_eq!((report.status, report.connections[0].dropped), (RunStatus::Completed, 0));
        assert!(turns.len() > 50, "{settings}: {}", turns.len());
        for (elapsed, frames) in turns {
            let written = Ticks::from_millis(10 * frames.cast_signed());
            assert!(elapsed <= written + Ticks::from_millis(20), "{settings}: {elapsed:?}, {frames} frames");
        }
    }
}

#[test]
fn two_looped_pins_and_formats_without_blocks_are_refused_by_name() {
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(3)).unwrap();
    let client = Client::new(system.session());
    let refused = |text: &str| {
        let error = GraphRunner::build(&client, &grammar::parse(text).unwrap(), Options::default()).unwrap_err();
        assert!(matches!(error, GraphError::Connect { .. }), "{error:?}");
        error.to_string()
    };
    let both = refused("looped-microphone ! looped-speaker");
    assert!(both.contains("looped-microphone.0 and looped-speaker.0") && both.contains("Interface"), "{both}");
    let video = refused("test-camera ! looped-speaker");
    assert!(video.contains("test-camera.0 offers"), "{video}");
}
