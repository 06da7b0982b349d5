//! Driver host processes: their life, their sandbox, and the objects that stand for theirs here.
#![forbid(unsafe_code)]

mod device_names;
pub mod device_request;
pub mod driver_host;
pub mod drivers;
pub mod files;
pub mod host_process;
pub mod minidriver_host;
pub mod remote;
pub mod report;
pub mod sandbox;
pub mod terminal;
