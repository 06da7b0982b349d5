//! COM as far as Kernel Streaming needs it: whether the calling thread has initialized it.
//!
//! The creating functions with a `2` in their names go through the device broker, which on Windows is a COM server: they
//! give CO_E_NOTINITIALIZED to a thread that has not called [`initialize`]. Nothing else here is COM.
//!
//! Source: nf-ks-kscreatepin2, "CoInitialize function".

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;

thread_local! {
    static INITIALIZED: Cell<u32> = const { Cell::new(0) };
}

/// COM is initialized on this thread as long as this lives. It stays on its thread.
#[must_use = "COM is initialized until this is dropped"]
#[derive(Debug)]
#[doc(alias = "CoUninitialize")]
pub struct Apartment {
    _of_one_thread: PhantomData<Rc<()>>,
}

/// Initializes COM on the calling thread. It may be done again: each call is undone by dropping what it gave.
#[doc(alias = "CoInitialize")]
#[doc(alias = "CoInitializeEx")]
pub fn initialize() -> Apartment {
    INITIALIZED.with(|count| count.set(count.get().saturating_add(1)));
    Apartment { _of_one_thread: PhantomData }
}

/// Has the calling thread initialized COM?
pub fn is_initialized() -> bool {
    // While a thread's locals are being destroyed it has no apartment any more.
    INITIALIZED.try_with(|count| count.get() > 0).unwrap_or(false)
}

impl Drop for Apartment {
    fn drop(&mut self) {
        let _ = INITIALIZED.try_with(|count| count.set(count.get().saturating_sub(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_initialization_is_undone_by_its_own_guard_and_holds_for_one_thread() {
        assert!(!is_initialized());
        let outer = initialize();
        {
            let _inner = initialize();
            assert!(is_initialized());
        }
        assert!(is_initialized(), "the outer one still holds");
        assert!(!std::thread::spawn(is_initialized).join().unwrap(), "another thread's matter");
        drop(outer);
        assert!(!is_initialized());
    }
}
