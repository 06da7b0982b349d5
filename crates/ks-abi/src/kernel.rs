//! The kernel half: public layouts of AVStream's objects, descriptors and tables, and of the I/O manager's objects, as
//! drivers compiled for 64-bit Windows see them.

pub mod automation;
pub mod avstream;
pub mod class;
pub mod descriptor;
pub mod dispatcher;
pub mod io;
pub mod object;

pub use automation::*;
pub use avstream::*;
pub use class::*;
pub use descriptor::*;
pub use dispatcher::*;
pub use io::*;
pub use object::*;
