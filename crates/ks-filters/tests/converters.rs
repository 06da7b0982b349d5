//! The converters and the tee, in graphs.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use ks_client::Client;
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphError, GraphRunner, Options, Report, RunStatus};
use ks_filters::media::audio::{AudioFormat, SampleKind};
use ks_filters::media::samples::{decode, encode};
use ks_filters::media::video::{PixelLayout, Ratio, RowOrder, VideoFormat};
use ks_filters::media::video_conversion::{Matrix, VideoConversion};
use ks_filters::media::wav::{WavReader, WavWriter};
use ks_filters::media::y4m::{Y4mReader, Y4mWriter};
use std::f64::consts::TAU;
use support::{Scratch, World, residual_db};

/// Runs a graph to the end of its stream.
fn run(text: &str) -> Result<Report, GraphError> {
    let world = World::new(3);
    let client = Client::new(world.system.session());
    let runner = GraphRunner::build(&client, &grammar::parse(text).unwrap(), Options::default())?;
    let report = runner.run(&mut |_| {});
    assert_eq!((report.status, &report.error), (RunStatus::Completed, &None), "{text}");
    Ok(report)
}

fn write_wav(path: &str, format: &AudioFormat, samples: &[f64]) {
    let mut data = Vec::new();
    encode(format, samples, &mut data);
    let mut writer = WavWriter::create(path, format).unwrap();
    writer.write(&data).unwrap();
    writer.finish().unwrap();
}

fn read_wav(path: &str) -> (AudioFormat, Vec<f64>) {
    let mut reader = WavReader::open(path).unwrap();
    let mut data = vec![0; usize::try_from(reader.remaining_bytes()).unwrap()];
    let mut filled = 0;
    while filled < data.len() {
        filled += reader.read(&mut data[filled..]).unwrap();
    }
    let mut samples = Vec::new();
    decode(reader.format(), &data, &mut samples);
    (*reader.format(), samples)
}

fn tone(rate: u32, blocks: usize) -> Vec<f64> {
    let amplitude = 10_f64.powf(-1.0 / 20.0);
    (0..blocks).map(|n| amplitude * (TAU * 997.0 * n as f64 / f64::from(rate)).sin()).collect()
}

#[test]
fn a_tone_is_brought_to_another_rate_at_exact_length_with_a_residual_below_90_db() {
    let scratch = Scratch::new("resample");
    let (from, to) = (scratch.path("in.wav"), scratch.path("out.wav"));
    write_wav(&from, &AudioFormat::int(24, 1, 44_100).unwrap(), &tone(44_100, 2 * 44_100 + 77));
    run(&format!("wav-reader path={from} ! audio-converter ! wav-writer path={to} rate=48000")).unwrap();
    let (format, samples) = read_wav(&to);
    assert_eq!(format, AudioFormat::int(24, 1, 48_000).unwrap());
    assert_eq!(samples.len(), 2 * 48_000 + 84, "77 blocks become 83.8");
    let residual = residual_db(&samples, 48_000);
    assert!(residual < -90.0, "{residual} dB");
}

#[test]
fn a_writer_gets_the_format_that_it_is_told_to_take() {
    let scratch = Scratch::new("audio-formats");
    let (from, to) = (scratch.path("in.wav"), scratch.path("out.wav"));
    write_wav(&from, &AudioFormat::int(16, 1, 44_100).unwrap(), &tone(44_100, 4410));
    for (settings, expected) in [
        ("", AudioFormat::int(16, 1, 44_100)),
        ("channels=2", AudioFormat::int(16, 2, 44_100)),
        ("bits=24", AudioFormat::int(24, 1, 44_100)),
        ("format=f32", AudioFormat::float(32, 1, 44_100)),
        ("format=float bits=64 rate=22050", AudioFormat::float(64, 1, 22_050)),
        ("bits=8 rate=8000 channels=2", AudioFormat::int(8, 2, 8000)),
    ] {
        let expected = expected.unwrap();
        run(&format!("wav-reader path={from} ! audio-converter ! wav-writer path={to} {settings}")).unwrap();
        let (format, samples) = read_wav(&to);
        assert_eq!(format, expected, "{settings}");
        let blocks = 4410 * expected.sample_rate() as usize / 44_100;
        assert_eq!(samples.len(), blocks * usize::from(expected.channels()), "{settings}");
        assert!(samples.iter().any(|sample| *sample > 0.8), "{settings}");
    }
}

#[test]
fn a_conversion_to_the_same_format_changes_no_bit() {
    let scratch = Scratch::new("same-format");
    let (from, to) = (scratch.path("in.wav"), scratch.path("out.wav"));
    let format = AudioFormat::int(24, 2, 48_000).unwrap();
    write_wav(&from, &format, &tone(48_000, 100_000));
    run(&format!("wav-reader path={from} ! audio-converter ! audio-converter ! wav-writer path={to}")).unwrap();
    assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
}

