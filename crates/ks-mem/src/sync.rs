//! The one place where this crate takes its atomics and locks from, so that a model checker can stand in for them.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{
    Arc, Mutex, RwLock, Weak,
    atomic::{AtomicI32, Ordering},
};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Arc, Mutex, RwLock, Weak,
    atomic::{AtomicI32, Ordering},
};
