//! The thread that waits for an answer receives it itself, and does nothing else for the connection.

use crate::hostile::{attached_to, done};
use crate::rig::{Quiet, client};
use ks_abi::{
    IoControlCode, KSNAME_Pin, KSPROPERTY_TYPE_GET, KSPROPSETID_Pin, KsProperty, STATUS_DEVICE_BUSY,
    STATUS_DEVICE_REMOVED, STATUS_SUCCESS,
};
use ks_broker::remote::{Handler, Peer};
use ks_io::{AccessMask, Handle, IoManager, Outcome, Session, Transport};
use ks_wire::{Completion, Control, Message, Sender};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use zerocopy::IntoBytes;

/// Notes who hears what the host says.
#[derive(Default)]
struct Listener(Mutex<Vec<ThreadId>>);

impl Handler for Listener {
    fn log(&self, _level: u8, _text: &str) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

/// Answers a request with the number of its property.
fn echo(control: &Control<'_>, sender: &mut Sender) {
    let answer = &control.input[16..20];
    let honest = Completion { answer, information: 4, ..done(control.request, STATUS_SUCCESS) };
    sender.send(&Message::Completion(honest)).unwrap();
}

fn open(io: &Arc<IoManager>) -> (Arc<Session>, Handle) {
    let (_, session) = client(io);
    let link = io.interfaces(None)[0].symbolic_link.clone();
    let handle = session.open(&link, AccessMask::GENERIC_READ).unwrap();
    (session, handle)
}

fn ask(session: &Session, handle: Handle, item: u32) -> (Outcome, u32) {
    let request = KsProperty::new(KSPROPSETID_Pin, item, KSPROPERTY_TYPE_GET);
    let mut output = [0; 4];
    let outcome = session.device_io_control(handle, IoControlCode::KS_PROPERTY, request.as_bytes(), &mut output);
    (outcome, u32::from_le_bytes(output))
}

fn close(session: Arc<Session>, io: Arc<IoManager>, peer: Peer) {
    drop((session, io));
    drop(peer);
}

#[test]
fn a_warning_refuses_an_object_with_its_own_status_and_reason() {
    let (io, peer) = attached_to(Arc::new(Quiet), |message, sender| {
        let refusal = Some((0, "in use"));
        match message {
            Message::Create(create) => {
                let busy = Completion { refusal, ..done(create.request, STATUS_DEVICE_BUSY) };
                sender.send(&Message::Completion(busy)).unwrap();
            }
            Message::Control(control) => {
                let busy = Completion { refusal, ..done(control.request, STATUS_DEVICE_BUSY) };
                sender.send(&Message::Completion(busy)).unwrap();
            }
            _ => {}
        }
    });
    let (session, handle) = open(&io);
    let created = session.create(handle, &KSNAME_Pin.to_string(), &[0; 64], AccessMask::GENERIC_READ);
    for outcome in [created.unwrap_err(), ask(&session, handle, 1).0] {
        let reason = outcome.refusal.map(|refusal| (refusal.status, refusal.reason));
        assert_eq!(outcome.status, STATUS_DEVICE_BUSY);
        assert_eq!(reason, Some((STATUS_DEVICE_BUSY, "in use".to_owned())));
    }
    close(session, io, peer);
}

#[test]
fn a_message_that_comes_before_the_answer_is_not_executed_by_the_thread_that_waits() {
    let listener = Arc::new(Listener::default());
    let (io, peer) = attached_to(listener.clone(), |message, sender| {
        let Message::Control(control) = message else { return };
        sender.send(&Message::Log { level: 2, text: "before" }).unwrap();
        echo(control, sender);
    });
    let (session, handle) = open(&io);
    for item in 0..500 {
        assert_eq!(ask(&session, handle, item).1, item);
    }
    let heard = listener.0.lock().unwrap().clone();
    assert_eq!(heard.len(), 500);
    assert!(!heard.contains(&thread::current().id()));
    close(session, io, peer);
}

#[test]
fn threads_that_ask_at_the_same_time_get_their_own_answers() {
    const THREADS: u32 = 6;
    const QUESTIONS: u32 = 2000;
    let listener = Arc::new(Listener::default());
    let logged = Arc::new(AtomicU64::new(0));
    let count = logged.clone();
    let (io, peer) = attached_to(listener.clone(), move |message, sender| {
        let Message::Control(control) = message else { return };
        // Rarely, so that threads borrow the receiver between.
        if control.request % 199 == 0 {
            count.fetch_add(1, Ordering::Relaxed);
            sender.send(&Message::Log { level: 2, text: "between" }).unwrap();
        }
        echo(control, sender);
    });
    let (session, handle) = open(&io);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let session = &session;
            scope.spawn(move || {
                for question in 0..QUESTIONS {
                    let item = thread << 16 | question;
                    let (outcome, answer) = ask(session, handle, item);
                    assert_eq!((outcome.status, answer), (STATUS_SUCCESS, item));
                }
            });
        }
    });
    assert_eq!(peer.pending_requests(), 0);
    assert_eq!(listener.0.lock().unwrap().len() as u64, logged.load(Ordering::Relaxed));
    close(session, io, peer);
}

#[test]
fn the_end_of_the_host_ends_the_wait_of_a_thread_that_receives() {
    for silent_after in 0..20 {
        let asked = AtomicU64::new(0);
        let (io, peer) = attached_to(Arc::new(Quiet), move |message, sender| {
            let Message::Control(control) = message else { return };
            if asked.fetch_add(1, Ordering::Relaxed) < silent_after {
                return echo(control, sender);
            }
            // A second greeting: the connection ends while the thread waits.
            sender.send(&Message::Hello { version: ks_wire::VERSION }).unwrap();
        });
        let (session, handle) = open(&io);
        for item in 0..silent_after as u32 {
            assert_eq!(ask(&session, handle, item).1, item);
        }
        assert_eq!(ask(&session, handle, 0).0.status, STATUS_DEVICE_REMOVED);
        close(session, io, peer);
    }
}

#[test]
fn a_connection_that_this_side_ends_wakes_the_thread_that_receives() {
    let (asked, was_asked) = std::sync::mpsc::channel();
    let (io, peer) = attached_to(Arc::new(Quiet), move |message, _| {
        if let Message::Control(_) = message {
            asked.send(()).unwrap();
        }
    });
    let (session, handle) = open(&io);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&session, handle, 7).0.status);
        was_asked.recv().unwrap();
        peer.disconnect(ks_wire::WireError::Closed);
        assert_eq!(waiting.join().unwrap(), STATUS_DEVICE_REMOVED);
    });
    close(session, io, peer);
}
