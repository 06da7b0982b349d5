//! Files by handle, and devices by name.
//!
//! A name is looked up in the engine's object namespace first (`ObjectNamespace`), then among the devices that drivers
//! of this process made, and a path of a DOS drive goes to the [`FileService`]: a folder, or whoever has one.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;
use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ks_abi::guid::Guid;
use ks_abi::kernel::{IoStatusBlock, UnicodeString};
use ks_abi::status::{
    NtStatus, STATUS_ACCESS_DENIED, STATUS_BUFFER_OVERFLOW, STATUS_END_OF_FILE, STATUS_INFO_LENGTH_MISMATCH,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_HANDLE, STATUS_INVALID_INFO_CLASS, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS,
};

use super::block::Block;
use super::device_file::DeviceFile;
use super::driver_memory::{bytes, field, get, put, put_bytes, put_optional, text};
use super::object_manager::{self, Kind, Object};
use super::registry_key::ObjectAttributes;
use super::{event, io_name};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ZwCreateFile, ZwOpenFile, ZwReadFile, ZwWriteFile, ZwQueryInformationFile, ZwSetInformationFile, ZwFlushBuffersFile,
    ZwDeleteFile, ZwDeviceIoControlFile, NtCreateFile, NtOpenFile, NtReadFile, NtWriteFile, NtQueryInformationFile,
    NtSetInformationFile, NtDeviceIoControlFile, IoCreateFile,
);

/// What is wanted of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRequest {
    /// Path below the drive, with slashes: `C/logs/a.txt`.
    pub path: String,
    /// `FILE_*` and `GENERIC_*` access.
    pub access: u32,
    /// `FILE_SUPERSEDE` (0), `FILE_OPEN` (1), `FILE_CREATE` (2), `FILE_OPEN_IF` (3), `FILE_OVERWRITE` (4),
    /// `FILE_OVERWRITE_IF` (5).
    pub disposition: u32,
    /// `FILE_*` create options.
    pub options: u32,
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It was there.
    Existing,
    /// It was made.
    Created,
    /// It was there and is empty now.
    Overwritten,
}

/// One open file.
pub trait HostFile: Send + Sync {
    /// Reads at an offset; 0 bytes is the end.
    fn read_at(&self, to: &mut [u8], offset: u64) -> Result<usize, NtStatus>;
    /// Writes at an offset.
    fn write_at(&self, from: &[u8], offset: u64) -> Result<usize, NtStatus>;
    /// Bytes of the file.
    fn length(&self) -> Result<u64, NtStatus>;
    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> Result<(), NtStatus>;
    /// Whether it is a folder.
    fn is_folder(&self) -> bool;
    /// Removes the file when its last handle is closed.
    fn delete(&self) -> Result<(), NtStatus>;
}

/// Where the files of a driver are.
pub trait FileService: Send + Sync {
    /// Opens a file.
    fn open(&self, request: &FileRequest) -> Result<(Box<dyn HostFile>, Opened), NtStatus>;
}

/// Names that are no files: the filters of an engine.
pub(crate) trait ObjectNamespace: Send + Sync {
    /// `None` for a name that is not of this namespace. `root` is the object that the name is relative to.
    fn open(&self, root: Option<Arc<dyn Object>>, name: &str, access: u32)
    -> Option<Result<Arc<dyn Object>, NtStatus>>;

    /// Links of the interfaces that AVStream registered in a category: those of the device with this physical device
    /// object, or all of them for 0.
    fn interfaces(&self, class: Guid, device: u64) -> Vec<String>;

    /// A control request for an object of this namespace; `None` for another's.
    fn device_io_control(&self, object: &Arc<dyn Object>, request: &ControlRequest) -> Option<(NtStatus, u64)>;
}

/// A control request by handle; the addresses are the driver's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlRequest {
    pub(crate) code: u32,
    pub(crate) input: u64,
    pub(crate) input_bytes: u32,
    pub(crate) output: u64,
    pub(crate) output_bytes: u32,
}

static FILES: RwLock<Option<Arc<dyn FileService>>> = RwLock::new(None);
static NAMESPACE: RwLock<Option<Arc<dyn ObjectNamespace>>> = RwLock::new(None);

