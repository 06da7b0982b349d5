//! The property engine: the whole IOCTL_KS_PROPERTY protocol over automation tables.
//!
//! Source: nf-ks-kspropertyhandler, ns-ks-ksidentifier.

mod serial;
mod support;

use crate::automation::{AutomationTable, PropertyItem};
use crate::callback;
use ks_abi::{
    Guid, KSPROPERTY_TYPE_BASICSUPPORT, KSPROPERTY_TYPE_COPYPAYLOAD, KSPROPERTY_TYPE_DEFAULTVALUES,
    KSPROPERTY_TYPE_FSFILTERSCOPE, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_GETPAYLOADSIZE, KSPROPERTY_TYPE_HIGHPRIORITY,
    KSPROPERTY_TYPE_RELATIONS, KSPROPERTY_TYPE_SERIALIZERAW, KSPROPERTY_TYPE_SERIALIZESET,
    KSPROPERTY_TYPE_SERIALIZESIZE, KSPROPERTY_TYPE_SET, KSPROPERTY_TYPE_SETSUPPORT, KSPROPERTY_TYPE_TOPOLOGY,
    KSPROPERTY_TYPE_UNSERIALIZERAW, KSPROPERTY_TYPE_UNSERIALIZESET, KsProperty, NtStatus, STATUS_BUFFER_OVERFLOW,
    STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_FOUND, STATUS_PROPSET_NOT_FOUND, STATUS_SOME_NOT_MAPPED, STATUS_SUCCESS,
};
use ks_io::sync::Arc;
use ks_io::{Aspect, Dispatched, FileObject, FileReference, Irp, IrpParts, Origin, Output, Refusal};
use ks_mem::fallible;
use support::Members;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One property or method request as its handler sees it: sizes are checked against the item's minimums, the request and the data
/// are captures that nobody changes.
#[derive(Debug)]
pub struct PropertyCall<'a> {
    property: &'a KsProperty,
    request: &'a [u8],
    output: &'a mut Output,
    origin: &'a Origin,
    file: &'a FileReference,
    refusal: Option<Refusal>,
}

impl<'a> PropertyCall<'a> {
    pub(crate) fn new(
        property: &'a KsProperty,
        request: &'a [u8],
        output: &'a mut Output,
        origin: &'a Origin,
        file: &'a FileReference,
    ) -> PropertyCall<'a> {
        PropertyCall { property, request, output, origin, file, refusal: None }
    }

    /// What the handler's answer comes to.
    pub(crate) fn outcome(self, status: NtStatus) -> Result<NtStatus, Refusal> {
        self.refusal.map_or(Ok(status), Err)
    }

    /// Set, item and flags of the request.
    pub fn property(&self) -> KsProperty {
        *self.property
    }

    /// The request bytes, `KSPROPERTY` included.
    pub fn request(&self) -> &[u8] {
        self.request
    }

    /// The request as its structure (`KSP_PIN`, say).
    pub fn request_as<T: FromBytes>(&self) -> Result<T, NtStatus> {
        T::read_from_prefix(self.request).map(|(value, _)| value).map_err(|_| STATUS_INVALID_BUFFER_SIZE)
    }

    /// The data of a SET.
    pub fn data(&self) -> &[u8] {
        self.output.data()
    }

    /// The data of a SET as its structure.
    pub fn data_as<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<T, NtStatus> {
        T::read_from_prefix(self.output.data()).map(|(value, _)| value).map_err(|_| STATUS_BUFFER_TOO_SMALL)
    }

    /// Answers a GET; see [`Output::answer`] for the two-call protocol.
    pub fn answer(&mut self, bytes: &[u8]) -> NtStatus {
        self.output.answer(bytes)
    }

    /// Answers a GET with a structure.
    pub fn answer_value<T: IntoBytes + Immutable>(&mut self, value: &T) -> NtStatus {
        self.output.answer_value(value)
    }

    /// Answers a GET with a list, see [`crate::sized_list::answer`].
    pub fn answer_list<'i>(&mut self, items: impl Iterator<Item = &'i [u8]> + Clone) -> NtStatus {
        crate::sized_list::answer(self.output, items)
    }

    /// Room that the caller offers for the answer.
    pub fn answer_limit(&self) -> usize {
        self.output.limit()
    }

    /// Who asks.
    pub fn origin(&self) -> &Origin {
        self.origin
    }

    /// The file object that the request was sent to; it also finds the objects that the data names by handle.
    pub fn file_object(&self) -> Option<Arc<FileObject>> {
        self.file.upgrade()
    }

    /// Sets Information where it is not the length of the answer: the size that a size query learns.
    pub fn set_information(&mut self, bytes: usize) {
        self.output.set_information(bytes);
    }

    /// What was answered so far is nobody's.
    fn forget_answer(&mut self) {
        self.output.forget_answer();
        self.output.set_information(0);
        self.refusal = None;
    }

    /// Refuses with a reason; returns its status for the handler to return.
    pub fn refuse(&mut self, refusal: Refusal) -> NtStatus {
        let status = refusal.status;
        self.refusal = Some(refusal);
        status
    }
}

