//! Bad files, bad places and bad graphs: a message that names the culprit, no panic, no hang.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use support::{KS, Ran, Scratch, ks, shell, tool};

/// A small WAV file: 16 bits, 2 channels, 8000 Hz, `blocks` blocks.
fn wav(blocks: u32) -> Vec<u8> {
    let data = blocks * 4;
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    for (value, size) in [(1_u32, 2), (2, 2), (8000, 4), (32_000, 4), (4, 2), (16, 2)] {
        bytes.extend(&value.to_le_bytes()[..size]);
    }
    bytes.extend(b"data");
    bytes.extend(data.to_le_bytes());
    bytes.extend((0..data).map(|index| index as u8));
    bytes
}

/// A small Y4M file of 8x6 pixels.
fn y4m(frames: usize) -> Vec<u8> {
    let mut bytes = b"YUV4MPEG2 W8 H6 F25:1 Ip A1:1 C420jpeg\n".to_vec();
    for number in 0..frames {
        bytes.extend(b"FRAME\n");
        bytes.extend([number as u8; 72]);
    }
    bytes
}

fn read(kind: &str, path: &str) -> Ran {
    ks(&["run", &format!("{kind}-reader path='{path}' ! null-renderer")])
}

fn write(kind: &str, path: &str) -> Ran {
    ks(&["run", &format!("{} ! {kind}-writer path='{path}'", source(kind))])
}

fn source(kind: &str) -> &'static str {
    match kind {
        "wav" => "test-microphone live=false seconds=20",
        _ => "test-camera live=false frames=20",
    }
}

#[test]
fn a_missing_file_is_named() {
    let scratch = Scratch::new();
    for kind in ["wav", "y4m"] {
        let path = scratch.path("missing");
        read(kind, &path).refused(1, &[&format!("{kind}-reader"), &path, "No such file", "check the path"]);
    }
}

#[test]
fn a_directory_is_no_file() {
    let scratch = Scratch::new();
    let path = scratch.path("");
    for kind in ["wav", "y4m"] {
        read(kind, &path).refused(1, &[&path, "directory"]);
        write(kind, &path).refused(1, &[&path, "directory"]);
    }
}

#[test]
fn an_unprivileged_user_is_told_which_file_may_not_be_read_or_written() {
    let scratch = Scratch::new();
    // The user must reach the program and the directory.
    let program = scratch.path("ks");
    fs::copy(KS, &program).expect("a copy");
    let (wav_path, y4m_path, locked) = (scratch.path("a.wav"), scratch.path("a.y4m"), scratch.path("locked"));
    fs::write(&wav_path, wav(10)).expect("written");
    fs::write(&y4m_path, y4m(2)).expect("written");
    fs::create_dir(&locked).expect("a directory");
    for (path, mode) in [(&wav_path, 0o000), (&y4m_path, 0o000), (&locked, 0o555), (&program, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    }
    fs::set_permissions(scratch.directory(), fs::Permissions::from_mode(0o755)).expect("permissions");

    let is_root = tool("id", &["-u"]).done().stdout.trim() == "0";
    let unprivileged = |graph: &str| -> Ran {
        let mut command = Command::new(if is_root { "setpriv" } else { "env" });
        if is_root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.args(["timeout", "120", &program, "run", graph]).output().expect("setpriv(1) runs").into()
    };
    let denied = |path: &str| [path.to_owned(), "Permission denied".into(), "check the permissions".into()];
    for (graph, path) in [
        (format!("wav-reader path={wav_path} ! null-renderer"), &wav_path),
        (format!("y4m-reader path={y4m_path} ! null-renderer"), &y4m_path),
        (format!("{} ! wav-writer path={locked}/a.wav", source("wav")), &locked),
        (format!("{} ! y4m-writer path={locked}/a.y4m", source("y4m")), &locked),
    ] {
        let words = denied(path);
        unprivileged(&graph).refused(1, &words.each_ref().map(String::as_str));
    }
    unprivileged("test-camera live=false frames=2 ! null-renderer").done();
}

#[test]
fn an_empty_file_is_named() {
    let scratch = Scratch::new();
    for kind in ["wav", "y4m"] {
        let path = scratch.path(kind);
        fs::write(&path, "").expect("written");
        read(kind, &path).refused(1, &[&path]);
    }
}

#[test]
fn a_file_that_is_of_another_kind_is_named() {
    let scratch = Scratch::new();
    let path = scratch.path("a");
    fs::write(&path, y4m(2)).expect("written");
    read("wav", &path).refused(1, &[&path]);
    fs::write(&path, wav(100)).expect("written");
    read("y4m", &path).refused(1, &[&path]);
}

#[test]
fn a_header_that_is_cut_anywhere_is_refused() {
    let scratch = Scratch::new();
    for (kind, whole, header_bytes) in [("wav", wav(4), 44), ("y4m", y4m(2), 39)] {
        let path = scratch.path(kind);
        for length in (1..header_bytes).step_by(3) {
            fs::write(&path, &whole[..length]).expect("written");
            read(kind, &path).refused(1, &[&path]);
        }
    }
}

#[test]
fn a_wav_file_that_is_cut_in_its_samples_gives_its_whole_blocks() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path("in.wav"), scratch.path("out.wav"));
    let whole = wav(100);
    fs::write(&input, &whole[..44 + 4 * 37 + 3]).expect("written");
    let ran = ks(&["run", &format!("wav-reader path={input} ! wav-writer path={output}")]);
    let ran = ran.refused(1, &[&input, "cut off"]);
    let copy = fs::read(&output).expect("a file");
    assert_eq!(copy[copy.len() - 4 * 37..], whole[44..44 + 4 * 37], "{ran}");
    tool("ffprobe", &["-v", "error", &output]).done();
}

