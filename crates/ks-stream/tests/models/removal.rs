//! Removal while a circuit streams and is closed, and a cancel that meets the timeout of a clone.

use super::{Driver, Read, World, all, beside, check_times, circuit, take_all};
use ks_abi::{KsState, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_INVALID_HANDLE, STATUS_PENDING, STATUS_SUCCESS};
use ks_io::sync::Arc;
use ks_io::{Dpc, Time, Transport};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_removal_that_meets_streaming_and_a_close_ends_everything_once() {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    check_times(2_000, || {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let (removed, closes_source) = (turn % 2, turn / 2 % 2 == 0);
        let (world, source, sink) = circuit(take_all);
        world.bring(sink, KsState::RUN);
        world.bring(source, KsState::RUN);
        let (closed, kept) = if closes_source { (source, sink) } else { (sink, source) };
        let kept_driver = usize::from(closes_source);
        let removes = beside(&world, move |world| world.devices[removed].surprise_remove());
        let closes = beside(&world, move |world| assert_eq!(world.session.close(closed).status, STATUS_SUCCESS));
        let stops = beside(&world, move |world| {
            let status = world.set_state(kept, KsState::STOP);
            assert!([STATUS_SUCCESS, STATUS_DEVICE_REMOVED].contains(&status), "{status}");
        });
        all(vec![removes, closes, stops]);
        // After the removal nothing new is taken, and no object ends before its last handle.
        let after = world.set_state(kept, KsState::PAUSE);
        if kept_driver == removed {
            assert_eq!(after, STATUS_DEVICE_REMOVED);
        }
        assert_eq!(world.set_state(closed, KsState::STOP), STATUS_INVALID_HANDLE);
        assert_eq!(world.drivers[kept_driver].closed.load(Ordering::Relaxed), 0, "its handle is open");
        let drivers = world.drivers.clone();
        world.end();
        for driver in drivers {
            assert_eq!(driver.closed.load(Ordering::Relaxed), 1, "each pin is closed once");
        }
    });
}

/// The timeout of a driver's oldest clone: it looks at the frame once more, if it may, and lets the clone go.
struct Timeout {
    driver: Arc<Driver>,
    read: Arc<Read>,
    expired: AtomicUsize,
}

impl Dpc for Timeout {
    fn expired(self: std::sync::Arc<Self>, _: Time) {
        let clone = self.driver.clones.lock().pop();
        let Some(mut clone) = clone else { return };
        if clone.lock().is_some() {
            assert!(!self.read.request.is_done(), "the client has its memory back while the driver has it");
            clone.unlock();
        }
        self.expired.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_cancel_that_meets_the_timeout_of_a_clone_ends_the_request_once() {
    check_times(3_000, || {
        let (world, pin) = World::reader(|driver, pin| {
            let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
            if let Some(mut clone) = frame.clone_pointer() {
                clone.unlock();
                driver.clones.lock().push(clone);
            }
            frame.eject();
            STATUS_SUCCESS
        });
        let driver = world.drivers[0].clone();
        driver.lets_go.store(true, Ordering::Relaxed);
        world.bring(pin, KsState::RUN);
        let read = Arc::new(world.read(pin, 1));
        let timeout = Arc::new(Timeout { driver: driver.clone(), read: read.clone(), expired: AtomicUsize::new(0) });
        let timer = world.session.io_manager().services().timer(timeout.clone());
        timer.set(Time::ORIGIN, None);
        let cancelled = read.clone();
        let cancels = beside(&world, move |_| cancelled.cancel());
        let stops = beside(&world, move |world| assert_eq!(world.set_state(pin, KsState::STOP), STATUS_SUCCESS));
        all(vec![cancels, stops]);
        // Whoever was first has let the clone go, or will: the request ends by that, and only by that.
        let told = driver.cancelled.lock().len();
        assert!(told <= 1, "the driver is told of its clone once");
        super::until(|| read.request.is_done());
        assert!(driver.clones.lock().is_empty(), "a request ends with its last clone");
        drop(timer);
        super::until(|| Arc::strong_count(&timeout) == 1);
        drop(timeout);
        let status = Arc::into_inner(read).unwrap().status();
        assert!([STATUS_SUCCESS, STATUS_CANCELLED].contains(&status), "{status}");
        drop(driver);
        world.end();
    });
}
