//! The kernel that drivers see, one file a subject.
//!
//! A routine is an `extern "win64"` function of its Windows name, named in its file's `EXPORTS`.

use crate::exports::Export;

/// Every list of exports of the kernel and the HAL.
pub(crate) const TABLES: &[&[Export]] = &[];
