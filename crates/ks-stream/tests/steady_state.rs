//! A stream in its steady state: no allocation and no copy of a frame.
#![allow(missing_docs, reason = "a test")]

#[path = "stream/rig.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "the rig of the other tests")]
mod rig;

use ks_abi::{KsPinDataFlow, STATUS_PENDING};
use ks_io::Ticks;
use ks_mem::{Allocations, CountingAllocator};
use rig::{Rig, Setup, UP, create, put};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

const WARM_UP: u32 = 1_000;
const FRAMES: u32 = 10_000;

static BEFORE: AtomicU64 = AtomicU64::new(0);
static AFTER: AtomicU64 = AtomicU64::new(0);

/// The only test of this program: another one would allocate in between.
#[test]
fn ten_thousand_frames_allocate_nothing_and_copy_nothing() {
    let rig = Rig::with(Setup::default());
    let (from, through, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
    let middle_in = create(&through, 0, KsPinDataFlow::IN, None);
    let source = create(&from, 0, KsPinDataFlow::OUT, Some(&middle_in));
    let sink = create(&to, 0, KsPinDataFlow::IN, None);
    let middle_out = create(&through, 1, KsPinDataFlow::OUT, Some(&sink));
    // The scripts of the rig keep lists of what they saw; these keep nothing.
    let services = rig.services().clone();
    rig.source.script(move |probe, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            let number = probe.next.fetch_add(1, SeqCst);
            if number == WARM_UP / 2 {
                // Time stands still until the test's own thread waits, too, and allocates nothing more.
                let _ = services.delay_until(services.now() + Ticks(1));
            }
            put(&frame, number, number + 1 == WARM_UP + FRAMES + 100);
            if number >= WARM_UP + FRAMES + 100 {
                return STATUS_PENDING;
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    rig.middle.script(|_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            frame.buffer().unwrap().write().unwrap()[4] += 1;
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    rig.sink.script(|probe, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            match probe.next.fetch_add(1, SeqCst) {
                WARM_UP => BEFORE.store(Allocations::of_the_process().count, SeqCst),
                last if last == WARM_UP + FRAMES => AFTER.store(Allocations::of_the_process().count, SeqCst),
                _ => {}
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    for state in UP {
        for pin in [&sink, &middle_out, &middle_in, &source] {
            pin.set_state(state).unwrap();
        }
    }
    rig.settle();
    let (before, after) = (BEFORE.load(SeqCst), AFTER.load(SeqCst));
    assert!(before > 0 && after > 0, "the stream ran");
    assert_eq!(after - before, 0, "allocations in {FRAMES} frames");
    let counters = sink.statistics().unwrap();
    assert_eq!((counters.frames, counters.copies), (u64::from(WARM_UP + FRAMES + 100), 0));
    assert_eq!(middle_in.statistics().unwrap().copies, 0);
}
