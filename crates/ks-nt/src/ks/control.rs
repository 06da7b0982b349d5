//! IKsControl: the properties, methods and events of a filter or pin, as a COM interface in the Windows calling convention.
//!
//! A driver gets one of an object of its own by QueryInterface on the outer unknown, and one of the pin or filter that a
//! pin of its own is connected to by KsPinGetConnectedPinInterface and KsPinGetConnectedFilterInterface. A connected
//! object that is no hosted driver's has no unknown of its own: the interface stands for it.

use crate::ks::address::Address;
use crate::ks::aggregation::{self, UNKNOWN};
use crate::ks::misuse;
use crate::ks::notification;
use crate::ks::objects::{self, Object};
use crate::ntoskrnl::irql;
use ks_abi::{
    Guid, IoControlCode, KsEvent, KsEventData, NtStatus, STATUS_FILE_CLOSED, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_SUCCESS,
};
use ks_io::{FileObject, IoManager, RequestorMode, Session};
use ks_mem::Block;
use ks_stream::{Filter, Pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// IID_IKsControl
pub(crate) const CONTROL: Guid = Guid::from_u128(0x28F54685_06FD_11D2_B27A_00A0C9223196);

/// The largest request or answer.
const MOST_BYTES: u32 = 16 << 20;

/// What an interface controls. It does not keep it: the object may close before the last Release.
#[derive(Clone)]
pub(crate) enum Controlled {
    Filter(Weak<Filter>),
    Pin(Weak<Pin>),
    /// The pin of another driver that this one sends its requests to.
    ConnectedPin(Weak<Pin>),
    /// The filter of that pin.
    ConnectedFilter(Weak<Pin>),
}

impl Controlled {
    fn file(&self) -> Option<Arc<FileObject>> {
        match self {
            Controlled::Filter(filter) => filter.upgrade()?.file_object(),
            Controlled::Pin(pin) => pin.upgrade()?.file_object(),
            Controlled::ConnectedPin(pin) => pin.upgrade()?.connected_file(),
            Controlled::ConnectedFilter(pin) => pin.upgrade()?.connected_file()?.related().cloned(),
        }
    }

    fn io(&self) -> Option<Arc<IoManager>> {
        match self {
            Controlled::Filter(filter) => Some(filter.upgrade()?.io().clone()),
            Controlled::Pin(pin) | Controlled::ConnectedPin(pin) | Controlled::ConnectedFilter(pin) => {
                Some(pin.upgrade()?.filter().io().clone())
            }
        }
    }
}

/// An IKsControl: one word in a block, which points at the methods.
pub(crate) struct ControlInterface {
    block: Block,
    controlled: Controlled,
    /// The client that the object sees. A device's session does not keep the engine.
    session: Arc<Session>,
    /// Address of the AVStream object whose outer unknown answers for other interfaces; 0 where there is none.
    outer_of: u64,
    references: AtomicU32,
}

/// The methods in the order of the interface.
#[repr(C)]
struct Methods {
    query_interface: unsafe extern "win64" fn(Address, Address, Address) -> NtStatus,
    add_ref: unsafe extern "win64" fn(Address) -> u32,
    release: unsafe extern "win64" fn(Address) -> u32,
    ks_property: unsafe extern "win64" fn(Address, Address, u32, Address, u32, Address) -> NtStatus,
    ks_method: unsafe extern "win64" fn(Address, Address, u32, Address, u32, Address) -> NtStatus,
    ks_event: unsafe extern "win64" fn(Address, Address, u32, Address, u32, Address) -> NtStatus,
}

static METHODS: Methods = Methods { query_interface, add_ref, release, ks_property, ks_method, ks_event };

/// Makes an interface with one reference and writes its address.
pub(crate) fn make(controlled: Controlled, outer_of: u64, result: Address) -> NtStatus {
    let Ok(block) = Block::zeroed(16, 16) else {
        result.put_optional(0u64);
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    let Some(io) = controlled.io() else {
        result.put_optional(0u64);
        return STATUS_FILE_CLOSED;
    };
    block.store_u64(0, std::ptr::from_ref(&METHODS) as u64);
    let address = block.address();
    let session = io.session_as(RequestorMode::Kernel);
    let control = ControlInterface { block, controlled, session, outer_of, references: AtomicU32::new(1) };
    objects::insert(address, Object::Control(Arc::new(control)));
    result.put_optional(address);
    STATUS_SUCCESS
}

/// The interface of an object that has no outer unknown: it answers for IUnknown itself, and for nothing else.
pub(crate) fn query_stand_in(controlled: Controlled, iid: Address, result: Address) -> NtStatus {
    let wanted: Guid = iid.read();
    if (wanted == CONTROL || wanted == UNKNOWN) && controlled.file().is_some() {
        return make(controlled, 0, result);
    }
    result.put_optional(0u64);
    STATUS_NOINTERFACE
}

fn find(this: Address, method: &'static str) -> Option<Arc<ControlInterface>> {
    match objects::find(this) {
        Some(Object::Control(control)) => Some(control),
        _ => {
            misuse::dead(method, "IKsControl", this.0);
            None
        }
    }
}

unsafe extern "win64" fn query_interface(this: Address, iid: Address, result: Address) -> NtStatus {
    let Some(control) = find(this, "IKsControl::QueryInterface") else { return STATUS_INVALID_PARAMETER };
    let wanted: Guid = iid.read();
    if wanted == CONTROL || (wanted == UNKNOWN && control.outer_of == 0) {
        control.references.fetch_add(1, Ordering::SeqCst);
        result.put_optional(this.0);
        return STATUS_SUCCESS;
    }
    aggregation::query(control.outer_of, iid, result)
}

unsafe extern "win64" fn add_ref(this: Address) -> u32 {
    find(this, "IKsControl::AddRef").map_or(0, |control| control.references.fetch_add(1, Ordering::SeqCst) + 1)
}

unsafe extern "win64" fn release(this: Address) -> u32 {
    let Some(control) = find(this, "IKsControl::Release") else { return 0 };
    let left = control.references.fetch_sub(1, Ordering::SeqCst).wrapping_sub(1);
    if left == 0 {
        drop(objects::remove(control.block.address()));
    }
    left
}

// ks-coverage: IKsControl.KsProperty done test=a_driver_controls_its_own_objects_and_those_it_is_connected_to,a_pin_controls_the_foreign_pin_that_it_is_connected_to
unsafe extern "win64" fn ks_property(
    this: Address,
    property: Address,
    property_bytes: u32,
    data: Address,
    data_bytes: u32,
    returned: Address,
) -> NtStatus {
    let Some(control) = find(this, "IKsControl::KsProperty") else { return STATUS_INVALID_PARAMETER };
    let to = [(property, property_bytes), (data, data_bytes)];
    control.send("IKsControl::KsProperty", IoControlCode::KS_PROPERTY, to, returned)
}

// ks-coverage: IKsControl.KsMethod done test=a_driver_controls_its_own_objects_and_those_it_is_connected_to
unsafe extern "win64" fn ks_method(
    this: Address,
    method: Address,
    method_bytes: u32,
    data: Address,
    data_bytes: u32,
    returned: Address,
) -> NtStatus {
    let Some(control) = find(this, "IKsControl::KsMethod") else { return STATUS_INVALID_PARAMETER };
    let to = [(method, method_bytes), (data, data_bytes)];
    control.send("IKsControl::KsMethod", IoControlCode::KS_METHOD, to, returned)
}

/// Enables an event that a driver hears of in its own way, see [`notification`], or disables the one whose data these are
/// where there is no request.
// ks-coverage: IKsControl.KsEvent done test=a_driver_hears_of_events_that_it_enabled_by_ikscontrol
unsafe extern "win64" fn ks_event(
    this: Address,
    event: Address,
    event_bytes: u32,
    data: Address,
    data_bytes: u32,
    returned: Address,
) -> NtStatus {
    const METHOD: &str = "IKsControl::KsEvent";
    let Some(control) = find(this, METHOD) else { return STATUS_INVALID_PARAMETER };
    if event.is_null() {
        // Data without a size is still the name of one event; none at all stands for every event of this interface.
        let bytes = if data.is_null() { 0 } else { data_bytes.max(size_of::<KsEventData>() as u32) };
        let to = [(data, bytes), (Address::NULL, 0)];
        return control.send(METHOD, IoControlCode::KS_DISABLE_EVENT, to, returned);
    }
    if (event_bytes as usize) < size_of::<KsEvent>() {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let to = [(event, event_bytes), (data, data_bytes)];
    control.send(METHOD, IoControlCode::KS_ENABLE_EVENT, to, returned)
}

impl ControlInterface {
    /// Sends a request as the kernel and waits for its end.
    fn send(
        &self,
        method: &'static str,
        code: IoControlCode,
        [(request, request_bytes), (data, data_bytes)]: [(Address, u32); 2],
        returned: Address,
    ) -> NtStatus {
        irql::at_most(irql::PASSIVE, method);
        returned.put_optional(0u32);
        if request_bytes > MOST_BYTES || data_bytes > MOST_BYTES {
            return STATUS_INVALID_BUFFER_SIZE;
        }
        let Some(file) = self.controlled.file() else { return STATUS_FILE_CLOSED };
        let input = request.bytes(request_bytes as usize);
        let mut output = data.bytes(data_bytes as usize);
        let services = self.session.io_manager().services();
        let _event = match code {
            IoControlCode::KS_ENABLE_EVENT => match notification::for_engine(&file, services, 0, &input, &mut output) {
                Ok(event) => event,
                Err(status) => return status,
            },
            _ => None,
        };
        let outcome = self.session.control(&file, code, &input, &mut output, [request.0, data.0]);
        if outcome.status.is_success() {
            data.write_bytes(&output[..outcome.information.min(output.len())]);
        }
        returned.put_optional(outcome.information as u32);
        outcome.status
    }
}
