//! Pipes as `ks run -v` and `--json` show them: who shares frames with whom, by names that tell filters apart.

mod driver_rig;
mod support;

use std::fs;

use ks_abi::{KsState, STATUS_INVALID_PARAMETER};

use driver_rig::{Rig, copied, create, of_tests, sample};
use support::{Ran, Scratch, ks};

const CAMERA: &str = "test-camera width=64 height=48 format=nv12 live=false frames=20";
const WIDTH: usize = 64;
const HEIGHT: usize = 48;
const FRAME_MARK: &[u8] = b"FRAME\n";
const PICTURE_BYTES: usize = WIDTH * HEIGHT * 3 / 2;

/// The pins of each pipe.
fn pipes(ran: &Ran) -> Vec<Vec<String>> {
    let document = ran.json();
    let words = |pins: &serde_json::Value| {
        let pins = pins["pins"].as_array().expect("pins").iter();
        pins.map(|pin| pin.as_str().unwrap_or_default().to_owned()).collect()
    };
    document["pipes"].as_array().expect("pipes").iter().map(words).collect()
}

fn copies(ran: &Ran) -> Vec<u64> {
    let document = ran.json();
    let connections = document["connections"].as_array().expect("connections").iter();
    connections.map(|one| one["copies"].as_u64().unwrap_or(u64::MAX)).collect()
}

/// A camera, two filters in place, a splitter and two sinks, by the command of the README.
#[test]
fn a_camera_two_filters_in_place_a_splitter_and_two_sinks_run_as_one_pipe_with_0_copies() {
    let scratch = Scratch::new();
    let file = scratch.path("a.y4m");
    let graph =
        format!("{CAMERA} ! video-invert ! video-invert ! tee name=t ! null-renderer  t. ! y4m-writer path={file}");
    let ran = ks(&["run", &graph, "--json"]).done();
    assert_eq!(copies(&ran), [0; 5], "{ran}");
    let all = pipes(&ran);
    // The splitter's branches are parts of it, each told with its input.
    let first = ["test-camera.0", "video-invert.0", "video-invert.1", "video-invert-2.0", "video-invert-2.1", "tee.0"];
    assert!(all[0].starts_with(&first.map(str::to_owned)), "{ran}");
    let others: Vec<&str> = all[1..].iter().flatten().map(String::as_str).collect();
    assert!(others.iter().all(|pin| !first[..5].contains(pin)), "nobody else shares the camera's frames: {ran}");
    let allocators: Vec<_> = ran.json()["connections"].as_array().expect("connections").clone();
    assert!(allocators.iter().all(|one| one["allocator"] == "8 x 4608"), "one allocator: {ran}");
    let shown = ks(&["run", "-v", &graph]).done();
    assert!(
        shown.stdout.contains("pipe test-camera.0 > video-invert.0 > video-invert.1 > video-invert-2.0"),
        "{shown}"
    );
    // Turned over twice, the pictures are those of the camera.
    let plain = scratch.path("plain.y4m");
    ks(&["run", &format!("{CAMERA} ! y4m-writer path={plain}")]).done();
    let [through_pipe, plain] = [&file, &plain].map(|path| pictures(path));
    assert_eq!(plain.len(), 20);
    assert!(through_pipe == plain, "other pictures than the camera's");
    assert!(plain.windows(2).all(|pair| pair[0] != pair[1]), "each is another picture");
}

/// The bytes of each picture in a file of the camera's size.
fn pictures(path: &str) -> Vec<Vec<u8>> {
    let file = fs::read(path).expect("a file");
    let head = file.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
    let frames = file[head..].chunks(FRAME_MARK.len() + PICTURE_BYTES);
    frames.map(|frame| frame.strip_prefix(FRAME_MARK).expect("a frame").to_vec()).collect()
}

