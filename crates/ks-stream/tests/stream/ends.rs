//! What waits behind the end of a stream at the input of a codec.

use crate::rig::{DOWN, Kind, Probe, Rig, SEEDS, UP, bring, create, filled, frames, number, video, wait};
use ks_abi::{
    KSCATEGORY_CAPTURE, KSFILTER_NODE, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM as END, KsPinDataFlow, KsReset, KsState,
    KsTopologyConnection, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_client::{Pin, StreamRequest};
use ks_io::sync::Arc;
use ks_stream::{Device, FilterDescriptor, PinDescriptor, PinFlags};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Whose process callback has the frames.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Centric {
    Pin,
    Filter,
}

const BOTH: [Centric; 2] = [Centric::Pin, Centric::Filter];

/// A filter that takes what comes at its input, and ends the stream of its output when it is told to.
struct Codec {
    rig: Rig,
    probe: Arc<Probe>,
    device: Arc<Device>,
    says_end: Arc<AtomicBool>,
    input: Pin,
    output: Pin,
    filter: ks_client::Filter,
}

impl Codec {
    fn new(seed: u64, centric: Centric, joined: bool) -> Codec {
        let rig = Rig::new(seed);
        let probe = Probe::new(rig.log.clone(), Arc::new(wait));
        let says_end = Arc::new(AtomicBool::new(false));
        let says = says_end.clone();
        match centric {
            Centric::Pin => probe.script(move |probe, pin| {
                let mut edge = pin.leading_edge();
                while let Some(frame) = edge {
                    if pin.data_flow() == KsPinDataFlow::IN {
                        probe.seen.lock().extend(number(&frame));
                    } else if says.swap(false, SeqCst) {
                        frame.set_options_flags(END);
                    } else {
                        break;
                    }
                    edge = frame.advance();
                }
                STATUS_PENDING
            }),
            Centric::Filter => probe.script_filter(move |probe, _, pins| {
                for pin in pins.iter() {
                    let Some(frame) = pins.frame(pin) else { continue };
                    if pin.pin().id() == 0 {
                        probe.seen.lock().extend(number(&frame));
                    } else if says.swap(false, SeqCst) {
                        frame.set_options_flags(END);
                    } else {
                        continue;
                    }
                    pin.terminate();
                }
                STATUS_SUCCESS
            }),
        }
        let pin = |flow| {
            let mut pin = PinDescriptor::new(flow, vec![video()]);
            pin.flags = PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING;
            pin
        };
        let pins = vec![pin(KsPinDataFlow::IN), pin(KsPinDataFlow::OUT)];
        let mut codec =
            FilterDescriptor::new("codec", "codec", &[KSCATEGORY_CAPTURE], pins, Arc::new(Kind(probe.clone())));
        if joined {
            let (from_node, to_node) = (KSFILTER_NODE, KSFILTER_NODE);
            codec.connections = vec![KsTopologyConnection { from_node, from_node_pin: 0, to_node, to_node_pin: 1 }];
        }
        let device = Device::start(&rig.io, "fifth", vec![Arc::new(codec)]).unwrap();
        let filter = rig.open("codec");
        let output = create(&filter, 1, KsPinDataFlow::OUT, None);
        let input = create(&filter, 0, KsPinDataFlow::IN, None);
        bring(&output, &UP);
        bring(&input, &UP);
        Codec { rig, probe, device, says_end, input, output, filter }
    }

    /// Sends frames with these numbers; those of the second list end a stream.
    fn write(&self, numbers: impl Iterator<Item = u32>, ends: &[u32]) -> Vec<StreamRequest> {
        let send = |number| {
            let mut frame = filled(&self.input, number);
            frame.header.options_flags = if ends.contains(&number) { END } else { 0 };
            self.input.write_stream(vec![frame]).unwrap()
        };
        let requests = numbers.map(send).collect();
        self.rig.settle();
        requests
    }

    /// The output has a frame that says the end.
    fn say_end(&self) {
        let read = self.output.read_stream(frames(&self.output, 1)).unwrap();
        self.says_end.store(true, SeqCst);
        let pin = self.probe.pins.lock()[0].upgrade().unwrap();
        pin.attempt_processing();
        drop(pin);
        assert_eq!(read.wait().unwrap()[0].header.options_flags & END, END);
        self.rig.settle();
    }

    fn saw(&self, numbers: impl Iterator<Item = u32>, what: &str) {
        assert_eq!(self.probe.seen_now(), numbers.collect::<Vec<_>>(), "{what}");
    }

    fn end(self, requests: Vec<StreamRequest>) {
        bring(&self.input, &DOWN);
        for request in requests {
            drop(request.wait());
        }
        drop((self.input, self.output, self.filter));
        self.device.surprise_remove();
        self.rig.assert_quiescent();
    }
}

#[test]
fn what_comes_behind_the_end_of_a_stream_waits_until_an_output_has_said_it() {
    for (seed, centric) in SEEDS.flat_map(|seed| BOTH.map(|centric| (seed, centric))) {
        let codec = Codec::new(seed, centric, true);
        let requests = codec.write(1..=6, &[2, 5]);
        codec.saw(1..=2, &format!("{centric:?}, seed {seed}: the first stream"));
        assert!(requests[1].is_done() && !requests[2].is_done());
        let pin = codec.probe.pins.lock()[1].upgrade().unwrap();
        assert!(pin.leading_edge().is_none(), "a driver that looks by itself gets nothing either");
        drop(pin);
        codec.say_end();
        codec.saw(1..=5, "the second stream");
        codec.say_end();
        codec.saw(1..=6, "the third");
        codec.end(requests);
    }
}

#[test]
fn an_end_that_an_output_says_first_holds_nothing_back() {
    for seed in SEEDS {
        let codec = Codec::new(seed, Centric::Pin, true);
        let seen = codec.probe.clone();
        codec.probe.script(move |_, pin| {
            // The driver keeps the last frame until it has said the end.
            let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
            if pin.data_flow() == KsPinDataFlow::OUT {
                frame.set_options_flags(END);
            } else if frame.options_flags() & END != 0 && seen.next.load(SeqCst) == 0 {
                return STATUS_PENDING;
            } else {
                seen.seen.lock().extend(number(&frame));
            }
            frame.eject();
            STATUS_SUCCESS
        });
        let requests = codec.write(1..=4, &[2]);
        codec.saw(1..=1, "the last frame waits with the driver");
        let read = codec.output.read_stream(frames(&codec.output, 1)).unwrap();
        assert_eq!(read.wait().unwrap()[0].header.options_flags & END, END);
        codec.rig.settle();
        codec.probe.next.store(1, SeqCst);
        codec.probe.pins.lock()[1].upgrade().unwrap().attempt_processing();
        codec.rig.settle();
        codec.saw(1..=4, "its end was said");
        codec.end(requests);
    }
}

#[test]
fn nothing_waits_for_an_output_that_says_no_end() {
    for centric in BOTH {
        let codec = Codec::new(1, centric, false);
        let requests = codec.write(1..=3, &[1]);
        codec.saw(1..=3, "no topology leads to an output");
        codec.end(requests);
        let codec = Codec::new(1, centric, true);
        bring(&codec.output, &DOWN);
        let requests = codec.write(1..=3, &[1]);
        codec.saw(1..=3, "its output is stopped");
        codec.end(requests);
    }
}

#[test]
fn an_output_that_is_stopped_or_flushed_lets_the_input_go_on() {
    for (centric, stops) in BOTH.into_iter().flat_map(|centric| [(centric, true), (centric, false)]) {
        let codec = Codec::new(1, centric, true);
        let requests = codec.write(1..=3, &[1]);
        codec.saw(1..=1, "it waits");
        if stops {
            bring(&codec.output, &DOWN);
        } else {
            codec.output.reset(KsReset::BEGIN).unwrap();
            codec.output.reset(KsReset::END).unwrap();
        }
        codec.rig.settle();
        codec.saw(1..=3, "the end will not come any more");
        codec.end(requests);
    }
}

#[test]
fn a_flush_of_the_input_forgets_the_end() {
    for centric in BOTH {
        let codec = Codec::new(1, centric, true);
        let mut requests = codec.write(1..=3, &[1]);
        codec.saw(1..=1, "it waits");
        codec.input.reset(KsReset::BEGIN).unwrap();
        codec.input.reset(KsReset::END).unwrap();
        requests.extend(codec.write(4..=5, &[]));
        assert_eq!(codec.probe.seen_now(), [1, 4, 5], "{centric:?}");
        codec.input.set_state(KsState::STOP).unwrap();
        codec.end(requests);
    }
}
