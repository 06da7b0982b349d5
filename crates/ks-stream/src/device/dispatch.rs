//! What a driver is told of its device: the KSDEVICE dispatch table as a trait.

use super::{Cooling, Device, Refused, ThermalState};
use crate::handshake::Interface;
use ks_abi::Guid;
use ks_abi::kernel::{DeviceCapabilities, DevicePowerState, SystemPowerState};
use ks_io::sync::Arc;

/// The routines of a device. Every one has a default that agrees or does nothing.
///
/// PASSIVE level; the device mutex is held where it is said, and no other. None of them is called while another runs, but
/// for a change of power that the driver has asked for by [`Device::request_power`], which comes also while one without
/// device mutex runs. The creates and closes of filters are not of this table.
#[doc(alias = "KSDEVICE_DISPATCH")]
pub trait DeviceDispatch: Send + Sync {
    /// The device was found and exists. A refusal lets it not come to be.
    #[doc(alias = "PFNKSDEVICECREATE")]
    fn add(&self, device: &Arc<Device>) -> Refused {
        let _ = device;
        Ok(())
    }

    /// The device gets its resources (`IRP_MN_START_DEVICE`), at first and after each stop. Device mutex held.
    #[doc(alias = "PFNKSDEVICEPNPSTART")]
    fn start(&self, device: &Arc<Device>) -> Refused {
        let _ = device;
        Ok(())
    }

    /// It was started. After this its interfaces are enabled; a refusal has every create fail until it is stopped.
    /// Device mutex held.
    #[doc(alias = "PFNKSDEVICE")]
    fn post_start(&self, device: &Arc<Device>) -> Refused {
        let _ = device;
        Ok(())
    }

    /// May it be stopped, to be given other resources? Who agrees is ready for the stop. Device mutex held.
    #[doc(alias = "IRP_MN_QUERY_STOP_DEVICE")]
    fn query_stop(&self, device: &Arc<Device>) -> Refused {
        let _ = device;
        Ok(())
    }

    /// It is not stopped after all. Comes also to a driver that refused.
    #[doc(alias = "IRP_MN_CANCEL_STOP_DEVICE")]
    fn cancel_stop(&self, device: &Arc<Device>) {
        let _ = device;
    }

    /// The resources go. Nothing of the device processes; pins that were in RUN are in PAUSE.
    #[doc(alias = "IRP_MN_STOP_DEVICE")]
    fn stop(&self, device: &Arc<Device>) {
        let _ = device;
    }

    /// May it be removed? Asked while no filter of it is open. Device mutex held.
    #[doc(alias = "IRP_MN_QUERY_REMOVE_DEVICE")]
    fn query_remove(&self, device: &Arc<Device>) -> Refused {
        let _ = device;
        Ok(())
    }

    /// It is not removed after all. Comes also to a driver that refused, or that was not asked because of open filters.
    #[doc(alias = "IRP_MN_CANCEL_REMOVE_DEVICE")]
    fn cancel_remove(&self, device: &Arc<Device>) {
        let _ = device;
    }

    /// It is removed: the last call. No filter is open any more.
    #[doc(alias = "IRP_MN_REMOVE_DEVICE")]
    fn remove(&self, device: &Arc<Device>) {
        let _ = device;
    }

    /// What can it do? The bus has answered already. An error leaves what the bus said.
    #[doc(alias = "PFNKSDEVICEQUERYCAPABILITIES")]
    fn query_capabilities(&self, device: &Arc<Device>, capabilities: &mut DeviceCapabilities) -> Refused {
        let _ = (device, capabilities);
        Ok(())
    }

    /// It is gone without notice. New requests are refused already; those that wait end when this returns, and
    /// [`DeviceDispatch::remove`] follows when the last filter is closed.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    fn surprise_removal(&self, device: &Arc<Device>) {
        let _ = device;
    }

    /// May it go to this power state? Device mutex held.
    #[doc(alias = "PFNKSDEVICEQUERYPOWER")]
    fn query_power(&self, device: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) -> Refused {
        let _ = (device, to, from);
        Ok(())
    }

    /// It goes to this power state. On the way down its pins are in PAUSE already; on the way up they follow. Device mutex
    /// held.
    #[doc(alias = "PFNKSDEVICESETPOWER")]
    fn set_power(&self, device: &Arc<Device>, to: DevicePowerState, from: DevicePowerState) {
        let _ = (device, to, from);
    }

    /// May the system go to this power state? The device is asked about its own next. Device mutex held.
    #[doc(alias = "PFNKSDEVICEQUERYPOWER")]
    fn query_system_power(&self, device: &Arc<Device>, to: SystemPowerState, from: SystemPowerState) -> Refused {
        let _ = (device, to, from);
        Ok(())
    }

    /// The system goes to this power state: on the way down the device sleeps already, on the way up it wakes next. The
    /// driver may ask for a power state of the device, and wait for it.
    #[doc(alias = "IRP_MN_SET_POWER")]
    fn set_system_power(&self, device: &Arc<Device>, to: SystemPowerState, from: SystemPowerState) {
        let _ = (device, to, from);
    }

    /// It is to be cooled, or needs it no more; how hot it is then. `None`: the driver cannot do that.
    #[doc(alias = "KSDEVICE_THERMAL_DISPATCH")]
    fn cool(&self, device: &Arc<Device>, cooling: Cooling) -> Option<ThermalState> {
        let _ = (device, cooling);
        None
    }

    /// An interface of the device, for other drivers.
    #[doc(alias = "IRP_MN_QUERY_INTERFACE")]
    fn query_interface(&self, device: &Arc<Device>, id: Guid) -> Option<Interface> {
        let _ = (device, id);
        None
    }
}
