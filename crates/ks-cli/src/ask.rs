//! What `get`, `set` and `events` do: the library as these verbs use it.

use ks_abi::{
    Guid, KSPROPERTY_TOPOLOGY_NAME, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_Pin, KSPROPSETID_Topology,
    KsState, STATUS_NOT_FOUND,
};
use ks_abi::{STATUS_PROPSET_NOT_FOUND, known_events, known_properties};
use ks_client::{ClientError, Filter, Object, Pin, PropertyDescription, Scope, SetKind};
use ks_io::{Ticks, WaitOutcome};

use crate::document::{EventsDocument, ItemEntry, PropertyDocument};
use crate::engine::{Engine, request_failure};
use crate::failure::Failure;
use crate::{describe, suggest, value};

/// A filter, or a pin of it, by the words of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) filter: String,
    pub(crate) pin: Option<u32>,
}

impl Place {
    /// `name`, or `name.0` for its pin 0. A number behind the last dot is a pin.
    pub(crate) fn parse(word: &str) -> Place {
        let pin = word.rsplit_once('.').and_then(|(filter, pin)| Some((filter, pin.parse().ok()?)));
        match pin {
            Some((filter, pin)) if !filter.is_empty() => Place { filter: filter.to_owned(), pin: Some(pin) },
            _ => Place { filter: word.to_owned(), pin: None },
        }
    }
}

/// An item of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) set: Guid,
    pub(crate) id: u32,
    pub(crate) name: Option<&'static str>,
}

impl Named {
    /// The header's name, else the set and the number.
    pub(crate) fn text(&self) -> String {
        self.name.map_or_else(|| format!("{}:{}", describe::guid(self.set), self.id), str::to_owned)
    }
}

/// The property or event that a word names: a name of the headers, in any case, with or without what all of them begin
/// with; or a set, a colon and a number.
pub(crate) fn named(kind: SetKind, word: &str) -> Result<Named, Failure> {
    let (what, start, items): (_, _, Vec<ks_abi::Item>) = match kind {
        SetKind::Event => ("event", "KSEVENT_", known_events().collect()),
        _ => ("property", "KSPROPERTY_", known_properties().collect()),
    };
    if let Some((set, id)) = word.rsplit_once(':')
        && let Ok(id) = id.parse()
    {
        let known = ks_abi::known_guids().find(|(name, _)| name.eq_ignore_ascii_case(set)).map(|(_, guid)| guid);
        let set = known.or_else(|| set.parse().ok()).ok_or_else(|| {
            Failure::usage(format!("read the {what} `{word}`"), format!("`{set}` is no set"))
                .with_hint("a set is a GUID in braces, or the header's name of one, such as KSPROPSETID_Pin")
        })?;
        let name = items.iter().find(|item| item.set == set && item.id == id).map(|item| item.name);
        return Ok(Named { set, id, name });
    }
    let plain = word.replace('-', "_");
    let is_meant = |item: &&ks_abi::Item| {
        item.name.eq_ignore_ascii_case(&plain)
            || item.name.strip_prefix(start).is_some_and(|short| short.eq_ignore_ascii_case(&plain))
    };
    match items.iter().find(is_meant) {
        Some(item) => Ok(Named { set: item.set, id: item.id, name: Some(item.name) }),
        None => {
            let short = items.iter().map(|item| item.name.strip_prefix(start).unwrap_or(item.name));
            let hint = suggest::did_you_mean(&plain, short);
            let how = format!("`ks inspect FILTER` lists what a filter has; a {what} without a name is SET:NUMBER");
            Err(Failure::usage(format!("read the {what} `{word}`"), "the headers have none of this name")
                .with_hint(hint.map_or(how.clone(), |hint| format!("{hint} {how}"))))
        }
    }
}

/// The object that a request goes to, kept open.
struct Opened {
    filter: Filter,
    pin: Option<Pin>,
}

impl Opened {
    fn object(&self) -> &Object {
        self.pin.as_ref().map_or(self.filter.object(), Pin::object)
    }
}

/// A request for a property: one of the set of pin factories goes to the filter with the number of the pin.
struct Request {
    bytes: Vec<u8>,
    named: Named,
}

impl Engine {
    fn open_place(&self, place: &Place, named: Option<Named>) -> Result<Opened, Failure> {
        let filter = self.open(&place.filter)?;
        let of_factory = named.is_some_and(|named| named.set == KSPROPSETID_Pin);
        let pin = match place.pin {
            Some(id) if !of_factory => Some(filter.create_client_pin(id).map_err(|error| request_failure(&error))?),
            _ => None,
        };
        Ok(Opened { filter, pin })
    }

    /// Reads a property.
    pub(crate) fn get(&self, place: &Place, scope: Scope, named: Named) -> Result<PropertyDocument, Failure> {
        let opened = self.open_place(place, Some(named))?;
        read(&opened, place, scope, named)
    }

