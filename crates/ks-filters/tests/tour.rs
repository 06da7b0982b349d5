//! `docs/mission-tour.md` shows the steps of the example as they are, and the example does what the tour says.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/mission_tour.rs"]
#[expect(dead_code, reason = "the example has a main of its own")]
mod mission_tour;

use ks_abi::{HResult, STATUS_INVALID_DEVICE_REQUEST};
use ks_io::Services;

const TOUR: &str = include_str!("../../../docs/mission-tour.md");
const EXAMPLE: &str = include_str!("../examples/mission_tour.rs");

#[test]
fn every_code_of_the_tour_is_in_the_example() {
    let mut blocks = 0;
    for block in TOUR.split("```rust\n").skip(1) {
        let (code, _) = block.split_once("```\n").expect("a block ends");
        assert!(EXAMPLE.contains(code), "not in the example as it is:\n{code}");
        blocks += 1;
    }
    assert!(blocks >= 7, "{blocks} blocks");
}

#[test]
fn the_tour_creates_streams_and_closes_as_the_pages_say() {
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(1)).unwrap();
    let seen = mission_tour::tour(&system.session()).unwrap();
    assert_eq!(seen.pins, 1);
    assert_eq!(seen.without_com, HResult::CO_E_NOTINITIALIZED);
    assert_eq!(seen.looped, HResult(0x8007_0491_u32.cast_signed()), "ERROR_NO_MATCH");
    assert_eq!(seen.handshake, STATUS_INVALID_DEVICE_REQUEST);
    assert_eq!(seen.frame_bytes, 640 * 480 * 3 / 2);
    assert_eq!(seen.handles_left, 0);
}
