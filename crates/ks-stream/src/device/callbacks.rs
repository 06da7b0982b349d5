//! The callbacks of a device as the class driver calls them: a panic ends in the device, and so does a refusal that is
//! none. With the verifier on, level and mutex are compared before and after each.

use super::{Cooling, Device, DeviceDispatch, Refused, ThermalState};
use crate::callback::{self, Callback};
use crate::descriptor::DescribeFilter;
use crate::handshake::Interface;
use crate::verifier::Rule;
use ks_abi::kernel::{DeviceCapabilities, DevicePowerState, SystemPowerState};
use ks_abi::{Guid, STATUS_UNSUCCESSFUL};
use ks_io::sync::Arc;
use ks_io::{Aspect, Refusal};

/// The dispatch table of a device.
pub(super) struct DeviceCallbacks(Arc<dyn DeviceDispatch>);

fn ask<R>(device: &Arc<Device>, name: Callback, body: impl FnOnce() -> R) -> Option<R> {
    callback::supervise_device(device, device.watched(), name, body)
}

/// A refusal has the status of an error: nobody could wait for a callback of a device.
fn try_ask(device: &Arc<Device>, name: Callback, body: impl FnOnce() -> Refused) -> Refused {
    let answer = ask(device, name, body).unwrap_or_else(|| Err(callback::ended(name)));
    if let Err(refusal) = &answer
        && refusal.status.is_success()
    {
        device.blame(Rule::CallbackReturn, name.name(), format!("it returned {}, which it may not", refusal.status));
        let reason = format!("{name} returned {}, which it may not", refusal.status);
        return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
    }
    answer
}

/// The device goes from D0 to a power state: one of its factories is told.
pub(super) fn factory_sleeps(device: &Arc<Device>, factory: &Arc<dyn DescribeFilter>, to: DevicePowerState) {
    ask(device, Callback::FACTORY_SLEEP, || factory.dispatch().sleep(device, to));
}

/// The device is in D0 again: one of its factories is told.
pub(super) fn factory_wakes(device: &Arc<Device>, factory: &Arc<dyn DescribeFilter>, to: DevicePowerState) {
    ask(device, Callback::FACTORY_WAKE, || factory.dispatch().wake(device, to));
}

impl DeviceCallbacks {
    pub(super) fn new(dispatch: Arc<dyn DeviceDispatch>) -> DeviceCallbacks {
        DeviceCallbacks(dispatch)
    }

    pub(super) fn add(&self, device: &Arc<Device>) -> Refused {
        try_ask(device, Callback::DEVICE_ADD, || self.0.add(device))
    }

    pub(super) fn start(&self, device: &Arc<Device>) -> Refused {
        try_ask(device, Callback::DEVICE_START, || self.0.start(device))
    }

    pub(super) fn post_start(&self, device: &Arc<Device>) -> Refused {
        try_ask(device, Callback::DEVICE_POST_START, || self.0.post_start(device))
    }

    pub(super) fn query_stop(&self, device: &Arc<Device>) -> Refused {
        try_ask(device, Callback::DEVICE_QUERY_STOP, || self.0.query_stop(device))
    }

    pub(super) fn cancel_stop(&self, device: &Arc<Device>) {
        ask(device, Callback::DEVICE_CANCEL_STOP, || self.0.cancel_stop(device));
    }

    pub(super) fn stop(&self, device: &Arc<Device>) {
        ask(device, Callback::DEVICE_STOP, || self.0.stop(device));
    }

    pub(super) fn query_remove(&self, device: &Arc<Device>) -> Refused {
        try_ask(device, Callback::DEVICE_QUERY_REMOVE, || self.0.query_remove(device))
    }

    pub(super) fn cancel_remove(&self, device: &Arc<Device>) {
        ask(device, Callback::DEVICE_CANCEL_REMOVE, || self.0.cancel_remove(device));
    }

    pub(super) fn remove(&self, device: &Arc<Device>) {
        ask(device, Callback::DEVICE_REMOVE, || self.0.remove(device));
    }

    pub(super) fn query_capabilities(&self, device: &Arc<Device>, capabilities: &mut DeviceCapabilities) -> Refused {
        try_ask(device, Callback::DEVICE_QUERY_CAPABILITIES, || self.0.query_capabilities(device, capabilities))
    }

    pub(super) fn surprise_removal(&self, device: &Arc<Device>) {
        ask(device, Callback::DEVICE_SURPRISE_REMOVAL, || self.0.surprise_removal(device));
    }

    pub(super) fn query_power(&self, device: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) -> Refused {
        try_ask(device, Callback::DEVICE_QUERY_POWER, || self.0.query_power(device, to, from))
    }

    pub(super) fn set_power(&self, device: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) {
        ask(device, Callback::DEVICE_SET_POWER, || self.0.set_power(device, to, from));
    }

    pub(super) fn query_system_power(
        &self,
        device: &Arc<Device>,
        to: SystemPowerState,
        from: SystemPowerState,
    ) -> Refused {
        try_ask(device, Callback::DEVICE_QUERY_POWER, || self.0.query_system_power(device, to, from))
    }

    pub(super) fn set_system_power(&self, device: &Arc<Device>, to: SystemPowerState, from: SystemPowerState) {
        ask(device, Callback::DEVICE_SET_POWER, || self.0.set_system_power(device, to, from));
    }

    pub(super) fn cool(&self, device: &Arc<Device>, cooling: Cooling) -> Option<ThermalState> {
        ask(device, Callback::DEVICE_COOLING, || self.0.cool(device, cooling)).flatten()
    }

    pub(super) fn query_interface(&self, device: &Arc<Device>, id: Guid) -> Option<Interface> {
        ask(device, Callback::DEVICE_QUERY_INTERFACE, || self.0.query_interface(device, id)).flatten()
    }
}
