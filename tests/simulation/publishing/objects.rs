//! Commits of a repository, and what their files say. Ids come from the content, as in git.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use fnv::{FnvHashMap, FnvHashSet};
use git2::Oid;
use xxhash_rust::xxh3::xxh3_128;

/// The folder of the list.
pub(crate) const FOLDER: &str = "list";

/// What a file says. Its id holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// A record of that node. Each change of the node has another number.
    Record(u8, u32),
    /// Something of somebody else.
    Foreign(u32),
    /// Nothing: the node leaves.
    Empty,
    /// A heartbeat.
    Beat(i64),
}

impl Content {
    pub(crate) fn oid(self) -> Oid {
        let mut bytes = [0; 20];
        let (kind, node, number) = match self {
            Content::Record(node, number) => (1, node, i64::from(number)),
            Content::Foreign(number) => (2, 0, i64::from(number)),
            Content::Empty => (3, 0, 0),
            Content::Beat(time) => (4, 0, time),
        };
        (bytes[0], bytes[1]) = (kind, node);
        bytes[2..10].copy_from_slice(&number.to_be_bytes());
        Oid::from_bytes(&bytes).unwrap()
    }

    pub(crate) fn of(oid: Oid) -> Content {
        let bytes = oid.as_bytes();
        let number = i64::from_be_bytes(bytes[2..10].try_into().unwrap());
        let small = || u32::try_from(number).unwrap();
        match bytes[0] {
            1 => Content::Record(bytes[1], small()),
            2 => Content::Foreign(small()),
            3 => Content::Empty,
            4 => Content::Beat(number),
            other => panic!("no content: {other}"),
        }
    }
}

/// The files of a commit, by path.
pub(crate) type Files = BTreeMap<String, Oid>;

/// A commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) parent: Option<Oid>,
    pub(crate) files: Files,
    /// The number of its ancestors.
    pub(crate) age: u32,
}

/// All commits that anybody has made. Which of them a repository has is its own [`Present`].
#[derive(Clone, Default)]
pub(crate) struct Objects(Rc<RefCell<FnvHashMap<Oid, Rc<Commit>>>>);

/// The commits that a repository has, with their files.
pub(crate) type Present = FnvHashSet<Oid>;

impl Objects {
    /// Makes a commit. `salt` stands for its author and time.
    pub(crate) fn commit(&self, parent: Option<Oid>, files: Files, salt: u64) -> Oid {
        let mut bytes = Vec::with_capacity(64 + files.len() * 40);
        bytes.extend_from_slice(parent.unwrap_or(Oid::ZERO_SHA1).as_bytes());
        bytes.extend_from_slice(&salt.to_be_bytes());
        for (path, content) in &files {
            bytes.extend_from_slice(path.as_bytes());
            bytes.extend_from_slice(content.as_bytes());
        }
        let mut id = [0xaa; 20];
        id[..16].copy_from_slice(&xxh3_128(&bytes).to_be_bytes());
        let id = Oid::from_bytes(&id).unwrap();
        let age = parent.map_or(0, |parent| self.get(parent).age + 1);
        self.0.borrow_mut().insert(id, Rc::new(Commit { parent, files, age }));
        id
    }

    /// A commit that somebody has made.
    pub(crate) fn get(&self, id: Oid) -> Rc<Commit> {
        self.0.borrow()[&id].clone()
    }

    /// A commit, unless it is just a name.
    pub(crate) fn find(&self, id: Oid) -> Option<Rc<Commit>> {
        self.0.borrow().get(&id).cloned()
    }

    /// Whether `tip` is `commit` or descends from it, as far as this repository can tell.
    pub(crate) fn descends(&self, present: &Present, tip: Oid, commit: Oid) -> bool {
        if !present.contains(&commit) {
            return false;
        }
        let age = self.get(commit).age;
        let mut at = Some(tip);
        while let Some(id) = at.filter(|id| present.contains(id)) {
            if id == commit {
                return true;
            }
            let found = self.get(id);
            if found.age <= age {
                return false;
            }
            at = found.parent;
        }
        false
    }

    /// Adds the commit and its ancestors, up to those that are present.
    pub(crate) fn bring(&self, present: &mut Present, commit: Oid) {
        let mut at = Some(commit);
        while let Some(id) = at.filter(|id| !present.contains(id)) {
            present.insert(id);
            at = self.find(id).and_then(|found| found.parent);
        }
    }
}

/// The path of a node's file.
pub(crate) fn path_of(id: &str) -> String {
    format!("{FOLDER}/{id}.json")
}
