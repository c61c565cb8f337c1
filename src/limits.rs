//! The limits of everything that is read from outside, in one table.
//!
//! A node that may push to a store can push anything, and a server can answer anything. If a limit is
//! exceeded, the file or ref becomes a problem, or the store fails and its last copy is used. The limits are
//! far above the needs of the largest fleet, and low enough that a machine with one gigabyte survives them.
//! docs/stores.md lists them for users, and `[store-limits]` in presence.toml changes them.
//!
//! The table belongs to the process: packs are measured inside libgit2's callbacks, which get no options.

use std::sync::OnceLock;

use serde::Deserialize;

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $most:expr;)*) => {
        /// The limits, each with its default.
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct Limits {
            $($(#[$doc])* pub $name: $kind,)*
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $most,)* }
            }
        }

        impl Limits {
            /// The name of a limit that is 0, as presence.toml spells it. With such a limit no store could be read,
            /// or nothing would ever be cleaned up.
            pub fn zero(&self) -> Option<String> {
                let limits = [$((stringify!($name), self.$name == 0),)*];
                let (name, _) = limits.into_iter().find(|(_, is_zero)| *is_zero)?;
                Some(name.replace('_', "-"))
            }
        }
    };
}

table! {
    /// Entries in the directory of records: files, folders and anything else.
    entries: usize = 1_000_000;
    /// The paths of its files together, in bytes.
    path_bytes: usize = 64 * MIB;
    /// Its records together, in bytes.
    record_bytes: u64 = 512 * MIB as u64;
    /// The folders that a publisher searches for the files of one node.
    folders: usize = 100_000;
    /// One object of git that is not a file, in bytes: a commit, a tree.
    object_bytes: u64 = 64 * MIB as u64;
    /// The result of one delta between two objects of git, in bytes: it is assembled in memory.
    delta_bytes: u64 = 256 * MIB as u64;
    /// The objects in one pack.
    objects: u32 = 4_000_000;
    /// The unpacked objects of one pack together, in bytes. A whole history of a hundred thousand commits to
    /// a folder of ten thousand nodes is 40 GB of trees.
    unpacked_bytes: u64 = 64 * 1024 * MIB as u64;
    /// The memory that libgit2 uses while it unpacks a pack, in bytes.
    working_bytes: usize = 768 * MIB;
    /// How long it may do so after the deadline, in seconds.
    working_seconds: u64 = 600;
    /// A file of a local repository that is read whole and has a word or a few paths, in bytes.
    word_file_bytes: u64 = MIB as u64;
    /// Such a file with one line for each of many things, in bytes.
    line_file_bytes: u64 = 256 * MIB as u64;
    /// One answer of a server, in bytes.
    answer_bytes: u64 = 2 * 1024 * MIB as u64;
    /// A server's messages to people beside its answer, in bytes.
    talk_bytes: u64 = MIB as u64;
    /// A server's ref advertisement, in bytes.
    ref_bytes: usize = 64 * MIB;
    /// The refs of a server that matter to this program.
    refs: usize = 250_000;
    /// A server's report on a push, in bytes.
    report_bytes: usize = 16 * MIB;
    /// One shard of heartbeats, in bytes.
    shard_bytes: usize = 8 * MIB;
    /// The heartbeats of all shards.
    beats: usize = 1_000_000;
    /// The updates that one look includes.
    updates: usize = 4_096;
    /// The updates of one node that one look includes.
    updates_of_node: usize = 4;
    /// The files of one update.
    update_files: usize = 64;
    /// The commits that a look visits to find out which updates were merged.
    steps: usize = 20_000;
    /// The refs that one push deletes because they contain nothing for a reader.
    swept: usize = 1_000;
}

const MIB: usize = 1024 * 1024;

static TABLE: OnceLock<Limits> = OnceLock::new();

/// The limits of this process.
pub(crate) fn get() -> &'static Limits {
    TABLE.get_or_init(Limits::default)
}

/// Sets the limits of this process, before the first store is read. Later calls have no effect.
pub fn set(limits: Limits) {
    // The limits in use stay: an answer may already be measured against them.
    let _ = TABLE.set(limits);
}
