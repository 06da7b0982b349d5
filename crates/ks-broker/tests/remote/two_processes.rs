//! The same between two processes, and what happens when one of them is killed.

use crate::rig::{Quiet, camera, client, connect, engine, renderer, run, stream};
use ks_abi::{KsState, STATUS_DEVICE_REMOVED, STATUS_SUCCESS};
use ks_broker::remote::{Handler, Peer};
use ks_client::graph::grammar::parse;
use ks_client::graph::run::{GraphRunner, Options, RunStatus};
use ks_io::IoManager;
use ks_wire::{Connection, WireError};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;

const HOSTED: &str = "USERKS_TEST_HOSTED_FILTERS";

/// A process that hosts filters: this very program, with one "test" that serves its standard input.
struct HostProcess(Child);

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn host_process(parent: &Arc<IoManager>, filters: &str) -> (HostProcess, Peer) {
    let (ours, theirs) = Connection::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes::serves_when_it_is_told_to", "--nocapture"])
        .env(HOSTED, filters)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let host = HostProcess(child);
    (host, Peer::attach(parent, ours, Arc::new(Quiet)).unwrap())
}

#[test]
fn serves_when_it_is_told_to() {
    let Ok(filters) = std::env::var(HOSTED) else { return };
    let descriptors = filters.split(',').map(|name| match name {
        "camera" => camera(),
        _ => renderer(),
    });
    let io = engine(descriptors.collect());
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let peer = Peer::serve(&io, Connection::join(socket).unwrap(), Arc::new(Quiet)).unwrap();
    assert_eq!(peer.wait().cause, WireError::Closed);
}

const GRAPH: &str = "test-camera live=false width=160 height=120 ! null-renderer frames=1000";

#[test]
fn frames_come_from_a_process_and_go_to_a_process() {
    for (here, there) in [(renderer(), "camera"), (camera(), "renderer")] {
        let parent = engine(vec![here]);
        let (_host, peer) = host_process(&parent, there);
        let (client, _session) = client(&parent);
        let report = run(&client, GRAPH);
        assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
        assert_eq!(report.connections[0].frames, 1000);
        assert_eq!(peer.death(), None);
    }
}

#[test]
fn both_roles_of_a_pin_in_another_process_stream() {
    for (here, there) in [(renderer as fn() -> _, "camera"), (camera, "renderer")] {
        for remote_takes_requests in [false, true] {
            let parent = engine(vec![here()]);
            let (_host, peer) = host_process(&parent, there);
            let (client, _session) = client(&parent);
            let source = client.open_by_name("test-camera").unwrap();
            for (name, value) in [("live", "false"), ("width", "160"), ("height", "120")] {
                source.set_setting(name, value).unwrap();
            }
            let sink = client.open_by_name("null-renderer").unwrap();
            let source_takes_requests = (there == "camera") == remote_takes_requests;
            let (from, to) = connect(&source, &sink, source_takes_requests);
            stream(&from, &to, 1000);
            assert_eq!(to.statistics().unwrap().frames, 1000);
            assert_eq!(peer.death(), None);
        }
    }
}

#[test]
fn two_processes_exchange_frames_through_a_third() {
    let parent = engine(vec![]);
    let (_cameras, first) = host_process(&parent, "camera");
    let (_renderers, second) = host_process(&parent, "renderer");
    let (client, _session) = client(&parent);
    let report = run(&client, GRAPH);
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    assert_eq!(report.connections[0].frames, 1000);
    assert_eq!((first.death(), second.death()), (None, None));
}

