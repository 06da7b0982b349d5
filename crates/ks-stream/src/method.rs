//! The method engine: the whole IOCTL_KS_METHOD protocol over automation tables.
//!
//! A method's handler is given the request and the data as a property's is. The type of its item says which way the data
//! goes: without KSMETHOD_TYPE_READ the handler sees none, without KSMETHOD_TYPE_WRITE the client gets none back. A
//! direct method (KSMETHOD_TYPE_SOURCE) goes the same ways; the buffer is captured for it as for any other, because no
//! memory of a client's is ever shared with a handler.
//!
//! Source: nf-ks-ksmethodhandler, ns-ks-ksmethod_item, ns-ks-ksidentifier.

use crate::automation::{AutomationTable, MethodItem};
use crate::callback;
use crate::property::{self, PropertyCall};
use ks_abi::{
    KSMETHOD_TYPE_BASICSUPPORT, KSMETHOD_TYPE_READ, KSMETHOD_TYPE_SEND, KSMETHOD_TYPE_SETSUPPORT,
    KSMETHOD_TYPE_TOPOLOGY, KSMETHOD_TYPE_WRITE, KsProperty, NtStatus, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
};
use ks_io::{Aspect, Dispatched, Irp, IrpParts, Refusal};
use zerocopy::FromBytes;

/// Answers a method request from `tables`, the driver's before the class driver's.
// ks-coverage: KsMethodHandler done test=a_method_is_run_with_its_request_and_data,a_method_request_asks_for_one_thing,property_and_method_tables_answer_a_drivers_own_requests
// ks-coverage: IOCTL_KS_METHOD done test=a_method_is_run_with_its_request_and_data
#[doc(alias = "KsMethodHandler")]
pub(crate) fn handle<T: 'static>(object: &T, mut irp: Irp, tables: &[&AutomationTable<T>]) -> Dispatched {
    let status = match answer(object, irp.parts(), tables) {
        Ok(status) => status,
        Err(refusal) => return Dispatched::Completed(irp.refuse(refusal)),
    };
    irp.done(status)
}

/// Answers a method request and completes nothing, see [`property::answer`].
pub fn answer<T: 'static>(
    object: &T,
    parts: IrpParts<'_>,
    tables: &[&AutomationTable<T>],
) -> Result<NtStatus, Refusal> {
    let IrpParts { input: request, output, origin, file } = parts;
    // KSMETHOD and KSPROPERTY are both a KSIDENTIFIER.
    let Ok((method, _)) = KsProperty::ref_from_prefix(request) else {
        return Ok(STATUS_INVALID_BUFFER_SIZE);
    };
    let verb = method.flags & !KSMETHOD_TYPE_TOPOLOGY;
    if verb == KSMETHOD_TYPE_SETSUPPORT {
        let sets = tables.iter().flat_map(|table| &table.methods).map(|set| set.set);
        return Ok(property::set_support(method.set, output, sets));
    }
    let Some(item) = find(method, tables)? else { return Ok(STATUS_NOT_FOUND) };
    match verb {
        KSMETHOD_TYPE_SEND => {
            if request.len() < item.min_method_bytes {
                return Ok(STATUS_INVALID_BUFFER_SIZE);
            }
            if output.limit() < item.min_data_bytes {
                return Ok(output.too_small(item.min_data_bytes));
            }
            if item.kind & KSMETHOD_TYPE_READ == 0 {
                output.forget_data();
            }
            let mut call = PropertyCall::new(method, request, output, origin, file);
            let status = callback::answer(object, || (item.handler)(object, &mut call));
            let outcome = call.outcome(status);
            if item.kind & KSMETHOD_TYPE_WRITE == 0 {
                output.forget_answer();
            }
            outcome
        }
        KSMETHOD_TYPE_BASICSUPPORT => Ok(match output.limit() {
            0 => output.too_small(size_of::<u32>()),
            _ => output.answer_value(&item.kind),
        }),
        _ => {
            let reason = format!("method flags {:#x} ask for more or less than one thing", method.flags);
            Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason))
        }
    }
}

// What minidrivers run.
// ks-coverage: KSMETHOD_WAVETABLE_WAVE_ALLOC minidriver test=a_minidriver_runs_every_method_that_the_class_driver_does_not
// ks-coverage: KSMETHOD_WAVETABLE_WAVE_FREE minidriver test=a_minidriver_runs_every_method_that_the_class_driver_does_not
// ks-coverage: KSMETHOD_WAVETABLE_WAVE_FIND minidriver test=a_minidriver_runs_every_method_that_the_class_driver_does_not
// ks-coverage: KSMETHOD_WAVETABLE_WAVE_WRITE minidriver test=a_minidriver_runs_every_method_that_the_class_driver_does_not

fn find<'t, T>(method: &KsProperty, tables: &[&'t AutomationTable<T>]) -> Result<Option<&'t MethodItem<T>>, Refusal> {
    let sets = || tables.iter().flat_map(|table| &table.methods).filter(|set| set.set == method.set);
    match sets().flat_map(|set| &set.items).find(|item| item.id == method.id) {
        Some(item) => Ok(Some(item)),
        None if sets().next().is_some() => Ok(None),
        None => Err(property::unknown_set(method.set, "method")),
    }
}
