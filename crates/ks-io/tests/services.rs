//! What the services promise, on the machine's clock and on a virtual one.
#![cfg(not(shuttle))]
#![expect(clippy::unwrap_used, reason = "a failed expectation of a test is a failed test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ks_io::{
    Dpc, Event, EventKind, EventObserver, Level, LockRank, RankedMutex, Services, Signal, Ticks, Time, TimeSource,
    WaitOutcome, WasSet, Work, WorkQueue,
};

/// Long enough that a test that waits for it is broken.
const WATCHDOG: Ticks = Ticks::from_secs(120);

fn each(test: impl Fn(Services)) {
    test(Services::real());
    for seed in 0..20 {
        test(Services::virtual_time(seed));
    }
}

fn expect_set(services: &Services, event: &Event) {
    assert_eq!(event.wait_until(services.now() + WATCHDOG), WaitOutcome::Signalled);
}

fn clear(services: &Services, kind: EventKind) -> Event {
    services.event(kind, Signal::Clear)
}

struct Call<F>(F);

impl<F: Fn() + Send + Sync> Work for Call<F> {
    fn run(self: Arc<Self>) {
        (self.0)();
    }
}

impl<F: Fn(Time) + Send + Sync> Dpc for Call<F> {
    fn expired(self: Arc<Self>, now: Time) {
        (self.0)(now);
    }
}

fn work(f: impl Fn() + Send + Sync + 'static) -> Arc<dyn Work> {
    Arc::new(Call(f))
}

fn dpc(f: impl Fn(Time) + Send + Sync + 'static) -> Arc<dyn Dpc> {
    Arc::new(Call(f))
}

#[test]
fn a_notification_event_lets_every_thread_go_and_stays_set() {
    each(|services| {
        let event = clear(&services, EventKind::Notification);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (services, event) = (services.clone(), event.clone());
                services.clone().spawn("waiter", move || expect_set(&services, &event)).unwrap()
            })
            .collect();
        services.yield_now();
        event.set();
        threads.into_iter().for_each(ks_io::Spawned::join);
        assert!(event.is_set());
        event.clear();
        assert_eq!(event.wait_until(services.now()), WaitOutcome::TimedOut);
    });
}

#[test]
fn a_synchronization_event_lets_one_thread_go_for_each_time_it_is_set() {
    each(|services| {
        let event = clear(&services, EventKind::Synchronization);
        let gone = clear(&services, EventKind::Synchronization);
        let count = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (services, event, gone, count) = (services.clone(), event.clone(), gone.clone(), count.clone());
                services
                    .clone()
                    .spawn("waiter", move || {
                        expect_set(&services, &event);
                        count.fetch_add(1, Ordering::SeqCst);
                        gone.set();
                    })
                    .unwrap()
            })
            .collect();
        for expected in 1..=3 {
            event.set();
            expect_set(&services, &gone);
            assert_eq!(count.load(Ordering::SeqCst), expected);
        }
        threads.into_iter().for_each(ks_io::Spawned::join);
        assert!(!event.is_set());
        event.set();
        event.set();
        assert_eq!(event.wait(), WaitOutcome::Signalled);
        assert!(!event.is_set(), "setting twice is not counted");
    });
}

/// Three threads that count themselves once they are let go.
fn three_waiters(services: &Services, event: &Event, count: &Arc<AtomicUsize>) -> Vec<ks_io::Spawned<()>> {
    let spawn = |_| {
        let (own, event, count) = (services.clone(), event.clone(), count.clone());
        let waits = move || {
            expect_set(&own, &event);
            count.fetch_add(1, Ordering::SeqCst);
        };
        services.spawn("waiter", waits).unwrap()
    };
    (0..3).map(spawn).collect()
}

