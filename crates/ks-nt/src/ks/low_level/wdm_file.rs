//! An open object of a driver without AVStream: requests of the engine become requests of the driver's kind, and end
//! when it completes them.

use super::wdm_device::{self, WdmDevice};
use crate::ks::address::Address;
use crate::ks::client_event::ClientEvent;
use crate::ks::engine_file;
use crate::machine;
use crate::ntoskrnl::device_file::{Asked, DeviceFile};
use crate::ntoskrnl::io_request::{self, IoAllocateIrp, IofCallDriver, next_location};
use crate::ntoskrnl::object_manager::OpenHandle;
use ks_abi::kernel::{DeviceIoControlParameters, DeviceObject, IRP_MJ_DEVICE_CONTROL, IoStackLocation, Irp as Packet};
use ks_abi::{
    IoControlCode, KSEVENTF_EVENT_HANDLE, KSNAME_Pin, KsEventData, KsPinConnect, NtStatus, Ptr64, STATUS_CANCELLED,
    STATUS_DEVICE_REMOVED, STATUS_FILE_CLOSED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_HANDLE,
};
use ks_io::{
    Aspect, CancelTarget, CreateRequest, Created, Dispatch, Dispatched, Irp, Refusal, RequestorMode, deferred,
};
use ks_mem::Block;
use ks_stream::{Direction, probe_headers};
use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The largest request or answer.
const MOST_BYTES: usize = 16 << 20;
/// Where a stream header has its Data.
const DATA: usize = offset_of!(ks_abi::KsStreamHeader, data);

/// A file of a driver's device, as an object of the engine.
pub(crate) struct WdmFile {
    device: Arc<WdmDevice>,
    file: Mutex<Option<Arc<DeviceFile>>>,
    sent: Arc<Sent>,
}

/// The requests that the driver has.
#[derive(Default)]
struct Sent {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    requests: HashMap<u64, (Irp, Arc<Lent>)>,
    last: u64,
}

/// A packet that a driver has been lent, and the buffers behind it.
struct Lent {
    packet: *mut Packet,
    input: Block,
    output: Block,
    /// Bytes of the output buffer.
    room: usize,
    /// The client's event, as long as the driver may look its handle up.
    _event: Option<OpenHandle>,
}

// SAFETY: the packet is a driver's, which accesses it from any thread by its own rules; the rest does not change.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Drop for Lent {
    fn drop(&mut self) {
        io_request::disown(self.packet);
        // SAFETY: the packet was allocated for this alone, and whoever was lent it has completed it.
        unsafe { crate::ntoskrnl::driver_memory::free_pool(self.packet.cast()) }
    }
}

