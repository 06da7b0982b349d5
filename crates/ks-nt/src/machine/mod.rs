//! What a driver reads without a call: KUSER_SHARED_DATA, `cr8` and `gs:`.
