//! What each flag of a pin's and of a filter's descriptor does in a Windows driver: a matrix in which every flag is looked
//! at twice, with it and without.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsState,
    NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_FOUND, STATUS_SUCCESS,
};
use ks_client::{ClientError, Filter, Format, Pin, StreamRequest};
use ks_io::{Event, EventKind, Signal, Work, WorkQueue};
use ks_nt::report;
use ks_rig::{Created, Rig, each_seed};
use ks_stream::{FilterFlags, PinFlags};
use std::sync::{Arc, Mutex, PoisonError};

const DRIVER: &str = "tests/avs/flags.c";
/// The driver's notes and orders.
const FLAGS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e90);
const NOTES: u32 = 0;
const ORDER: u32 = 1;
const FRAME: usize = 64;
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];

/// Orders, by their numbers in `flags.c`.
#[derive(Clone, Copy)]
enum Order {
    Forget,
    Mark,
    Leave,
    CloseGate,
    OpenGate,
    Attempt,
    AttemptLater,
    AttemptRaised,
    Keep,
    LetGo,
    PassTrailing,
    AttachOr,
    AttachAnd,
}

/// What the driver's pins and filters are, by their numbers in `flags.c`.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Pin = 1,
    PinOfOwnInterface,
    Whole,
}

/// What the driver noted of its callbacks.
struct Notes {
    calls: u32,
    level: u32,
    on_marked: bool,
    within_attempt: bool,
    frames: u32,
    pieces: u32,
    has_trailing: bool,
    formats: u32,
}

/// One filter of the driver, by what it is.
struct Subject<'r> {
    rig: &'r Rig,
    name: String,
}

impl<'r> Subject<'r> {
    fn new(rig: &'r Rig, kind: Kind, pin: u32, filter: u32) -> Subject<'r> {
        let [a, b, c, d] = filter.to_be_bytes();
        let reference = Guid { data1: pin, data2: kind as u16, data3: 0, data4: [a, b, c, d, 0, 0, 0, 0x25] };
        Subject { rig, name: reference.to_string() }
    }

    fn open(&self) -> Filter {
        self.rig.try_open_named(&self.name).unwrap()
    }

    /// An instance of its pin, with nothing noted.
    fn pin(&self) -> Input {
        Input::of(Arc::new(self.open()))
    }
}

struct Input {
    created: Created,
    filter: Arc<Filter>,
}

impl Input {
    fn of(filter: Arc<Filter>) -> Input {
        let input = Input { created: Created::try_new(&filter, 0, None).unwrap(), filter };
        input.order(Order::Forget);
        input
    }

    fn pin(&self) -> &Pin {
        &self.created.pin
    }

    /// Brought to PAUSE or RUN.
    fn at(self, state: KsState) -> Input {
        UP.into_iter().take_while(|step| *step <= state).for_each(|step| self.pin().set_state(step).unwrap());
        self
    }

    fn order(&self, order: Order) {
        self.try_order(order).unwrap();
    }

    fn try_order(&self, order: Order) -> Result<(), NtStatus> {
        let number = order as u32;
        self.pin().object().set_property(FLAGS, ORDER, &number).map_err(|error| error.status)
    }

    fn notes(&self) -> Notes {
        let [calls, level, on_marked, within_attempt, frames, pieces, has_trailing, formats] =
            self.pin().object().property::<[u32; 8]>(FLAGS, NOTES).unwrap();
        Notes {
            calls,
            level,
            on_marked: on_marked != 0,
            within_attempt: within_attempt != 0,
            frames,
            pieces,
            has_trailing: has_trailing != 0,
            formats,
        }
    }

    fn write(&self) -> StreamRequest {
        self.created.write(&[7; FRAME])
    }

    fn write_with(&self, data_used: u32, flags: u32) -> StreamRequest {
        let mut frame = self.pin().allocate(FRAME).unwrap();
        assert!(frame.fill(&[7; FRAME]));
        (frame.header.data_used, frame.header.options_flags) = (data_used, flags);
        self.pin().write_stream(vec![frame]).unwrap()
    }

