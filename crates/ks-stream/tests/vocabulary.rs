//! Every set and item of the documented vocabulary: answered by the class driver, refused by its status, or answered by a
//! minidriver that brings it.

mod support;

use ks_abi::*;
use ks_io::sync::{Arc, Mutex};
use ks_io::{Handle, Transport};
use ks_stream::{
    AutomationTable, Cooling, Device, DeviceDispatch, EventItem, EventRequest, EventSet, EventToken, Filter,
    MethodItem, MethodSet, Pin, PropertyCall, PropertyItem, PropertySet, STANDARD_PROPERTIES, StandardProperty, Target,
    ThermalState,
};
use std::collections::BTreeMap;
use support::specimen::*;
use support::video;
use zerocopy::IntoBytes;

// Patterns want names in capitals.
const INTERFACE_SET: Guid = KSPROPSETID_StreamInterface;
const PIN_SET: Guid = KSPROPSETID_Pin;
const TOPOLOGY_SET: Guid = KSPROPSETID_Topology;
const GENERAL_SET: Guid = KSPROPSETID_General;
const CONNECTION_SET: Guid = KSPROPSETID_Connection;
const STREAM_SET: Guid = KSPROPSETID_Stream;
const CONNECTION_EVENTS: Guid = KSEVENTSETID_Connection;
const GET: u32 = KSPROPERTY_TYPE_GET;
const SET: u32 = KSPROPERTY_TYPE_SET;
const OK: NtStatus = STATUS_SUCCESS;
const NO_ITEM: NtStatus = STATUS_NOT_FOUND;
const NO_SET: NtStatus = STATUS_PROPSET_NOT_FOUND;

/// The sets of the class driver's vocabulary; the rest of what this crate can name is of media minidrivers.
const SETS: [Guid; 11] = [
    PIN_SET,
    TOPOLOGY_SET,
    GENERAL_SET,
    CONNECTION_SET,
    STREAM_SET,
    INTERFACE_SET,
    KSPROPSETID_Quality,
    KSPROPSETID_MediaSeeking,
    KSPROPSETID_MemoryTransport,
    KSPROPSETID_PinMDLCacheClearProp,
    KSPROPSETID_Clock,
];

/// A whole request for an item: with its pin factory, node, ranges or capability where it has them.
fn request(set: Guid, id: u32, verb: u32) -> Vec<u8> {
    let property = property(set, id, verb);
    if set == PIN_SET && id != KSPROPERTY_PIN_CTYPES {
        let mut request = KspPin { property, pin_id: OUT, flags: 0 }.as_bytes().to_vec();
        request.extend_from_slice(&range_list(&[video()]));
        return request;
    }
    let mut request = property.as_bytes().to_vec();
    request.resize(72, 0);
    request
}

/// Data that a SET of it takes.
fn data(set: Guid, id: u32) -> Vec<u8> {
    match (set, id) {
        (PIN_SET, _) => video().bytes().to_vec(),
        (CONNECTION_SET, KSPROPERTY_CONNECTION_DATAFORMAT | KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT) => {
            video().bytes().to_vec()
        }
        (CONNECTION_SET | STREAM_SET, _) => vec![0; 96],
        _ => vec![0; 256],
    }
}

/// What the class driver makes of (GET, SET) on a filter.
fn on_filter(set: Guid, id: u32) -> (NtStatus, NtStatus) {
    match (set, id) {
        (PIN_SET, KSPROPERTY_PIN_PROPOSEDATAFORMAT) => (NO_ITEM, OK),
        (
            PIN_SET,
            KSPROPERTY_PIN_GLOBALCINSTANCES
            | KSPROPERTY_PIN_PHYSICALCONNECTION
            | KSPROPERTY_PIN_PROPOSEDATAFORMAT2
            | KSPROPERTY_PIN_MODEDATAFORMATS,
        ) => (NO_ITEM, NO_ITEM),
        (PIN_SET | TOPOLOGY_SET | GENERAL_SET, _) => (OK, NO_ITEM),
        _ => (NO_SET, NO_SET),
    }
}

