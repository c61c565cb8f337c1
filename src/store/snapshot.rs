//! All files of a folder at one moment, with their parsed content.
//!
//! A snapshot of a hundred thousand files is a few large blocks of memory and one table. Files that did not
//! change since an earlier snapshot are taken over from it, and neither read nor parsed again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::cache::CacheWriter;
use super::{Beats, StoreErrorKind};
use crate::limits;
use crate::record::{MAX_BYTES, Record};
use crate::text::Text;
use crate::threads;

pub(super) use crate::stat_key::Key;

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
    /// Identifies the content: equal versions of one store hold the same files.
    pub version: String,
    /// The [`Look::stamp`](super::Look::stamp) of exactly this content, if there is one.
    pub stamp: Option<String>,
    /// The heartbeats, if [`Options::beats`](super::Options::beats) asked for them.
    pub beats: Beats,
    /// The memory that the entries refer to.
    pub(super) heaps: Vec<Bytes>,
    /// One entry for each file, sorted by path.
    pub(super) entries: Vec<Entry>,
    /// The directories, if the store identifies the content of whole directories.
    pub(super) trees: Vec<Subtree>,
    /// The writer of the cache of this snapshot, if it may still be writing.
    #[expect(dead_code, reason = "to be dropped is all that it is for")]
    pub(super) keeping: Option<Arc<CacheWriter>>,
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

/// A directory: its path with a trailing `/` (empty for the folder itself), the object id of its content, and
/// its entries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subtree {
    pub(super) path: Vec<u8>,
    pub(super) oid: [u8; 20],
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

    /// This snapshot without the hidden files, and with the files of the batch.
    pub(super) fn overlaid(mut self, hidden: impl Fn(&[u8]) -> bool, batch: Batch) -> Snapshot {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| !hidden(self.path(entry)));
        let heap = u16::try_from(self.heaps.len()).expect("a snapshot has a handful of heaps");
        self.heaps.push(batch.heap.into());
        entries.extend(batch.entries.into_iter().map(|(_, entry)| Entry { heap, ..entry }));
        entries.sort_by(|a, b| self.path(a).cmp(self.path(b)));
        Snapshot { entries, trees: Vec::new(), stamp: None, ..self }
    }

    /// Builds a snapshot from items. Known items come from `known`, fresh ones from the batches, by number.
    pub(super) fn assemble(known: &Snapshot, items: &[Item], batches: Vec<Batch>) -> Snapshot {
        let mut heaps = known.heaps.clone();
        let mut fresh: Vec<Option<Entry>> = Vec::new();
        fresh.resize(batches.iter().map(|batch| batch.entries.len()).sum(), None);
        for batch in batches {
            let heap = u16::try_from(heaps.len()).expect("a snapshot has a handful of heaps");
            heaps.push(batch.heap.into());
            for (number, entry) in batch.entries {
                if fresh.len() <= number {
                    fresh.resize(number + 1, None);
                }
                fresh[number] = Some(Entry { heap, ..entry });
            }
        }
        let count =
            items.iter().map(|item| if let Item::Known(range) = item { range.len() } else { 1 }).sum();
        let mut entries = Vec::with_capacity(count);
        for item in items {
            match item {
                Item::Known(range) => entries.extend_from_slice(&known.entries[range.clone()]),
                // A file that is in no batch was removed before it could be read.
                Item::Fresh(number) => entries.extend(fresh.get(*number).copied().flatten()),
            }
        }
        Snapshot { heaps, entries, ..Snapshot::default() }
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
    pub(super) fn digest(&self) -> String {
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

/// A part of a snapshot under construction.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// Unchanged entries of the known snapshot.
    Known(Range<usize>),
    /// A file to read now, by its number.
    Fresh(usize),
}

/// Appends known entries to the items, joined with the last item if adjacent.
pub(super) fn keep(items: &mut Vec<Item>, kept: Range<usize>) {
    match items.last_mut() {
        Some(Item::Known(range)) if range.end == kept.start => range.end = kept.end,
        _ if kept.is_empty() => {}
        _ => items.push(Item::Known(kept)),
    }
}

/// The number of bytes that all threads have read.
#[derive(Default)]
pub(super) struct Total(AtomicU64);

impl Total {
    /// Adds the content to the total. Returns an error instead of the content if the total exceeds the limit.
    pub(super) fn count<'c>(&self, content: Result<&'c [u8], String>) -> Result<&'c [u8], String> {
        let length = content.as_ref().map_or(0, |content| content.len() as u64);
        match self.0.fetch_add(length, Ordering::Relaxed) + length > limits::get().record_bytes {
            true => Err("is one file too many".to_owned()),
            false => content,
        }
    }

    /// An error if the total exceeds the limit.
    pub(super) fn judge(&self) -> Result<(), StoreErrorKind> {
        match self.0.load(Ordering::Relaxed) > limits::get().record_bytes {
            true => Err(StoreErrorKind::TooMuch {
                place: "the folder".to_owned(),
                what: "bytes of records",
                most: limits::get().record_bytes,
            }),
            false => Ok(()),
        }
    }
}

/// Files that one thread has read, each with its number.
#[derive(Default)]
pub(super) struct Batch {
    heap: Vec<u8>,
    entries: Vec<(usize, Entry)>,
}

impl Batch {
    pub(super) fn with_capacity(files: usize) -> Batch {
        // Most records are smaller; untouched memory costs nothing.
        Batch { heap: Vec::with_capacity(files.saturating_mul(512)), entries: Vec::with_capacity(files) }
    }

    /// Adds a file: its content, or the reason why it could not be read.
    pub(super) fn add(&mut self, number: usize, path: &[u8], key: Key, content: Result<&[u8], String>) {
        let start = self.heap.len();
        self.heap.extend_from_slice(path);
        let middle = self.heap.len();
        let name = String::from_utf8_lossy(path);
        let kind = match content.and_then(text_of).and_then(|text| Record::pack(&name, text, &mut self.heap))
        {
            Ok(()) => ContentKind::Record,
            Err(reason) => {
                self.heap.extend_from_slice(reason.as_bytes());
                ContentKind::Problem
            }
        };
        let entry = Entry {
            key,
            start: start as u64,
            path: (middle - start) as u32,
            content: (self.heap.len() - middle) as u32,
            place: 0,
            heap: 0,
            kind,
        };
        self.entries.push((number, entry));
    }
}

/// The bytes, if they are UTF-8 and within the size limit.
fn text_of(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("is larger than the {MAX_BYTES} bytes that a record may have"));
    }
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err("is not UTF-8 text".to_owned()),
    }
}
