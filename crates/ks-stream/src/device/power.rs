//! Power of a device, and what holds its streams while it sleeps or is stopped.
//!
//! Down: pins in RUN go to PAUSE and nothing processes; the sleep callbacks of pins, filters and factories; SetPower. Up:
//! SetPower; the wake callbacks of factories, filters and pins; processing goes on and pins go where they were told to be.
//!
//! Source: "Power and State Changes in AVStream", nf-ks-kspinregisterpowercallbacks, nf-ks-ksfilterregisterpowercallbacks.

use super::pnp::PnpState;
use super::{DEVICE_POWER, Device, Refused, SYSTEM_POWER, callbacks};
use crate::filter::{Filter, GoOn};
use ks_abi::STATUS_INVALID_PARAMETER;
use ks_abi::kernel::{DevicePowerState, SystemPowerState};
use ks_io::sync::{Arc, Weak, atomic::Ordering};
use ks_io::{Aspect, Refusal, deferred};

/// Why the streams of a device are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Stopped = 1,
    Asleep = 2,
}

/// In which a device has power.
const POWERED: [PnpState; 4] =
    [PnpState::Started, PnpState::StopPending, PnpState::RemovePending, PnpState::NotStarted];

fn known(state: DevicePowerState) -> Refused {
    if (DevicePowerState::D0..=DevicePowerState::D3).contains(&state) {
        return Ok(());
    }
    Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, format!("{} is no power state of a device", state.0)))
}

fn known_of_system(state: SystemPowerState) -> Refused {
    if (SystemPowerState::WORKING..=SystemPowerState::SHUTDOWN).contains(&state) {
        return Ok(());
    }
    Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, format!("{} is no power state of a system", state.0)))
}

impl Device {
    /// The power state of the device.
    #[doc(alias = "DevicePowerState")]
    pub fn power(&self) -> DevicePowerState {
        DevicePowerState(self.block.load_u32(DEVICE_POWER))
    }

    /// Asks the driver whether the device may go to a power state; nothing changes.
    #[doc(alias = "IRP_MN_QUERY_POWER")]
    pub fn query_power(&self, to: DevicePowerState) -> Refused {
        known(to)?;
        let step = self.begin("a query for power", &POWERED)?;
        let _device = self.mutex.hold();
        self.dispatch().map_or(Ok(()), |dispatch| dispatch.query_power(&step.me(), to, self.power()))
    }

    /// Brings the device to a power state. From D0 down its streams are held first; up to D0 they go on last. A request
    /// for the state that it is in only tells the driver.
    #[doc(alias = "IRP_MN_SET_POWER")]
    pub fn set_power(&self, to: DevicePowerState) -> Refused {
        known(to)?;
        let _inside = deferred::enter();
        let step = self.begin("power", &POWERED)?;
        let me = step.me();
        let device = self.mutex.hold();
        let from = self.power();
        let (sleeps, wakes) = (from == DevicePowerState::D0, to == DevicePowerState::D0);
        if sleeps && !wakes {
            self.hold_filters(Hold::Asleep, Some(to));
            for factory in self.factory_list() {
                callbacks::factory_sleeps(&me, &factory, to);
            }
        }
        if let Some(dispatch) = self.dispatch() {
            dispatch.set_power(&me, to, from);
        }
        self.block.store_u32(DEVICE_POWER, to.0);
        if wakes && !sleeps {
            for factory in self.factory_list() {
                callbacks::factory_wakes(&me, &factory, to);
            }
            self.let_filters_go(Hold::Asleep, Some(to));
        }
        drop(device);
        Ok(())
    }

    /// Asks, and then puts the device to sleep. A driver that refuses is told that the state of before is affirmed, as a
    /// power manager does.
    pub fn sleep(&self, to: DevicePowerState) -> Refused {
        if let Err(refusal) = self.query_power(to) {
            let _ = self.set_power(self.power());
            return Err(refusal);
        }
        self.set_power(to)
    }

    /// Wakes the device up.
    pub fn wake(&self) -> Refused {
        self.set_power(DevicePowerState::D0)
    }

