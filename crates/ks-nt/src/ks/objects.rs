//! The live table: every address that a driver was lent, and the object behind it.

use crate::ks::address::Address;
use crate::ks::aggregation::Outer;
use crate::ks::bag::Bag;
use crate::ks::clock::ClockInterface;
use crate::ks::control::ControlInterface;
use crate::ks::device::HostedDevice;
use crate::ks::device_functions::DeviceFunctions;
use crate::ks::events::HostedEvent;
use crate::ks::factory::HostedFactory;
use crate::ks::filter::HostedFilter;
use crate::ks::irp::LentIrp;
use crate::ks::low_level::class_object::ClassObject;
use crate::ks::low_level::clock::HostedClock;
use crate::ks::low_level::events::ListedEvent;
use crate::ks::low_level::header::{DeviceHeader, ObjectHeader};
use crate::ks::misuse;
use crate::ks::pin::HostedPin;
use crate::ks::stream_pointer::Pointer;
use crate::ks::worker::Worker;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// What an address stands for.
#[derive(Clone)]
pub(crate) enum Object {
    Device(Arc<HostedDevice>),
    /// The functional device object of a device.
    Functional(Arc<HostedDevice>),
    Factory(Arc<HostedFactory>),
    Filter(Arc<HostedFilter>),
    Pin(Arc<HostedPin>),
    Pointer(Arc<Pointer>),
    Bag(Arc<Bag>),
    Irp(Arc<LentIrp>),
    FilterFile(Arc<HostedFilter>),
    PinFile(Arc<HostedPin>),
    Clock(Arc<ClockInterface>),
    Event(Arc<HostedEvent>),
    Outer(Arc<Outer>),
    Control(Arc<ControlInterface>),
    Worker(Arc<Worker>),
    HeaderOfDevice(Arc<DeviceHeader>),
    FileHeader(Arc<ObjectHeader>),
    ListedEvent(Arc<ListedEvent>),
    ClassDrivers(Arc<ClassObject>),
    DefaultClock(Arc<HostedClock>),
    DeviceFunctions(Arc<DeviceFunctions>),
}

static TABLE: LazyLock<RwLock<HashMap<u64, Object>>> = LazyLock::new(|| RwLock::new(HashMap::new()));

/// Makes an address known.
pub(crate) fn insert(address: u64, object: Object) {
    TABLE.write().unwrap_or_else(PoisonError::into_inner).insert(address, object);
}

/// Forgets an address. What it stood for is dropped by the caller, outside of the table's lock.
pub(crate) fn remove(address: u64) -> Option<Object> {
    TABLE.write().unwrap_or_else(PoisonError::into_inner).remove(&address)
}

/// The object behind an address, if it lives.
pub(crate) fn find(address: Address) -> Option<Object> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner).get(&address.0).cloned()
}

/// Every object that lives.
pub(crate) fn all() -> Vec<Object> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

macro_rules! finders {
    ($($name:ident: $variant:ident = $type:ty, $word:literal;)+) => {
        $(
            /// The object behind an address; a dead address is reported as a misuse of `routine`.
            pub(crate) fn $name(address: Address, routine: &'static str) -> Option<Arc<$type>> {
                match find(address) {
                    Some(Object::$variant(object)) => Some(object),
                    _ => {
                        misuse::dead(routine, $word, address.0);
                        None
                    }
                }
            }
        )+
    };
}

finders! {
    device: Device = HostedDevice, "KSDEVICE";
    functional: Functional = HostedDevice, "functional device object";
    factory: Factory = HostedFactory, "KSFILTERFACTORY";
    filter: Filter = HostedFilter, "KSFILTER";
    pin: Pin = HostedPin, "KSPIN";
    pointer: Pointer = Pointer, "KSSTREAM_POINTER";
    bag: Bag = Bag, "object bag";
}