#[test]
fn an_empty_file_gives_an_empty_file_of_the_other_format() {
    let scratch = Scratch::new("empty");
    let (from, to) = (scratch.path("in.wav"), scratch.path("out.wav"));
    write_wav(&from, &AudioFormat::int(16, 2, 44_100).unwrap(), &[]);
    run(&format!("wav-reader path={from} ! audio-converter ! wav-writer path={to} rate=48000")).unwrap();
    let (format, samples) = read_wav(&to);
    assert_eq!((format.sample_rate(), samples.len()), (48_000, 0));
}

#[test]
fn a_live_microphone_is_converted_as_it_comes() {
    let scratch = Scratch::new("live-convert");
    let to = scratch.path("out.wav");
    let report = run(&format!(
        "test-microphone rate=44100 channels=1 format=f32 live=true level=-1 frames=100 ! audio-converter ! wav-writer \
         path={to} rate=48000 format=s16"
    ))
    .unwrap();
    assert!(report.connections[1].frames >= 99, "each frame goes on as it comes: {report:?}");
    let (format, samples) = read_wav(&to);
    assert_eq!((format.sample_kind(), samples.len()), (SampleKind::Int, 48_000));
    let residual = residual_db(&samples, 48_000);
    assert!(residual < -90.0, "{residual} dB");
}

#[test]
fn a_writer_that_does_not_get_what_it_was_told_to_take_says_so() {
    let scratch = Scratch::new("no-converter");
    let (from, to) = (scratch.path("in.wav"), scratch.path("out.wav"));
    write_wav(&from, &AudioFormat::int(16, 1, 44_100).unwrap(), &tone(44_100, 100));
    for settings in ["rate=48000", "channels=2", "bits=24", "format=f32"] {
        let error = run(&format!("wav-reader path={from} ! wav-writer path={to} {settings}")).unwrap_err();
        assert!(matches!(error, GraphError::Connect { .. }), "{settings}: {error}");
    }
    assert!(!std::fs::exists(&to).unwrap(), "nothing was written");
}

/// The peak signal-to-noise ratio of two files' bytes, in dB.
fn psnr(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let squares: f64 = one.iter().zip(other).map(|(one, other)| f64::from(one.abs_diff(*other)).powi(2)).sum();
    10.0 * (255.0 * 255.0 / (squares / one.len() as f64).max(1e-9)).log10()
}