/// What the class driver makes of (GET, SET) on a pin in STOP.
fn on_pin(set: Guid, id: u32) -> (NtStatus, NtStatus) {
    match (set, id) {
        (CONNECTION_SET, KSPROPERTY_CONNECTION_STATE | KSPROPERTY_CONNECTION_DATAFORMAT) => (OK, OK),
        (CONNECTION_SET, KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT) => (NO_ITEM, OK),
        (CONNECTION_SET, KSPROPERTY_CONNECTION_ACQUIREORDERING | KSPROPERTY_CONNECTION_STARTAT) => (NO_ITEM, NO_ITEM),
        (CONNECTION_SET, _) => (OK, NO_ITEM),
        (STREAM_SET, KSPROPERTY_STREAM_ALLOCATOR | KSPROPERTY_STREAM_MASTERCLOCK) => (OK, OK),
        (STREAM_SET, _) => (NO_ITEM, NO_ITEM),
        (INTERFACE_SET, _) => (OK, NO_ITEM),
        _ => (NO_SET, NO_SET),
    }
}

#[test]
fn the_class_driver_answers_or_refuses_every_property() {
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME], None, None);
    let pin = bench.pin(OUT);
    let mut asked = 0;
    for item in known_properties().filter(|item| SETS.contains(&item.set)) {
        asked += 1;
        for (handle, expected) in [(bench.filter, on_filter(item.set, item.id)), (pin, on_pin(item.set, item.id))] {
            let (get, answer) = bench.ask(handle, &request(item.set, item.id, GET), 512);
            let what = format!("{} on {}", item.name, if handle == pin { "a pin" } else { "a filter" });
            assert_eq!(get.status, expected.0, "GET of {what}");
            if get.status == OK {
                assert!(!answer.is_empty(), "GET of {what} answers nothing");
            }
            let set = bench.property(handle, &request(item.set, item.id, SET), &mut data(item.set, item.id));
            assert_eq!(set.status, expected.1, "SET of {what}");
            // BASICSUPPORT tells the same.
            let (support, flags) = bench.ask(handle, property(item.set, item.id, 0x200).as_bytes(), 4);
            if expected == (NO_SET, NO_SET) || expected == (NO_ITEM, NO_ITEM) {
                assert_eq!(support.status, expected.0, "BASICSUPPORT of {what}");
            } else {
                let may = |verb, status| if status == OK { verb } else { 0 };
                let flags = u32::from_le_bytes(flags.try_into().expect("a ULONG"));
                assert_eq!(flags & 3, may(GET, expected.0) | may(SET, expected.1), "BASICSUPPORT of {what}");
            }
        }
    }
    assert_eq!(asked, 17 + 4 + 1 + 8 + 11 + 1 + 2 + 10 + 1 + 1 + 7, "every item of these sets");
    assert_eq!(bench.value::<KsPriority>(pin, &request(CONNECTION_SET, 1, GET)), KsPriority::NORMAL);
}

