//! Reads blobs from packs in the order of their offsets, so that the base of a delta was usually unpacked
//! just before.
//!
//! The formats are those of gitformat-pack(5): index version 2, and entries that are whole or deltas against
//! another entry of the same pack. Anything else, or an entry with a wrong checksum, is left to libgit2.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use rustix::fs::OFlags;

use crate::delta;

/// A pack of at most this many bytes is read as a whole, since a delta base may be anywhere in it.
pub const MAX_WHOLE: u64 = 32 * 1024 * 1024;

/// The most bytes of all indexes together, enough for ten million objects. Further packs are left to libgit2.
const MAX_INDEX: u64 = 400 * 1024 * 1024;

/// Bytes to read at a time from a larger pack.
const WINDOW: usize = 256 * 1024;

/// Bytes to read at a time before the current position: the rest there was read already, or is not wanted.
const ASIDE: usize = 4 * 1024;

/// Unpacked data beyond this many bytes is dropped, and unpacked again if needed.
const MAX_UNPACKED: usize = 64 * 1024 * 1024;

/// The most bytes of an entry's header.
const HEADER: usize = 48;

/// Types of entries: a blob, a delta against the entry at a distance, and one against the entry with an
/// object id.
const BLOB: u8 = 3;
const DISTANT_DELTA: u8 = 6;
const NAMED_DELTA: u8 = 7;

/// git's longest chain of deltas (git-config(1), "pack.depth").
const MAX_CHAIN: usize = 4095;

/// A pack and its index.
pub struct Pack {
    file: File,
    size: u64,
    index: Vec<u8>,
    count: usize,
    /// The whole pack, once it was read.
    whole: OnceLock<Vec<u8>>,
    /// The checksums of all entries by offset. Computed only when a delta base is needed that was not
    /// requested itself.
    by_offset: OnceLock<Vec<(u64, u32)>>,
}

/// The position of an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntryOffset {
    /// In bytes from the beginning of the pack.
    pub offset: u64,
    crc: u32,
}

/// The content of an entry.
pub enum Content<'a> {
    /// A blob within the limit.
    Blob(&'a [u8]),
    /// It is larger than the limit of the reader: its size.
    TooLarge(usize),
}

impl Pack {
    /// The packs in that directory that this module can read, those with most objects first.
    pub fn all(dir: &Path) -> Vec<Pack> {
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
        // At most the tables for that many objects, see below.
        if length > most || length > FANOUT.end as u64 + u64::from(u32::from_be_bytes(count)) * 36 + 40 {
            return None;
        }
        let mut index = Vec::new();
        index_file.take(length).read_to_end(&mut index).ok()?;
        let (file, size) = regular(&path.with_extension("pack"))?;
        Pack::new(file, size, index)
    }

    /// A pack of `size` bytes, with its index. `None` if this is no index of version 2.
    pub fn new(file: File, size: u64, index: Vec<u8>) -> Option<Pack> {
        let mut pack =
            Pack { file, size, index, count: 0, whole: OnceLock::new(), by_offset: OnceLock::new() };
        let version = pack.index.get(..8)?;
        pack.count = pack.number(FANOUT.end - 4)? as usize;
        // The tables of ids, checksums and offsets, optionally one of large offsets, and two checksums of the
        // whole.
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

    /// The position of that object.
    pub fn find(&self, oid: &[u8]) -> Option<EntryOffset> {
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

    /// The checksum of the entry at that offset; `None` if no entry begins there.
    fn crc_at(&self, offset: u64) -> Option<u32> {
        let all = self.by_offset.get_or_init(|| {
            let places = (0..self.count).filter_map(|at| self.place(at));
            let mut all: Vec<(u64, u32)> = places.map(|place| (place.offset, place.crc)).collect();
            all.sort_unstable();
            all
        });
        all.binary_search_by_key(&offset, |(offset, _)| *offset).ok().map(|at| all[at].1)
    }

    /// The whole pack, if it has at most `most` bytes; empty if it cannot be read.
    fn whole(&self, most: u64) -> Option<&[u8]> {
        (self.size <= most).then(|| {
            &self.whole.get_or_init(|| {
                let mut bytes = vec![0; self.size as usize];
                self.file.read_exact_at(&mut bytes, 0).map_or_else(|_| Vec::new(), |()| bytes)
            })[..]
        })
    }

    /// A reader of blobs of at most `most` bytes. It keeps the pack in memory if that has at most `whole`
    /// bytes, usually [`MAX_WHOLE`].
    pub fn reader(&self, most: usize, whole: u64) -> Reader<'_> {
        let (ahead, aside) = (Window::default(), Window::default());
        Reader {
            pack: self,
            most,
            view: View { pack: self, whole: self.whole(whole), ahead, aside },
            unpacked: Vec::new(),
            known: HashMap::default(),
            delta: Vec::new(),
            inflate: Decompress::new(true),
        }
    }
}

/// Opens a regular file and returns its size. Does not wait for a fifo.
fn regular(path: &Path) -> Option<(File, u64)> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok().filter(Metadata::is_file)?;
    Some((file, found.len()))
}

