//! Removal while a circuit streams and is closed, and a cancel that meets the timeout of a clone.

use super::{World, all, beside, check_times, circuit, take_all};
use ks_abi::{KsState, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_INVALID_HANDLE, STATUS_PENDING, STATUS_SUCCESS};
use ks_io::sync::Arc;
use ks_io::{Handle, Ticks, Transport};
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

/// A pin whose driver leaves an unlocked clone on the frame, with these timeouts, each in the place of the one before.
fn timed(contexts: &'static [u64]) -> (Arc<World>, Handle) {
    let (world, pin) = World::reader(move |driver, pin| {
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        if let Some(mut clone) = frame.clone_pointer() {
            clone.unlock();
            driver.clones.lock().push(clone);
        }
        frame.eject();
        for &context in contexts {
            // One that has come, or a cancel, may have let it go.
            if let Some(clone) = driver.clones.lock().last() {
                clone.schedule_timeout(context, Ticks::ZERO);
            }
        }
        STATUS_SUCCESS
    });
    world.drivers[0].lets_go.store(true, Ordering::Relaxed);
    world.bring(pin, KsState::RUN);
    (world, pin)
}

/// The driver lets its clone go in both callbacks, and each time finds that it has it.
#[test]
fn a_cancel_that_meets_the_timeout_of_a_clone_ends_the_request_once() {
    check_times(3_000, || {
        let (world, pin) = timed(&[1]);
        let read = Arc::new(world.read(pin, 1));
        let driver = world.drivers[0].clone();
        let cancelled = read.clone();
        let cancels = beside(&world, move |_| cancelled.cancel());
        let stops = beside(&world, move |world| assert_eq!(world.set_state(pin, KsState::STOP), STATUS_SUCCESS));
        all(vec![cancels, stops]);
        // Whoever was first has let the clone go, or will: the request ends by that, and only by that.
        super::until(|| read.request.is_done());
        assert!(driver.clones.lock().is_empty(), "a request ends with its last clone");
        let told = driver.cancelled.lock().len() + driver.timed_out.lock().len();
        assert!(told <= 1, "the driver is told of its clone once");
        let status = Arc::into_inner(read).unwrap().status();
        assert!([STATUS_SUCCESS, STATUS_CANCELLED].contains(&status), "{status}");
        drop(driver);
        world.end();
    });
}

/// The driver lets its clone go later than in the callback, as one does whose device still writes to the frame.
#[test]
fn a_clone_that_its_driver_keeps_is_told_of_once_by_a_cancel_and_a_stop() {
    check_times(1_000, || {
        let (world, pin) = timed(&[]);
        let driver = world.drivers[0].clone();
        driver.lets_go.store(false, Ordering::Relaxed);
        let read = Arc::new(world.read(pin, 1));
        // Both find the clone: a frame that arrives after a stop has none.
        super::until(|| driver.clones.lock().len() == 1);
        let cancelled = read.clone();
        let cancels = beside(&world, move |_| cancelled.cancel());
        let stops = beside(&world, move |world| assert_eq!(world.set_state(pin, KsState::STOP), STATUS_SUCCESS));
        all(vec![cancels, stops]);
        assert_eq!(driver.cancelled.lock().len(), 1, "the driver is told of its clone once");
        assert!(!read.request.is_done(), "the driver has the frame");
        driver.clones.lock().clear();
        let status = Arc::into_inner(read).unwrap().status();
        assert_eq!(status, STATUS_CANCELLED);
        drop(driver);
        world.end();
    });
}

#[test]
fn of_two_timeouts_of_a_clone_that_lets_go_in_both_one_is_told() {
    check_times(3_000, || {
        let (world, pin) = timed(&[1, 2]);
        let status = world.read(pin, 1).status();
        assert_eq!(status, STATUS_SUCCESS);
        let driver = world.drivers[0].clone();
        assert_eq!((driver.timed_out.lock().len(), driver.cancelled.lock().len()), (1, 0));
        drop(driver);
        world.bring(pin, KsState::STOP);
        world.end();
    });
}
