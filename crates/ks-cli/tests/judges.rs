//! Programs of others look at every kind of file that `ks` writes, and find nothing to complain of.

mod support;

use support::{Ran, Scratch, ks, tool};

/// Fails if a program said anything on standard error.
#[track_caller]
fn silent(ran: Ran, what: &str) -> Ran {
    let ran = ran.done();
    assert_eq!(ran.stderr.trim(), "", "{what}\n{ran}");
    ran
}

/// What sox warns of when it reads a whole file.
fn sox_warns(path: &str) -> Vec<String> {
    let ran = tool("sox", &["-V2", path, "-n", "stat"]).done();
    // The statistics go to standard error, too.
    assert!(ran.stderr.contains("Samples read"), "{path}\n{ran}");
    ran.stderr.lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect()
}

#[track_caller]
fn judged(path: &str, has_sound: bool) {
    silent(tool("ffprobe", &["-v", "warning", "-show_streams", "-show_packets", path]), path);
    silent(tool("ffmpeg", &["-v", "error", "-xerror", "-i", path, "-f", "null", "-"]), path);
    let told = silent(tool("mediainfo", &["--Full", path]), path);
    let track = if has_sound { "Audio" } else { "Video" };
    assert!(told.stdout.lines().any(|line| line.trim() == track), "{path}\n{told}");
    for word in ["IsTruncated", "Conformance", "Errors"] {
        assert!(!told.stdout.contains(word), "{path}: {word}\n{told}");
    }
    if has_sound && !path.ends_with("extensible-float.wav") {
        assert_eq!(sox_warns(path), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn every_kind_of_wav_file_is_in_order() {
    let scratch = Scratch::new();
    // Sox looks for another extension behind that of WAVEFORMATEXTENSIBLE where the samples are floating point, in
    // everybody's files: of ours it must say what it says of ffmpeg's.
    let known = scratch.path("theirs.wav");
    let sound = "aevalsrc=sin(400*t)|sin(500*t)|sin(600*t):d=0.1:s=48000";
    tool("ffmpeg", &["-v", "error", "-f", "lavfi", "-i", sound, "-c:a", "pcm_f32le", &known]).done();
    for format in ["u8", "s16", "s24", "s32", "f32", "f64"] {
        for channels in [1, 2, 3, 6, 8] {
            let extensible = channels > 2 && format.starts_with('f');
            let path = scratch.path(if extensible { "extensible-float.wav" } else { "a.wav" });
            let source = format!("test-microphone live=false seconds=0.25 rate=48000 channels={channels}");
            ks(&["run", &format!("{source} ! audio-converter ! wav-writer path={path} format={format}")]).done();
            judged(&path, true);
            if extensible {
                assert_eq!(sox_warns(&path), sox_warns(&known), "{format} {channels}");
            }
            let bits = tool("mediainfo", &["--Inform=Audio;%BitDepth% %Channel(s)% %SamplingRate%", &path]).done();
            let depth: String = format.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(bits.stdout.trim(), format!("{depth} {channels} 48000"), "{format}");
        }
    }
}

#[test]
fn every_kind_of_y4m_file_is_in_order() {
    let scratch = Scratch::new();
    let path = scratch.path("a.y4m");
    for format in ["i420", "nv12", "yuy2"] {
        for size in ["width=320 height=240", "width=322 height=182"] {
            let source = format!("test-camera live=false frames=5 fps=30000/1001 {size}");
            ks(&["run", &format!("{source} ! video-converter ! y4m-writer path={path} format={format}")]).done();
            judged(&path, false);
        }
    }
}
