//! The sample drivers and their twins in Rust, each in a process of its own: what comes out of them is what their sources
//! say.

mod driver_rig;
mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ks_abi::{
    Guid, IoControlCode, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_ENABLE, KSEVENTF_EVENT_HANDLE,
    KSEVENTSETID_Connection, KSMETHOD_TYPE_SEND, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_BASICSUPPORT,
    KSPROPERTY_TYPE_DEFAULTVALUES, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_RELATIONS, KSPROPERTY_TYPE_SET,
    KSPROPERTY_TYPE_TOPOLOGY, KSPROPSETID_Connection, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsDataFormat, KsEventData,
    KsIdentifier, KsState, KspNode, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_BUSY,
    STATUS_INVALID_PARAMETER, STATUS_NO_MATCH, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};
use ks_broker::drivers::{DriverHost, Hosting};
use ks_broker::host_process::OutputSink;
use ks_client::Connect;
use ks_io::WaitOutcome;
use zerocopy::IntoBytes;

use driver_rig::{Created, Rig, Subject, ask, assert_nothing_runs, create, host_twins, sources};
use support::{Scratch, tool};

/// Makes each of these a test of the driver and a test of its twin.
macro_rules! over_driver_and_twin {
    ($($test:ident,)+) => {
        mod driver {
            $(#[test] fn $test() { super::$test(super::Subject::Driver); })+
        }
        mod twin {
            $(#[test] fn $test() { super::$test(super::Subject::Twin); })+
        }
    };
}

over_driver_and_twin! {
    a_camera_driver_leaves_50_frames_whose_numbers_have_no_gap,
    a_camera_driver_counts_in_each_of_its_formats,
    a_snapshot_of_a_camera_driver_shows_its_bars,
    what_a_driver_file_offers_is_shown_as_json,
    pictures_of_one_driver_are_mirrored_by_another_in_a_second_process,
    two_drivers_in_one_process_mirror_the_same_pictures,
    a_driver_works_in_place_in_one_pipe_with_filters_of_another_process,
    a_driver_that_copies_turns_pictures_over,
    a_driver_that_pends_each_call_paces_its_pictures_by_its_timer,
    a_renderer_in_its_process_takes_what_a_client_writes_and_tells_the_end,
    numbers_of_a_driver_in_cpp_are_drained_by_a_driver_in_a_second_process,
    a_driver_in_cpp_has_another_object_behind_each_pin,
    values_of_a_driver_are_set_within_the_limits_that_it_tells,
    a_value_of_a_driver_is_described_by_its_range_default_and_relations,
    a_name_of_any_length_is_read_in_two_calls,
    a_driver_has_methods_events_and_nodes_of_its_own,
    a_driver_takes_another_format_while_it_runs,
    a_driver_reads_its_registry_and_keeps_a_file,
    a_driver_opens_another_filter_and_relays_its_pictures,
    a_driver_that_relays_streams_in_a_graph_beside_its_source,
    a_driver_finds_no_filter_of_another_process,
}

#[test]
fn hosts_twins_when_it_is_told_to() {
    host_twins();
}

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Brightness of the eight bars of `synthcam`, from the left.
const BARS: [u8; 8] = [235, 210, 170, 145, 106, 81, 41, 16];

/// Number of frames as ffprobe counts them, by decoding all, with the size of the pictures.
fn probe(path: &str) -> (u64, u64, u64) {
    let entries = "stream=width,height,nb_read_frames";
    let ran = tool("ffprobe", &["-v", "error", "-count_frames", "-show_entries", entries, "-of", "json", path]).done();
    let stream = &ran.json()["streams"][0];
    let frames = stream["nb_read_frames"].as_str().and_then(|text| text.parse().ok());
    (stream["width"].as_u64().unwrap_or(0), stream["height"].as_u64().unwrap_or(0), frames.unwrap_or(0))
}

/// The brightness of each picture of a file, as ffmpeg decodes it.
fn brightness(path: &str) -> Vec<Vec<u8>> {
    let raw = format!("{path}.gray");
    tool("ffmpeg", &["-v", "error", "-i", path, "-vf", "extractplanes=y", "-f", "rawvideo", &raw]).done();
    let bytes = fs::read(&raw).expect("the pictures");
    assert_eq!(bytes.len() % (WIDTH * HEIGHT), 0);
    bytes.chunks_exact(WIDTH * HEIGHT).map(<[u8]>::to_vec).collect()
}

/// The number along the top of a picture, least significant bit at the left.
fn number(picture: &[u8]) -> u32 {
    let square = WIDTH / 32;
    let at = square / 2 * WIDTH + square / 2;
    (0..32).filter(|bit| picture[at + bit * square] > 128).fold(0, |number, bit| number | 1 << bit)
}

/// Each line of a picture from the right to the left.
fn mirrored(picture: &[u8]) -> Vec<u8> {
    picture.chunks_exact(WIDTH).flat_map(|line| line.iter().rev().copied()).collect()
}

/// Asserts that a picture of `synthcam` has its bars, below the number and apart from the line that moves.
#[track_caller]
fn has_bars(picture: &[u8]) {
    let lines = picture.chunks_exact(WIDTH).skip(WIDTH / 32);
    let bars: Vec<u8> = (0..WIDTH).map(|x| BARS[x * 8 / WIDTH]).collect();
    let (plain, other): (Vec<_>, Vec<_>) = lines.partition(|line| *line == bars);
    assert_eq!(plain.len(), HEIGHT - WIDTH / 32 - 1);
    assert!(other.len() == 1 && other[0].iter().all(|luma| *luma == 235), "one bright line");
}

fn a_camera_driver_leaves_50_frames_whose_numbers_have_no_gap(subject: Subject) {
    let scratch = Scratch::new();
    let (camera, file) = (subject.copied(&scratch, "synthcam"), scratch.path("camera.y4m"));
    let ran = subject.ks(&["run", &format!("{camera} ! y4m-writer path={file} frames=50"), "--json"]).done();
    assert_eq!(probe(&file), (WIDTH as u64, HEIGHT as u64, 50), "{ran}");
    let pictures = brightness(&file);
    assert_eq!(pictures.iter().map(|picture| number(picture)).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    pictures.iter().for_each(|picture| has_bars(picture));
    let connection = &ran.json()["connections"][0];
    assert_eq!((connection["frames"].as_u64(), connection["dropped"].as_u64()), (Some(50), Some(0)), "{ran}");
    assert!(connection["format"].as_str().is_some_and(|text| text.contains("NV12")), "{ran}");
    assert_nothing_runs(&scratch);
}

fn a_camera_driver_counts_in_each_of_its_formats(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "synthcam");
    let filter = hosted.open();
    let ranges = filter.data_ranges(0).expect("ranges");
    assert_eq!(ranges.len(), 2, "NV12 and YUY2");
    for (range, step) in ranges.iter().zip([1, 2]) {
        let format = filter.intersect(0, std::slice::from_ref(range)).expect("a format");
        let factory = filter.pin(0).expect("a pin");
        let connect = Connect {
            pin_id: 0,
            interface: factory.interfaces[0],
            medium: factory.mediums[0],
            pin_to: None,
            format: &format,
        };
        let pin = filter.create_pin(connect, factory.data_flow).expect("a pin");
        let bytes = format.head().sample_size as usize;
        let pin = Created { pin, format, bytes };
        pin.pin.set_state(KsState::PAUSE).expect("pause");
        // More than the pin's own queue would take at once.
        let reads: Vec<_> = (0..4).map(|_| pin.read(3)).collect();
        pin.pin.set_state(KsState::RUN).expect("run");
        let mut numbers = Vec::new();
        let mut times = Vec::new();
        for frame in reads.into_iter().flat_map(|read| read.wait().expect("frames")) {
            let luma: Vec<u8> = frame.data()[..WIDTH * HEIGHT * step].iter().step_by(step).copied().collect();
            assert_eq!(frame.data().len(), pin.bytes);
            has_bars(&luma);
            numbers.push(number(&luma));
            times.push(frame.header.presentation_time.time);
        }
        assert_eq!(numbers, (0..12).collect::<Vec<_>>(), "step {step}");
        assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
        pin.pin.set_state(KsState::STOP).expect("stop");
    }
    drop(filter);
    hosted.stop_in_order();
}

fn a_snapshot_of_a_camera_driver_shows_its_bars(subject: Subject) {
    let scratch = Scratch::new();
    let (camera, file) = (subject.copied(&scratch, "synthcam"), scratch.path("frame.png"));
    subject.ks(&["snapshot", &camera, "-o", &file]).done();
    let raw = scratch.path("frame.rgb");
    tool("ffmpeg", &["-v", "error", "-i", &file, "-f", "rawvideo", "-pix_fmt", "rgb24", &raw]).done();
    let pixels = fs::read(&raw).expect("the picture");
    assert_eq!(pixels.len(), 3 * WIDTH * HEIGHT);
    // Some line below the number that is not the one that moves; each bar is darker than the one at its left.
    let line = |y: usize| {
        let middle = |bar: usize| 3 * (y * WIDTH + WIDTH / 16 + bar * WIDTH / 8);
        let weigh =
            |at: usize| 299 * u32::from(pixels[at]) + 587 * u32::from(pixels[at + 1]) + 114 * u32::from(pixels[at + 2]);
        (0..8).map(|bar| weigh(middle(bar))).collect::<Vec<_>>()
    };
    let lines = [line(HEIGHT / 2), line(HEIGHT / 2 + 2)];
    assert!(lines.iter().any(|line| line.is_sorted_by(|one, next| one > next)), "{lines:?}");
    assert_nothing_runs(&scratch);
}

fn what_a_driver_file_offers_is_shown_as_json(subject: Subject) {
    let document = subject.ks(&["inspect", &subject.file("synthcam"), "--json"]).done().json();
    assert_eq!(document["name"], "synthcam");
    let pin = &document["pins"][0];
    assert_eq!((pin["id"].as_u64(), pin["data_flow"].as_str()), (Some(0), Some("out")), "{document}");
    let formats: Vec<_> = pin["formats"].as_array().expect("formats").iter().filter_map(|one| one.as_str()).collect();
    assert_eq!(formats, ["video NV12 64x32..1920x1080", "video YUY2 64x32..1920x1080"]);
    assert_eq!(pin["instances"]["possible"], 1);
    assert!(document["categories"].as_array().is_some_and(|all| all.contains(&"KSCATEGORY_CAPTURE".into())));
}

fn pictures_of_one_driver_are_mirrored_by_another_in_a_second_process(subject: Subject) {
    let scratch = Scratch::new();
    let [camera, mirror] = ["synthcam", "mirror"].map(|name| subject.copied(&scratch, name));
    let file = scratch.path("mirrored.y4m");
    let ran = subject.ks(&["run", &format!("{camera} ! {mirror} ! y4m-writer path={file} frames=40"), "--json"]).done();
    assert_eq!(probe(&file), (WIDTH as u64, HEIGHT as u64, 40), "{ran}");
    let pictures: Vec<_> = brightness(&file).iter().map(|picture| mirrored(picture)).collect();
    pictures.iter().for_each(|picture| has_bars(picture));
    assert_eq!(pictures.iter().map(|picture| number(picture)).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    let copies: Vec<_> =
        ran.json()["connections"].as_array().expect("two").iter().map(|one| one["copies"].clone()).collect();
    assert_eq!(copies, [0, 0], "{ran}");
    assert_nothing_runs(&scratch);
}

fn two_drivers_in_one_process_mirror_the_same_pictures(subject: Subject) {
    let scratch = Scratch::new();
    let [camera, mirror] = ["synthcam", "mirror"].map(|name| subject.copied(&scratch, name));
    let file = scratch.path("together.y4m");
    let graph = format!("{camera} ! {mirror} ! y4m-writer path={file} frames=30");
    subject.ks(&["run", "--together", &graph]).done();
    let pictures: Vec<_> = brightness(&file).iter().map(|picture| mirrored(picture)).collect();
    pictures.iter().for_each(|picture| has_bars(picture));
    assert_eq!(pictures.iter().map(|picture| number(picture)).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    assert_nothing_runs(&scratch);
}

/// Connections of a run by their ends: copies, and the frames of the allocator at the data source.
fn copies_and_allocators(ran: &support::Ran) -> Vec<(String, u64, String)> {
    let document = ran.json();
    let connections = document["connections"].as_array().expect("connections").iter();
    let word = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    connections
        .map(|one| (word(one, "from"), one["copies"].as_u64().unwrap_or(u64::MAX), word(one, "allocator")))
        .collect()
}

fn a_driver_works_in_place_in_one_pipe_with_filters_of_another_process(subject: Subject) {
    let scratch = Scratch::new();
    let mirror = subject.copied(&scratch, "mirror");
    let (plain, changed) = (scratch.path("plain.y4m"), scratch.path("changed.y4m"));
    let camera = format!("test-camera width={WIDTH} height={HEIGHT} format=nv12 live=false frames=20");
    support::ks(&["run", &format!("{camera} ! y4m-writer path={plain}")]).done();
    let graph =
        format!("{camera} ! video-invert ! {mirror} ! tee name=t ! null-renderer  t. ! y4m-writer path={changed}");
    let ran = subject.ks(&["run", &graph, "--json"]).done();
    let turned =
        |picture: &Vec<u8>| mirrored(picture).iter().map(|luma| 251_u8.saturating_sub(*luma)).collect::<Vec<u8>>();
    assert_eq!(brightness(&changed), brightness(&plain).iter().map(turned).collect::<Vec<_>>(), "{ran}");
    let allocator = format!("8 x {}", WIDTH * HEIGHT * 3 / 2);
    for (from, copies, frames) in copies_and_allocators(&ran) {
        assert_eq!(copies, 0, "{from}: {ran}");
        // Only the section of the camera has an allocator; behind a border the frames are those of the requests.
        let wanted = if from.starts_with("test-camera") || from.starts_with("video-invert") { &allocator } else { "-" };
        assert_eq!(frames, *wanted, "{from}: {ran}");
    }
    assert_nothing_runs(&scratch);
}

fn a_driver_that_copies_turns_pictures_over(subject: Subject) {
    let scratch = Scratch::new();
    let [camera, negative] = ["synthcam", "negative"].map(|name| subject.copied(&scratch, name));
    let file = scratch.path("negative.y4m");
    subject.ks(&["run", &format!("{camera} ! {negative} ! y4m-writer path={file} frames=30")]).done();
    let turned_back = |picture: &Vec<u8>| picture.iter().map(|luma| 251 - luma).collect::<Vec<u8>>();
    let pictures: Vec<_> = brightness(&file).iter().map(turned_back).collect();
    pictures.iter().for_each(|picture| has_bars(picture));
    assert_eq!(pictures.iter().map(|picture| number(picture)).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    assert_nothing_runs(&scratch);
}

fn a_driver_that_pends_each_call_paces_its_pictures_by_its_timer(subject: Subject) {
    let scratch = Scratch::new();
    let (pacer, file) = (subject.copied(&scratch, "pacer"), scratch.path("pacer.y4m"));
    subject.ks(&["run", &format!("{pacer} ! y4m-writer path={file} frames=30")]).done();
    let pictures = brightness(&file);
    assert_eq!(pictures.len(), 30);
    for (index, picture) in pictures.iter().enumerate() {
        assert!(picture.iter().all(|luma| usize::from(*luma) == index), "picture {index} is grey of its number");
    }
    assert_nothing_runs(&scratch);
}

const DRAIN: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e01);

fn a_renderer_in_its_process_takes_what_a_client_writes_and_tells_the_end(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "drain");
    let filter = hosted.open();
    let pin = create(&filter, 0, None);
    let end = pin.pin.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).expect("the event");
    pin.pin.set_state(KsState::RUN).expect("run");
    let mut sum = 0;
    for size in 1..=20usize {
        let bytes: Vec<u8> = (0..size * 200).map(|at| (at * size) as u8).collect();
        sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        pin.write(&bytes).wait().expect("a write");
    }
    let totals: [u64; 3] = pin.pin.object().property(DRAIN, 0).expect("totals");
    assert_eq!(totals, [210 * 200, 20, sum], "bytes, frames and the sum of the bytes");
    assert!(!end.event().is_set(), "the stream goes on");
    let mut last = pin.pin.allocate(1).expect("a frame");
    assert!(last.fill(&[9]));
    last.header.options_flags = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
    pin.pin.write_stream(vec![last]).expect("the last").wait().expect("the last write");
    assert_eq!(end.event().wait(), WaitOutcome::Signalled);
    pin.pin.set_state(KsState::STOP).expect("stop");
    drop((end, pin, filter));
    hosted.stop_in_order();
}

fn numbers_of_a_driver_in_cpp_are_drained_by_a_driver_in_a_second_process(subject: Subject) {
    let rig = Rig::new();
    let (counter, drain) = (rig.start_sample(subject, "counter"), rig.start_sample(subject, "drain"));
    let (source, sink) = (counter.open(), drain.open());
    let to = create(&sink, 0, None);
    let from = create(&source, 0, Some(&to));
    to.pin.set_limit(200, 0).expect("a limit");
    let end = to.pin.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).expect("the event");
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        to.pin.set_state(state).expect("the sink");
        from.pin.set_state(state).expect("the source");
    }
    assert_eq!(end.event().wait(), WaitOutcome::Signalled);
    from.pin.set_state(KsState::PAUSE).expect("the source");
    let [bytes, frames, sum]: [u64; 3] = to.pin.object().property(DRAIN, 0).expect("totals");
    assert!(frames >= 200, "{frames}");
    assert_eq!(bytes, 4 * frames, "a number a frame");
    let numbers = (1_000_000..1_000_000 + frames as u32).flat_map(u32::to_le_bytes);
    assert_eq!(sum, numbers.map(u64::from).sum::<u64>());
    for pin in [&from, &to] {
        pin.pin.set_state(KsState::STOP).expect("stop");
    }
    drop((end, from, to, source, sink));
    counter.stop_in_order();
    drain.stop_in_order();
}