    /// Does `attempt` with a frame there and no attempt made since it came.
    fn attempted(&self, attempt: Order) -> Notes {
        self.order(Order::CloseGate);
        let write = self.write();
        self.order(Order::OpenGate);
        self.order(attempt);
        write.wait().unwrap();
        self.notes()
    }
}

/// The name of the status of an outcome.
fn status_of<T>(outcome: Result<T, ClientError>) -> &'static str {
    match outcome.map_or_else(|error| error.status, |_| STATUS_SUCCESS) {
        STATUS_SUCCESS => "STATUS_SUCCESS",
        STATUS_INVALID_DEVICE_REQUEST => "STATUS_INVALID_DEVICE_REQUEST",
        _ => "another status",
    }
}

/// A row of the matrix.
struct Row {
    flag: &'static str,
    of_filter: bool,
    kind: Kind,
    /// Set in both looks.
    beside: u32,
    look: fn(&Subject<'_>) -> String,
    without: &'static str,
    with: &'static str,
}

const PIN: Row =
    Row { flag: "", of_filter: false, kind: Kind::Pin, beside: 0, look: |_| String::new(), without: "", with: "" };
const PIN_OF_WHOLE: Row = Row { kind: Kind::Whole, ..PIN };
const FILTER: Row = Row { of_filter: true, ..PIN_OF_WHOLE };

#[rustfmt::skip]
const MATRIX: &[Row] = &[
    Row { flag: "DISPATCH_LEVEL_PROCESSING", look: raised, without: "level 0, later", with: "level 2, at once", ..PIN },
    Row { flag: "CRITICAL_PROCESSING", look: workers, without: "others", with: "critical", ..PIN },
    Row { flag: "HYPERCRITICAL_PROCESSING", look: workers, without: "others", with: "hypercritical", ..PIN },
    Row { flag: "ASYNCHRONOUS_PROCESSING", look: whose_thread, without: "the client's", with: "another", ..PIN },
    Row { flag: "DO_NOT_INITIATE_PROCESSING", look: initiated, without: "1, attempted 1", with: "0, attempted 1", ..PIN },
    Row { flag: "INITIATE_PROCESSING_ON_EVERY_ARRIVAL", look: arrivals, without: "1 call", with: "2 calls", ..PIN },
    Row { flag: "ENFORCE_FIFO", look: order_of_completion, without: "the second first", with: "none before the first", ..PIN },
    Row { flag: "GENERATE_MAPPINGS", look: pieces, without: "64", with: "3", ..PIN },
    Row { flag: "DISTINCT_TRAILING_EDGE", look: trailing, without: "gone, no edge", with: "kept until the edge passed", ..PIN },
    Row { flag: "PROCESS_IN_RUN_STATE_ONLY", look: states, without: "PAUSE 1, RUN 1", with: "PAUSE 0, RUN 1", ..PIN },
    Row { flag: "PROCESS_IN_RUN_STATE_ONLY", look: two_states, without: "PAUSE 1, one 1, both 1", with: "PAUSE 0, one 0, both 1", ..PIN_OF_WHOLE },
    Row { flag: "PROCESS_IF_ANY_IN_RUN_STATE", look: two_states, without: "PAUSE 1, one 1, both 1", with: "PAUSE 0, one 1, both 1", ..PIN_OF_WHOLE },
    Row { flag: "FRAMES_NOT_REQUIRED_FOR_PROCESSING", look: without_frames, without: "waits", with: "called at PAUSE", ..PIN_OF_WHOLE },
    Row { flag: "SOME_FRAMES_REQUIRED_FOR_PROCESSING", look: one_frame, without: "none 0, one 0, two 1", with: "none 0, one 1, two 2", ..PIN_OF_WHOLE },
    Row { flag: "DO_NOT_USE_STANDARD_TRANSPORT", look: transport, without: "STATUS_SUCCESS", with: "STATUS_INVALID_DEVICE_REQUEST", ..PIN },
    Row { flag: "USE_STANDARD_TRANSPORT", look: transport, without: "STATUS_INVALID_DEVICE_REQUEST", with: "STATUS_SUCCESS", kind: Kind::PinOfOwnInterface, ..PIN },
    Row { flag: "USE_STANDARD_TRANSPORT", look: transport, without: "STATUS_INVALID_DEVICE_REQUEST", with: "STATUS_SUCCESS", beside: PinFlags::DO_NOT_USE_STANDARD_TRANSPORT.bits(), ..PIN },
    Row { flag: "FIXED_FORMAT", look: format, without: "STATUS_SUCCESS, told 1", with: "STATUS_INVALID_DEVICE_REQUEST, told 0", ..PIN },
    Row { flag: "GENERATE_EOS_EVENTS", look: end, without: "no such event", with: "raised", ..PIN },
    Row { flag: "RENDERER", look: renders, without: "PAUSE 1, RUN 1; no such event", with: "PAUSE 0, RUN 1; raised", ..PIN },
    Row { flag: "IMPLEMENT_CLOCK", look: clock, without: "none", with: "a clock", ..PIN },
    Row { flag: "DENY_USERMODE_ACCESS", look: pin_access, without: "user STATUS_SUCCESS, driver STATUS_SUCCESS", with: "user STATUS_INVALID_DEVICE_REQUEST, driver STATUS_SUCCESS", ..PIN },
    Row { flag: "DISPATCH_LEVEL_PROCESSING", look: raised, without: "level 0, later", with: "level 2, at once", ..FILTER },
    Row { flag: "CRITICAL_PROCESSING", look: workers, without: "others", with: "critical", ..FILTER },
    Row { flag: "HYPERCRITICAL_PROCESSING", look: workers, without: "others", with: "hypercritical", ..FILTER },
    Row { flag: "RECEIVE_ZERO_LENGTH_SAMPLES", look: empty_frame, without: "it passes by", with: "it is processed", ..FILTER },
    Row { flag: "DENY_USERMODE_ACCESS", look: filter_access, without: "user STATUS_SUCCESS, driver STATUS_SUCCESS, its pin STATUS_SUCCESS", with: "user STATUS_INVALID_DEVICE_REQUEST, driver STATUS_SUCCESS, its pin STATUS_SUCCESS", ..FILTER },
];

/// Flags whose effect needs another driver, and the tests that build it with and without.
const ELSEWHERE: [(&str, &str); 2] = [
    ("SPLITTER", "a_second_output_follows_the_first_only_as_a_splitter"),
    ("PRIORITIZE_REFERENCEGUID", "a_camera_publishes_profiles_and_nothing_else_does"),
];

#[test]
fn every_flag_of_a_driver_does_what_its_page_says_and_nothing_of_it_without() {
    each_seed(|| {
        let _alone = alone();
        let rig = Rig::start(DRIVER);
        let mut wrong = Vec::new();
        for row in MATRIX {
            assert_ne!(row.without, row.with, "{}: a flag is seen by a difference", row.flag);
            let bits = match row.of_filter {
                true => FilterFlags::from_name(row.flag).unwrap().bits(),
                false => PinFlags::from_name(row.flag).unwrap().bits(),
            };
            for (flag, wanted) in [(0, row.without), (bits, row.with)] {
                let (pin, filter) = if row.of_filter { (row.beside, flag) } else { (row.beside | flag, 0) };
                let seen = (row.look)(&Subject::new(&rig, row.kind, pin, filter));
                if seen != wanted {
                    wrong.push(format!("{} ({flag:#x}): {seen:?} is not {wanted:?}", row.flag));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        rig.unload();
    });
}

/// An attempt of a DPC.
fn raised(subject: &Subject<'_>) -> String {
    let notes = subject.pin().at(KsState::RUN).attempted(Order::AttemptRaised);
    format!("level {}, {}", notes.level, if notes.within_attempt { "at once" } else { "later" })
}

/// An attempt that is left to a worker, by the threads that there is one of.
fn workers(subject: &Subject<'_>) -> String {
    let input = Arc::new(subject.pin().at(KsState::RUN));
    let services = input.pin().object().transport().services().clone();
    for (queue, name) in [(WorkQueue::Critical, "critical"), (WorkQueue::HyperCritical, "hypercritical")] {
        let done = services.event(EventKind::Notification, Signal::Clear);
        let marking = Arc::new(Marking { input: input.clone(), done });
        services.queue_work(queue, marking.clone());
        let _ = marking.done.wait();
        if input.attempted(Order::AttemptLater).on_marked {
            return name.to_owned();
        }
    }
    "others".to_owned()
}

/// Has the driver mark the worker that this runs on.
struct Marking {
    input: Arc<Input>,
    done: Event,
}

impl Work for Marking {
    fn run(self: Arc<Self>) {
        self.input.order(Order::Mark);
        self.done.set();
    }
}

fn whose_thread(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::RUN);
    input.order(Order::Mark);
    input.write().wait().unwrap();
    let notes = input.notes();
    assert_eq!(notes.calls, 1);
    if notes.on_marked { "the client's" } else { "another" }.to_owned()
}

fn initiated(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::RUN);
    let write = input.write();
    let before = input.notes().frames;
    input.order(Order::Attempt);
    write.wait().unwrap();
    format!("{before}, attempted {}", input.notes().frames)
}

/// Two frames that the driver leaves where they are.
fn arrivals(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::RUN);
    input.order(Order::Leave);
    let writes = [input.write(), input.write()];
    let calls = input.notes().calls;
    input.pin().set_state(KsState::STOP).unwrap();
    assert!(writes.into_iter().all(|write| write.wait().is_err()));
    format!("{calls} call{}", if calls == 1 { "" } else { "s" })
}

/// The driver keeps a clone on the first of two frames, and is done with the second.
fn order_of_completion(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::RUN);
    input.order(Order::Keep);
    let (first, second) = (input.write(), input.write());
    assert_eq!(input.notes().frames, 2);
    assert!(!first.is_done());
    let seen = if second.is_done() { "the second first" } else { "none before the first" };
    input.order(Order::LetGo);
    first.wait().unwrap();
    second.wait().unwrap();
    seen.to_owned()
}

