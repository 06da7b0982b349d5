//! A minidriver whose process callback, states and answers a test scripts.

use super::{FRAME_BYTES, FRAMES, video};
use ks_abi::kernel::{DeviceCapabilities, DevicePowerState, SystemPowerState};
use ks_abi::{
    Guid, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsHandshake, KsState, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, Refusal, Ticks, Time};
use ks_mem::FrameMemory;
use ks_stream::{
    AllocatorFraming, CloneId, ClonePointer, DataFormat, DataRange, Device, DeviceDispatch, ExtendedFraming, Filter,
    FilterDispatch, FilterInstance, FrameSource, Framing, Interface, Pin, PinInstance, PointerId, ProcessPins,
    ReturnedFrame, ReturnedRequest,
};
use std::collections::HashSet;
use std::sync::Weak;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::thread::ThreadId;

pub type Log = Arc<Mutex<Vec<String>>>;
pub type Process = Arc<dyn Fn(&Probe, &Arc<Pin>) -> NtStatus + Send + Sync>;
pub type FilterProcess = Arc<dyn Fn(&Probe, &Arc<Filter>, &ProcessPins<'_>) -> NtStatus + Send + Sync>;
pub type OnHandshake = Arc<dyn Fn(&KsHandshake) -> Result<KsHandshake, NtStatus> + Send + Sync>;
pub type OnCircuitFrames = Arc<dyn Fn(&AllocatorFraming) -> Result<Arc<dyn FrameSource>, Refusal> + Send + Sync>;
pub type OnReturned = Arc<dyn Fn(&Arc<Pin>, ReturnedFrame) + Send + Sync>;
pub type OnDevice = Arc<dyn Fn(&str, &Arc<Device>) + Send + Sync>;
pub type OnCancelled = Arc<dyn Fn(&Pin, CloneId) + Send + Sync>;
pub type OnTimeout = Arc<dyn Fn(&Arc<Pin>, PointerId, u64) + Send + Sync>;
pub type Hook = Box<dyn Fn(&Pin) + Send + Sync>;

/// What a test sees of one filter, and tells it to do.
pub struct Probe {
    log: Log,
    process: Mutex<Process>,
    /// Set: the filter is filter-centric.
    filter_process: Mutex<Option<FilterProcess>>,
    /// Numbers of the frames that arrived, or that were made.
    pub seen: Mutex<Vec<u32>>,
    pub next: AtomicU32,
    /// Number of frames until the end of the stream; 0: no end. A pair that never ends never lets virtual time go on.
    pub last: AtomicU32,
    pub process_calls: AtomicU64,
    pub threads: Mutex<HashSet<ThreadId>>,
    pub clones: Mutex<Vec<ClonePointer>>,
    pub cancelled: Mutex<Vec<CloneId>>,
    /// What it does when it is told of one, and of a timeout.
    pub on_cancelled: Mutex<Option<OnCancelled>>,
    pub on_timeout: Mutex<Option<OnTimeout>>,
    /// The step that is refused.
    pub refuse: Mutex<Option<(KsState, KsState)>>,
    pub on_reset: Mutex<Option<Hook>>,
    /// Runs in each state callback, before its answer.
    pub on_state: Mutex<Option<Hook>>,
    /// Frames that its pins ask for; 0: [`FRAMES`].
    pub frames: AtomicU32,
    pub header_bytes: AtomicU32,
    /// Its pins take every format while they stream.
    pub takes_formats: AtomicBool,
    /// Its pins inject frames; they watch the requests that come round.
    pub injects: AtomicBool,
    pub watches: AtomicBool,
    /// Injected frames that came back: the driver's word, the status.
    pub returned: Mutex<Vec<(u64, NtStatus)>>,
    /// Runs in each create of a pin.
    pub on_create: Mutex<Option<Hook>>,
    /// Where the frames of its pins' allocators come from.
    pub frame_source: Mutex<Option<Arc<dyn FrameSource>>>,
    /// What its pins ask of their allocator in full.
    pub extended: Mutex<Option<ExtendedFraming>>,
    /// What its pins say when they must allocate the frames of their pipe.
    pub on_circuit_frames: Mutex<Option<OnCircuitFrames>>,
    /// What it answers to a protocol.
    pub on_handshake: Mutex<Option<OnHandshake>>,
    /// An interface of its pins, and one of its filters.
    pub interfaces: Mutex<[Option<(Guid, Interface)>; 2]>,
    /// What it does with one that came back.
    pub on_returned: Mutex<Option<OnReturned>>,
    /// Numbers of the frames that came round.
    pub watched: Mutex<Vec<u32>>,
    pub pins: Mutex<Vec<Weak<Pin>>>,
    /// Instance objects of filters and pins that live.
    pub instances: AtomicUsize,
    /// The device's life and power are noted in the log.
    pub driven: AtomicBool,
    /// The request for the device that its driver refuses.
    pub refuse_device: Mutex<Option<&'static str>>,
    /// Runs in each callback of the device, which it is told.
    pub on_device: Mutex<Option<OnDevice>>,
}

impl Probe {
    pub fn new(log: Log, process: Process) -> Arc<Probe> {
        Arc::new(Probe {
            log,
            process: Mutex::new(process),
            filter_process: Mutex::default(),
            seen: Mutex::default(),
            next: AtomicU32::new(0),
            last: AtomicU32::new(0),
            process_calls: AtomicU64::new(0),
            threads: Mutex::default(),
            clones: Mutex::default(),
            cancelled: Mutex::default(),
            on_cancelled: Mutex::default(),
            on_timeout: Mutex::default(),
            refuse: Mutex::default(),
            on_reset: Mutex::default(),
            on_state: Mutex::default(),
            frames: AtomicU32::new(0),
            header_bytes: AtomicU32::new(0),
            takes_formats: AtomicBool::new(false),
            injects: AtomicBool::new(false),
            watches: AtomicBool::new(false),
            returned: Mutex::default(),
            on_create: Mutex::default(),
            frame_source: Mutex::default(),
            extended: Mutex::default(),
            on_circuit_frames: Mutex::default(),
            on_handshake: Mutex::default(),
            interfaces: Mutex::default(),
            on_returned: Mutex::default(),
            watched: Mutex::default(),
            pins: Mutex::default(),
            instances: AtomicUsize::new(0),
            driven: AtomicBool::new(false),
            refuse_device: Mutex::default(),
            on_device: Mutex::default(),
        })
    }

    pub fn script(&self, process: impl Fn(&Probe, &Arc<Pin>) -> NtStatus + Send + Sync + 'static) {
        *self.process.lock() = Arc::new(process);
    }

    /// Makes the filter filter-centric, for those that are opened from now on.
    pub fn script_filter(
        &self,
        process: impl Fn(&Probe, &Arc<Filter>, &ProcessPins<'_>) -> NtStatus + Send + Sync + 'static,
    ) {
        *self.filter_process.lock() = Some(Arc::new(process));
    }

    pub fn calls(&self) -> u64 {
        self.process_calls.load(SeqCst)
    }

    /// The newest living pin.
    pub fn pin(&self) -> Arc<Pin> {
        self.pins.lock().iter().rev().find_map(Weak::upgrade).expect("a pin lives")
    }

    pub fn seen_now(&self) -> Vec<u32> {
        self.seen.lock().clone()
    }

    fn asked_for_format(&self) -> Result<(), Refusal> {
        match self.takes_formats.load(SeqCst) {
            true => Ok(()),
            false => Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Driver, "the format stays")),
        }
    }

    fn interface(&self, of: usize, id: Guid) -> Option<Interface> {
        let interfaces = self.interfaces.lock();
        interfaces[of].as_ref().filter(|(known, _)| *known == id).map(|(_, interface)| interface.clone())
    }

    fn note(&self, call: String) {
        self.log.lock().push(call);
    }

    fn note_power(&self, call: String, to: DevicePowerState) {
        if self.driven.load(SeqCst) {
            self.note(format!("{call} {}", to.name().unwrap_or("?")));
        }
    }
}

