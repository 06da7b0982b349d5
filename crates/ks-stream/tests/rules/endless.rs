//! A callback that never returns: the watchdog names it and gives its filter up, and nothing waits for it.

use crate::rig::{DOWN, Rig, Setup, UP, fill};
use ks_abi::{KsState, STATUS_PENDING, STATUS_UNSUCCESSFUL};
use ks_io::sync::Arc;
use ks_io::{Event, EventKind, Services, Signal};
use ks_stream::Watchdog;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Lets the endless callback end when the test does, however it does.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn an_endless_callback_is_named_and_given_up_and_other_graphs_go_on() {
    const FRAMES: u32 = 50;
    let _watchdog = Watchdog::start(Duration::from_millis(200)).unwrap();
    let rig = Rig::on(Services::real(), Setup::default());
    rig.source.last.store(FRAMES, SeqCst);
    let release = Release(Arc::default());
    let (first, end) = (AtomicBool::new(true), release.0.clone());
    rig.source.script(move |probe, pin| {
        if !first.swap(false, SeqCst) {
            return fill(probe, pin);
        }
        while !end.load(SeqCst) {
            std::hint::spin_loop();
        }
        STATUS_PENDING
    });
    let endless = rig.pair();
    endless.bring(&UP);
    while endless.source.failure().is_none() {
        std::thread::yield_now();
    }
    let (status, reason) = endless.source.failure().unwrap();
    assert_eq!(status, STATUS_UNSUCCESSFUL);
    assert!(reason.starts_with("the pin Process callback of source has been computing for "), "{reason}");
    assert!(reason.ends_with(" ms (the watchdog allows 200 ms)"), "{reason}");
    assert_eq!(rig.devices[0].stops(), std::slice::from_ref(&reason));
    // No request waits for the mutex that the callback holds.
    let refused = endless.source.set_state(KsState::STOP).unwrap_err();
    assert!(refused.to_string().contains(&reason), "{refused}");
    // Another graph, of other filters of the same drivers, has a worker.
    let other = rig.pair();
    other.bring(&UP);
    while (rig.sink.seen_now().len() as u32) < FRAMES {
        std::thread::yield_now();
    }
    assert_eq!(rig.sink.seen_now(), (0..FRAMES).collect::<Vec<_>>());
    other.bring(&DOWN);
    drop((other, endless));
    assert_eq!(rig.session.open_handles(), 0, "closing waits for nobody");
}

/// Sets an event when the test ends, however it does.
struct Sets(Event);

impl Drop for Sets {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// A change of state began to wait before, and may.
#[test]
fn a_process_callback_that_waits_for_a_thread_is_named_and_a_callback_that_may_wait_is_not() {
    const FRAMES: u32 = 50;
    let _watchdog = Watchdog::start(Duration::from_millis(200)).unwrap();
    let rig = Rig::on(Services::real(), Setup::default());
    rig.source.last.store(FRAMES, SeqCst);
    let never = rig.services().event(EventKind::Notification, Signal::Clear);
    let release = Sets(never.clone());
    let (first, waits) = (AtomicBool::new(true), never.clone());
    rig.source.script(move |probe, pin| {
        if first.swap(false, SeqCst) {
            let _ = waits.wait();
        }
        fill(probe, pin)
    });
    let (asked, waits) = (Arc::new(AtomicBool::new(false)), never.clone());
    let asks = asked.clone();
    *rig.middle.on_state.lock() = Some(Box::new(move |_| {
        asks.store(true, SeqCst);
        let _ = waits.wait();
    }));
    let (filter, patient) = rig.alone("middle");
    let changes = move || patient.set_state(KsState::ACQUIRE).map_err(|error| error.status);
    let changes = rig.services().spawn("client", changes).unwrap();
    while !asked.load(SeqCst) {
        std::thread::yield_now();
    }
    let stalled = rig.pair();
    stalled.bring(&UP);
    while stalled.source.failure().is_none() {
        std::thread::yield_now();
    }
    let (status, reason) = stalled.source.failure().unwrap();
    assert_eq!(status, STATUS_UNSUCCESSFUL);
    let named = "the pin Process callback of source has been waiting for another thread for ";
    assert!(reason.starts_with(named) && reason.ends_with(" ms (the watchdog allows 200 ms)"), "{reason}");
    assert_eq!(rig.devices[1].stops(), Vec::<String>::new(), "it waits still, and longer");
    // Another graph of the same drivers goes on.
    let other = rig.pair();
    other.bring(&UP);
    while (rig.sink.seen_now().len() as u32) < FRAMES {
        std::thread::yield_now();
    }
    other.bring(&DOWN);
    drop(release);
    assert_eq!(changes.join(), Ok(()));
    drop((other, stalled, filter));
    assert_eq!(rig.session.open_handles(), 0, "closing waits for nobody");
}