#[test]
fn a_pulse_lets_those_go_that_wait_and_leaves_the_event_clear() {
    for (kind, at_once) in [(EventKind::Notification, 3), (EventKind::Synchronization, 1)] {
        each(|services| {
            let event = clear(&services, kind);
            event.set();
            event.pulse();
            assert!(!event.is_set(), "set before is pulsed away");
            let count = Arc::new(AtomicUsize::new(0));
            let threads = three_waiters(&services, &event, &count);
            // Who does not wait yet is not let go: one pulse may find any number of them, up to what its kind lets go.
            let mut seen = 0;
            while seen < 3 {
                event.pulse();
                assert!(!event.is_set());
                services.yield_now();
                let now = count.load(Ordering::SeqCst);
                seen = now.max(seen);
            }
            threads.into_iter().for_each(ks_io::Spawned::join);
            assert_eq!(event.wait_until(services.now()), WaitOutcome::TimedOut);
        });
        // In virtual time it is known who waits.
        let services = Services::virtual_time(5);
        let (event, count) = (clear(&services, kind), Arc::new(AtomicUsize::new(0)));
        let threads = three_waiters(&services, &event, &count);
        let settle = || services.delay_until(services.now() + Ticks::MILLISECOND);
        let _ = settle();
        event.pulse();
        let _ = settle();
        assert_eq!(count.load(Ordering::SeqCst), at_once);
        while count.load(Ordering::SeqCst) < 3 {
            event.pulse();
            let _ = settle();
        }
        threads.into_iter().for_each(ks_io::Spawned::join);
    }
}

#[test]
fn an_observer_hears_of_each_change_of_its_event() {
    struct Heard(Arc<Mutex<Vec<&'static str>>>);
    impl EventObserver for Heard {
        fn event_set(&self) {
            self.0.lock().unwrap().push("set");
        }
        fn event_cleared(&self) {
            self.0.lock().unwrap().push("cleared");
        }
        fn event_pulsed(&self) {
            self.0.lock().unwrap().push("pulsed");
        }
    }
    let (services, heard) = (Services::virtual_time(5), Arc::default());
    let event = services.observed_event(EventKind::Notification, Signal::Clear, Box::new(Heard(Arc::clone(&heard))));
    event.set();
    event.clear();
    event.clear();
    event.pulse();
    assert!(!event.is_set());
    assert_eq!(*heard.lock().unwrap(), ["set", "cleared", "cleared", "pulsed"]);
}

#[test]
fn an_event_that_starts_set_does_not_block() {
    each(|services| {
        assert_eq!(services.event(EventKind::Notification, Signal::Set).wait(), WaitOutcome::Signalled);
        let once = services.event(EventKind::Synchronization, Signal::Set);
        assert_eq!(once.wait(), WaitOutcome::Signalled);
        assert_eq!(once.wait_until(services.now()), WaitOutcome::TimedOut);
    });
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    each(|services| {
        let deadline = services.now() + Ticks::from_millis(5);
        assert_eq!(clear(&services, EventKind::Notification).wait_until(deadline), WaitOutcome::TimedOut);
        assert!(services.now() >= deadline);
        let deadline = services.now() + Ticks::from_millis(1);
        assert_eq!(services.delay_until(deadline), WaitOutcome::TimedOut);
        assert!(services.now() >= deadline);
    });
}

#[test]
fn a_timed_out_waiter_does_not_swallow_a_signal() {
    each(|services| {
        let event = clear(&services, EventKind::Synchronization);
        assert_eq!(event.wait_until(services.now() + Ticks(1)), WaitOutcome::TimedOut);
        event.set();
        assert!(event.is_set());
        assert_eq!(event.wait(), WaitOutcome::Signalled);
    });
}

#[test]
fn two_threads_hand_a_signal_back_and_forth() {
    each(|services| {
        let (ping, pong) = (clear(&services, EventKind::Synchronization), clear(&services, EventKind::Synchronization));
        let other = {
            let (services, ping, pong) = (services.clone(), ping.clone(), pong.clone());
            services.clone().spawn("pong", move || {
                for _ in 0..500 {
                    expect_set(&services, &ping);
                    pong.set();
                }
            })
        };
        for _ in 0..500 {
            ping.set();
            expect_set(&services, &pong);
        }
        other.unwrap().join();
    });
}

#[test]
fn timers_expire_in_the_order_of_their_times_at_dispatch_level() {
    each(|services| {
        let fired = Arc::new(Mutex::new(Vec::new()));
        let done = clear(&services, EventKind::Notification);
        let start = services.now() + Ticks::from_millis(2);
        let dues = [5_i64, 1, 4, 2, 3, 2];
        let timers: Vec<_> = dues
            .iter()
            .enumerate()
            .map(|(index, _)| {
                let (fired, done) = (fired.clone(), done.clone());
                services.timer(dpc(move |now| {
                    assert_eq!(Level::current(), Level::Dispatch);
                    let mut fired = fired.lock().unwrap();
                    fired.push((index, now));
                    if fired.len() == dues.len() {
                        done.set();
                    }
                }))
            })
            .collect();
        for (timer, due) in timers.iter().zip(dues) {
            assert_eq!(timer.set(start + Ticks::from_millis(due), None), WasSet::No);
        }
        expect_set(&services, &done);
        let fired = fired.lock().unwrap();
        assert_eq!(fired.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3, 5, 4, 2, 0]);
        for (index, now) in fired.iter() {
            assert!(*now >= start + Ticks::from_millis(dues[*index]));
        }
        assert_eq!(services.work_panics(), 0);
    });
}

