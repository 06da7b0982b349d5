//! Descriptors that a process inherited and did not ask for.

/// Closes every descriptor from `first` on. For the start of a host process, before anything in it has one.
///
/// Descriptors that something in this process owns already must be below `first`.
pub fn close_inherited(first: u32) {
    // SAFETY: the call takes numbers only. Nothing in the process owns a descriptor from `first` on, says the caller;
    // if something does, its uses fail with EBADF.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}
