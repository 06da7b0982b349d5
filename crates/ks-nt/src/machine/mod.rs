//! What a driver reads without a call: KUSER_SHARED_DATA, `cr8` and `gs:`.

#[expect(dead_code, reason = "the fault handler is not here yet")]
pub(crate) mod images;

/// Makes the calling thread one that can run driver code. Cheap when it is one already; every path that enters a driver
/// calls it.
pub fn enter_thread() {}
