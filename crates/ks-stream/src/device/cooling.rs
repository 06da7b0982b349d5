//! Cooling: what a person, or a thermal zone, asks of a device that gets hot, and how hot its driver says that it is.
//!
//! Source: nf-ks-ksdeviceregisterthermaldispatch, ns-ks-_ksdevice_thermal_dispatch, ne-ks-ksdevice_thermal_state.

use super::pnp::PnpState;
use super::{Device, Refused};
use ks_abi::{
    KSEVENT_DEVICE_THERMAL_HIGH, KSEVENT_DEVICE_THERMAL_LOW, KSEVENTSETID_Device, STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED,
};
use ks_io::sync::atomic::Ordering;
use ks_io::{Aspect, Refusal, deferred};

/// How a device is to be cooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cooling {
    /// Its fan, or what it has, goes on.
    #[doc(alias = "PFNKSDEVICETHERMALACTIVECOOLING")]
    Engage,
    /// Its fan goes off.
    #[doc(alias = "PFNKSDEVICETHERMALACTIVECOOLING")]
    Disengage,
    /// It works at no more than so many per cent of its full performance; 100 is all of it.
    #[doc(alias = "PFNKSDEVICETHERMALPASSIVECOOLING")]
    LimitTo(u32),
}

/// How hot a device is, as its driver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[doc(alias = "KSDEVICE_THERMAL_STATE")]
pub enum ThermalState {
    /// It is not.
    #[default]
    Low = 0,
    /// It is hot.
    High = 1,
}

impl Device {
    /// Has the driver cool the device. Where the state that it answers is another than before, the filters' events of
    /// KSEVENTSETID_Device are raised, by which clients hear of it.
    ///
    /// STATUS_NOT_SUPPORTED: the driver has no routine for it. STATUS_INVALID_PARAMETER: more than 100 per cent.
    #[doc(alias = "KsDeviceRegisterThermalDispatch")]
    pub fn cool(&self, cooling: Cooling) -> Refused {
        if matches!(cooling, Cooling::LimitTo(percent) if percent > 100) {
            let reason = format!("{cooling:?}: a device cannot work at more than 100 per cent");
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason));
        }
        let _inside = deferred::enter();
        let step = self.begin("cooling", &[PnpState::Started, PnpState::StopPending, PnpState::RemovePending])?;
        let answer = self.dispatch().and_then(|dispatch| dispatch.cool(&step.me(), cooling));
        let Some(state) = answer else {
            let reason = format!("the driver of the device {} has no routine for {cooling:?}", self.name);
            return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Driver, reason));
        };
        if self.thermal_state.swap(state as u8, Ordering::SeqCst) != state as u8 {
            let event = match state {
                ThermalState::Low => KSEVENT_DEVICE_THERMAL_LOW,
                ThermalState::High => KSEVENT_DEVICE_THERMAL_HIGH,
            };
            for filter in self.living_filters() {
                filter.generate_events(KSEVENTSETID_Device, event);
            }
        }
        Ok(())
    }

    /// How hot the device is, as its driver said last; low at first.
    pub fn thermal_state(&self) -> ThermalState {
        match self.thermal_state.load(Ordering::SeqCst) {
            0 => ThermalState::Low,
            _ => ThermalState::High,
        }
    }
}
