//! The format of a cache file: a line of JSON, a table with one fixed-size entry per file, paths and
//! contents, a checksum.
//!
//! The table is sorted by path. Paths and contents are in the order of file names, which is the order of
//! nodes. So a walk over all nodes reads memory sequentially, whatever directories the files are in.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{ContentId, ContentKind, Entry, Snapshot, Subtree};

/// The first word of every cache file. The number changes with the format.
const MAGIC: &str = "presence-copy-2";

/// The bytes of a table entry: key, offset of the path, lengths of path and content, kind.
const ENTRY: usize = 32 + 4 + 4 + 4 + 1;

/// The bytes of the checksum at the end.
const CHECK: usize = 16;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct CacheHeader {
    magic: String,
    /// The digest of the files.
    version: String,
    /// The number of table entries.
    count: usize,
    trees: Vec<(Vec<u8>, ContentId, usize, usize)>,
    of: Of,
}

#[derive(Debug, Serialize, Deserialize)]
enum Of {
    Whole {
        label: String,
        build: String,
    },
    /// The differences from the `records` with that checksum. Each run is a number of its files to skip, to
    /// keep, and to insert from here.
    Changes {
        whole: String,
        runs: Vec<(usize, usize, usize)>,
    },
}

/// Metadata of a whole cache.
pub(super) struct Whole {
    /// The build that wrote it.
    pub(super) build: Option<String>,
    /// The number of files.
    pub(super) count: usize,
    check: String,
}

/// The bytes that a file takes.
pub(super) fn size(entry: &Entry) -> usize {
    ENTRY + entry.path as usize + entry.content as usize
}

/// Reads a whole cache with this label. `None` if it has another label or is damaged.
pub(super) fn whole(bytes: Vec<u8>, label: &str) -> Option<(Whole, Snapshot)> {
    let (head, entries, heap, check) = open(bytes)?;
    let Of::Whole { label: found, build } = &head.of else { return None };
    if found != label {
        return None;
    }
    let whole = Whole { build: Some(build.clone()), count: head.count, check };
    Some((whole, snapshot(&head, vec![heap], entries)))
}

/// Reads changes and applies them. `None` if they are damaged or belong to another whole cache.
pub(super) fn changed(bytes: Vec<u8>, whole: &Whole, of: &Snapshot) -> Option<Snapshot> {
    let (head, fresh, heap, _) = open(bytes)?;
    let Of::Changes { whole: found, runs } = &head.of else { return None };
    if *found != whole.check {
        return None;
    }
    let mut fresh = fresh.into_iter().map(|entry| Entry { heap: 1, ..entry });
    let mut entries = Vec::with_capacity(of.entries.len() + head.count);
    let mut at = 0usize;
    for (passed, stay, come) in runs {
        let begin = at.checked_add(*passed)?;
        at = begin.checked_add(*stay)?;
        entries.extend_from_slice(of.entries.get(begin..at)?);
        entries.extend(fresh.by_ref().take(*come));
    }
    Some(snapshot(&head, vec![of.heaps[0].clone(), heap], entries))
}

fn snapshot(head: &CacheHeader, heaps: Vec<Bytes>, entries: Vec<Entry>) -> Snapshot {
    let trees = head
        .trees
        .iter()
        .map(|(path, content, begin, end)| Subtree {
            path: path.clone(),
            content: content.clone(),
            entries: *begin..*end,
        })
        .filter(|tree| tree.entries.start <= tree.entries.end && tree.entries.end <= entries.len())
        .collect();
    Snapshot { digest: head.version.clone(), heaps, entries, trees, ..Snapshot::default() }
}

/// The parts of a cache file, if its checksum is right.
fn open(bytes: Vec<u8>) -> Option<(CacheHeader, Vec<Entry>, Bytes, String)> {
    let end = bytes.len().checked_sub(CHECK)?;
    let check = xxh3_128(&bytes[..end]);
    if bytes[end..] != check.to_le_bytes() {
        return None;
    }
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let head: CacheHeader = serde_json::from_slice(&bytes[..line]).ok()?;
    if head.magic != MAGIC {
        return None;
    }
    let table = line + 1..(line + 1).checked_add(head.count.checked_mul(ENTRY)?)?;
    let heap = table.end..end;
    let mut entries = Vec::with_capacity(head.count);
    let mut total = 0u64;
    for (place, described) in bytes.get(table)?.chunks_exact(ENTRY).enumerate() {
        let number = |at: usize| u32::from_le_bytes(described[at..at + 4].try_into().expect("four bytes"));
        let entry = Entry {
            key: described[..32].try_into().expect("a key has 32 bytes"),
            start: number(32).into(),
            path: number(36),
            content: number(40),
            place: u32::try_from(place).ok()?,
            heap: 0,
            kind: if described[44] == 0 { ContentKind::Record } else { ContentKind::Problem },
        };
        total += u64::from(entry.path) + u64::from(entry.content);
        if entry.ranges().1.end > heap.len() {
            return None;
        }
        entries.push(entry);
    }
    if total != heap.len() as u64 {
        return None;
    }
    Some((head, entries, Bytes::from(bytes).slice(heap), format!("{check:032x}")))
}