/// What the pages of the properties that minidrivers answer say, with the sizes that the compiler of mingw-w64 gives the types
/// which they name: GET and SET, least bytes of a request, least bytes of data (0: of variable size).
#[rustfmt::skip]
const DOCUMENTED: [(&str, u32, usize, usize); 28] = [
    ("KSPROPERTY_PIN_GLOBALCINSTANCES", GET, 32, 8),
    ("KSPROPERTY_PIN_PHYSICALCONNECTION", GET, 32, 0),
    // A KSP_PIN with a KSMULTIPLE_ITEM of attributes behind it.
    ("KSPROPERTY_PIN_PROPOSEDATAFORMAT2", GET, 40, 64),
    // A KSP_PIN with the GUID of a mode behind it.
    ("KSPROPERTY_PIN_MODEDATAFORMATS", GET, 48, 0),
    ("KSPROPERTY_CONNECTION_ACQUIREORDERING", GET, 24, 4),
    ("KSPROPERTY_CONNECTION_STARTAT", SET, 24, 80),
    ("KSPROPERTY_STREAM_QUALITY", SET, 24, 16),
    ("KSPROPERTY_STREAM_DEGRADATION", GET | SET, 24, 0),
    ("KSPROPERTY_STREAM_TIMEFORMAT", GET, 24, 16),
    ("KSPROPERTY_STREAM_PRESENTATIONTIME", GET | SET, 24, 16),
    ("KSPROPERTY_STREAM_PRESENTATIONEXTENT", GET, 24, 8),
    ("KSPROPERTY_STREAM_FRAMETIME", GET, 24, 16),
    // The header's macro has it this way round, its page the other.
    ("KSPROPERTY_STREAM_RATECAPABILITY", GET, 72, 48),
    ("KSPROPERTY_STREAM_RATE", GET | SET, 24, 48),
    ("KSPROPERTY_STREAM_PIPE_ID", GET | SET, 24, 8),
    ("KSPROPERTY_QUALITY_REPORT", GET | SET, 24, 24),
    ("KSPROPERTY_QUALITY_ERROR", GET | SET, 24, 16),
    ("KSPROPERTY_MEDIASEEKING_CAPABILITIES", GET, 24, 4),
    ("KSPROPERTY_MEDIASEEKING_FORMATS", GET, 24, 0),
    ("KSPROPERTY_MEDIASEEKING_TIMEFORMAT", GET | SET, 24, 16),
    ("KSPROPERTY_MEDIASEEKING_POSITION", GET, 24, 8),
    ("KSPROPERTY_MEDIASEEKING_STOPPOSITION", GET, 24, 8),
    ("KSPROPERTY_MEDIASEEKING_POSITIONS", SET, 24, 24),
    ("KSPROPERTY_MEDIASEEKING_DURATION", GET, 24, 8),
    ("KSPROPERTY_MEDIASEEKING_AVAILABLE", GET, 24, 16),
    ("KSPROPERTY_MEDIASEEKING_PREROLL", GET, 24, 8),
    ("KSPROPERTY_MEDIASEEKING_CONVERTTIMEFORMAT", GET, 64, 8),
    ("KSPROPERTY_MEMORY_TRANSPORT", SET, 24, 4),
];

/// The values that a minidriver has, by the names of their properties.
type Kept = Arc<Mutex<BTreeMap<&'static str, Vec<u8>>>>;

fn name_of(known: &StandardProperty) -> &'static str {
    property_name(known.set, known.id).expect("the header names it")
}

/// A minidriver's table that keeps a value for each property.
fn keeping<T: 'static>(target: Target, kept: &Kept) -> AutomationTable<T> {
    let mut sets: Vec<PropertySet<T>> = Vec::new();
    for known in STANDARD_PROPERTIES.iter().filter(|known| known.target == target) {
        let name = name_of(known);
        let mut item: PropertyItem<T> = PropertyItem::standard(known.set, known.id).expect("it is in the list");
        if known.access & GET != 0 {
            let kept = kept.clone();
            item = item.get(move |_: &T, call: &mut PropertyCall<'_>| {
                let value = kept.lock().get(name).cloned().unwrap_or_default();
                call.answer(&value)
            });
        }
        if known.access & SET != 0 {
            let kept = kept.clone();
            item = item.set(move |_: &T, call: &mut PropertyCall<'_>| {
                kept.lock().insert(name, call.data().to_vec());
                STATUS_SUCCESS
            });
        }
        match sets.iter_mut().find(|set| set.set == known.set) {
            Some(set) => set.items.push(item),
            None => sets.push(PropertySet { set: known.set, items: vec![item] }),
        }
    }
    AutomationTable::of_properties(sets)
}