#[test]
fn a_y4m_file_that_is_cut_in_a_frame_gives_the_frames_before() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    let whole = y4m(5);
    fs::write(&input, &whole[..whole.len() - 7]).expect("written");
    let ran = ks(&["run", &format!("y4m-reader path={input} ! y4m-writer path={output}")]);
    let ran = ran.refused(1, &[&input, "cut off", "frame 4"]);
    let frames = tool("ffprobe", &["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", &output]);
    assert!(frames.done().stdout.contains("nb_read_frames=4"), "{ran}");
}

#[test]
fn lying_wav_headers_are_refused_or_read_as_far_as_they_are_true() {
    let scratch = Scratch::new();
    let path = scratch.path("a.wav");
    let lie = |at: usize, value: &[u8]| {
        let mut bytes = wav(50);
        bytes[at..at + value.len()].copy_from_slice(value);
        fs::write(&path, bytes).expect("written");
        read("wav", &path)
    };
    for (what, at, value) in [
        ("format tag", 20, &[0x55, 0][..]),
        ("no channels", 22, &[0, 0]),
        ("65535 channels", 22, &[0xFF, 0xFF]),
        ("no rate", 24, &[0; 4]),
        ("block of 0", 32, &[0, 0]),
        ("7 bits", 34, &[7, 0]),
        ("65535 bits", 34, &[0xFF, 0xFF]),
        ("format chunk of 4 GB", 16, &[0xFF; 4]),
    ] {
        let ran = lie(at, value);
        assert_eq!(ran.code, Some(1), "{what}\n{ran}");
        ran.refused(1, &[&path]);
    }
    for (at, value) in [(4, [0xFF; 4]), (4, [0; 4]), (40, [0xFF; 4]), (40, [0xF0, 0xFF, 0xFF, 0x7F])] {
        let ran = lie(at, &value);
        assert!(matches!(ran.code, Some(0 | 1)), "{ran}");
        assert!(!ran.stderr.contains("panicked"), "{ran}");
    }
}

#[test]
fn absurd_y4m_headers_are_refused() {
    let scratch = Scratch::new();
    let path = scratch.path("a.y4m");
    for header in [
        "W0 H6 F25:1",
        "W8 H0 F25:1",
        "W8 F25:1",
        "W99999999 H99999999 F25:1",
        "W4294967296 H1 F25:1",
        "W-8 H6 F25:1",
        "W8 H6 F25:1 C444p16",
        "W8 H6 F25:1 Cnothing",
    ] {
        fs::write(&path, format!("YUV4MPEG2 {header}\nFRAME\n")).expect("written");
        let ran = read("y4m", &path);
        assert_eq!(ran.code, Some(1), "{header}\n{ran}");
        ran.refused(1, &[&path]);
    }
}

