//! The filters and pins of the engine as files of a driver: by ZwCreateFile, KsCreatePin and their kin.

use crate::exports;
use crate::exports::Export;
use crate::host;
use crate::ks::address::{Address, Routine};
use crate::ks::engine_device;
use crate::ks::file::file_object;
use crate::ks::function_table;
use crate::ks::kernel;
use crate::ks::low_level::class_object;
use crate::ks::notification;
use crate::ntoskrnl::device_file::{self, Told};
use crate::ntoskrnl::file::{self, ControlRequest, ObjectNamespace};
use crate::ntoskrnl::object_manager::{self, Kind, Object};
use crate::ntoskrnl::scheduler;
use ks_abi::kernel::IoStatusBlock;
use ks_abi::{
    Guid, IoControlCode, KSNAME_Allocator, KSNAME_Clock, KSNAME_Pin, KSNAME_TopologyNode, KsAllocatorFraming,
    KsClockCreate, KsDataFormat, KsNodeCreate, KsPinConnect, KsStreamHeader, NtStatus, STATUS_BUFFER_OVERFLOW,
    STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::{
    AccessMask, Dispatch, FileObject, Handle, InterfaceInfo, IoManager, Origin, RequestorMode, Services, Session,
    Transport,
};
use ks_mem::{Block, Frame};
use std::any::Any;
use std::mem::offset_of;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsCreatePin, KsCreateClock, KsCreateAllocator, KsCreateTopologyNode, KsSynchronousIoControlDevice, KsStreamIo,
);

/// The largest parameter block, request or answer of a driver.
const MOST_BYTES: u32 = 16 << 20;
/// The most frames of one stream request.
const MOST_FRAMES: usize = 256;
/// The largest frame that is copied for a driver.
const MOST_FRAME_BYTES: u32 = 256 << 20;
/// Paths of objects, for the kernel and for user mode.
const PREFIXES: [&str; 3] = [r"\??\", r"\\?\", r"\DosDevices\"];
const OUR_NAME: &str = "userks#";
/// Of a thread that waits for a stream request and calls a driver's completion routine.
const WAITER_STACK_BYTES: usize = 2 << 20;

/// An object of the engine, as a driver has it open.
pub(crate) struct EngineFile {
    session: Arc<Session>,
    handle: Handle,
    object: Block,
    opened: Opened,
}

/// Whose the handle of an [`EngineFile`] is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// The drivers' own: the object is closed with it.
    ByDriver,
    /// It stands for one that a client has open.
    ByClient,
}

impl Object for EngineFile {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn address(&self) -> *mut u8 {
        self.object.address() as *mut u8
    }
}

impl Drop for EngineFile {
    fn drop(&mut self) {
        match self.opened {
            Opened::ByDriver => drop(self.session.close(self.handle)),
            Opened::ByClient => self.session.forget(self.handle),
        }
    }
}

impl EngineFile {
    /// The engine's file object, unless it is closed.
    pub(crate) fn file(&self) -> Option<Arc<FileObject>> {
        self.session.file_object(self.handle)
    }

    /// Who asks when a driver sends requests here.
    pub(crate) fn origin(&self) -> &Origin {
        self.session.origin()
    }

    /// Time, work and waiting of its engine.
    pub(crate) fn services(&self) -> &Services {
        self.session.io_manager().services()
    }

    /// Frames for the data of a driver's request.
    pub(crate) fn allocate(&self, bytes: usize) -> Option<Frame> {
        self.session.allocate(bytes, 64).ok()
    }
}

/// The engine's object behind a FILE_OBJECT that a driver has.
pub(crate) fn of_file_object(file: Address) -> Option<Arc<EngineFile>> {
    by_file(file)
}

/// An object that somebody has open, as a file that drivers know by its address.
pub(crate) fn shown(file: &Arc<FileObject>) -> Result<Arc<EngineFile>, NtStatus> {
    let session = sessions().into_iter().next().ok_or(STATUS_INVALID_HANDLE)?;
    let object = file_object(engine_device::address()?)?;
    let handle = session.lend(file)?;
    let shown = Arc::new(EngineFile { session, handle, object, opened: Opened::ByClient });
    let published: Arc<dyn Object> = shown.clone();
    object_manager::publish(&published);
    Ok(shown)
}

