//! A side that does not keep to the protocol: the other ends the connection with a named error, or answers for it, and
//! is otherwise as before.

use crate::rig::{Quiet, camera, client, client_pin, engine, renderer};
use ks_abi::{
    IoControlCode, KSNAME_Pin, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_PIN_CTYPES, KSPROPERTY_RTAUDIO_BUFFER,
    KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KSPROPSETID_Pin, KSPROPSETID_RtAudio,
    KsPinConnect, KsPriority, KsProperty, KsRtAudioBuffer, KsState, KsStreamHeader, KsTime, NtStatus, Ptr64,
    STATUS_ACCESS_VIOLATION, STATUS_CANCELLED, STATUS_DEVICE_PROTOCOL_ERROR, STATUS_DEVICE_REMOVED,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_broker::remote::{Handler, Peer, PeerOptions};
use ks_io::{AccessMask, IoManager, Transport};
use ks_mem::{SharedMemory, SharedMemoryError};
use ks_wire::{
    Completion, Connection, Control, Create, Embedded, FramePart, InterfaceEntry, Lifeline, Message, Open, Parts,
    Received, Receiver, RegionCut, Requestor, Sender, Stream, VERSION, WireError, encode_interfaces,
};
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use zerocopy::IntoBytes;

const WHO: Requestor = Requestor { client: 1, kernel_mode: true };

/// A side of a connection that says what it likes.
struct Liar {
    sender: Sender,
    receiver: Receiver,
    lifeline: Lifeline,
    received: Received,
}

/// What a completion said.
#[derive(Debug, Default)]
struct Said {
    status: u32,
    file: u64,
}

impl Liar {
    fn new(connection: Connection) -> Liar {
        let (sender, receiver, lifeline) = connection.split();
        Liar { sender, receiver, lifeline, received: Received::default() }
    }

    fn greet(&mut self) {
        self.say(&Message::Hello { version: VERSION });
    }

    fn say(&mut self, message: &Message<'_>) {
        self.sender.send(message).unwrap();
    }

    /// The next message; `None`: the other side has ended the connection.
    fn hear<T>(&mut self, take: impl FnOnce(Message<'_>) -> T) -> Option<T> {
        while !self.receiver.receive(&mut self.received).unwrap() {
            if self.lifeline.has_ended() {
                return None;
            }
            std::thread::yield_now();
        }
        Some(take(self.received.message().unwrap()))
    }

    /// Hears until a request is answered.
    fn answer_to(&mut self, wanted: u64) -> Option<Said> {
        loop {
            let said = self.hear(|message| match message {
                Message::Completion(done) if done.request == wanted => {
                    Some(Said { status: done.status, file: done.file })
                }
                _ => None,
            })?;
            if said.is_some() {
                return said;
            }
        }
    }
}

pub(crate) fn done(request: u64, status: NtStatus) -> Completion<'static> {
    Completion { request, status: status.0, information: 0, file: 0, granted: 0, answer: &[], refusal: None }
}

/// What ends the connection of an engine with `lie`, which is said after a greeting.
fn death_by(lie: impl FnOnce(&mut Liar)) -> WireError {
    let io = engine(vec![camera(), renderer()]);
    let (ours, theirs) = Connection::pair().unwrap();
    let peer = Peer::serve(&io, Connection::join(theirs).unwrap(), Arc::new(Quiet)).unwrap();
    let (told, death) = mpsc::channel();
    peer.on_death(move |death| told.send(death).unwrap());
    let mut liar = Liar::new(ours);
    liar.greet();
    lie(&mut liar);
    let death = death.recv().unwrap();
    assert_eq!(peer.exported_files(), 0);
    assert!(io.interfaces(None).iter().any(|one| one.device == "test-camera"), "the engine goes on");
    death.cause
}

fn control<'a>(request: u64, file: u64, input: &'a [u8], output_bytes: u32) -> Message<'a> {
    Message::Control(Control {
        request,
        requestor: WHO,
        file,
        code: IoControlCode::KS_PROPERTY.0,
        input_token: 0,
        output_token: 0,
        output_bytes,
        input,
        data: &[],
        embedded: Embedded::Nothing,
    })
}

