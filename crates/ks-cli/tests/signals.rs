//! A run that is interrupted leaves files that can be read.

mod support;

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use support::{KS, Ran, Scratch, tool};

/// 64x48 in 4:2:0, with its frame header.
const FRAME_BYTES: usize = 6 + 64 * 48 * 3 / 2;

/// Runs a live camera into a pipe beside `others`, sends `signal` once some frames came, and answers how it ended, and how
/// many whole frames the pipe had.
fn interrupted(signal: &str, options: &[&str], others: &str, pipe: &str) -> (Ran, usize) {
    tool("mkfifo", &[pipe]).done();
    let graph = format!("test-camera width=64 height=48 fps=100 ! y4m-writer path={pipe}  {others}");
    let arguments = [&["--kill-after=60", "--foreground", "120", KS, "run", &graph], options].concat();
    let child = Command::new("timeout")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout(1) runs");
    let mut stream = File::open(pipe).expect("the pipe");
    let mut bytes = vec![0; 20 * FRAME_BYTES];
    stream.read_exact(&mut bytes).expect("some frames");
    // timeout(1) hands the signal on to what it runs.
    tool("kill", &[&format!("-{signal}"), &child.id().to_string()]).done();
    stream.read_to_end(&mut bytes).expect("the end");
    let ran = Ran::from(child.wait_with_output().expect("the end"));

    let header = bytes.iter().position(|b| *b == b'\n').expect("a header") + 1;
    assert_eq!((bytes.len() - header) % FRAME_BYTES, 0, "{ran}");
    for frame in bytes[header..].chunks(FRAME_BYTES) {
        assert!(frame.starts_with(b"FRAME\n"), "{ran}");
    }
    (ran, (bytes.len() - header) / FRAME_BYTES)
}

#[test]
fn ctrl_c_finishes_the_files_and_prints_the_table() {
    let scratch = Scratch::new();
    let (wav, pipe) = (scratch.path("a.wav"), scratch.path("a.y4m"));
    let (ran, frames) = interrupted("INT", &[], &format!("test-microphone ! wav-writer path={wav}"), &pipe);
    assert_eq!(ran.code, Some(130), "{ran}");
    assert!(frames >= 19, "{frames}\n{ran}");
    assert!(ran.stdout.contains("test-camera.0 -> y4m-writer.0"), "{ran}");
    assert!(ran.stdout.contains("interrupted in "), "{ran}");
    assert_eq!(ran.stderr, "", "{ran}");
    let checked = tool("ffmpeg", &["-v", "error", "-i", &wav, "-f", "null", "-"]).done();
    assert_eq!(checked.stderr, "");
}

#[test]
fn the_document_of_an_interrupted_run_counts_what_the_file_has() {
    let scratch = Scratch::new();
    let others = format!("test-microphone ! wav-writer path={}", scratch.path("a.wav"));
    let (ran, frames) = interrupted("TERM", &["--json"], &others, &scratch.path("a.y4m"));
    assert_eq!(ran.code, Some(143), "{ran}");
    let document = ran.json();
    assert_eq!(document["status"], "interrupted");
    assert!(document.get("error").is_none(), "{ran}");
    assert_eq!(document["connections"][0]["frames"].as_u64(), Some(frames as u64), "{ran}");
}

#[test]
fn ctrl_c_leaves_whole_files_of_what_looped_pins_played_and_heard() {
    let scratch = Scratch::new();
    let (played, heard) = (scratch.path("played.wav"), scratch.path("heard.wav"));
    let others = format!(
        "test-microphone live=false ! looped-speaker path={played}  looped-microphone ! wav-writer path={heard}"
    );
    let (ran, _) = interrupted("INT", &[], &others, &scratch.path("a.y4m"));
    assert_eq!(ran.code, Some(130), "{ran}");
    assert!(ran.stdout.contains("looped-microphone.0 -> wav-writer.0"), "{ran}");
    for file in [played, heard] {
        let checked = tool("ffmpeg", &["-v", "error", "-xerror", "-i", &file, "-f", "null", "-"]).done();
        assert_eq!(checked.stderr, "", "{file}");
    }
}