#[test]
fn a_minidriver_answers_every_standard_property() {
    let kept = Kept::default();
    let tables = (keeping::<Filter>(Target::Filter, &kept), keeping::<Pin>(Target::Pin, &kept));
    let bench = bench_with(|_| (), Some(tables.0), Some(tables.1));
    let pin = bench.pin(OUT);
    assert_eq!(STANDARD_PROPERTIES.len(), DOCUMENTED.len());
    for (number, (name, access, request_bytes, data_bytes)) in (1..).zip(DOCUMENTED) {
        let known = STANDARD_PROPERTIES.iter().find(|known| name_of(known) == name).expect(name);
        let handle = if known.target == Target::Pin { pin } else { bench.filter };
        let room = if data_bytes == 0 { 8 } else { data_bytes };
        // Every property has bytes of its own.
        let (first, other) = (vec![number; room], vec![0x80 | number; room]);
        kept.lock().insert(name_of(known), first.clone());
        let has = || kept.lock()[name].clone();
        let mut request = property(known.set, known.id, GET).as_bytes().to_vec();
        request.resize(request_bytes, 0);
        let get = bench.ask(handle, &request, room);
        if access & GET != 0 {
            assert_eq!((get.0.status, get.1), (OK, first.clone()), "GET of {name}");
            let (short, _) = bench.ask(handle, &request, room - 1);
            assert_eq!(short.status, STATUS_BUFFER_TOO_SMALL, "{name} in too little room");
            let (size, _) = bench.ask(handle, &request, 0);
            assert_eq!((size.status, size.information), (STATUS_BUFFER_OVERFLOW, room), "the size of {name}");
        } else {
            assert_eq!(get.0.status, NO_ITEM, "GET of {name}");
        }
        request[20] = SET as u8;
        let set = |request: &[u8], bytes: usize| bench.property(handle, request, &mut other.clone()[..bytes]).status;
        if access & SET != 0 {
            assert_eq!(set(&request[..request_bytes - 1], room), STATUS_INVALID_BUFFER_SIZE, "a short SET of {name}");
            if data_bytes > 1 {
                assert_eq!(set(&request, room - 1), STATUS_BUFFER_TOO_SMALL, "SET of {name} cut off");
            }
            assert_eq!(has(), first, "{name}: the minidriver was not asked");
            assert_eq!((set(&request, room), has()), (OK, other.clone()), "SET of {name}");
        } else {
            assert_eq!((set(&request, room), has()), (NO_ITEM, first), "SET of {name}");
        }
        if access & GET != 0 {
            request[20] = GET as u8;
            let (short, _) = bench.ask(handle, &request[..request_bytes - 1], room);
            assert_eq!(short.status, STATUS_INVALID_BUFFER_SIZE, "a short request for {name}");
            assert_eq!(bench.ask(handle, &request, room).1, has(), "{name}");
        }
    }
}

fn raising<T: 'static>() -> AutomationTable<T> {
    let mut sets: Vec<EventSet<T>> = Vec::new();
    for known in known_events() {
        match sets.iter_mut().find(|set| set.set == known.set) {
            Some(set) => set.items.push(EventItem::new(known.id)),
            None => sets.push(EventSet { set: known.set, items: vec![EventItem::new(known.id)] }),
        }
    }
    AutomationTable { events: sets, ..AutomationTable::default() }
}

fn enable(bench: &Bench, handle: Handle, set: Guid, id: u32, event: Handle) -> NtStatus {
    let mut data =
        Box::new(KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() });
    let request = KsEvent::new(set, id, KSEVENT_TYPE_ENABLE);
    bench.control(handle, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), data.as_mut_bytes()).status
}