    /// Writes a property, and reads it again where it can be read.
    pub(crate) fn set(
        &self,
        place: &Place,
        scope: Scope,
        named: Named,
        text: &str,
    ) -> Result<PropertyDocument, Failure> {
        let opened = self.open_place(place, Some(named))?;
        let told = opened.object().describe_property(scope, named.set, named.id).ok();
        let (shape, _) = value::shape(named.name, told.as_ref());
        let mut data = value::parse(shape, text).map_err(|expected| {
            Failure::usage(format!("set {} to `{text}`", named.text()), format!("it takes {expected}"))
        })?;
        let request = request(place, scope, named, KSPROPERTY_TYPE_SET);
        let outcome = opened.object().control(ks_abi::IoControlCode::KS_PROPERTY, &request.bytes, &mut data);
        if !outcome.status.is_success() {
            let reason = outcome.refusal.map_or_else(|| outcome.status.to_string(), |refusal| refusal.reason);
            return Err(not_there(&opened, scope, named, outcome.status).unwrap_or_else(|| {
                let failure = Failure::job(format!("set {} of {}", named.text(), opened.object().name()), reason);
                match told.as_ref().map(|told| value::members(shape, told)).filter(|members| !members.is_empty()) {
                    Some(members) => failure.with_hint(format!("it takes {}", members.join(", "))),
                    None => failure,
                }
            }));
        }
        let readable = told.is_none_or(|told| told.access & KSPROPERTY_TYPE_GET != 0);
        match readable {
            true => read(&opened, place, scope, named),
            false => Ok(document(&opened, named, None, &data)),
        }
    }

    /// Waits for an event so many times, and calls `each` with the number of the time. Ends early when the time is up.
    pub(crate) fn events(
        &self,
        place: &Place,
        scope: Scope,
        named: Named,
        wanted: Wanted,
        each: &mut dyn FnMut(u64, Ticks) -> Result<(), Failure>,
    ) -> Result<EventsDocument, Failure> {
        let opened = self.open_place(place, None)?;
        let object = opened.object();
        let enabled = object.enable_event(scope, named.set, named.id).map_err(|error| {
            not_there(&opened, scope, named, error.status).unwrap_or_else(|| request_failure(&error))
        })?;
        if let (Some(pin), Some(state)) = (&opened.pin, wanted.state) {
            pin.set_state(state).map_err(|error| request_failure(&error))?;
        }
        let services = object.transport().services();
        let begun = services.now();
        let until = wanted.timeout.map_or(begun + Ticks(i64::MAX / 4), |timeout| begun + timeout);
        let mut times = Vec::new();
        while (times.len() as u64) < wanted.count {
            if enabled.event().wait_until(until) != WaitOutcome::Signalled {
                break;
            }
            enabled.event().clear();
            let at = services.now().since(begun);
            times.push(at.as_nanos().max(0).cast_unsigned());
            each(times.len() as u64, at)?;
        }
        let complete = times.len() as u64 == wanted.count;
        Ok(EventsDocument { object: object.name().to_owned(), event: named.text(), at_ns: times, complete })
    }

    /// Every property, method and event of an object, with what may be asked of it.
    pub(crate) fn items(object: &Object, kind: SetKind) -> Vec<ItemEntry> {
        let items = object.supported_items(kind, Scope::Object).unwrap_or_default();
        let entry = |item: ks_client::ItemInfo| {
            let described = (kind == SetKind::Property)
                .then(|| object.describe_property(Scope::Object, item.set, item.id).ok())
                .flatten();
            let (shape, unit) = value::shape(item.name, described.as_ref());
            ItemEntry {
                set: describe::guid(item.set),
                id: item.id,
                name: item.name.map(str::to_owned),
                access: access(kind, item.flags),
                unit: unit.to_owned(),
                values: described.as_ref().map(|told| value::members(shape, told)).unwrap_or_default(),
                default: described.and_then(|told| told.default).map(|bytes| value::text(shape, &bytes)),
            }
        };
        items.into_iter().map(entry).collect()
    }
}

/// How long, how often and in which state to wait for an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) count: u64,
    pub(crate) timeout: Option<Ticks>,
    pub(crate) state: Option<KsState>,
}

/// The kinds of request that an item takes.
fn access(kind: SetKind, flags: u32) -> Vec<String> {
    let words: &[(u32, &str)] = match kind {
        SetKind::Property => &[(KSPROPERTY_TYPE_GET, "get"), (KSPROPERTY_TYPE_SET, "set")],
        SetKind::Method => &[(1, "read"), (2, "write"), (4, "direct")],
        SetKind::Event => return vec!["enable".into()],
    };
    words.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| (*word).to_owned()).collect()
}

fn request(place: &Place, scope: Scope, named: Named, verb: u32) -> Request {
    let is_name = named.set == KSPROPSETID_Topology && named.id == KSPROPERTY_TOPOLOGY_NAME;
    if let Scope::Node(node) = scope
        && is_name
    {
        // The filter tells it, and not the node.
        let bytes = [Scope::Object.request(named.set, named.id, verb), node.to_le_bytes().into(), vec![0; 4]].concat();
        return Request { bytes, named };
    }
    let mut bytes = scope.request(named.set, named.id, verb);
    if named.set == KSPROPSETID_Pin && scope == Scope::Object {
        bytes.extend(place.pin.unwrap_or(0).to_le_bytes());
        bytes.extend([0; 4]);
    }
    Request { bytes, named }
}