/// The bytes of a whole cache, and the same snapshot, which now refers to these bytes.
pub(super) fn write_whole(snapshot: Snapshot, label: &str, build: &str) -> (Bytes, Snapshot) {
    let of = Of::Whole { label: label.to_owned(), build: build.to_owned() };
    let written = write(&snapshot, of, &snapshot.entries.iter().collect::<Vec<_>>());
    let Written { bytes, heap, entries } = written;
    let bytes = Bytes::from(bytes);
    let heaps = vec![bytes.slice(heap)];
    (bytes, Snapshot { heaps, entries, ..snapshot })
}

/// The changes from the whole cache, which is the snapshot's first heap.
pub(super) fn write_changes(snapshot: &Snapshot, whole: &Whole) -> Vec<u8> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    let mut fresh = Vec::new();
    let mut at = 0;
    for entry in &snapshot.entries {
        let place = entry.place as usize;
        if entry.heap != 0 || place < at {
            fresh.push(entry);
            match runs.last_mut() {
                Some((_, _, come)) => *come += 1,
                None => runs.push((0, 0, 1)),
            }
            continue;
        }
        match runs.last_mut() {
            Some((_, stay, 0)) if place == at => *stay += 1,
            _ => runs.push((place - at, 1, 0)),
        }
        at = place + 1;
    }
    write(snapshot, Of::Changes { whole: whole.check.clone(), runs }, &fresh).bytes
}

/// A cache file, and the positions in it.
struct Written {
    bytes: Vec<u8>,
    heap: Range<usize>,
    entries: Vec<Entry>,
}

fn write(snapshot: &Snapshot, of: Of, entries: &[&Entry]) -> Written {
    let trees = snapshot.trees.iter();
    let head = CacheHeader {
        magic: MAGIC.to_owned(),
        version: snapshot.digest.clone(),
        count: entries.len(),
        trees: trees
            .map(|tree| (tree.path.clone(), tree.content.clone(), tree.entries.start, tree.entries.end))
            .collect(),
        of,
    };
    let mut order: Vec<usize> = (0..entries.len()).collect();
    let name = |at: &usize| snapshot.path(entries[*at]).rsplit(|byte| *byte == b'/').next();
    if !order.is_sorted_by_key(name) {
        order.sort_by_key(name);
    }
    let mut starts = vec![0; entries.len()];
    let mut size = 0;
    for at in &order {
        starts[*at] = size;
        size += u64::from(entries[*at].path) + u64::from(entries[*at].content);
    }
    let mut bytes =
        Vec::with_capacity(size as usize + entries.len() * ENTRY + 1024 + snapshot.trees.len() * 128);
    serde_json::to_writer(&mut bytes, &head).expect("memory takes everything, and all keys are texts");
    bytes.push(b'\n');
    let mut placed = Vec::with_capacity(entries.len());
    for (place, (entry, start)) in entries.iter().zip(starts).enumerate() {
        bytes.extend_from_slice(&entry.key);
        // A cache is smaller than that: see `MAX_BYTES`.
        bytes.extend_from_slice(&(start as u32).to_le_bytes());
        bytes.extend_from_slice(&entry.path.to_le_bytes());
        bytes.extend_from_slice(&entry.content.to_le_bytes());
        bytes.push(entry.kind as u8);
        placed.push(Entry { start, place: place as u32, heap: 0, ..**entry });
    }
    let begin = bytes.len();
    for at in order {
        let (path, content) = entries[at].ranges();
        bytes.extend_from_slice(&snapshot.heaps[usize::from(entries[at].heap)][path.start..content.end]);
    }
    let heap = begin..bytes.len();
    let check = xxh3_128(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    Written { bytes, heap, entries: placed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_in_the_order_of_their_names_and_are_listed_by_path() {
        let text = |id: &str| format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}"}}}}"#);
        let files = ["a/i-3.json", "b/i-1.json", "i-2.json"];
        let texts = ["i-3", "i-1", "i-2"].map(text);
        let snapshot = Snapshot::of(files.iter().zip(&texts).map(|(path, text)| (*path, Ok(text.as_str()))));
        let (bytes, written) = write_whole(snapshot, "l", "b");
        let (_, read) = whole(bytes.to_vec(), "l").unwrap();
        for snapshot in [&written, &read] {
            let told = |file: crate::store::File<'_>| {
                (file.path().to_string(), file.record().unwrap().id().to_string())
            };
            let listed: Vec<_> = snapshot.files().map(told).collect();
            assert_eq!(
                listed,
                [("a/i-3.json", "i-3"), ("b/i-1.json", "i-1"), ("i-2.json", "i-2")]
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
            );
            let lie = snapshot.in_parts(|files| files.map(|file| told(file).1).collect::<Vec<_>>()).concat();
            assert_eq!(lie, ["i-1", "i-2", "i-3"]);
        }
        assert!(whole(bytes.to_vec(), "another").is_none());
    }
}