/// A source: numbers each frame in its first bytes, up to the last.
pub fn fill(probe: &Probe, pin: &Arc<Pin>) -> NtStatus {
    let mut edge = pin.leading_edge();
    while let Some(frame) = edge {
        let number = probe.next.fetch_add(1, SeqCst);
        let last = probe.last.load(SeqCst);
        if last > 0 && number >= last {
            return STATUS_PENDING;
        }
        put(&frame, number, last > 0 && number + 1 == last);
        probe.seen.lock().push(number);
        edge = frame.advance();
    }
    STATUS_PENDING
}

pub fn put(frame: &ks_io::StreamFrame, number: u32, last: bool) {
    if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.write()) {
        bytes.fill(0);
        bytes[..4].copy_from_slice(&number.to_le_bytes());
    }
    frame.set_data_used(frame.frame_extent().min(FRAME_BYTES));
    frame.set_presentation(Time(i64::from(number) * 400_000), Ticks(400_000));
    let end = if last { KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM } else { 0 };
    frame.set_options_flags(KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID | end);
}

pub fn number(frame: &ks_io::StreamFrame) -> Option<u32> {
    let bytes = frame.buffer()?.read()?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A sink: notes the number of each frame.
pub fn take(probe: &Probe, pin: &Arc<Pin>) -> NtStatus {
    let mut edge = pin.leading_edge();
    while let Some(frame) = edge {
        if frame.data_used() > 0 {
            probe.seen.lock().extend(number(&frame));
        }
        edge = frame.advance();
    }
    STATUS_PENDING
}

/// One frame a call.
pub fn take_one(probe: &Probe, pin: &Arc<Pin>) -> NtStatus {
    let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
    probe.seen.lock().extend(number(&frame));
    frame.eject();
    STATUS_SUCCESS
}

/// An in-place filter: adds one to the fifth byte.
pub fn add_one(probe: &Probe, pin: &Arc<Pin>) -> NtStatus {
    let mut edge = pin.leading_edge();
    while let Some(frame) = edge {
        if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.write()) {
            bytes[4] += 1;
        }
        probe.seen.lock().extend(number(&frame));
        edge = frame.advance();
    }
    STATUS_PENDING
}