/// What may be or-ed to GET and SET beside the node's flag.
///
/// Decision: the documentation names these flags and says nothing of them. They ask for what holds of every request here
/// (its payload is a copy, it stays in the scope of the filter that it was sent to, none is put off for another), so they
/// change nothing; or-ed to anything else they are refused.
const MODIFIERS: u32 = KSPROPERTY_TYPE_COPYPAYLOAD | KSPROPERTY_TYPE_HIGHPRIORITY | KSPROPERTY_TYPE_FSFILTERSCOPE;

/// Answers a property request from `tables`, the driver's before the class driver's.
// ks-coverage: KsPropertyHandler done test=a_request_asks_for_one_thing,basic_support_has_three_sizes,a_set_is_serialized_and_written_back,property_and_method_tables_answer_a_drivers_own_requests
// ks-coverage: IOCTL_KS_PROPERTY done test=a_request_asks_for_one_thing
#[doc(alias = "KsPropertyHandler")]
#[inline]
pub(crate) fn handle<T: 'static>(object: &T, mut irp: Irp, tables: &[&AutomationTable<T>]) -> Dispatched {
    let status = match answer(object, irp.parts(), tables) {
        Ok(status) => status,
        Err(refusal) => return Dispatched::Completed(irp.refuse(refusal)),
    };
    irp.done(status)
}

/// Answers a property request and completes nothing: what AVStream does with a request of its own objects, for drivers
/// that have no AVStream and whose requests are elsewhere. STATUS_PENDING of a handler is passed on. Whatever requests it
/// takes apart into, they are of the same origin.
#[inline]
pub fn answer<T: 'static>(
    object: &T,
    parts: IrpParts<'_>,
    tables: &[&AutomationTable<T>],
) -> Result<NtStatus, Refusal> {
    let IrpParts { input: request, output, origin, file } = parts;
    // A view of the capture, which is aligned and stays: a copy of the identifier would be read back in other pieces.
    let Ok((property, _)) = KsProperty::ref_from_prefix(request) else {
        return Ok(STATUS_INVALID_BUFFER_SIZE);
    };
    let verb = property.flags & !(KSPROPERTY_TYPE_TOPOLOGY | MODIFIERS);
    if verb != KSPROPERTY_TYPE_GET && verb != KSPROPERTY_TYPE_SET {
        return answer_other(object, &Asked { property, request, origin, file }, verb, output, tables);
    }
    let Some(item) = find(property, tables)? else { return Ok(STATUS_NOT_FOUND) };
    let handler = if verb == KSPROPERTY_TYPE_GET { &item.get } else { &item.set };
    let Some(handler) = handler else { return Ok(STATUS_NOT_FOUND) };
    if request.len() < item.min_property_bytes {
        return Ok(STATUS_INVALID_BUFFER_SIZE);
    }
    if output.limit() < item.min_data_bytes {
        return Ok(output.too_small(item.min_data_bytes));
    }
    let mut call = PropertyCall::new(property, request, output, origin, file);
    let status = callback::answer(object, || handler(object, &mut call));
    if status == STATUS_SOME_NOT_MAPPED {
        return left_over(object, call, verb, tables);
    }
    call.outcome(status)
}