fn a_driver_in_cpp_has_another_object_behind_each_pin(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "counter");
    let filter = hosted.open();
    for (id, expected) in [(0, [1_000_000u32, 1_000_001, 1_000_002]), (1, [1_000_000, 999_999, 999_998])] {
        let pin = create(&filter, id, None);
        pin.pin.set_state(KsState::RUN).expect("run");
        let frames = pin.read(3).wait().expect("frames");
        let number = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().expect("four bytes, and no more"));
        assert_eq!(frames.iter().map(|frame| number(frame.data())).collect::<Vec<_>>(), expected);
        pin.pin.set_state(KsState::STOP).expect("stop");
    }
    drop(filter);
    hosted.stop_in_order();
}

const PANEL: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e02);
const PANEL_METHODS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e03);
const PANEL_EVENTS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e04);
const LEVEL: u32 = 0;
const NAME: u32 = 1;
const FAILING: u32 = 2;

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn values_of_a_driver_are_set_within_the_limits_that_it_tells(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "panel");
    let filter = hosted.open();
    let object = filter.object();
    assert_eq!(object.property::<i32>(PANEL, LEVEL).expect("a level"), 10);
    object.set_property(PANEL, LEVEL, &-35i32).expect("a level in the range");
    assert_eq!(object.property::<i32>(PANEL, LEVEL).expect("a level"), -35);
    for level in [7i32, 105, -105] {
        let refused = object.set_property(PANEL, LEVEL, &level).expect_err("no step of the range");
        assert_eq!(refused.status, STATUS_INVALID_PARAMETER);
    }
    let failing = object.set_property(PANEL, FAILING, &0i32).expect_err("it always fails");
    assert_eq!(failing.status, STATUS_DEVICE_BUSY, "the driver's own status comes through");
    assert_eq!(ask(&filter, PANEL, FAILING, KSPROPERTY_TYPE_GET, 4).0, STATUS_DEVICE_BUSY);
    drop(filter);
    hosted.stop_in_order();
}