#[test]
fn a_y4m_file_shorter_than_the_frame_that_its_header_says_is_refused_before_anything_is_made_for_it() {
    let scratch = Scratch::new();
    let path = scratch.path("a.y4m");
    fs::write(&path, "YUV4MPEG2 W16384 H16384 F25:1\nFRAME\n").expect("written");
    read("y4m", &path).refused(1, &["y4m-reader", &path, "16384x16384", "36 bytes"]);
    // One frame of such a picture would need as much memory as the program may have here.
    let graph = format!("y4m-reader path={path} ! null-renderer");
    shell(&format!("ulimit -v 400000; \"$KS\" run '{graph}'")).refused(1, &[&path, "16384x16384"]);
}

#[test]
fn the_largest_picture_streams() {
    let ran = ks(&["run", "--json", "test-camera width=16384 height=16384 format=yuy2 live=false frames=1"]).done();
    assert_eq!(ran.json()["connections"][0]["frames"], 1, "{ran}");
}

#[test]
fn a_limit_that_is_none_is_refused_before_a_file_is_overwritten() {
    let scratch = Scratch::new();
    let path = scratch.path("precious.y4m");
    fs::write(&path, "precious").expect("written");
    // A setting that is nearly one is told what it may have been.
    ks(&["run", "test-camera frame=3"]).refused(2, &["frame=3", "did you mean `frames`?"]);
    for limit in ["frames=0", "seconds=-1", "seconds=x"] {
        let ran = ks(&["run", &format!("test-camera ! y4m-writer {limit} path={path}")]);
        ran.refused(2, &["y4m-writer", limit, "ks help run"]);
        assert_eq!(fs::read(&path).expect("a file"), b"precious");
    }
}

#[test]
fn absurd_settings_are_refused_with_what_is_allowed() {
    for setting in [
        "width=0",
        "height=0",
        "width=1000000",
        "width=4294967297",
        "width=-1",
        "width=wide",
        "width=",
        "fps=0",
        "fps=x",
        "format=rgb9",
        "live=perhaps",
        "frames=-3",
    ] {
        let (key, _) = setting.split_once('=').expect("a setting");
        let ran = ks(&["run", &format!("test-camera {setting} ! null-renderer")]);
        assert_eq!(ran.code, Some(2), "{setting}\n{ran}");
        ran.refused(2, &["test-camera", key]);
    }
}

#[test]
fn an_output_that_cannot_be_created_is_named() {
    let scratch = Scratch::new();
    let path = scratch.path("missing/a");
    for kind in ["wav", "y4m"] {
        write(kind, &path).refused(1, &[&format!("{kind}-writer"), &path, "No such file"]);
    }
    ks(&["snapshot", "test-camera", "-o", &path]).refused(1, &[&path, "No such file"]);
    let directory = scratch.path("");
    ks(&["snapshot", "test-camera", "-o", &directory]).refused(1, &[&directory, "directory"]);
    assert_eq!(fs::read_dir(scratch.directory()).expect("a directory").count(), 0);
}

#[test]
fn a_full_disk_ends_the_run_with_its_cause() {
    for kind in ["wav", "y4m"] {
        let ran = write(kind, "/dev/full").refused(1, &["/dev/full", "No space left on device"]);
        assert!(ran.stderr.contains(&format!("{kind}-writer")), "{ran}");
    }
}

#[test]
fn a_file_at_the_size_limit_stays_readable_to_its_last_whole_frame() {
    let scratch = Scratch::new();
    for (kind, limit) in [("wav", 300), ("y4m", 3000)] {
        let path = scratch.path(&format!("a.{kind}"));
        let graph = format!("{} ! {kind}-writer path={path}", source(kind));
        let ran = shell(&format!("ulimit -f {limit}; \"$KS\" run '{graph}'"));
        let ran = ran.refused(1, &[&path, "File too large"]);
        let length = fs::metadata(&path).expect("a file").len();
        assert!(length > 100_000 && length <= limit * 1024, "{length}\n{ran}");
        let checked = tool("ffmpeg", &["-v", "error", "-i", &path, "-f", "null", "-"]).done();
        assert_eq!(checked.stderr, "", "{kind}");
    }
}

