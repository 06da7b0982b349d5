//! `pacer`: a grey picture that grows brighter, one level a frame. A filter-centric capture minidriver: its process
//! callback wants no frame to run, is attempted by a timer's procedure, answers STATUS_PENDING always, and lets each frame
//! go by terminating it.
//!
//! The twin of `drivers/pacer/pacer.c`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ks_abi::{
    KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID, KSSTREAM_HEADER_OPTIONSF_TIMEVALID,
    KsPinDataFlow, KsState, NtStatus, STATUS_PENDING, Size,
};
use ks_io::sync::Mutex;
use ks_io::{Dpc, Refusal, StreamFrame, Ticks, Time, Timer};
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinFlags, PinId, PinInstance, ProcessPins,
};

use crate::Surroundings;
use crate::video::{self, Layout, Limits, Picture};

const LIMITS: Limits = Limits {
    least: Size { width: 16, height: 16 },
    most: Size { width: 1920, height: 1080 },
    interval_100ns: (10_000, 10_000_000),
};

/// What the filter says of itself.
pub(crate) fn descriptor(_: &Surroundings) -> Result<FilterDescriptor, String> {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, vec![video::range(Layout::Nv12, LIMITS)]);
    pin.flags = PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING
        | PinFlags::DO_NOT_INITIATE_PROCESSING
        | PinFlags::PROCESS_IN_RUN_STATE_ONLY;
    pin.framing = Some(Framing { frames: 4, ..Framing::default() });
    let categories = [KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO];
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C04}";
    Ok(FilterDescriptor::new(reference, "pacer", &categories, vec![pin], Arc::new(Pacer)))
}

struct Pacer;

impl FilterDispatch for Pacer {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(PacerFilter { filter: Arc::downgrade(filter), stream: Mutex::new(None) }))
    }
}

struct PacerFilter {
    filter: Weak<Filter>,
    /// That of the only pin, while there is one.
    stream: Mutex<Option<Arc<Stream>>>,
}

/// What the filter, its pin and the procedure of the timer share.
struct Stream {
    filter: Weak<Filter>,
    picture: Picture,
    /// The procedure says that a picture is due, the process callback takes it.
    is_due: AtomicBool,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    frames: u32,
    missed: u32,
}

impl FilterInstance for PacerFilter {
    fn is_filter_centric(&self) -> bool {
        true
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        video::read(format, &LIMITS).map(drop)
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        video::intersect(range, matching)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let picture = video::read(&pin.format(), &LIMITS)?;
        let (is_due, counts) = (AtomicBool::new(false), Mutex::default());
        let stream = Arc::new(Stream { filter: self.filter.clone(), picture, is_due, counts });
        *self.stream.lock() = Some(stream.clone());
        Ok(Arc::new(PacerPin { timer: pin.services().timer(stream.clone()), stream }))
    }

    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let Some(stream) = self.stream.lock().clone() else { return STATUS_PENDING };
        let Some(output) = pins.of(0).next() else { return STATUS_PENDING };
        // Also a state change calls, and a frame that arrives.
        if !stream.is_due.swap(false, Ordering::AcqRel) {
            return STATUS_PENDING;
        }
        let size = stream.picture.frame_size();
        let frame = pins.frame(output).filter(|_| output.bytes_available() >= size);
        if frame.and_then(|frame| stream.fill(&frame)).is_none() {
            stream.counts.lock().missed += 1;
            return STATUS_PENDING;
        }
        output.set_bytes_used(size);
        output.terminate();
        STATUS_PENDING
    }
}

impl Stream {
    fn fill(&self, frame: &StreamFrame) -> Option<()> {
        let number = self.counts.lock().frames;
        frame.buffer()?.bytes_mut(self.picture.frame_bytes)?.fill(number as u8);
        let interval = Ticks(self.picture.interval_100ns);
        frame.set_presentation(Time::ORIGIN + interval * i64::from(number), interval);
        frame.set_options_flags(KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID);
        self.counts.lock().frames += 1;
        Some(())
    }
}

impl Dpc for Stream {
    fn expired(self: Arc<Self>, _now: Time) {
        self.is_due.store(true, Ordering::Release);
        if let Some(filter) = self.filter.upgrade() {
            filter.attempt_processing_later();
        }
    }
}

struct PacerPin {
    timer: Timer,
    stream: Arc<Stream>,
}

impl PinInstance for PacerPin {
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        if to == KsState::RUN {
            let interval = Ticks(self.stream.picture.interval_100ns);
            let _ = self.timer.set(pin.services().now() + interval, Some(interval));
        } else if from == KsState::RUN {
            let _ = self.timer.cancel();
        } else if to == KsState::STOP {
            *self.stream.counts.lock() = Counts::default();
            self.stream.is_due.store(false, Ordering::Release);
        }
        Ok(())
    }
}
