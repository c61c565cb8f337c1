//! Reads blobs from packs in the order in which they stand there, so that what a delta is made from was just unpacked.
//!
//! The formats are those of gitformat-pack(5): index version 2, and entries that are whole or the difference from
//! another one of the same pack. Everything that is something else, or does not bear its checksum, is none: libgit2 has the last word.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use rustix::fs::OFlags;

use super::delta;
use crate::record::MAX_BYTES;

/// No entry of more bytes is unpacked, records and what they are made from alike.
const MAX_ENTRY: usize = 2 * MAX_BYTES;

/// A pack of no more bytes is read whole, once: what an entry is the difference from may be anywhere.
const MAX_WHOLE: u64 = 32 * 1024 * 1024;

/// All indexes together have no more bytes, those of ten million objects: the rest is left to libgit2.
const MAX_INDEX: u64 = 400 * 1024 * 1024;

/// How much of a larger pack is read at a time, in bytes.
const WINDOW: usize = 256 * 1024;

/// How much is read at a time before the place that reading has come to: the rest there is read already, or not wanted.
const ASIDE: usize = 4 * 1024;

/// When more than this was unpacked, in bytes, it is forgotten: what is needed again is unpacked again.
const MAX_UNPACKED: usize = 64 * 1024 * 1024;

/// An entry's header is no longer than this, in bytes.
const HEADER: usize = 48;

/// The kinds of entries: a blob, the difference from the entry at a distance, and from that of a name.
const BLOB: u8 = 3;
const DISTANT_DELTA: u8 = 6;
const NAMED_DELTA: u8 = 7;

/// git makes no longer chains of differences (git-config(1), "pack.depth").
const MAX_CHAIN: usize = 4095;

/// A pack and its index.
pub(super) struct Pack {
    file: File,
    size: u64,
    index: Vec<u8>,
    count: usize,
    /// All of it, once it was read whole.
    whole: OnceLock<Vec<u8>>,
    /// The checksums of all entries by their offset; made only if an entry is needed that nobody asked for.
    by_offset: OnceLock<Vec<(u64, u32)>>,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct EntryOffset {
    pub(super) offset: u64,
    crc: u32,
}

/// What an entry holds.
pub(super) enum Content<'a> {
    Blob(&'a [u8]),
    /// More bytes than a record may have: how many.
    TooLarge(usize),
}

impl Pack {
    /// The packs in that directory that can be read here, the largest first.
    pub(super) fn all(dir: &Path) -> Vec<Pack> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut left = MAX_INDEX;
        let mut packs: Vec<Pack> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "idx"))
            .filter_map(|path| {
                let pack = Pack::open(&path, left)?;
                left -= pack.index.len() as u64;
                Some(pack)
            })
            .collect();
        packs.sort_by_key(|pack| std::cmp::Reverse(pack.count));
        packs
    }

    fn open(path: &Path, most: u64) -> Option<Pack> {
        let (index_file, length) = regular(path)?;
        let mut count = [0; 4];
        index_file.read_exact_at(&mut count, FANOUT.end as u64 - 4).ok()?;
        // No more than the tables of so many objects: see below.
        if length > most || length > FANOUT.end as u64 + u64::from(u32::from_be_bytes(count)) * 36 + 40 {
            return None;
        }
        let mut index = Vec::new();
        index_file.take(length).read_to_end(&mut index).ok()?;
        let (file, size) = regular(&path.with_extension("pack"))?;
        let mut pack =
            Pack { file, size, index, count: 0, whole: OnceLock::new(), by_offset: OnceLock::new() };
        let version = pack.index.get(..8)?;
        pack.count = pack.number(FANOUT.end - 4)? as usize;
        // The tables of names, checksums and offsets, that of far offsets perhaps, and two checksums of the whole.
        let least = FANOUT.end.checked_add(pack.count.checked_mul(28)?)?.checked_add(40)?;
        (version == b"\xfftOc\0\0\0\x02" && pack.index.len() >= least).then_some(pack)
    }

    fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_be_bytes(self.index.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    fn name(&self, at: usize) -> Option<&[u8]> {
        let start = FANOUT.end + at * 20;
        self.index.get(start..start + 20)
    }

    /// Where the object of that name is.
    pub(super) fn find(&self, oid: &[u8]) -> Option<EntryOffset> {
        let first = usize::from(*oid.first()?);
        let mut begin = match first {
            0 => 0,
            _ => self.number(FANOUT.start + (first - 1) * 4)? as usize,
        };
        let mut end = (self.number(FANOUT.start + first * 4)? as usize).min(self.count);
        while begin < end {
            let middle = begin + (end - begin) / 2;
            match self.name(middle)?.cmp(oid) {
                std::cmp::Ordering::Equal => return self.place(middle),
                std::cmp::Ordering::Less => begin = middle + 1,
                std::cmp::Ordering::Greater => end = middle,
            }
        }
        None
    }

    fn place(&self, at: usize) -> Option<EntryOffset> {
        let crcs = FANOUT.end + self.count * 20;
        let offsets = crcs + self.count * 4;
        let offset = self.number(offsets + at * 4)?;
        let offset = match offset & 0x8000_0000 {
            0 => u64::from(offset),
            _ => {
                let far = offsets + self.count * 4 + (offset & 0x7fff_ffff) as usize * 8;
                u64::from(self.number(far)?) << 32 | u64::from(self.number(far + 4)?)
            }
        };
        Some(EntryOffset { offset, crc: self.number(crcs + at * 4)? })
    }

    /// The checksum of the entry at that offset; none if no entry begins there.
    fn crc_at(&self, offset: u64) -> Option<u32> {
        let all = self.by_offset.get_or_init(|| {
            let places = (0..self.count).filter_map(|at| self.place(at));
            let mut all: Vec<(u64, u32)> = places.map(|place| (place.offset, place.crc)).collect();
            all.sort_unstable();
            all
        });
        all.binary_search_by_key(&offset, |(offset, _)| *offset).ok().map(|at| all[at].1)
    }

    /// All of it, if that is `most` bytes at most; nothing if it cannot be read.
    fn whole(&self, most: u64) -> Option<&[u8]> {
        (self.size <= most).then(|| {
            &self.whole.get_or_init(|| {
                let mut bytes = vec![0; self.size as usize];
                self.file.read_exact_at(&mut bytes, 0).map_or_else(|_| Vec::new(), |()| bytes)
            })[..]
        })
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        self.reader_of(MAX_WHOLE)
    }

    /// A reader that holds the pack whole if that is `most` bytes at most.
    fn reader_of(&self, most: u64) -> Reader<'_> {
        let (ahead, aside) = (Window::default(), Window::default());
        Reader {
            pack: self,
            view: View { pack: self, whole: self.whole(most), ahead, aside },
            unpacked: Vec::new(),
            known: HashMap::default(),
            delta: Vec::new(),
            inflate: Decompress::new(true),
        }
    }
}

