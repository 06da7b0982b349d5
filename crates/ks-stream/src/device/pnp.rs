//! Plug and play: the states of a device and the requests that lead from one to the next.
//!
//! The requests are carried out one at a time, as a PnP manager sends them; the others wait ([`super::turns`]). Only a
//! surprise removal takes effect at once, in the middle of another: its callback waits until the other has returned. What a
//! request does to the streams of the device it does here, before or after the driver is told; the driver is told by
//! [`super::DeviceDispatch`].
//!
//! Source: "State Transitions for PnP Devices" and the pages on handling each IRP_MN_*.

use super::turns::{Order, Turns};
use super::{Device, Hold, Refused};
use crate::handshake::Interface;
use ks_abi::kernel::{DeviceCapabilities, DevicePowerState};
use ks_abi::{Guid, NtStatus, STATUS_DEVICE_REMOVED, STATUS_INVALID_DEVICE_STATE, STATUS_UNSUCCESSFUL};
use ks_io::sync::{Arc, atomic::Ordering};
use ks_io::{Aspect, Refusal, deferred};
use std::fmt;

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PnpState {
    /// Found, without resources: it opens nothing.
    NotStarted,
    /// It works.
    Started,
    /// It works; its driver agreed to be stopped.
    StopPending,
    /// Its resources were taken: streams wait, filters stay open, nothing new is opened.
    Stopped,
    /// Its driver agreed to be removed: nothing new is opened.
    RemovePending,
    /// It is gone; handles of it are still open, or its driver is just being told.
    SurpriseRemoved,
    /// It is gone, and its driver has let go of it.
    Deleted,
}

impl fmt::Display for PnpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PnpState::NotStarted => "not started",
            PnpState::Started => "started",
            PnpState::StopPending => "about to be stopped",
            PnpState::Stopped => "stopped",
            PnpState::RemovePending => "about to be removed",
            PnpState::SurpriseRemoved => "removed",
            PnpState::Deleted => "deleted",
        })
    }
}

/// Whether a device that is removed is gone already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The driver has let go of it.
    Done,
    /// That many of its filters are open, or another request is just going on: the driver is told when that has ended.
    Waits {
        /// Filters that are open.
        filters: usize,
    },
}

/// The state, and what is owed to the driver.
pub(super) struct Life {
    pub(super) state: PnpState,
    /// Where a query that is cancelled leads back to.
    before: PnpState,
    /// The requests of the managers, and the changes of power.
    requests: Turns,
    pub(super) power: Turns,
    /// The driver is to be told of a surprise removal.
    tell_removal: bool,
    /// Start succeeded, and no Stop came since.
    has_resources: bool,
    /// Why every create fails.
    pub(super) post_start: Option<Refusal>,
}

impl Life {
    pub(super) fn new() -> Life {
        Life {
            state: PnpState::NotStarted,
            before: PnpState::NotStarted,
            requests: Turns::default(),
            power: Turns::default(),
            tell_removal: false,
            has_resources: false,
            post_start: None,
        }
    }

    pub(super) fn turns(&mut self, order: Order) -> &mut Turns {
        match order {
            Order::Requests => &mut self.requests,
            Order::Power => &mut self.power,
        }
    }

    /// Is the driver being called, or about to be, for a request or a change of power?
    fn is_busy(&self) -> bool {
        self.requests.is_taken() || self.power.is_taken()
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state, PnpState::SurpriseRemoved | PnpState::Deleted)
    }
}

/// A request that is going on. When it is dropped the next may come, and a removal that waited for it goes on.
pub(super) struct Step<'d> {
    device: &'d Device,
    me: Arc<Device>,
    pub(super) from: PnpState,
}

impl Step<'_> {
    pub(super) fn me(&self) -> Arc<Device> {
        self.me.clone()
    }

    /// Where the request leads, unless the device was removed meanwhile.
    fn lead_to(&self, state: PnpState, also: impl FnOnce(&mut Life)) {
        let mut life = self.device.life.lock();
        if !life.is_gone() {
            life.state = state;
        }
        also(&mut life);
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.device.end_turn(Order::Requests);
    }
}