/// A handle of the drivers' world for an object that a client has open. The driver references the object while the
/// handle is open; the object stays open at least as long.
pub(crate) fn lend(file: &Arc<FileObject>, access: u32) -> Result<u64, NtStatus> {
    let session = sessions().into_iter().next().ok_or(STATUS_INVALID_HANDLE)?;
    let handle = session.lend(file)?;
    let object: Arc<dyn Object> = Arc::new(EngineFile {
        object: file_object(engine_device::address()?)?,
        session,
        handle,
        opened: Opened::ByClient,
    });
    Ok(object_manager::open(object, access))
}

/// The engine that the objects of drivers' own belong to: the last that serves drivers, or one that has nothing else.
pub(crate) fn engine() -> Arc<IoManager> {
    static ALONE: LazyLock<Arc<IoManager>> = LazyLock::new(|| IoManager::new(Services::real()));
    let engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    let living = engines.iter().rev().find_map(|engine| engine.io.upgrade());
    living.unwrap_or_else(|| ALONE.clone()).for_device()
}

/// An object of the engine's that has no filter above it, for a file object of a driver's own.
pub(crate) fn adopt(
    io: &Arc<IoManager>,
    mode: RequestorMode,
    object: Arc<dyn Dispatch>,
) -> Result<Arc<EngineFile>, NtStatus> {
    let session = io.session_as(mode);
    let handle = session.adopt(object, AccessMask(READ | WRITE_ACCESS))?;
    let object = engine_device::address().and_then(file_object)?;
    Ok(Arc::new(EngineFile { session, handle, object, opened: Opened::ByDriver }))
}

/// An engine whose filters drivers can open.
struct Engine {
    io: Weak<IoManager>,
    /// The drivers' client of the engine, as long as one of them has something open.
    session: Weak<Session>,
}

impl Engine {
    fn session(&mut self) -> Option<Arc<Session>> {
        if let Some(session) = self.session.upgrade() {
            return Some(session);
        }
        let session = self.io.upgrade()?.session_as(RequestorMode::Kernel);
        self.session = Arc::downgrade(&session);
        Some(session)
    }
}

/// The interfaces of the engines as names; of several engines of one process the last one comes first.
struct Namespace;

static ENGINES: Mutex<Vec<Engine>> = Mutex::new(Vec::new());

/// Has drivers find the filters of an engine by the links of their interfaces.
pub(crate) fn serve(io: &Arc<IoManager>) {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.retain(|engine| engine.io.strong_count() > 0 && !std::ptr::eq(engine.io.as_ptr(), Arc::as_ptr(io)));
    engines.push(Engine { io: Arc::downgrade(io), session: Weak::new() });
    drop(engines);
    file::set_namespace(Some(Arc::new(Namespace)));
}

fn sessions() -> Vec<Arc<Session>> {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.iter_mut().rev().filter_map(Engine::session).collect()
}

