//! Builds a snapshot: from an earlier one, and from files that several threads have read.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ContentKind, Entry, Key, Snapshot};
use crate::limits;
use crate::record::{MAX_BYTES, Record};
use crate::store::StoreErrorKind;

/// A part of a snapshot under construction.
#[derive(Debug, PartialEq)]
pub(in crate::store) enum Item {
    /// Unchanged entries of the known snapshot.
    Known(Range<usize>),
    /// A file to read now, by its number.
    Fresh(usize),
}

/// Appends known entries to the items, joined with the last item if adjacent.
pub(in crate::store) fn keep(items: &mut Vec<Item>, kept: Range<usize>) {
    match items.last_mut() {
        Some(Item::Known(range)) if range.end == kept.start => range.end = kept.end,
        _ if kept.is_empty() => {}
        _ => items.push(Item::Known(kept)),
    }
}

impl Snapshot {
    /// This snapshot without the hidden files, and with the files of the batch.
    pub(in crate::store) fn overlaid(mut self, hidden: impl Fn(&[u8]) -> bool, batch: Batch) -> Snapshot {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| !hidden(self.path(entry)));
        let heap = u16::try_from(self.heaps.len()).expect("a snapshot has a handful of heaps");
        self.heaps.push(batch.heap.into());
        entries.extend(batch.entries.into_iter().map(|(_, entry)| Entry { heap, ..entry }));
        entries.sort_by(|a, b| self.path(a).cmp(self.path(b)));
        Snapshot { entries, trees: Vec::new(), version: None, ..self }
    }

    /// Builds a snapshot from items. Known items come from `known`, fresh ones from the batches, by number.
    pub(in crate::store) fn assemble(known: &Snapshot, items: &[Item], batches: Vec<Batch>) -> Snapshot {
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
}

/// The number of bytes that all threads have read.
#[derive(Default)]
pub(in crate::store) struct Total(AtomicU64);

impl Total {
    /// Adds the content to the total. Returns an error instead of the content if the total exceeds the limit.
    pub(in crate::store) fn count<'c>(&self, content: Result<&'c [u8], String>) -> Result<&'c [u8], String> {
        let length = content.as_ref().map_or(0, |content| content.len() as u64);
        match self.0.fetch_add(length, Ordering::Relaxed) + length > limits::get().record_bytes {
            true => Err("is one file too many".to_owned()),
            false => content,
        }
    }

    /// An error if the total exceeds the limit.
    pub(in crate::store) fn judge(&self) -> Result<(), StoreErrorKind> {
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
pub(in crate::store) struct Batch {
    heap: Vec<u8>,
    entries: Vec<(usize, Entry)>,
}

impl Batch {
    pub(in crate::store) fn with_capacity(files: usize) -> Batch {
        // Most records are smaller; untouched memory costs nothing.
        Batch { heap: Vec::with_capacity(files.saturating_mul(512)), entries: Vec::with_capacity(files) }
    }

    /// Adds a file: its content, or the reason why it could not be read.
    pub(in crate::store) fn add(
        &mut self,
        number: usize,
        path: &[u8],
        key: Key,
        content: Result<&[u8], String>,
    ) {
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