/// Does nothing with its frames.
pub fn wait(_: &Probe, _: &Arc<Pin>) -> NtStatus {
    STATUS_PENDING
}

/// A driver that notes what it is told of its device.
pub struct Driver(pub Arc<Probe>);

impl Driver {
    fn told(&self, what: &'static str, device: &Arc<Device>) -> Result<(), Refusal> {
        self.0.note(format!("{} {what}", device.device_name()));
        self.hook(what, device);
        if *self.0.refuse_device.lock() == Some(what) {
            return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, format!("told to refuse {what}")));
        }
        Ok(())
    }

    fn hook(&self, what: &str, device: &Arc<Device>) {
        let hook = self.0.on_device.lock().clone();
        if let Some(hook) = hook {
            hook(what, device);
        }
    }

    fn told_power(&self, what: &str, device: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) {
        let name = |state: DevicePowerState| state.name().unwrap_or("?");
        self.0.note(format!("{} {what} {}->{}", device.device_name(), name(from), name(to)));
        self.hook(what, device);
    }
}

impl DeviceDispatch for Driver {
    fn add(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.told("add", device)
    }
    fn start(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.told("start", device)
    }
    fn post_start(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.told("post-start", device)
    }
    fn query_stop(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.told("query-stop", device)
    }
    fn cancel_stop(&self, device: &Arc<Device>) {
        let _ = self.told("cancel-stop", device);
    }
    fn stop(&self, device: &Arc<Device>) {
        let _ = self.told("stop", device);
    }
    fn query_remove(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.told("query-remove", device)
    }
    fn cancel_remove(&self, device: &Arc<Device>) {
        let _ = self.told("cancel-remove", device);
    }
    fn remove(&self, device: &Arc<Device>) {
        let _ = self.told("remove", device);
    }
    fn query_capabilities(&self, device: &Arc<Device>, all: &mut DeviceCapabilities) -> Result<(), Refusal> {
        all.d3_latency = 7;
        all.flags |= 0x10;
        self.told("query-capabilities", device)
    }
    fn surprise_removal(&self, device: &Arc<Device>) {
        let _ = self.told("surprise-removal", device);
    }
    fn query_power(&self, device: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) -> Result<(), Refusal> {
        self.told_power("query-power", device, to, from);
        match *self.0.refuse_device.lock() {
            Some("query-power") => Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "not now")),
            _ => Ok(()),
        }
    }
    fn set_power(&self, device: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) {
        self.told_power("set-power", device, to, from);
    }
    fn query_system_power(
        &self,
        device: &Arc<Device>,
        to: SystemPowerState,
        from: SystemPowerState,
    ) -> Result<(), Refusal> {
        let name = |state: SystemPowerState| state.name().unwrap_or("?");
        self.0.note(format!("{} query-system {}->{}", device.device_name(), name(from), name(to)));
        match *self.0.refuse_device.lock() {
            Some("query-system") => Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "not now")),
            _ => Ok(()),
        }
    }
    fn set_system_power(&self, device: &Arc<Device>, to: SystemPowerState, from: SystemPowerState) {
        let name = |state: SystemPowerState| state.name().unwrap_or("?");
        self.0.note(format!("{} set-system {}->{}", device.device_name(), name(from), name(to)));
        self.hook("set-system", device);
    }
    fn query_interface(&self, _: &Arc<Device>, id: Guid) -> Option<Interface> {
        self.0.interface(1, id)
    }
}