/// A handler of the driver's has done its part of a request, and leaves the rest to the class driver: to the item that its
/// own overrides. Where there is none, the status is the answer.
///
/// Source: nc-ks-pfnkshandler; decision 0127.
#[cold]
fn left_over<T: 'static>(
    object: &T,
    mut call: PropertyCall<'_>,
    verb: u32,
    tables: &[&AutomationTable<T>],
) -> Result<NtStatus, Refusal> {
    let property = call.property();
    let item = tables.iter().filter_map(|table| find(&property, &[*table]).ok().flatten()).nth(1);
    let handler = item.and_then(|item| if verb == KSPROPERTY_TYPE_GET { item.get.as_ref() } else { item.set.as_ref() });
    let (Some(item), Some(handler)) = (item, handler) else { return call.outcome(STATUS_SOME_NOT_MAPPED) };
    call.forget_answer();
    if call.request().len() < item.min_property_bytes {
        return Ok(STATUS_INVALID_BUFFER_SIZE);
    }
    if call.answer_limit() < item.min_data_bytes {
        return Ok(call.output.too_small(item.min_data_bytes));
    }
    let status = callback::answer(object, || handler(object, &mut call));
    call.outcome(status)
}

/// A request beside its buffer.
struct Asked<'a> {
    property: &'a KsProperty,
    request: &'a [u8],
    origin: &'a Origin,
    file: &'a FileReference,
}

impl Asked<'_> {
    /// Runs a GET or SET of one item, whose request is the same but for its item and verb: it names the same node, comes
    /// from the same requestor in the same mode, and is held to the same sizes as one that the client sends itself.
    fn run<T: 'static>(
        &self,
        object: &T,
        item: &PropertyItem<T>,
        verb: u32,
        output: &mut Output,
    ) -> Result<NtStatus, Refusal> {
        let property =
            KsProperty { id: item.id, flags: verb | self.property.flags & KSPROPERTY_TYPE_TOPOLOGY, ..*self.property };
        let mut request = Vec::new();
        if fallible(|| request.try_reserve_exact(self.request.len())).is_err() {
            return Ok(STATUS_INSUFFICIENT_RESOURCES);
        }
        request.extend_from_slice(self.request);
        request[..size_of::<KsProperty>()].copy_from_slice(property.as_bytes());
        let handler = if verb == KSPROPERTY_TYPE_GET { &item.get } else { &item.set };
        let Some(handler) = handler else { return Ok(STATUS_NOT_FOUND) };
        if request.len() < item.min_property_bytes {
            return Ok(STATUS_INVALID_BUFFER_SIZE);
        }
        if output.limit() < item.min_data_bytes {
            return Ok(output.too_small(item.min_data_bytes));
        }
        let mut call = PropertyCall::new(&property, &request, output, self.origin, self.file);
        let status = callback::answer(object, || handler(object, &mut call));
        call.outcome(status)
    }

    /// Runs a GET without room: the size of its answer.
    fn size_of_answer<T: 'static>(
        &self,
        object: &T,
        item: &PropertyItem<T>,
    ) -> Result<Result<usize, NtStatus>, Refusal> {
        let mut none = Output::with_room(0);
        let status = self.run(object, item, KSPROPERTY_TYPE_GET, &mut none)?;
        Ok(match status {
            STATUS_BUFFER_OVERFLOW | STATUS_SUCCESS => Ok(none.information()),
            failure => Err(failure),
        })
    }
}

