//! The kernel that drivers see, one file a subject.
//!
//! A routine is an `extern "win64"` function of its Windows name, named in its file's `EXPORTS`.

#![expect(non_snake_case, reason = "routines have the names of the Windows kernel")]

pub(crate) mod block;
mod c_printf;
mod c_runtime;
mod c_string;
pub(crate) mod clock;
mod cng;
mod code_page;
mod contiguous;
pub mod debug_print;
pub(crate) mod device_file;
mod device_queue;
mod dispatcher;
pub mod dpc;
pub(crate) mod driver_memory;
pub(crate) mod event;
mod event_handle;
mod ex_timer;
pub(crate) mod fast_mutex;
pub mod file;
pub mod folder;
mod format;
pub(crate) mod io_build;
mod io_csq;
pub(crate) mod io_device;
pub(crate) mod io_interface;
mod io_name;
pub(crate) mod io_request;
pub(crate) mod irql;
mod kernel;
mod lists;
mod lookaside;
mod mdl;
pub(crate) mod mdl_pages;
pub(crate) mod mutex;
pub(crate) mod object_manager;
pub mod pool;
pub(crate) mod power;
mod process;
mod property_data;
mod random;
mod reader_writer_lock;
pub mod registry;
pub(crate) mod registry_key;
mod remove_lock;
pub(crate) mod resource;
mod routine_address;
mod rtl_bitmap;
mod rtl_guid;
mod rtl_memory;
mod rtl_registry;
mod rtl_string;
mod rtl_string_ansi;
mod rtl_time;
mod rundown;
pub mod scheduler;
mod security;
mod semaphore;
pub(crate) mod spin_lock;
pub(crate) mod thread;
mod thread_handle;
mod timer;
mod trace;
pub mod unload;
pub(crate) mod wait;
mod work_item;

use crate::exports::Export;

/// Every list of exports of the kernel and the HAL.
pub(crate) const TABLES: &[&[Export]] = &[
    c_printf::EXPORTS,
    c_runtime::EXPORTS,
    c_string::EXPORTS,
    clock::EXPORTS,
    cng::EXPORTS,
    clock::HAL_EXPORTS,
    contiguous::EXPORTS,
    debug_print::EXPORTS,
    device_file::EXPORTS,
    device_queue::EXPORTS,
    dpc::EXPORTS,
    event::EXPORTS,
    event_handle::EXPORTS,
    ex_timer::EXPORTS,
    fast_mutex::EXPORTS,
    file::EXPORTS,
    io_build::EXPORTS,
    io_csq::EXPORTS,
    io_device::EXPORTS,
    io_interface::EXPORTS,
    io_name::EXPORTS,
    io_request::EXPORTS,
    irql::EXPORTS,
    kernel::EXPORTS,
    kernel::HAL_EXPORTS,
    lists::EXPORTS,
    lookaside::EXPORTS,
    mdl::EXPORTS,
    mdl_pages::EXPORTS,
    mutex::EXPORTS,
    object_manager::DATA_EXPORTS,
    object_manager::EXPORTS,
    pool::EXPORTS,
    power::EXPORTS,
    process::DATA_EXPORTS,
    process::EXPORTS,
    property_data::EXPORTS,
    random::EXPORTS,
    reader_writer_lock::EXPORTS,
    registry_key::EXPORTS,
    remove_lock::EXPORTS,
    resource::EXPORTS,
    routine_address::EXPORTS,
    rtl_bitmap::EXPORTS,
    rtl_guid::EXPORTS,
    rtl_memory::EXPORTS,
    rtl_registry::EXPORTS,
    rtl_string::EXPORTS,
    rtl_string_ansi::EXPORTS,
    rtl_time::EXPORTS,
    rundown::EXPORTS,
    security::EXPORTS,
    semaphore::EXPORTS,
    spin_lock::EXPORTS,
    thread::EXPORTS,
    timer::EXPORTS,
    trace::EXPORTS,
    wait::EXPORTS,
    work_item::EXPORTS,
];