fn a_value_of_a_driver_is_described_by_its_range_default_and_relations(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "panel");
    let filter = hosted.open();
    let object = filter.object();
    let access = object.basic_support(PANEL, LEVEL).expect("access");
    assert_eq!(access & (KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET), KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET);
    // KSPROPERTY_DESCRIPTION, then a header of members with their bytes behind it, for each list.
    let (status, told) = ask(&filter, PANEL, LEVEL, KSPROPERTY_TYPE_BASICSUPPORT, 512);
    assert_eq!(status, STATUS_SUCCESS);
    assert_eq!(i32_at(&told, 4) as usize, told.len(), "DescriptionSize");
    assert_eq!(i32_at(&told, 24 + 8), 2, "MembersListCount: {told:?}");
    let stepped = &told[40..];
    assert_eq!((i32_at(stepped, 4), i32_at(stepped, 8)), (16, 1), "one stepped range: {told:?}");
    assert_eq!([0, 8, 12].map(|at| i32_at(&stepped[16..], at)), [5, -100, 100], "step, least and most: {told:?}");
    let default = &stepped[32..];
    assert_eq!((i32_at(default, 4), i32_at(default, 8), i32_at(default, 12)), (4, 1, 1), "a default: {told:?}");
    assert_eq!(i32_at(default, 16), 10);
    // KSMULTIPLE_ITEM and one KSIDENTIFIER.
    let (status, related) = ask(&filter, PANEL, LEVEL, KSPROPERTY_TYPE_RELATIONS, 256);
    assert_eq!((status, related.len()), (STATUS_SUCCESS, 8 + 24));
    assert_eq!(&related[8..24], PANEL.as_bytes());
    assert_eq!(i32_at(&related, 24), NAME as i32);
    // The same form, with defaults only.
    let (status, told) = ask(&filter, PANEL, LEVEL, KSPROPERTY_TYPE_DEFAULTVALUES, 512);
    assert_eq!((status, i32_at(&told, 24 + 8)), (STATUS_SUCCESS, 1), "{told:?}");
    assert_eq!((told.len(), i32_at(&told, 40 + 16)), (40 + 16 + 4, 10), "{told:?}");
    drop(filter);
    hosted.stop_in_order();
}

