//! The object hierarchy as a driver walks it: device, factories, filters, pins.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use std::sync::Arc;

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsGetDevice, KsGetParent, KsGetFirstChild, KsGetNextSibling);

// ks-coverage: KsGetDevice done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterFactoryGetDevice done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterGetDevice done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsPinGetDevice done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetDevice(object: Address) -> u64 {
    match objects::find(object) {
        Some(Object::Device(device)) => device.address(),
        Some(Object::Factory(factory)) => factory.device().map_or(0, |device| device.address()),
        Some(Object::Filter(filter)) => filter.device().address(),
        Some(Object::Pin(pin)) => pin.filter().device().address(),
        _ => none("KsGetDevice", object),
    }
}

// ks-coverage: KsGetParent done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterFactoryGetParentDevice done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterGetParentFilterFactory done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetParent(object: Address) -> u64 {
    match objects::find(object) {
        Some(Object::Device(_)) => 0,
        Some(Object::Factory(factory)) => factory.device().map_or(0, |device| device.address()),
        Some(Object::Filter(filter)) => filter.factory().address(),
        Some(Object::Pin(pin)) => pin.filter().address(),
        _ => none("KsGetParent", object),
    }
}

// ks-coverage: KsGetFirstChild done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsDeviceGetFirstChildFilterFactory done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterFactoryGetFirstChildFilter done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetFirstChild(object: Address) -> u64 {
    match objects::find(object) {
        Some(Object::Device(device)) => device.factories().first().map_or(0, |factory| factory.address()),
        Some(Object::Factory(factory)) => factory.filters().first().map_or(0, |filter| filter.address()),
        Some(Object::Filter(filter)) => filter.first_pin().map_or(0, |pin| pin.address()),
        Some(Object::Pin(_)) => 0,
        _ => none("KsGetFirstChild", object),
    }
}

/// The one behind `own` in a list.
fn after<T>(list: &[Arc<T>], own: &Arc<T>) -> Option<Arc<T>> {
    let at = list.iter().position(|known| Arc::ptr_eq(known, own))?;
    list.get(at + 1).cloned()
}

// ks-coverage: KsGetNextSibling done test=factories_filters_and_pins_have_siblings
// ks-coverage: KsFilterFactoryGetNextSiblingFilterFactory done test=factories_filters_and_pins_have_siblings
// ks-coverage: KsFilterGetNextSiblingFilter done test=factories_filters_and_pins_have_siblings
pub(crate) unsafe extern "win64" fn KsGetNextSibling(object: Address) -> u64 {
    match objects::find(object) {
        Some(Object::Device(_)) => 0,
        Some(Object::Factory(factory)) => {
            let factories = factory.device().map(|device| device.factories()).unwrap_or_default();
            after(&factories, &factory).map_or(0, |factory| factory.address())
        }
        Some(Object::Filter(filter)) => {
            after(&filter.factory().filters(), &filter).map_or(0, |filter| filter.address())
        }
        Some(Object::Pin(pin)) => after(&pin.filter().pins(pin.id()), &pin).map_or(0, |pin| pin.address()),
        _ => none("KsGetNextSibling", object),
    }
}

fn none(routine: &'static str, object: Address) -> u64 {
    misuse::dead(routine, "AVStream object", object.0);
    0
}