/// Three smooth pictures in a file, as I420 or YUY2.
fn picture_file(path: &str, layout: PixelLayout, width: u32, height: u32) {
    let mut format = VideoFormat::new(layout, width, height).unwrap();
    format.frame_rate = Ratio::new(25, 1);
    let mut whole = VideoFormat::new(PixelLayout::Bgra, width, height).unwrap();
    whole.row_order = RowOrder::TopDown;
    let mut conversion = VideoConversion::new(&whole, &format, Matrix::ByHeight).unwrap();
    let mut writer = Y4mWriter::create(path, &format).unwrap();
    for number in 0..3 {
        let part = |x: u32, y: u32, phase: f64| {
            let (x, y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
            (127.0 + 90.0 * (3.0 * x + phase + f64::from(number)).sin() * (2.0 * y + phase).cos()) as u8
        };
        let points = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels: Vec<u8> =
            points.flat_map(|(x, y)| [part(x, y, 0.3), part(x, y, 1.4), part(x, y, 2.9), 255]).collect();
        let mut frame = vec![0; format.frame_bytes()];
        conversion.convert(&pixels, &mut frame).unwrap();
        writer.write_frame(&frame).unwrap();
    }
    writer.finish().unwrap();
}

/// The frames of a Y4M file, one after the other.
fn pictures(path: &str) -> (VideoFormat, Vec<u8>) {
    let mut reader = Y4mReader::open(path).unwrap();
    let mut frame = vec![0; reader.format().frame_bytes()];
    let mut all = Vec::new();
    while reader.read_frame(&mut frame).unwrap() > 0 {
        all.extend_from_slice(&frame);
    }
    (*reader.format(), all)
}

#[test]
fn pictures_come_in_the_size_and_layout_that_a_writer_is_told_to_take() {
    let scratch = Scratch::new("video-formats");
    let (from, to) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    picture_file(&from, PixelLayout::Yuy2, 320, 240);
    for (settings, layout, width, height) in [
        ("", PixelLayout::Yuy2, 320, 240),
        ("format=yuy2", PixelLayout::Yuy2, 320, 240),
        ("format=nv12", PixelLayout::I420, 320, 240),
        ("format=i420 width=160", PixelLayout::I420, 160, 120),
        ("width=322 height=181", PixelLayout::Yuy2, 322, 181),
    ] {
        run(&format!("y4m-reader path={from} ! video-converter ! y4m-writer path={to} {settings}")).unwrap();
        let (format, data) = pictures(&to);
        assert_eq!((format.layout(), format.width(), format.height()), (layout, width, height), "{settings}");
        assert_eq!((data.len(), format.frame_rate), (3 * format.frame_bytes(), Ratio::new(25, 1)), "{settings}");
        // The same pictures, made in that format at once.
        let expected = scratch.path("expected.y4m");
        picture_file(&expected, layout, width, height);
        let psnr = psnr(&data, &pictures(&expected).1);
        assert!(psnr > 45.0, "{settings}: {psnr} dB");
    }
    for settings in ["format=i420", "format=yuy2 width=100"] {
        let error = run(&format!("y4m-reader path={from} ! y4m-writer path={to} {settings}")).unwrap_err();
        assert!(matches!(error, GraphError::Connect { .. }), "{settings}: {error}");
    }
}

#[test]
fn what_goes_through_the_converter_as_it_is_loses_no_bit() {
    let scratch = Scratch::new("video-same");
    let (from, to) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    picture_file(&from, PixelLayout::I420, 101, 75);
    run(&format!("y4m-reader path={from} ! video-converter ! y4m-writer path={to}")).unwrap();
    assert_eq!(pictures(&from).1, pictures(&to).1);
}

#[test]
fn ffmpeg_converts_to_the_same_pictures() {
    let scratch = Scratch::new("video-ffmpeg");
    let (from, to) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    picture_file(&from, PixelLayout::Yuy2, 320, 240);
    for (settings, filter) in [
        ("format=i420", "scale=320:240"),
        ("format=i420 width=480 height=360", "scale=480:360"),
        ("format=i420 width=160 height=96", "scale=160:96"),
    ] {
        run(&format!("y4m-reader path={from} ! video-converter ! y4m-writer path={to} {settings}")).unwrap();
        let judged = std::process::Command::new("ffmpeg")
            .args(["-v", "error", "-i", &from, "-vf", &format!("{filter}:flags=bicubic+accurate_rnd")])
            .args(["-pix_fmt", "yuv420p", "-f", "rawvideo", "-"])
            .output()
            .expect("ffmpeg, which `cargo xtask setup` installs");
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
        let psnr = psnr(&pictures(&to).1, &judged.stdout);
        assert!(psnr > 45.0, "{settings}: {psnr} dB");
    }
}

#[test]
fn samples_keep_their_kind_where_the_writer_does_not_mind() {
    let scratch = Scratch::new("audio-kind");
    let formats = [
        AudioFormat::float(32, 2, 44_100).unwrap(),
        AudioFormat::float(64, 1, 44_100).unwrap(),
        AudioFormat::int(24, 2, 44_100).unwrap(),
        AudioFormat::int(8, 1, 44_100).unwrap(),
    ];
    for (index, format) in formats.into_iter().enumerate() {
        // Files of their own: a process that another test starts has those of this one open, and so locked, until it
        // runs its program.
        let [from, to, faster] = ["in", "out", "faster"].map(|name| scratch.path(&format!("{name}{index}.wav")));
        write_wav(&from, &format, &vec![0.25; 1000 * usize::from(format.channels())]);
        run(&format!("wav-reader path={from} ! audio-converter ! wav-writer path={to}")).unwrap();
        assert_eq!(read_wav(&to).0, format);
        run(&format!("wav-reader path={from} ! audio-converter ! wav-writer path={faster} rate=48000")).unwrap();
        let (made, _) = read_wav(&faster);
        assert_eq!((made.sample_kind(), made.container_bits()), (format.sample_kind(), format.container_bits()));
    }
}

#[test]
fn a_converter_gives_the_size_and_layout_that_it_is_told() {
    let scratch = Scratch::new("video-told");
    let (from, to) = (scratch.path("in.y4m"), scratch.path("out.y4m"));
    picture_file(&from, PixelLayout::I420, 320, 240);
    for (settings, layout, width, height) in [
        ("width=160", PixelLayout::I420, 160, 120),
        ("height=480", PixelLayout::I420, 640, 480),
        ("width=100 height=90 format=yuy2", PixelLayout::Yuy2, 100, 90),
        ("width=any format=yuy2", PixelLayout::Yuy2, 320, 240),
    ] {
        run(&format!("y4m-reader path={from} ! video-converter {settings} ! y4m-writer path={to}")).unwrap();
        let (format, data) = pictures(&to);
        assert_eq!((format.layout(), format.width(), format.height()), (layout, width, height), "{settings}");
        let expected = scratch.path("expected.y4m");
        picture_file(&expected, layout, width, height);
        let psnr = psnr(&data, &pictures(&expected).1);
        assert!(psnr > 45.0, "{settings}: {psnr} dB");
    }
    let report =
        run(&format!("y4m-reader path={from} ! video-converter width=64 format=bgra ! null-renderer")).unwrap();
    assert!(report.connections[1].format.contains("64x48"), "{}", report.connections[1].format);
    let graph = format!("y4m-reader path={from} ! video-converter width=64 ! y4m-writer path={to} width=128");
    assert!(matches!(run(&graph).unwrap_err(), GraphError::Connect { .. }));
    for wrong in ["width=0", "height=-1", "format=rgb", "width=99999999"] {
        let graph = format!("y4m-reader path={from} ! video-converter {wrong} ! null-renderer");
        assert!(matches!(run(&graph).unwrap_err(), GraphError::Setting { .. }), "{wrong}");
    }
}

#[test]
fn a_tee_gives_each_branch_the_same_pictures() {
    let scratch = Scratch::new("tee");
    let path = |name: &str| scratch.path(name);
    picture_file(&path("in.y4m"), PixelLayout::I420, 320, 240);
    let report = run(&format!(
        "t. ! video-converter ! y4m-writer path={} width=160
         y4m-reader path={} ! tee name=t ! y4m-writer path={}
         t. ! pass-through ! y4m-writer path={}  t. ! null-renderer frames=2",
        path("small.y4m"),
        path("in.y4m"),
        path("a.y4m"),
        path("b.y4m")
    ))
    .unwrap();
    let all = |name: &str| pictures(&path(name)).1;
    assert!(all("a.y4m") == all("in.y4m") && all("b.y4m") == all("in.y4m"));
    assert_eq!(pictures(&path("small.y4m")).1.len(), 3 * 160 * 120 * 3 / 2);
    assert!(report.connections.iter().all(|one| one.copies == 0), "{:?}", report.connections);
}

/// Raw pictures by ffmpeg, from one of its pixel formats into another, with the matrix and range of both ends stated.
fn ffmpeg_converts(pixels: &[u8], from: &str, to: &str, matrix: &str, range: &str) -> Vec<u8> {
    use std::io::Write;
    let scale = match from == to {
        // Told to scale, this filter changes even what stays as it is.
        true => "null".to_owned(),
        false => format!(
            "scale=in_color_matrix={matrix}:out_color_matrix={matrix}:in_range={range}:out_range={range}:\
             flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
        ),
    };
    let mut child = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "rawvideo", "-pix_fmt", from, "-s", "320x240", "-i", "-", "-vf", &scale])
        .args(["-pix_fmt", to, "-f", "rawvideo", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("ffmpeg, which `cargo xtask setup` installs");
    child.stdin.take().unwrap().write_all(pixels).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn ffmpeg_makes_the_same_of_every_pair_of_layouts() {
    use ks_filters::media::video::ColorRange;
    let layouts = [
        (PixelLayout::I420, "yuv420p"),
        (PixelLayout::Nv12, "nv12"),
        (PixelLayout::Yuy2, "yuyv422"),
        (PixelLayout::Bgra, "bgra"),
        (PixelLayout::Rgb24, "bgr24"),
    ];
    let scratch = Scratch::new("video-pairs");
    for (matrix, matrix_name) in [(Matrix::Bt601, "bt601"), (Matrix::Bt709, "bt709")] {
        for (range, range_name) in [(ColorRange::Limited, "limited"), (ColorRange::Full, "full")] {
            let format = |layout| {
                let mut format = VideoFormat::new(layout, 320, 240).unwrap();
                (format.row_order, format.color_range) = (RowOrder::TopDown, range);
                format
            };
            let path = scratch.path("picture.y4m");
            picture_file(&path, PixelLayout::I420, 320, 240);
            let start = pictures(&path).1[..320 * 240 * 3 / 2].to_vec();
            for (from, from_name) in layouts {
                let mut pixels = vec![0; format(from).frame_bytes()];
                let mut first = VideoConversion::new(&format(PixelLayout::I420), &format(from), matrix).unwrap();
                first.convert(&start, &mut pixels).unwrap();
                for (to, to_name) in layouts {
                    let mut ours = vec![0; format(to).frame_bytes()];
                    VideoConversion::new(&format(from), &format(to), matrix)
                        .unwrap()
                        .convert(&pixels, &mut ours)
                        .unwrap();
                    let theirs = ffmpeg_converts(&pixels, from_name, to_name, matrix_name, range_name);
                    let psnr = psnr(&ours, &theirs);
                    assert!(psnr > 45.0, "{from_name} to {to_name}, {matrix_name} {range_name}: {psnr} dB");
                }
            }
        }
    }
}