/// A picture whose rows are turned round, in each of its planes.
fn mirrored(picture: &[u8]) -> Vec<u8> {
    let (luma, chroma) = picture.split_at(WIDTH * HEIGHT);
    let rows = luma.chunks(WIDTH).chain(chroma.chunks(WIDTH / 2));
    rows.flat_map(|row| row.iter().rev().copied()).collect()
}

/// The same with a Windows driver in the place of one of the filters: by its name, not by the GUID of its filter.
#[test]
fn a_pipe_with_a_windows_driver_has_0_copies_and_names_the_driver() {
    let scratch = Scratch::new();
    let mirror = copied(&scratch, &sample("mirror"));
    let file = scratch.path("a.y4m");
    let graph = format!("{CAMERA} ! video-invert ! {mirror} ! tee name=t ! null-renderer  t. ! y4m-writer path={file}");
    let ran = ks(&["run", &graph, "--json"]).done();
    assert_eq!(copies(&ran), [0; 5], "{ran}");
    let inverted = scratch.path("inverted.y4m");
    ks(&["run", &format!("{CAMERA} ! video-invert ! y4m-writer path={inverted}")]).done();
    let wanted: Vec<_> = pictures(&inverted).iter().map(|picture| mirrored(picture)).collect();
    assert_eq!(wanted.len(), 20);
    assert!(pictures(&file) == wanted, "each picture inverted by the one and mirrored by the other");
    let of_driver: Vec<_> = pipes(&ran).into_iter().filter(|pins| pins.iter().any(|pin| pin == "mirror.0")).collect();
    assert_eq!(of_driver, [["mirror.0", "mirror.1"]], "{ran}");
    assert!(!pipes(&ran).iter().flatten().any(|pin| pin.contains('{')), "{ran}");
    let shown = ks(&["run", "-v", &graph]).done();
    assert!(shown.stdout.contains("pipe mirror.0 > mirror.1"), "{shown}");
    assert!(!shown.stdout.contains("{1A4F"), "{shown}");
}

/// The border of a process ends a pipe; what is on one side of it is one, of drivers too.
#[test]
fn two_drivers_together_are_one_pipe_up_to_the_border_of_their_process() {
    let scratch = Scratch::new();
    let [camera, mirror] = ["synthcam", "mirror"].map(|name| copied(&scratch, &sample(name)));
    let graph = format!("{camera} ! {mirror} ! video-invert ! null-renderer frames=20");
    for (options, wanted) in [
        (
            &["--together"][..],
            &[&["synthcam.0", "mirror.0", "mirror.1"][..], &["video-invert.0", "video-invert.1"]][..],
        ),
        (&[], &[&["synthcam.0"], &["mirror.0", "mirror.1"], &["video-invert.0", "video-invert.1"]]),
    ] {
        let ran = ks(&[&["run", "--json", "--verifier"], options, &[&graph]].concat()).done();
        assert_eq!(copies(&ran), [0; 3], "{ran}");
        let pipes = pipes(&ran);
        for pins in wanted {
            let pins: Vec<_> = pins.iter().map(|pin| (*pin).to_owned()).collect();
            assert!(pipes.iter().any(|pipe| pipe.starts_with(&pins)), "{pins:?}: {ran}");
        }
        assert_eq!(pipes.len(), wanted.len(), "{ran}");
    }
}