#[test]
fn a_broken_protocol_ends_the_connection_with_its_name() {
    let protocol = WireError::Protocol;
    assert_eq!(death_by(|liar| liar.greet()), protocol("a second greeting"));
    let answered = |request| Message::Completion(done(request, STATUS_SUCCESS));
    assert_eq!(death_by(|liar| liar.say(&answered(77))), protocol("an answer without a question"));
    assert_eq!(death_by(|liar| liar.say(&control(1, 99, &[], 0))), protocol("a request for an unknown file object"));
    assert_eq!(
        death_by(|liar| liar.say(&Message::Close { request: 1, file: 5 })),
        protocol("an unknown file object was closed")
    );
    for change in
        [Message::SetEvent { number: 1 }, Message::ClearEvent { number: 1 }, Message::PulseEvent { number: 1 }]
    {
        assert_eq!(death_by(|liar| liar.say(&change)), protocol("an unknown event was changed"));
    }
    assert_eq!(
        death_by(|liar| liar.say(&Message::RetireRegion { region: 1 })),
        protocol("an unknown region was retired")
    );
    assert_eq!(death_by(|liar| liar.sender.send_encoded(&[200]).unwrap()), WireError::Kind(200));
    assert_eq!(death_by(|liar| liar.sender.send_encoded(&[]).unwrap()), WireError::Length { kind: 0 });
    assert_eq!(death_by(|liar| liar.sender.send_encoded(&[8, 1]).unwrap()), WireError::Length { kind: 8 });
}

