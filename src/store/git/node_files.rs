//! The files that the list is to have of one node.

use std::borrow::Cow;
use std::collections::BTreeMap;

use git2::{Oid, Repository};

use crate::name::Name;
use crate::record::{MAX_BYTES, Record};
use crate::store::git::error::During;
use crate::store::{Edit, Layout, StoreErrorKind};

/// The wanted files of one node, by path below the folder; no files take the node off the list.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFiles {
    /// The node.
    pub id: Name,
    /// The blobs.
    pub files: BTreeMap<String, Oid>,
    /// The record, if the wanted files are to state its facts, in whatever bytes. `None` if they are to have
    /// exactly these bytes, such as those that another node has signed.
    pub states: Option<Record>,
}

impl NodeFiles {
    /// The files that the edit wants. Writes the record into the object database.
    pub(super) fn of(
        repo: &Repository,
        layout: &Layout,
        edit: &Edit<'_>,
    ) -> Result<NodeFiles, StoreErrorKind> {
        let mut files = BTreeMap::new();
        let mut states = None;
        if let Edit::Put(record) = edit {
            let blob = repo.blob(&record.to_bytes()).during("write the record")?;
            files.extend(layout.paths(record)?.into_iter().map(|path| (path, blob)));
            states = Some((*record).clone());
        }
        Ok(NodeFiles { id: edit.id().clone(), files, states })
    }

    /// The wanted files of a node whose present files are `old`. A file that states the wanted facts already
    /// keeps its bytes: they may have a signature, which this program cannot make.
    pub(super) fn beside<'a>(
        &'a self,
        repo: &Repository,
        old: &BTreeMap<String, Oid>,
    ) -> Cow<'a, BTreeMap<String, Oid>> {
        let Some(record) = self.states.as_ref().filter(|_| *old != self.files) else {
            return Cow::Borrowed(&self.files);
        };
        let same = |oid: &Oid| record_of(repo, *oid).is_some_and(|found| found == *record);
        let stated: BTreeMap<&String, Oid> =
            old.iter().filter(|(_, oid)| same(oid)).map(|(path, oid)| (path, *oid)).collect();
        let any = stated.values().next();
        let keep = |(path, blob): (&String, &Oid)| (path.clone(), *stated.get(path).or(any).unwrap_or(blob));
        Cow::Owned(self.files.iter().map(keep).collect())
    }
}

/// The record in a blob, if it is one.
pub(super) fn record_of(repo: &Repository, oid: Oid) -> Option<Record> {
    let (size, _) = repo.odb().and_then(|odb| odb.read_header(oid)).ok()?;
    let blob = (size <= MAX_BYTES).then(|| repo.find_blob(oid).ok())??;
    Record::parse(blob.content()).ok()
}
