//! Kernel Streaming below AVStream: the routines for drivers that have device objects, dispatch routines, object headers
//! and tables of their own.
//!
//! What is decided about a request is decided where AVStream decides it, in `ks-stream`; here are the packets, lists and
//! structures in the driver's own memory. None of these routines completes a request or sets its status unless its page
//! says so.

pub(crate) mod allocator;
pub(crate) mod cancelable_queue;
pub(crate) mod class_object;
pub(crate) mod clock;
pub(crate) mod dispatch;
pub(crate) mod events;
pub(crate) mod file_io;
pub(crate) mod forward;
pub(crate) mod header;
pub(crate) mod image_resource;
pub(crate) mod method;
pub(crate) mod pin_factory;
pub(crate) mod property;
pub(crate) mod request;
pub(crate) mod security;
pub(crate) mod stream_irp;
pub(crate) mod unpinned_filter;
pub(crate) mod unserialize;
pub(crate) mod validate;
pub(crate) mod wdm_device;
mod wdm_file;