/// A regular file, and its size. A fifo is not waited for.
fn regular(path: &Path) -> Option<(File, u64)> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok().filter(Metadata::is_file)?;
    Some((file, found.len()))
}

/// The table that says how many names begin with a lower byte.
const FANOUT: Range<usize> = 8..8 + 256 * 4;

/// Reads one pack. Cheap if what is wanted comes in the order of the offsets.
pub(super) struct Reader<'p> {
    pack: &'p Pack,
    view: View<'p>,
    /// What was unpacked, one after the other, and where there each entry is, by its offset.
    unpacked: Vec<u8>,
    known: HashMap<u64, Range<usize>, fnv::FnvBuildHasher>,
    delta: Vec<u8>,
    inflate: Decompress,
}

/// A part of a pack in memory.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    at: u64,
}

impl Window {
    /// The bytes from `offset` on. If they are not here, they are read, and up to `most` with them.
    fn at(&mut self, pack: &Pack, offset: u64, length: usize, most: usize) -> Option<&[u8]> {
        let end = self.at + self.bytes.len() as u64;
        let wanted_end = (offset + length as u64).min(pack.size);
        if offset < self.at || wanted_end > end {
            let length = length.max(most).min(usize::try_from(pack.size.checked_sub(offset)?).ok()?);
            self.bytes.resize(length, 0);
            self.at = offset;
            if pack.file.read_exact_at(&mut self.bytes, offset).is_err() {
                self.bytes.clear();
                return None;
            }
        }
        self.bytes.get(usize::try_from(offset - self.at).ok()?..)
    }
}

/// What is in memory of a pack: all of it, or where reading has come to, and something before that.
struct View<'p> {
    pack: &'p Pack,
    whole: Option<&'p [u8]>,
    ahead: Window,
    aside: Window,
}

impl View<'_> {
    /// The bytes from `offset` on, `length` of them and perhaps more, or as many as there are.
    fn at(&mut self, offset: u64, length: usize) -> Option<&[u8]> {
        if let Some(whole) = self.whole {
            return whole.get(usize::try_from(offset).ok()?..);
        }
        match offset < self.ahead.at {
            true => self.aside.at(self.pack, offset, length, ASIDE),
            false => self.ahead.at(self.pack, offset, length, WINDOW),
        }
    }
}

/// The first bytes of an entry, understood.
struct Header {
    kind: u8,
    /// How many bytes the packed data are when they are unpacked.
    size: usize,
    /// How long the header is.
    length: usize,
    /// Where the entry is that this one is the difference from.
    base: Option<u64>,
}

fn content(blob: &[u8]) -> Content<'_> {
    if blob.len() > MAX_BYTES { Content::TooLarge(blob.len()) } else { Content::Blob(blob) }
}

