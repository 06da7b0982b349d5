//! Splitters of a Windows driver's filter that copies: which outputs share frames and which have copies, what its process pins
//! say of it, and changes of format on the way through.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsState};
use ks_client::{Filter, Object, Pin};
use ks_rig::{Created, Rig, each_seed, eventually, failure, sized};

const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
const DOWN: [KsState; 3] = [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP];

/// A filter that copies, whose outputs are connected to sinks of these factories.
struct Fan {
    input: Created,
    outputs: Vec<Created>,
    sinks: Vec<Created>,
    _filters: [Filter; 2],
}

impl Fan {
    fn new(rig: &Rig, kinds: [u32; 3]) -> Fan {
        let filters = [rig.open_filter(0), rig.open_filter(1)];
        let input = rig.create(&filters[0], 0, None);
        assert_eq!(failure(input.pin.object(), 3), "");
        let sinks: Vec<_> = kinds.iter().map(|kind| rig.create(&filters[1], *kind, None)).collect();
        let outputs = sinks.iter().map(|sink| rig.create(&filters[0], 1, Some(sink))).collect();
        Fan { input, outputs, sinks, _filters: filters }
    }

    fn bring(&self, states: &[KsState]) {
        for state in states {
            for created in self.sinks.iter().chain(&self.outputs).chain([&self.input]) {
                created.pin.set_state(*state).unwrap();
            }
        }
    }

    /// Nine frames, numbered from there on.
    fn write_nine(&self, first: u8) {
        let writes: Vec<_> = (first..first + 9).map(|number| self.input.write(&[number])).collect();
        for write in writes {
            write.wait().unwrap();
        }
    }

    fn copies(&self) -> Vec<u64> {
        self.outputs.iter().map(|output| output.pin.statistics().unwrap().copies).collect()
    }
}

fn object(created: &Created) -> &Object {
    created.pin.object()
}

/// Behind one of three outputs a sink changes its frames: it has copies, and the other two have the same frames.
#[test]
fn outputs_of_a_driver_share_frames_where_nobody_changes_them_and_have_copies_where_somebody_does() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/copier.c");
        for (kinds, copies, sharing) in [([0, 0, 1], [0, 0, 9], 1), ([1, 0, 0], [0, 9, 0], 2)] {
            let fan = Fan::new(&rig, kinds);
            fan.bring(&UP);
            fan.write_nine(0);
            fan.sinks.iter().for_each(|sink| eventually(object(sink), 0));
            assert_eq!(failure(object(&fan.input), 1), "", "{kinds:?}");
            assert_eq!(fan.copies(), copies, "{kinds:?}");
            for at in 1..3 {
                assert_eq!(failure(object(&fan.sinks[at]), 2).is_empty(), at == sharing, "{kinds:?}: sink {at}");
            }
            fan.bring(&DOWN);
        }
        rig.unload();
    });
}

/// What a client writes to the input the driver says in the stream of its first output; what a client sets at a later output
/// is set at the first. Each sink sees both between the frames of the one format and of the other.
#[test]
fn a_change_of_format_reaches_what_is_behind_every_output_of_a_drivers_splitter() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/copier.c");
        let fan = Fan::new(&rig, [0, 0, 1]);
        fan.bring(&UP);
        let write = |bytes: &[u8], flags| {
            let mut frame = fan.input.pin.allocate(64).unwrap();
            assert!(frame.fill(bytes));
            frame.header.options_flags = flags;
            fan.input.pin.write_stream(vec![frame]).unwrap().wait().unwrap();
        };
        write(sized(&fan.input, 32).bytes(), KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
        fan.write_nine(0);
        fan.sinks.iter().for_each(|sink| eventually(object(sink), 0));
        let shown = |pin: &Pin| pin.format().unwrap().head().sample_size;
        assert!(fan.outputs.iter().chain(&fan.sinks).all(|created| shown(&created.pin) == 32));
        fan.outputs[1].pin.set_format(&sized(&fan.outputs[1], 48)).unwrap();
        fan.write_nine(9);
        fan.sinks.iter().for_each(|sink| eventually(object(sink), 4));
        assert!(fan.outputs.iter().all(|output| failure(object(output), 5).is_empty() && shown(&output.pin) == 48));
        assert_eq!(shown(&fan.input.pin), 32, "the input is of another circuit");
        assert_eq!(fan.copies()[..2], [0, 0]);
        fan.bring(&DOWN);
        drop(fan);
        rig.unload();
    });
}
