//! Streams through `ks` compared with what programs of others say.

mod support;

use std::fs;
use std::path::Path;

use support::{Scratch, ks, shell, tool};

/// Width, height and number of frames as ffprobe counts them, by decoding all.
fn probe_video(path: &str) -> (u64, u64, u64) {
    let entries = "stream=width,height,nb_read_frames";
    let ran = tool("ffprobe", &["-v", "error", "-count_frames", "-show_entries", entries, "-of", "json", path]).done();
    let stream = &ran.json()["streams"][0];
    let frames = stream["nb_read_frames"].as_str().and_then(|text| text.parse().ok());
    (stream["width"].as_u64().unwrap_or(0), stream["height"].as_u64().unwrap_or(0), frames.unwrap_or(0))
}

/// One field of the first stream as ffprobe has it.
fn probe(path: &str, field: &str) -> String {
    let entries = format!("stream={field}");
    let arguments = ["-v", "error", "-show_entries", &entries, "-of", "default=nw=1:nk=1", path];
    tool("ffprobe", &arguments).done().stdout.trim().to_owned()
}

/// The MD5 of the decoded media in this encoding, by ffmpeg.
fn md5(path: &str, encoding: &[&str]) -> String {
    let arguments = [&["-v", "error", "-i", path], encoding, &["-f", "md5", "-"]].concat();
    let ran = tool("ffmpeg", &arguments).done();
    assert!(ran.stdout.starts_with("MD5="), "{ran}");
    ran.stdout
}

/// Makes a media file with ffmpeg from one of its sources.
fn ffmpeg_makes(path: &str, source: &str, options: &[&str]) {
    let arguments = [&["-v", "error", "-y", "-f", "lavfi", "-i", source], options, &[path]].concat();
    tool("ffmpeg", &arguments).done();
}

/// The pictures of a Y4M file of 4:2:0, without the headers.
fn y4m_frames(path: &str, frame_bytes: usize) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).expect("a file");
    let header = bytes.iter().position(|b| *b == b'\n').expect("a header") + 1;
    let mut frames = Vec::new();
    let mut rest = &bytes[header..];
    while !rest.is_empty() {
        assert!(rest.starts_with(b"FRAME"), "frame {}", frames.len());
        let start = rest.iter().position(|b| *b == b'\n').expect("the end of a frame header") + 1;
        assert!(rest.len() >= start + frame_bytes, "frame {} is cut", frames.len());
        frames.push(rest[start..start + frame_bytes].to_vec());
        rest = &rest[start + frame_bytes..];
    }
    frames
}

/// The number in the blocks at the top of a test picture that is wide enough for 32 blocks of 8 pixels.
fn burnt_in_counter(frame: &[u8]) -> u32 {
    (0..32).fold(0, |number, block| (number << 1) | u32::from(frame[4 * 1280 + block * 8 + 4] > 128))
}

fn camera_run_of_150_frames(live: &str) {
    let scratch = Scratch::new();
    let path = scratch.path("camera.y4m");
    let graph = format!("test-camera width=1280 height=720 fps=30 frames=150 live={live} ! y4m-writer path={path}");
    let ran = ks(&["run", &graph, "--json"]).done();

    assert_eq!(probe_video(&path), (1280, 720, 150), "{ran}");
    let counters: Vec<u32> =
        y4m_frames(&path, 1280 * 720 * 3 / 2).iter().map(|frame| burnt_in_counter(frame)).collect();
    assert_eq!(counters, (0..150).collect::<Vec<u32>>(), "{ran}");

    let document = ran.json();
    assert_eq!(document["status"], "completed");
    let connection = &document["connections"][0];
    assert_eq!(connection["frames"], 150, "{ran}");
    assert_eq!(connection["bytes"], 150 * 1280 * 720 * 3 / 2, "{ran}");
    assert_eq!(connection["copies"], 0, "{ran}");
    assert_eq!(connection["dropped"], 0, "{ran}");
    assert_eq!(connection["from"], "test-camera.0", "{ran}");
    assert_eq!(connection["to"], "y4m-writer.0", "{ran}");
    assert!(connection["latency_ns"]["p50"].as_u64() <= connection["latency_ns"]["p99"].as_u64(), "{ran}");
    assert_eq!(ran.stderr, "", "a pipe sees no progress");
    if live == "true" {
        let elapsed_ns = document["elapsed_ns"].as_u64().expect("a time");
        assert!(elapsed_ns >= 149 * 1_000_000_000 / 30, "{elapsed_ns} ns for 150 frames at 30 fps");
    }
}

#[test]
fn a_live_camera_leaves_150_frames_whose_counter_has_no_gap() {
    camera_run_of_150_frames("true");
}

