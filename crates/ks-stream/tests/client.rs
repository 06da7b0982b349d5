//! The client library over the engine: what it reads, what it leaves behind, and how it says that something is wrong.

mod support;

use ks_abi::*;
use ks_client::{Client, ClientError, Connect, Filter, Format, Pin};
use ks_io::{Aspect, Services};
use ks_stream::{AutomationTable, PropertyItem, PropertySet};
use std::sync::atomic::Ordering;
use support::specimen::*;
use support::{video, world};
use zerocopy::IntoBytes;

fn open(bench: &Bench) -> Filter {
    Client::new(bench.session.clone()).open_by_name("specimen").expect("the filter opens")
}

fn create(filter: &Filter, pin_id: u32, flow: KsPinDataFlow, pin_to: Option<&Pin>) -> Result<Pin, ClientError> {
    let format = Format::from_bytes(video().bytes()).expect("a whole format");
    let (interface, medium) = (KsIdentifier::STANDARD_STREAMING, KsIdentifier::STANDARD_DEVIO);
    filter.create_pin(Connect { pin_id, interface, medium, pin_to, format: &format }, flow)
}

#[test]
fn a_filter_tells_everything_of_its_pins() {
    let bench = bench();
    let filter = open(&bench);
    let pins = filter.pins().unwrap();
    assert_eq!(pins.len() as u32, PIN_COUNT);
    let pin = &pins[OUT as usize];
    assert_eq!((pin.data_flow, pin.communication), (KsPinDataFlow::OUT, KsPinCommunication::BOTH));
    assert_eq!((pin.name.as_deref(), pin.category), (Some("Capture"), Some(PINNAME_VIDEO_CAPTURE)));
    let pin = &pins[IN as usize];
    assert_eq!(pin.interfaces, [KsIdentifier::STANDARD_STREAMING, LOOPED]);
    assert_eq!(pin.mediums, [OTHER_MEDIUM, KsIdentifier::STANDARD_DEVIO]);
    let ranges: Vec<&[u8]> = pin.data_ranges.iter().map(Format::bytes).collect();
    assert_eq!(ranges, [video().bytes(), audio().bytes()]);
    let attributed = &pins[ATTRIBUTED as usize].data_ranges;
    assert_eq!(attributed[0].bytes().len(), 64 + 32, "the attributes are part of the range");
    let topology = filter.topology().unwrap();
    assert_eq!(topology.categories, [KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO]);
    assert_eq!(topology.connections.len(), pins.len());
}

#[test]
fn ranges_with_attributes_survive_the_way_to_the_client_and_back() {
    let edit = |filter: &mut ks_stream::FilterDescriptor| {
        filter.pins[OUT as usize].data_ranges = vec![attributed(&audio(), 4, 1, ATTRIBUTE), video()];
    };
    let bench = bench_with(edit, None, None);
    let filter = open(&bench);
    let ranges = filter.data_ranges(OUT).unwrap();
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[0].bytes(), attributed(&audio(), 4, 1, ATTRIBUTE).bytes());
    assert_eq!(ranges[1].bytes(), video().bytes());
    let format = filter.intersect(OUT, &ranges).unwrap();
    assert_eq!(format.bytes(), video().bytes());
}

#[test]
fn a_refused_connect_says_what_was_done_to_what_and_why() {
    let bench = bench();
    let filter = open(&bench);
    let error = create(&filter, NO_COMMUNICATION, KsPinDataFlow::IN, None).unwrap_err();
    assert_eq!((error.status, error.aspect()), (STATUS_INVALID_DEVICE_REQUEST, Some(Aspect::Communication)));
    let text = error.to_string();
    for words in ["could not create pin 3", "specimen", "communicates as", "STATUS_INVALID_DEVICE_REQUEST"] {
        assert!(text.contains(words), "{text:?} says {words}");
    }
    assert_eq!(error.win32(), Win32Error::ERROR_INVALID_FUNCTION);
    let error = Client::new(bench.session.clone()).open_by_name("nobody").unwrap_err();
    assert_eq!((error.status, error.win32()), (STATUS_OBJECT_NAME_NOT_FOUND, Win32Error::ERROR_FILE_NOT_FOUND));
}

#[test]
fn an_event_leaves_no_handle_behind() {
    let bench = bench();
    let filter = open(&bench);
    let pin = create(&filter, OUT, KsPinDataFlow::OUT, None).unwrap();
    let handles = bench.session.open_handles();
    for round in 0..10 {
        let event = pin.enable_event(USERKS_EVENTSET_PIN, USERKS_EVENT_PIN_FAILED).unwrap();
        assert_eq!(bench.session.open_handles(), handles + 1);
        match round % 2 {
            0 => pin.disable_event(event).unwrap(),
            _ => drop(event),
        }
        assert_eq!(bench.session.open_handles(), handles);
    }
    assert_eq!(pin.enable_event(ATTRIBUTE, 0).unwrap_err().status, STATUS_PROPSET_NOT_FOUND);
    assert_eq!(bench.session.open_handles(), handles);
    drop((pin, filter));
    assert_eq!(bench.session.open_handles(), 1, "the bench's own filter");
}

#[test]
fn an_answer_that_is_too_short_is_no_value() {
    let short = PropertyItem::new(0).get(|_, call| call.answer(&[1, 2]));
    let table = AutomationTable::of_properties(vec![PropertySet { set: ATTRIBUTE, items: vec![short] }]);
    let bench = bench_with(|_| (), Some(table), None);
    let filter = open(&bench);
    let error = filter.object().property::<u32>(ATTRIBUTE, 0).unwrap_err();
    assert_eq!(error.status, STATUS_INVALID_BUFFER_SIZE, "four bytes were asked for and two came");
    assert_eq!(filter.object().property::<[u8; 2]>(ATTRIBUTE, 0).unwrap(), [1, 2]);
}

#[test]
fn a_camera_has_extended_headers() {
    let world = world(Services::virtual_time(11));
    let bytes = (56 + size_of::<KsFrameInfo>() as u32).next_multiple_of(8);
    world.source.header_bytes.store(bytes, Ordering::SeqCst);
    let client = Client::new(world.session.clone());
    let filter = client.open_by_name("source").unwrap();
    let pin = create(&filter, 0, KsPinDataFlow::OUT, None).unwrap();
    assert_eq!(pin.header_bytes().unwrap(), bytes);
    pin.set_state(KsState::RUN).unwrap();
    let frames = vec![pin.allocate(64).unwrap(), pin.allocate(64).unwrap()];
    let frames = pin.read_stream(frames).unwrap().wait().unwrap();
    for frame in &frames {
        assert_eq!((frame.header.size, frame.header.data_used), (bytes, 64));
        assert_eq!(frame.extension.len(), bytes as usize - 56, "each header comes back with its extension");
    }
    // A list of plain headers is no list of this pin's headers.
    let header = KsStreamHeader { size: 56, ..frames[0].header };
    let outcome = pin.object().control(IoControlCode::KS_READ_STREAM, &[], &mut header.as_bytes().to_vec());
    assert_eq!(outcome.status, STATUS_INVALID_BUFFER_SIZE);
    // A pin that asks for nothing has plain ones.
    let plain = client.open_by_name("sink").unwrap();
    let plain = create(&plain, 0, KsPinDataFlow::IN, None).unwrap();
    assert_eq!(plain.header_bytes().unwrap(), 56);
}