#[test]
fn the_class_driver_raises_or_refuses_every_event() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (event, _) = bench.session.create_event().unwrap();
    for known in known_events() {
        let expected = match (known.set, known.id) {
            (
                CONNECTION_EVENTS,
                KSEVENT_CONNECTION_DATADISCONTINUITY
                | KSEVENT_CONNECTION_TIMEDISCONTINUITY
                | KSEVENT_CONNECTION_ENDOFSTREAM,
            ) => OK,
            (CONNECTION_EVENTS, _) => NO_ITEM,
            _ => NO_SET,
        };
        assert_eq!(enable(&bench, pin, known.set, known.id, event), expected, "{} on a pin", known.name);
        assert_eq!(enable(&bench, bench.filter, known.set, known.id, event), NO_SET, "{} on a filter", known.name);
    }
}

#[test]
fn a_minidriver_raises_every_event_that_the_class_driver_does_not() {
    let bench = bench_with(|_| (), Some(raising::<Filter>()), Some(raising::<Pin>()));
    let pin = bench.pin(OUT);
    let (filter_object, pin_object) = (bench.engine_filter(bench.filter), bench.engine_pin(pin));
    for handle in [bench.filter, pin] {
        let waiting: Vec<_> = known_events()
            .map(|known| {
                let (handle_of, event) = bench.session.create_event().unwrap();
                assert_eq!(enable(&bench, handle, known.set, known.id, handle_of), OK, "{}", known.name);
                (known, event)
            })
            .collect();
        assert_eq!(waiting.len(), 25, "every event that the headers name");
        for (raised, _) in &waiting {
            match handle == pin {
                true => pin_object.generate_events(raised.set, raised.id),
                false => filter_object.generate_events(raised.set, raised.id),
            }
            for (known, event) in &waiting {
                assert_eq!(event.is_set(), known == raised, "{} where {} is raised", known.name, raised.name);
                event.clear();
            }
        }
        let all = bench.control(handle, IoControlCode::KS_DISABLE_EVENT, &[], &mut []);
        assert_eq!(all.status, OK);
    }
}

/// The event data is a LOOPEDSTREAMING_POSITION_EVENT_DATA: a KSEVENTDATA and the position, which the minidriver reads as it
/// agrees.
#[test]
fn a_looped_driver_tells_each_client_when_it_plays_its_position() {
    const DATA_BYTES: usize = 32 + 8;
    let marks: Arc<Mutex<Vec<(u64, EventToken)>>> = Arc::default();
    let (adds, removes) = (marks.clone(), marks.clone());
    let item = EventItem {
        min_data_bytes: DATA_BYTES,
        add: Some(Box::new(move |_: &Pin, request: &EventRequest<'_>| {
            let position = request.data()[32..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            adds.lock().push((position, request.token()));
            STATUS_SUCCESS
        })),
        remove: Some(Box::new(move |_: &Pin, token| removes.lock().retain(|mark| mark.1 != token))),
        ..EventItem::new(KSEVENT_LOOPEDSTREAMING_POSITION)
    };
    let events = vec![EventSet { set: KSEVENTSETID_LoopedStreaming, items: vec![item] }];
    let bench = bench_with(|_| (), None, Some(AutomationTable { events, ..AutomationTable::default() }));
    let pin = bench.pin(OUT);
    let object = bench.engine_pin(pin);
    let request = KsEvent::new(KSEVENTSETID_LoopedStreaming, KSEVENT_LOOPEDSTREAMING_POSITION, KSEVENT_TYPE_ENABLE);
    let wish = |event: Handle, position: u64| {
        let head = KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() };
        [head.as_bytes(), &position.to_le_bytes()].concat()
    };
    let mut clients: Vec<_> = [480, 960, 960, 1440]
        .map(|position| {
            let (handle, event) = bench.session.create_event().unwrap();
            (position, event, wish(handle, position).into_boxed_slice())
        })
        .into();
    for (_, _, data) in &mut clients {
        let enable =
            |data: &mut [u8]| bench.control(pin, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), data).status;
        assert!(enable(&mut data[..DATA_BYTES - 1]).is_error(), "no position");
        assert_eq!(enable(data), OK);
    }
    assert_eq!(marks.lock().len(), clients.len(), "a short one is not asked about");
    for (played, told) in [(0..480, 0), (480..481, 1), (481..1440, 3), (1440..1500, 4)] {
        let passed: Vec<_> = marks.lock().iter().filter(|mark| played.contains(&mark.0)).map(|mark| mark.1).collect();
        passed.into_iter().for_each(|token| object.generate_event(token));
        let set: Vec<_> = clients.iter().map(|(_, event, _)| event.is_set()).collect();
        assert_eq!(set, [0, 1, 2, 3].map(|client| client < told), "{played:?}");
    }
    let _ = bench.session.close(pin);
    assert!(marks.lock().is_empty(), "the driver is told of each that goes");
}