pub struct Kind(pub Arc<Probe>);

impl FilterDispatch for Kind {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        self.0.note(format!("{} create", filter.name()));
        self.0.instances.fetch_add(1, SeqCst);
        Ok(Arc::new(Instance(self.0.clone())))
    }
    fn sleep(&self, device: &Arc<Device>, to: DevicePowerState) {
        self.0.note_power(format!("{} factory sleeps", device.device_name()), to);
    }
    fn wake(&self, device: &Arc<Device>, to: DevicePowerState) {
        self.0.note_power(format!("{} factory wakes", device.device_name()), to);
    }
}

struct Instance(Arc<Probe>);

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, SeqCst);
    }
}

impl FilterInstance for Instance {
    fn is_filter_centric(&self) -> bool {
        self.0.filter_process.lock().is_some()
    }
    fn process(&self, filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        self.0.process_calls.fetch_add(1, SeqCst);
        let script = self.0.filter_process.lock().clone().unwrap();
        script(&self.0, filter, pins)
    }
    fn reset(&self, filter: &Arc<Filter>) {
        self.0.note(format!("{} reset", filter.name()));
    }
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        self.0.note(format!("{} create", pin.describe()));
        let bytes = self.0.header_bytes.load(SeqCst);
        if bytes > 0 {
            pin.set_stream_header_bytes(bytes);
        }
        if let Some(hook) = &*self.0.on_create.lock() {
            hook(pin);
        }
        if self.0.injects.load(SeqCst) {
            pin.inject_frames().unwrap();
        }
        if self.0.watches.load(SeqCst) {
            pin.watch_requests().unwrap();
        }
        self.0.pins.lock().push(Arc::downgrade(pin));
        self.0.instances.fetch_add(1, SeqCst);
        Ok(Arc::new(RigPin(self.0.clone())))
    }
    fn intersect(&self, _: u32, _: &DataRange, _: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(video())
    }
    fn interface(&self, _: &Arc<Filter>, id: Guid) -> Option<Interface> {
        self.0.interface(1, id)
    }
    fn sleep(&self, filter: &Arc<Filter>, to: DevicePowerState) {
        self.0.note_power(format!("{} sleeps", filter.name()), to);
    }
    fn wake(&self, filter: &Arc<Filter>, to: DevicePowerState) {
        self.0.note_power(format!("{} wakes", filter.name()), to);
    }
    fn close(&self, filter: &Filter) {
        self.0.note(format!("{} close", filter.name()));
    }
}

struct RigPin(Arc<Probe>);

impl Drop for RigPin {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, SeqCst);
    }
}

