//! A Windows driver in the process of its client, where no border ends a pipe.
#![expect(clippy::unwrap_used, reason = "tests")]

use ks_client::Client;
use ks_client::graph::grammar::parse;
use ks_client::graph::run::{GraphRunner, Options, Report, RunStatus};
use ks_filters::{null_renderer, tee, test_camera, video_effect, y4m_writer};
use ks_io::{IoManager, Services};
use ks_nt::host::{Host, Unloaded};
use ks_nt::image;
use ks_stream::Device;
use std::path::Path;

const WIDTH: usize = 64;
const HEIGHT: usize = 48;
const FRAMES: usize = 20;
const CAMERA: &str = "test-camera width=64 height=48 format=nv12 live=false frames=20";
const FRAME_MARK: &[u8] = b"FRAME\n";

/// The bytes of each picture in a file of the camera's size.
fn pictures(path: &str) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).unwrap();
    let head = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let frames = file[head..].chunks(FRAME_MARK.len() + WIDTH * HEIGHT * 3 / 2);
    frames.map(|frame| frame.strip_prefix(FRAME_MARK).unwrap().to_vec()).collect()
}

/// A picture whose rows are turned round, in each of its planes.
fn mirrored(picture: &[u8]) -> Vec<u8> {
    let (luma, chroma) = picture.split_at(WIDTH * HEIGHT);
    let rows = luma.chunks(WIDTH).chain(chroma.chunks(WIDTH / 2));
    rows.flat_map(|row| row.iter().rev().copied()).collect()
}

#[test]
fn a_camera_a_filter_and_a_windows_driver_in_place_a_splitter_and_two_sinks_run_as_one_pipe_with_0_copies() {
    ks_stream::verifier::enable();
    let io = IoManager::new(Services::real());
    for filter in [
        test_camera::descriptor(),
        video_effect::invert(),
        tee::descriptor(),
        null_renderer::descriptor(),
        y4m_writer::descriptor(),
    ] {
        Device::start(&io, filter.reference, vec![std::sync::Arc::new(filter)]).unwrap();
    }
    ks_nt::verifier::enable();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers/mirror.sys");
    let driver = Host::new(io.clone()).load(&file, image::Options::default()).unwrap();
    let client = Client::new(io.session());
    let link = client.find(&driver.filters()[0]).unwrap().symbolic_link;
    let run = |text: &str| -> Report {
        let mut graph = parse(text).unwrap();
        for element in graph.elements.iter_mut().filter(|element| element.name == "mirror.sys") {
            element.opens = Some(link.clone());
        }
        let report = GraphRunner::build(&client, &graph, Options::default()).unwrap().run(&mut |_| {});
        assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
        report
    };
    let folder = std::env::temp_dir().join(format!("ks-one-process-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [through, plain] = ["through", "plain"].map(|name| folder.join(name).to_str().unwrap().to_owned());

    let copied = ks_mem::copied_frame_bytes();
    let report = run(&format!(
        "{CAMERA} ! video-invert ! mirror.sys ! tee name=t ! null-renderer  t. ! y4m-writer path={through}"
    ));
    let copies: Vec<_> = report.connections.iter().map(|one| one.copies).collect();
    assert_eq!(copies, [0; 5], "{report:?}");
    assert_eq!(ks_mem::copied_frame_bytes(), copied, "no frame lies in memory of two processes");
    let pins = ["test-camera.0", "video-invert.0", "video-invert.1", "mirror.0", "mirror.1", "tee.0"];
    for one in &report.connections[..3] {
        assert_eq!(one.pipe.pins, pins, "{} and {} are in one pipe", one.from, one.to);
    }
    assert!(report.connections.iter().all(|one| one.allocator == "8 x 4608"), "one allocator: {report:?}");

    run(&format!("{CAMERA} ! video-invert ! y4m-writer path={plain}"));
    let wanted: Vec<_> = pictures(&plain).iter().map(|picture| mirrored(picture)).collect();
    assert_eq!(wanted.len(), FRAMES);
    assert!(pictures(&through) == wanted, "each picture inverted by the one and mirrored by the other");
    std::fs::remove_dir_all(folder).unwrap();
    drop(client);
    assert_eq!(driver.unload(), Unloaded::Gone);
}
