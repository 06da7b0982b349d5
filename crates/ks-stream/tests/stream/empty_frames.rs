//! Frames without data that go by a filter which processes as a whole.

use crate::rig::{
    DOWN, FRAME_BYTES, Kind, Probe, Rig, SEEDS, Setup, UP, bring, create, filled, frames, number, video, wait,
};
use ks_abi::{
    KSCATEGORY_CAPTURE, KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY as DATA_GAP,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM as END, KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY as TIME_GAP,
    KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsPinDataFlow, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_client::{Pin, StreamRequest};
use ks_io::sync::{Arc, Mutex};
use ks_stream::{Device, FilterDescriptor, PinDescriptor, PinFlags};

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;

/// A frame of flags and nothing else.
fn say(pin: &Pin, flags: u32) -> StreamRequest {
    let mut frame = pin.allocate(FRAME_BYTES as usize).unwrap();
    assert!(frame.fill(&[]));
    frame.header.options_flags = flags;
    pin.write_stream(vec![frame]).unwrap()
}

/// A middle that copies, whose output needs no frame for it to process.
fn rig(seed: u64, more: PinFlags) -> (Rig, ks_client::Filter, Pin, Pin) {
    let middle_flags = [PinFlags::empty(), PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING | more];
    let rig = Rig::with(Setup { seed, middle_flags, middle_in_place: None, ..Setup::default() });
    rig.middle.script_filter(|probe, _, pins| {
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
        let number = number(&from).unwrap();
        probe.seen.lock().push(number);
        to.buffer().unwrap().write().unwrap()[..4].copy_from_slice(&number.to_le_bytes());
        drop((from, to));
        input.set_bytes_used(input.bytes_available());
        output.set_bytes_used(4);
        output.terminate();
        STATUS_SUCCESS
    });
    let middle = rig.open("middle");
    let input = create(&middle, INPUT, KsPinDataFlow::IN, None);
    let output = create(&middle, OUTPUT, KsPinDataFlow::OUT, None);
    // Without its input the filter would be called at once.
    bring(&input, &UP);
    bring(&output, &UP);
    (rig, middle, input, output)
}

fn flags_of(frames: &[ks_client::StreamFrame]) -> Vec<(usize, u32)> {
    frames.iter().map(|frame| (frame.data().len(), frame.header.options_flags & (END | DATA_GAP | TIME_GAP))).collect()
}

#[test]
fn an_output_without_a_frame_says_it_by_the_next_that_comes() {
    for more in [PinFlags::empty(), PinFlags::DO_NOT_INITIATE_PROCESSING] {
        for seed in SEEDS {
            let (rig, middle, input, output) = rig(seed, more);
            // Two of them, and the output has no frame: nothing is lost, and the minidriver sees nothing.
            for flags in [DATA_GAP | KSSTREAM_HEADER_OPTIONSF_TIMEVALID, END] {
                say(&input, flags).wait().unwrap();
            }
            assert_eq!(rig.middle.calls(), 0);
            let read = output.read_stream(frames(&output, 1)).unwrap().wait().unwrap();
            assert_eq!(flags_of(&read), [(0, DATA_GAP | END)], "{more:?}, seed {seed}");
            assert_eq!(
                read[0].header.options_flags & KSSTREAM_HEADER_OPTIONSF_TIMEVALID,
                0,
                "of a time it says nothing"
            );
            assert_eq!(rig.middle.calls(), 0);
            drop((input, output, middle));
            rig.assert_quiescent();
        }
    }
}

#[test]
fn what_is_owed_goes_before_the_data_behind_it() {
    for seed in SEEDS {
        let (rig, _middle, input, output) = rig(seed, PinFlags::empty());
        say(&input, TIME_GAP).wait().unwrap();
        let write = input.write_stream(vec![filled(&input, 7)]).unwrap();
        rig.settle();
        let read = output.read_stream(frames(&output, 2)).unwrap().wait().unwrap();
        assert_eq!(flags_of(&read), [(0, TIME_GAP), (4, 0)], "seed {seed}");
        assert_eq!(rig.middle.seen_now(), [7]);
        write.wait().unwrap();
    }
}

#[test]
fn a_stop_forgets_what_an_output_owes() {
    let (rig, _middle, input, output) = rig(1, PinFlags::empty());
    say(&input, TIME_GAP).wait().unwrap();
    bring(&output, &DOWN);
    bring(&output, &UP);
    let write = input.write_stream(vec![filled(&input, 7)]).unwrap();
    let read = output.read_stream(frames(&output, 1)).unwrap().wait().unwrap();
    assert_eq!(flags_of(&read), [(4, 0)]);
    write.wait().unwrap();
    drop(rig);
}

/// Pins 0 and 1 share their frames, 2 and 3 have frames of their own.
#[test]
fn each_input_is_heard_where_one_of_them_shares_its_frames() {
    let rig = Rig::new(1);
    let probe = Probe::new(rig.log.clone(), Arc::new(wait));
    probe.script_filter(|_, _, _| STATUS_PENDING);
    let pin = |flow| PinDescriptor::new(flow, vec![video()]);
    let pins = [KsPinDataFlow::IN, KsPinDataFlow::OUT, KsPinDataFlow::IN, KsPinDataFlow::OUT].map(pin).to_vec();
    let mut both = FilterDescriptor::new("both", "both", &[KSCATEGORY_CAPTURE], pins, Arc::new(Kind(probe.clone())));
    both.in_place = Some((0, 1));
    let device = Device::start(&rig.io, "fifth", vec![Arc::new(both)]).unwrap();
    let arrived: Arc<Mutex<Vec<u32>>> = Arc::default();
    let log = arrived.clone();
    rig.sink.script(move |_, pin| {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            log.lock().push(frame.options_flags() & (END | DATA_GAP | TIME_GAP));
            edge = frame.advance();
        }
        STATUS_PENDING
    });
    let (filter, last) = (rig.open("both"), rig.open("sink"));
    let sink = create(&last, 0, KsPinDataFlow::IN, None);
    let shared = create(&filter, 1, KsPinDataFlow::OUT, Some(&sink));
    let own = create(&filter, 3, KsPinDataFlow::OUT, None);
    let inputs = [0, 2].map(|id| create(&filter, id, KsPinDataFlow::IN, None));
    for pin in [&sink, &shared, &own, &inputs[1], &inputs[0]] {
        bring(pin, &UP);
    }
    let read = own.read_stream(frames(&own, 1)).unwrap();
    let writes = [say(&inputs[1], TIME_GAP), say(&inputs[0], DATA_GAP)];
    assert_eq!(flags_of(&read.wait().unwrap()), [(0, DATA_GAP | TIME_GAP)]);
    for write in writes {
        write.wait().unwrap();
    }
    rig.settle();
    assert_eq!(*arrived.lock(), [DATA_GAP], "the frame that is shared says what it said");
    assert_eq!(probe.calls(), 0);
    for pin in [&inputs[0], &inputs[1], &own, &shared, &sink] {
        bring(pin, &DOWN);
    }
    drop((inputs, own, shared, sink, filter, last));
    device.surprise_remove();
    rig.assert_quiescent();
}