/// Has `service` open the files of drivers; without one there are none.
pub fn set_file_service(service: Option<Arc<dyn FileService>>) {
    *FILES.write().unwrap_or_else(PoisonError::into_inner) = service;
}

/// Has `namespace` look up names first.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn set_namespace(namespace: Option<Arc<dyn ObjectNamespace>>) {
    *NAMESPACE.write().unwrap_or_else(PoisonError::into_inner) = namespace;
}

pub(crate) fn namespace() -> Option<Arc<dyn ObjectNamespace>> {
    NAMESPACE.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A file of the service, with the position of synchronous requests.
struct OpenFile {
    file: Box<dyn HostFile>,
    position: Mutex<u64>,
    delete: Mutex<bool>,
}

impl Object for OpenFile {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn address(&self) -> *mut u8 {
        ptr::null_mut()
    }

    fn last_handle_closed(&self) {
        if *self.delete.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = self.file.delete();
        }
    }
}

const FILE_OPEN: u32 = 1;
const FILE_READ_DATA: u32 = 1;
const FILE_WRITE_DATA: u32 = 2;
const FILE_APPEND_DATA: u32 = 4;
const GENERIC_ALL: u32 = 0x1000_0000;
const GENERIC_WRITE: u32 = 0x4000_0000;
const GENERIC_READ: u32 = 0x8000_0000;
/// FILE_DELETE_ON_CLOSE
const DELETE_ON_CLOSE: u32 = 0x1000;

/// The path of a DOS drive as the service takes it.
fn drive_path(name: &str) -> Option<String> {
    let prefixes = ["\\??\\", "\\DosDevices\\", "\\GLOBAL??\\"];
    let rest = prefixes.iter().find_map(|prefix| {
        name.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| &name[prefix.len()..])
    })?;
    let mut characters = rest.chars();
    let drive = characters.next().filter(char::is_ascii_alphabetic)?;
    let path = characters.as_str().strip_prefix(':')?;
    if !path.is_empty() && !path.starts_with('\\') {
        return None;
    }
    Some(format!("{}{}", drive.to_ascii_uppercase(), path.replace('\\', "/")))
}

fn open_name(root: Option<Arc<dyn Object>>, name: &str, request: FileRequest) -> Result<(u64, u64), NtStatus> {
    let access = request.access;
    if let Some(found) = namespace().and_then(|namespace| namespace.open(root.clone(), name, access)) {
        return found.map(|object| (object_manager::open(object, access), 1));
    }
    if root.is_some() {
        return Err(STATUS_OBJECT_TYPE_MISMATCH);
    }
    if let Some((device, rest)) = io_name::device(name) {
        // SAFETY: a device in the table of names is alive until its driver deletes it.
        let file = unsafe { DeviceFile::create(device, &rest, access, request.options) }?;
        return Ok((object_manager::open(file, access), 1));
    }
    let Some(path) = drive_path(name) else { return Err(STATUS_OBJECT_NAME_NOT_FOUND) };
    let service = FILES.read().unwrap_or_else(PoisonError::into_inner).clone();
    let service = service.ok_or(STATUS_OBJECT_PATH_NOT_FOUND)?;
    let delete = request.options & DELETE_ON_CLOSE != 0;
    let (file, how) = service.open(&FileRequest { path, ..request })?;
    let open = OpenFile { file, position: Mutex::new(0), delete: Mutex::new(delete) };
    let information = match how {
        Opened::Existing => 1,
        Opened::Created => 2,
        Opened::Overwritten => 3,
    };
    Ok((object_manager::open(Arc::new(open), access), information))
}