/// Two drivers that agree a private interface hand their frames over beside the pipe, by calls; with anybody else at the other
/// end, or in another process, the frames go as usual.
#[test]
fn two_drivers_together_exchange_frames_without_requests_and_fall_back_where_an_end_is_foreign() {
    /// Frames with data that went over each connection; the run ends with the stream.
    fn frames(arguments: &[&str]) -> Vec<u64> {
        let ran = ks(&[&["run", "--json", "--verifier"], arguments].concat()).done();
        let document = ran.json();
        assert_eq!(document["status"], "completed", "{ran}");
        let connections = document["connections"].as_array().expect("connections").iter();
        connections.map(|one| one["frames"].as_u64().unwrap_or(u64::MAX)).collect()
    }
    let [source, sink] = ["avs/exchange_source", "avs/exchange_sink"].map(|name| of_tests(name, &[]));
    assert_eq!(frames(&["--together", &format!("{source} ! {sink}")]), [0], "all of them by the interface");
    assert_eq!(frames(&[&format!("{source} ! {sink}")]), [10], "in two processes");
    assert_eq!(
        frames(&["--together", &format!("{source} ! s.1  {sink} name=s")]),
        [10],
        "a pin that knows no protocol"
    );
    assert_eq!(frames(&["--together", &format!("{source} ! pass-through ! {sink}")]), [10, 10], "a filter in between");
    let between = of_tests("avs/inplace", &[]);
    let three = format!("{source} ! {between} ! {sink}");
    assert_eq!(frames(&["--together", &three]), [10, 10], "a driver in between, which knows no protocol");
    assert_eq!(frames(&["--together", &format!("{source} ! null-renderer")]), [10], "no driver at the other end");
}

#[test]
fn drivers_behind_a_filter_in_place_of_another_process_have_a_say_in_the_frames_of_a_driver() {
    let rig = Rig::new();
    let [framing, inplace] = ["avs/framing", "avs/inplace"].map(|name| of_tests(name, &[]));
    let (near, far) = (rig.start(&framing), rig.start_together(&[inplace, framing]));
    for sink_id in [3, 1] {
        let (to, through, from) = (far.open_of(1), far.open_of(0), near.open());
        let sink = create(&to, sink_id, None);
        let output = create(&through, 1, Some(&sink));
        let input = create(&through, 0, None);
        let source = create(&from, 0, Some(&input));
        for pin in [&sink, &output, &input] {
            pin.pin.set_state(KsState::ACQUIRE).expect("sinks first");
        }
        let behind = format!(".{sink_id} behind ");
        if sink_id == 1 {
            // It takes at most 100 bytes, and the source asks for 128.
            let refused = source.pin.set_state(KsState::ACQUIRE).expect_err("two processes away");
            assert_eq!(refused.status, STATUS_INVALID_PARAMETER);
            let reason = refused.to_string();
            assert!(reason.contains(&behind) && reason.contains(".0 takes at most 100"), "{reason}");
        } else {
            source.pin.set_state(KsState::ACQUIRE).expect("all agree");
            let pipe = source.pin.pipe().expect("a report");
            let agreed: Vec<_> = pipe.agreed.iter().map(|one| (&*one.what, one.value)).collect();
            assert_eq!(agreed, [("frames", 9), ("bytes", 200), ("alignment", 512)], "{pipe:?}");
            assert!([0, 2].iter().all(|at| pipe.agreed[*at].by.contains(&behind)), "{pipe:?}");
        }
        for pin in [&source, &input, &output, &sink] {
            pin.pin.set_state(KsState::STOP).expect("back");
        }
    }
    far.stop_in_order();
    near.stop_in_order();
}

#[test]
fn a_branch_that_a_driver_of_another_process_changes_gets_copies_and_the_others_stay_whole() {
    let scratch = Scratch::new();
    let mirror = copied(&scratch, &sample("mirror"));
    let [plain, beside, changed] = ["plain", "beside", "changed"].map(|name| scratch.path(&format!("{name}.y4m")));
    ks(&["run", &format!("{CAMERA} ! y4m-writer path={plain}")]).done();
    let graph = format!("{CAMERA} ! tee name=t ! y4m-writer path={beside}  t. ! {mirror} ! y4m-writer path={changed}");
    let ran = ks(&["run", &graph, "--json"]).done();
    let [plain, beside, changed] = [plain, beside, changed].map(|path| fs::read(path).expect("a file"));
    assert!(plain == beside, "{ran}");
    assert!(plain.len() == changed.len() && plain != changed, "{ran}");
    let mut copies = copies(&ran);
    copies.sort_unstable();
    assert!(copies[..copies.len() - 1].iter().all(|count| *count == 0) && copies[copies.len() - 1] > 0, "{ran}");
}