/// A driver whose device gets hot when it does more than half of its work, and that has no fan that goes off.
#[derive(Default)]
struct Hot(Mutex<Vec<Cooling>>);

impl DeviceDispatch for Hot {
    fn cool(&self, _: &Arc<Device>, cooling: Cooling) -> Option<ThermalState> {
        self.0.lock().push(cooling);
        match cooling {
            Cooling::Engage => Some(ThermalState::Low),
            Cooling::Disengage => None,
            Cooling::LimitTo(percent) => Some(if percent > 50 { ThermalState::High } else { ThermalState::Low }),
        }
    }
}

#[test]
fn a_device_is_cooled_and_its_clients_hear_how_hot_it_is() {
    let bench = bench_with(|_| (), Some(raising::<Filter>()), None);
    let status = |cooling| bench.device.cool(cooling).map_err(|refusal| refusal.status);
    assert_eq!(status(Cooling::Engage), Err(STATUS_NOT_SUPPORTED), "its driver has no routine");
    let driver = Arc::new(Hot::default());
    bench.device.drive_by(driver.clone());
    let heard = [KSEVENT_DEVICE_THERMAL_HIGH, KSEVENT_DEVICE_THERMAL_LOW].map(|id| {
        let (handle, event) = bench.session.create_event().unwrap();
        assert_eq!(enable(&bench, bench.filter, KSEVENTSETID_Device, id, handle), OK);
        event
    });
    for (cooling, state, high, low) in [
        (Cooling::Engage, ThermalState::Low, false, false),
        (Cooling::LimitTo(100), ThermalState::High, true, false),
        (Cooling::LimitTo(51), ThermalState::High, false, false),
        (Cooling::LimitTo(50), ThermalState::Low, false, true),
        (Cooling::LimitTo(0), ThermalState::Low, false, false),
    ] {
        assert_eq!((status(cooling), bench.device.thermal_state()), (Ok(()), state), "{cooling:?}");
        assert_eq!([heard[0].is_set(), heard[1].is_set()], [high, low], "{cooling:?}: a change is told, once");
        heard.iter().for_each(|event| event.clear());
    }
    assert_eq!(status(Cooling::Disengage), Err(STATUS_NOT_SUPPORTED));
    let told = driver.0.lock().len();
    assert_eq!(status(Cooling::LimitTo(101)), Err(STATUS_INVALID_PARAMETER));
    bench.device.surprise_remove();
    assert_eq!(status(Cooling::Engage), Err(STATUS_DEVICE_REMOVED));
    assert_eq!(driver.0.lock().len(), told, "the driver is not asked");
}