fn block(bytes: &[u8], room: usize) -> Result<Block, NtStatus> {
    let block = Block::zeroed(room.max(bytes.len()).max(8), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    block.write_bytes(0, bytes);
    Ok(block)
}

impl Lent {
    /// A device-control packet for a file.
    fn new(file: &DeviceFile, irp: &Irp, input: &[u8], output: &[u8], room: usize, event: Option<OpenHandle>) -> Made {
        let (code, mode) = (irp.io_control_code(), requestor(irp));
        let (input, output) = ((block(input, 0)?, input.len()), block(output, room)?);
        let device = Address(file.device() as u64);
        let stack_size = device.get(offset_of!(DeviceObject, stack_size));
        // SAFETY: a request with as many locations as the device asks for.
        let packet = unsafe { IoAllocateIrp(stack_size, 0) };
        if packet.is_null() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let lent = Arc::new(Lent { packet, input: input.0, output, room, _event: event });
        // SAFETY: the packet was just made, with a location for the driver.
        let stack = Address(unsafe { next_location(packet) } as u64);
        let at = Address(packet as u64);
        let parameters = DeviceIoControlParameters {
            output_buffer_length: room as u32,
            input_buffer_length: input.1 as u32,
            io_control_code: code.0,
            type3_input_buffer: Ptr64(if input.1 == 0 { 0 } else { lent.input.address() }),
            ..DeviceIoControlParameters::default()
        };
        stack.put(offset_of!(IoStackLocation, major_function), IRP_MJ_DEVICE_CONTROL);
        stack.put(offset_of!(IoStackLocation, parameters), parameters);
        stack.put(offset_of!(IoStackLocation, file_object), file.address_of());
        at.put(offset_of!(Packet, original_file_object), file.address_of());
        at.put(offset_of!(Packet, requestor_mode), mode);
        at.put(offset_of!(Packet, user_buffer), if room == 0 { 0 } else { lent.output.address() });
        at.put(offset_of!(Packet, io_status.status), NtStatus::STATUS_NOT_SUPPORTED);
        // What nobody calls when the packet ends: here, the client's own addresses, which name its events.
        at.put(offset_of!(Packet, user_apc_routine), irp.input_token());
        at.put(offset_of!(Packet, user_apc_context), irp.output_token());
        Ok(lent)
    }

    fn at(&self) -> Address {
        Address(self.packet as u64)
    }
}

type Made = Result<Arc<Lent>, NtStatus>;

impl Sent {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver has completed a packet.
    fn ended(&self, key: u64) {
        let Some((irp, lent)) = self.waiting().requests.remove(&key) else { return };
        irp.disarm();
        // SAFETY: the packet is complete, and this is who it was made for.
        unsafe { io_request::return_buffers(lent.packet) };
        let _inside = deferred::enter();
        let status = NtStatus(lent.at().get(offset_of!(Packet, io_status.status)));
        let information: u64 = lent.at().get(offset_of!(Packet, io_status.information));
        finish(irp, &lent, status, usize::try_from(information).unwrap_or(usize::MAX));
    }
}

/// Gives a request what the driver answered.
fn finish(mut irp: Irp, lent: &Lent, status: NtStatus, information: usize) {
    let mut answer = vec![0; lent.room];
    lent.output.read_bytes(0, &mut answer);
    if let Some(stream) = irp.stream() {
        let stride = stream.stride();
        for (frame, header) in stream.iter().zip(answer.chunks_exact_mut(stride)) {
            header[DATA..DATA + 8].copy_from_slice(&frame.header().data.0.to_le_bytes());
            frame.absorb(header);
        }
    } else if status.is_success() {
        let _ = irp.parts().output.answer(&answer[..information.min(lent.room)]);
    }
    irp.parts().output.set_information(information.min(MOST_BYTES));
    drop(irp.complete(status));
}

impl CancelTarget for Sent {
    fn cancel(&self, key: u64) {
        let lent = self.waiting().requests.get(&key).map(|(_, lent)| lent.clone());
        if let Some(lent) = lent {
            machine::enter_thread();
            // SAFETY: the packet lives as long as it is held here; a complete one has no cancel routine.
            unsafe { io_request::IoCancelIrp(lent.packet) };
        }
    }
}

impl WdmFile {
    pub(super) fn new(device: Arc<WdmDevice>, file: Arc<DeviceFile>) -> Arc<WdmFile> {
        device.opened();
        Arc::new(WdmFile { device, file: Mutex::new(Some(file)), sent: Arc::default() })
    }

    /// The driver's file, unless it is closed.
    pub(crate) fn file(&self) -> Option<Arc<DeviceFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives a driver a request of the engine's; it ends when the driver completes it.
    fn send(&self, irp: Irp, lent: Made, file: &DeviceFile) -> Dispatched {
        let lent = match lent {
            Ok(lent) => lent,
            Err(status) => return irp.done(status),
        };
        let key = {
            let mut waiting = self.sent.waiting();
            waiting.last += 1;
            let key = waiting.last;
            let target: Weak<dyn CancelTarget> = Arc::<Sent>::downgrade(&self.sent);
            if irp.arm(target, key).is_err() {
                drop(waiting);
                return irp.done(STATUS_CANCELLED);
            }
            waiting.requests.insert(key, (irp, lent.clone()));
            key
        };
        let sent = self.sent.clone();
        io_request::adopt(lent.packet, Box::new(move |_| sent.ended(key)));
        machine::enter_thread();
        let device: *mut DeviceObject = file.device();
        // SAFETY: the device is alive as long as its file, and the packet has a location for its driver.
        let _ = unsafe { IofCallDriver(device, lent.packet) };
        Dispatched::Pending
    }

    fn control(&self, irp: Irp, file: &DeviceFile) -> Dispatched {
        let room = irp.output().limit().min(MOST_BYTES);
        if irp.input().len() > MOST_BYTES {
            return irp.done(STATUS_INVALID_BUFFER_SIZE);
        }
        let mut data = irp.output().data()[..irp.output().data().len().min(room)].to_vec();
        let event = match rewrite_event(&irp, &mut data) {
            Ok(event) => event,
            Err(status) => return irp.done(status),
        };
        let lent = Lent::new(file, &irp, irp.input(), &data, room, event);
        self.send(irp, lent, file)
    }

    /// A stream request: frames of the engine's go by their addresses.
    fn stream(&self, mut irp: Irp, file: &DeviceFile, direction: Direction) -> Dispatched {
        if irp.stream().is_none() {
            let list = irp.output().data();
            let stride = list.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
            if !(size_of::<ks_abi::KsStreamHeader>()..=4096).contains(&(stride as usize)) {
                return irp.done(STATUS_INVALID_BUFFER_SIZE);
            }
            let regions = self.device.regions();
            let resolve = |_: usize, header: &ks_abi::KsStreamHeader| {
                regions.resolve_for(irp.origin().client(), header.data.0, header.frame_extent as usize)
            };
            match probe_headers(list, direction, stride, resolve) {
                Ok(frames) => irp.set_stream(frames),
                Err(refusal) => return Dispatched::Completed(irp.refuse(refusal)),
            }
        }
        let Some(stream) = irp.stream() else { return irp.done(STATUS_INVALID_BUFFER_SIZE) };
        let mut headers = stream.headers();
        let stride = stream.stride();
        for (frame, header) in stream.iter().zip(headers.chunks_exact_mut(stride)) {
            let data = frame.buffer().map_or(0, ks_mem::Frame::address);
            header[DATA..DATA + 8].copy_from_slice(&data.to_le_bytes());
        }
        let lent = Lent::new(file, &irp, &[], &headers, headers.len(), None);
        self.send(irp, lent, file)
    }
}

fn requestor(irp: &Irp) -> u8 {
    u8::from(irp.origin().mode() == RequestorMode::User)
}

/// Names the client's event of an enable request by a handle that the driver can look up.
fn rewrite_event(irp: &Irp, data: &mut [u8]) -> Result<Option<OpenHandle>, NtStatus> {
    const PLACE: usize = offset_of!(KsEventData, object);
    let kind = data.first_chunk().map_or(0, |kind| u32::from_le_bytes(*kind));
    if irp.io_control_code() != IoControlCode::KS_ENABLE_EVENT || kind != KSEVENTF_EVENT_HANDLE {
        return Ok(None);
    }
    let Some(place) = data.get_mut(PLACE..PLACE + 8) else { return Ok(None) };
    let handle = place.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let event = irp.file_object().and_then(|file| file.event_by_handle(handle)).ok_or(STATUS_INVALID_HANDLE)?;
    let own = ClientEvent::open(event)?;
    place.copy_from_slice(&own.handle().to_le_bytes());
    Ok(Some(own))
}

/// Names the pin that a pin is created for by a handle that the driver can look up.
fn rewrite_pin(request: &CreateRequest<'_>, parameters: &mut [u8]) -> Result<Option<OpenHandle>, NtStatus> {
    const PLACE: usize = offset_of!(KsPinConnect, pin_to_handle);
    let class = request.name.strip_suffix('\\').unwrap_or(request.name);
    let Some(place) = parameters.get_mut(PLACE..PLACE + 8) else { return Ok(None) };
    let handle = place.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if handle == 0 || !class.eq_ignore_ascii_case(&KSNAME_Pin.to_string()) {
        return Ok(None);
    }
    let other =
        request.file.file_by_handle(handle).filter(|file| !file.is_cleaned_up()).ok_or(STATUS_INVALID_HANDLE)?;
    let own = match other.object_as::<WdmFile>() {
        Some(file) => OpenHandle::new(file.file().ok_or(STATUS_INVALID_HANDLE)?, request.access.0),
        None => OpenHandle::of(engine_file::lend(&other, request.access.0)?),
    };
    place.copy_from_slice(&own.handle().to_le_bytes());
    Ok(Some(own))
}

impl Dispatch for WdmFile {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        if self.device.is_removed() {
            return irp.done(STATUS_DEVICE_REMOVED);
        }
        let Some(file) = self.file() else { return irp.done(STATUS_FILE_CLOSED) };
        match irp.io_control_code() {
            IoControlCode::KS_READ_STREAM => self.stream(irp, &file, Direction::Read),
            IoControlCode::KS_WRITE_STREAM => self.stream(irp, &file, Direction::Write),
            _ => self.control(irp, &file),
        }
    }

    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let refuse = |status: NtStatus, reason: String| Err(Refusal::new(status, Aspect::Driver, reason));
        let Some(parent) = self.file().filter(|_| !self.device.is_removed()) else {
            return refuse(STATUS_DEVICE_REMOVED, "the device was removed".into());
        };
        let mut parameters = request.parameters.to_vec();
        let pin = match rewrite_pin(request, &mut parameters) {
            Ok(pin) => pin,
            Err(status) => return refuse(status, "PinToHandle is no open pin of this client".into()),
        };
        let class = request.name.strip_suffix('\\').unwrap_or(request.name);
        let mut name: Vec<u8> = format!("{class}\\").encode_utf16().flat_map(u16::to_le_bytes).collect();
        name.extend_from_slice(&parameters);
        machine::enter_thread();
        let cancel = Some(request.file.create_cancel().clone());
        let asked = Asked { access: request.access.0, options: 0, mode: wdm_device::mode(request), cancel };
        // SAFETY: the device is alive as long as its file.
        let made = unsafe { DeviceFile::create_below(parent.device() as usize, Some(parent), &name, asked) };
        drop(pin);
        match made {
            Ok(file) => Ok(Created { object: WdmFile::new(self.device.clone(), file), granted: request.access }),
            Err(status) => refuse(status, format!("the driver does not create an object of class {class}: {status}")),
        }
    }

    fn cleanup(&self) {
        use crate::ntoskrnl::object_manager::Object;
        if let Some(file) = self.file() {
            machine::enter_thread();
            file.last_handle_closed();
        }
    }

    fn close(&self) {
        machine::enter_thread();
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if file.is_some() {
            drop(file);
            self.device.closed();
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}