/// Attaches an engine to a side that offers one interface with these names: device, reference, friendly name. What it is
/// asked to open is sent, and refused.
fn attach_to(names: [&'static str; 3]) -> (Arc<IoManager>, Result<Peer, WireError>, mpsc::Receiver<[String; 2]>) {
    let io = engine(vec![]);
    let (ours, theirs) = Connection::pair().unwrap();
    let (opened, asked) = mpsc::channel();
    std::thread::spawn(move || {
        let mut liar = Liar::new(Connection::join(theirs).unwrap());
        liar.greet();
        let [device, reference, friendly_name] = names.map(str::to_owned);
        let entry = InterfaceEntry { device, category: [1; 16], reference, friendly_name };
        let mut list = Vec::new();
        encode_interfaces(&[entry], &mut list);
        loop {
            let request = liar.hear(|message| match message {
                Message::ListInterfaces { request } => Some((request, STATUS_SUCCESS)),
                Message::Open(open) => {
                    opened.send([open.device, open.reference].map(str::to_owned)).unwrap();
                    Some((open.request, STATUS_INVALID_DEVICE_REQUEST))
                }
                _ => None,
            });
            let Some(request) = request else { return };
            if let Some((request, status)) = request {
                liar.say(&Message::Completion(Completion { answer: &list, ..done(request, status) }));
            }
        }
    });
    let peer = Peer::attach(&io, ours, Arc::new(Quiet));
    (io, peer, asked)
}

#[test]
fn names_with_control_characters_end_the_connection() {
    for names in [["a\u{1b}[2J", "b", "c"], ["a", "b\n", "c"], ["a", "b", "c\u{9b}31m"]] {
        let (io, peer, _) = attach_to(names);
        assert!(matches!(peer.unwrap_err(), WireError::Field { .. }), "{names:?}");
        assert!(io.interfaces(None).is_empty());
    }
}

#[test]
fn names_that_turn_a_line_around_are_shown_harmless_and_still_open() {
    let (io, peer, asked) = attach_to(["liar\u{202e}sys", "a\u{2066}b", "A \u{202e}liar\u{feff}"]);
    let _peer = peer.unwrap();
    let (_, session) = client(&io);
    let interface = session.interfaces(None).remove(0);
    assert_eq!(interface.friendly_name, "A \u{fffd}liar\u{fffd}");
    assert_eq!((interface.device.as_str(), interface.reference.as_str()), ("liar\u{fffd}sys", "a\u{fffd}b"));
    assert!(!interface.symbolic_link.contains(['\u{202e}', '\u{2066}']), "{}", interface.symbolic_link);
    let refused = session.open(&interface.symbolic_link, AccessMask::GENERIC_READ).unwrap_err();
    assert!(!refused.refusal.expect("a reason").to_string().contains(['\u{202e}', '\u{2066}']));
    assert_eq!(asked.recv().unwrap(), ["liar\u{202e}sys", "a\u{2066}b"], "the other side knows its own names");
}

#[test]
fn the_first_message_must_be_a_greeting_in_the_same_version() {
    for (first, cause) in [
        (Message::Hello { version: VERSION + 1 }, WireError::Version { theirs: VERSION + 1 }),
        (Message::Heartbeat { number: 1 }, WireError::Protocol("the first message is no greeting")),
    ] {
        let io = engine(vec![]);
        let (ours, theirs) = Connection::pair().unwrap();
        let peer = Peer::start(&io, Connection::join(theirs).unwrap(), PeerOptions::default()).unwrap();
        let mut liar = Liar::new(ours);
        liar.say(&first);
        assert_eq!(peer.wait().cause, cause);
    }
}

#[test]
fn only_sealed_memory_of_a_bounded_size_is_mapped() {
    let announce = |bytes: usize, cut: RegionCut| {
        death_by(|liar| {
            let memory = SharedMemory::create("test", bytes).unwrap();
            let message = Message::AnnounceRegion { region: 1, cut };
            liar.sender.send_with(&message, Some(memory.descriptor())).unwrap();
        })
    };
    let cut = |frames, frame_bytes, stride_bytes| RegionCut { frames, frame_bytes, stride_bytes };
    for wrong in [cut(2, 4096, 4096), cut(0, 1, 1), cut(1, 8192, 8192), cut(u32::MAX, 0, 0), cut(2, u64::MAX, u64::MAX)]
    {
        assert_eq!(announce(4096, wrong), WireError::Protocol("a region is cut wrongly"), "{wrong:?}");
    }
    let file = |bytes: u64, seal| {
        death_by(|liar| {
            let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
            let memory = rustix::fs::memfd_create("huge", flags).unwrap();
            rustix::fs::ftruncate(&memory, bytes).unwrap();
            rustix::fs::fcntl_add_seals(&memory, seal).unwrap();
            let message = Message::AnnounceRegion { region: 1, cut: cut(1, 4096, 4096) };
            liar.sender.send_with(&message, Some(memory.as_fd())).unwrap();
        })
    };
    use rustix::fs::SealFlags;
    let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let (huge, most) = (1 << 40, 1 << 30);
    assert_eq!(file(huge, sealed), WireError::Memory(SharedMemoryError::Size { bytes: huge, most }));
    assert_eq!(file(1 << 29, sealed), WireError::Memory(SharedMemoryError::Holes));
    assert_eq!(file(4096, SealFlags::SHRINK), WireError::Memory(SharedMemoryError::NotSealed));
    assert_eq!(
        death_by(|liar| liar.say(&Message::AnnounceRegion { region: 1, cut: cut(1, 1, 1) })),
        WireError::Descriptor
    );
    assert_eq!(
        death_by(|liar| for _ in 0..2 {
            let memory = SharedMemory::create("test", 4096).unwrap();
            let message = Message::AnnounceRegion { region: 1, cut: cut(1, 4096, 4096) };
            liar.sender.send_with(&message, Some(memory.descriptor())).unwrap();
        }),
        WireError::Protocol("a region was announced twice")
    );
}

/// Opens the camera of a served engine over the wire and makes a pin of it that runs. Gives the pin's number.
fn running_pin(io: &Arc<IoManager>, liar: &mut Liar) -> u64 {
    // What to ask for says a client of the same engine.
    let (client, _session) = client(io);
    let filter = client.open_by_name("test-camera").unwrap();
    let factory = filter.pin(0).unwrap();
    let format = filter.intersect(0, &factory.data_ranges).unwrap();
    let head = KsPinConnect {
        interface: factory.interfaces[0],
        medium: factory.mediums[0],
        pin_id: 0,
        pin_to_handle: 0,
        priority: KsPriority { priority_class: 1, priority_sub_class: 1 },
        ..Default::default()
    };
    let mut parameters = head.as_bytes().to_vec();
    parameters.extend_from_slice(format.bytes());
    let access = AccessMask::GENERIC_ALL.0;
    liar.say(&Message::Open(Open {
        request: 1,
        requestor: WHO,
        access,
        device: "test-camera",
        reference: "test-camera",
    }));
    let opened = liar.answer_to(1).unwrap();
    assert_eq!(NtStatus(opened.status), STATUS_SUCCESS);
    let class = KSNAME_Pin.to_string();
    liar.say(&Message::Create(Create {
        request: 2,
        requestor: WHO,
        parent: opened.file,
        access,
        class: &class,
        parameters: &parameters,
        embedded: Embedded::Nothing,
    }));
    let created = liar.answer_to(2).unwrap();
    assert_eq!(NtStatus(created.status), STATUS_SUCCESS);
    let set = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
    liar.say(&Message::Control(Control {
        request: 3,
        requestor: WHO,
        file: created.file,
        code: IoControlCode::KS_PROPERTY.0,
        input_token: 0,
        output_token: 0,
        output_bytes: 4,
        input: set.as_bytes(),
        data: KsState::PAUSE.as_bytes(),
        embedded: Embedded::Nothing,
    }));
    assert_eq!(NtStatus(liar.answer_to(3).unwrap().status), STATUS_SUCCESS);
    created.file
}

fn header(size: u32, extent: u32) -> KsStreamHeader {
    KsStreamHeader { size, frame_extent: extent, presentation_time: KsTime::from_100ns(0), ..Default::default() }
}

/// The header size of a camera's pin, which has an extension.
fn header_bytes(io: &Arc<IoManager>) -> u32 {
    let (client, _session) = client(io);
    let filter = client.open_by_name("test-camera").unwrap();
    client_pin(&filter, 0).header_bytes().unwrap()
}

fn death_by_frames(lie: impl FnOnce(&mut Liar, u64, u32)) -> (WireError, Vec<Said>) {
    let io = engine(vec![camera()]);
    let (ours, theirs) = Connection::pair().unwrap();
    let peer = Peer::serve(&io, Connection::join(theirs).unwrap(), Arc::new(Quiet)).unwrap();
    let mut liar = Liar::new(ours);
    liar.greet();
    let stride = header_bytes(&io);
    let pin = running_pin(&io, &mut liar);
    let memory = SharedMemory::create("test", 2 << 20).unwrap();
    let cut = RegionCut { frames: 2, frame_bytes: 1 << 20, stride_bytes: 1 << 20 };
    liar.sender.send_with(&Message::AnnounceRegion { region: 9, cut }, Some(memory.descriptor())).unwrap();
    lie(&mut liar, pin, stride);
    let mut answers = Vec::new();
    while let Some(said) = liar.hear(|message| match message {
        Message::Completion(done) => Some(Said { status: done.status, file: done.file }),
        _ => None,
    }) {
        answers.extend(said);
    }
    (peer.wait().cause, answers)
}

fn read<'a>(request: u64, file: u64, headers: &'a [u8], stride: u32, parts: &'a [u8]) -> Message<'a> {
    Message::Stream(Stream {
        request,
        requestor: WHO,
        file,
        code: IoControlCode::KS_READ_STREAM.0,
        any_header_size: false,
        stride,
        headers,
        parts: Parts::new(parts),
    })
}

#[test]
fn a_frame_outside_of_its_region_ends_the_connection() {
    let outside = WireError::Protocol("a frame outside of its region");
    for (part, cause) in [
        (FramePart { region: 8, offset: 0, bytes: 16 }, WireError::Protocol("a frame of an unknown region")),
        (FramePart { region: 9, offset: 2 << 20, bytes: 1 }, outside),
        (FramePart { region: 9, offset: (2 << 20) - 1, bytes: 2 }, outside),
        (FramePart { region: 9, offset: (1 << 20) - 1, bytes: 2 }, outside),
        (FramePart { region: 9, offset: u64::MAX, bytes: 1 }, outside),
        (FramePart { region: 9, offset: 0, bytes: u32::MAX }, outside),
    ] {
        let (death, _) = death_by_frames(|liar, pin, stride| {
            let mut headers = header(stride, 16).as_bytes().to_vec();
            headers.resize(stride as usize, 0);
            let mut parts = Vec::new();
            Parts::push(&mut parts, part);
            liar.say(&read(10, pin, &headers, stride, &parts));
        });
        assert_eq!(death, cause, "{part:?}");
    }
}

#[test]
fn a_number_in_use_ends_the_connection_and_what_runs_is_cancelled() {
    let (death, answers) = death_by_frames(|liar, pin, stride| {
        let mut headers = header(stride, 1 << 20).as_bytes().to_vec();
        headers.resize(stride as usize, 0);
        let mut parts = Vec::new();
        Parts::push(&mut parts, FramePart { region: 9, offset: 0, bytes: 1 << 20 });
        // A paused camera fills one frame; the others wait.
        for request in [10, 11, 12, 12] {
            liar.say(&read(request, pin, &headers, stride, &parts));
        }
    });
    assert_eq!(death, WireError::Protocol("the number of a running request was used again"));
    assert!(answers.len() <= 3, "each is answered once");
}

#[test]
fn memory_that_requests_still_use_is_a_part_of_what_is_mapped_also_when_it_was_retired() {
    const PIECE: u64 = 128 << 20;
    // With the two megabytes that are announced already, an eighth has no room in the gigabyte that is mapped at most.
    const PIECES: u64 = 7;
    let memory = SharedMemory::create("test", PIECE as usize).unwrap();
    let announce = |liar: &mut Liar, region| {
        let cut = RegionCut { frames: 1, frame_bytes: PIECE, stride_bytes: PIECE };
        liar.sender.send_with(&Message::AnnounceRegion { region, cut }, Some(memory.descriptor())).unwrap();
    };
    let send = |liar: &mut Liar, request, region, pin, stride: u32| {
        let mut headers = header(stride, 1 << 20).as_bytes().to_vec();
        headers.resize(stride as usize, 0);
        let mut parts = Vec::new();
        Parts::push(&mut parts, FramePart { region, offset: 0, bytes: 1 << 20 });
        liar.say(&read(request, pin, &headers, stride, &parts));
    };
    // A camera that does not run fills no frame.
    let hold = |liar: &mut Liar, first: u64, pin, stride| {
        for region in first..first + PIECES {
            announce(liar, region);
            send(liar, region, region, pin, stride);
            liar.say(&Message::RetireRegion { region });
        }
    };
    let (death, _) = death_by_frames(|liar, pin, stride| {
        hold(liar, 100, pin, stride);
        announce(liar, 200);
        // The end of a connection to which that is nothing.
        liar.say(&Message::RetireRegion { region: 77 });
    });
    let most = (1 << 30) - (2 << 20) - PIECES * PIECE;
    assert_eq!(death, WireError::Memory(SharedMemoryError::Size { bytes: PIECE, most }));
    let (death, _) = death_by_frames(|liar, pin, stride| {
        for first in [100, 200, 300] {
            hold(liar, first, pin, stride);
            for request in first..first + PIECES {
                liar.say(&Message::Cancel { request });
                assert_eq!(NtStatus(liar.answer_to(request).unwrap().status), STATUS_CANCELLED);
            }
        }
        liar.say(&Message::RetireRegion { region: 77 });
    });
    assert_eq!(death, WireError::Protocol("an unknown region was retired"), "who has the answer has the room");
}

#[test]
fn a_wrong_header_is_refused_and_the_connection_goes_on() {
    let (death, answers) = death_by_frames(|liar, pin, stride| {
        let mut parts = Vec::new();
        Parts::push(&mut parts, FramePart { region: 9, offset: 0, bytes: 16 });
        // An extent above the part, and a size that is not the pin's.
        for (request, size, extent) in [(20, stride, 17), (21, 56, 16)] {
            let mut headers = header(size, extent).as_bytes().to_vec();
            headers.resize(size as usize, 0);
            liar.say(&read(request, pin, &headers, size, &parts));
        }
        // Frames in a request for bytes.
        liar.say(&Message::Control(Control {
            request: 22,
            requestor: WHO,
            file: pin,
            code: IoControlCode::KS_READ_STREAM.0,
            input_token: 0,
            output_token: 0,
            output_bytes: 8,
            input: &[],
            data: &[0; 8],
            embedded: Embedded::Nothing,
        }));
        let refused = [STATUS_ACCESS_VIOLATION, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_BUFFER_SIZE];
        let mut heard = Vec::new();
        while heard.len() < refused.len() {
            heard.extend(
                liar.hear(|message| match message {
                    Message::Completion(done) => Some(NtStatus(done.status)),
                    _ => None,
                })
                .unwrap(),
            );
        }
        heard.sort_by_key(|status| status.0);
        assert_eq!(heard, refused);
        liar.lifeline.cut();
    });
    assert_eq!(death, WireError::Closed);
    assert!(answers.is_empty());
}

/// An engine that is attached to a host which answers as `answer` says.
fn attached_to_a_liar(answer: impl Fn(&Message<'_>, &mut Sender) + Send + 'static) -> (Arc<IoManager>, Peer) {
    attached_to(Arc::new(Quiet), answer)
}

/// The same, with something that hears what else the host says.
pub(crate) fn attached_to(
    handler: Arc<dyn Handler>,
    answer: impl Fn(&Message<'_>, &mut Sender) + Send + 'static,
) -> (Arc<IoManager>, Peer) {
    let io = engine(vec![]);
    let (ours, theirs) = Connection::pair().unwrap();
    std::thread::spawn(move || {
        let mut liar = Liar::new(Connection::join(theirs).unwrap());
        liar.greet();
        loop {
            let Liar { sender, receiver, lifeline, received } = &mut liar;
            if lifeline.has_ended() {
                return;
            }
            if !receiver.receive(received).unwrap() {
                std::thread::yield_now();
                continue;
            }
            let message = received.message().unwrap();
            match message {
                Message::ListInterfaces { request } => {
                    let mut list = Vec::new();
                    let entry = InterfaceEntry {
                        device: "liar".into(),
                        category: [1; 16],
                        reference: "liar".into(),
                        friendly_name: "A liar".into(),
                    };
                    encode_interfaces(&[entry], &mut list);
                    let done = Completion { answer: &list, ..done(request, STATUS_SUCCESS) };
                    sender.send(&Message::Completion(done)).unwrap();
                }
                Message::Open(open) => {
                    let done = Completion { file: 1, granted: u32::MAX, ..done(open.request, STATUS_SUCCESS) };
                    sender.send(&Message::Completion(done)).unwrap();
                }
                Message::Hello { .. } => {}
                Message::Cleanup { request, .. } | Message::Close { request, .. } => {
                    sender.send(&Message::Completion(done(request, STATUS_SUCCESS))).unwrap();
                }
                other => answer(&other, sender),
            }
        }
    });
    let peer = Peer::attach(&io, ours, handler).unwrap();
    (io, peer)
}

#[test]
fn an_answer_that_does_not_fit_its_question_is_a_protocol_error_and_no_byte_too_many_arrives() {
    for case in 0..3 {
        let (io, peer) = attached_to_a_liar(move |message, sender| {
            let Message::Control(control) = message else { return };
            let bytes = vec![0xA5; 4096];
            let honest = done(control.request, STATUS_SUCCESS);
            let lie = match case {
                0 => Completion { answer: &bytes, information: 4096, ..honest },
                1 => Completion { answer: &bytes[..4], information: u64::MAX, ..honest },
                _ => done(control.request, STATUS_PENDING),
            };
            sender.send(&Message::Completion(lie)).unwrap();
        });
        let (_client, session) = client(&io);
        let link = io.interfaces(None)[0].symbolic_link.clone();
        let handle = session.open(&link, AccessMask::GENERIC_READ).unwrap();
        let ask = KsProperty::new(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET);
        let mut output = [0; 4];
        let outcome = session.device_io_control(handle, IoControlCode::KS_PROPERTY, ask.as_bytes(), &mut output);
        assert_eq!((outcome.status, outcome.information), (STATUS_DEVICE_PROTOCOL_ERROR, 0));
        assert_eq!(output, [0; 4]);
        assert_eq!(peer.death(), None, "it may do better next time");
    }
}

#[test]
fn an_address_outside_of_announced_memory_is_a_protocol_error_and_maps_nothing() {
    let lies = [(0, 0, 4096), (7, 0, 4096), (9, 1, 4096), (9, u64::MAX, 1), (9, 0, u32::MAX)];
    let truth = (9, 0, 4096);
    for (file, offset, bytes) in lies.into_iter().chain([truth]) {
        let (io, peer) = attached_to_a_liar(move |message, sender| {
            let Message::Control(control) = message else { return };
            let memory = SharedMemory::create("test", 4096).unwrap();
            let cut = RegionCut { frames: 1, frame_bytes: 4096, stride_bytes: 4096 };
            let announced = Message::AnnounceRegion { region: 9, cut };
            sender.send_with(&announced, Some(memory.descriptor())).unwrap();
            let buffer =
                KsRtAudioBuffer { buffer_address: Ptr64(offset), actual_buffer_size: bytes, call_memory_barrier: 0 };
            let honest = done(control.request, STATUS_SUCCESS);
            let said = Completion { answer: buffer.as_bytes(), information: 16, file, ..honest };
            sender.send(&Message::Completion(said)).unwrap();
        });
        let (_client, session) = client(&io);
        let link = io.interfaces(None)[0].symbolic_link.clone();
        let handle = session.open(&link, AccessMask::GENERIC_READ).unwrap();
        let ask = KsProperty::new(KSPROPSETID_RtAudio, KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_TYPE_GET);
        let mut output = [0; 16];
        let outcome = session.device_io_control(handle, IoControlCode::KS_PROPERTY, ask.as_bytes(), &mut output);
        let address = u64::from_le_bytes(*output.first_chunk().unwrap());
        if (file, offset, bytes) == truth {
            assert_eq!(outcome.status, STATUS_SUCCESS);
            assert!(session.frame_at(address, 4096).is_some() && session.frame_at(address, 4097).is_none());
            assert!(io.session().frame_at(address, 1).is_none(), "another client's");
        } else {
            let told = (outcome.status, outcome.information, address);
            assert_eq!(told, (STATUS_DEVICE_PROTOCOL_ERROR, 0, 0), "{file} {offset} {bytes}");
        }
        assert_eq!(peer.death(), None);
    }
}

#[test]
fn whoever_waits_for_a_liar_is_told_that_the_device_is_gone() {
    let (io, peer) = attached_to_a_liar(|_, sender| {
        sender.send(&Message::Completion(done(1 << 60, STATUS_SUCCESS))).unwrap();
    });
    let (_client, session) = client(&io);
    let link = io.interfaces(None)[0].symbolic_link.clone();
    let handle = session.open(&link, AccessMask::GENERIC_READ).unwrap();
    let ask = KsProperty::new(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET);
    let outcome = session.device_io_control(handle, IoControlCode::KS_PROPERTY, ask.as_bytes(), &mut [0; 4]);
    assert_eq!(outcome.status, STATUS_DEVICE_REMOVED);
    assert!(io.interfaces(None).is_empty(), "its devices were gone before");
    assert_eq!(peer.wait().cause, WireError::Protocol("an answer without a question"));
}

/// The most addresses that this process ever had, in bytes: memory counts that was set aside and never touched.
fn most_mapped_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a14_room_that_a_peer_claims_costs_nothing() {
    let io = engine(vec![camera()]);
    let (ours, theirs) = Connection::pair().unwrap();
    let peer = Peer::serve(&io, Connection::join(theirs).unwrap(), Arc::new(Quiet)).unwrap();
    let mut liar = Liar::new(ours);
    liar.greet();
    let (device, reference) = ("test-camera", "test-camera");
    let access = AccessMask::GENERIC_ALL.0;
    liar.say(&Message::Open(Open { request: 1, requestor: WHO, access, device, reference }));
    let file = liar.answer_to(1).unwrap().file;
    let ask = KsProperty::new(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET);
    let before = most_mapped_bytes();
    for (request, output_bytes) in (2..).zip([4, 5, 1 << 31, u32::MAX - 1, u32::MAX]) {
        liar.say(&Message::Control(Control {
            request,
            requestor: WHO,
            file,
            code: IoControlCode::KS_PROPERTY.0,
            input_token: 0,
            output_token: 0,
            output_bytes,
            input: ask.as_bytes(),
            data: &[],
            embedded: Embedded::Nothing,
        }));
        assert_eq!(NtStatus(liar.answer_to(request).unwrap().status), STATUS_SUCCESS, "{output_bytes} bytes of room");
    }
    // Other tests of this program run meanwhile; three gigabytes are none of theirs.
    assert!(most_mapped_bytes() < before + (3 << 30), "room was set aside");
    assert_eq!(peer.death(), None);
}
