//! All files of a folder at one moment, with their parsed content.
//!
//! A snapshot of a hundred thousand files is a few large blocks of memory and one table. Files that did not
//! change since an earlier snapshot are taken over from it, and neither read nor parsed again.

mod builder;
mod cache;
mod format;

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Beats, Version};
use crate::record::Record;
use crate::text::Text;
use crate::threads;

pub(super) use crate::stat_key::Key;
pub(super) use builder::{Batch, Item, Total, keep};
pub(super) use cache::{Cache, CacheWriter};

/// The key of a file whose state is unknown. No unchanged file has it, so such a file is read again each
/// time.
pub(super) const NO_KEY: Key = [0; 32];

/// The problem of a folder that has a record's name.
pub(super) const IS_FOLDER: &str = "is a folder, not a record";

/// A second thread does not pay for fewer files than this.
const MANY: usize = 2_000;

/// All files of a folder at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Identifies the content: equal digests of one store's snapshots mean the same files.
    pub digest: String,
    /// The [`Look::version`](super::Look::version) of exactly this content, if there is one.
    pub version: Option<Version>,
    /// The heartbeats, if [`Options::beats`](super::Options::beats) asked for them.
    pub beats: Beats,
    /// The memory that the entries refer to.
    pub(super) heaps: Vec<Bytes>,
    /// One entry for each file, sorted by path.
    pub(super) entries: Vec<Entry>,
    /// The directories, if the store identifies the content of whole directories.
    pub(super) trees: Vec<Subtree>,
}

/// Where the path and content of a file are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// The offset of the path in the heap; the content follows it.
    pub(super) start: u64,
    pub(super) path: u32,
    pub(super) content: u32,
    /// The file's index in the cache's `records`, if it was read from there.
    pub(super) place: u32,
    /// The index of the heap.
    pub(super) heap: u16,
    pub(super) kind: ContentKind,
}

/// The type of an entry's content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ContentKind {
    /// A record, as [`Record::pack`] writes it.
    Record,
    /// The reason why there is no record.
    Problem,
}

/// Identifies the content of a directory in its store. Only the store knows its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ContentId(Vec<u8>);

impl ContentId {
    pub(super) fn new(id: &[u8]) -> ContentId {
        ContentId(id.to_vec())
    }

    pub(super) fn is(&self, id: &[u8]) -> bool {
        self.0 == id
    }
}

/// A directory: its path with a trailing `/` (empty for the folder itself), what identifies its content, and
/// its entries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subtree {
    pub(super) path: Vec<u8>,
    pub(super) content: ContentId,
    pub(super) entries: Range<usize>,
}

/// A file of the folder.
#[derive(Debug)]
pub struct File<'a> {
    path: Bytes,
    content: &'a Bytes,
    range: Range<usize>,
    kind: ContentKind,
}

impl File<'_> {
    /// Its path below the folder, with `/`.
    pub fn path(&self) -> Text {
        self.path.clone().into()
    }

    /// The record, or the end of a sentence that begins with the path and says why there is none.
    pub fn record(&self) -> Result<Record, String> {
        let content = self.content.slice(self.range.clone());
        match self.kind {
            ContentKind::Record => Record::unpack(content).ok_or_else(|| "cannot be read back".to_owned()),
            ContentKind::Problem => Err(String::from_utf8_lossy(&content).into_owned()),
        }
    }
}

impl Snapshot {
    /// The `*.json` files, sorted by path.
    pub fn files(&self) -> impl ExactSizeIterator<Item = File<'_>> {
        self.entries.iter().map(|entry| file(&self.heaps, entry))
    }

    /// Visits the `*.json` files in the order of memory, each thread a part of them, so that memory is read
    /// sequentially. The results are in the same order.
    pub(crate) fn in_parts<T: Send>(
        &self,
        act: impl Fn(&mut dyn ExactSizeIterator<Item = File<'_>>) -> T + Sync,
    ) -> Vec<T> {
        let place = |entry: &&Entry| (entry.heap, entry.start);
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        if !entries.is_sorted_by_key(place) {
            entries.sort_unstable_by_key(place);
        }
        threads::in_parts(entries.len(), MANY, |part| {
            // Each thread has its own reference counter: a shared one would make the threads wait for its
            // cache line.
            let heaps: Vec<Bytes> = self.heaps.iter().cloned().map(Bytes::from_owner).collect();
            act(&mut entries[part].iter().map(|entry| file(&heaps, entry)))
        })
    }

    /// The number of `*.json` files, good or bad.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A snapshot of these files: their paths, and their texts or the reasons why they could not be read.
    pub fn of<'f>(files: impl IntoIterator<Item = (&'f str, Result<&'f str, &'f str>)>) -> Snapshot {
        let mut batch = Batch::default();
        for (path, content) in files {
            batch.add(0, path.as_bytes(), NO_KEY, content.map(str::as_bytes).map_err(str::to_owned));
        }
        Snapshot::default().overlaid(|_| false, batch)
    }

    /// The path of an entry.
    pub(super) fn path(&self, entry: &Entry) -> &[u8] {
        &self.heaps[usize::from(entry.heap)][entry.ranges().0]
    }

    /// The entries below a directory, whose path ends with `/`.
    pub(super) fn below(&self, prefix: &[u8], within: Range<usize>) -> Range<usize> {
        let entries = &self.entries[within.clone()];
        let begin = entries.partition_point(|entry| self.path(entry) < prefix);
        let length = entries[begin..].partition_point(|entry| self.path(entry).starts_with(prefix));
        within.start + begin..within.start + begin + length
    }

    /// Whether there is any record.
    pub(super) fn has_records(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == ContentKind::Record)
    }

    /// Sorts the entries by path.
    pub(super) fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_by(|a, b| self.path(a).cmp(self.path(b)));
        self.entries = entries;
    }

    /// The number of files that the next reading must read again, changed or not.
    pub(super) fn unsure(&self) -> usize {
        self.entries.iter().filter(|entry| entry.key == NO_KEY).count()
    }

    /// A digest of the content, independent of the store and of the way of reading.
    pub(super) fn digest_of_files(&self) -> String {
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        for entry in &self.entries {
            let heap = &self.heaps[usize::from(entry.heap)];
            let (path, content) = entry.ranges();
            hash.update(&entry.path.to_le_bytes());
            hash.update(&entry.content.to_le_bytes());
            hash.update(&[entry.kind as u8]);
            hash.update(&heap[path.start..content.end]);
        }
        format!("{:032x}", hash.digest128())
    }
}

/// Identifies the content of these files, if each has a key.
pub(super) fn version_of<'a>(files: impl Iterator<Item = (&'a [u8], &'a Key)>) -> Option<Version> {
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    for (path, key) in files {
        if *key == NO_KEY {
            return None;
        }
        hash.update(path);
        hash.update(&[0]);
        hash.update(key);
    }
    Some(Version::new(format!("{:032x}", hash.digest128())))
}

/// The file that the entry describes.
fn file<'h>(heaps: &'h [Bytes], entry: &Entry) -> File<'h> {
    let heap = &heaps[usize::from(entry.heap)];
    let (path, content) = entry.ranges();
    File { path: heap.slice(path), content: heap, range: content, kind: entry.kind }
}

impl Entry {
    /// The ranges of path and content in the heap.
    pub(super) fn ranges(&self) -> (Range<usize>, Range<usize>) {
        let start = self.start as usize;
        let middle = start + self.path as usize;
        (start..middle, middle..middle + self.content as usize)
    }
}
