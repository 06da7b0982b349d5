//! A decoder in a Windows driver whose stream changes while it runs: what its source tells beforehand, what it finds by itself,
//! and the sequence by which its client follows.
//!
//! Source: "Supporting dynamic format changes in AVStream codecs".
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_STREAM, KSEVENT_DYNAMIC_FORMAT_CHANGE,
    KSEVENTSETID_DynamicFormatChange, KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsDataFormat, KsState, STATUS_CANCELLED,
    STATUS_NO_MATCH,
};
use ks_client::{Connect, Filter, Format, Pin, PinEvent, StreamRequest};
use ks_io::WaitOutcome;
use ks_rig::{Rig, each_seed};
use zerocopy::IntoBytes;

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;
const PACKET_BYTES: u32 = 16;
const UNIT: u32 = 32;
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
const DOWN: [KsState; 3] = [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP];

fn format(subformat: u8, sample_size: u32) -> Format {
    let subformat = Guid::from_u128(0x5c0dec00_6c35_4e0e_8a2b_0d5f2c3b7e00 | u128::from(subformat));
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_STREAM, subformat, KSDATAFORMAT_SPECIFIER_NONE, 0);
    Format::from_bytes(KsDataFormat { sample_size, ..head }.as_bytes()).unwrap()
}

/// A format of packets; 4 and more are none.
fn packets(number: u8) -> Format {
    format(0x10 + number, PACKET_BYTES)
}

/// The format of samples of so many units.
fn samples(units: u8) -> Format {
    format(0x20 + units, u32::from(units) * UNIT)
}

struct Codec {
    input: Pin,
    output: Pin,
    changed: PinEvent,
    filter: Filter,
}

impl Codec {
    /// Streaming packets of one unit.
    fn start(rig: &Rig) -> Codec {
        let filter = rig.open();
        let create = |id: u32, format: &Format| {
            let factory = filter.pin(id).unwrap();
            let (interface, medium) = (factory.interfaces[0], factory.mediums[0]);
            let connect = Connect { pin_id: id, interface, medium, pin_to: None, format };
            filter.create_pin(connect, factory.data_flow).unwrap()
        };
        let input = create(INPUT, &packets(1));
        let preferred = filter.intersect(OUTPUT, &filter.data_ranges(OUTPUT).unwrap()).unwrap();
        assert_eq!(preferred.bytes(), samples(1).bytes());
        let output = create(OUTPUT, &preferred);
        let changed = output.enable_event(KSEVENTSETID_DynamicFormatChange, KSEVENT_DYNAMIC_FORMAT_CHANGE).unwrap();
        for pin in [&output, &input] {
            UP.into_iter().for_each(|state| pin.set_state(state).unwrap());
        }
        Codec { input, output, changed, filter }
    }

    fn write(&self, bytes: &[u8], flags: u32) -> StreamRequest {
        let mut frame = self.input.allocate(64).unwrap();
        assert!(frame.fill(bytes));
        frame.header.options_flags = flags;
        self.input.write_stream(vec![frame]).unwrap()
    }

    fn packet(&self, units: u8, number: u8) -> StreamRequest {
        let mut bytes = [0; PACKET_BYTES as usize];
        bytes[..2].copy_from_slice(&[units, number]);
        self.write(&bytes, 0)
    }

    /// The source goes on with packets of another format.
    fn tell(&self, number: u8) -> StreamRequest {
        self.write(packets(number).bytes(), KSSTREAM_HEADER_OPTIONSF_TYPECHANGED)
    }

    fn read(&self) -> StreamRequest {
        self.output.read_stream(vec![self.output.allocate(64).unwrap()]).unwrap()
    }

    #[track_caller]
    fn decodes(&self, read: StreamRequest, units: u8, number: u8) {
        assert_eq!(read.wait().unwrap()[0].data(), vec![number; usize::from(units) * UNIT as usize]);
    }

    /// One packet, which comes out.
    #[track_caller]
    fn passes(&self, units: u8, number: u8) {
        let (read, written) = (self.read(), self.packet(units, number));
        self.decodes(read, units, number);
        written.wait().unwrap();
    }

