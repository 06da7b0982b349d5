//! A splitter in its steady state: no allocation and no copy of a frame, however many branches it has.
#![allow(missing_docs, reason = "a test")]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "stream/rig.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "the rig of the other tests")]
mod rig;

use ks_abi::{KsPinDataFlow, STATUS_PENDING};
use ks_io::Ticks;
use ks_mem::{Allocations, CountingAllocator};
use ks_stream::PinFlags;
use rig::{Rig, Setup, UP, create, put};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

const BRANCHES: u32 = 4;
const WARM_UP: u32 = 500;
const FRAMES: u32 = 5_000;
const LAST: u32 = WARM_UP + FRAMES + 100;

static BEFORE: AtomicU64 = AtomicU64::new(0);
static AFTER: AtomicU64 = AtomicU64::new(0);

/// Whose outputs they are.
#[derive(Clone, Copy, Debug)]
enum Splits {
    /// Those of a filter that works in place.
    InPlace,
    /// Those of the source itself, which share the frames of the first.
    Source,
}

/// The only test of this program: another one would allocate in between.
#[test]
fn five_thousand_frames_to_four_branches_allocate_nothing_and_copy_nothing() {
    stream(Splits::InPlace);
    stream(Splits::Source);
}

fn stream(splits: Splits) {
    BEFORE.store(0, SeqCst);
    AFTER.store(0, SeqCst);
    let (none, splitter) = (PinFlags::empty(), PinFlags::SPLITTER);
    let (source_flags, output_flags) = match splits {
        Splits::InPlace => (none, splitter),
        Splits::Source => (splitter, none),
    };
    let rig = Rig::with(Setup { source_flags, middle_flags: [none, output_flags], ..Setup::default() });
    let (from, through) = (rig.open("source"), rig.open("middle"));
    let trunk = match splits {
        Splits::InPlace => {
            let input = create(&through, 0, KsPinDataFlow::IN, None);
            let source = create(&from, 0, KsPinDataFlow::OUT, Some(&input));
            vec![input, source]
        }
        Splits::Source => Vec::new(),
    };
    let branch = |_| {
        let filter = rig.open("sink");
        let sink = create(&filter, 0, KsPinDataFlow::IN, None);
        let output = match splits {
            Splits::InPlace => create(&through, 1, KsPinDataFlow::OUT, Some(&sink)),
            Splits::Source => create(&from, 0, KsPinDataFlow::OUT, Some(&sink)),
        };
        (output, sink, filter)
    };
    let branches: Vec<_> = (0..BRANCHES).map(branch).collect();
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
            if number >= LAST {
                return STATUS_PENDING;
            }
            put(&frame, number, number + 1 == LAST);
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    rig.middle.script(|_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    rig.sink.script(|probe, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            match probe.next.fetch_add(1, SeqCst) {
                seen if seen == BRANCHES * WARM_UP => BEFORE.store(Allocations::of_the_process().count, SeqCst),
                seen if seen == BRANCHES * (WARM_UP + FRAMES) => {
                    AFTER.store(Allocations::of_the_process().count, SeqCst);
                }
                _ => {}
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    for state in UP {
        for (output, sink, _) in &branches {
            sink.set_state(state).unwrap();
            output.set_state(state).unwrap();
        }
        trunk.iter().for_each(|pin| pin.set_state(state).unwrap());
    }
    rig.settle();
    let (before, after) = (BEFORE.load(SeqCst), AFTER.load(SeqCst));
    assert!(before > 0 && after > 0, "{splits:?}: the stream ran");
    assert_eq!(after - before, 0, "{splits:?}: allocations in {FRAMES} frames");
    for (output, sink, _) in &branches {
        assert_eq!(sink.statistics().unwrap().frames, u64::from(LAST));
        assert_eq!(output.statistics().unwrap().copies, 0);
    }
}