fn refuse(status: NtStatus, reason: String) -> Refusal {
    Refusal::new(status, Aspect::Device, reason)
}

impl Device {
    /// Where the device is in its life.
    pub fn pnp_state(&self) -> PnpState {
        self.life.lock().state
    }

    /// Why every create of the started device fails: its driver refused PostStart.
    pub fn post_start_refusal(&self) -> Option<Refusal> {
        self.life.lock().post_start.clone()
    }

    /// The turn of a request, for which it may wait.
    pub(super) fn begin(&self, what: &str, allowed: &[PnpState]) -> Result<Step<'_>, Refusal> {
        let me = self.me.upgrade().ok_or_else(|| self.gone())?;
        if self.life.lock().is_gone() {
            return Err(self.gone());
        }
        self.wait_for_turn(Order::Requests, what)?;
        let from = self.pnp_state();
        // Gives the turn back, whatever follows.
        let step = Step { device: self, me, from };
        if allowed.contains(&from) {
            return Ok(step);
        }
        if self.life.lock().is_gone() {
            return Err(self.gone());
        }
        let reason = format!("{what} does not come to the device {}, which is {from}", self.name);
        Err(refuse(STATUS_INVALID_DEVICE_STATE, reason))
    }

    /// Starts the device, or starts it anew after a stop: the driver's Start, then PostStart, then the interfaces of its
    /// factories are enabled and streams go on.
    ///
    /// A driver that refuses to start leaves a new device not started; one that was stopped is removed by surprise, as a
    /// PnP manager does. A refused PostStart is no refusal of the start, see [`Device::post_start_refusal`].
    #[doc(alias = "IRP_MN_START_DEVICE")]
    pub fn start_device(&self) -> Refused {
        let _inside = deferred::enter();
        let step = self.begin("a start", &[PnpState::NotStarted, PnpState::Stopped])?;
        let device = self.mutex.hold();
        let dispatch = self.dispatch();
        if let Err(refusal) = dispatch.map_or(Ok(()), |dispatch| dispatch.start(&step.me)) {
            drop(device);
            let stopped = step.from == PnpState::Stopped;
            drop(step);
            if stopped {
                self.surprise_remove();
            }
            return Err(refusal);
        }
        let post_start = dispatch.map_or(Ok(()), |dispatch| dispatch.post_start(&step.me)).err();
        drop(device);
        let works = post_start.is_none();
        step.lead_to(PnpState::Started, |life| {
            life.has_resources = true;
            life.post_start = post_start;
        });
        if self.is_removed() {
            return Err(refuse(
                STATUS_DEVICE_REMOVED,
                format!("the device {} was removed while it started", self.name),
            ));
        }
        self.show_started(works);
        if step.from == PnpState::Stopped {
            self.let_streams_go(Hold::Stopped, None);
        }
        Ok(())
    }

    /// Asks the driver whether the device may be stopped; nothing of its streams changes. After a refusal
    /// [`Device::cancel_stop`] is sent.
    #[doc(alias = "IRP_MN_QUERY_STOP_DEVICE")]
    pub fn query_stop(&self) -> Refused {
        let step = self.begin("a query for a stop", &[PnpState::Started])?;
        let _device = self.mutex.hold();
        if let Some(dispatch) = self.dispatch() {
            dispatch.query_stop(&step.me)?;
        }
        step.lead_to(PnpState::StopPending, |_| {});
        Ok(())
    }

    /// The device is not stopped after all.
    #[doc(alias = "IRP_MN_CANCEL_STOP_DEVICE")]
    pub fn cancel_stop(&self) -> Refused {
        let step = self.begin("the cancel of a stop", &[PnpState::StopPending, PnpState::Started])?;
        if let Some(dispatch) = self.dispatch() {
            dispatch.cancel_stop(&step.me);
        }
        step.lead_to(PnpState::Started, |_| {});
        Ok(())
    }

    /// Stops the device whose driver agreed to it: its pins go down from RUN to PAUSE, nothing of it processes, then the
    /// driver's Stop. Requests wait in their queues. Factories that were added until the stop go after it.
    ///
    /// Decision: pins are paused, as the page of the stop says of a device, and not stopped: their queues and circuits
    /// stay. A client that raises the state of such a pin is refused with STATUS_DEVICE_NOT_READY until the next start.
    #[doc(alias = "IRP_MN_STOP_DEVICE")]
    pub fn stop_device(&self) -> Refused {
        let _inside = deferred::enter();
        let step = self.begin("a stop", &[PnpState::StopPending])?;
        // Creates that come now are refused; those before it are seen below.
        step.lead_to(PnpState::Stopped, |_| {});
        self.show_stopped();
        self.hold_streams(Hold::Stopped, None);
        if let Some(dispatch) = self.dispatch() {
            dispatch.stop(&step.me);
        }
        step.lead_to(PnpState::Stopped, |life| {
            life.has_resources = false;
            life.post_start = None;
        });
        self.free_on_stop();
        Ok(())
    }

    /// Asks whether the device may be removed. While a filter of it is open it may not: STATUS_UNSUCCESSFUL, and the
    /// driver is not asked. After a refusal [`Device::cancel_remove`] is sent.
    #[doc(alias = "IRP_MN_QUERY_REMOVE_DEVICE")]
    pub fn query_remove(&self) -> Refused {
        let allowed = [PnpState::Started, PnpState::NotStarted, PnpState::Stopped];
        let step = self.begin("a query for a removal", &allowed)?;
        // Creates hold the mutex, too.
        let _device = self.mutex.hold();
        let open = self.opened.load(Ordering::SeqCst);
        if open > 0 {
            let reason = format!("{open} filters of the device {} are open", self.name);
            return Err(refuse(STATUS_UNSUCCESSFUL, reason));
        }
        if let Some(dispatch) = self.dispatch() {
            dispatch.query_remove(&step.me)?;
        }
        step.lead_to(PnpState::RemovePending, |life| life.before = step.from);
        Ok(())
    }

    /// The device is not removed after all: it is again what it was before the query.
    #[doc(alias = "IRP_MN_CANCEL_REMOVE_DEVICE")]
    pub fn cancel_remove(&self) -> Refused {
        let allowed = [PnpState::RemovePending, PnpState::Started, PnpState::NotStarted, PnpState::Stopped];
        let step = self.begin("the cancel of a removal", &allowed)?;
        if let Some(dispatch) = self.dispatch() {
            dispatch.cancel_remove(&step.me);
        }
        let before = self.life.lock().before;
        step.lead_to(if step.from == PnpState::RemovePending { before } else { step.from }, |_| {});
        Ok(())
    }

    /// Removes the device: the driver's Stop, if it is started, and Remove. Where filters are open it goes as by
    /// surprise, and the driver's Remove comes when the last is closed.
    ///
    /// Decision: a started device is told Stop before Remove. A PnP manager sends no stop to a device that it removes, but
    /// the public samples give back in Stop what they took in Start and have no Remove.
    // ks-coverage: KsTerminateDevice done test=a_device_that_is_disabled_and_enabled_works_again,a_driver_is_disabled_and_enabled_again
    #[doc(alias = "IRP_MN_REMOVE_DEVICE")]
    pub fn remove_device(&self) -> Removal {
        let _inside = deferred::enter();
        let unused = {
            let mut life = self.life.lock();
            let unused = !life.is_gone() && !life.is_busy() && self.opened.load(Ordering::SeqCst) == 0;
            if unused {
                life.state = PnpState::SurpriseRemoved;
            }
            unused
        };
        if unused {
            // A create that has looked at the state already is counted, and ends the removal itself.
            self.show_removed();
            self.go_on_removing();
        } else {
            self.surprise_remove();
        }
        match self.pnp_state() {
            PnpState::Deleted => Removal::Done,
            _ => Removal::Waits { filters: self.opened.load(Ordering::SeqCst) },
        }
    }

    /// The device is gone: nothing of it is opened, the driver's SurpriseRemoval, then pending requests end with
    /// STATUS_DEVICE_REMOVED. Handles stay until they are closed and answer nothing more; when the last filter is closed
    /// the driver's Remove follows. Any state, at any moment.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    pub fn surprise_remove(&self) {
        let _inside = deferred::enter();
        let waits = {
            let mut life = self.life.lock();
            if life.is_gone() {
                return;
            }
            life.state = PnpState::SurpriseRemoved;
            life.tell_removal = true;
            life.is_busy()
        };
        self.show_removed();
        if waits {
            // The driver is told when the request that is going on has returned; nobody else waits for that.
            self.end_streams();
        }
        self.go_on_removing();
    }

    /// What is left of a removal, as far as nothing is in its way: who was in it calls this again.
    pub(super) fn go_on_removing(&self) {
        self.tell_of_removal();
        // What waited for the callbacks above is refused.
        self.next_turns();
    }

    fn tell_of_removal(&self) {
        let Some(me) = self.me.upgrade() else { return };
        loop {
            let mut life = self.life.lock();
            if life.state != PnpState::SurpriseRemoved || life.is_busy() {
                return;
            }
            if std::mem::take(&mut life.tell_removal) {
                life.requests.take();
                drop(life);
                if let Some(dispatch) = self.dispatch() {
                    dispatch.surprise_removal(&me);
                }
                self.end_streams();
                self.life.lock().requests.give_back();
                continue;
            }
            if self.opened.load(Ordering::SeqCst) > 0 {
                return;
            }
            life.state = PnpState::Deleted;
            let stop = std::mem::take(&mut life.has_resources);
            drop(life);
            let dispatch = self.dispatch();
            if stop && let Some(dispatch) = dispatch {
                dispatch.stop(&me);
            }
            if let Some(dispatch) = dispatch {
                dispatch.remove(&me);
            }
            return;
        }
    }

    /// What the device can do, of which the driver has a say.
    #[doc(alias = "IRP_MN_QUERY_CAPABILITIES")]
    pub fn query_capabilities(&self) -> DeviceCapabilities {
        // On while the system works, off while it sleeps.
        let mut device_state = [DevicePowerState::D3; 7];
        device_state[0] = DevicePowerState::UNSPECIFIED;
        device_state[1] = DevicePowerState::D0;
        let mut capabilities = DeviceCapabilities {
            size: size_of::<DeviceCapabilities>() as u16,
            version: 1,
            address: u32::MAX,
            ui_number: u32::MAX,
            device_state,
            ..DeviceCapabilities::default()
        };
        if let (Some(dispatch), Some(me)) = (self.dispatch(), self.me.upgrade()) {
            let bus = capabilities;
            if dispatch.query_capabilities(&me, &mut capabilities).is_err() {
                return bus;
            }
        }
        capabilities
    }

    /// An interface of the device's driver.
    #[doc(alias = "IRP_MN_QUERY_INTERFACE")]
    pub fn query_interface(&self, id: Guid) -> Option<Interface> {
        self.dispatch()?.query_interface(&self.me.upgrade()?, id)
    }

    /// Stops and starts the device, as a PnP manager that distributes resources anew. A driver that refuses is told that
    /// the stop is cancelled, and goes on.
    pub fn rebalance(&self) -> Refused {
        if let Err(refusal) = self.query_stop() {
            let _ = self.cancel_stop();
            return Err(refusal);
        }
        self.stop_device()?;
        self.start_device()
    }

    /// Removes the device if everybody agrees, as a user who disables it. A driver that refuses is told that the removal
    /// is cancelled, and goes on.
    pub fn disable(&self) -> Refused {
        if let Err(refusal) = self.query_remove() {
            let _ = self.cancel_remove();
            return Err(refusal);
        }
        self.remove_device();
        Ok(())
    }
}
