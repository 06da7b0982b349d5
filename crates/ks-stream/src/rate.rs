//! The rate of a stream, by the rules that the documentation gives every pin which can change it.
//!
//! Source: "KSPROPERTY_STREAM_RATE", "KSPROPERTY_STREAM_RATECAPABILITY", ns-ks-ksrate.

use crate::automation::PropertyItem;
use crate::pin::Pin;
use crate::property::PropertyCall;
use ks_abi::{
    KSPROPERTY_STREAM_RATE, KSPROPERTY_STREAM_RATECAPABILITY, KSRATE_NOPRESENTATIONDURATION,
    KSRATE_NOPRESENTATIONSTART, KsPinInterface, KsRate, KsRateCapability, KsState, NtStatus,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, Refusal};
use std::ops::RangeInclusive;

/// The nominal rate, in thousandths.
pub const NOMINAL_RATE: i32 = 1000;

/// The rate of one pin's stream. A minidriver puts [`RateControl::items`] into the pin's automation table, tells of each
/// change of state, and asks [`RateControl::rate_at`] when it fills or presents a frame.
///
/// A rate can be asked for and set in PAUSE and RUN, and is the nominal one again after every other state. The nominal
/// rate is never refused; another that lies outside of the range is, without a best fit. The physical time of a clock that
/// the pin has does not change with the rate.
#[derive(Debug)]
pub struct RateControl {
    /// In thousandths.
    range: RangeInclusive<i32>,
    current: Mutex<KsRate>,
}

/// The nominal rate of the whole stream.
fn nominal() -> KsRate {
    KsRate {
        interface: KsPinInterface::STANDARD_STREAMING,
        rate: NOMINAL_RATE,
        flags: KSRATE_NOPRESENTATIONSTART | KSRATE_NOPRESENTATIONDURATION,
        ..KsRate::default()
    }
}

impl RateControl {
    /// A stream that can go at these rates, in thousandths; negative ones go backwards.
    pub fn new(range: RangeInclusive<i32>) -> Arc<RateControl> {
        Arc::new(RateControl { range, current: Mutex::new(nominal()) })
    }

    /// The rate at a presentation time in 100-ns units: the one that was set, within its segment, and outside the nominal
    /// one.
    pub fn rate_at(&self, time_100ns: i64) -> i32 {
        let current = *self.current.lock();
        let starts = current.flags & KSRATE_NOPRESENTATIONSTART == 0;
        if starts && time_100ns < current.presentation_start {
            return NOMINAL_RATE;
        }
        let begin = if starts { current.presentation_start } else { 0 };
        let ends = current.flags & KSRATE_NOPRESENTATIONDURATION == 0;
        if ends && time_100ns >= begin.saturating_add(current.duration) {
            return NOMINAL_RATE;
        }
        current.rate
    }

    /// The pin is in another state now; to be called from [`crate::PinInstance::set_device_state`].
    pub fn follow_state(&self, state: KsState) {
        if state < KsState::PAUSE {
            *self.current.lock() = nominal();
        }
    }

    /// KSPROPERTY_STREAM_RATE and KSPROPERTY_STREAM_RATECAPABILITY.
    #[doc(alias = "KSPROPERTY_STREAM_RATE")]
    pub fn items(self: &Arc<RateControl>) -> Vec<PropertyItem<Pin>> {
        let (get, set, capability) = (self.clone(), self.clone(), self.clone());
        vec![
            PropertyItem::new(KSPROPERTY_STREAM_RATE)
                .data_bytes(size_of::<KsRate>())
                .get(move |_: &Pin, call: &mut PropertyCall<'_>| call.answer_value(&*get.current.lock()))
                .set(move |pin: &Pin, call: &mut PropertyCall<'_>| set.set(pin, call)),
            PropertyItem::new(KSPROPERTY_STREAM_RATECAPABILITY)
                .request_bytes(size_of::<KsRateCapability>())
                .data_bytes(size_of::<KsRate>())
                .get(move |pin: &Pin, call: &mut PropertyCall<'_>| capability.capability(pin, call)),
        ]
    }

    fn set(&self, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
        let rate: KsRate = match call.data_as() {
            Ok(rate) => rate,
            Err(status) => return status,
        };
        match self.check(pin, &rate) {
            Ok(()) => *self.current.lock() = rate,
            Err(refusal) => return call.refuse(refusal),
        }
        STATUS_SUCCESS
    }

    /// What is left of a rate after this pin: it makes up for all that is in its range, and for nothing else.
    fn capability(&self, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
        let asked: KsRateCapability = match call.request_as() {
            Ok(asked) => asked,
            Err(status) => return status,
        };
        match self.check(pin, &asked.rate) {
            Ok(()) => call.answer_value(&KsRate { rate: NOMINAL_RATE, ..asked.rate }),
            Err(refusal) if refusal.status == STATUS_NOT_SUPPORTED => call.answer_value(&asked.rate),
            Err(refusal) => call.refuse(refusal),
        }
    }

    fn check(&self, pin: &Pin, rate: &KsRate) -> Result<(), Refusal> {
        let refuse = |status, reason| Err(Refusal::new(status, Aspect::State, reason));
        if pin.agreed_state() < KsState::PAUSE {
            let reason = format!("{}: a rate belongs to a stream that is in PAUSE or RUN", pin.describe());
            return refuse(STATUS_INVALID_DEVICE_STATE, reason);
        }
        if rate.interface != KsPinInterface::STANDARD_STREAMING
            || rate.flags & !(KSRATE_NOPRESENTATIONSTART | KSRATE_NOPRESENTATIONDURATION) != 0
        {
            let reason = format!("{}: a rate is in units of the standard streaming interface", pin.describe());
            return refuse(STATUS_INVALID_PARAMETER, reason);
        }
        if rate.rate != NOMINAL_RATE && !self.range.contains(&rate.rate) {
            let (least, most) = (self.range.start(), self.range.end());
            let reason = format!("{}: a rate of {} is not within {least} to {most}", pin.describe(), rate.rate);
            return refuse(STATUS_NOT_SUPPORTED, reason);
        }
        Ok(())
    }
}
