//! A flush of a graph goes through the built-in filters, and takes along what they hold.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use ks_abi::{
    KSFILTER_NODE, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsIdentifier, KsPinDataFlow, KsReset, KsState,
    KsTopologyConnection, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY,
};
use ks_client::{Client, Connect, Filter, Format, Pin};
use ks_io::Services;

const STRAIGHT: KsTopologyConnection =
    KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: 0, to_node: KSFILTER_NODE, to_node_pin: 1 };

/// Bytes of a frame that the client brings.
const ROOM: usize = 1 << 20;
/// Samples a second that the audio converter is to give.
const RATE: u32 = 32_000;

fn client() -> (ks_filters::System, Client) {
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(9)).unwrap();
    let client = Client::new(system.session());
    (system, client)
}

#[test]
fn every_filter_that_something_goes_through_declares_its_way() {
    let (_system, client) = client();
    for name in ["pass-through", "tee", "video-invert", "video-level", "video-converter", "audio-converter", "delay"] {
        assert_eq!(client.open_by_name(name).unwrap().topology().unwrap().connections, [STRAIGHT], "{name}");
    }
}

/// A filter whose both ends are the client.
struct Through {
    _filter: Filter,
    input: Pin,
    output: Pin,
}

impl Through {
    fn new(client: &Client, name: &str, source: &str, settings: &[(&str, &str)]) -> Through {
        let (from, filter) = (client.open_by_name(source).unwrap(), client.open_by_name(name).unwrap());
        settings.iter().for_each(|(key, value)| filter.set_setting(key, value).unwrap());
        let format = filter.data_ranges(0).and_then(|ranges| from.intersect(0, &ranges)).unwrap();
        let create = |id, flow, format: &Format| {
            let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
            filter.create_pin(Connect { pin_id: id, interface, medium, pin_to: None, format }, flow).unwrap()
        };
        let input = create(0, KsPinDataFlow::IN, &format);
        let mut offered = filter.intersect(1, &filter.data_ranges(1).unwrap()).unwrap().bytes().to_vec();
        if name == "audio-converter" {
            // Another rate, in the WAVEFORMATEX behind the head: the conversion has something to hold back.
            let block = u32::from(u16::from_le_bytes([offered[76], offered[77]]));
            offered[68..72].copy_from_slice(&RATE.to_le_bytes());
            offered[72..76].copy_from_slice(&(RATE * block).to_le_bytes());
        }
        let output = create(1, KsPinDataFlow::OUT, &Format::from_bytes(&offered).unwrap());
        [&output, &input].iter().for_each(|pin| pin.set_state(KsState::RUN).unwrap());
        Through { _filter: filter, input, output }
    }

    fn write(&self, bytes: &[u8], flags: u32) {
        let mut frame = self.input.allocate(bytes.len()).unwrap();
        assert!(frame.fill(bytes));
        frame.header.options_flags = flags;
        self.input.write_stream(vec![frame]).unwrap().wait().unwrap();
    }

    fn read(&self) -> ks_client::StreamRequest {
        self.output.read_stream(vec![self.output.allocate(ROOM).unwrap()]).unwrap()
    }

    /// What comes out for these bytes, to the end of the stream.
    fn stream(&self, bytes: &[u8]) -> Vec<u8> {
        let first = self.read();
        self.write(bytes, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
        let (mut all, mut next) = (Vec::new(), first);
        loop {
            let frame = next.wait().unwrap().remove(0);
            all.extend_from_slice(&frame.data());
            if frame.header.options_flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0 {
                return all;
            }
            next = self.read();
        }
    }

    fn flush(&self) {
        self.input.reset(KsReset::BEGIN).unwrap();
        self.input.reset(KsReset::END).unwrap();
    }
}

#[test]
fn a_flush_of_an_input_is_one_of_the_output_behind_it() {
    let (_system, client) = client();
    for (name, source) in
        [("audio-converter", "test-microphone"), ("video-converter", "test-camera"), ("delay", "test-microphone")]
    {
        let filter = Through::new(&client, name, source, &[]);
        let waits = filter.read();
        filter.input.reset(KsReset::BEGIN).unwrap();
        assert_eq!(waits.wait().map(drop).unwrap_err().status, STATUS_CANCELLED, "{name}");
        assert_eq!(filter.read().wait().map(drop).unwrap_err().status, STATUS_DEVICE_NOT_READY, "{name}");
        filter.input.reset(KsReset::END).unwrap();
        assert!(!filter.read().is_done(), "{name}");
    }
}

#[test]
fn what_a_filter_holds_of_a_stream_is_gone_with_the_flush_and_the_next_stream_is_whole() {
    let (_system, client) = client();
    let sound: Vec<u8> = (0..200_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
    let (before, after) = sound.split_at(100_000);
    // As long as `delay` waits, nothing comes out; the converter holds what its filter reaches over.
    for (name, settings) in [("audio-converter", &[][..]), ("delay", &[("ms", "10000")])] {
        let fresh = Through::new(&client, name, "test-microphone", settings).stream(after);
        assert!(!fresh.is_empty());
        let flushed = Through::new(&client, name, "test-microphone", settings);
        let taken = flushed.read();
        flushed.write(before, 0);
        flushed.flush();
        drop(taken);
        assert!(flushed.stream(after) == fresh, "{name}: the same as of a filter that saw no other stream");
        // The end of a stream begins another without a flush.
        assert!(flushed.stream(after) == fresh, "{name}");
    }
}
