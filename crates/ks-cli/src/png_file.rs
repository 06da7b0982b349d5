//! Writes a PNG file, whole or not at all; to a device or a pipe as it comes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Writes a picture of `width` times `height` pixels with red, green and blue bytes. A file that was there stays as it
/// was unless all was written.
pub(crate) fn write(path: &Path, width: u32, height: u32, rgb: &[u8]) -> io::Result<()> {
    // The file that a link names is replaced, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
        // A device must stay what it is: a rename would put a plain file in its place.
        Ok(there) if !there.is_file() => {
            return encode(OpenOptions::new().write(true).open(path)?, width, height, rgb);
        }
        _ => {}
    }
    let draft = draft_path(path)?;
    let file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
    let written = encode(file, width, height, rgb).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The first failure is what matters.
        _ = fs::remove_file(&draft);
    }
    written
}

fn encode(file: File, width: u32, height: u32, rgb: &[u8]) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(into_io)?;
    writer.write_image_data(rgb).map_err(into_io)?;
    writer.finish().map_err(into_io)?;
    file.flush()
}

fn into_io(error: png::EncodingError) -> io::Error {
    match error {
        png::EncodingError::IoError(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

/// A name next to `path`, so that a rename stays within one file system.
fn draft_path(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else { return Err(io::Error::from(io::ErrorKind::InvalidFilename)) };
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(draft))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("ks-cli-png-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("directory");
        directory
    }

    #[test]
    fn a_picture_reads_back_as_it_was() {
        let directory = directory("whole");
        let path = directory.join("a.png");
        let rgb: Vec<u8> = (0..5 * 3 * 3).collect();
        write(&path, 5, 3, &rgb).expect("written");
        let decoder = png::Decoder::new(io::BufReader::new(fs::File::open(&path).expect("file")));
        let mut reader = decoder.read_info().expect("a PNG file");
        let mut read = vec![0; reader.output_buffer_size().expect("size")];
        reader.next_frame(&mut read).expect("a picture");
        assert_eq!((reader.info().width, reader.info().height, read), (5, 3, rgb));
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let directory = directory("none");
        let path = directory.join("a.png");
        fs::write(&path, "before").expect("written");
        assert!(write(&path, 5, 3, &[0; 4]).is_err());
        assert_eq!(fs::read(&path).expect("file"), b"before");
        assert_eq!(fs::read_dir(&directory).expect("directory").count(), 1);
        assert!(write(&directory, 1, 1, &[0; 3]).is_err());
        assert!(write(&directory.join("missing/a.png"), 1, 1, &[0; 3]).is_err());
        assert!(write(Path::new("/"), 1, 1, &[0; 3]).is_err());
        assert!(write(Path::new(""), 1, 1, &[0; 3]).is_err());
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn a_device_is_written_to_and_a_link_is_followed() {
        let directory = directory("device");
        // Through links, so that a mistake replaces the link and not the device.
        let (full, null) = (directory.join("full"), directory.join("null"));
        symlink("/dev/full", &full).expect("a link");
        symlink("/dev/null", &null).expect("a link");
        assert_eq!(write(&full, 1, 1, &[0; 3]).expect_err("full").kind(), io::ErrorKind::StorageFull);
        write(&null, 1, 1, &[0; 3]).expect("written");
        let (file, link) = (directory.join("a.png"), directory.join("link.png"));
        fs::write(&file, "before").expect("written");
        symlink(&file, &link).expect("a link");
        write(&link, 1, 1, &[0; 3]).expect("written");
        assert!(fs::read(&file).expect("file").starts_with(b"\x89PNG"));
        for link in [full, null, link] {
            assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        }
        fs::remove_dir_all(directory).expect("removed");
    }
}
