//! Where the folder of records lives: the seam, and the kinds of store behind it.

pub mod git;