fn a_name_of_any_length_is_read_in_two_calls(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "panel");
    let filter = hosted.open();
    let object = filter.object();
    let request = KsIdentifier { set: PANEL, id: NAME, flags: KSPROPERTY_TYPE_GET };
    let size = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut []);
    assert_eq!((size.status, size.information), (STATUS_BUFFER_OVERFLOW, 6));
    assert_eq!(ask(&filter, PANEL, NAME, KSPROPERTY_TYPE_GET, 5).0, STATUS_BUFFER_TOO_SMALL);
    assert_eq!(object.property_bytes(request.as_bytes(), PANEL, NAME).expect("a name"), b"panel\0");
    object.set_property(PANEL, NAME, b"a longer name").expect("a new name");
    assert_eq!(object.property_bytes(request.as_bytes(), PANEL, NAME).expect("a name"), b"a longer name");
    object.set_property(PANEL, NAME, &[7u8; 33]).expect_err("more than there is room for");
    drop(filter);
    hosted.stop_in_order();
}

fn a_driver_has_methods_events_and_nodes_of_its_own(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "panel");
    let filter = hosted.open();
    let object = filter.object();
    let method = KsIdentifier { set: PANEL_METHODS, id: 0, flags: KSMETHOD_TYPE_SEND };
    let mut data = 5u32.to_le_bytes();
    let request = [method.as_bytes(), &7u64.to_le_bytes()].concat();
    let outcome = object.control(IoControlCode::KS_METHOD, &request, &mut data);
    assert_eq!((outcome.status, u32::from_le_bytes(data)), (STATUS_SUCCESS, 12));

    let (handle, raised) = object.transport().create_event().expect("an event");
    let mut event =
        KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: handle.0, ..KsEventData::default() };
    let request = KsIdentifier { set: PANEL_EVENTS, id: 0, flags: KSEVENT_TYPE_ENABLE };
    let outcome = object.control(IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), event.as_mut_bytes());
    assert_eq!(outcome.status, STATUS_SUCCESS);
    assert!(!raised.is_set(), "nothing has changed yet");
    object.set_property(PANEL, LEVEL, &25i32).expect("a change");
    assert_eq!(raised.wait(), WaitOutcome::Signalled);
    let outcome = object.control(IoControlCode::KS_DISABLE_EVENT, event.as_bytes(), &mut []);
    assert_eq!(outcome.status, STATUS_SUCCESS);

    let node = |id: u32, verb: u32| KspNode {
        property: KsIdentifier { set: PANEL, id: LEVEL, flags: verb | KSPROPERTY_TYPE_TOPOLOGY },
        node_id: id,
        ..KspNode::default()
    };
    let ask = |id, verb, level: i32| {
        let mut data = level.to_le_bytes();
        let outcome = object.control(IoControlCode::KS_PROPERTY, node(id, verb).as_bytes(), &mut data);
        (outcome.status, i32::from_le_bytes(data))
    };
    assert_eq!(ask(1, KSPROPERTY_TYPE_SET, 3).0, STATUS_SUCCESS);
    assert_eq!(ask(1, KSPROPERTY_TYPE_GET, 0), (STATUS_SUCCESS, 1003), "the node answers for itself");
    assert!(ask(0, KSPROPERTY_TYPE_GET, 0).0.is_error(), "the first node has no table");
    assert!(ask(2, KSPROPERTY_TYPE_GET, 0).0.is_error(), "there is no third node");
    assert!(object.transport().close(handle).status.is_success());
    drop(filter);
    hosted.stop_in_order();
}