    /// The power state of the system, as the device was told last.
    #[doc(alias = "SystemPowerState")]
    pub fn system_power(&self) -> SystemPowerState {
        SystemPowerState(self.block.load_u32(SYSTEM_POWER))
    }

    /// Asks the driver whether the system may go to a power state; nothing changes.
    #[doc(alias = "IRP_MN_QUERY_POWER")]
    pub fn query_system_power(&self, to: SystemPowerState) -> Refused {
        known_of_system(to)?;
        let step = self.begin("a query for power of the system", &POWERED)?;
        let _device = self.mutex.hold();
        let from = self.system_power();
        self.dispatch().map_or(Ok(()), |dispatch| dispatch.query_system_power(&step.me(), to, from))
    }

    /// Takes the device along to a power state of the system: down, it goes to the state that its capabilities name for
    /// that of the system, and then it is told; up, it is told first and goes to D0 then.
    ///
    /// Decision: the power policy of a device is the class driver's, which asks for no power state of its own while the
    /// system works.
    #[doc(alias = "IRP_MN_SET_POWER")]
    pub fn set_system_power(&self, to: SystemPowerState) -> Refused {
        known_of_system(to)?;
        if to == SystemPowerState::WORKING {
            self.tell_of_system(to)?;
            return self.set_power(DevicePowerState::D0);
        }
        self.set_power(self.power_in(to))?;
        self.tell_of_system(to)
    }

    /// Asks, and then puts the system to sleep, as far as it is this device. A driver that refuses either is told that the
    /// state of before is affirmed.
    pub fn system_sleep(&self, to: SystemPowerState) -> Refused {
        let agreed = self.query_system_power(to).and_then(|()| self.query_power(self.power_in(to)));
        if let Err(refusal) = agreed {
            let _ = self.tell_of_system(self.system_power());
            return Err(refusal);
        }
        self.set_system_power(to)
    }

    /// Wakes the system up, as far as it is this device.
    pub fn system_wake(&self) -> Refused {
        self.set_system_power(SystemPowerState::WORKING)
    }

    /// The state of the device while the system is in this one, of which the driver has a say. D3 where nobody says one.
    fn power_in(&self, system: SystemPowerState) -> DevicePowerState {
        let states = self.query_capabilities().device_state;
        let state = states.get(system.0 as usize).copied().filter(|state| known(*state).is_ok());
        state.unwrap_or(DevicePowerState::D3)
    }

    fn tell_of_system(&self, to: SystemPowerState) -> Refused {
        let _inside = deferred::enter();
        let step = self.begin("power of the system", &POWERED)?;
        let _device = self.mutex.hold();
        if let Some(dispatch) = self.dispatch() {
            dispatch.set_system_power(&step.me(), to, self.system_power());
        }
        self.block.store_u32(SYSTEM_POWER, to.0);
        Ok(())
    }

    /// Do the streams of the device stand still?
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst) != 0
    }

    pub(super) fn hold_streams(&self, why: Hold, to: Option<DevicePowerState>) {
        let _device = self.mutex.hold();
        self.hold_filters(why, to);
    }

    pub(super) fn let_streams_go(&self, why: Hold, to: Option<DevicePowerState>) {
        let _device = self.mutex.hold();
        self.let_filters_go(why, to);
    }

    /// Device mutex held, so that no filter is made or closed meanwhile.
    fn hold_filters(&self, why: Hold, to: Option<DevicePowerState>) {
        self.held.fetch_or(why as u8, Ordering::SeqCst);
        for filter in self.living_filters() {
            filter.hold_streams(to);
        }
    }

    fn let_filters_go(&self, why: Hold, to: Option<DevicePowerState>) {
        let left = self.held.fetch_and(!(why as u8), Ordering::SeqCst) & !(why as u8);
        for filter in self.living_filters() {
            filter.let_streams_go(to, if left == 0 { GoOn::Now } else { GoOn::NotYet });
        }
    }

    pub(super) fn living_filters(&self) -> Vec<Arc<Filter>> {
        self.filters.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
