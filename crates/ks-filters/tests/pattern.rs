//! The test picture, byte for byte, against a generator in another language that knows only the specification.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use ks_filters::media::pattern::Pattern;
use ks_filters::media::video::{PixelLayout, Ratio, VideoFormat};

/// The MD5 of every frame as the independent generator renders them.
fn reference_hashes(layout: &str, width: u32, height: u32, rate: Ratio, frames: u64) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pattern_reference.py");
    let output = Command::new("python3")
        .args([script, layout, &width.to_string(), &height.to_string()])
        .arg(format!("{}:{}", rate.numerator, rate.denominator))
        .arg(frames.to_string())
        .output()
        .expect("this test needs python3: apt-get install -y python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hashes = String::from_utf8(output.stdout).unwrap();
    hashes.lines().map(str::to_owned).collect()
}

/// RFC 1321, as short as it gets.
fn md5(message: &[u8]) -> String {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((message.len() + 9).next_multiple_of(64) - 8, 0);
    padded.extend((message.len() as u64 * 8).to_le_bytes());
    let sines: Vec<u32> = (1..=64).map(|i| (f64::from(i).sin().abs() * 4_294_967_296.0) as u32).collect();
    let shifts = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state = [0x6745_2301u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> = block.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, word) = match i / 16 {
                0 => (b & c | !b & d, i),
                1 => (d & b | !d & c, (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), 7 * i % 16),
            };
            let sum = a.wrapping_add(mix).wrapping_add(sines[i]).wrapping_add(words[word]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(shifts[i / 16][i % 4]));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    state.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

fn check(layout: PixelLayout, width: u32, height: u32, rate: Ratio, frames: u64) {
    let name = String::from_utf8(layout.fourcc().to_ascii_lowercase().to_vec()).unwrap();
    let expected = reference_hashes(&name, width, height, rate, frames);
    assert_eq!(expected.len() as u64, frames);
    let format = VideoFormat::new(layout, width, height).unwrap();
    let pattern = Pattern::new(&format).unwrap();
    let mut frame = vec![0; format.frame_bytes()];
    for (number, expected) in (0..frames).zip(expected) {
        let time_100ns = rate.frame_time_100ns(number).unwrap();
        pattern.render_into(number, time_100ns, &mut frame).unwrap();
        assert_eq!(md5(&frame), expected, "{name} {width}x{height} frame {number}");
    }
}

#[test]
fn the_hash_of_the_tests_is_md5() {
    assert_eq!(md5(b""), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(md5(&[b'a'; 1000]), "cabe45dcc9ae5b66ba86600cca6b8ba8");
}

#[test]
fn small_and_odd_pictures_equal_those_of_an_independent_generator() {
    for layout in [PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2] {
        for (width, height) in [(2, 2), (3, 5), (5, 33), (16, 16), (84, 35), (85, 36), (176, 144), (333, 187)] {
            check(layout, width, height, Ratio::new(30_000, 1001), 4);
        }
    }
}

#[test]
fn common_pictures_equal_those_of_an_independent_generator() {
    check(PixelLayout::Nv12, 1280, 720, Ratio::new(30, 1), 3);
    check(PixelLayout::Yuy2, 640, 480, Ratio::new(30, 1), 3);
    check(PixelLayout::I420, 321, 1081, Ratio::new(25, 1), 3);
}
