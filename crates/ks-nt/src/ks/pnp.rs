//! Plug and play and power, as AVStream's dispatch routines answer them.
//!
//! The walk of a request: the engine's device (`ks-stream/src/device/pnp.rs`) decides what comes and what it does to the
//! streams; [`Lifecycle`] makes an IRP of it and sends it to the top of the device's stack, as the PnP and the power manager
//! do; a driver that has hooked IRP_MJ_PNP or IRP_MJ_POWER sees it there; [`dispatch_pnp`] and [`dispatch_power`] call the
//! routine of KSDEVICE_DISPATCH with that IRP, before or after the devices below as the page of the IRP says.

use crate::exports;
use crate::exports::Export;
use crate::ks::accepted;
use crate::ks::address::{Address, Routine, status};
use crate::ks::device::HostedDevice;
use crate::ks::filter::refused;
use crate::ks::kernel;
use crate::ks::low_level::dispatch::complete;
use crate::ks::low_level::forward::{self, KsForwardAndCatchIrp};
use crate::ks::low_level::request::DriverIrp;
use crate::ks::misuse::misuse;
use crate::ks::objects::{self, Object};
use crate::machine;
use crate::ntoskrnl::io_build;
use crate::ntoskrnl::io_request::next_location;
use crate::ntoskrnl::power::PowerEnded;
use crate::report::BugCheck;
use ks_abi::kernel::{
    DeviceCapabilities, DeviceObject, DevicePowerState, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_SYSTEM_CONTROL,
    IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_QUERY_CAPABILITIES, IRP_MN_QUERY_INTERFACE,
    IRP_MN_QUERY_POWER, IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_QUERY_STOP_DEVICE, IRP_MN_READ_CONFIG, IRP_MN_REMOVE_DEVICE,
    IRP_MN_SET_POWER, IRP_MN_START_DEVICE, IRP_MN_STOP_DEVICE, IRP_MN_SURPRISE_REMOVAL, IRP_MN_WRITE_CONFIG,
    IoStackLocation, Irp, KsDeviceDescriptor, KsDeviceDispatch, KsStackUse, SystemPowerState,
};
use ks_abi::{
    NtStatus, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_io::{Level, Refusal};
use ks_mem::Block;
use ks_stream::{Cooling, Device, DeviceDispatch, PnpState, PowerTurn, Rule, ThermalState};
use std::mem::offset_of;
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsDeviceGetBusData, KsDeviceSetBusData);

/// POWER_STATE_TYPE SystemPowerState and DevicePowerState
const OF_SYSTEM: u64 = 0;
const OF_DEVICE: u64 = 1;

/// From where on KSDEVICE_DESCRIPTOR.Version says that the table has QueryInterface.
const HAS_QUERY_INTERFACE: u32 = 0x100;

/// What the engine tells of a device's life, sent to its stack as requests.
pub(crate) struct Lifecycle(pub(crate) Weak<HostedDevice>);

impl Lifecycle {
    fn send(&self, major: u8, minor: u8, parameters: [u64; 4]) -> NtStatus {
        let Some(device) = self.0.upgrade() else { return STATUS_DEVICE_REMOVED };
        send(device.functional(), major, minor, parameters)
    }

    fn pnp(&self, minor: u8) -> NtStatus {
        self.send(IRP_MJ_PNP, minor, [0; 4])
    }

    /// Of these a driver cannot refuse one: what it answers changes nothing.
    fn tell(&self, minor: u8) {
        let _ = self.pnp(minor);
    }

    fn ask(&self, minor: u8, routine: &str, device: &Device) -> Result<(), Refusal> {
        agreed(self.pnp(minor), routine, device)
    }
}

fn agreed(answer: NtStatus, routine: &str, device: &Device) -> Result<(), Refusal> {
    if answer.is_success() { Ok(()) } else { Err(refused(routine, device.device_name(), answer)) }
}

/// Sends a request of the kernel's to the top of the stack that a device is in, and waits for its end.
pub(crate) fn send(device: u64, major: u8, minor: u8, parameters: [u64; 4]) -> NtStatus {
    machine::enter_thread();
    let prepare = |irp: *mut Irp| prepare(irp, major, minor, parameters);
    // SAFETY: the device object is deleted after its last request; the parameters are values, or live until the answer.
    unsafe { io_build::send_and_wait_at_top(device, prepare) }.status
}

