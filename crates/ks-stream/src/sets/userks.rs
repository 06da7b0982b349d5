//! USERKS_PROPSET_PIN, a set of our own: counters, limits and failures of a pin.

use crate::automation::{PropertyItem, PropertySet};
use crate::pin::Pin;
use crate::pipe;
use crate::property::PropertyCall;
use crate::statistics::{Limit, Measures};
use ks_abi::{
    KsProperty, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_FOUND, STATUS_SUCCESS, USERKS_PIN_FAILURE, USERKS_PIN_LABEL, USERKS_PIN_LATENCY, USERKS_PIN_LIMIT,
    USERKS_PIN_PIPE, USERKS_PIN_STATISTICS, USERKS_PIN_WISHES, USERKS_PROPSET_PIN, UserksPinLimit, UserksPinStatistics,
};
use ks_io::{Aspect, Refusal};

pub(super) fn set() -> PropertySet<Pin> {
    PropertySet {
        set: USERKS_PROPSET_PIN,
        items: vec![
            PropertyItem::new(USERKS_PIN_STATISTICS).data_bytes(size_of::<UserksPinStatistics>()).get(statistics),
            PropertyItem::new(USERKS_PIN_LIMIT).data_bytes(size_of::<UserksPinLimit>()).set(limit),
            PropertyItem::new(USERKS_PIN_LATENCY).data_bytes(4).set(measure_latency),
            PropertyItem::new(USERKS_PIN_FAILURE).get(failure),
            PropertyItem::new(USERKS_PIN_PIPE).get(pipe),
            PropertyItem::new(USERKS_PIN_WISHES).request_bytes(size_of::<KsProperty>() + 4).get(wishes),
            PropertyItem::new(USERKS_PIN_LABEL).data_bytes(1).set(label),
        ],
    }
}

fn statistics(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let Some(queue) = pin.queue() else { return STATUS_INVALID_DEVICE_REQUEST };
    let allocator = pin.allocator_report();
    let copied = pin.copied_on_the_way();
    let statistics = queue.with_counters(|counters| UserksPinStatistics {
        frames: counters.frames,
        bytes: counters.bytes,
        dropped: counters.dropped,
        copies: counters.copies + copied.saturating_sub(counters.copied_before),
        latency_p50_ns: counters.latency_ns(50),
        latency_p99_ns: counters.latency_ns(99),
        allocator_frames: allocator.frames,
        allocator_frame_bytes: allocator.frame_bytes,
        ended: u32::from(counters.ended),
        failed: u32::from(pin.failure().is_some()),
    });
    call.answer_value(&statistics)
}

fn limit(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let Some(queue) = pin.queue() else { return STATUS_INVALID_DEVICE_REQUEST };
    let limit: UserksPinLimit = match call.data_as() {
        Ok(limit) => limit,
        Err(status) => return status,
    };
    if limit.time_100ns < 0 {
        let reason = format!("a limit of {} in 100-ns units is negative", limit.time_100ns);
        return call.refuse(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason));
    }
    let limit = Limit { frames: limit.frames, time_100ns: limit.time_100ns };
    queue.with_counters(|counters| counters.set_limit(limit, pin.services()));
    STATUS_SUCCESS
}

fn measure_latency(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let Some(queue) = pin.queue() else { return STATUS_INVALID_DEVICE_REQUEST };
    let works_in_place = pin.filter().descriptor().in_place().is_some_and(|(input, _)| input == pin.id());
    let measures = match pin.data_flow() == ks_abi::KsPinDataFlow::IN {
        true if works_in_place => Measures::Both,
        true => Measures::Arriving,
        false => Measures::Leaving,
    };
    let on = call.data_as::<u32>().is_ok_and(|on| on != 0);
    if !on {
        return STATUS_INVALID_PARAMETER;
    }
    let services = pin.services().clone();
    queue.with_counters(|counters| counters.measure(services, measures));
    STATUS_SUCCESS
}

/// The reason of the failure as UTF-8 behind its status.
fn failure(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    match pin.failure() {
        None => STATUS_NOT_FOUND,
        Some(refusal) => {
            let mut bytes = refusal.status.0.to_le_bytes().to_vec();
            bytes.extend_from_slice(refusal.reason.as_bytes());
            call.answer(&bytes)
        }
    }
}

/// The pipe section as UTF-8, one fact a line; empty before the pin has left STOP.
fn pipe(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    call.answer(pin.pipe_report().as_bytes())
}

/// What the pins of the section ask of its frames. Behind borders others are asked, whom somebody may wait for.
fn wishes(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let borders = call.request().get(size_of::<KsProperty>()..).and_then(|rest| rest.first_chunk());
    match (pin.me(), borders) {
        (Some(pin), Some(borders)) => call.answer(&pipe::tell_wishes(&pin, u32::from_le_bytes(*borders))),
        _ => STATUS_INVALID_PARAMETER,
    }
}

/// The most bytes of a filter's name.
const MOST_LABEL_BYTES: usize = 256;

fn label(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let plain = |text: &&str| text.len() <= MOST_LABEL_BYTES && !text.chars().any(char::is_control);
    let Some(label) = std::str::from_utf8(call.data()).ok().filter(plain) else {
        let reason = format!("a name of a filter has 1 to {MOST_LABEL_BYTES} bytes of UTF-8, none of them control");
        return call.refuse(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason));
    };
    if pin.filter().set_label(label) { STATUS_SUCCESS } else { STATUS_INVALID_DEVICE_STATE }
}