/// The bytes of a frame, which are all the same, and the changes that it counts.
fn agile_frame(pin: &Created, bytes: usize) -> (Vec<u8>, i64) {
    let frame = pin.pin.allocate(bytes).expect("a frame");
    let frames = pin.pin.read_stream(vec![frame]).expect("a read").wait().expect("a frame");
    (frames[0].data(), frames[0].header.duration)
}

fn a_driver_takes_another_format_while_it_runs(subject: Subject) {
    let rig = Rig::new();
    let hosted = rig.start_sample(subject, "agile");
    let filter = hosted.open();
    let sizes: Vec<_> = filter.data_ranges(0).expect("ranges").iter().map(|range| range.head().sample_size).collect();
    assert_eq!(sizes, [16, 64]);
    let pin = create(&filter, 0, None);
    assert_eq!(pin.bytes, 16, "the first range is preferred");
    let change = |sample_size: u32| {
        let format = KsDataFormat { sample_size, ..pin.format.head() };
        pin.pin.object().set_property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, &format)
    };
    change(64).expect("a change in STOP");
    change(16).expect("and back");
    pin.pin.set_state(KsState::RUN).expect("run");
    assert_eq!(agile_frame(&pin, 16), (vec![16; 16], 0));
    change(64).expect("a change while it runs");
    assert_eq!(pin.pin.format().expect("a format").head().sample_size, 64);
    assert_eq!(agile_frame(&pin, 64), (vec![64; 64], 1), "the next frame has the new size");
    assert_eq!(change(32).expect_err("no such size").status, STATUS_NO_MATCH);
    assert_eq!(agile_frame(&pin, 64), (vec![64; 64], 1), "and the old one stays");
    pin.pin.set_state(KsState::STOP).expect("stop");
    drop((pin, filter));
    hosted.stop_in_order();
}