#[test]
fn a_camera_that_is_not_live_leaves_150_frames_whose_counter_has_no_gap() {
    camera_run_of_150_frames("false");
}

#[test]
fn the_frames_of_the_camera_are_those_of_an_independent_generator() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ks-filters/tests/pattern_reference.py");
    let script = script.to_str().expect("a path in UTF-8");
    for (format, width, height, fps, frames) in [
        ("i420", "320", "180", "30", "8"),
        ("nv12", "322", "182", "25", "4"),
        ("yuy2", "320", "180", "50", "4"),
        ("nv12", "1280", "720", "30", "2"),
    ] {
        let scratch = Scratch::new();
        let (ours, theirs) = (scratch.path("ours.y4m"), scratch.path("theirs.y4m"));
        let graph = format!(
            "test-camera format={format} width={width} height={height} fps={fps} frames={frames} live=false ! \
             y4m-writer path={ours}"
        );
        ks(&["run", &graph]).done();
        tool("python3", &[script, format, width, height, fps, frames, &theirs]).done();
        let encoding = ["-f", "framemd5"];
        let hashes = |path: &str| {
            let arguments = [&["-v", "error", "-i", path], &encoding[..], &["-"]].concat();
            let ran = tool("ffmpeg", &arguments).done();
            let lines = ran.stdout.lines().filter(|line| !line.starts_with('#'));
            lines.filter_map(|line| line.rsplit(' ').next().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(hashes(&ours).len().to_string(), frames, "{graph}");
        assert_eq!(hashes(&ours), hashes(&theirs), "{graph}");
    }
}

#[test]
fn wav_files_of_every_sample_type_keep_their_samples() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path("in.wav"), scratch.path("out.wav"));
    for encoding in ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"] {
        for (channels, rate) in [("1", "8000"), ("2", "44100"), ("6", "48000")] {
            let source = format!("anoisesrc=duration=0.7:sample_rate={rate}:seed=7:amplitude=0.9");
            ffmpeg_makes(&input, &source, &["-ac", channels, "-c:a", encoding]);
            wav_round_trip(&input, &output, encoding);
        }
    }
}

#[test]
fn wav_files_of_one_to_eight_channels_keep_their_samples() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path("in.wav"), scratch.path("out.wav"));
    for channels in 1..=8 {
        let sources: Vec<String> = (1..=channels).map(|channel| format!("sin({}*t)", 400 + 313 * channel)).collect();
        let source = format!("aevalsrc={}:d=0.5:s=48000", sources.join("|"));
        ffmpeg_makes(&input, &source, &["-c:a", "pcm_s24le"]);
        wav_round_trip(&input, &output, "pcm_s24le");
    }
}

#[track_caller]
fn wav_round_trip(input: &str, output: &str, encoding: &str) {
    ks(&["run", &format!("wav-reader path={input} ! wav-writer path={output}")]).done();
    let raw = ["-c:a", encoding];
    assert_eq!(md5(output, &raw), md5(input, &raw), "{encoding}");
    for field in ["codec_name", "sample_rate", "channels", "channel_layout", "duration"] {
        assert_eq!(probe(output, field), probe(input, field), "{encoding} {field}");
    }
}

#[test]
fn a_wav_file_made_by_another_program_keeps_its_samples() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path("in.wav"), scratch.path("out.wav"));
    tool("sox", &["-n", "-b", "24", "-c", "3", "-r", "96000", &input, "synth", "0.3", "pinknoise"]).done();
    wav_round_trip(&input, &output, "pcm_s24le");
}

#[test]
fn y4m_files_keep_their_pictures() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    for (format, size) in [("yuv420p", "320x240"), ("yuv420p", "321x181"), ("yuv422p", "320x240")] {
        let source = format!("testsrc2=size={size}:rate=30000/1001:duration=0.5");
        ffmpeg_makes(&input, &source, &["-pix_fmt", format, "-strict", "-1"]);
        ks(&["run", &format!("y4m-reader path={input} ! y4m-writer path={output}")]).done();
        assert_eq!(probe_video(&output), probe_video(&input), "{format} {size}");
        assert_eq!(md5(&output, &["-pix_fmt", format]), md5(&input, &["-pix_fmt", format]), "{format} {size}");
        assert_eq!(probe(&output, "r_frame_rate"), probe(&input, "r_frame_rate"), "{format} {size}");
    }
}