unsafe fn create(
    handle: *mut u64,
    access: u32,
    attributes: *const ObjectAttributes,
    answer: *mut IoStatusBlock,
    disposition: u32,
    options: u32,
) -> NtStatus {
    put(handle, 0);
    if attributes.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let root = match field!(attributes, root) {
        0 => None,
        root => match object_manager::by_handle(root) {
            Some(object) => Some(object),
            None => return STATUS_INVALID_HANDLE,
        },
    };
    let name = text(field!(attributes, name).0 as *const UnicodeString);
    let request = FileRequest { path: String::new(), access, disposition, options };
    let (status, information) = match open_name(root, &name, request) {
        Ok((opened, information)) => {
            put(handle, opened);
            (STATUS_SUCCESS, information)
        }
        Err(status) => (status, 0),
    };
    put_optional(answer, IoStatusBlock { status, information, ..Default::default() });
    status
}

/// The routines that exist as `Zw` and as `Nt`: the same for a driver, whose calls are all trusted.
macro_rules! both {
    ($($zw:ident $nt:ident($($name:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(pub(crate) unsafe extern "win64" fn $zw($($name: $type),*) -> NtStatus $body

        pub(crate) unsafe extern "win64" fn $nt($($name: $type),*) -> NtStatus {
            $zw($($name),*)
        })*
    };
}

both! {
    ZwCreateFile NtCreateFile(
        handle: *mut u64,
        access: u32,
        attributes: *const ObjectAttributes,
        answer: *mut IoStatusBlock,
        _allocation: *const i64,
        _file_attributes: u32,
        _share: u32,
        disposition: u32,
        options: u32,
        _extended: *const u8,
        _extended_bytes: u32,
    ) {
        create(handle, access, attributes, answer, disposition, options)
    }

    ZwOpenFile NtOpenFile(
        handle: *mut u64,
        access: u32,
        attributes: *const ObjectAttributes,
        answer: *mut IoStatusBlock,
        _share: u32,
        options: u32,
    ) {
        create(handle, access, attributes, answer, FILE_OPEN, options)
    }

    ZwReadFile NtReadFile(
        handle: u64,
        event: *mut u8,
        _apc: u64,
        _apc_context: u64,
        answer: *mut IoStatusBlock,
        buffer: *mut u8,
        length: u32,
        offset: *const i64,
        _key: *const u32,
    ) {
        finish(event, answer, transfer(handle, Direction::Read, buffer, length, offset))
    }

    ZwWriteFile NtWriteFile(
        handle: u64,
        event: *mut u8,
        _apc: u64,
        _apc_context: u64,
        answer: *mut IoStatusBlock,
        buffer: *mut u8,
        length: u32,
        offset: *const i64,
        _key: *const u32,
    ) {
        finish(event, answer, transfer(handle, Direction::Write, buffer, length, offset))
    }

    ZwQueryInformationFile NtQueryInformationFile(
        handle: u64,
        answer: *mut IoStatusBlock,
        to: *mut u8,
        room: u32,
        class: u32,
    ) {
        finish(ptr::null_mut(), answer, query(handle, to, room, class))
    }

    ZwSetInformationFile NtSetInformationFile(
        handle: u64,
        answer: *mut IoStatusBlock,
        from: *const u8,
        length: u32,
        class: u32,
    ) {
        finish(ptr::null_mut(), answer, set(handle, from, length, class))
    }

    ZwDeviceIoControlFile NtDeviceIoControlFile(
        handle: u64,
        event: *mut u8,
        _apc: u64,
        _apc_context: u64,
        answer: *mut IoStatusBlock,
        code: u32,
        input: u64,
        input_bytes: u32,
        output: u64,
        output_bytes: u32,
    ) {
        let request = ControlRequest { code, input, input_bytes, output, output_bytes };
        finish(event, answer, control(handle, &request))
    }
}

/// Without the parameters of pipes and mail slots, `ZwCreateFile`.
pub(crate) unsafe extern "win64" fn IoCreateFile(
    handle: *mut u64,
    access: u32,
    attributes: *const ObjectAttributes,
    answer: *mut IoStatusBlock,
    _allocation: *const i64,
    _file_attributes: u32,
    _share: u32,
    disposition: u32,
    options: u32,
    _extended: *const u8,
    _extended_bytes: u32,
    _kind: u32,
    _extra: *const u8,
    _flags: u32,
) -> NtStatus {
    create(handle, access, attributes, answer, disposition, options)
}

/// Every request here is over when its routine returns.
unsafe fn finish(event: *mut u8, answer: *mut IoStatusBlock, result: Result<u64, (NtStatus, u64)>) -> NtStatus {
    let (status, information) = match result {
        Ok(information) => (STATUS_SUCCESS, information),
        Err(failed) => failed,
    };
    put_optional(answer, IoStatusBlock { status, information, ..Default::default() });
    // The event is a handle; those of events are the kernel's, whose objects have addresses.
    if let Some(object) = object_manager::by_handle(event as u64).filter(|object| object.kind() == Kind::Event) {
        event::KeSetEvent(Block::at(object.address()), 0, 0);
    }
    status
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

fn open_file(handle: u64) -> Result<Arc<OpenFile>, (NtStatus, u64)> {
    object_manager::typed(handle).map_err(|status| (status, 0))
}

unsafe fn transfer(
    handle: u64,
    direction: Direction,
    buffer: *mut u8,
    length: u32,
    offset: *const i64,
) -> Result<u64, (NtStatus, u64)> {
    let fail = |status| (status, 0);
    let needed = match direction {
        Direction::Read => FILE_READ_DATA | GENERIC_READ | GENERIC_ALL,
        Direction::Write => FILE_WRITE_DATA | FILE_APPEND_DATA | GENERIC_WRITE | GENERIC_ALL,
    };
    let access = object_manager::access_of(handle).ok_or(fail(STATUS_INVALID_HANDLE))?;
    if access & needed == 0 {
        return Err(fail(STATUS_ACCESS_DENIED));
    }
    let object: Arc<dyn Any + Send + Sync> = object_manager::by_handle(handle).ok_or(fail(STATUS_INVALID_HANDLE))?;
    let device = object.downcast::<DeviceFile>();
    if let Ok(device) = device {
        let offset = if offset.is_null() { 0 } else { get(offset) };
        let answer = device.transfer(direction == Direction::Write, buffer, length, offset);
        return if answer.status.is_success() {
            Ok(answer.information)
        } else {
            Err((answer.status, answer.information))
        };
    }
    let file = open_file(handle)?;
    let mut position = file.position.lock().unwrap_or_else(PoisonError::into_inner);
    // No offset, or one of FILE_USE_FILE_POINTER_POSITION, is where the last request ended; FILE_WRITE_TO_END_OF_FILE
    // is the end.
    let at = match if offset.is_null() { -2 } else { get(offset) } {
        -2 => *position,
        -1 if direction == Direction::Write => file.file.length().map_err(fail)?,
        offset => u64::try_from(offset).map_err(|_| fail(STATUS_INVALID_PARAMETER))?,
    };
    let moved = match direction {
        Direction::Read => {
            let mut data = vec![0; length as usize];
            let read = file.file.read_at(&mut data, at).map_err(fail)?;
            put_bytes(buffer, &data[..read]);
            if read == 0 && length != 0 {
                return Err(fail(STATUS_END_OF_FILE));
            }
            read
        }
        Direction::Write => file.file.write_at(&bytes(buffer, length as usize), at).map_err(fail)?,
    };
    *position = at + moved as u64;
    Ok(moved as u64)
}

/// FILE_INFORMATION_CLASS
const BASIC: u32 = 4;
const STANDARD: u32 = 5;
const DISPOSITION: u32 = 13;
const POSITION: u32 = 14;
const ALLOCATION: u32 = 19;
const END_OF_FILE: u32 = 20;

const ATTRIBUTE_DIRECTORY: u32 = 0x10;
const ATTRIBUTE_NORMAL: u32 = 0x80;

unsafe fn query(handle: u64, to: *mut u8, room: u32, class: u32) -> Result<u64, (NtStatus, u64)> {
    let file = open_file(handle)?;
    let folder = file.file.is_folder();
    let whole = match class {
        BASIC => {
            let attributes = if folder { ATTRIBUTE_DIRECTORY } else { ATTRIBUTE_NORMAL };
            [vec![0; 32], attributes.to_le_bytes().to_vec(), vec![0; 4]].concat()
        }
        STANDARD => {
            let length = file.file.length().map_err(|status| (status, 0))?;
            let delete = *file.delete.lock().unwrap_or_else(PoisonError::into_inner);
            let mut whole = length.next_multiple_of(4096).to_le_bytes().to_vec();
            whole.extend(length.to_le_bytes());
            whole.extend(1u32.to_le_bytes());
            whole.extend([u8::from(delete), u8::from(folder), 0, 0]);
            whole
        }
        POSITION => file.position.lock().unwrap_or_else(PoisonError::into_inner).to_le_bytes().to_vec(),
        _ => return Err((STATUS_INVALID_INFO_CLASS, 0)),
    };
    if (room as usize) < whole.len() {
        return Err((if class == BASIC { STATUS_BUFFER_OVERFLOW } else { STATUS_INFO_LENGTH_MISMATCH }, 0));
    }
    put_bytes(to, &whole);
    Ok(whole.len() as u64)
}

unsafe fn set(handle: u64, from: *const u8, length: u32, class: u32) -> Result<u64, (NtStatus, u64)> {
    let file = open_file(handle)?;
    let fail = |status| (status, 0);
    let needed = match class {
        DISPOSITION => 1,
        POSITION | END_OF_FILE | ALLOCATION => 8,
        _ => return Err(fail(STATUS_INVALID_INFO_CLASS)),
    };
    if length < needed {
        return Err(fail(STATUS_INFO_LENGTH_MISMATCH));
    }
    if class == DISPOSITION {
        *file.delete.lock().unwrap_or_else(PoisonError::into_inner) = get(from) != 0;
        return Ok(0);
    }
    let value = u64::try_from(get(from.cast::<i64>())).map_err(|_| fail(STATUS_INVALID_PARAMETER))?;
    match class {
        POSITION => *file.position.lock().unwrap_or_else(PoisonError::into_inner) = value,
        END_OF_FILE => file.file.set_length(value).map_err(fail)?,
        // Room beforehand changes nothing that can be seen, less room than there is cuts the file.
        _ if value < file.file.length().map_err(fail)? => file.file.set_length(value).map_err(fail)?,
        _ => {}
    }
    Ok(0)
}

unsafe fn control(handle: u64, request: &ControlRequest) -> Result<u64, (NtStatus, u64)> {
    let object = object_manager::by_handle(handle).ok_or((STATUS_INVALID_HANDLE, 0))?;
    let answer = namespace().and_then(|namespace| namespace.device_io_control(&object, request));
    let (status, information) = match answer {
        Some(answer) => answer,
        None => {
            let object: Arc<dyn Any + Send + Sync> = object;
            let device = object.downcast::<DeviceFile>().map_err(|_| (STATUS_INVALID_DEVICE_REQUEST, 0))?;
            let answer = device.control(request);
            (answer.status, answer.information)
        }
    };
    if status == STATUS_SUCCESS { Ok(information) } else { Err((status, information)) }
}

/// What was written is with the service already.
pub(crate) unsafe extern "win64" fn ZwFlushBuffersFile(handle: u64, answer: *mut IoStatusBlock) -> NtStatus {
    finish(ptr::null_mut(), answer, open_file(handle).map(|_| 0))
}

pub(crate) unsafe extern "win64" fn ZwDeleteFile(attributes: *const ObjectAttributes) -> NtStatus {
    let mut handle = 0;
    let status = create(&raw mut handle, GENERIC_WRITE, attributes, ptr::null_mut(), FILE_OPEN, DELETE_ON_CLOSE);
    if status.is_success() { object_manager::close(handle) } else { status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_dos_drives_are_files() {
        assert_eq!(drive_path("\\??\\C:\\a\\b.txt").as_deref(), Some("C/a/b.txt"));
        assert_eq!(drive_path("\\DosDevices\\c:").as_deref(), Some("C"));
        assert_eq!(drive_path("\\dosdevices\\x:\\..\\y").as_deref(), Some("X/../y"));
        for other in ["\\??\\COM1", "\\Device\\C:\\a", "C:\\a", "\\??\\C:a", "\\??\\", "\\??\\\u{e4}:\\a"] {
            assert_eq!(drive_path(other), None, "{other}");
        }
    }
}
