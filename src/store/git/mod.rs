//! The folder in a git repository.

pub mod transport;