/// As [`send`], to the device itself.
fn send_below(device: Address, major: u8, minor: u8, parameters: [u64; 4]) -> NtStatus {
    let prepare = |irp: *mut Irp| prepare(irp, major, minor, parameters);
    // SAFETY: a device object that another is attached to, and so not deleted; the parameters as above.
    unsafe { io_build::send_and_wait(device.0 as *mut DeviceObject, prepare) }.status
}

/// Fills the first stack location of a request.
fn prepare(irp: *mut Irp, major: u8, minor: u8, parameters: [u64; 4]) {
    // SAFETY: the request was just made, with a location for the driver below.
    let stack = Address(unsafe { next_location(irp) } as u64);
    stack.put(offset_of!(IoStackLocation, major_function), major);
    stack.put(offset_of!(IoStackLocation, minor_function), minor);
    stack.put(offset_of!(IoStackLocation, parameters), parameters);
}

impl DeviceDispatch for Lifecycle {
    fn start(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.ask(IRP_MN_START_DEVICE, "Start", device)
    }

    fn post_start(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        let Some(hosted) = self.0.upgrade() else { return Ok(()) };
        let answer = call(&hosted, offset_of!(KsDeviceDispatch, post_start), "PostStart", &[]);
        agreed(answer.unwrap_or(STATUS_SUCCESS), "PostStart", device)
    }

    fn query_stop(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.ask(IRP_MN_QUERY_STOP_DEVICE, "QueryStop", device)
    }

    fn cancel_stop(&self, _: &Arc<Device>) {
        self.tell(IRP_MN_CANCEL_STOP_DEVICE);
    }

    /// One that is removed while it has its resources is stopped by the request that removes it: no manager sends both.
    fn stop(&self, device: &Arc<Device>) {
        let Some(hosted) = self.0.upgrade() else { return };
        if device.pnp_state() == PnpState::Deleted {
            return hosted.stop_with_removal();
        }
        self.tell(IRP_MN_STOP_DEVICE);
        hosted.free_on_stop();
    }

    fn query_remove(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.ask(IRP_MN_QUERY_REMOVE_DEVICE, "QueryRemove", device)
    }

    fn cancel_remove(&self, _: &Arc<Device>) {
        self.tell(IRP_MN_CANCEL_REMOVE_DEVICE);
    }

    fn remove(&self, _: &Arc<Device>) {
        self.tell(IRP_MN_REMOVE_DEVICE);
        if let Some(hosted) = self.0.upgrade() {
            hosted.forget();
        }
    }

    fn query_capabilities(&self, device: &Arc<Device>, capabilities: &mut DeviceCapabilities) -> Result<(), Refusal> {
        let place = std::ptr::from_mut(capabilities) as u64;
        agreed(self.send(IRP_MJ_PNP, IRP_MN_QUERY_CAPABILITIES, [place, 0, 0, 0]), "QueryCapabilities", device)
    }

    fn surprise_removal(&self, _: &Arc<Device>) {
        self.tell(IRP_MN_SURPRISE_REMOVAL);
    }

    fn cool(&self, _: &Arc<Device>, cooling: Cooling) -> Option<ThermalState> {
        machine::enter_thread();
        accepted::cool(&*self.0.upgrade()?, cooling)
    }

    fn query_power(&self, device: &Arc<Device>, to: DevicePowerState, _: DevicePowerState) -> Result<(), Refusal> {
        let parameters = [0, OF_DEVICE, to.0.into(), 0];
        agreed(self.send(IRP_MJ_POWER, IRP_MN_QUERY_POWER, parameters), "QueryPower", device)
    }

    fn set_power(&self, _: &Arc<Device>, to: DevicePowerState, _: DevicePowerState) {
        // As above: power is not refused.
        let _ = self.send(IRP_MJ_POWER, IRP_MN_SET_POWER, [0, OF_DEVICE, to.0.into(), 0]);
    }

    fn query_system_power(
        &self,
        device: &Arc<Device>,
        to: SystemPowerState,
        _: SystemPowerState,
    ) -> Result<(), Refusal> {
        let parameters = [0, OF_SYSTEM, to.0.into(), action(to)];
        agreed(self.send(IRP_MJ_POWER, IRP_MN_QUERY_POWER, parameters), "QueryPower", device)
    }

    fn set_system_power(&self, _: &Arc<Device>, to: SystemPowerState, _: SystemPowerState) {
        let _ = self.send(IRP_MJ_POWER, IRP_MN_SET_POWER, [0, OF_SYSTEM, to.0.into(), action(to)]);
    }
}

