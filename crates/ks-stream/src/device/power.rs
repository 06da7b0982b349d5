//! Power of a device, and what holds its streams while it sleeps or is stopped.
//!
//! Down: pins in RUN go to PAUSE and nothing processes; the sleep callbacks of pins, filters and factories; SetPower. Up:
//! SetPower; the wake callbacks of factories, filters and pins; processing goes on and pins go where they were told to be.
//!
//! A device goes from one power state to the next one change at a time ([`super::turns`]): the power manager's and those
//! that its driver asks for itself.
//!
//! Source: "Power and State Changes in AVStream", nf-ks-kspinregisterpowercallbacks, nf-ks-ksfilterregisterpowercallbacks,
//! nf-wdm-porequestpowerirp.

use super::pnp::PnpState;
use super::turns::Order;
use super::{DEVICE_POWER, Device, Refused, SYSTEM_POWER, callbacks};
use crate::filter::{Filter, GoOn};
use ks_abi::STATUS_INVALID_PARAMETER;
use ks_abi::kernel::{DevicePowerState, SystemPowerState};
use ks_io::sync::{Arc, Mutex, Weak, atomic::Ordering};
use ks_io::{Aspect, Refusal, Work, WorkQueue, deferred};

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

/// The turn of one change of a device's power, from [`Device::power_turn`]. The next has its turn when this is dropped.
#[derive(Debug)]
pub struct PowerTurn {
    pub(super) device: Arc<Device>,
}

impl PowerTurn {
    /// Brings the device to a power state, as [`Device::set_power`].
    pub fn set(&self, to: DevicePowerState) -> Refused {
        known(to)?;
        self.device.change_power(to)
    }

    /// Asks the driver whether the device may go to a power state, as [`Device::query_power`].
    pub fn query(&self, to: DevicePowerState) -> Refused {
        known(to)?;
        let device = self.device.mutex.hold();
        if self.device.life.lock().is_gone() {
            return Err(self.device.gone());
        }
        let dispatch = self.device.dispatch();
        let answer = dispatch.map_or(Ok(()), |dispatch| dispatch.query_power(&self.device, to, self.device.power()));
        drop(device);
        answer
    }
}

impl Drop for PowerTurn {
    fn drop(&mut self) {
        let _inside = deferred::enter();
        self.device.end_turn(Order::Power);
    }
}

/// A change that a driver has asked for, until a worker has its turn and carries it out.
struct Asked<F>(Mutex<Option<(PowerTurn, DevicePowerState, F)>>);

impl<F: FnOnce(Refused) + Send + 'static> Work for Asked<F> {
    fn run(self: Arc<Self>) {
        let _inside = deferred::enter();
        let asked = self.0.lock().take();
        if let Some((turn, to, ended)) = asked {
            let answer = turn.set(to);
            drop(turn);
            ended(answer);
        }
    }
}

impl Device {
    /// The power state of the device.
    #[doc(alias = "DevicePowerState")]
    pub fn power(&self) -> DevicePowerState {
        DevicePowerState(self.block.load_u32(DEVICE_POWER))
    }

    /// Asks the driver whether the device may go to a power state; nothing changes. One request at a time: it waits for
    /// its turn.
    #[doc(alias = "IRP_MN_QUERY_POWER")]
    pub fn query_power(&self, to: DevicePowerState) -> Refused {
        known(to)?;
        let _step = self.begin("a query for power", &POWERED)?;
        self.wait_for_power()?.query(to)
    }

    /// Brings the device to a power state. From D0 down its streams are held first; up to D0 they go on last. A request
    /// for the state that it is in only tells the driver. One request at a time: it waits for its turn.
    #[doc(alias = "IRP_MN_SET_POWER")]
    pub fn set_power(&self, to: DevicePowerState) -> Refused {
        known(to)?;
        let _inside = deferred::enter();
        let _step = self.begin("power", &POWERED)?;
        self.wait_for_power()?.set(to)
    }

    /// A change of power that the driver asks for itself. Returns at once; a worker carries it out after those that came
    /// before, in the middle of another request too, where that holds no device mutex; then `ended` is told the answer. A
    /// device that was removed meanwhile answers STATUS_DEVICE_REMOVED.
    ///
    /// Legal at DISPATCH level and with any mutex held, by a driver that waits for the end in a callback without device
    /// mutex, too.
    #[doc(alias = "PoRequestPowerIrp")]
    pub fn request_power(&self, to: DevicePowerState, ended: impl FnOnce(Refused) + Send + 'static) {
        let services = self.io.services().clone();
        self.power_turn(move |turn| {
            services.queue_work(WorkQueue::Delayed, Arc::new(Asked(Mutex::new(Some((turn, to, ended))))));
        });
    }

    /// Has `hand` called with the turn of a change of power: at once, on this thread, or later on the thread that ends the
    /// change before. It does not wait, but hands the turn to a thread that may.
    pub fn power_turn(&self, hand: impl FnOnce(PowerTurn) + Send + 'static) {
        self.hand_turn(Box::new(hand));
    }

    fn wait_for_power(&self) -> Result<PowerTurn, Refusal> {
        let device = self.me.upgrade().ok_or_else(|| self.gone())?;
        self.wait_for_turn(Order::Power, "power")?;
        Ok(PowerTurn { device })
    }

    /// The turn is the caller's.
    fn change_power(self: &Arc<Device>, to: DevicePowerState) -> Refused {
        let device = self.mutex.hold();
        if self.life.lock().is_gone() {
            return Err(self.gone());
        }
        let from = self.power();
        let (sleeps, wakes) = (from == DevicePowerState::D0, to == DevicePowerState::D0);
        if sleeps && !wakes {
            self.hold_filters(Hold::Asleep, Some(to));
            for factory in self.factory_list() {
                callbacks::factory_sleeps(self, &factory, to);
            }
        }
        if let Some(dispatch) = self.dispatch() {
            dispatch.set_power(self, to, from);
        }
        self.block.store_u32(DEVICE_POWER, to.0);
        if wakes && !sleeps {
            for factory in self.factory_list() {
                callbacks::factory_wakes(self, &factory, to);
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
    /// system works. A driver that does is told of the system's state with no mutex held, so that it can wait for the end of
    /// what it asks for.
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
