//! The files of a hosted driver: its process can open none, so the parent opens them for it, below one folder.
//!
//! Each call is a service message: an operation, and little-endian fields with the path or the bytes behind them. The
//! parent believes nothing of them: paths are resolved beneath the folder, sizes and the number of open files have
//! limits.

use crate::remote::Peer;
use ks_abi::{
    NtStatus, STATUS_DEVICE_NOT_READY, STATUS_DEVICE_REMOVED, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_IMPLEMENTED, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, STATUS_TOO_MANY_OPENED_FILES,
    STATUS_UNSUCCESSFUL,
};
use ks_nt::ntoskrnl::file::{FileRequest, FileService, HostFile, Opened};
use ks_nt::ntoskrnl::folder::Folder;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

mod operation {
    pub(super) const OPEN: u32 = 1;
    pub(super) const READ: u32 = 2;
    pub(super) const WRITE: u32 = 3;
    pub(super) const LENGTH: u32 = 4;
    pub(super) const SET_LENGTH: u32 = 5;
    pub(super) const DELETE: u32 = 6;
    pub(super) const CLOSE: u32 = 7;
}

/// The most bytes of one read or write.
const MOST_BYTES: usize = 1 << 20;
/// The most files that a driver has open.
const MOST_FILES: usize = 256;
/// The longest file that a driver may make.
const MOST_LENGTH: u64 = 1 << 32;

/// The parent's end: the folder, and what the driver has open in it.
#[derive(Default)]
pub struct Files {
    folder: Option<Folder>,
    open: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    files: HashMap<u32, Arc<dyn HostFile>>,
    last: u32,
}

impl Files {
    /// Files below `folder`; `None`: there are none.
    pub fn new(folder: Option<Folder>) -> Files {
        Files { folder, open: Mutex::default() }
    }

    /// Answers a call of the driver's process.
    pub fn answer(&self, operation: u32, body: &[u8]) -> (NtStatus, Vec<u8>) {
        match self.try_answer(operation, body) {
            Ok(answer) => (STATUS_SUCCESS, answer),
            Err(status) => (status, Vec::new()),
        }
    }

    fn try_answer(&self, operation: u32, body: &[u8]) -> Result<Vec<u8>, NtStatus> {
        let mut fields = Fields(body);
        if operation == operation::OPEN {
            return self.open(&mut fields);
        }
        let number = fields.u32()?;
        if operation == operation::CLOSE {
            let closed = self.table().files.remove(&number);
            return closed.map(|_| Vec::new()).ok_or(STATUS_INVALID_HANDLE);
        }
        let file = self.table().files.get(&number).cloned().ok_or(STATUS_INVALID_HANDLE)?;
        match operation {
            operation::READ => {
                let (offset, bytes) = (fields.u64()?, fields.u32()? as usize);
                let mut answer = vec![0; bytes.min(MOST_BYTES)];
                let count = file.read_at(&mut answer, offset)?;
                answer.truncate(count);
                Ok(answer)
            }
            operation::WRITE => {
                let offset = fields.u64()?;
                let end = offset.checked_add(fields.0.len() as u64).filter(|&end| end <= MOST_LENGTH);
                end.ok_or(STATUS_INVALID_PARAMETER)?;
                Ok((file.write_at(fields.0, offset)? as u64).to_le_bytes().to_vec())
            }
            operation::LENGTH => Ok(file.length()?.to_le_bytes().to_vec()),
            operation::SET_LENGTH => {
                let length = Some(fields.u64()?).filter(|&length| length <= MOST_LENGTH);
                file.set_length(length.ok_or(STATUS_INVALID_PARAMETER)?).map(|()| Vec::new())
            }
            operation::DELETE => file.delete().map(|()| Vec::new()),
            _ => Err(STATUS_NOT_IMPLEMENTED),
        }
    }