/// POWER_ACTION: what takes a system to a power state.
fn action(to: SystemPowerState) -> u64 {
    match to {
        SystemPowerState::WORKING => 0,
        SystemPowerState::HIBERNATE => 3,
        SystemPowerState::SHUTDOWN => 4,
        _ => 2,
    }
}

/// Calls a routine of the device's dispatch table with the device and these; `None`: the driver has none.
fn call(device: &HostedDevice, at: usize, name: &'static str, more: &[u64]) -> Option<NtStatus> {
    let table = device.descriptor().some()?.follow(offset_of!(KsDeviceDescriptor, dispatch)).some()?;
    let routine = Routine::optional(table.follow(at), name)?;
    let more = |at: usize| more.get(at).copied().unwrap_or(0);
    // Seven words are the most; a routine of fewer leaves the rest alone.
    let answer = status(routine.call7(device.address(), more(0), more(1), more(2), more(3), more(4), more(5)));
    if answer == STATUS_PENDING && ANSWERING.contains(&name) {
        // Nobody could wait for it.
        let what = format!("it returned {answer}, which it may not");
        device.engine().blame(Rule::CallbackReturn, name, what);
        return Some(STATUS_UNSUCCESSFUL);
    }
    Some(answer)
}

/// The routines of a device that answer; of the others, what is left in the register means nothing.
const ANSWERING: [&str; 7] =
    ["Start", "PostStart", "QueryStop", "QueryRemove", "QueryCapabilities", "QueryPower", "QueryInterface"];

fn device_of(functional: Address) -> Option<Arc<HostedDevice>> {
    match objects::find(functional) {
        Some(Object::Functional(device)) => Some(device),
        _ => None,
    }
}

/// Passes a request down that this device has done with.
fn pass(device: &HostedDevice, irp: Address) -> NtStatus {
    forward::skip(DriverIrp::new(irp));
    kernel::call_driver(device.below(), irp)
}

/// Has the devices below answer first; what they say.
fn after_below(device: &HostedDevice, irp: Address) -> NtStatus {
    // SAFETY: the request is this device's, and the device below lives as long as this one is attached to it.
    unsafe { KsForwardAndCatchIrp(device.below(), irp, 0, KsStackUse::COPY_TO_NEW_LOCATION.0) }
}

/// AVStream's routines, by the major functions that a driver's device is asked by.
pub(crate) fn dispatches() -> [(u8, u64); 3] {
    [
        (IRP_MJ_PNP, dispatch_pnp as *const () as u64),
        (IRP_MJ_POWER, dispatch_power as *const () as u64),
        (IRP_MJ_SYSTEM_CONTROL, dispatch_system_control as *const () as u64),
    ]
}

/// AVStream's routine for IRP_MJ_PNP.
pub(crate) unsafe extern "win64" fn dispatch_pnp(functional: Address, irp: Address) -> NtStatus {
    let Some(device) = device_of(functional) else { return complete(irp, STATUS_DEVICE_REMOVED) };
    let request = DriverIrp::new(irp);
    let minor: u8 = request.stack().get(offset_of!(IoStackLocation, minor_function));
    let parameter: u64 = request.stack().get(offset_of!(IoStackLocation, parameters));
    let ask = |at, name| call(&device, at, name, &[irp.0]);
    match minor {
        IRP_MN_START_DEVICE => {
            let below = after_below(&device, irp);
            if !below.is_success() {
                return complete(irp, below);
            }
            // No resources: the list pointers are NULL.
            let answer = call(&device, offset_of!(KsDeviceDispatch, start), "Start", &[irp.0, 0, 0]);
            complete(irp, answer.unwrap_or(STATUS_SUCCESS))
        }
        IRP_MN_QUERY_STOP_DEVICE | IRP_MN_QUERY_REMOVE_DEVICE => {
            let answer = match minor {
                IRP_MN_QUERY_STOP_DEVICE => ask(offset_of!(KsDeviceDispatch, query_stop), "QueryStop"),
                _ => ask(offset_of!(KsDeviceDispatch, query_remove), "QueryRemove"),
            };
            match answer {
                Some(answer) if !answer.is_success() => complete(irp, answer),
                _ => {
                    request.set_status(STATUS_SUCCESS);
                    pass(&device, irp)
                }
            }
        }
        IRP_MN_STOP_DEVICE | IRP_MN_REMOVE_DEVICE | IRP_MN_SURPRISE_REMOVAL => {
            let _ = match minor {
                IRP_MN_STOP_DEVICE => ask(offset_of!(KsDeviceDispatch, stop), "Stop"),
                IRP_MN_REMOVE_DEVICE => {
                    if device.is_stopped_with_removal() {
                        let _ = ask(offset_of!(KsDeviceDispatch, stop), "Stop");
                        device.free_on_stop();
                    }
                    ask(offset_of!(KsDeviceDispatch, remove), "Remove")
                }
                _ => ask(offset_of!(KsDeviceDispatch, surprise_removal), "SurpriseRemoval"),
            };
            request.set_status(STATUS_SUCCESS);
            pass(&device, irp)
        }
        IRP_MN_CANCEL_STOP_DEVICE | IRP_MN_CANCEL_REMOVE_DEVICE => {
            let _ = after_below(&device, irp);
            let _ = match minor {
                IRP_MN_CANCEL_STOP_DEVICE => ask(offset_of!(KsDeviceDispatch, cancel_stop), "CancelStop"),
                _ => ask(offset_of!(KsDeviceDispatch, cancel_remove), "CancelRemove"),
            };
            complete(irp, STATUS_SUCCESS)
        }
        IRP_MN_QUERY_CAPABILITIES => {
            let below = after_below(&device, irp);
            let at = offset_of!(KsDeviceDispatch, query_capabilities);
            complete(irp, call(&device, at, "QueryCapabilities", &[irp.0, parameter]).unwrap_or(below))
        }
        IRP_MN_QUERY_INTERFACE if device.version() >= HAS_QUERY_INTERFACE => {
            match ask(offset_of!(KsDeviceDispatch, query_interface), "QueryInterface") {
                // Somebody below may have it.
                None => pass(&device, irp),
                Some(answer) if answer == STATUS_NOT_SUPPORTED => pass(&device, irp),
                Some(answer) if !answer.is_success() => complete(irp, answer),
                Some(_) => {
                    request.set_status(STATUS_SUCCESS);
                    pass(&device, irp)
                }
            }
        }
        _ => pass(&device, irp),
    }
}