const NOTEBOOK: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e06);

fn a_driver_reads_its_registry_and_keeps_a_file(subject: Subject) {
    let scratch = Scratch::new();
    let notebook = subject.copied(&scratch, "notebook");
    let settings = sources().join("notebook/notebook.toml");
    fs::copy(settings, scratch.path("notebook.toml")).expect("the text beside the driver");
    fs::create_dir(scratch.path("C")).expect("a drive");
    let rig = Rig::new();
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let start = || {
        let said = said.clone();
        let output: OutputSink = Arc::new(move |line: &str| said.lock().expect("no panic").push(line.to_owned()));
        let files = Some(scratch.directory().to_owned());
        let hosting = Hosting { files, output: Some(output), ..subject.hosting() };
        rig.try_start(&hosting, &notebook).unwrap_or_else(|error| panic!("{error}"))
    };
    let hosted = start();
    let filter = hosted.open();
    let object = filter.object();
    assert_eq!(object.property::<u32>(NOTEBOOK, 0).expect("a count"), 42);
    let (status, title) = ask(&filter, NOTEBOOK, 1, KSPROPERTY_TYPE_GET, 64);
    let title: Vec<u16> = title.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    assert_eq!((status, title.len()), (STATUS_SUCCESS, 32));
    assert_eq!(String::from_utf16_lossy(&title).trim_end_matches('\0'), "a note");
    assert_eq!(ask(&filter, NOTEBOOK, 2, KSPROPERTY_TYPE_GET, 64).0, STATUS_OBJECT_NAME_NOT_FOUND, "no note yet");
    for note in ["remember the milk", "done"] {
        object.set_property(NOTEBOOK, 2, note.as_bytes()).expect("a note");
        assert_eq!(ask(&filter, NOTEBOOK, 2, KSPROPERTY_TYPE_GET, 64), (STATUS_SUCCESS, note.as_bytes().to_vec()));
        assert_eq!(fs::read_to_string(scratch.path("C/note.txt")).expect("the file"), note);
    }
    drop(filter);
    hosted.stop_in_order();
    start().stop_in_order();
    let said = said.lock().expect("no panic");
    let told = |line: &str| said.iter().filter(|said| *said == line).count();
    assert_eq!(told("notebook: count 42, title 'a note'"), 2, "{said:?}");
    assert_eq!(told("notebook: there is a note already"), 1, "{said:?}");
    drop(said);
    assert_nothing_runs(&scratch);
}

