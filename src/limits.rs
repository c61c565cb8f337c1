//! The most of everything that is read from outside: one table.
//!
//! Whoever may push to a store, or answers in a server's place, can send anything. Beyond a limit there is a problem of the
//! file or ref, or an error of the store; then its last copy counts. The limits are far above what the largest fleet
//! needs, and low enough that a machine of one gigabyte outlasts them. docs/stores.md lists them for users.

/// A directory of records: files, folders and whatever else is in it.
pub(crate) const ENTRIES: usize = 1_000_000;

/// The paths of the files in it, in bytes, all together.
pub(crate) const PATHS: usize = 64 * MIB;

/// The records in it, in bytes, all together.
pub(crate) const RECORDS: u64 = 512 * MIB as u64;

/// The folders that a publisher goes through to find the files of one node.
pub(crate) const FOLDERS: usize = 100_000;

/// One object of git that is not a file: a commit, a tree.
pub(crate) const OBJECT: u64 = 64 * MIB as u64;

/// What the difference between two objects of git makes: it is put together in memory.
pub(crate) const DELTA: u64 = 256 * MIB as u64;

/// The objects of one pack.
pub(crate) const OBJECTS: u32 = 4_000_000;

/// What a server sends in one answer, in bytes.
pub(crate) const ANSWER: u64 = 2 * 1024 * MIB as u64;

/// What a server says to people beside it, in bytes.
pub(crate) const TALK: u64 = MIB as u64;

/// The list of a server's refs, in bytes, and how many of them this program has to do with.
pub(crate) const ADVERTISEMENT: usize = 64 * MIB;
pub(crate) const REFS: usize = 250_000;

/// What a server says of a push, in bytes.
pub(crate) const REPORT: usize = 16 * MIB;

/// One shard of heartbeats, in bytes, and the lines of all.
pub(crate) const SHARD: usize = 8 * MIB;
pub(crate) const BEATS: usize = 1_000_000;

/// The updates that one look counts in, those of one node, and the files of one.
pub(crate) const WAITING: usize = 4_096;
pub(crate) const WAITING_OF_ONE: usize = 4;
pub(crate) const WAITING_FILES: usize = 64;

/// The commits that a look goes through to find out what was merged.
pub(crate) const STEPS: usize = 20_000;

/// The junk that one push deletes.
pub(crate) const SWEPT: usize = 1_000;

const MIB: usize = 1024 * 1024;