fn read(opened: &Opened, place: &Place, scope: Scope, named: Named) -> Result<PropertyDocument, Failure> {
    let request = request(place, scope, named, KSPROPERTY_TYPE_GET);
    let object = opened.object();
    let told = object.describe_property(scope, named.set, named.id).ok();
    let bytes = object.property_bytes(&request.bytes, named.set, request.named.id).map_err(|error: ClientError| {
        not_there(opened, scope, named, error.status).unwrap_or_else(|| request_failure(&error))
    })?;
    Ok(document(opened, named, told, &bytes))
}

fn document(opened: &Opened, named: Named, told: Option<PropertyDescription>, bytes: &[u8]) -> PropertyDocument {
    let (shape, unit) = value::shape(named.name, told.as_ref());
    PropertyDocument {
        object: opened.object().name().to_owned(),
        property: named.text(),
        set: describe::guid(named.set),
        id: named.id,
        value: value::text(shape, bytes),
        unit: unit.to_owned(),
        bytes: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        values: told.as_ref().map(|told| value::members(shape, told)).unwrap_or_default(),
        default: told.and_then(|told| told.default).map(|bytes| value::text(shape, &bytes)),
    }
}

/// The failure of an item that the object does not have, with one that it may have been mistaken for.
fn not_there(opened: &Opened, scope: Scope, named: Named, status: ks_abi::NtStatus) -> Option<Failure> {
    if status != STATUS_NOT_FOUND && status != STATUS_PROPSET_NOT_FOUND {
        return None;
    }
    let object = opened.object();
    let kind =
        if named.name.is_some_and(|name| name.starts_with("KSEVENT_")) { SetKind::Event } else { SetKind::Property };
    let known = object.supported_items(kind, scope).unwrap_or_default();
    // Their common beginning makes no two names alike.
    let short = |name: &str| name.trim_start_matches("KSPROPERTY_").trim_start_matches("KSEVENT_").to_owned();
    let names: Vec<String> = known.iter().filter_map(|item| item.name).map(short).collect();
    let failure = Failure::usage(format!("ask {} of {}", named.text(), object.name()), "it has none");
    if let Some(node) = node_that_has(opened, scope, named, kind) {
        return Some(failure.with_hint(format!("its topology node {node} has it: add --node {node}")));
    }
    let hint = match suggest::did_you_mean(&short(&named.text()), names.iter().map(String::as_str)) {
        Some(hint) => hint,
        None if opened.pin.is_none() => "a pin of it may: FILTER.0; `ks inspect` shows what there is".into(),
        None => "`ks inspect --pins` shows what there is".into(),
    };
    Some(failure.with_hint(hint))
}

/// The first topology node that has an item which was asked of the filter.
fn node_that_has(opened: &Opened, scope: Scope, named: Named, kind: SetKind) -> Option<u32> {
    if scope != Scope::Object || opened.pin.is_some() {
        return None;
    }
    let nodes = opened.filter.topology().map_or(0, |topology| topology.nodes.len()) as u32;
    let has = |node: &u32| {
        let items = opened.object().supported_items(kind, Scope::Node(*node)).unwrap_or_default();
        items.iter().any(|item| item.set == named.set && item.id == named.id)
    };
    (0..nodes).find(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_behind_the_last_dot_is_a_pin() {
        let place = |filter: &str, pin| Place { filter: filter.into(), pin };
        assert_eq!(Place::parse("test-camera"), place("test-camera", None));
        assert_eq!(Place::parse("test-camera.0"), place("test-camera", Some(0)));
        assert_eq!(Place::parse("./my.sys"), place("./my.sys", None));
        assert_eq!(Place::parse("./my.sys.1"), place("./my.sys", Some(1)));
        assert_eq!(Place::parse(".1"), place(".1", None));
    }

    #[test]
    fn a_property_is_named_in_any_case_with_or_without_its_start() {
        let ctypes = named(SetKind::Property, "KSPROPERTY_PIN_CTYPES").unwrap();
        assert_eq!((ctypes.set, ctypes.id), (KSPROPSETID_Pin, 1));
        for word in ["pin_ctypes", "pin-ctypes", "Pin-CTypes", "KSPROPSETID_Pin:1", &format!("{}:1", KSPROPSETID_Pin)] {
            assert_eq!(named(SetKind::Property, word).unwrap(), ctypes, "{word}");
        }
        assert_eq!(named(SetKind::Event, "connection-endofstream").unwrap().id, 4);
        let unknown = named(SetKind::Property, "{00000001-0000-0000-0000-000000000000}:7").unwrap();
        assert_eq!((unknown.id, unknown.name), (7, None));
        let failure = named(SetKind::Property, "pin-ctype").unwrap_err();
        assert!(failure.hint.unwrap().contains("PIN_CTYPES"));
        assert!(named(SetKind::Property, "nonsense:1").is_err());
    }
}