    /// Answers with the number, how it was opened, and whether it is a folder.
    fn open(&self, fields: &mut Fields<'_>) -> Result<Vec<u8>, NtStatus> {
        let (access, disposition, options) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let path = std::str::from_utf8(fields.0).map_err(|_| STATUS_INVALID_PARAMETER)?.to_owned();
        // A drive without files, as a driver meets it on a machine that has not been prepared for it.
        let folder = self.folder.as_ref().ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
        if self.table().files.len() >= MOST_FILES {
            return Err(STATUS_TOO_MANY_OPENED_FILES);
        }
        let (file, opened) = folder.open(&FileRequest { path, access, disposition, options })?;
        let how = match opened {
            Opened::Existing => 0,
            Opened::Created => 1,
            Opened::Overwritten => 2,
        };
        let is_folder = u8::from(file.is_folder());
        let mut table = self.table();
        table.last = table.last.wrapping_add(1);
        let number = table.last;
        table.files.insert(number, Arc::from(file));
        let mut answer = number.to_le_bytes().to_vec();
        answer.extend([how, is_folder]);
        Ok(answer)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of a message.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NtStatus> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(STATUS_INVALID_PARAMETER)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, NtStatus> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, NtStatus> {
        self.take().map(u64::from_le_bytes)
    }
}

/// The host's end. The connection is made after the first driver may have opened a file; before that there are none.
#[derive(Clone, Default)]
pub(crate) struct ParentsFiles {
    peer: Arc<OnceLock<Weak<Peer>>>,
}

impl ParentsFiles {
    /// From now on files are asked for through `peer`.
    pub(crate) fn connect(&self, peer: &Arc<Peer>) {
        let _ = self.peer.set(Arc::downgrade(peer));
    }