/// What a frame of 64 bytes is to an adapter that takes 24 at a time.
fn pieces(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::RUN);
    input.write().wait().unwrap();
    input.notes().pieces.to_string()
}

fn trailing(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::RUN);
    let write = input.write();
    let notes = input.notes();
    assert_eq!(notes.frames, 1, "the leading edge has passed it");
    match (write.is_done(), notes.has_trailing) {
        (true, false) => "gone, no edge".to_owned(),
        (false, true) => {
            input.order(Order::PassTrailing);
            write.wait().unwrap();
            "kept until the edge passed".to_owned()
        }
        other => format!("{other:?}"),
    }
}

/// Frames taken of one that waits from PAUSE on.
fn states(subject: &Subject<'_>) -> String {
    states_of(&subject.pin())
}

fn states_of(input: &Input) -> String {
    UP[..2].iter().for_each(|state| input.pin().set_state(*state).unwrap());
    let write = input.write();
    let paused = input.notes().frames;
    input.pin().set_state(KsState::RUN).unwrap();
    write.wait().unwrap();
    format!("PAUSE {paused}, RUN {}", input.notes().frames)
}

/// Calls of a filter of two inputs, each with a frame; the one goes to RUN before the other.
fn two_states(subject: &Subject<'_>) -> String {
    let (first, second) = two_inputs(subject, KsState::PAUSE);
    let writes = [first.write(), second.write()];
    let calls = || first.notes().calls;
    let paused = calls();
    first.pin().set_state(KsState::RUN).unwrap();
    let one = calls();
    second.pin().set_state(KsState::RUN).unwrap();
    writes.into_iter().for_each(|write| drop(write.wait().unwrap()));
    format!("PAUSE {paused}, one {one}, both {}", calls())
}