const RELAYED: &str =
    r"\??\userks#synthcam.sys#{65E8773D-8F56-11D0-A3B9-00A0C9223196}\{1A4F3E52-7F0B-4C60-9D35-2B5E84110C01}";

/// The settings of `relay` that name its source.
fn relay_settings(source: &str) -> String {
    format!("[Parameters]\nSource = '{source}'\n")
}

fn a_driver_opens_another_filter_and_relays_its_pictures(subject: Subject) {
    for settings in [None, Some(relay_settings(RELAYED))] {
        let scratch = Scratch::new();
        let files = ["synthcam", "relay"].map(|name| PathBuf::from(subject.copied(&scratch, name)));
        if let Some(settings) = &settings {
            fs::write(scratch.path("relay.toml"), settings).expect("the text beside the driver");
        }
        let rig = Rig::new();
        let host = DriverHost::start(&rig.io, &subject.hosting(), &files).unwrap_or_else(|error| panic!("{error}"));
        let interfaces = rig.client.interfaces(None);
        let own = interfaces.iter().find(|one| one.device == "relay.sys").expect("a filter of the host");
        let relay = rig.client.open(&own.symbolic_link).unwrap_or_else(|error| panic!("{error}"));
        // Twice, so that everything is given back in between.
        for _ in 0..2 {
            let pin = create(&relay, 0, None);
            pin.pin.set_state(KsState::PAUSE).expect("pause");
            let reads: Vec<_> = (0..4).map(|_| pin.read(3)).collect();
            pin.pin.set_state(KsState::RUN).expect("run");
            let mut numbers = Vec::new();
            for frame in reads.into_iter().flat_map(|read| read.wait().expect("frames")) {
                assert_eq!(frame.data().len(), pin.bytes);
                let luma: Vec<u8> = frame.data()[..WIDTH * HEIGHT].iter().map(|luma| 251 - luma).collect();
                has_bars(&luma);
                numbers.push(number(&luma));
            }
            assert_eq!(numbers, (0..12).collect::<Vec<_>>(), "{settings:?}");
            // Frames that wait at the other filter come back when the stream stops.
            let waiting = pin.read(3);
            pin.pin.set_state(KsState::STOP).expect("stop");
            drop(waiting.wait());
        }
        drop(relay);
        let ended = host.stop();
        assert!(ended.report.is_none() && ended.leaks.is_empty(), "{ended:?}");
        drop(host);
        assert_nothing_runs(&scratch);
    }
}

