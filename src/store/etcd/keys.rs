//! The keys of a list in etcd.
//!
//! | key | value | lease |
//! |---|---|---|
//! | `/PREFIX/FOLDER/ID.json` | the record | none |
//! | `/PREFIX/.beats/FOLDER/ID` | the time of a heartbeat | none |
//! | `/PREFIX/.leases/FOLDER/ID` | nothing | the node's |
//! | `/PREFIX/.left/FOLDER/ID` | nothing: the node was withdrawn | 30 days |
//!
//! No folder begins with a dot, so no list is among the other keys.

use crate::store::Folder;

/// All keys that begin with the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: Vec<u8>,
    /// The first key after them.
    pub(super) end: Vec<u8>,
}

impl Span {
    fn below(mut path: String) -> Span {
        path.push('/');
        let begin = path.into_bytes();
        let mut end = begin.clone();
        // The character after `/`.
        if let Some(last) = end.last_mut() {
            *last = b'0';
        }
        Span { begin, end }
    }

    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Vec<u8> {
        [self.begin.as_slice(), name.as_bytes()].concat()
    }

    /// The name of a key.
    pub(super) fn name<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(self.begin.as_slice())
    }
}

/// The keys of one list.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) records: Span,
    pub(super) beats: Span,
    pub(super) leases: Span,
    pub(super) left: Span,
}

impl Keys {
    pub(super) fn new(prefix: &str, folder: &Folder) -> Keys {
        let span = |part: &str| Span::below(format!("/{prefix}/{part}{folder}"));
        Keys { records: span(""), beats: span(".beats/"), leases: span(".leases/"), left: span(".left/") }
    }

    /// The key of a node's record.
    pub(super) fn record(&self, id: &str) -> Vec<u8> {
        self.records.key(&format!("{id}.json"))
    }
}

/// Whether a name below the folder is that of a record.
pub(super) fn is_record(name: &[u8]) -> bool {
    let parts = || name.split(|byte| *byte == b'/');
    name.ends_with(b".json")
        && parts().count() <= crate::store::directory::MAX_DEPTH
        && parts().all(|part| !part.is_empty() && !part.starts_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_keys_of_its_own() {
        let keys = Keys::new("presence", &Folder::parse("it/all").unwrap());
        assert_eq!(keys.record("i-1"), b"/presence/it/all/i-1.json");
        assert_eq!(keys.leases.key("i-1"), b"/presence/.leases/it/all/i-1");
        assert_eq!(keys.records.name(b"/presence/it/all/x/i-1.json"), Some(b"x/i-1.json".as_slice()));
        assert_eq!(keys.records.name(b"/presence/it/alle"), None);
        assert!(keys.records.begin < keys.record("i-1") && keys.record("zz") < keys.records.end);
        assert!(!(keys.records.begin..keys.records.end.clone()).contains(&keys.left.key("i-1")));
    }

    #[test]
    fn a_record_has_the_name_of_a_record() {
        for (name, expect) in [
            ("i-1.json", true),
            ("app1/i-1.json", true),
            ("i-1", false),
            (".i-1.json", false),
            ("x//i-1.json", false),
            (".x/i-1.json", false),
        ] {
            assert_eq!(is_record(name.as_bytes()), expect, "{name}");
        }
        assert!(!is_record(format!("{}i.json", "x/".repeat(16)).as_bytes()));
    }
}