/// AVStream's routine for IRP_MJ_POWER.
pub(crate) unsafe extern "win64" fn dispatch_power(functional: Address, irp: Address) -> NtStatus {
    let Some(device) = device_of(functional) else { return complete(irp, STATUS_DEVICE_REMOVED) };
    let request = DriverIrp::new(irp);
    let minor: u8 = request.stack().get(offset_of!(IoStackLocation, minor_function));
    let parameters: [u64; 4] = request.stack().get(offset_of!(IoStackLocation, parameters));
    let [_, kind, state, action] = parameters.map(|word| word & u64::from(u32::MAX));
    let from = u64::from(device.engine().power().0);
    let system_now = u64::from(device.engine().system_power().0);
    let of_device = kind == OF_DEVICE;
    match minor {
        IRP_MN_QUERY_POWER => {
            let (to, system) = if of_device { (state, system_now) } else { (from, state) };
            let words = [irp.0, to, from, system, system_now, action];
            match call(&device, offset_of!(KsDeviceDispatch, query_power), "QueryPower", &words) {
                Some(answer) if !answer.is_success() => complete(irp, answer),
                _ => {
                    request.set_status(STATUS_SUCCESS);
                    pass(&device, irp)
                }
            }
        }
        IRP_MN_SET_POWER if of_device && state == u64::from(DevicePowerState::D0.0) => {
            // The bus powers it up first.
            let _ = after_below(&device, irp);
            let _ = call(&device, offset_of!(KsDeviceDispatch, set_power), "SetPower", &[irp.0, state, from]);
            complete(irp, STATUS_SUCCESS)
        }
        IRP_MN_SET_POWER if of_device => {
            let _ = call(&device, offset_of!(KsDeviceDispatch, set_power), "SetPower", &[irp.0, state, from]);
            request.set_status(STATUS_SUCCESS);
            pass(&device, irp)
        }
        _ => pass(&device, irp),
    }
}

/// A change of power that a driver has asked for, or a query for one, as a work item of the kernel's.
struct PowerRequest {
    _item: Block,
    turn: PowerTurn,
    minor: u8,
    to: DevicePowerState,
    ended: PowerEnded,
}

/// Offsets of WORK_QUEUE_ITEM.
const ITEM_ROUTINE: usize = 16;
const ITEM_PARAMETER: usize = 24;
const ITEM_BYTES: usize = 32;
/// DelayedWorkQueue
const DELAYED: u32 = 1;