fn a_driver_that_relays_streams_in_a_graph_beside_its_source(subject: Subject) {
    let scratch = Scratch::new();
    let [camera, relay] = ["synthcam", "relay"].map(|name| subject.copied(&scratch, name));
    let file = scratch.path("relayed.y4m");
    // The camera is opened twice, so each has pictures of its own.
    let graph = format!("{camera} ! null-renderer  {relay} ! y4m-writer path={file}");
    subject.ks(&["run", "--together", "--frames", "30", &graph]).done();
    let turned_back = |picture: &Vec<u8>| picture.iter().map(|luma| 251 - luma).collect::<Vec<u8>>();
    let pictures: Vec<_> = brightness(&file).iter().map(turned_back).collect();
    assert!(pictures.len() >= 30, "{}", pictures.len());
    pictures.iter().for_each(|picture| has_bars(picture));
    let expected: Vec<_> = (0..pictures.len() as u32).collect();
    assert_eq!(pictures.iter().map(|picture| number(picture)).collect::<Vec<_>>(), expected);
    assert_nothing_runs(&scratch);
}

fn a_driver_finds_no_filter_of_another_process(subject: Subject) {
    for settings in [String::new(), relay_settings(RELAYED)] {
        let scratch = Scratch::new();
        let relay = subject.copied(&scratch, "relay");
        fs::write(scratch.path("relay.toml"), settings).expect("the text beside the driver");
        let rig = Rig::new();
        let camera = rig.start_sample(subject, "synthcam");
        let hosted = rig.try_start(&subject.hosting(), &relay).unwrap_or_else(|error| panic!("{error}"));
        let filter = hosted.open();
        let factory = filter.pin(0).expect("a pin");
        let format = filter.intersect(0, &factory.data_ranges).expect("a format");
        let connect = Connect {
            pin_id: 0,
            interface: factory.interfaces[0],
            medium: factory.mediums[0],
            pin_to: None,
            format: &format,
        };
        let refused = filter.create_pin(connect, factory.data_flow).expect_err("its source is in another process");
        assert_eq!(refused.status, STATUS_OBJECT_NAME_NOT_FOUND, "{refused}");
        drop(filter);
        hosted.stop_in_order();
        camera.stop_in_order();
        assert_nothing_runs(&scratch);
    }
}