/// A control that takes long answers at once, and raises the event of its own number when it is done: the events of that set
/// have the numbers of the properties.
#[test]
fn extended_controls_of_a_camera_tell_by_their_own_events_that_they_are_done() {
    fn set<T>() -> AutomationTable<T> {
        let controls = known_properties().filter(|known| known.set == KSPROPERTYSETID_ExtendedCameraControl);
        let items = controls.map(|known| EventItem::new(known.id)).collect();
        let events = vec![EventSet { set: KSEVENTSETID_ExtendedCameraControl, items }];
        AutomationTable { events, ..AutomationTable::default() }
    }
    let without = bench();
    let bench = bench_with(|_| (), Some(set::<Filter>()), Some(set::<Pin>()));
    let pin = bench.pin(OUT);
    let (filter_object, pin_object) = (bench.engine_filter(bench.filter), bench.engine_pin(pin));
    let ids: Vec<u32> = known_properties()
        .filter(|known| known.set == KSPROPERTYSETID_ExtendedCameraControl)
        .map(|known| known.id)
        .collect();
    assert!(ids.len() > 20, "{ids:?}");
    let events = KSEVENTSETID_ExtendedCameraControl;
    for handle in [bench.filter, pin] {
        let enabled: Vec<_> = ids.iter().map(|_| bench.session.create_event().unwrap()).collect();
        for (id, (event, _)) in ids.iter().zip(&enabled) {
            assert_eq!(enable(&bench, handle, events, *id, *event), OK);
        }
        assert_eq!(enable(&bench, handle, events, ids.len() as u32 + 1000, enabled[0].0), NO_ITEM);
        // One of them is done, and only its client hears.
        let done = ids[3];
        match handle == pin {
            true => pin_object.generate_events(events, done),
            false => filter_object.generate_events(events, done),
        }
        for (id, (_, event)) in ids.iter().zip(&enabled) {
            assert_eq!(event.is_set(), *id == done, "{id}");
        }
    }
    let (event, _) = without.session.create_event().unwrap();
    assert_eq!(enable(&without, without.filter, events, ids[0], event), NO_SET, "no camera");
}

#[test]
fn a_minidriver_runs_every_method_that_the_class_driver_does_not() {
    let items = |set: Guid| {
        known_methods().filter(move |known| known.set == set).map(|known| {
            let kind = if known.id % 2 == 0 { KSMETHOD_TYPE_WRITE } else { KSMETHOD_TYPE_READ };
            MethodItem::new(known.id, kind, move |_: &Pin, call: &mut PropertyCall<'_>| {
                assert_eq!(call.property().id, known.id);
                STATUS_DEVICE_BUSY
            })
        })
    };
    let sets = [KSMETHODSETID_StreamIo, KSMETHODSETID_Wavetable];
    let methods = sets.map(|set| MethodSet { set, items: items(set).collect() }).into();
    let without = bench();
    let bench = bench_with(|_| (), None, Some(AutomationTable { methods, ..AutomationTable::default() }));
    let (pin, bare) = (bench.pin(OUT), without.pin(OUT));
    let mut sent = 0;
    for known in known_methods().filter(|known| sets.contains(&known.set)) {
        let request = KsMethod::new(known.set, known.id, KSMETHOD_TYPE_SEND);
        let send =
            |bench: &Bench, pin| bench.control(pin, IoControlCode::KS_METHOD, request.as_bytes(), &mut []).status;
        assert_eq!(send(&bench, pin), STATUS_DEVICE_BUSY, "{} is the minidriver's", known.name);
        assert_eq!(send(&without, bare), NO_SET, "{}", known.name);
        sent += 1;
    }
    assert_eq!(sent, 6);
}

/// What an object behind a handle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Filter,
    Pin,
    Clock,
    Allocator,
    /// A node whose minidriver has no table for it.
    Node,
}

