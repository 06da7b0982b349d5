//! A run that is interrupted leaves files that can be read.

mod driver_rig;
mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use driver_rig::{assert_nothing_runs, copied, hosts_of, of_tests};
use support::{KS, Ran, Scratch, ks, tool};

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

/// `ks` itself, so that it gets the signals; it ends by them or fails the test by hanging, which a runner sees.
fn spawn(arguments: &[&str]) -> Child {
    let mut command = Command::new(KS);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("ks runs")
}

fn signal(child: &Child, signal: &str) {
    tool("kill", &[&format!("-{signal}"), &child.id().to_string()]).done();
}

/// Waits until the process has a host for a driver of this directory: it listens for signals then.
fn wait_for_host(scratch: &Scratch) {
    while hosts_of(scratch.directory()).is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn ctrl_c_ends_an_open_that_a_driver_holds_and_unloads_the_driver() {
    let scratch = Scratch::new();
    // Holds each create of a filter until its client cancels it.
    let driver = copied(&scratch, &of_tests("ks/life", &["-DREFUSES=2304"]));
    let graph = format!("{driver} ! null-renderer");
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let child = spawn(&["run", &graph, "--watchdog", "0", "--json"]);
        wait_for_host(&scratch);
        signal(&child, name);
        let ran = Ran::from(child.wait_with_output().expect("the end"));
        assert_eq!(ran.code, Some(code), "{ran}");
        let document = ran.json();
        assert_eq!(document["status"], "interrupted", "{ran}");
        assert!(document.get("error").is_none() && document.get("reports").is_none(), "{ran}");
        assert_nothing_runs(&scratch);
    }
}

/// Sends the signal, waits until `ks` has said that once more ends it, and sends it again.
fn signalled_twice(mut child: Child, name: &str) -> Ran {
    signal(&child, name);
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
    while !said.contains("once more ends at once") {
        assert!(lines.read_line(&mut said).expect("a line") > 0, "{said}");
    }
    assert!(child.try_wait().expect("the child").is_none(), "{said}");
    signal(&child, name);
    let ran = Ran::from(child.wait_with_output().expect("the end"));
    Ran { stderr: said, ..ran }
}

#[test]
fn a_second_signal_ends_a_run_whose_driver_never_lets_go_of_an_open() {
    let scratch = Scratch::new();
    // Holds each create of a filter until its device is removed, and has no cancel routine.
    let driver = copied(&scratch, &of_tests("ks/life", &["-DREFUSES=256"]));
    let graph = format!("{driver} ! null-renderer");
    for (name, code) in [("INT", 130), ("HUP", 129)] {
        let child = spawn(&["run", &graph, "--watchdog", "0"]);
        wait_for_host(&scratch);
        let ran = signalled_twice(child, name);
        assert_eq!(ran.code, Some(code), "{ran}");
        // The end of the connection ends the hosts.
        while !hosts_of(scratch.directory()).is_empty() {
            std::thread::yield_now();
        }
    }
    // And so does the watchdog.
    let ran = ks(&["run", &graph, "--watchdog", "1"]).refused(1, &["hang", "(the watchdog allows 1000 ms)"]);
    assert_eq!(ran.stdout, "", "{ran}");
    assert_nothing_runs(&scratch);
}

#[test]
fn a_second_signal_ends_a_run_whose_main_thread_is_stuck() {
    let scratch = Scratch::new();
    let pipe = scratch.path("nobody-reads");
    tool("mkfifo", &[&pipe]).done();
    let graph = format!("test-camera ! y4m-writer path={pipe}");
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let child = spawn(&["run", &graph]);
        // It listens before it opens anything: a descriptor of the signals' own pipe is there.
        while !listens(&child) {
            std::thread::yield_now();
        }
        let ran = signalled_twice(child, name);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran}");
    }
}

/// Does the process catch the first of the signals that stop it?
fn listens(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // SIGHUP, SIGINT and SIGTERM are the signals 1, 2 and 15.
    caught & 0x4003 == 0x4003
}

// The states, and the first turn of a circuit, are the main thread's. A picture of this size takes longer than the watchdog
// allows, and so does its memory.
#[test]
fn a_run_whose_main_thread_computes_for_too_long_is_ended_by_the_watchdog_and_says_in_which_callback() {
    let graph = "test-camera width=8192 height=8192 live=false ! null-renderer frames=1";
    let arguments = ["run", graph, "--watchdog", "0.001"];
    let words =
        ["cannot go on with the graph", "callback of test-camera has been computing", "(the watchdog allows 1 ms)"];
    let ran = ks(&arguments).refused(1, &words);
    assert_eq!(ran.stdout, "", "{ran}");
    let ran = ks(&[&arguments[..], &["--json"]].concat()).refused(1, &["cannot go on with the graph"]);
    let document = ran.json();
    assert_eq!((&document["status"], &document["error"]["kind"]), (&"failed".into(), &"job".into()), "{ran}");
}