#[test]
fn setting_a_timer_again_replaces_its_time_and_cancelling_stops_it() {
    each(|services| {
        let count = Arc::new(AtomicUsize::new(0));
        let fired = clear(&services, EventKind::Synchronization);
        let timer = {
            let (count, fired) = (count.clone(), fired.clone());
            services.timer(dpc(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                fired.set();
            }))
        };
        assert_eq!(timer.set(services.now() + Ticks::from_secs(3600), None), WasSet::No);
        assert_eq!(timer.set(services.now() + Ticks::from_millis(1), None), WasSet::Yes);
        expect_set(&services, &fired);
        assert_eq!(timer.cancel(), WasSet::No, "an expired timer is not set");
        assert_eq!(timer.set(services.now() + Ticks::from_millis(20), None), WasSet::No);
        assert_eq!(timer.cancel(), WasSet::Yes);
        assert_eq!(fired.wait_until(services.now() + Ticks::from_millis(30)), WaitOutcome::TimedOut);
        timer.set(Time::ORIGIN, None);
        expect_set(&services, &fired);
        assert_eq!(count.load(Ordering::SeqCst), 2, "a time in the past expires at once, and once");
    });
}

#[test]
fn a_periodic_timer_keeps_its_phase_until_it_is_cancelled() {
    each(|services| {
        let times = Arc::new(Mutex::new(Vec::new()));
        let enough = clear(&services, EventKind::Notification);
        let timer = {
            let (times, enough) = (times.clone(), enough.clone());
            services.timer(dpc(move |now| {
                let mut times = times.lock().unwrap();
                times.push(now);
                if times.len() == 10 {
                    enough.set();
                }
            }))
        };
        let (first, period) = (services.now() + Ticks::from_millis(3), Ticks::from_millis(2));
        timer.set(first, Some(period));
        expect_set(&services, &enough);
        assert_eq!(timer.cancel(), WasSet::Yes);
        for (index, time) in times.lock().unwrap().iter().enumerate() {
            assert!(*time >= first + period * index as i64, "expiration {index} came early");
        }
    });
}

#[test]
fn ten_thousand_timers_all_expire() {
    for services in [Services::real(), Services::virtual_time(1)] {
        const COUNT: usize = 10_000;
        let count = Arc::new(AtomicUsize::new(0));
        let done = clear(&services, EventKind::Notification);
        let timers: Vec<_> = (0..COUNT)
            .map(|_| {
                let (count, done) = (count.clone(), done.clone());
                services.timer(dpc(move |_| {
                    if count.fetch_add(1, Ordering::SeqCst) + 1 == COUNT {
                        done.set();
                    }
                }))
            })
            .collect();
        let start = services.now();
        for (index, timer) in timers.iter().enumerate() {
            // A permutation, so that they are not set in order.
            timer.set(start + Ticks::from_micros((index * 7919 % COUNT) as i64), None);
        }
        expect_set(&services, &done);
        drop(timers);
    }
}

#[test]
fn every_queue_runs_everything_once() {
    each(|services| {
        const EACH: u64 = 300;
        for queue in [WorkQueue::Delayed, WorkQueue::Critical, WorkQueue::HyperCritical] {
            let sum = Arc::new(AtomicU64::new(0));
            let left = Arc::new(AtomicU64::new(EACH));
            let done = clear(&services, EventKind::Notification);
            for item in 0..EACH {
                let (sum, left, done) = (sum.clone(), left.clone(), done.clone());
                services.queue_work(
                    queue,
                    work(move || {
                        assert_eq!(Level::current(), Level::Passive);
                        sum.fetch_add(item, Ordering::SeqCst);
                        if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                            done.set();
                        }
                    }),
                );
            }
            expect_set(&services, &done);
            assert_eq!(sum.load(Ordering::SeqCst), EACH * (EACH - 1) / 2);
        }
        assert_eq!(services.work_panics(), 0);
    });
}