/// Everything but GET and SET.
#[cold]
fn answer_other<T: 'static>(
    object: &T,
    asked: &Asked<'_>,
    verb: u32,
    output: &mut Output,
    tables: &[&AutomationTable<T>],
) -> Result<NtStatus, Refusal> {
    let property = asked.property;
    if verb.count_ones() != 1 || property.flags & MODIFIERS != 0 {
        let reason = format!("property flags {:#x} ask for more or less than one thing", property.flags);
        return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason));
    }
    match verb {
        KSPROPERTY_TYPE_SETSUPPORT => {
            let sets = tables.iter().flat_map(|table| &table.properties).map(|set| set.set);
            return Ok(set_support(property.set, output, sets));
        }
        KSPROPERTY_TYPE_SERIALIZESET => return serial::serialize_set(object, asked, output, tables),
        KSPROPERTY_TYPE_UNSERIALIZESET => return serial::unserialize_set(object, asked, output, tables),
        _ => {}
    }
    let Some(item) = find(property, tables)? else { return Ok(STATUS_NOT_FOUND) };
    match verb {
        KSPROPERTY_TYPE_BASICSUPPORT => Ok(support::basic_support(item, output, Members::All)),
        KSPROPERTY_TYPE_DEFAULTVALUES => Ok(support::basic_support(item, output, Members::Defaults)),
        KSPROPERTY_TYPE_RELATIONS => {
            Ok(crate::sized_list::answer(output, item.relations.iter().map(|relation| relation.as_bytes())))
        }
        KSPROPERTY_TYPE_SERIALIZESIZE => serial::serialized_size(object, asked, item, output),
        KSPROPERTY_TYPE_SERIALIZERAW | KSPROPERTY_TYPE_UNSERIALIZERAW => {
            let Some(support) = &item.support else {
                let reason = format!("property {} has no serialized form of its own", property.id);
                return Err(Refusal::new(STATUS_NOT_FOUND, Aspect::Request, reason));
            };
            if asked.request.len() < item.min_property_bytes {
                return Ok(STATUS_INVALID_BUFFER_SIZE);
            }
            let mut call = PropertyCall::new(property, asked.request, output, asked.origin, asked.file);
            let status = callback::answer(object, || support(object, &mut call));
            call.outcome(status)
        }
        // Decision: not documented; the size that a GET would answer, as a ULONG.
        KSPROPERTY_TYPE_GETPAYLOADSIZE => Ok(match asked.size_of_answer(object, item)? {
            Ok(bytes) => output.answer_value(&u32::try_from(bytes).unwrap_or(u32::MAX)),
            Err(failure) => failure,
        }),
        _ => {
            let reason = format!("property flags {:#x} name no kind of request", property.flags);
            Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason))
        }
    }
}

fn find<'t, T>(
    property: &KsProperty,
    tables: &[&'t AutomationTable<T>],
) -> Result<Option<&'t PropertyItem<T>>, Refusal> {
    let mut set_found = false;
    for table in tables {
        for set in table.properties.iter().filter(|set| set.set == property.set) {
            set_found = true;
            if let Some(item) = set.items.iter().find(|item| item.id == property.id) {
                return Ok(Some(item));
            }
        }
    }
    if set_found {
        return Ok(None);
    }
    Err(unknown_set(property.set, "property"))
}

/// SETSUPPORT: with a null set, the list of all sets; else whether the set exists.
pub(crate) fn set_support(set: Guid, output: &mut Output, known: impl Iterator<Item = Guid>) -> NtStatus {
    let mut sets: Vec<Guid> = Vec::new();
    for known in known {
        if !sets.contains(&known) {
            sets.push(known);
        }
    }
    if set.is_null() {
        return output.answer(sets.as_slice().as_bytes());
    }
    if sets.contains(&set) { STATUS_SUCCESS } else { STATUS_PROPSET_NOT_FOUND }
}

/// The refusal of a set that is in no table.
pub(crate) fn unknown_set(set: Guid, kind: &str) -> Refusal {
    let name = set.name().map_or_else(|| set.to_string(), str::to_string);
    let reason = format!("the object does not support the {kind} set {name}");
    Refusal::new(STATUS_PROPSET_NOT_FOUND, Aspect::Request, reason)
}
