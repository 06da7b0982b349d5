//! What a connected pin costs while nothing flows.
#![allow(missing_docs, reason = "a test")]

#[path = "stream/rig.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "the rig of the other tests")]
mod rig;

use ks_abi::KsPinDataFlow;
use ks_mem::{CountingAllocator, held_by_the_process};
use rig::{FRAME_BYTES, FRAMES, Rig, UP, create, wait};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

const PAIRS: u64 = 200;
const MOST_BYTES_OF_A_PIN: u64 = 16 * 1024;

/// The only test of this program: another one would allocate in between.
#[test]
fn an_idle_connected_pin_with_its_queue_holds_less_than_16_kib_beside_its_frames() {
    let rig = Rig::new(1);
    rig.source.script(wait);
    rig.sink.script(wait);
    let (from, to) = (rig.open("source"), rig.open("sink"));
    let connect = || {
        let sink = create(&to, 0, KsPinDataFlow::IN, None);
        let source = create(&from, 0, KsPinDataFlow::OUT, Some(&sink));
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        (source, sink)
    };
    // What is made once for all of them.
    let first = connect();
    rig.settle();
    let before = held_by_the_process();
    let pairs: Vec<_> = (0..PAIRS).map(|_| connect()).collect();
    rig.settle();
    let held = held_by_the_process().saturating_sub(before);
    let frames = PAIRS * u64::from(FRAMES * FRAME_BYTES);
    assert!(held > frames, "the pins are there");
    let of_a_pin = (held - frames) / (2 * PAIRS);
    println!("an idle connected pin holds {of_a_pin} bytes beside its frames");
    assert!(of_a_pin < MOST_BYTES_OF_A_PIN, "{of_a_pin} bytes");
    drop((pairs, first, from, to));
    rig.assert_quiescent();
}
