//! The refs of a server as one connection showed them.

use std::collections::BTreeMap;

use git2::Oid;

/// Refs and their targets.
pub type Refs = BTreeMap<String, Oid>;

/// The targets of the server's refs at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteRefs {
    /// The ref of the list's branch.
    pub branch: String,
    /// Its tip; `None` if it has no commit yet.
    pub tip: Option<Oid>,
    /// The other refs of presence: updates and heartbeats.
    pub others: Refs,
    /// The other branches. Known only after a look, not from the file.
    pub elsewhere: Refs,
    /// The number of updates that are not in `others`. Known only after a look, too.
    pub left_out: usize,
    /// The refs of presence that the server lists but does not send. They are not in `others`.
    pub broken: Refs,
}

impl RemoteRefs {
    /// Moves these refs from `others` to `broken` if their targets are still the same.
    pub(super) fn set_aside(&mut self, broken: &Refs) {
        for (name, oid) in broken {
            if self.others.get(name) == Some(oid) {
                self.others.remove(name);
                self.broken.insert(name.clone(), *oid);
            }
        }
    }
}