impl PinInstance for RigPin {
    fn set_data_format(&self, _: &Arc<Pin>, _: &DataFormat, _: &DataFormat) -> Result<(), Refusal> {
        self.0.asked_for_format()
    }
    fn would_take(&self, _: &Arc<Pin>, _: &DataFormat) -> Result<(), Refusal> {
        self.0.asked_for_format()
    }
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        self.0.process_calls.fetch_add(1, SeqCst);
        self.0.threads.lock().insert(std::thread::current().id());
        let script = self.0.process.lock().clone();
        script(&self.0, pin)
    }
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.0.note(format!("{} {from}->{to}", pin.describe()));
        if let Some(hook) = &*self.0.on_state.lock() {
            hook(pin);
        }
        if *self.0.refuse.lock() == Some((from, to)) {
            return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "told to refuse"));
        }
        if to == KsState::ACQUIRE && from == KsState::STOP {
            self.0.next.store(0, SeqCst);
        }
        Ok(())
    }
    fn reset(&self, pin: &Arc<Pin>) {
        self.0.note(format!("{} reset {}", pin.describe(), pin.reset_state()));
        if let Some(hook) = &*self.0.on_reset.lock() {
            hook(pin);
        }
    }
    fn connect(&self, pin: &Arc<Pin>) -> Result<(), Refusal> {
        self.0.note(format!("{} connect", pin.describe()));
        Ok(())
    }
    fn sleep(&self, pin: &Arc<Pin>, to: DevicePowerState) {
        self.0.note_power(format!("{} sleeps", pin.describe()), to);
    }
    fn wake(&self, pin: &Arc<Pin>, to: DevicePowerState) {
        self.0.note_power(format!("{} wakes", pin.describe()), to);
    }
    fn disconnect(&self, pin: &Pin) {
        self.0.note(format!("{} disconnect", pin.describe()));
    }
    fn close(&self, pin: &Pin) {
        self.0.note(format!("{} close", pin.describe()));
        self.0.clones.lock().clear();
    }
    fn frame_source(&self, _: &Arc<Pin>, _: &AllocatorFraming) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        Ok(self.0.frame_source.lock().clone())
    }
    fn extended_framing(&self, _: &Pin) -> Option<ExtendedFraming> {
        self.0.extended.lock().clone()
    }
    fn circuit_frames(
        &self,
        _: &Arc<Pin>,
        framing: &AllocatorFraming,
        _: FrameMemory,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        let answer = self.0.on_circuit_frames.lock().clone();
        answer.map_or(Ok(None), |answer| answer(framing).map(Some))
    }
    fn handshake(&self, _: &Arc<Pin>, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        let answer = self.0.on_handshake.lock().clone().ok_or(STATUS_INVALID_DEVICE_REQUEST)?;
        answer(offer)
    }
    fn interface(&self, _: &Arc<Pin>, id: Guid) -> Option<Interface> {
        self.0.interface(0, id)
    }
    fn frame_returned(&self, pin: &Arc<Pin>, frame: ReturnedFrame) {
        let hook = self.0.on_returned.lock().clone();
        self.0.returned.lock().push((frame.context, frame.status));
        if let Some(hook) = hook {
            hook(pin, frame);
        }
    }
    fn request_returned(&self, _: &Arc<Pin>, request: &ReturnedRequest<'_>) {
        assert!(request.irp != 0 && request.status == STATUS_SUCCESS);
        self.0.watched.lock().extend(number(request.frame));
    }
    fn clone_cancelled(&self, pin: &Pin, clone: CloneId) {
        self.0.cancelled.lock().push(clone);
        let hook = self.0.on_cancelled.lock().clone();
        if let Some(hook) = hook {
            hook(pin, clone);
        }
    }
    fn pointer_timed_out(&self, pin: &Arc<Pin>, pointer: PointerId, context: u64) {
        let hook = self.0.on_timeout.lock().clone();
        if let Some(hook) = hook {
            hook(pin, pointer, context);
        }
    }
    fn framing(&self, _: &Pin) -> Option<Framing> {
        let frames = self.0.frames.load(SeqCst);
        let frames = if frames == 0 { FRAMES } else { frames };
        Some(Framing { frames, frame_bytes: FRAME_BYTES, alignment: 64 })
    }
}