impl ObjectNamespace for Namespace {
    fn open(
        &self,
        root: Option<Arc<dyn Object>>,
        name: &str,
        access: u32,
    ) -> Option<Result<Arc<dyn Object>, NtStatus>> {
        if root.is_some() {
            return None;
        }
        let own =
            PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).filter(|own| own.starts_with(OUR_NAME))?;
        let link = format!(r"\\?\{own}");
        let mut refused = STATUS_OBJECT_NAME_NOT_FOUND;
        for session in sessions() {
            match session.open(&link, AccessMask(access)) {
                Ok(handle) => return Some(engine_file(&session, handle)),
                Err(outcome) if outcome.status == STATUS_OBJECT_NAME_NOT_FOUND => {}
                Err(outcome) => refused = outcome.status,
            }
        }
        Some(Err(refused))
    }

    fn interfaces(&self, class: Guid, device: u64) -> Vec<String> {
        let names = host::device_names(device);
        let is_meant = |one: &InterfaceInfo| names.contains(&one.device);
        let known = sessions().into_iter().flat_map(|session| session.interfaces(Some(class)));
        known.filter(is_meant).map(|one| one.symbolic_link.replacen(r"\\?\", r"\??\", 1)).collect()
    }

    fn device_io_control(&self, object: &Arc<dyn Object>, request: &ControlRequest) -> Option<(NtStatus, u64)> {
        let object: Arc<dyn Any + Send + Sync> = object.clone();
        Some(control(&*object.downcast::<EngineFile>().ok()?, request))
    }
}

fn engine_file(session: &Arc<Session>, handle: Handle) -> Result<Arc<dyn Object>, NtStatus> {
    match engine_device::address().and_then(file_object) {
        Ok(object) => Ok(Arc::new(EngineFile { session: session.clone(), handle, object, opened: Opened::ByDriver })),
        Err(status) => {
            let _ = session.close(handle);
            Err(status)
        }
    }
}

/// A control request with the driver's buffers; stream requests are copied through memory of the engine's.
fn control(file: &EngineFile, request: &ControlRequest) -> (NtStatus, u64) {
    if request.input_bytes > MOST_BYTES || request.output_bytes > MOST_BYTES {
        return (STATUS_INVALID_BUFFER_SIZE, 0);
    }
    let code = IoControlCode(request.code);
    let input = Address(request.input).bytes(request.input_bytes as usize);
    let output = Address(request.output);
    let mut bytes = output.bytes(request.output_bytes as usize);
    if matches!(code, IoControlCode::KS_READ_STREAM | IoControlCode::KS_WRITE_STREAM) {
        return match Stream::prepare(file, output, bytes) {
            Ok(stream) => stream.run(file, code),
            Err(status) => (status, 0),
        };
    }
    if code == IoControlCode::KS_PROPERTY
        && let Some(table) = file.session.file_object(file.handle).and_then(|own| function_table::of(&own, &input))
    {
        return match bytes.len() {
            0 => (STATUS_BUFFER_OVERFLOW, table.len() as u64),
            room if room < table.len() => (STATUS_BUFFER_TOO_SMALL, 0),
            _ => {
                output.write_bytes(&table);
                (STATUS_SUCCESS, table.len() as u64)
            }
        };
    }
    let Some(object) = file.file() else { return (STATUS_INVALID_HANDLE, 0) };
    let _event = match code {
        IoControlCode::KS_ENABLE_EVENT => {
            match notification::for_engine(&object, file.services(), 0, &input, &mut bytes) {
                Ok(event) => event,
                Err(status) => return (status, 0),
            }
        }
        _ => None,
    };
    let outcome = file.session.control(&object, code, &input, &mut bytes, [request.input, request.output]);
    let answered = if outcome.status.is_success() { outcome.information.min(bytes.len()) } else { 0 };
    output.write_bytes(&bytes[..answered]);
    (outcome.status, outcome.information as u64)
}

/// A stream request whose frames lie in the driver's memory: each has a twin in memory that the engine knows.
struct Stream {
    headers: Address,
    bytes: Vec<u8>,
    frames: Vec<Twin>,
}

struct Twin {
    header: usize,
    data: Address,
    frame: Option<Frame>,
}

impl Stream {
    fn prepare(file: &EngineFile, headers: Address, mut bytes: Vec<u8>) -> Result<Stream, NtStatus> {
        let mut frames = Vec::new();
        let mut at = 0;
        while at + size_of::<KsStreamHeader>() <= bytes.len() && frames.len() < MOST_FRAMES {
            let header: KsStreamHeader = headers.get(at);
            let step = (header.size as usize).max(size_of::<KsStreamHeader>());
            let data = Address(header.data.0);
            let frame = if data.is_null() || header.frame_extent == 0 {
                None
            } else {
                if header.frame_extent > MOST_FRAME_BYTES || header.data_used > header.frame_extent {
                    return Err(STATUS_INVALID_PARAMETER);
                }
                let frame = file.session.allocate(header.frame_extent as usize, 64);
                let frame = frame.map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
                if let Some(mut to) = frame.bytes_mut(header.data_used as usize) {
                    data.read_into(&mut to);
                }
                let place = at + offset_of!(KsStreamHeader, data);
                bytes[place..place + 8].copy_from_slice(&frame.address().to_le_bytes());
                Some(frame)
            };
            frames.push(Twin { header: at, data, frame });
            at += step;
        }
        Ok(Stream { headers, bytes, frames })
    }

    fn run(mut self, file: &EngineFile, code: IoControlCode) -> (NtStatus, u64) {
        let outcome = file.session.device_io_control(file.handle, code, &[], &mut self.bytes);
        self.give_back(code);
        (outcome.status, outcome.information as u64)
    }

    /// Copies what was read and the headers back to the driver, with its own addresses in them.
    fn give_back(&mut self, code: IoControlCode) {
        for twin in &self.frames {
            let used = twin.header + offset_of!(KsStreamHeader, data_used);
            let used =
                self.bytes.get(used..used + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
            if let Some(frame) = &twin.frame {
                if code == IoControlCode::KS_READ_STREAM
                    && let Some(from) = frame.bytes((used as usize).min(frame.len()))
                {
                    twin.data.write_bytes(&from);
                }
                let place = twin.header + offset_of!(KsStreamHeader, data);
                self.bytes[place..place + 8].copy_from_slice(&twin.data.0.to_le_bytes());
            }
        }
        self.headers.write_bytes(&self.bytes);
    }
}

/// Opens an object below another by the handle of that.
fn create_below(parent: u64, class: Guid, parameters: &[u8], access: u32, result: Address) -> NtStatus {
    let parent = match object_manager::typed::<EngineFile>(parent) {
        Ok(parent) => parent,
        Err(status) => return status,
    };
    let name = format!(r"{class}\");
    let created = parent.session.create(parent.handle, &name, parameters, AccessMask(access));
    match created.map_err(|outcome| outcome.status).and_then(|handle| engine_file(&parent.session, handle)) {
        Ok(object) => {
            result.put(0, object_manager::open(object, access));
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

pub(crate) unsafe extern "win64" fn KsCreatePin(
    filter: u64,
    connect: Address,
    access: u32,
    result: Address,
) -> NtStatus {
    let head = size_of::<KsPinConnect>();
    let format: u32 = connect.get(head + offset_of!(KsDataFormat, format_size));
    if format > MOST_BYTES || (format as usize) < size_of::<KsDataFormat>() {
        return STATUS_INVALID_PARAMETER;
    }
    let flags: u32 = connect.get(head + offset_of!(KsDataFormat, flags));
    let mut bytes = head + format as usize;
    if flags & ks_abi::KSDATAFORMAT_ATTRIBUTES != 0 {
        bytes = bytes.next_multiple_of(8);
        let list: u32 = connect.get(bytes);
        bytes += list.min(MOST_BYTES) as usize;
    }
    let mut parameters = connect.bytes(bytes);
    // The other pin is known to the engine by a handle of its own.
    let place = offset_of!(KsPinConnect, pin_to_handle);
    let other: u64 = connect.get(place);
    if other != 0 {
        match object_manager::typed::<EngineFile>(other) {
            Ok(other) => parameters[place..place + 8].copy_from_slice(&other.handle.0.to_le_bytes()),
            Err(_) => return STATUS_INVALID_HANDLE,
        }
    }
    create_below(filter, KSNAME_Pin, &parameters, access, result)
}

/// GENERIC_READ and GENERIC_WRITE
const READ: u32 = 0x8000_0000;
const WRITE_ACCESS: u32 = 0x4000_0000;

// ks-coverage: KsCreateClock done test=a_driver_creates_an_allocator_a_clock_and_a_node_and_calls_their_routines
pub(crate) unsafe extern "win64" fn KsCreateClock(pin: u64, create: Address, result: Address) -> NtStatus {
    create_below(pin, KSNAME_Clock, &create.bytes(size_of::<KsClockCreate>()), READ, result)
}

// ks-coverage: KsCreateAllocator done test=a_driver_creates_an_allocator_a_clock_and_a_node_and_calls_their_routines
pub(crate) unsafe extern "win64" fn KsCreateAllocator(pin: u64, framing: Address, result: Address) -> NtStatus {
    create_below(pin, KSNAME_Allocator, &framing.bytes(size_of::<KsAllocatorFraming>()), READ, result)
}

// ks-coverage: KsCreateTopologyNode done test=a_driver_creates_an_allocator_a_clock_and_a_node_and_calls_their_routines
pub(crate) unsafe extern "win64" fn KsCreateTopologyNode(
    parent: u64,
    create: Address,
    access: u32,
    result: Address,
) -> NtStatus {
    create_below(parent, KSNAME_TopologyNode, &create.bytes(size_of::<KsNodeCreate>()), access, result)
}

/// The engine's file object behind one of a driver's.
pub(super) fn engine_object(file: Address) -> Option<Arc<FileObject>> {
    by_file(file).or_else(|| class_object::engine_of(file))?.file()
}

fn by_file(file: Address) -> Option<Arc<EngineFile>> {
    let object: Arc<dyn Any + Send + Sync> = object_manager::by_address(file.0 as *mut u8)?;
    object.downcast().ok()
}

/// A control request on a file object that a driver has: of the engine's, or of any device of the kernel's, which gets a
/// packet of a requestor of this mode.
pub(crate) fn control_any(file: Address, mode: u8, request: &ControlRequest) -> (NtStatus, u64) {
    if let Some(file) = by_file(file) {
        return control(&file, request);
    }
    let Some(device) = file.some().and_then(|file| kernel::related_device(file).some()) else {
        return (STATUS_INVALID_PARAMETER, 0);
    };
    // SAFETY: the file object is the caller's and open, and so are the buffers, as the pages of the routines say.
    let ended = unsafe { device_file::control_at(device.0, file.0, mode, request) };
    (ended.status, ended.information)
}

// ks-coverage: KsSynchronousIoControlDevice done test=a_driver_opens_another_and_reads_from_it,stream_and_control_requests_go_to_any_file_object
pub(crate) unsafe extern "win64" fn KsSynchronousIoControlDevice(
    file: Address,
    mode: u8,
    code: u32,
    input: u64,
    input_bytes: u32,
    output: u64,
    output_bytes: u32,
    returned: Address,
) -> NtStatus {
    let request = ControlRequest { code, input, input_bytes, output, output_bytes };
    let (status, information) = control_any(file, mode, &request);
    returned.put_optional(information as u32);
    status
}

/// KSSTREAM_WRITE and KSSTREAM_SYNCHRONOUS
const WRITE: u32 = 1;
const SYNCHRONOUS: u32 = 0x1000;
const INVOKE_ON_SUCCESS: u32 = 1;
const INVOKE_ON_ERROR: u32 = 2;
const INVOKE_ON_CANCEL: u32 = 4;

/// Reads or writes stream headers on a file. With an event and without KSSTREAM_SYNCHRONOUS it goes on by itself.
///
/// Decision: for an object of the engine's the completion routine is called with no request, because none of the driver's
/// world exists.
// ks-coverage: KsStreamIo done test=a_driver_opens_another_and_reads_from_it,stream_and_control_requests_go_to_any_file_object
pub(crate) unsafe extern "win64" fn KsStreamIo(
    file: Address,
    event: u64,
    _port: u64,
    completion: Address,
    context: u64,
    invocation: u32,
    answer: Address,
    headers: Address,
    length: u32,
    flags: u32,
    mode: u8,
) -> NtStatus {
    if length > MOST_BYTES {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let code = if flags & WRITE != 0 { IoControlCode::KS_WRITE_STREAM } else { IoControlCode::KS_READ_STREAM };
    let Some(file) = by_file(file) else {
        let request =
            ControlRequest { code: code.0, input: 0, input_bytes: 0, output: headers.0, output_bytes: length };
        let on = [INVOKE_ON_SUCCESS, INVOKE_ON_ERROR, INVOKE_ON_CANCEL].map(|on| u8::from(invocation & on != 0));
        let told = Told { event, answer: answer.0, routine: completion.0, context, on };
        let waits = event == 0 || flags & SYNCHRONOUS != 0;
        return stream_any(file, mode, &request, &told, waits.then_some(Waits));
    };
    let mut stream = match Stream::prepare(&file, headers, headers.bytes(length as usize)) {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    let ended = move |status: NtStatus, information: u64| {
        answer.put_optional(IoStatusBlock { status, information, ..IoStatusBlock::default() });
        let wanted = if status.is_success() { INVOKE_ON_SUCCESS } else { INVOKE_ON_ERROR };
        if invocation & wanted != 0
            && let Some(routine) = Routine::optional(completion, "the completion routine of KsStreamIo")
        {
            routine.call3(0, 0, context);
        }
        kernel::set_event(event);
    };
    if event == 0 || flags & SYNCHRONOUS != 0 {
        let (status, information) = stream.run(&file, code);
        ended(status, information);
        return status;
    }
    let request = file.session.submit(file.handle, code, &[], std::mem::take(&mut stream.bytes));
    let waiter = move || {
        let finished = request.wait();
        stream.bytes = finished.output;
        stream.give_back(code);
        // Who is told may close everything at once.
        drop(file);
        ended(finished.outcome.status, finished.outcome.information as u64);
    };
    match scheduler::spawn("ks-stream-io", WAITER_STACK_BYTES, waiter) {
        Ok(_) => STATUS_PENDING,
        Err(_) => STATUS_INSUFFICIENT_RESOURCES,
    }
}

/// The caller waits for the end of its request.
struct Waits;

/// A stream request on a file of a driver's own device: a packet, which the completion routine is called with.
fn stream_any(file: Address, mode: u8, request: &ControlRequest, told: &Told, waits: Option<Waits>) -> NtStatus {
    let Some(device) = file.some().and_then(|file| kernel::related_device(file).some()) else {
        return STATUS_INVALID_PARAMETER;
    };
    if waits.is_none() {
        // SAFETY: the file object is the caller's and open, and headers, event and answer are there until the end.
        return unsafe { device_file::start_control(device.0, file.0, mode, request, told) };
    }
    // SAFETY: as above.
    let ended = unsafe { device_file::control_and_tell(device.0, file.0, mode, request, told) };
    Address(told.answer).put_optional(ended);
    kernel::set_event(told.event);
    ended.status
}
