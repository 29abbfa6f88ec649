//! The `spark` binary.
fn main() {}
