//! A callback that never returns: the watchdog names it and gives its filter up, and nothing waits for it.

use crate::rig::{DOWN, Rig, Setup, UP, fill};
use ks_abi::{KsState, STATUS_PENDING, STATUS_UNSUCCESSFUL};
use ks_io::Services;
use ks_io::sync::Arc;
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
