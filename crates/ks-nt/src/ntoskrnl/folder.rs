//! A folder as the files of a driver: no path leads out of it.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ks_abi::status::{
    NtStatus, STATUS_ACCESS_DENIED, STATUS_DISK_FULL, STATUS_FILE_IS_A_DIRECTORY, STATUS_INVALID_PARAMETER,
    STATUS_NAME_TOO_LONG, STATUS_NOT_A_DIRECTORY, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_TOO_MANY_OPENED_FILES, STATUS_UNSUCCESSFUL,
};

use super::file::{FileRequest, FileService, HostFile, Opened};

/// A [`FileService`] over a folder. A drive is a folder in it: `\??\C:\a.txt` is `C/a.txt`. The system refuses whatever
/// leads out: absolute links, `..` above the folder, mounts through `/proc`.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
}

impl Folder {
    /// Takes a folder.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: File::open(path)?.into() })
    }

    fn open_beneath(&self, path: &str, flags: i32) -> Result<OwnedFd, NtStatus> {
        let path = CString::new(path).map_err(|_| STATUS_INVALID_PARAMETER)?;
        // SAFETY: all fields are integers, for which zero is a value.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = (flags | libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
        how.mode = if flags & libc::O_CREAT != 0 { 0o666 } else { 0 };
        how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
        let (root, size) = (self.root.as_raw_fd(), size_of::<libc::open_how>());
        // SAFETY: path and structure live through the call, and the size is the structure's.
        let file = unsafe { libc::syscall(libc::SYS_openat2, root, path.as_ptr(), &raw const how, size) };
        if file < 0 {
            return Err(status(&io::Error::last_os_error()));
        }
        // SAFETY: the call made the descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(file as i32) })
    }
}

fn status(error: &io::Error) -> NtStatus {
    match error.raw_os_error() {
        Some(libc::ENOENT) => STATUS_OBJECT_NAME_NOT_FOUND,
        Some(libc::EEXIST) => STATUS_OBJECT_NAME_COLLISION,
        Some(libc::EISDIR) => STATUS_FILE_IS_A_DIRECTORY,
        Some(libc::ENOTDIR) => STATUS_NOT_A_DIRECTORY,
        Some(libc::ENAMETOOLONG) => STATUS_NAME_TOO_LONG,
        Some(libc::ENOSPC | libc::EFBIG | libc::EDQUOT) => STATUS_DISK_FULL,
        Some(libc::EMFILE | libc::ENFILE) => STATUS_TOO_MANY_OPENED_FILES,
        Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::EXDEV | libc::ELOOP) => STATUS_ACCESS_DENIED,
        Some(libc::EINVAL) => STATUS_INVALID_PARAMETER,
        _ => STATUS_UNSUCCESSFUL,
    }
}

const FILE_DIRECTORY_FILE: u32 = 0x1;
const FILE_NON_DIRECTORY_FILE: u32 = 0x40;
const WRITES: u32 = 0x5000_0006;

