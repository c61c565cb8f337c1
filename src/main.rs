//! The `presence` program.

fn main() {}