#[test]
fn y4m_files_keep_their_fields_and_the_aspect_of_their_pixels() {
    let scratch = Scratch::new();
    let (input, output) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    for (fields, aspect, said) in
        [("tff", "16/11", "It A16:11"), ("bff", "1/1", "Ib A1:1"), ("prog", "8/9", "Ip A8:9"), ("prog", "1", "Ip A1:1")]
    {
        let filter = format!("setsar={aspect},setfield={fields}");
        ffmpeg_makes(&input, "testsrc2=size=720x576:rate=25:duration=0.12", &["-vf", &filter, "-pix_fmt", "yuv420p"]);
        for between in ["", "pass-through ! "] {
            ks(&["run", &format!("y4m-reader path={input} ! {between}y4m-writer path={output}")]).done();
            let header = |path: &str| {
                let bytes = fs::read(path).expect("a file");
                let end = bytes.iter().position(|byte| *byte == b'\n').expect("a header");
                String::from_utf8_lossy(&bytes[..end]).into_owned()
            };
            assert!(header(&input).contains(said), "{}", header(&input));
            assert!(header(&output).contains(said), "{}", header(&output));
            for field in ["field_order", "sample_aspect_ratio", "nb_read_frames", "width"] {
                assert_eq!(probe(&output, field), probe(&input, field), "{fields} {aspect} {field}");
            }
            assert_eq!(md5(&output, &[]), md5(&input, &[]), "{fields} {aspect}");
        }
        ks(&["run", &format!("y4m-reader path={input} ! null-renderer")]).done();
        let picture = scratch.path("frame.png");
        ks(&["snapshot", &format!("y4m-reader path={input}"), "-o", &picture]).done();
        assert_eq!((probe(&picture, "width"), probe(&picture, "height")), ("720".into(), "576".into()));
    }
}

#[test]
fn the_microphone_gives_as_many_seconds_as_asked_for() {
    let scratch = Scratch::new();
    let path = scratch.path("a.wav");
    ks(&["run", &format!("test-microphone seconds=2 live=false ! wav-writer path={path}")]).done();
    assert_eq!(probe(&path, "duration"), "2.000000");
}

#[test]
fn a_limit_on_the_command_line_stops_any_graph() {
    for graph in ["test-camera live=false", "test-camera live=false ! null-renderer", "test-microphone live=false"] {
        let ran = ks(&["run", graph, "--frames", "17", "--json"]).done();
        let document = ran.json();
        assert_eq!(document["status"], "completed", "{ran}");
        assert_eq!(document["connections"][0]["frames"], 17, "{ran}");
    }
    let ran = ks(&["run", "test-camera fps=30", "--seconds", "0.5", "--json"]).done();
    assert_eq!(ran.json()["status"], "completed");
    assert_eq!(ran.json()["connections"][0]["frames"], 15, "{ran}");
}

#[test]
fn frames_as_a_key_counts_at_the_pin_of_that_element() {
    let scratch = Scratch::new();
    let path = scratch.path("a.y4m");
    let graph = format!("test-camera live=false width=64 height=48 ! y4m-writer frames=9 path={path}");
    ks(&["run", &graph]).done();
    assert_eq!(probe_video(&path), (64, 48, 9));
}

#[test]
fn a_source_alone_ends_in_the_null_renderer_and_says_so() {
    let ran = ks(&["run", "test-camera live=false frames=5"]).done();
    assert!(ran.stderr.contains("test-camera live=false frames=5 ! null-renderer"), "{ran}");
    assert!(ran.stdout.contains("test-camera.0 -> null-renderer.0"), "{ran}");
}

#[test]
fn the_table_names_all_that_a_connection_is_made_of() {
    let ran = ks(&["run", "test-camera live=false frames=5 width=320 height=180 ! null-renderer"]).done();
    let head = ran.stdout.lines().next().expect("a head");
    for column in
        ["connection", "interface", "medium", "format", "allocator", "frames", "bytes", "copies", "drops", "p50", "p99"]
    {
        assert!(head.contains(column), "{column}\n{ran}");
    }
    for word in ["standard streaming", "standard devio", "320x180", "completed in "] {
        assert!(ran.stdout.contains(word), "{word}\n{ran}");
    }
}

#[test]
fn several_chains_run_side_by_side() {
    let scratch = Scratch::new();
    let (video, audio) = (scratch.path("a.y4m"), scratch.path("a.wav"));
    let graph = format!(
        "test-camera live=false frames=6 width=64 height=48 ! y4m-writer path={video}
         test-microphone live=false seconds=1 ! wav-writer path={audio}"
    );
    let ran = ks(&["run", &graph, "--json"]).done();
    assert_eq!(ran.json()["connections"].as_array().map(Vec::len), Some(2), "{ran}");
    assert_eq!(probe_video(&video), (64, 48, 6));
    assert_eq!(probe(&audio, "duration"), "1.000000");
}