    /// The driver has said that its output changes: the client stops that, asks what there is, and goes on with it.
    fn follow(&self, from: u8, to: u8) {
        // A frame for what comes out: the driver is not called without.
        let waits = self.read();
        assert_eq!(self.changed.event().wait(), WaitOutcome::Signalled);
        self.changed.event().clear();
        self.output.set_state(KsState::STOP).unwrap();
        assert_eq!(waits.wait().unwrap_err().status, STATUS_CANCELLED);
        let preferred = self.filter.intersect(OUTPUT, &self.filter.data_ranges(OUTPUT).unwrap()).unwrap();
        assert_eq!(preferred.bytes(), samples(to).bytes());
        let old = self.output.set_format(&samples(from));
        assert_eq!(old.unwrap_err().status, STATUS_NO_MATCH, "the driver does not take the old one");
        self.output.set_format(&preferred).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.output.format().unwrap().bytes(), preferred.bytes());
        self.output.set_state(KsState::RUN).unwrap();
        assert_eq!(self.input.state().unwrap(), KsState::RUN, "the input has not left its state");
    }

    fn stop(self) {
        for pin in [&self.input, &self.output] {
            DOWN.into_iter().for_each(|state| pin.set_state(state).unwrap());
        }
    }
}

#[test]
fn a_decoder_is_asked_before_its_stream_changes_and_its_output_follows_while_it_runs() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/codec.c");
        let codec = Codec::start(&rig);
        codec.passes(1, 1);
        // What it does not take changes nothing.
        assert_eq!(codec.input.propose_format(&packets(4)).unwrap_err().status, STATUS_NO_MATCH);
        codec.passes(1, 2);
        // Of a format that leads to the same samples the output does not hear.
        codec.input.propose_format(&packets(3)).unwrap();
        assert_eq!(codec.input.format().unwrap().bytes(), packets(1).bytes(), "a proposal is none yet");
        codec.tell(3).wait().unwrap();
        codec.passes(1, 3);
        assert_eq!(codec.input.format().unwrap().bytes(), packets(3).bytes());
        assert!(!codec.changed.event().is_set());
        for (from, to) in [(1, 2), (2, 1), (1, 2)] {
            codec.input.propose_format(&packets(to)).unwrap();
            let read = codec.read();
            // What was sent before the change comes out as it was, what is behind it waits.
            let before = codec.packet(from, 10);
            let told = codec.tell(to);
            let behind = [20, 21].map(|number| codec.packet(to, number));
            codec.decodes(read, from, 10);
            codec.follow(from, to);
            for number in [20, 21] {
                codec.decodes(codec.read(), to, number);
            }
            for request in [before, told].into_iter().chain(behind) {
                request.wait().unwrap();
            }
            codec.passes(to, 30);
        }
        codec.stop();
        rig.unload();
    });
}

#[test]
fn a_decoder_that_finds_the_change_in_its_packets_has_its_output_follow() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/codec.c");
        let codec = Codec::start(&rig);
        codec.tell(3).wait().unwrap();
        for (from, to) in [(1, 2), (2, 1)] {
            codec.passes(from, 1);
            let behind = [2, 3].map(|number| codec.packet(to, number));
            codec.follow(from, to);
            for number in [2, 3] {
                codec.decodes(codec.read(), to, number);
            }
            behind.into_iter().for_each(|request| drop(request.wait().unwrap()));
            assert_eq!(codec.input.format().unwrap().bytes(), packets(3).bytes());
        }
        codec.stop();
        rig.unload();
    });
}

#[test]
fn a_decoder_that_is_told_of_what_it_did_not_agree_to_fails_its_stream() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/codec.c");
        let codec = Codec::start(&rig);
        codec.passes(1, 1);
        assert_eq!(codec.tell(4).wait().unwrap_err().status, STATUS_NO_MATCH);
        assert!(codec.packet(1, 2).wait().is_err(), "what is behind it is of a format that it does not take");
        assert_eq!(codec.input.failure().unwrap().0, STATUS_NO_MATCH);
        // A stream that begins again has the last format that was agreed to.
        codec.input.set_state(KsState::STOP).unwrap();
        codec.input.set_state(KsState::RUN).unwrap();
        codec.passes(1, 3);
        codec.stop();
        rig.unload();
    });
}