    fn call(&self, operation: u32, body: &[u8]) -> Result<Vec<u8>, NtStatus> {
        let peer = self.peer.get().ok_or(STATUS_DEVICE_NOT_READY)?;
        peer.upgrade().ok_or(STATUS_DEVICE_REMOVED)?.service(operation, body)
    }
}

impl FileService for ParentsFiles {
    fn open(&self, request: &FileRequest) -> Result<(Box<dyn HostFile>, Opened), NtStatus> {
        let mut body = Vec::with_capacity(12 + request.path.len());
        for word in [request.access, request.disposition, request.options] {
            body.extend(word.to_le_bytes());
        }
        body.extend(request.path.as_bytes());
        let answer = self.call(operation::OPEN, &body)?;
        let mut fields = Fields(&answer);
        let number = fields.u32()?;
        let [how, folder] = fields.take()?;
        let opened = match how {
            0 => Opened::Existing,
            1 => Opened::Created,
            _ => Opened::Overwritten,
        };
        Ok((Box::new(ParentsFile { files: self.clone(), number, folder: folder != 0 }), opened))
    }
}

struct ParentsFile {
    files: ParentsFiles,
    number: u32,
    folder: bool,
}

impl ParentsFile {
    fn call(&self, operation: u32, fields: &[&[u8]]) -> Result<Vec<u8>, NtStatus> {
        let mut body = self.number.to_le_bytes().to_vec();
        fields.iter().for_each(|field| body.extend_from_slice(field));
        self.files.call(operation, &body)
    }
}

impl HostFile for ParentsFile {
    fn read_at(&self, to: &mut [u8], offset: u64) -> Result<usize, NtStatus> {
        let mut done = 0;
        while done < to.len() {
            let bytes = (to.len() - done).min(MOST_BYTES);
            let offset = offset.checked_add(done as u64).ok_or(STATUS_INVALID_PARAMETER)?;
            let answer = self.call(operation::READ, &[&offset.to_le_bytes(), &(bytes as u32).to_le_bytes()])?;
            let into = to.get_mut(done..done + answer.len()).ok_or(STATUS_UNSUCCESSFUL)?;
            into.copy_from_slice(&answer);
            done += answer.len();
            if answer.len() < bytes {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> Result<usize, NtStatus> {
        let mut done = 0;
        for part in from.chunks(MOST_BYTES) {
            let offset = offset.checked_add(done as u64).ok_or(STATUS_INVALID_PARAMETER)?;
            self.call(operation::WRITE, &[&offset.to_le_bytes(), part])?;
            done += part.len();
        }
        Ok(done)
    }

    fn length(&self) -> Result<u64, NtStatus> {
        Fields(&self.call(operation::LENGTH, &[])?).u64()
    }

    fn set_length(&self, length: u64) -> Result<(), NtStatus> {
        self.call(operation::SET_LENGTH, &[&length.to_le_bytes()]).map(drop)
    }

    fn is_folder(&self) -> bool {
        self.folder
    }

    fn delete(&self) -> Result<(), NtStatus> {
        self.call(operation::DELETE, &[]).map(drop)
    }
}

impl Drop for ParentsFile {
    fn drop(&mut self) {
        let _ = self.call(operation::CLOSE, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(files: &Files, path: &str, disposition: u32) -> Result<u32, NtStatus> {
        let mut body = Vec::new();
        [0xC000_0000u32, disposition, 0].iter().for_each(|word| body.extend(word.to_le_bytes()));
        body.extend(path.as_bytes());
        match files.answer(operation::OPEN, &body) {
            (STATUS_SUCCESS, answer) => Fields(&answer).u32(),
            (status, _) => Err(status),
        }
    }

    fn call(files: &Files, operation: u32, number: u32, rest: &[u8]) -> (NtStatus, Vec<u8>) {
        files.answer(operation, &[&number.to_le_bytes()[..], rest].concat())
    }

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("ks-broker-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("C")).expect("a folder for the test");
            Scratch(path)
        }
        fn files(&self) -> Files {
            Files::new(Some(Folder::open(&self.0).expect("the folder")))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_driver_writes_is_in_the_folder_and_is_read_back() {
        let scratch = Scratch::new("write");
        let files = scratch.files();
        let number = open(&files, "C/a.txt", 2).unwrap();
        let write = [&3u64.to_le_bytes()[..], b"abc"].concat();
        assert_eq!(call(&files, operation::WRITE, number, &write), (STATUS_SUCCESS, 3u64.to_le_bytes().to_vec()));
        assert_eq!(std::fs::read(scratch.0.join("C/a.txt")).unwrap(), b"\0\0\0abc");
        let read = [&4u64.to_le_bytes()[..], &100u32.to_le_bytes()].concat();
        assert_eq!(call(&files, operation::READ, number, &read), (STATUS_SUCCESS, b"bc".to_vec()));
        assert_eq!(call(&files, operation::LENGTH, number, &[]).1, 6u64.to_le_bytes());
        assert_eq!(call(&files, operation::CLOSE, number, &[]).0, STATUS_SUCCESS);
        assert_eq!(call(&files, operation::LENGTH, number, &[]).0, STATUS_INVALID_HANDLE);
    }

    #[test]
    fn a_hostile_call_is_refused_and_costs_nothing() {
        let scratch = Scratch::new("hostile");
        let files = scratch.files();
        for path in ["../outside", "/etc/passwd", "C/../../outside", "C/\0", ""] {
            assert!(open(&files, path, 5).is_err(), "{path:?}");
        }
        let number = open(&files, "C/a", 2).unwrap();
        for body in 0..12 {
            let (status, _) = call(&files, operation::READ, number, &vec![0xff; body]);
            assert!(!status.is_success(), "{body} bytes");
        }
        let far = [&(MOST_LENGTH - 1).to_le_bytes()[..], b"abc"].concat();
        assert_eq!(call(&files, operation::WRITE, number, &far).0, STATUS_INVALID_PARAMETER);
        assert_eq!(call(&files, operation::SET_LENGTH, number, &u64::MAX.to_le_bytes()).0, STATUS_INVALID_PARAMETER);
        let whole = [&0u64.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(call(&files, operation::READ, number, &whole), (STATUS_SUCCESS, Vec::new()));
        assert_eq!(call(&files, 99, number, &[]).0, STATUS_NOT_IMPLEMENTED);
        assert_eq!(files.answer(operation::OPEN, &[1, 2]).0, STATUS_INVALID_PARAMETER);
        for file in 1..MOST_FILES {
            open(&files, "C/a", 1).unwrap_or_else(|status| panic!("file {file}: {status}"));
        }
        assert_eq!(open(&files, "C/a", 1), Err(STATUS_TOO_MANY_OPENED_FILES));
    }

    #[test]
    fn without_a_folder_there_are_no_files() {
        assert_eq!(open(&Files::default(), "C/a", 2), Err(STATUS_OBJECT_NAME_NOT_FOUND));
    }
}