#[test]
fn critical_work_runs_in_the_order_it_was_queued() {
    each(|services| {
        let order = Arc::new(Mutex::new(Vec::new()));
        for item in 0..100 {
            let order = order.clone();
            services.queue_work(WorkQueue::Critical, work(move || order.lock().unwrap().push(item)));
        }
        services.shutdown();
        assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn shutting_down_runs_what_was_queued_and_refuses_what_comes_later() {
    each(|services| {
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..50 {
            let count = count.clone();
            let add = move || {
                count.fetch_add(1, Ordering::SeqCst);
            };
            services.queue_work(WorkQueue::Delayed, work(add));
        }
        services.shutdown();
        assert_eq!(count.load(Ordering::SeqCst), 50);
        services.queue_work(WorkQueue::Delayed, work(|| unreachable!()));
        assert_eq!(services.work_lost(), 1);
        services.shutdown();
    });
}

#[test]
fn work_that_panics_is_counted_and_the_next_item_runs() {
    each(|services| {
        services.queue_work(WorkQueue::Critical, work(|| std::panic::resume_unwind(Box::new("broken work"))));
        let done = clear(&services, EventKind::Notification);
        let set = done.clone();
        services.queue_work(WorkQueue::Critical, work(move || set.set()));
        expect_set(&services, &done);
        assert_eq!(services.work_panics(), 1);
    });
}

#[test]
fn the_last_services_may_be_dropped_on_a_worker() {
    each(|services| {
        let event = clear(&services, EventKind::Notification);
        let (mine, set) = (Mutex::new(Some(services.clone())), event.clone());
        services.queue_work(
            WorkQueue::Delayed,
            work(move || {
                drop(mine.lock().unwrap().take());
                set.set();
            }),
        );
        drop(services);
        assert_eq!(event.wait(), WaitOutcome::Signalled);
    });
}

#[test]
fn a_mutex_excludes_every_other_thread() {
    each(|services| {
        let mutex = Arc::new(services.mutex(LockRank::Processing, "processing"));
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (services, mutex, inside) = (services.clone(), mutex.clone(), inside.clone());
                services
                    .clone()
                    .spawn("contender", move || {
                        for _ in 0..200 {
                            let _held = mutex.hold();
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            services.yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    })
                    .unwrap()
            })
            .collect();
        threads.into_iter().for_each(ks_io::Spawned::join);
        assert!(!mutex.is_held_by_current());
    });
}

#[test]
fn a_mutex_is_acquired_in_one_place_and_released_in_another() {
    each(|services| {
        let mutex = services.mutex(LockRank::FilterControl, "control");
        let acquire = |mutex: &RankedMutex| mutex.acquire();
        let release = |mutex: &RankedMutex| mutex.release();
        acquire(&mutex);
        assert!(mutex.is_held_by_current());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!mutex.is_held_by_current());
                assert!(!mutex.try_acquire());
            });
        });
        release(&mutex);
        assert!(!mutex.is_held_by_current());
        assert!(mutex.try_acquire());
        mutex.release();
    });
}

/// What was deferred may take any mutex, so a thread that has one waits for a worker to do it.
#[test]
fn what_a_thread_deferred_does_not_run_under_its_mutexes_while_it_waits() {
    each(|services| {
        let control = services.mutex(LockRank::FilterControl, "control");
        let device = services.mutex(LockRank::Device, "device");
        let (done, ran_on) = (clear(&services, EventKind::Notification), Arc::new(Mutex::new(None)));
        let (set, noted) = (done.clone(), ran_on.clone());
        {
            let _inside = ks_io::deferred::enter();
            let _held = control.hold();
            ks_io::deferred::run_later(work(move || {
                let _device = device.hold();
                *noted.lock().unwrap() = Some(std::thread::current().id());
                set.set();
            }));
            expect_set(&services, &done);
        }
        assert_ne!(ran_on.lock().unwrap().unwrap(), std::thread::current().id());
    });
}

