//! Byte-exact vocabulary of Windows Kernel Streaming: GUIDs, codes, statuses and structures.
#![forbid(unsafe_code)]
