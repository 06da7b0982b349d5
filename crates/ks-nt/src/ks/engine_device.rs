//! The device object behind the engine's objects that a driver has as files: what a driver sends there by IoCallDriver
//! goes to the engine, and its packet completes when the engine's request does.

use crate::ks::address::Address;
use crate::ks::engine_file::{self, EngineFile};
use crate::ks::function_table;
use crate::ks::kernel::{self, KernelDevice};
use crate::ks::notification;
use crate::ks::objects::{self, Object};
use ks_abi::kernel::{
    DeviceIoControlParameters, DriverObject, IO_TYPE_DRIVER, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE,
    IRP_MJ_DEVICE_CONTROL, IoStackLocation, Irp as Packet, SL_PENDING_RETURNED,
};
use ks_abi::{
    IoControlCode, KsStreamHeader, NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_HANDLE,
    STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::{
    CancelCell, CompletedRequest, CompletionRoutine, Irp, LentEvent, Reply, RequestParts, RequestorMode, deferred,
};
use ks_mem::{Block, Frame};
use ks_stream::{Direction, probe_headers};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// The largest request, answer or frame of a driver.
const MOST_BYTES: u32 = 16 << 20;
const MOST_FRAME_BYTES: u32 = 256 << 20;
const HEADER: usize = size_of::<KsStreamHeader>();
const DATA: usize = offset_of!(KsStreamHeader, data);

struct EngineDevice {
    _driver: Block,
    device: KernelDevice,
}

static DEVICE: LazyLock<Option<EngineDevice>> = LazyLock::new(|| {
    let driver = Block::zeroed(size_of::<DriverObject>(), 16).ok()?;
    driver.store_u16(0, IO_TYPE_DRIVER);
    driver.store_u16(2, size_of::<DriverObject>() as u16);
    for major in [IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_DEVICE_CONTROL] {
        let at = offset_of!(DriverObject, major_function) + 8 * usize::from(major);
        driver.store_u64(at, dispatch as *const () as u64);
    }
    let device = KernelDevice::new(driver.address(), 0).ok()?;
    Some(EngineDevice { _driver: driver, device })
});

/// Address of the device object.
pub(crate) fn address() -> Result<u64, NtStatus> {
    DEVICE.as_ref().map(|device| device.device.address()).ok_or(STATUS_INSUFFICIENT_RESOURCES)
}

fn complete(irp: Address, status: NtStatus, information: u64) -> NtStatus {
    irp.put(offset_of!(Packet, io_status.status), status);
    irp.put(offset_of!(Packet, io_status.information), information);
    kernel::complete_request(irp.0);
    status
}

/// The device control of a driver with AVStream: a packet for one of its filters or pins goes to the engine, as one of a
/// client's does. The rest of its major functions are not for packets.
pub(crate) unsafe extern "win64" fn dispatch_hosted(_device: u64, irp: Address) -> NtStatus {
    let stack = irp.follow(offset_of!(Packet, current_stack_location));
    let file = match objects::find(stack.follow(offset_of!(IoStackLocation, file_object))) {
        Some(Object::FilterFile(filter)) => filter.engine().and_then(|filter| filter.file_object()),
        Some(Object::PinFile(pin)) => pin.engine().and_then(|pin| pin.file_object()),
        _ => None,
    };
    match file.ok_or(STATUS_INVALID_DEVICE_REQUEST).and_then(|file| engine_file::shown(&file)) {
        Ok(file) => pass_on(&file, irp),
        Err(status) => complete(irp, status, 0),
    }
}

unsafe extern "win64" fn dispatch(_device: u64, irp: Address) -> NtStatus {
    let stack = irp.follow(offset_of!(Packet, current_stack_location));
    let major: u8 = stack.get(offset_of!(IoStackLocation, major_function));
    if major != IRP_MJ_DEVICE_CONTROL {
        // The file objects are opened and closed by their handles.
        return complete(irp, STATUS_SUCCESS, 0);
    }
    let file = stack.follow(offset_of!(IoStackLocation, file_object));
    match engine_file::of_file_object(file) {
        Some(file) => pass_on(&file, irp),
        None => complete(irp, STATUS_INVALID_HANDLE, 0),
    }
}

/// Gives the engine a driver's control request; its packet completes when the engine's request does.
pub(crate) fn pass_on(file: &EngineFile, irp: Address) -> NtStatus {
    let stack = irp.follow(offset_of!(Packet, current_stack_location));
    match Sending::new(file, irp, stack) {
        Ok((request, sending)) => send(file, irp, stack, request, sending),
        Err(status) => complete(irp, status, 0),
    }
}

/// The requests on their way that a driver may cancel, by the addresses of their packets.
static ON_THEIR_WAY: Mutex<BTreeMap<u64, Arc<CancelCell>>> = Mutex::new(BTreeMap::new());

fn on_their_way() -> MutexGuard<'static, BTreeMap<u64, Arc<CancelCell>>> {
    ON_THEIR_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a cancel of the packet find the engine's request. One that was cancelled already ends as soon as it waits.
fn let_cancel(irp: Address, cell: Arc<CancelCell>) {
    on_their_way().insert(irp.0, cell.clone());
    kernel::swap_cancel_routine(irp, cancelled as *const () as u64);
    if irp.get::<u8>(offset_of!(Packet, cancel)) != 0 && kernel::swap_cancel_routine(irp, 0) != 0 {
        cell.cancel();
    }
}

/// The engine's request has ended: from here on no cancel looks at the packet.
fn forbid_cancel(irp: Address) {
    if kernel::swap_cancel_routine(irp, 0) == 0 {
        // A cancel has begun, which holds the cancel lock for as long as it needs the packet.
        drop(kernel::hold_cancel_lock());
    }
    on_their_way().remove(&irp.0);
}

unsafe extern "win64" fn cancelled(_device: u64, irp: Address) {
    let cell = on_their_way().remove(&irp.0);
    kernel::release_cancel_lock(irp);
    if let Some(cell) = cell {
        cell.cancel();
    }
}

/// The parts of an engine's request.
enum Request {
    Control { code: IoControlCode, input: Vec<u8>, output: Vec<u8>, tokens: (u64, u64) },
    Stream { code: IoControlCode, frames: ks_io::StreamFrames },
}

/// Whom to tell of the end: the driver's packet, and where its data goes.
struct Sending {
    irp: Address,
    output: Address,
    room: usize,
    /// Where each frame's data lies in the driver's memory, and whether it is read back.
    data: Vec<Address>,
    reads: bool,
    /// The driver's event, as long as the request names it.
    _event: Option<LentEvent>,
}

impl Sending {
    fn new(file: &EngineFile, irp: Address, stack: Address) -> Result<(Request, Sending), NtStatus> {
        let parameters: DeviceIoControlParameters = stack.get(offset_of!(IoStackLocation, parameters));
        let (input_bytes, room) = (parameters.input_buffer_length, parameters.output_buffer_length);
        if input_bytes > MOST_BYTES || room > MOST_BYTES {
            return Err(STATUS_INVALID_BUFFER_SIZE);
        }
        let code = IoControlCode(parameters.io_control_code);
        let (input, output) = (Address(parameters.type3_input_buffer.0), irp.follow(offset_of!(Packet, user_buffer)));
        let reads = code == IoControlCode::KS_READ_STREAM;
        let mut sending = Sending { irp, output, room: room as usize, data: Vec::new(), reads, _event: None };
        if !reads && code != IoControlCode::KS_WRITE_STREAM {
            let (input_bytes, mut data) = (input.bytes(input_bytes as usize), output.bytes(room as usize));
            if code == IoControlCode::KS_ENABLE_EVENT {
                let object = file.file().ok_or(STATUS_INVALID_HANDLE)?;
                let mode: u8 = irp.get(offset_of!(Packet, requestor_mode));
                sending._event = notification::for_engine(&object, file.services(), mode, &input_bytes, &mut data)?;
            }
            // A client of the engine's has its addresses apart, see `low_level/wdm_file.rs`.
            let token = |at: usize, own: Address| irp.follow(at).some().unwrap_or(own).0;
            let tokens = (
                token(offset_of!(Packet, user_apc_routine), input),
                token(offset_of!(Packet, user_apc_context), output),
            );
            return Ok((Request::Control { code, input: input_bytes, output: data, tokens }, sending));
        }
        let list = output.bytes(room as usize);
        let stride = list.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
        if !(HEADER..=4096).contains(&(stride as usize)) {
            return Err(STATUS_INVALID_BUFFER_SIZE);
        }
        let direction = if reads { Direction::Read } else { Direction::Write };
        let frames = probe_headers(&list, direction, stride, |_, header| {
            let data = Address(header.data.0);
            sending.data.push(data);
            twin(file, data, header)
        });
        let frames = frames.map_err(|refusal| refusal.status)?;
        Ok((Request::Stream { code, frames }, sending))
    }
}

impl Sending {
    /// Completes a request for a table of routines.
    fn give_table(&self, table: &[u8]) -> NtStatus {
        match self.room {
            0 => complete(self.irp, STATUS_BUFFER_OVERFLOW, table.len() as u64),
            room if room < table.len() => complete(self.irp, STATUS_BUFFER_TOO_SMALL, 0),
            _ => {
                self.output.write_bytes(table);
                complete(self.irp, STATUS_SUCCESS, table.len() as u64)
            }
        }
    }
}

/// A frame of the engine's with the data of one that lies in a driver's memory.
fn twin(file: &EngineFile, data: Address, header: &KsStreamHeader) -> Option<Frame> {
    if data.is_null() || header.frame_extent > MOST_FRAME_BYTES || header.data_used > header.frame_extent {
        return None;
    }
    let frame = file.allocate(header.frame_extent as usize)?;
    let filled = frame.copy_in(0, &data.bytes(header.data_used as usize));
    filled.then_some(frame)
}

fn send(file: &EngineFile, irp: Address, stack: Address, request: Request, sending: Sending) -> NtStatus {
    let Some(object) = file.file() else { return complete(irp, STATUS_INVALID_HANDLE, 0) };
    if let Request::Control { code: IoControlCode::KS_PROPERTY, input, .. } = &request
        && file.origin().mode() == RequestorMode::Kernel
        && let Some(table) = function_table::of(&object, input)
    {
        return sending.give_table(&table);
    }
    let reply = Reply::Routine(Arc::new(sending));
    let made = match request {
        Request::Control { code, input, output, tokens } => {
            let output_bytes = output.len();
            let (input_token, output_token) = tokens;
            let parts = RequestParts { code, input: &input, output: &output, output_bytes, input_token, output_token };
            Irp::device_control(&object, file.origin(), parts, reply)
        }
        Request::Stream { code, frames } => Irp::stream_request(&object, file.origin(), code, frames, reply),
    };
    match made {
        Ok(mut made) => {
            let_cancel(irp, made.cancel_cell());
            let control = offset_of!(IoStackLocation, control);
            stack.put(control, stack.get::<u8>(control) | SL_PENDING_RETURNED);
            let _inside = deferred::enter();
            drop(object.dispatch(made));
            STATUS_PENDING
        }
        Err(status) => complete(irp, if status.is_error() { status } else { STATUS_INVALID_DEVICE_REQUEST }, 0),
    }
}

impl CompletionRoutine for Sending {
    fn completed(self: Arc<Self>, mut request: CompletedRequest) {
        let status = request.status();
        match request.take_stream() {
            Some(frames) => {
                let stride = frames.stride();
                let mut data = self.data.iter();
                for (index, frame) in frames.iter().enumerate() {
                    let mut header = vec![0; stride];
                    let whole = frame.header();
                    frame_header(frame, &mut header);
                    let place = frame.buffer().and_then(|_| data.next()).copied().unwrap_or(Address(whole.data.0));
                    header[DATA..DATA + 8].copy_from_slice(&place.0.to_le_bytes());
                    if let Some(buffer) = frame.buffer().filter(|_| self.reads && status.is_success()) {
                        let mut bytes = vec![0; (frame.data_used() as usize).min(buffer.len())];
                        if buffer.copy_out(0, &mut bytes) {
                            place.write_bytes(&bytes);
                        }
                    }
                    self.output.at(index * stride).write_bytes(&header);
                }
            }
            None => {
                let answer = request.answer();
                self.output.write_bytes(&answer[..answer.len().min(self.room)]);
            }
        }
        let information = request.information() as u64;
        drop(request);
        forbid_cancel(self.irp);
        let _ = complete(self.irp, status, information);
    }
}

/// The bytes of a frame's header with its extension.
fn frame_header(frame: &ks_io::StreamFrame, into: &mut [u8]) {
    use zerocopy::IntoBytes;
    let header = frame.header();
    into[..HEADER].copy_from_slice(header.as_bytes());
    let _ = frame.read_extension(&mut into[HEADER..]);
}