#[test]
fn ranks_are_acquired_in_order_and_released_in_any() {
    let services = Services::real();
    let device = services.mutex(LockRank::Device, "device");
    let control = services.mutex(LockRank::FilterControl, "control");
    let processing = services.mutex(LockRank::Processing, "processing");
    device.acquire();
    control.acquire();
    processing.acquire();
    device.release();
    control.release();
    processing.release();
    device.acquire();
    device.release();
}

/// The message of the panic that `f` must end with.
#[cfg(debug_assertions)]
fn message(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("no violation was reported");
    panic.downcast_ref::<String>().expect("the report is a string").clone()
}

#[cfg(debug_assertions)]
#[test]
fn a_broken_lock_order_names_both_mutexes() {
    let services = Services::real();
    let control = services.mutex(LockRank::FilterControl, "control");
    let other = services.mutex(LockRank::FilterControl, "other filter's control");
    let processing = services.mutex(LockRank::Processing, "processing");
    let held = processing.hold();
    assert!(message(|| control.acquire()).contains("control mutex (FilterControl)"));
    assert!(message(|| control.acquire()).contains("holds the processing mutex"));
    assert!(message(|| drop(processing.hold())).contains("holds the processing mutex"));
    drop(held);
    let _held = other.hold();
    assert!(message(|| assert!(!control.try_acquire())).contains("holds the other filter's control mutex"));
}

#[cfg(debug_assertions)]
#[test]
fn releasing_a_mutex_that_one_does_not_hold_is_reported() {
    let mutex = Services::real().mutex(LockRank::Device, "device");
    assert!(message(|| mutex.release()).contains("released by a thread that does not hold it"));
}

#[cfg(debug_assertions)]
#[test]
fn waiting_at_dispatch_level_is_reported() {
    let services = Services::real();
    let event = clear(&services, EventKind::Notification);
    let mutex = services.mutex(LockRank::Device, "device");
    let _dispatch = Level::Dispatch.raise();
    assert!(message(|| assert_eq!(event.wait(), WaitOutcome::TimedOut)).contains("waiting for an event"));
    assert!(message(|| mutex.acquire()).contains("acquiring a mutex"));
    event.set();
    assert_eq!(event.wait(), WaitOutcome::Signalled, "asking a set event is no wait");
}

#[test]
fn an_hour_of_virtual_time_passes_at_once_and_exactly() {
    let services = Services::virtual_time(7);
    let hour = Ticks::from_secs(3600);
    assert_eq!(clear(&services, EventKind::Notification).wait_until(Time::ORIGIN + hour), WaitOutcome::TimedOut);
    assert_eq!(TimeSource::now(&services), Time::ORIGIN + hour);
    assert_eq!(services.delay_until(Time::ORIGIN + hour * 24), WaitOutcome::TimedOut);
    assert_eq!(services.now(), Time::ORIGIN + hour * 24);
}

#[test]
fn virtual_time_stands_still_while_any_thread_can_run() {
    let services = Services::virtual_time(3);
    let mutex = Arc::new(services.mutex(LockRank::Device, "device"));
    let busy = {
        let (services, mutex) = (services.clone(), mutex.clone());
        services.clone().spawn("busy", move || {
            for _ in 0..100 {
                let _held = mutex.hold();
                services.yield_now();
                assert_eq!(services.now(), Time::ORIGIN);
            }
        })
    };
    busy.unwrap().join();
    assert_eq!(services.delay_until(Time(10)), WaitOutcome::TimedOut);
    assert_eq!(services.now(), Time(10));
}

/// What a small crowd of workers, timers and threads does, in order.
fn trace(seed: u64) -> Vec<(&'static str, usize, Time)> {
    let services = Services::virtual_time(seed);
    let trace = Arc::new(Mutex::new(Vec::new()));
    let note = {
        let (services, trace) = (services.clone(), trace.clone());
        move |what, index| trace.lock().unwrap().push((what, index, services.now()))
    };
    let mutex = Arc::new(services.mutex(LockRank::Processing, "processing"));
    let timer = {
        let note = note.clone();
        services.timer(dpc(move |_| note("timer", 0)))
    };
    timer.set(Time(100), Some(Ticks(250)));
    let threads: Vec<_> = (0..4)
        .map(|index| {
            let (services, mutex, note) = (services.clone(), mutex.clone(), note.clone());
            services
                .clone()
                .spawn("walker", move || {
                    for step in 0..20 {
                        let held = mutex.hold();
                        note("walker", index);
                        drop(held);
                        if step % 5 == index {
                            let note = note.clone();
                            services.queue_work(WorkQueue::Delayed, work(move || note("work", index)));
                            let _ = services.delay_until(services.now() + Ticks(100 * index as i64));
                        }
                    }
                })
                .unwrap()
        })
        .collect();
    threads.into_iter().for_each(ks_io::Spawned::join);
    services.shutdown();
    drop((timer, note));
    Arc::into_inner(trace).map_or_else(Vec::new, |trace| trace.into_inner().unwrap())
}