fn two_inputs(subject: &Subject<'_>, state: KsState) -> (Input, Input) {
    let first = subject.pin();
    let second = Input::of(first.filter.clone());
    (first.at(state), second.at(state))
}

fn without_frames(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::ACQUIRE);
    assert_eq!(input.notes().calls, 0);
    input.pin().set_state(KsState::PAUSE).unwrap();
    if input.notes().calls > 0 { "called at PAUSE" } else { "waits" }.to_owned()
}

/// Calls of a filter of two inputs that get one frame each, one after the other.
fn one_frame(subject: &Subject<'_>) -> String {
    let (first, second) = two_inputs(subject, KsState::RUN);
    first.order(Order::Attempt);
    let none = first.notes().calls;
    let one_write = first.write();
    let one = first.notes().calls;
    second.write().wait().unwrap();
    one_write.wait().unwrap();
    format!("none {none}, one {one}, two {}", first.notes().calls)
}

fn transport(subject: &Subject<'_>) -> String {
    let input = subject.pin();
    input.pin().set_state(KsState::RUN).unwrap();
    status_of(input.write().wait()).to_owned()
}

/// A format with another sample size, of a pin that lives.
fn format(subject: &Subject<'_>) -> String {
    let input = subject.pin();
    let mut other = input.created.format.bytes().to_vec();
    other[8..12].copy_from_slice(&32u32.to_le_bytes());
    let status = status_of(input.pin().set_format(&Format::from_bytes(&other).unwrap()));
    format!("{status}, told {}", input.notes().formats)
}