/// What the class driver makes of (GET, SET) of a property on an object.
fn of_property(kind: Kind, set: Guid, id: u32) -> (NtStatus, NtStatus) {
    // Addresses of routines: for the kernel alone.
    let for_kernel = (STATUS_INVALID_DEVICE_REQUEST, NO_ITEM);
    match kind {
        Kind::Filter => on_filter(set, id),
        Kind::Pin => on_pin(set, id),
        Kind::Clock if set == KSPROPSETID_Clock => match id {
            KSPROPERTY_CLOCK_FUNCTIONTABLE => for_kernel,
            _ => (OK, NO_ITEM),
        },
        Kind::Allocator if set == KSPROPSETID_StreamAllocator => match id {
            KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE => for_kernel,
            _ => (OK, NO_ITEM),
        },
        Kind::Clock | Kind::Allocator | Kind::Node => (NO_SET, NO_SET),
    }
}

/// What it makes of the question whether there is such an event.
fn of_event(kind: Kind, set: Guid, id: u32) -> NtStatus {
    const RAISED: [u32; 3] =
        [KSEVENT_CONNECTION_DATADISCONTINUITY, KSEVENT_CONNECTION_TIMEDISCONTINUITY, KSEVENT_CONNECTION_ENDOFSTREAM];
    match kind {
        Kind::Pin if set == CONNECTION_EVENTS && RAISED.contains(&id) => OK,
        Kind::Pin if set == CONNECTION_EVENTS => NO_ITEM,
        Kind::Clock if set == KSEVENTSETID_Clock => OK,
        Kind::Allocator if set == KSEVENTSETID_StreamAllocator => OK,
        _ => NO_SET,
    }
}

/// And of the question what type a method is of.
fn of_method(kind: Kind, set: Guid) -> NtStatus {
    if kind == Kind::Allocator && set == KSMETHODSETID_StreamAllocator { OK } else { NO_SET }
}

#[test]
fn every_item_has_its_outcome_on_every_kind_of_object() {
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME], None, None);
    let pin = bench.pin(OUT);
    let below = |parent, class, parameters: &[u8]| {
        bench.session.create(parent, class, parameters, both_accesses()).expect("it can be created")
    };
    let framing = KsAllocatorFraming {
        flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
        frames: 1,
        frame_size: 64,
        ..Default::default()
    };
    let kinds = [
        (Kind::Filter, bench.filter),
        (Kind::Pin, pin),
        (Kind::Clock, below(pin, KSSTRING_CLOCK, &[0; 4])),
        (Kind::Allocator, below(pin, KSSTRING_ALLOCATOR, framing.as_bytes())),
        (Kind::Node, below(bench.filter, KSSTRING_TOPOLOGY_NODE, &[0; 8])),
    ];
    let mut cells = 0;
    for (kind, handle) in kinds {
        for item in
            known_properties().filter(|item| SETS.contains(&item.set) || item.set == KSPROPSETID_StreamAllocator)
        {
            let (get, set) = of_property(kind, item.set, item.id);
            let asked = bench.ask(handle, &request(item.set, item.id, GET), 512).0.status;
            assert_eq!(asked, get, "GET of {} on {kind:?}", item.name);
            let asked = bench.property(handle, &request(item.set, item.id, SET), &mut data(item.set, item.id)).status;
            assert_eq!(asked, set, "SET of {} on {kind:?}", item.name);
            cells += 2;
        }
        for known in known_events() {
            let asks = KsEvent::new(known.set, known.id, KSEVENT_TYPE_BASICSUPPORT);
            let asked = bench.control(handle, IoControlCode::KS_ENABLE_EVENT, asks.as_bytes(), &mut []).status;
            assert_eq!(asked, of_event(kind, known.set, known.id), "{} on {kind:?}", known.name);
            cells += 1;
        }
        for known in known_methods() {
            let asks = KsMethod::new(known.set, known.id, KSMETHOD_TYPE_BASICSUPPORT);
            let asked = bench.control(handle, IoControlCode::KS_METHOD, asks.as_bytes(), &mut [0; 4]).status;
            assert_eq!(asked, of_method(kind, known.set), "{} on {kind:?}", known.name);
            cells += 1;
        }
    }
    assert!(cells > 5 * 150, "{cells} cells are fewer than the vocabulary has");
}
