//! Hosts a Windows minidriver in this process: maps its image, and is the kernel and the `ks.sys` that it sees.
//!
//! A driver enters at [`image`] (parsed, mapped, relocated, bound), calls what `ntoskrnl` and `ks` export, and is called
//! through its dispatch tables. What it reads without a call (KUSER_SHARED_DATA, `cr8`, `gs:`) is answered by [`machine`].
//! Everything here runs in a process that the driver may ruin; nobody else's memory is in it.

pub mod exports;
pub mod host;
pub mod image;
mod ks;
pub mod machine;
pub mod ntoskrnl;
pub mod report;
pub mod running;
pub mod verifier;