fn end(subject: &Subject<'_>) -> String {
    end_of(&subject.pin().at(KsState::RUN))
}

fn end_of(input: &Input) -> String {
    let event = match input.pin().enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM) {
        Ok(event) => event,
        Err(error) => {
            assert_eq!(error.status, STATUS_NOT_FOUND);
            return "no such event".to_owned();
        }
    };
    input.write().wait().unwrap();
    assert!(!event.event().is_set(), "the stream goes on");
    input.write_with(FRAME as u32, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM).wait().unwrap();
    let _ = event.event().wait();
    "raised".to_owned()
}

/// Both of what the flag is made of.
fn renders(subject: &Subject<'_>) -> String {
    let input = subject.pin();
    let states = states_of(&input);
    format!("{states}; {}", end_of(&input))
}

fn clock(subject: &Subject<'_>) -> String {
    if subject.pin().pin().create_clock().is_ok() { "a clock" } else { "none" }.to_owned()
}

fn pin_access(subject: &Subject<'_>) -> String {
    let by_user = status_of(Created::try_new(&subject.open(), 0, None));
    let as_driver = subject.rig.try_open_named_as_driver(&subject.name).unwrap();
    format!("user {by_user}, driver {}", status_of(Created::try_new(&as_driver, 0, None)))
}

fn filter_access(subject: &Subject<'_>) -> String {
    let by_user = status_of(subject.rig.try_open_named(&subject.name));
    let as_driver = subject.rig.try_open_named_as_driver(&subject.name);
    let its_pin = as_driver.as_ref().map(|filter| status_of(Created::try_new(filter, 0, None)));
    let its_pin = its_pin.unwrap_or("none");
    format!("user {by_user}, driver {}, its pin {its_pin}", status_of(as_driver))
}

/// A frame without data, to a filter that processes as a whole.
fn empty_frame(subject: &Subject<'_>) -> String {
    let input = subject.pin().at(KsState::RUN);
    input.write_with(0, 0).wait().unwrap();
    if input.notes().calls > 0 { "it is processed" } else { "it passes by" }.to_owned()
}