impl FileService for Folder {
    fn open(&self, request: &FileRequest) -> Result<(Box<dyn HostFile>, Opened), NtStatus> {
        let path = request.path.trim_end_matches('/');
        let folder = request.options & FILE_DIRECTORY_FILE != 0;
        let mode = if folder || request.access & WRITES == 0 { libc::O_RDONLY } else { libc::O_RDWR };
        let kind = if folder { libc::O_DIRECTORY } else { 0 };
        let there = || self.open_beneath(path, mode | kind);
        let made = || self.open_beneath(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL);
        if folder && request.disposition != 1 && request.disposition != 3 {
            return Err(STATUS_ACCESS_DENIED);
        }
        let (file, how) = match request.disposition {
            1 => (there()?, Opened::Existing),
            2 => (made()?, Opened::Created),
            3 => match there() {
                Err(STATUS_OBJECT_NAME_NOT_FOUND) if !folder => (made()?, Opened::Created),
                found => (found?, Opened::Existing),
            },
            4 => (self.open_beneath(path, libc::O_RDWR | libc::O_TRUNC)?, Opened::Overwritten),
            0 | 5 => match self.open_beneath(path, libc::O_RDWR | libc::O_TRUNC) {
                Err(STATUS_OBJECT_NAME_NOT_FOUND) => (made()?, Opened::Created),
                found => (found?, Opened::Overwritten),
            },
            _ => return Err(STATUS_INVALID_PARAMETER),
        };
        let file = File::from(file);
        let metadata = file.metadata().map_err(|error| status(&error))?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(STATUS_ACCESS_DENIED);
        }
        if metadata.is_dir() && request.options & FILE_NON_DIRECTORY_FILE != 0 {
            return Err(STATUS_FILE_IS_A_DIRECTORY);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        let parent = self.open_beneath(parent, libc::O_RDONLY | libc::O_DIRECTORY)?;
        let name = CString::new(name).map_err(|_| STATUS_INVALID_PARAMETER)?;
        Ok((Box::new(FolderFile { file, parent, name, folder: metadata.is_dir() }), how))
    }
}

struct FolderFile {
    file: File,
    parent: OwnedFd,
    name: CString,
    folder: bool,
}

impl HostFile for FolderFile {
    fn read_at(&self, to: &mut [u8], offset: u64) -> Result<usize, NtStatus> {
        self.file.read_at(to, offset).map_err(|error| status(&error))
    }

    fn write_at(&self, from: &[u8], offset: u64) -> Result<usize, NtStatus> {
        self.file.write_all_at(from, offset).map(|()| from.len()).map_err(|error| status(&error))
    }

    fn length(&self) -> Result<u64, NtStatus> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| status(&error))
    }

    fn set_length(&self, length: u64) -> Result<(), NtStatus> {
        self.file.set_len(length).map_err(|error| status(&error))
    }

    fn is_folder(&self) -> bool {
        self.folder
    }

    fn delete(&self) -> Result<(), NtStatus> {
        let flags = if self.folder { libc::AT_REMOVEDIR } else { 0 };
        // SAFETY: the name lives through the call; it has no slash, so it is in that folder.
        let removed = unsafe { libc::unlinkat(self.parent.as_raw_fd(), self.name.as_ptr(), flags) };
        if removed == 0 { Ok(()) } else { Err(status(&io::Error::last_os_error())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn request(path: &str, disposition: u32) -> FileRequest {
        FileRequest { path: path.to_owned(), access: 0xC000_0000, disposition, options: 0 }
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let root = std::env::temp_dir().join(format!("ks-nt-folder-{}", std::process::id()));
        fs::create_dir_all(root.join("inside/C")).expect("a folder for the test");
        fs::write(root.join("secret"), "x").expect("a file beside it");
        std::os::unix::fs::symlink("/etc/passwd", root.join("inside/C/link")).expect("a link");
        std::os::unix::fs::symlink("../../secret", root.join("inside/C/up")).expect("a link");
        let folder = Folder::open(&root.join("inside")).expect("the folder");
        for path in ["C/../../secret", "../secret", "C/link", "C/up", "/etc/passwd", "C/\0"] {
            assert!(folder.open(&request(path, 1)).is_err(), "{path}");
        }
        let (file, how) = folder.open(&request("C/new", 2)).expect("a new file");
        assert_eq!(how, Opened::Created);
        assert_eq!(file.write_at(b"abc", 2), Ok(3));
        assert_eq!(file.length(), Ok(5));
        assert_eq!(folder.open(&request("C/new", 2)).err(), Some(STATUS_OBJECT_NAME_COLLISION));
        assert_eq!(file.delete(), Ok(()));
        assert_eq!(folder.open(&request("C/new", 1)).err(), Some(STATUS_OBJECT_NAME_NOT_FOUND));
        fs::remove_dir_all(root).expect("the test's folder");
    }
}
