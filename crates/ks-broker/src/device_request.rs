//! Plug and play, power and cooling for the devices of a hosted driver: what the parent asks a host for, and how that answers.

use crate::driver_host;
use crate::drivers::WHY;
use crate::remote::Handler;
use ks_abi::kernel::{DevicePowerState, SystemPowerState};
use ks_abi::{NtStatus, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use ks_io::Refusal;
use ks_nt::host::{LoadError, LoadedDriver};
use ks_nt::ntoskrnl::dpc;
use ks_nt::running;
use ks_stream::{Cooling, Device};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a PnP manager, a power manager or a thermal zone does with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceRequest {
    /// Asks whether it may be stopped, and cancels that.
    #[doc(alias = "IRP_MN_CANCEL_STOP_DEVICE")]
    CancelStop,
    /// Stops it and starts it anew, if the driver agrees.
    #[doc(alias = "IRP_MN_STOP_DEVICE")]
    Rebalance,
    /// Asks whether it may be removed, and cancels that.
    #[doc(alias = "IRP_MN_CANCEL_REMOVE_DEVICE")]
    CancelRemove,
    /// Removes it, if nobody has it open and the driver agrees.
    #[doc(alias = "IRP_MN_REMOVE_DEVICE")]
    Disable,
    /// Gives the driver another device: AddDevice and the start.
    #[doc(alias = "IRP_MN_START_DEVICE")]
    Enable,
    /// Puts it to D3, if the driver agrees.
    #[doc(alias = "IRP_MN_SET_POWER")]
    Sleep,
    /// Brings it back to D0.
    #[doc(alias = "IRP_MN_SET_POWER")]
    Wake,
    /// It is gone.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    SurpriseRemoval,
    /// The system goes to sleep (S3), and it to the state that it has then, if the driver agrees.
    #[doc(alias = "PowerSystemSleeping3")]
    SystemSleep,
    /// The system works again.
    #[doc(alias = "PowerSystemWorking")]
    SystemWake,
    /// Its fan goes on, or what cools it.
    #[doc(alias = "PFNKSDEVICETHERMALACTIVECOOLING")]
    EngageCooling,
    /// Its fan goes off.
    #[doc(alias = "PFNKSDEVICETHERMALACTIVECOOLING")]
    DisengageCooling,
    /// It works at half of its performance, so that it gets cooler.
    #[doc(alias = "PFNKSDEVICETHERMALPASSIVECOOLING")]
    Throttle,
    /// It works at all of its performance.
    #[doc(alias = "PFNKSDEVICETHERMALPASSIVECOOLING")]
    Unthrottle,
}

const ALL: [DeviceRequest; 14] = [
    DeviceRequest::CancelStop,
    DeviceRequest::Rebalance,
    DeviceRequest::CancelRemove,
    DeviceRequest::Disable,
    DeviceRequest::Enable,
    DeviceRequest::Sleep,
    DeviceRequest::Wake,
    DeviceRequest::SurpriseRemoval,
    DeviceRequest::SystemSleep,
    DeviceRequest::SystemWake,
    DeviceRequest::EngageCooling,
    DeviceRequest::DisengageCooling,
    DeviceRequest::Throttle,
    DeviceRequest::Unthrottle,
];

impl DeviceRequest {
    /// The number that it has on the connection.
    pub(crate) fn operation(self) -> u32 {
        ALL.iter().position(|known| *known == self).map_or(0, |at| at as u32 + 1)
    }

    fn of(operation: u32) -> Option<DeviceRequest> {
        ALL.get(usize::try_from(operation.checked_sub(1)?).ok()?).copied()
    }

    fn send(self, device: &Device) -> Result<(), Refusal> {
        match self {
            DeviceRequest::CancelStop => {
                let agreed = device.query_stop();
                device.cancel_stop()?;
                agreed
            }
            DeviceRequest::Rebalance => device.rebalance(),
            DeviceRequest::CancelRemove => {
                let agreed = device.query_remove();
                device.cancel_remove()?;
                agreed
            }
            DeviceRequest::Disable => device.disable(),
            DeviceRequest::Enable => Ok(()),
            DeviceRequest::Sleep => device.sleep(DevicePowerState::D3),
            DeviceRequest::Wake => device.wake(),
            DeviceRequest::SurpriseRemoval => {
                device.surprise_remove();
                Ok(())
            }
            DeviceRequest::SystemSleep => device.system_sleep(SystemPowerState::SLEEPING3),
            DeviceRequest::SystemWake => device.system_wake(),
            DeviceRequest::EngageCooling => device.cool(Cooling::Engage),
            DeviceRequest::DisengageCooling => device.cool(Cooling::Disengage),
            DeviceRequest::Throttle => device.cool(Cooling::LimitTo(50)),
            DeviceRequest::Unthrottle => device.cool(Cooling::LimitTo(100)),
        }
    }
}

/// The drivers of a host, as its parent manages their devices.
#[derive(Default)]
pub(crate) struct ManagedDrivers(Mutex<Vec<LoadedDriver>>);

impl ManagedDrivers {
    fn drivers(&self) -> MutexGuard<'_, Vec<LoadedDriver>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These run now.
    pub(crate) fn manage(&self, drivers: Vec<LoadedDriver>) {
        *self.drivers() = drivers;
    }

    /// They are to be unloaded; what comes now finds none.
    pub(crate) fn release(&self) -> Vec<LoadedDriver> {
        std::mem::take(&mut *self.drivers())
    }

    /// Every device of the driver with this name gets the request, as far as the first that refuses.
    fn perform(&self, request: DeviceRequest, name: &[u8]) -> NtStatus {
        let drivers = self.drivers();
        let mut named = drivers.iter().filter(|driver| driver.name().as_bytes() == name);
        if request == DeviceRequest::Enable {
            let enabled = named.try_for_each(|driver| match driver.devices().is_empty() {
                true => driver.add_device(),
                false => Ok(()),
            });
            return match enabled {
                Ok(()) => STATUS_SUCCESS,
                Err(LoadError::Routine { status, .. }) => status,
                Err(_) => STATUS_UNSUCCESSFUL,
            };
        }
        let devices: Vec<Arc<Device>> = named.flat_map(LoadedDriver::devices).collect();
        if devices.is_empty() {
            // None is there, or the driver answers such requests by itself.
            return STATUS_NOT_SUPPORTED;
        }
        devices
            .iter()
            .try_for_each(|device| request.send(device))
            .map_or_else(|refusal| refusal.status, |()| STATUS_SUCCESS)
    }
}

impl Handler for ManagedDrivers {
    fn busy_ms(&self) -> Option<u64> {
        dpc::running_ms().max(running::longest_ms())
    }

    fn report(&self, bytes: &[u8]) {
        if bytes == WHY {
            driver_host::tell_of_hang();
        }
    }

    /// The body is the name of the driver.
    fn service(&self, operation: u32, body: &[u8]) -> (NtStatus, Vec<u8>) {
        match DeviceRequest::of(operation) {
            Some(request) => (self.perform(request, body), Vec::new()),
            None => (STATUS_INVALID_PARAMETER, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_a_number_of_its_own() {
        for request in ALL {
            assert_eq!(DeviceRequest::of(request.operation()), Some(request));
        }
        let behind = ALL.iter().map(|request| request.operation()).max().unwrap() + 1;
        assert_eq!((DeviceRequest::of(0), DeviceRequest::of(behind)), (None, None));
    }
}
