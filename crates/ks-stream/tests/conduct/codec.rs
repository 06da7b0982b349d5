//! A decoder whose stream changes while it runs: what its source tells beforehand, what it finds by itself, and the sequence by
//! which its client follows.
//!
//! Source: "Supporting dynamic format changes in AVStream codecs".

use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_STREAM, KSEVENT_DYNAMIC_FORMAT_CHANGE,
    KSEVENTSETID_DynamicFormatChange, KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsDataFormat, KsIdentifier, KsPinDataFlow,
    KsState, NtStatus, STATUS_CANCELLED, STATUS_NO_MATCH, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_client::{Client, Connect, Format, PinEvent, StreamRequest};
use ks_io::sync::Arc;
use ks_io::{Aspect, IoManager, Refusal, Services, Ticks};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Device, EventItem, EventSet, Filter, FilterDescriptor, FilterDispatch,
    FilterInstance, Framing, Pin, PinDescriptor, PinInstance, ProcessPins,
};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;
const PACKET_BYTES: u32 = 16;
const UNIT: u32 = 32;
const SUB: u128 = 0x5c0dec00_6c35_4e0e_8a2b_0d5f2c3b7e00;

fn numbered(subformat: u8, sample_size: u32) -> DataFormat {
    let subformat = Guid::from_u128(SUB | u128::from(subformat));
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_STREAM, subformat, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size, ..head }, &[])
}

/// A format of packets, each of which says in its first byte how many units of 32 bytes it decodes to: 1 of one unit, 2 of
/// two, 3 of either kind. There is no other.
fn packets(number: u8) -> DataFormat {
    numbered(0x10 + number, PACKET_BYTES)
}

/// The format of samples of so many units.
fn samples(units: u8) -> DataFormat {
    numbered(0x20 + units, u32::from(units) * UNIT)
}

/// The number of a format of packets that there is.
fn number_of(format: &DataFormat) -> Result<u8, Refusal> {
    let number = (1..=3).find(|number| packets(*number).bytes() == format.bytes());
    number.ok_or_else(|| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, "not what it decodes"))
}

/// The minidriver: filter and both pins.
struct Decoder {
    input_format: AtomicU8,
    /// What the output agreed to, and what it should have.
    units: AtomicU8,
    wanted: AtomicU8,
    events: AutomationTable<Pin>,
}

impl Decoder {
    fn new() -> Arc<Decoder> {
        let items = vec![EventItem::new(KSEVENT_DYNAMIC_FORMAT_CHANGE)];
        let events = vec![EventSet { set: KSEVENTSETID_DynamicFormatChange, items }];
        Arc::new(Decoder {
            input_format: AtomicU8::new(1),
            units: AtomicU8::new(0),
            wanted: AtomicU8::new(1),
            events: AutomationTable { events, ..AutomationTable::default() },
        })
    }

    fn ask_for(&self, output: &Pin, kind: u8) {
        if self.wanted.swap(kind, SeqCst) != kind {
            output.generate_events(KSEVENTSETID_DynamicFormatChange, KSEVENT_DYNAMIC_FORMAT_CHANGE);
        }
    }

    fn take_samples(&self, format: &DataFormat) -> Result<(), Refusal> {
        let wanted = self.wanted.load(SeqCst);
        if format.bytes() != samples(wanted).bytes() {
            return Err(Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, "not what comes out now"));
        }
        self.units.store(wanted, SeqCst);
        Ok(())
    }
}

struct Kind(Arc<Decoder>);

impl FilterDispatch for Kind {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Kind(self.0.clone())))
    }
}

impl FilterInstance for Kind {
    fn is_filter_centric(&self) -> bool {
        true
    }
    fn accept_format(&self, pin: u32, format: &DataFormat, _: &DataRange) -> Result<(), Refusal> {
        if pin == INPUT { number_of(format).map(drop) } else { self.0.take_samples(format) }
    }
    fn intersect(&self, _: u32, _: &DataRange, _: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(samples(self.0.wanted.load(SeqCst)))
    }
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(Kind(self.0.clone())))
    }
    fn process(&self, _: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
        let packet = from.buffer().and_then(|buffer| buffer.read()).map_or([0; 2], |bytes| [bytes[0], bytes[1]]);
        if packet[0] != self.0.units.load(SeqCst) {
            self.0.ask_for(output.pin(), packet[0]);
            return STATUS_PENDING;
        }
        let bytes = u32::from(packet[0]) * UNIT;
        if let Some(mut sample) = to.buffer().and_then(|buffer| buffer.write()) {
            sample[..bytes as usize].fill(packet[1]);
        }
        output.set_bytes_used(bytes);
        input.set_bytes_used(input.bytes_available());
        input.terminate();
        output.terminate();
        STATUS_SUCCESS
    }
}

impl PinInstance for Kind {
    fn would_take(&self, pin: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        if pin.id() == INPUT { number_of(new).map(drop) } else { Ok(()) }
    }
    fn set_data_format(&self, pin: &Arc<Pin>, _: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        if pin.id() == OUTPUT {
            return self.0.take_samples(new);
        }
        let number = number_of(new)?;
        self.0.input_format.store(number, SeqCst);
        if let Some(output) = pin.filter().pins(OUTPUT).first()
            && number != 3
            && number != self.0.units.load(SeqCst)
        {
            self.0.ask_for(output, number);
        }
        Ok(())
    }
    fn data_ranges(&self, pin: &Pin) -> Option<Vec<DataRange>> {
        match self.0.input_format.load(SeqCst) {
            _ if pin.id() == INPUT => None,
            3 => Some(vec![samples(1), samples(2)]),
            units => Some(vec![samples(units)]),
        }
    }
    fn framing(&self, _: &Pin) -> Option<Framing> {
        Some(Framing { frames: 4, frame_bytes: 2 * UNIT, alignment: 64 })
    }
    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        Some(&self.0.events)
    }
}

