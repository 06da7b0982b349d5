//! Writers at the limit that the system sets on the size of files (RLIMIT_FSIZE).

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use ks_filters::media::audio::AudioFormat;
use ks_filters::media::video::{PixelLayout, VideoFormat};
use ks_filters::media::wav::{DataEnd, WavReader, WavWriter};
use ks_filters::media::y4m::{FramesEnd, Y4mReader, Y4mWriter};

const DIRECTORY: &str = "KS_FILTERS_LIMITED_DIRECTORY";

/// Runs the calling test again in a process that may only write small files, and which the signal of the limit does not
/// end. Returns the directory to write to: as `Ok` in the limited process, and as `Err` in the first one, after the
/// other ended.
fn limited(test: &str) -> Result<PathBuf, PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return Ok(directory.into());
    }
    let directory = std::env::temp_dir().join(format!("ks-filters-{}-{test}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 700; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(DIRECTORY, &directory)
        .status()
        .unwrap();
    assert!(status.success());
    Err(directory)
}

fn wav(directory: &Path) -> PathBuf {
    directory.join("limited.wav")
}

fn y4m(directory: &Path) -> PathBuf {
    directory.join("limited.y4m")
}

#[test]
fn a_wav_file_at_the_limit_ends_at_its_last_whole_block() {
    let format = AudioFormat::int(24, 2, 48_000).unwrap();
    match limited("a_wav_file_at_the_limit_ends_at_its_last_whole_block") {
        Ok(directory) => {
            let mut writer = WavWriter::create(wav(&directory), &format).unwrap();
            let error = (0..100_000).find_map(|_| writer.write(&[5; 4096]).err()).unwrap();
            assert_eq!(error.io_kind(), Some(ErrorKind::FileTooLarge));
            assert!(error.to_string().contains("limited.wav"), "{error}");
            assert!(error.to_string().contains("ulimit -f"), "{error}");
        }
        Err(directory) => {
            let mut reader = WavReader::open(wav(&directory)).unwrap();
            assert_eq!(*reader.format(), format);
            assert_eq!(reader.data_end(), DataEnd::Complete);
            assert!(reader.remaining_bytes() > 300_000);
            let mut block = [0; 6];
            assert_eq!(reader.read(&mut block).unwrap(), 6);
            assert_eq!(block, [5; 6]);
            std::fs::remove_dir_all(directory).unwrap();
        }
    }
}

#[test]
fn a_y4m_file_at_the_limit_ends_at_its_last_whole_frame() {
    let format = VideoFormat::new(PixelLayout::Nv12, 160, 120).unwrap();
    let mut frame = vec![5; format.frame_bytes()];
    match limited("a_y4m_file_at_the_limit_ends_at_its_last_whole_frame") {
        Ok(directory) => {
            let mut writer = Y4mWriter::create(y4m(&directory), &format).unwrap();
            let error = (0..100_000).find_map(|_| writer.write_frame(&frame).err()).unwrap();
            assert_eq!(error.io_kind(), Some(ErrorKind::FileTooLarge));
            assert!(error.to_string().contains("limited.y4m"), "{error}");
        }
        Err(directory) => {
            let mut reader = Y4mReader::open(y4m(&directory)).unwrap();
            while reader.read_frame(&mut frame).unwrap() > 0 {}
            assert!(reader.frame_index() > 10);
            assert_eq!(reader.frames_end(), FramesEnd::Complete);
            std::fs::remove_dir_all(directory).unwrap();
        }
    }
}
