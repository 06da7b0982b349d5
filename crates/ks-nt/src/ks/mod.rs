//! The `ks.sys` that drivers see, one file a subject.
//!
//! A driver passes addresses; [`objects`] turns each into the object behind it or reports a dead one. What the engine
//! asks of a minidriver is answered by [`filter`] and [`pin`], which call the routines of the driver's tables.

#![expect(non_snake_case, reason = "routines have the names of ks.sys")]

mod accepted;
pub(crate) mod address;
mod aggregation;
mod attributes;
mod automation;
mod automation_tables;
mod bag;
mod check;
mod client_event;
mod clock;
mod connected;
mod control;
mod descriptor;
pub(crate) mod device;
mod device_functions;
mod device_profile;
mod driver_allocator;
mod driver_clock;
mod dynamic;
mod engine_device;
pub(crate) mod engine_file;
mod events;
pub(crate) mod factory;
mod file;
pub(crate) mod filter;
mod function_table;
mod gate;
mod handshake;
mod injection;
mod intersect;
pub(crate) mod irp;
pub(crate) mod kernel;
pub(crate) mod low_level;
mod media_names;
mod medium_cache;
mod misuse;
mod mutex;
mod navigation;
mod notification;
pub(crate) mod objects;
pub(crate) mod pin;
pub(crate) mod pnp;
mod process_pin;
mod rt_audio;
pub(crate) mod stream_pointer;
mod stubs;
mod worker;

use crate::exports::Export;

/// Every list of exports of `ks.sys`.
pub(crate) const TABLES: &[&[Export]] = &[
    accepted::EXPORTS,
    aggregation::EXPORTS,
    bag::EXPORTS,
    clock::EXPORTS,
    connected::EXPORTS,
    device::EXPORTS,
    device_profile::EXPORTS,
    dynamic::EXPORTS,
    engine_file::EXPORTS,
    events::EXPORTS,
    factory::EXPORTS,
    medium_cache::EXPORTS,
    filter::EXPORTS,
    gate::EXPORTS,
    handshake::EXPORTS,
    injection::EXPORTS,
    irp::EXPORTS,
    low_level::allocator::EXPORTS,
    low_level::cancelable_queue::EXPORTS,
    low_level::clock::EXPORTS,
    low_level::dispatch::EXPORTS,
    low_level::events::EXPORTS,
    low_level::file_io::EXPORTS,
    low_level::forward::EXPORTS,
    low_level::header::EXPORTS,
    low_level::image_resource::EXPORTS,
    low_level::method::EXPORTS,
    low_level::pin_factory::EXPORTS,
    low_level::property::EXPORTS,
    low_level::security::EXPORTS,
    low_level::stream_irp::EXPORTS,
    low_level::unpinned_filter::EXPORTS,
    low_level::unserialize::EXPORTS,
    low_level::validate::EXPORTS,
    mutex::EXPORTS,
    navigation::EXPORTS,
    pin::EXPORTS,
    pnp::EXPORTS,
    process_pin::EXPORTS,
    stream_pointer::EXPORTS,
    stubs::EXPORTS,
    worker::EXPORTS,
    stubs::MEMBER_EXPORTS,
];

/// The lists among them whose names bind and refuse.
pub(crate) const REFUSING: &[&[Export]] = &[stubs::EXPORTS, stubs::MEMBER_EXPORTS];