/// Has the engine change the power of the device in a stack, or ask for a change, after what was asked for before, and on
/// another thread: who asks may hold mutexes that the change takes. `None`: no device of AVStream's.
pub(crate) fn request_power(of: Address, minor: u8, to: DevicePowerState, ended: PowerEnded) -> Option<NtStatus> {
    let mut at = of.some();
    let device = loop {
        let object = at?;
        if let Some(device) = device_of(object) {
            break device;
        }
        at = object.follow(offset_of!(DeviceObject, attached_device)).some();
    };
    let Ok(item) = Block::zeroed(ITEM_BYTES, 16) else { return Some(STATUS_INSUFFICIENT_RESOURCES) };
    device.engine().power_turn(move |turn| {
        let place = Address(item.address());
        place.put(ITEM_ROUTINE, carry_out as *const () as u64);
        // The item lives in the box, which goes to the routine.
        let request = Box::new(PowerRequest { _item: item, turn, minor, to, ended });
        place.put(ITEM_PARAMETER, Box::into_raw(request) as u64);
        kernel::queue_work_item(place.0, DELAYED);
    });
    Some(STATUS_PENDING)
}

unsafe extern "win64" fn carry_out(request: u64) {
    // SAFETY: the address of a box that was given away when the item was queued, which runs once.
    let request = unsafe { Box::from_raw(request as *mut PowerRequest) };
    let PowerRequest { turn, minor, to, ended, .. } = *request;
    let answer = if minor == IRP_MN_QUERY_POWER { turn.query(to) } else { turn.set(to) };
    // The driver may ask for the next in its routine, and wait for it.
    drop(turn);
    ended.tell(answer.map_or_else(|refusal| refusal.status, |()| STATUS_SUCCESS));
}

/// AVStream's routine for IRP_MJ_SYSTEM_CONTROL: the devices below answer.
pub(crate) unsafe extern "win64" fn dispatch_system_control(functional: Address, irp: Address) -> NtStatus {
    match device_of(functional) {
        Some(device) => pass(&device, irp),
        None => complete(irp, STATUS_DEVICE_REMOVED),
    }
}

/// Bytes of a space of the bus, moved by the devices below; 0 when they do not have it. Buses of this machine have none, so
/// only a driver below answers.
fn bus_data(device: Address, routine: &'static str, minor: u8, space: u32, buffer: Address, part: (u32, u32)) -> u32 {
    if Level::current() != Level::Passive {
        misuse(BugCheck::IRQL_NOT_LESS_OR_EQUAL, routine, "waits for the bus above PASSIVE_LEVEL");
        return 0;
    }
    let Some(device) = objects::device(device, routine) else { return 0 };
    let (offset, length) = part;
    let parameters = [space.into(), buffer.0, offset.into(), length.into()];
    let answer = send_below(device.below(), IRP_MJ_PNP, minor, parameters);
    if answer.is_success() { length } else { 0 }
}

// ks-coverage: KsDeviceGetBusData refused the bus of a software device has no configuration space, so no byte is read
pub(crate) unsafe extern "win64" fn KsDeviceGetBusData(
    device: Address,
    space: u32,
    buffer: Address,
    offset: u32,
    length: u32,
) -> u32 {
    bus_data(device, "KsDeviceGetBusData", IRP_MN_READ_CONFIG, space, buffer, (offset, length))
}

// ks-coverage: KsDeviceSetBusData refused the bus of a software device has no configuration space, so no byte is written
pub(crate) unsafe extern "win64" fn KsDeviceSetBusData(
    device: Address,
    space: u32,
    buffer: Address,
    offset: u32,
    length: u32,
) -> u32 {
    bus_data(device, "KsDeviceSetBusData", IRP_MN_WRITE_CONFIG, space, buffer, (offset, length))
}

/// What a driver has registered for sleep and waking of one of its objects.
#[derive(Default)]
pub(crate) struct PowerCallbacks(Mutex<[Option<Routine>; 2]>);

impl PowerCallbacks {
    pub(crate) fn set(&self, sleep: Address, wake: Address) {
        let routines = [Routine::optional(sleep, "Sleep"), Routine::optional(wake, "Wake")];
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = routines;
    }

    fn tell(&self, which: usize, object: u64, to: DevicePowerState) {
        let routine = self.0.lock().unwrap_or_else(PoisonError::into_inner)[which];
        if let Some(routine) = routine {
            routine.call2(object, to.0.into());
        }
    }

    pub(crate) fn sleep(&self, object: u64, to: DevicePowerState) {
        self.tell(0, object, to);
    }

    pub(crate) fn wake(&self, object: u64, to: DevicePowerState) {
        self.tell(1, object, to);
    }
}
