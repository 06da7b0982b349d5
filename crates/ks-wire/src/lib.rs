//! Messages, rings and descriptors between two engines in two processes. No policy.
#![forbid(unsafe_code)]