#[test]
fn labels_and_pin_numbers_link_what_they_name() {
    let ran = ks(&["run", "null-renderer name=r  test-camera name=c live=false frames=3  c.0 ! r.0", "--json"]).done();
    assert_eq!(ran.json()["connections"][0]["frames"], 3, "{ran}");
}

#[test]
fn a_graph_may_come_in_several_words_and_paths_may_have_blanks() {
    let scratch = Scratch::new();
    let path = scratch.path("my camera.y4m");
    ks(&["run", "test-camera", "live=false", "frames=3", "!", "y4m-writer", &format!("path={path}")]).done();
    assert_eq!(probe_video(&path).2, 3);
    ks(&["run", &format!("test-camera live=false frames=4 ! y4m-writer path='{path}'")]).done();
    assert_eq!(probe_video(&path).2, 4);
}

#[test]
fn the_list_has_all_built_in_filters() {
    let document = ks(&["list", "--json"]).done().json();
    let filters = document["filters"].as_array().expect("filters");
    let text = ks(&["list"]).done().stdout;
    for name in
        ["test-camera", "test-microphone", "wav-reader", "wav-writer", "y4m-reader", "y4m-writer", "null-renderer"]
    {
        let filter = filters.iter().find(|filter| filter["name"] == name).unwrap_or_else(|| panic!("{name}\n{text}"));
        assert!(filter["categories"].as_array().is_some_and(|categories| !categories.is_empty()), "{filter}");
        assert!(filter["symbolic_link"].as_str().is_some_and(|link| link.starts_with(r"\\?\")), "{filter}");
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}\n{text}");
    }
}

#[test]
fn a_filter_can_be_named_by_its_symbolic_link_or_friendly_name() {
    let document = ks(&["inspect", "test-camera", "--json"]).done().json();
    for field in ["symbolic_link", "friendly_name"] {
        let name = document[field].as_str().expect("a name");
        assert_eq!(ks(&["inspect", name, "--json"]).done().json(), document);
        ks(&["run", &format!("'{name}' live=false frames=2 ! null-renderer").replace('\\', r"\\")]).done();
    }
}

#[test]
fn inspect_shows_pins_formats_and_settings() {
    let ran = ks(&["inspect", "test-camera"]).done();
    for word in ["Pin 0", "data flows out", "NV12", "I420", "YUY2", "standard streaming", "width", "live", "Settings"] {
        assert!(ran.stdout.contains(word), "{word}\n{ran}");
    }
    let document = ks(&["inspect", "test-camera", "--json"]).done().json();
    let pin = &document["pins"][0];
    assert_eq!(pin["id"], 0);
    assert_eq!(pin["data_flow"], "out");
    assert_eq!(pin["interfaces"][0], "standard streaming");
    assert_eq!(pin["mediums"][0], "standard devio");
    assert!(document["settings"].as_array().is_some_and(|settings| settings.iter().any(|s| s["name"] == "width")));
}

#[test]
fn a_snapshot_is_a_png_picture_of_the_first_frame() {
    let scratch = Scratch::new();
    let path = scratch.path("frame.png");
    for format in ["nv12", "i420", "yuy2"] {
        let element = format!("test-camera width=322 height=182 format={format}");
        ks(&["snapshot", &element, "-o", &path]).done();
        assert_eq!(probe(&path, "width"), "322", "{format}");
        assert_eq!(probe(&path, "height"), "182", "{format}");
        let raw = scratch.path("frame.rgb");
        tool("ffmpeg", &["-v", "error", "-y", "-i", &path, "-pix_fmt", "rgb24", "-f", "rawvideo", &raw]).done();
        let rgb = fs::read(&raw).expect("a picture");
        let pixel = |x: usize, y: usize| rgb[(y * 322 + x) * 3..][..3].to_vec();
        assert_eq!(pixel(4, 100), [191, 191, 191], "{format}: the first bar is grey");
        assert_eq!(pixel(8, 4), [0, 0, 0], "{format}: the counter's first bit is 0");
        let (r, g, b) = (pixel(250, 40)[0], pixel(250, 40)[1], pixel(250, 40)[2]);
        assert!(r > 170 && g < 60 && b < 60, "{format}: the sixth bar is red, not {r} {g} {b}");
    }
    assert_eq!(fs::read_dir(scratch.directory()).expect("a directory").count(), 2, "no draft stays behind");
}

#[test]
fn progress_shows_on_a_terminal() {
    let line = "script -qec \"$KS run 'test-camera fps=100 frames=60 width=64 height=48 ! null-renderer'\" /dev/null";
    let ran = shell(line).done();
    for word in ["frames, ", " fps, 0 drops, ", "===", "completed in "] {
        assert!(ran.stdout.contains(word), "{word}\n{ran}");
    }
}