/// A client with an open decoder.
struct Codec {
    io: Arc<IoManager>,
    input: ks_client::Pin,
    output: ks_client::Pin,
    changed: PinEvent,
    filter: ks_client::Filter,
    _device: Arc<Device>,
}

fn of_client(format: &DataFormat) -> Format {
    Format::from_bytes(format.bytes()).unwrap()
}

impl Codec {
    /// Streaming packets of one unit.
    fn start(seed: u64) -> Codec {
        let io = IoManager::new(Services::virtual_time(seed));
        let any = DataFormat::new(KsDataFormat::new(KSDATAFORMAT_TYPE_STREAM, Guid::NULL, Guid::NULL, 0), &[]);
        let pins = vec![
            PinDescriptor::new(KsPinDataFlow::IN, vec![any]),
            PinDescriptor::new(KsPinDataFlow::OUT, vec![samples(1)]),
        ];
        let dispatch = Arc::new(Kind(Decoder::new()));
        let descriptor = FilterDescriptor::new("decoder", "decoder", &[KSCATEGORY_CAPTURE], pins, dispatch);
        let device = Device::start(&io, "decoder", vec![Arc::new(descriptor)]).unwrap();
        let filter = Client::new(io.session()).open_by_name("decoder").unwrap();
        let create = |pin_id, flow, format: &Format| {
            let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
            filter.create_pin(Connect { pin_id, interface, medium, pin_to: None, format }, flow).unwrap()
        };
        let input = create(INPUT, KsPinDataFlow::IN, &of_client(&packets(1)));
        let preferred = filter.intersect(OUTPUT, &filter.data_ranges(OUTPUT).unwrap()).unwrap();
        assert_eq!(preferred.bytes(), samples(1).bytes());
        let output = create(OUTPUT, KsPinDataFlow::OUT, &preferred);
        let changed = output.enable_event(KSEVENTSETID_DynamicFormatChange, KSEVENT_DYNAMIC_FORMAT_CHANGE).unwrap();
        for pin in [&output, &input] {
            pin.set_state(KsState::RUN).unwrap();
        }
        Codec { io, input, output, changed, filter, _device: device }
    }

    fn settle(&self) {
        let services = self.io.services();
        let _ = services.delay_until(services.now() + Ticks::MILLISECOND);
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

    /// The minidriver has said that its output changes: the client stops that, asks what there is, and goes on with it.
    fn follow(&self, from: u8, to: u8) {
        let waits = self.read();
        self.settle();
        assert!(self.changed.event().is_set() && !waits.is_done());
        self.changed.event().clear();
        self.output.set_state(KsState::STOP).unwrap();
        assert_eq!(waits.wait().unwrap_err().status, STATUS_CANCELLED);
        let preferred = self.filter.intersect(OUTPUT, &self.filter.data_ranges(OUTPUT).unwrap()).unwrap();
        assert_eq!(preferred.bytes(), samples(to).bytes());
        let old = self.output.set_format(&of_client(&samples(from)));
        assert_eq!(old.unwrap_err().status, STATUS_NO_MATCH, "the minidriver does not take the old one");
        self.output.set_format(&preferred).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.output.format().unwrap().bytes(), preferred.bytes());
        self.output.set_state(KsState::RUN).unwrap();
        assert_eq!(self.input.state().unwrap(), KsState::RUN, "the input has not left its state");
    }
}

#[test]
fn a_decoder_is_asked_before_its_stream_changes_and_its_output_follows_while_it_runs() {
    for seed in 1..6 {
        let codec = Codec::start(seed);
        codec.passes(1, 1);
        let refused = codec.input.propose_format(&of_client(&packets(4)));
        assert_eq!(refused.unwrap_err().status, STATUS_NO_MATCH);
        codec.passes(1, 2);
        // Of a format that leads to the same samples the output does not hear.
        codec.input.propose_format(&of_client(&packets(3))).unwrap();
        assert_eq!(codec.input.format().unwrap().bytes(), packets(1).bytes(), "a proposal is none yet");
        codec.tell(3).wait().unwrap();
        codec.passes(1, 3);
        assert_eq!(codec.input.format().unwrap().bytes(), packets(3).bytes());
        assert!(!codec.changed.event().is_set());
        for (from, to) in [(1, 2), (2, 1), (1, 2)] {
            codec.input.propose_format(&of_client(&packets(to))).unwrap();
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
            [before, told].into_iter().chain(behind).for_each(|request| drop(request.wait().unwrap()));
            codec.passes(to, 30);
        }
    }
}

#[test]
fn a_decoder_that_finds_the_change_in_its_packets_has_its_output_follow() {
    for seed in 1..6 {
        let codec = Codec::start(seed);
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
    }
}

#[test]
fn a_decoder_that_is_told_of_what_it_did_not_agree_to_fails_its_stream() {
    for seed in 1..6 {
        let codec = Codec::start(seed);
        codec.passes(1, 1);
        assert_eq!(codec.tell(4).wait().unwrap_err().status, STATUS_NO_MATCH);
        assert!(codec.packet(1, 2).wait().is_err(), "what is behind it is of a format that it does not take");
        assert_eq!(codec.input.failure().unwrap().0, STATUS_NO_MATCH);
        // A stream that begins again has the last format that was agreed to.
        codec.input.set_state(KsState::STOP).unwrap();
        codec.input.set_state(KsState::RUN).unwrap();
        codec.passes(1, 3);
    }
}