impl Reader<'_> {
    /// The blob at that place; none if it is something else, or something is wrong with it.
    pub(super) fn read(&mut self, place: EntryOffset) -> Option<Content<'_>> {
        if self.unpacked.len() > MAX_UNPACKED {
            self.unpacked.clear();
            self.known.clear();
        }
        // From the blob back to an entry that is whole or known, then forward again.
        let mut chain = Vec::new();
        let mut at = place;
        if let Some(range) = self.known.get(&at.offset) {
            return Some(content(&self.unpacked[range.clone()]));
        }
        let mut base = loop {
            let header = self.header(at.offset)?;
            if header.size > MAX_ENTRY {
                return None;
            }
            let (base, whole) = (header.base, header.kind == BLOB);
            chain.push((at, header));
            match base {
                Some(offset) => {
                    if let Some(range) = self.known.get(&offset) {
                        break Some(range.clone());
                    }
                    at = EntryOffset {
                        offset,
                        crc: self.pack.crc_at(offset).filter(|_| chain.len() <= MAX_CHAIN)?,
                    };
                }
                None if whole => break None,
                None => return None,
            }
        };
        while let Some((at, header)) = chain.pop() {
            let start = self.unpacked.len();
            match base {
                None => self.inflate(at, &header, None)?,
                Some(base) => {
                    self.inflate(at, &header, Some(()))?;
                    let size = delta::apply(&self.delta, base, &mut self.unpacked, MAX_ENTRY);
                    size.or_else(|| {
                        self.unpacked.truncate(start);
                        None
                    })?;
                }
            }
            let range = start..self.unpacked.len();
            self.known.insert(at.offset, range.clone());
            base = Some(range);
        }
        Some(content(&self.unpacked[base?]))
    }

    fn header(&mut self, offset: u64) -> Option<Header> {
        let mut bytes = self.view.at(offset, HEADER)?.iter().take(HEADER);
        let mut byte = *bytes.next()?;
        let mut length = 1;
        let kind = byte >> 4 & 7;
        let mut size = usize::from(byte & 15);
        let mut shift = 4;
        while byte & 0x80 != 0 {
            byte = *bytes.next()?;
            length += 1;
            size |= usize::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 53)?;
            shift += 7;
        }
        let mut base = None;
        if kind == DISTANT_DELTA {
            byte = *bytes.next()?;
            length += 1;
            let mut distance = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                byte = *bytes.next()?;
                length += 1;
                distance = (distance + 1).checked_mul(128)? | u64::from(byte & 0x7f);
            }
            base = Some(offset.checked_sub(distance).filter(|_| distance > 0)?);
        } else if kind == NAMED_DELTA {
            let name: Vec<u8> = bytes.take(20).copied().collect();
            length += name.len();
            base = Some(self.pack.find(&name)?.offset);
        }
        Some(Header { kind, size, length, base })
    }

    /// Unpacks an entry's data: appends them to what was unpacked, or makes them the delta.
    fn inflate(&mut self, at: EntryOffset, header: &Header, delta: Option<()>) -> Option<()> {
        // As much as deflate can make of it at worst (zlib's compressBound).
        let packed = header.size + (header.size >> 12) + (header.size >> 14) + 64;
        let entry = self.view.at(at.offset, header.length + packed)?;
        let target = match delta {
            Some(()) => {
                self.delta.clear();
                &mut self.delta
            }
            None => &mut self.unpacked,
        };
        let start = target.len();
        // One byte more than there should be: without room for it the end of the data would not be looked at.
        target.resize(start + header.size + 1, 0);
        self.inflate.reset(true);
        let status = self.inflate.decompress(
            entry.get(header.length..)?,
            &mut target[start..],
            FlushDecompress::Finish,
        );
        target.truncate(start + header.size);
        let used = header.length + usize::try_from(self.inflate.total_in()).ok()?;
        let mut crc = Crc::new();
        crc.update(entry.get(..used)?);
        let right = matches!(status, Ok(Status::StreamEnd))
            && self.inflate.total_out() == header.size as u64
            // Nothing that was changed by chance would bear its checksum.
            && (cfg!(fuzzing) || crc.sum() == at.crc);
        if !right {
            target.truncate(start);
        }
        right.then_some(())
    }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing {
    //! A pack of any bytes, with an index that names entries in them.

    use super::*;

    /// The first byte says how many entries there are, two bytes each where they begin.
    pub(in crate::store::git) fn read(bytes: &[u8]) {
        let Some((count, rest)) = bytes.split_first() else { return };
        let count = usize::from(*count % 16) + 1;
        let Some((offsets, entries)) = rest.split_at_checked(count * 2) else { return };
        let Ok(mut file) = tempfile::tempfile() else { return };
        if std::io::Write::write_all(&mut file, entries).is_err() {
            return;
        }
        let mut index = b"\xfftOc\0\0\0\x02".to_vec();
        for byte in 0..256usize {
            index.extend((byte + 1).min(count).to_be_bytes()[4..].iter());
        }
        for entry in 0..count {
            index.extend([entry as u8; 20]);
        }
        index.resize(index.len() + count * 4, 0);
        for offset in offsets.chunks(2) {
            index.extend([0, 0, offset[0], offset[1]]);
        }
        index.resize(index.len() + 40, 0);
        let (whole, by_offset) = (OnceLock::new(), OnceLock::new());
        let pack = Pack { file, size: entries.len() as u64, index, count, whole, by_offset };
        // Once with all of it in memory, once with a window.
        for most in [u64::MAX, 0] {
            let mut reader = pack.reader_of(most);
            for entry in 0..count {
                if let Some(place) = pack.find(&[entry as u8; 20]) {
                    let _ = reader.read(place);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
