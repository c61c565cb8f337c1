//! Deltas between two versions of a tree, as in packs (gitformat-pack(5), "Deltified representation").
//!
//! One node's change in a folder of ten thousand is a tree of 350 KB, but a delta of about 60 bytes. libgit2
//! never sends a delta against an object that only the server has.

use std::cmp::Ordering;

/// The most bytes of one copy instruction.
const MAX_COPY: usize = 0x00ff_ffff;

/// The most bytes of one insert instruction.
const MAX_INSERT: usize = 127;

/// The instructions that make `new` from `base`, both raw bytes of trees. `None` if one is not a tree, or if
/// `new` is empty: git refuses deltas of less than four bytes (`DELTA_SIZE_MIN` in its delta.h).
pub(crate) fn between_trees(base: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    if new.is_empty() {
        return None;
    }
    let mut delta = Delta::default();
    varint(&mut delta.instructions, base.len());
    varint(&mut delta.instructions, new.len());
    let (mut old, mut fresh) = (Entries { rest: base }, Entries { rest: new });
    let (mut before, mut after) = (old.next()?, fresh.next()?);
    let mut offset = 0;
    loop {
        match (before, after) {
            (None, None) => return Some(delta.finish()),
            (Some(gone), None) => {
                offset += gone.bytes.len();
                before = old.next()?;
            }
            (None, Some(added)) => {
                delta.insert(added.bytes);
                after = fresh.next()?;
            }
            (Some(had), Some(has)) => {
                let order = had.order(&has);
                if had.bytes == has.bytes {
                    delta.copy(offset, had.bytes.len());
                } else if order != Ordering::Less {
                    delta.insert(has.bytes);
                }
                if order != Ordering::Greater {
                    offset += had.bytes.len();
                    before = old.next()?;
                }
                if order != Ordering::Less {
                    after = fresh.next()?;
                }
            }
        }
    }
}

/// Instructions. Adjacent copies and inserts are collected before they are written.
#[derive(Default)]
struct Delta {
    instructions: Vec<u8>,
    copied: Option<(usize, usize)>,
    inserted: Vec<u8>,
}

impl Delta {
    fn copy(&mut self, offset: usize, length: usize) {
        self.flush_insert();
        match &mut self.copied {
            Some((start, copied)) if *start + *copied == offset => *copied += length,
            _ => {
                self.flush_copy();
                self.copied = Some((offset, length));
            }
        }
    }

    fn insert(&mut self, bytes: &[u8]) {
        self.flush_copy();
        self.inserted.extend_from_slice(bytes);
    }

    fn flush_insert(&mut self) {
        for chunk in self.inserted.chunks(MAX_INSERT) {
            // A chunk has at most 127 bytes.
            self.instructions.push(chunk.len() as u8);
            self.instructions.extend_from_slice(chunk);
        }
        self.inserted.clear();
    }

    fn flush_copy(&mut self) {
        let Some((mut offset, mut length)) = self.copied.take() else { return };
        while length > 0 {
            let now = length.min(MAX_COPY);
            let at = self.instructions.len();
            let mut flags = 0x80_u8;
            self.instructions.push(flags);
            // Only nonzero bytes are written; the flags tell which.
            for (bit, byte) in offset.to_le_bytes()[..4].iter().chain(&now.to_le_bytes()[..3]).enumerate() {
                if *byte != 0 {
                    flags |= 1 << bit;
                    self.instructions.push(*byte);
                }
            }
            self.instructions[at] = flags;
            offset += now;
            length -= now;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.flush_insert();
        self.flush_copy();
        self.instructions
    }
}

/// Seven bits in each byte, the lowest first; the highest bit means that more follow.
fn varint(to: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// An entry of a tree: `mode name\0` and the 20 bytes of its id.
#[derive(Clone, Copy)]
struct TreeEntry<'a> {
    bytes: &'a [u8],
    name: &'a [u8],
    is_tree: bool,
}

impl TreeEntry<'_> {
    /// The order of entries in a tree: directories sort as if their names ended with a slash.
    fn order(&self, other: &TreeEntry<'_>) -> Ordering {
        let ending = |entry: &TreeEntry<'_>| entry.is_tree.then_some(b'/');
        self.name.iter().copied().chain(ending(self)).cmp(other.name.iter().copied().chain(ending(other)))
    }
}

struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// The next entry. `Some(None)` is the end, `None` means invalid bytes.
    fn next(&mut self) -> Option<Option<TreeEntry<'a>>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let space = self.rest.iter().position(|byte| *byte == b' ')?;
        let nul = space + self.rest[space..].iter().position(|byte| *byte == 0)?;
        let bytes = self.rest.get(..nul + 21)?;
        self.rest = &self.rest[nul + 21..];
        Some(Some(TreeEntry { bytes, name: &bytes[space + 1..nul], is_tree: &bytes[..space] == b"40000" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(entries: &[(String, u8)]) -> Vec<u8> {
        let mut sorted = entries.to_vec();
        sorted.sort();
        sorted.dedup_by(|a, b| a.0 == b.0);
        let mut bytes = Vec::new();
        for (name, id) in sorted {
            bytes.extend_from_slice(format!("100644 {name}\0").as_bytes());
            bytes.extend_from_slice(&[id; 20]);
        }
        bytes
    }

    /// git's application of a delta (patch-delta.c).
    fn apply(base: &[u8], delta: &[u8]) -> Vec<u8> {
        let mut at = 0;
        let number = |at: &mut usize| {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = delta[*at];
                *at += 1;
                value |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    return value;
                }
            }
        };
        assert_eq!(number(&mut at), base.len());
        let length = number(&mut at);
        let mut new = Vec::new();
        while at < delta.len() {
            let op = delta[at];
            at += 1;
            if op & 0x80 == 0 {
                new.extend_from_slice(&delta[at..at + usize::from(op)]);
                at += usize::from(op);
                continue;
            }
            let mut fields = [0_usize; 7];
            for (bit, field) in fields.iter_mut().enumerate() {
                if op & (1 << bit) != 0 {
                    *field = usize::from(delta[at]);
                    at += 1;
                }
            }
            let offset = fields[0] | fields[1] << 8 | fields[2] << 16 | fields[3] << 24;
            let size = fields[4] | fields[5] << 8 | fields[6] << 16;
            new.extend_from_slice(&base[offset..offset + if size == 0 { 0x10000 } else { size }]);
        }
        assert_eq!(new.len(), length);
        new
    }

    #[test]
    fn one_change_in_ten_thousand_is_small() {
        let mut entries: Vec<_> = (0..10_000).map(|n| (format!("i-{n:08x}.json"), 1)).collect();
        let base = tree(&entries);
        entries[5_000].1 = 2;
        let new = tree(&entries);
        let delta = between_trees(&base, &new).unwrap();
        assert_eq!(apply(&base, &delta), new);
        assert!(delta.len() < 100, "{} bytes", delta.len());
    }

    #[test]
    fn what_is_no_tree_has_no_difference() {
        assert_eq!(between_trees(b"100644 x\0short", b""), None);
        let whole = [b"100644 x\0".as_slice(), &[7; 20]].concat();
        assert_eq!(between_trees(&whole, b""), None, "git refuses so short a difference");
    }

    proptest! {
        #[test]
        fn the_new_tree_comes_back(
            old in proptest::collection::vec(("[a-c.]{1,3}", 0_u8..3), 0..40),
            new in proptest::collection::vec(("[a-c.]{1,3}", 0_u8..3), 1..40),
        ) {
            let (old, new) = (tree(&old), tree(&new));
            prop_assert_eq!(apply(&old, &between_trees(&old, &new).unwrap()), new);
        }
    }
}