#[test]
fn killing_a_process_completes_what_waits_for_it_and_disturbs_nobody_else() {
    let parent = engine(vec![renderer()]);
    let (mut doomed, peer) = host_process(&parent, "camera");
    let (client, session) = client(&parent);
    let filter = client.open_by_name("test-camera").unwrap();
    filter.set_setting("fps", "1").unwrap();
    let pin = crate::rig::client_pin(&filter, 0);
    pin.set_state(KsState::RUN).unwrap();
    let bytes = pin.format().unwrap().head().sample_size as usize;
    let reads: Vec<_> = (0..8).map(|_| pin.read_stream(vec![pin.allocate(bytes).unwrap()]).unwrap()).collect();

    // A second process with a device of the same kind, and a graph that runs there all the time.
    let (_bystander, other) = host_process(&parent, "camera");
    let running = std::thread::scope(|scope| {
        let graph = scope.spawn(|| {
            let name = parent.interfaces(None).into_iter().find(|one| one.device == "test-camera-2").unwrap();
            let source = client.open(&name.symbolic_link).unwrap();
            source.set_setting("live", "false").unwrap();
            let sink = client.open_by_name("null-renderer").unwrap();
            let (from, to) = connect(&source, &sink, false);
            stream(&from, &to, 1000);
            to.statistics().unwrap().frames
        });
        let (told, death) = mpsc::channel();
        peer.on_death(move |death| told.send(death).unwrap());
        doomed.0.kill().unwrap();
        for read in reads {
            match read.wait() {
                // A frame that was on its way before the kill.
                Ok(frames) => assert_eq!(frames.len(), 1),
                Err(error) => assert_eq!(error.status, STATUS_DEVICE_REMOVED),
            }
        }
        assert_eq!(death.recv().unwrap().cause, WireError::Closed);
        assert_eq!(peer.pending_requests(), 0);
        graph.join().unwrap()
    });
    assert_eq!(running, 1000);
    assert_eq!(other.death(), None);

    // What is left answers nothing more, and closes.
    assert_eq!(pin.state().unwrap_err().status, STATUS_DEVICE_REMOVED);
    assert!(!parent.interfaces(None).iter().any(|one| one.device == "test-camera"));
    drop((pin, filter));
    assert_eq!(session.open_handles(), 0);
    // A new process takes the name again.
    let (_again, _peer) = host_process(&parent, "camera");
    assert!(parent.interfaces(None).iter().any(|one| one.device == "test-camera"));
}

#[test]
fn a_graph_whose_source_process_is_killed_fails_and_says_why() {
    let parent = engine(vec![renderer()]);
    let (mut doomed, peer) = host_process(&parent, "camera");
    let (client, _session) = client(&parent);
    let graph = parse("test-camera live=false width=160 height=120 ! null-renderer").unwrap();
    let runner = GraphRunner::build(&client, &graph, Options::default()).unwrap();
    let (told, death) = mpsc::channel();
    peer.on_death(move |death| told.send(death).unwrap());
    let mut killed = false;
    let report = runner.run(&mut |progress| {
        if progress.frames > 0 && !killed {
            killed = true;
            doomed.0.kill().unwrap();
        }
    });
    assert_eq!(report.status, RunStatus::Failed);
    assert!(report.error.unwrap().to_string().contains("removed"));
    drop(runner);
    assert_eq!(death.recv().unwrap().cause, WireError::Closed);
    assert!(ks_mem::quarantined_regions() > 0, "what the dead process could write is used for nothing new");
}

#[test]
fn a_service_is_called_across_and_its_answer_comes_back() {
    struct Files;
    impl Handler for Files {
        fn service(&self, operation: u32, body: &[u8]) -> (ks_abi::NtStatus, Vec<u8>) {
            let mut answer = body.to_vec();
            answer.push(operation as u8);
            (STATUS_SUCCESS, answer)
        }
    }
    let (parent, host) = (engine(vec![]), engine(vec![]));
    let (ours, theirs) = Connection::pair().unwrap();
    let serving = Peer::serve(&host, Connection::join(theirs).unwrap(), Arc::new(Quiet)).unwrap();
    let attached = Peer::attach(&parent, ours, Arc::new(Files)).unwrap();
    assert_eq!(serving.service(7, b"read").unwrap(), b"read\x07");
    let long = vec![9; 1 << 20];
    assert_eq!(serving.service(1, &long).unwrap().len(), long.len() + 1);
    assert!(attached.service(1, b"").is_err(), "the host offers none");
}
