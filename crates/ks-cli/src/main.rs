//! The `ks` command.
fn main() {}
