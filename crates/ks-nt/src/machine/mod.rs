//! What a driver does without a call: reads KUSER_SHARED_DATA, `cr8` and `gs:`, and faults.
//!
//! [`enter_thread`] makes a thread one that can run driver code. From then on a fault in it goes to a signal handler,
//! which answers what Windows would have answered (the shared page, which user space cannot map where drivers look for
//! it, and the level in `cr8`) and makes of everything else a [`Fault`]. Faults of threads and code that have nothing to
//! do with a driver go to the handler that was there before.

mod control_register;
mod decode;
mod descriptors;
mod fault;
mod halt;
mod handler;
pub(crate) mod images;
mod shared_data;
mod step;
mod thread;

pub use descriptors::close_inherited;
pub use fault::{Access, Fault, FaultKind, Place, Registers, set_fault_reporter};
pub use halt::{Halted, halt, set_hang_teller};
pub use handler::{callers, callers_of};
pub use shared_data::{NT_BUILD_NUMBER, NT_MAJOR_VERSION, NT_MINOR_VERSION};
pub use thread::enter_thread;