/// A table of 256 rows: the number of objects whose first byte is at most that of the row.
const FANOUT: Range<usize> = 8..8 + 256 * 4;

/// Reads one pack; fast if entries are requested in the order of offsets.
pub struct Reader<'p> {
    pack: &'p Pack,
    /// The largest blob to return, in bytes.
    most: usize,
    view: View<'p>,
    /// The unpacked data, and the range of each entry in it by offset.
    unpacked: Vec<u8>,
    known: HashMap<u64, Range<usize>, fnv::FnvBuildHasher>,
    delta: Vec<u8>,
    inflate: Decompress,
}

/// A part of a pack, in memory.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    at: u64,
}

impl Window {
    /// The bytes from `offset` on. If they are not in memory, reads them, and up to `most` bytes with them.
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

/// The parts of a pack in memory: all of it, or a window at the current position and one before it.
struct View<'p> {
    pack: &'p Pack,
    whole: Option<&'p [u8]>,
    ahead: Window,
    aside: Window,
}

impl View<'_> {
    /// At least `length` bytes from `offset` on, or those up to the end of the pack.
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

/// The parsed header of an entry.
struct Header {
    kind: u8,
    /// The size of its unpacked data.
    size: usize,
    /// The length of the header.
    length: usize,
    /// The offset of the delta base.
    base: Option<u64>,
}

fn content(blob: &[u8], most: usize) -> Content<'_> {
    if blob.len() > most { Content::TooLarge(blob.len()) } else { Content::Blob(blob) }
}

impl Reader<'_> {
    /// The blob at that position; `None` if it is not a blob or is damaged.
    pub fn read(&mut self, place: EntryOffset) -> Option<Content<'_>> {
        if self.unpacked.len() > MAX_UNPACKED {
            self.unpacked.clear();
            self.known.clear();
        }
        // Walks from the blob back to an entry that is whole or known, then forward again.
        let mut chain = Vec::new();
        let mut at = place;
        if let Some(range) = self.known.get(&at.offset) {
            return Some(content(&self.unpacked[range.clone()], self.most));
        }
        let mut base = loop {
            let header = self.header(at.offset)?;
            if header.size > self.most_of_entry() {
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
                    let most = self.most_of_entry();
                    let size = delta::apply(&self.delta, base, &mut self.unpacked, most);
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
        Some(content(&self.unpacked[base?], self.most))
    }

    /// The largest entry to unpack, in bytes: a delta base may be larger than what is made of it.
    fn most_of_entry(&self) -> usize {
        self.most.saturating_mul(2)
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

    /// Unpacks an entry's data and appends it to the unpacked data, or stores it as the current delta.
    fn inflate(&mut self, at: EntryOffset, header: &Header, delta: Option<()>) -> Option<()> {
        // The worst case of deflate (zlib's compressBound).
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
        // One byte more than expected: without room for it, zlib would not process the end of the stream.
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
            // Accidental damage is found by the checksum.
            && (cfg!(fuzzing) || crc.sum() == at.crc);
        if !right {
            target.truncate(start);
        }
        right.then_some(())
    }
}

#[cfg(test)]
mod tests;
