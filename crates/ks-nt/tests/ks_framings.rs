//! What the flags of a Windows driver's KSALLOCATOR_FRAMING_EX do to the frames of its pipes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{KsState, NtStatus, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED};
use ks_client::{Filter, PipeReport};
use ks_rig::{Created, Rig, each_seed};

const DRIVER: &str = "tests/avs/wishes.c";
/// Pins of the driver's first filter.
const PLAIN_SOURCE: u32 = 0;
const WHOLE_SOURCE: u32 = 1;
const PLAIN: u32 = 2;
const CHANGING: u32 = 3;
const MODEST: u32 = 4;
const PITCH: u32 = 5;
const NARROW: u32 = 6;
/// Its filters that have an input and an output.
const COPIES: usize = 1;
const IN_PLACE: usize = 2;
const ADVISED: usize = 3;
/// Bytes of a sample.
const FRAME: u32 = 64;

/// A source and a sink, with or without a filter between them; in the order of the data.
struct Chain {
    pins: Vec<Created>,
    _filters: Vec<Filter>,
}

impl Chain {
    fn new(rig: &Rig, source: u32, between: Option<usize>, sink: u32) -> Chain {
        let (from, to) = (rig.open_filter(0), rig.open_filter(0));
        let mut pins = vec![rig.create(&to, sink, None)];
        let mut filters = vec![];
        if let Some(filter) = between {
            let filter = rig.open_filter(filter);
            pins.push(rig.create(&filter, 1, pins.last()));
            pins.push(rig.create(&filter, 0, None));
            filters.push(filter);
        }
        pins.push(rig.create(&from, source, pins.last()));
        pins.reverse();
        filters.extend([from, to]);
        Chain { pins, _filters: filters }
    }

    /// The first step of each pin, in this order.
    fn start(&self, order: &[usize]) -> Result<(), (NtStatus, String)> {
        let step = |at: &usize| self.pins[*at].pin.set_state(KsState::ACQUIRE);
        order.iter().try_for_each(step).map_err(|refused| (refused.status, refused.to_string()))
    }

    fn bytes(&self, at: usize) -> u32 {
        self.pins[at].pin.statistics().unwrap().allocator_frame_bytes
    }

    fn report(&self) -> PipeReport {
        self.pins[0].pin.pipe().unwrap()
    }
}

/// It is refused, and says each of these.
fn refused(outcome: Result<(), (NtStatus, String)>, status: NtStatus, words: &[&str]) {
    let (of, reason) = outcome.unwrap_err();
    assert_eq!(of, status, "{reason}");
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
}

#[test]
fn a_driver_that_wants_its_frames_kept_whole_is_not_connected_to_one_that_changes_them() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        Chain::new(&rig, WHOLE_SOURCE, None, PLAIN).start(&[1, 0]).unwrap();
        Chain::new(&rig, PLAIN_SOURCE, None, CHANGING).start(&[1, 0]).unwrap();
        let words = ["asks that its frames are kept as they are", "a filter that changes them in place"];
        refused(Chain::new(&rig, WHOLE_SOURCE, None, CHANGING).start(&[1, 0]), STATUS_NOT_SUPPORTED, &words);
        refused(
            Chain::new(&rig, WHOLE_SOURCE, Some(IN_PLACE), PLAIN).start(&[3, 2, 1, 0]),
            STATUS_NOT_SUPPORTED,
            &words,
        );
        // A filter that copies leaves them as they are.
        Chain::new(&rig, WHOLE_SOURCE, Some(ADVISED), CHANGING).start(&[3, 2, 1, 0]).unwrap();
        rig.unload();
    });
}

#[test]
fn a_driver_that_only_prefers_gives_way_and_the_report_says_so() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let chain = Chain::new(&rig, PLAIN_SOURCE, None, MODEST);
        chain.start(&[1, 0]).unwrap();
        let report = chain.report();
        assert_eq!(chain.bytes(0), FRAME, "more than it prefers");
        assert_eq!(report.notes.len(), 1);
        assert!(report.notes[0].contains(".4 takes at most 40"), "{:?}", report.notes);
        drop(chain);
        rig.unload();
    });
}

#[test]
fn the_pitch_of_a_drivers_lines_is_no_alignment_of_its_frames() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let chain = Chain::new(&rig, PLAIN_SOURCE, None, PITCH);
        chain.start(&[1, 0]).unwrap();
        let report = chain.report();
        let alignment = report.agreed.iter().find(|agreed| agreed.what == "alignment").unwrap();
        assert!(alignment.value < 1024, "{alignment:?}");
        drop(chain);
        rig.unload();
    });
}

#[test]
fn a_ratio_that_a_driver_insists_on_holds_in_place_and_between_circuits() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let chain = Chain::new(&rig, PLAIN_SOURCE, Some(IN_PLACE), PLAIN);
        chain.start(&[3, 2, 1, 0]).unwrap();
        assert_eq!(chain.bytes(0), 3 * FRAME / 2, "one buffer for what comes in and what goes out");
        drop(chain);
        let words = ["asks for frames of at least 96 bytes", ".6 takes at most 95"];
        let chain = Chain::new(&rig, PLAIN_SOURCE, Some(IN_PLACE), NARROW);
        refused(chain.start(&[3, 2, 1, 0]), STATUS_INVALID_PARAMETER, &words);
        drop(chain);

        // Each side fixes the other, whichever stands first.
        let chain = Chain::new(&rig, PLAIN_SOURCE, Some(COPIES), PLAIN);
        chain.start(&[1, 0, 3, 2]).unwrap();
        assert_eq!((chain.bytes(0), chain.bytes(3)), (FRAME, 3 * FRAME / 2));
        drop(chain);
        // Of 64 bytes behind it no whole number is two thirds.
        let chain = Chain::new(&rig, PLAIN_SOURCE, Some(COPIES), PLAIN);
        refused(chain.start(&[3, 2, 1, 0]), STATUS_INVALID_PARAMETER, &["insists on 3:2 and has 64"]);
        drop(chain);
        let chain = Chain::new(&rig, PLAIN_SOURCE, Some(COPIES), NARROW);
        refused(chain.start(&[1, 0, 3, 2]), STATUS_INVALID_PARAMETER, &words);
        drop(chain);
        // Advice binds neither.
        let chain = Chain::new(&rig, PLAIN_SOURCE, Some(ADVISED), PLAIN);
        chain.start(&[3, 2, 1, 0]).unwrap();
        assert_eq!((chain.bytes(0), chain.bytes(3)), (FRAME, FRAME));
        drop(chain);
        rig.unload();
    });
}
