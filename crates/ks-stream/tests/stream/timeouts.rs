//! Timeouts of stream pointers, and what a driver hears of a clone while it is told of something else.

use crate::rig::{DOWN, Probe, Rig, SEEDS, UP, bring, frames, wait};
use ks_abi::KsState;
use ks_client::{Pin, StreamRequest};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Level, Services, Ticks};
use ks_stream::{CloneId, ClonePointer, LeadingEdge, PointerId};

const MS: Ticks = Ticks::MILLISECOND;

/// What the driver was told of, with the time in milliseconds.
type Told = Arc<Mutex<Vec<(i64, String)>>>;

/// A client's read, an unlocked clone on its one frame, and what the driver is told.
struct Waiting {
    rig: Rig,
    client: Pin,
    request: Arc<StreamRequest>,
    told: Told,
    filter: ks_client::Filter,
}

fn ms(services: &Services) -> i64 {
    services.now().0 / MS.0
}

impl Waiting {
    /// In both callbacks the driver notes the call and then does this.
    fn new(seed: u64, then: impl Fn(&Arc<Probe>, &'static str) + Send + Sync + 'static) -> Waiting {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let request = Arc::new(client.read_stream(frames(&client, 1)).unwrap());
        let edge_pin = rig.source.pin();
        let edge = edge_pin.leading_edge().unwrap();
        let mut clone = edge.clone_pointer().unwrap();
        edge.eject();
        clone.unlock();
        rig.source.clones.lock().push(clone);
        let told = Told::default();
        let then = Arc::new(then);
        let (log, services, probe, act) = (told.clone(), rig.services().clone(), rig.source.clone(), then.clone());
        *rig.source.on_timeout.lock() = Some(Arc::new(move |_, pointer, context| {
            assert_eq!(Level::current(), Level::Dispatch);
            assert!(matches!(pointer, PointerId::Clone(clone) if knows(&probe, clone)), "{pointer:?}");
            log.lock().push((ms(&services), format!("timeout {context}")));
            act(&probe, "timeout");
        }));
        let (log, services, probe) = (told.clone(), rig.services().clone(), rig.source.clone());
        *rig.source.on_cancelled.lock() = Some(Arc::new(move |_, clone| {
            assert!(knows(&probe, clone));
            log.lock().push((ms(&services), "cancel".to_owned()));
            then(&probe, "cancel");
        }));
        Waiting { rig, client, request, told, filter }
    }

    fn schedule(&self, context: u64, interval: Ticks) {
        self.rig.source.clones.lock()[0].schedule_timeout(context, interval);
    }

    fn wait_ms(&self, ms: i64) {
        let services = self.rig.services();
        let _ = services.delay_until(services.now() + MS * ms);
    }

    /// What was told, in milliseconds from `from` on.
    fn told_since(&self, from: i64) -> Vec<(i64, String)> {
        self.told.lock().drain(..).map(|(at, what)| (at - from, what)).collect()
    }

    fn end(self) {
        *self.rig.source.on_timeout.lock() = None;
        *self.rig.source.on_cancelled.lock() = None;
        self.rig.source.clones.lock().clear();
        assert!(self.request.is_done(), "deleting the clone ends the request");
        bring(&self.client, &DOWN);
        drop((self.client, self.filter, self.request));
        self.rig.assert_quiescent();
    }
}

fn knows(probe: &Probe, clone: CloneId) -> bool {
    probe.clones.lock().iter().any(|known| known.id() == clone)
}

fn let_go(probe: &Probe) {
    let gone: Vec<ClonePointer> = std::mem::take(&mut *probe.clones.lock());
    drop(gone);
}

#[test]
fn a_timeout_comes_once_at_its_time_and_not_after_a_cancel_or_a_delete() {
    for seed in SEEDS {
        let waiting = Waiting::new(seed, |_, _| {});
        let from = ms(waiting.rig.services());
        waiting.schedule(1, MS * 5);
        waiting.wait_ms(20);
        assert_eq!(waiting.told_since(from), [(5, "timeout 1".to_owned())]);
        // Another takes its place: earlier or later, the first one does not come.
        let from = ms(waiting.rig.services());
        waiting.schedule(2, MS * 5);
        waiting.schedule(3, MS * 9);
        waiting.schedule(4, MS * 7);
        waiting.wait_ms(20);
        assert_eq!(waiting.told_since(from), [(7, "timeout 4".to_owned())]);
        waiting.schedule(5, MS * 5);
        waiting.rig.source.clones.lock()[0].cancel_timeout();
        waiting.rig.source.clones.lock()[0].cancel_timeout();
        waiting.wait_ms(20);
        assert_eq!(waiting.told_since(from), []);
        waiting.schedule(6, MS * 5);
        let_go(&waiting.rig.source);
        waiting.wait_ms(20);
        assert_eq!(waiting.told_since(from), []);
        waiting.end();
    }
}

#[test]
fn a_timeout_may_be_scheduled_again_in_its_own_callback() {
    let waiting = Waiting::new(1, |probe, what| {
        assert_eq!(what, "timeout");
        probe.clones.lock()[0].schedule_timeout(2, MS * 3);
    });
    let from = ms(waiting.rig.services());
    waiting.schedule(1, MS * 5);
    waiting.wait_ms(12);
    let told = waiting.told_since(from);
    let wanted = [(5, "timeout 1".to_owned()), (8, "timeout 2".to_owned()), (11, "timeout 2".to_owned())];
    assert_eq!(told, wanted);
    waiting.end();
}

#[test]
fn a_cancel_that_comes_in_the_timeouts_callback_is_told_when_that_has_returned() {
    for deletes in [false, true] {
        let slot: Arc<Mutex<Option<Arc<StreamRequest>>>> = Arc::default();
        let cancelled = slot.clone();
        let waiting = Waiting::new(1, move |probe, what| {
            if what == "timeout" {
                let request = cancelled.lock().take().unwrap();
                request.cancel();
                assert!(probe.cancelled.lock().is_empty(), "not while the timeout is told");
            }
            if deletes || what == "cancel" {
                let_go(probe);
            }
        });
        *slot.lock() = Some(waiting.request.clone());
        let from = ms(waiting.rig.services());
        waiting.schedule(1, MS * 5);
        waiting.wait_ms(20);
        let mut told = vec![(5, "timeout 1".to_owned())];
        if !deletes {
            told.push((5, "cancel".to_owned()));
        }
        assert_eq!(waiting.told_since(from), told, "deletes: {deletes}");
        waiting.end();
    }
}

#[test]
fn a_timeout_that_passes_in_the_cancels_callback_is_told_when_that_has_returned() {
    for deletes in [false, true] {
        for seed in SEEDS {
            let waiting = Waiting::new(seed, |_, _| {});
            let (services, log) = (waiting.rig.services().clone(), waiting.told.clone());
            let probe = waiting.rig.source.clone();
            *waiting.rig.source.on_cancelled.lock() = Some(Arc::new(move |_, _| {
                let _ = services.delay_until(services.now() + MS * 10);
                log.lock().push((ms(&services), "cancel returns".to_owned()));
                if deletes {
                    let_go(&probe);
                }
            }));
            let from = ms(waiting.rig.services());
            waiting.schedule(1, MS * 5);
            waiting.request.cancel();
            waiting.wait_ms(20);
            let mut told = vec![(10, "cancel returns".to_owned())];
            if !deletes {
                // A driver without cancel routine has nothing else by which it learns.
                told.push((10, "timeout 1".to_owned()));
            }
            assert_eq!(waiting.told_since(from), told, "deletes: {deletes}");
            waiting.end();
        }
    }
}

#[test]
fn a_panic_in_a_timeout_stops_its_filter_by_name() {
    let waiting = Waiting::new(1, |_, what| {
        if what == "timeout" {
            std::panic::resume_unwind(Box::new("told to panic"));
        }
    });
    waiting.schedule(1, MS);
    waiting.wait_ms(5);
    let stops = waiting.rig.devices[0].stops();
    let wanted = "the minidriver panicked in the stream pointer timeout callback of source.0";
    assert!(stops.iter().all(|reason| reason.starts_with(wanted)) && stops.len() == 1, "{stops:?}");
    assert_eq!(waiting.rig.services().work_panics(), 0);
    // Its frames are cancelled then, and the clone is there to be deleted.
    let told: Vec<String> = waiting.told_since(0).into_iter().map(|(_, what)| what).collect();
    assert_eq!(told, ["timeout 1", "cancel"]);
}

#[test]
fn an_edge_has_timeouts_which_end_with_its_pin() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    let (filter, client) = rig.alone("source");
    client.set_state(KsState::ACQUIRE).unwrap();
    let told: Arc<Mutex<Vec<(PointerId, u64)>>> = Arc::default();
    let log = told.clone();
    *rig.source.on_timeout.lock() = Some(Arc::new(move |_, pointer, context| log.lock().push((pointer, context))));
    let edge = LeadingEdge::of(&rig.source.pin()).unwrap();
    edge.schedule_timeout(1, MS);
    rig.settle();
    rig.settle();
    edge.schedule_timeout(2, MS);
    edge.cancel_timeout();
    edge.schedule_timeout(3, MS * 2);
    client.set_state(KsState::STOP).unwrap();
    drop((client, filter));
    let _ = rig.services().delay_until(rig.services().now() + MS * 10);
    assert_eq!(*told.lock(), [(PointerId::LeadingEdge, 1)]);
    drop(edge);
    rig.assert_quiescent();
}