/// KSPIN_FLAG_SPLITTER: of a filter that works in place, the one source built with the flag and without.
#[test]
fn a_second_output_follows_the_first_only_as_a_splitter() {
    each_seed(|| {
        let _alone = alone();
        for (options, check) in [(&[][..], 1), (&["-DOUTPUT_FLAGS=0"], 2)] {
            let rig = Rig::start_with(&["tests/avs/splitter.c", "drain/drain.c"], options);
            let filter = rig.open();
            let input = rig.create(&filter, 0, None);
            let sinks = [rig.open_of(1), rig.open_of(1)].map(|drain| (rig.create(&drain, 0, None), drain));
            let outputs = [0, 1].map(|at| rig.create(&filter, 1, Some(&sinks[at].0)));
            let all = sinks.iter().map(|(sink, _)| sink).chain(&outputs).chain([&input]);
            all.for_each(|pin| pin.pin.set_state(KsState::ACQUIRE).unwrap());
            assert_eq!(failure(&outputs[1].pin, check), "", "{options:?}");
            drop((outputs, input, sinks, filter));
            rig.unload();
        }
    });
}

/// What failed of a check of a driver in `tests/avs`.
fn failure(pin: &Pin, check: u32) -> String {
    const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
    let request = ks_abi::KsIdentifier { set: CHECKS, id: check, flags: ks_abi::KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let input = zerocopy::IntoBytes::as_bytes(&request);
    let outcome = pin.object().control(ks_abi::IoControlCode::KS_PROPERTY, input, &mut answer);
    assert!(outcome.status.is_success(), "check {check}: {}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

/// Where the flag has made a gate already, a driver that attaches one is told so.
#[test]
fn a_pin_whose_flag_is_a_gate_takes_no_other() {
    each_seed(|| {
        let _alone = alone();
        let reports: Arc<Mutex<Vec<String>>> = Arc::default();
        let to = reports.clone();
        report::set_reporter(Some(Arc::new(move |report| {
            to.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{}: {}", report.routine, report.what));
        })));
        let rig = Rig::start(DRIVER);
        let some = PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING.bits();
        for (flags, order, routine) in [
            (0, Order::AttachOr, ""),
            (0, Order::AttachAnd, ""),
            (some, Order::AttachOr, "KsPinAttachOrGate"),
            (some, Order::AttachAnd, "KsPinAttachAndGate"),
        ] {
            let input = Subject::new(&rig, Kind::Whole, flags, 0).pin();
            let taken = input.try_order(order);
            let said = std::mem::take(&mut *reports.lock().unwrap());
            if routine.is_empty() {
                assert_eq!((taken, said), (Ok(()), vec![]));
            } else {
                assert_eq!(taken, Err(STATUS_INVALID_DEVICE_REQUEST));
                assert!(said.len() == 1 && said[0].starts_with(routine), "{said:?}");
                assert!(said[0].contains("KSPIN_FLAG_SOME_FRAMES_REQUIRED_FOR_PROCESSING"), "{said:?}");
            }
        }
        rig.unload();
        report::set_reporter(None);
    });
}

/// The reporter is the process's, and so are the drivers' notes.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_matrix_and_the_page_have_every_flag() {
    each_seed(|| {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/avstream-flags.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (pins, filters) = page.split_once("## Filters").unwrap();
        let of_pins = PinFlags::all().iter_names().map(|(name, _)| (name, false)).chain([("RENDERER", false)]);
        let of_filters = FilterFlags::all().iter_names().map(|(name, _)| (name, true));
        for (name, of_filter) in of_pins.chain(of_filters) {
            let here = MATRIX.iter().any(|row| row.flag == name && row.of_filter == of_filter);
            let elsewhere = ELSEWHERE.iter().any(|(flag, _)| *flag == name);
            assert!(here != elsewhere, "{name} has rows in one place");
            let part = if of_filter { filters } else { pins };
            let is_row =
                |row: &&str| row.split('|').nth(1).is_some_and(|names| names.split(',').any(|one| one.trim() == name));
            assert!(part.lines().any(|line| is_row(&line)), "{name} is on the page");
        }
    });
}
