//! A graph text, as a user types it after `ks run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ks_testkit::fuzz::graph_grammar(data));
