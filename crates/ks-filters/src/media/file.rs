//! Opening media files: what may be opened, who may have it open, and what a writer needs of it.
//!
//! Two uses of one file at once spoil it: a graph that reads and writes the same path would empty its own input.
//! So a reader holds a shared advisory lock and a writer an exclusive one, and a writer empties the file only once it
//! holds the lock. Where the file system knows no locks, files are opened without.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Cursor, Read, Seek, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::error::{FieldError, MediaError, Result};

/// What a media file is read from.
pub trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send> Input for T {}

/// What a media file is written to: a sink that can seek, and be cut when a write failed halfway.
pub trait Output: Write + Seek + Send {
    /// Cuts the file to `length_bytes`; the position is left at its new end.
    ///
    /// # Errors
    /// Whatever the operating system says; a pipe cannot be cut, for one.
    fn truncate(&mut self, length_bytes: u64) -> io::Result<()>;
}

/// An open file whose lock ends with it.
///
/// The lock is given back by name, not left to the closing: a process that is just being started still has a copy of
/// every open file, and a lock lives as long as the last copy.
#[derive(Debug)]
pub struct LockedFile(File);

impl LockedFile {
    /// What the operating system knows of the file.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // A file system without locks says so here too; there is nothing to give back then.
        let _ = self.0.unlock();
    }
}

impl Read for LockedFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for LockedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for LockedFile {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(position)
    }
}

impl Output for LockedFile {
    fn truncate(&mut self, length_bytes: u64) -> io::Result<()> {
        self.0.set_len(length_bytes)?;
        self.0.seek(io::SeekFrom::Start(length_bytes)).map(drop)
    }
}

impl Output for Cursor<Vec<u8>> {
    fn truncate(&mut self, length_bytes: u64) -> io::Result<()> {
        let length = usize::try_from(length_bytes).map_err(io::Error::other)?;
        self.get_mut().truncate(length);
        self.set_position(length_bytes);
        Ok(())
    }
}

/// Opens the regular file at `path` for reading.
///
/// Pipes, devices and directories are refused: they have no length to check a header against, and opening a pipe can
/// wait for ever.
pub(crate) fn open_input(path: &Path) -> Result<LockedFile> {
    const DOING: &str = "read";
    let io = |error| MediaError::io(DOING, path, error);
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        let problem = FieldError::new("the file type", file_type(&metadata), "a regular file");
        return Err(MediaError::field(DOING, path, problem));
    }
    let file = File::open(path).map_err(io)?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(MediaError::Busy { doing: DOING, path: path.to_owned() }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(LockedFile(file)),
    }
}

/// Creates or empties the file at `path` for writing. Pipes and devices are allowed.
pub(crate) fn create_output(path: &Path) -> Result<LockedFile> {
    const DOING: &str = "write";
    let io = |error| MediaError::io(DOING, path, error);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Ok(LockedFile(file));
    }
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(MediaError::Busy { doing: DOING, path: path.to_owned() });
    }
    file.set_len(0).map_err(io)?;
    Ok(LockedFile(file))
}

/// Writes all of `bytes`, and says how many arrived even when the rest did not.
pub(crate) fn write_counted(output: &mut impl Write, mut bytes: &[u8]) -> (u64, io::Result<()>) {
    let mut written_bytes = 0u64;
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return (written_bytes, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                written_bytes = written_bytes.saturating_add(count as u64);
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written_bytes, Err(error)),
        }
    }
    (written_bytes, Ok(()))
}

fn file_type(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An output that is full after so many bytes, as a disk is: a write may be cut short before it fails.
    #[derive(Debug)]
    pub(crate) struct SmallDisk {
        pub(crate) file: Cursor<Vec<u8>>,
        pub(crate) capacity_bytes: u64,
    }

    impl SmallDisk {
        pub(crate) fn new(capacity_bytes: u64) -> Self {
            Self { file: Cursor::new(Vec::new()), capacity_bytes }
        }
    }

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.capacity_bytes.saturating_sub(self.file.position());
            if room == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(room as usize);
            self.file.write(&bytes[..count])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for SmallDisk {
        fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
            self.file.seek(position)
        }
    }

    impl Output for SmallDisk {
        fn truncate(&mut self, length_bytes: u64) -> io::Result<()> {
            self.file.truncate(length_bytes)
        }
    }

    /// A borrowed disk, so that a test can look at it after its writer is gone.
    impl Output for &mut SmallDisk {
        fn truncate(&mut self, length_bytes: u64) -> io::Result<()> {
            (**self).truncate(length_bytes)
        }
    }

    /// A directory of its own for one test, removed at its end.
    #[derive(Debug)]
    pub(crate) struct Scratch(std::path::PathBuf);

    impl Scratch {
        pub(crate) fn new(test: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("ks-filters-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_and_a_missing_file_are_refused_by_name() {
        let scratch = Scratch::new("open");
        let error = open_input(&scratch.file("")).unwrap_err().to_string();
        assert!(error.contains("the file type is a directory"), "{error}");
        let error = open_input(&scratch.file("none.wav")).unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::NotFound));
        assert!(error.to_string().contains("none.wav"), "{error}");
        let error = create_output(&scratch.file("")).unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::IsADirectory));
    }

    #[test]
    fn a_file_being_read_is_not_emptied_by_a_writer() {
        let scratch = Scratch::new("busy");
        let path = scratch.file("a.wav");
        std::fs::write(&path, b"precious").unwrap();
        let reader = open_input(&path).unwrap();
        assert!(matches!(create_output(&path), Err(MediaError::Busy { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        drop(reader);
        let writer = create_output(&path).unwrap();
        assert!(matches!(open_input(&path), Err(MediaError::Busy { .. })));
        drop(writer);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
    #[test]
    fn a_lock_ends_with_its_file_though_a_process_being_started_has_a_copy() {
        let scratch = Scratch::new("copied");
        let path = scratch.file("a.wav");
        let writer = create_output(&path).unwrap();
        let copy = writer.0.try_clone().unwrap();
        drop(writer);
        let reader = open_input(&path).unwrap();
        let second_copy = reader.0.try_clone().unwrap();
        drop(reader);
        create_output(&path).unwrap();
        drop((copy, second_copy));
    }
}