#[test]
fn one_seed_is_one_interleaving_and_another_seed_is_another() {
    let first = trace(42);
    assert!(first.len() >= 96);
    for _ in 0..5 {
        assert_eq!(trace(42), first);
    }
    assert!((0..10).any(|seed| trace(seed) != first));
}

#[test]
fn a_wait_that_can_never_end_says_who_waits_for_what() {
    let services = Services::virtual_time(5);
    let event = clear(&services, EventKind::Notification);
    let other = {
        let event = event.clone();
        services.spawn("the lost one", move || event.wait()).unwrap()
    };
    assert_eq!(event.wait(), WaitOutcome::Deadlock);
    assert_eq!(other.join(), WaitOutcome::Deadlock);
    let report = services.deadlock_report().unwrap();
    assert!(report.contains("the lost one waits for an event"), "{report}");
    event.set();
    assert_eq!(event.wait(), WaitOutcome::Signalled, "who gave up has left the event");
}

#[test]
fn work_that_always_asks_for_more_is_an_end_that_says_so() {
    struct Circle(Services, AtomicUsize);
    impl Work for Circle {
        fn run(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.queue_work(WorkQueue::Delayed, self.clone());
        }
    }
    let services = Services::virtual_time(5);
    let circle = Arc::new(Circle(services.clone(), AtomicUsize::new(0)));
    services.queue_work(WorkQueue::Delayed, circle.clone());
    assert_eq!(services.delay_until(Time::ORIGIN + Ticks(1)), WaitOutcome::Deadlock);
    let report = services.deadlock_report().unwrap();
    assert!(report.starts_with("nothing can move: at 0.0000000 s the workers have run"), "{report}");
    assert!(report.contains("waits for a time"), "{report}");
    let ran = circle.1.load(Ordering::Relaxed);
    services.queue_work(WorkQueue::Delayed, circle.clone());
    assert!(ran > 0 && services.work_lost() > 0);
    // The threads come to their end all the same.
    services.shutdown();
    assert!(circle.1.load(Ordering::Relaxed) <= ran + 1);
}

#[test]
fn a_mutex_that_nobody_will_release_says_who_waits_for_it() {
    let services = Services::virtual_time(5);
    let mutex = Arc::new(services.mutex(LockRank::Device, "device"));
    let held = mutex.hold();
    let other = {
        let mutex = mutex.clone();
        services.spawn("the lost one", move || mutex.acquire()).unwrap()
    };
    // This thread waits while it holds the mutex.
    assert_eq!(clear(&services, EventKind::Notification).wait(), WaitOutcome::Deadlock);
    let panic = catch_unwind(AssertUnwindSafe(|| other.join())).unwrap_err();
    let report = panic.downcast_ref::<String>().unwrap();
    assert!(report.contains("the device mutex can never be acquired"), "{report}");
    assert!(report.contains("the lost one waits for device"), "{report}");
    drop(held);
}

#[test]
fn a_thread_from_outside_takes_part_from_its_first_wait() {
    let services = Services::virtual_time(9);
    let (ping, pong) = (clear(&services, EventKind::Synchronization), clear(&services, EventKind::Synchronization));
    let outside = {
        let (ping, pong) = (ping.clone(), pong.clone());
        std::thread::spawn(move || {
            pong.set();
            ping.wait()
        })
    };
    // Until the thread from outside did its first part, nobody could ever run: only it knows better.
    while pong.wait() != WaitOutcome::Signalled {
        std::thread::yield_now();
    }
    ping.set();
    drop(services);
    assert_eq!(outside.join().unwrap(), WaitOutcome::Signalled);
}
