//! The I/O manager: objects, handles, IRPs, cancellation, completion, work, time and waiting.
//!
//! A request enters at a [`Session`] ([`Transport::device_io_control`]), becomes an [`Irp`], is dispatched to the
//! object behind its file object, may wait in a cancel-safe queue, and completes exactly once. The files stand in the
//! order of that journey: `transport`, `session`, `handle_table`, `access`, `irp`, `buffers`, `cancel`, `dispatch`,
//! `completion`, `deferred`, `request`.
//!
//! Time, work and waiting are injected: everything that blocks, is timed or runs elsewhere goes through [`Services`].
#![forbid(unsafe_code)]

mod access;
mod buffers;
mod cancel;
mod cancel_queue;
mod capture;
mod completion;
pub mod deferred;
mod dispatch;
mod file_object;
mod handle_table;
mod io_manager;
mod irp;
mod namespace;
mod origin;
mod refusal;
mod request;
mod session;
mod stream_frame;
mod transport;
mod wait_help;

mod level;
mod lock;
#[cfg(all(debug_assertions, not(shuttle)))]
mod lock_order;
mod misuse;
mod scheduler;
mod semaphore;
mod services;
pub mod sync;
mod time;
mod timer;
mod wait;
mod work;

pub use access::AccessMask;
pub use buffers::{CallerMemory, Capture, Output};
pub use cancel::{AlreadyCancelled, CancelCell, CancelTarget};
pub use cancel_queue::CancelSafeQueue;
pub use completion::{Completed, CompletedRequest, CompletionRoutine, Dispatched, Reply};
pub use dispatch::{CreateRequest, Created, DeviceObject, Dispatch, invalid_device_request};
pub use file_object::{FileObject, FileReference, LentEvent};
pub use handle_table::{HANDLE_LIMIT, Handle};
pub use io_manager::IoManager;
pub use irp::{Irp, IrpParts, MajorFunction, RequestParts, dropped_irps};
pub use namespace::{InterfaceInfo, InterfaceRecord, symbolic_link};
pub use origin::{Origin, RequestorMode};
pub use refusal::{Aspect, Refusal};
pub use request::{Finished, Outcome, PendingRequest, Request};
pub use session::Session;
pub use stream_frame::{CircuitPlace, FrameLender, STREAM_HEADER_BYTES, StreamFrame, StreamFrames};
pub use transport::{CancelCreates, Transport};
pub use wait_help::{HelpTicket, WaitHelp};

pub use level::*;
pub use lock::*;
pub use misuse::{Misuse, observe_misuse};
pub use semaphore::Semaphore;
pub use services::*;
pub use time::*;
pub use timer::*;
pub use wait::*;
pub use work::*;

/// Has every thread of the program panic from now on that nests two locks of [`sync`] in the order opposite to one in which
/// any thread has nested them: a deadlock that only waits for its moment. Debug builds do, for tests; others do nothing.
pub fn watch_lock_order() {
    #[cfg(all(debug_assertions, not(shuttle)))]
    lock_order::watch();
}