#[test]
fn a_file_that_is_read_is_not_overwritten_in_the_same_graph() {
    let scratch = Scratch::new();
    let path = scratch.path("a.wav");
    fs::write(&path, wav(100)).expect("written");
    ks(&["run", &format!("wav-reader path={path} ! wav-writer path={path}")]).refused(1, &[&path]);
    assert_eq!(fs::read(&path).expect("a file"), wav(100));
}

#[test]
fn an_unknown_filter_is_named_with_the_closest_one() {
    let ran = ks(&["run", "test-camra ! null-renderer"]);
    let ran = ran.refused(2, &["`test-camra`", "did you mean `test-camera`?", "test-camra ! null-renderer\n  ^^^"]);
    assert_eq!(ran.stdout, "");
    ks(&["inspect", "wav-reeder"]).refused(2, &["`wav-reeder`", "did you mean `wav-reader`?"]);
    ks(&["inspect", "zzz"]).refused(2, &["`zzz`", "ks list"]);
    ks(&["snapshot", "test-camra", "-o", "/tmp/never.png"]).refused(2, &["`test-camra`", "`test-camera`"]);
    let document = ks(&["run", "test-camra ! null-renderer", "--json"]).json();
    assert_eq!(document["status"], "failed");
    assert_eq!(document["error"]["kind"], "usage");
}

#[test]
fn an_unknown_property_is_named_with_the_closest_one() {
    let ran = ks(&["run", "test-camera widht=640 ! null-renderer"]);
    ran.refused(2, &["test-camera", "widht=640", "did you mean `width`?"]);
}

#[test]
fn a_missing_property_is_named() {
    ks(&["run", "wav-reader ! null-renderer"]).refused(2, &["wav-reader", "path"]);
}

#[test]
fn an_unknown_pin_is_named() {
    let ran = ks(&["run", "test-camera name=c  null-renderer name=r  c.7 ! r."]);
    ran.refused(2, &["test-camera", "7"]);
    let ran = ks(&["run", "test-camera name=c  null-renderer name=r  c. ! r.9"]);
    ran.refused(2, &["null-renderer", "9"]);
}

#[test]
fn pins_that_do_not_fit_say_what_each_offers() {
    let scratch = Scratch::new();
    let path = scratch.path("a.wav");
    let graph = format!("test-camera width=1280 height=720 fps=30 live=false ! wav-writer path={path}");
    let ran = ks(&["run", &graph]);
    let words =
        ["test-camera.0 offers video NV12 1280x720 @30", "wav-writer.0 takes audio PCM", "refused: MajorFormat"];
    ran.refused(1, &words);
    assert!(!fs::exists(&path).expect("an answer"), "nothing is written for a graph that cannot be built");
}

#[test]
fn a_link_against_the_flow_of_data_is_refused() {
    ks(&["run", "null-renderer ! test-camera"]).refused(2, &["null-renderer has no free output"]);
}

#[test]
fn a_driver_file_that_is_no_driver_is_refused_by_name_and_cause() {
    let words = ["cannot load the driver `missing.sys`", "./missing.sys: No such file", "^^^^^^^^^^^^^"];
    ks(&["run", "./missing.sys ! null-renderer"]).refused(1, &words);
    let scratch = Scratch::new();
    let text = scratch.path("text.sys");
    fs::write(&text, "not an image").expect("a file");
    ks(&["inspect", &text]).refused(1, &["cannot load the driver `text.sys`", "text.sys: "]);
    ks(&["inspect", "/etc/"]).refused(1, &["cannot load the driver"]);
}

#[test]
fn a_sink_alone_is_refused() {
    ks(&["run", "null-renderer"]).refused(2, &["null-renderer is connected to nothing", "`!`"]);
}

#[test]
fn a_filter_that_gives_no_pictures_has_no_snapshot() {
    let scratch = Scratch::new();
    for filter in ["test-microphone", "null-renderer"] {
        let ran = ks(&["snapshot", filter, "-o", &scratch.path("a.png")]);
        ran.refused(1, &[&format!("cannot take a picture of `{filter}`")]);
    }
    assert_eq!(fs::read_dir(scratch.directory()).expect("a directory").count(), 0);
}
