//! Clocks and allocators of pins whose minidriver brings its own.

use crate::rig::{Rig, UP, bring, create};
use ks_abi::{
    KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KsAllocatorFraming, KsPinDataFlow, KsResolution, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER,
};
use ks_client::Client;
use ks_io::sync::{Arc, Mutex};
use ks_io::{RequestorMode, Ticks, Time};
use ks_stream::{ClockParts, ClockSource, FrameSource};

/// A clock of a device: it stands at a time that the test sets.
struct Counter(Mutex<i64>);

impl ClockSource for Counter {
    fn correlated_time(&self) -> (Ticks, Time) {
        (Ticks(*self.0.lock()), Time(99))
    }
    fn resolution(&self) -> Option<KsResolution> {
        Some(KsResolution { granularity: 25, error: 4 })
    }
}

#[test]
fn a_minidriver_brings_the_time_of_its_pins_clock() {
    let rig = Rig::new(1);
    let counter = Arc::new(Counter(Mutex::new(500)));
    let source = counter.clone();
    *rig.source.on_create.lock() = Some(Box::new(move |pin| {
        let parts = || ClockParts { source: Some(source.clone()), ..ClockParts::default() };
        let bad = ClockParts { resolution: KsResolution { granularity: 0, error: 1 }, ..parts() };
        assert_eq!(pin.bring_clock(bad), Err(STATUS_INVALID_PARAMETER), "an error without a timer");
        pin.bring_clock(parts()).unwrap();
        assert_eq!(pin.bring_clock(parts()), Err(STATUS_INVALID_DEVICE_STATE), "there is one");
    }));
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let pin = rig.source.pin();
    assert_eq!(pin.clock().time(), Ticks(500));
    *counter.0.lock() = 700;
    assert_eq!(pin.clock().correlated_time(), (Ticks(700), Time(99)), "its state does not move it");
    let KsResolution { granularity, error } = pin.clock().resolution();
    assert_eq!((granularity, error), (25, 4));
    *rig.source.on_create.lock() = None;
}

#[test]
fn a_clock_that_was_asked_for_is_not_replaced() {
    let rig = Rig::new(1);
    let (_filter, _client) = rig.alone("source");
    let pin = rig.source.pin();
    assert_eq!(pin.clock().time(), Ticks::ZERO);
    assert_eq!(pin.bring_clock(ClockParts::default()), Err(STATUS_INVALID_DEVICE_STATE));
}

/// Numbers as frames.
#[derive(Default)]
struct Numbers {
    made: Mutex<Vec<u64>>,
    freed: Mutex<Vec<u64>>,
}

impl FrameSource for Numbers {
    fn allocate(&self) -> Option<u64> {
        let mut made = self.made.lock();
        let frame = 0x1000 * (made.len() as u64 + 1);
        made.push(frame);
        Some(frame)
    }
    fn free(&self, frame: u64) {
        self.freed.lock().push(frame);
    }
}

#[test]
fn drivers_get_frames_of_the_minidrivers_allocator_and_user_mode_does_not() {
    let rig = Rig::new(1);
    let numbers = Arc::new(Numbers::default());
    *rig.sink.frame_source.lock() = Some(numbers.clone());
    let flags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
    let framing = KsAllocatorFraming { flags, frames: 2, frame_size: 64, ..KsAllocatorFraming::default() };
    for (mode, wanted) in [(RequestorMode::User, vec![]), (RequestorMode::Kernel, vec![0x1000, 0x2000])] {
        let filter = Client::new(rig.io.session_as(mode)).open_by_name("sink").unwrap();
        let pin = create(&filter, 0, KsPinDataFlow::IN, None);
        let allocator = pin.create_allocator(&framing).unwrap();
        let frames = [allocator.allocate().unwrap(), allocator.allocate().unwrap()];
        assert_eq!(*numbers.made.lock(), wanted, "{mode:?}");
        assert_eq!(frames.to_vec() == wanted, mode == RequestorMode::Kernel);
        allocator.free(frames[0]).unwrap();
        drop((allocator, pin, filter));
        rig.settle();
        let mut freed = numbers.freed.lock().clone();
        freed.sort_unstable();
        assert_eq!(freed, wanted, "all are gone with the allocator, also the one that is out");
    }
}
