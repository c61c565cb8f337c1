//! Checks a server's answer to a fetch before libgit2 sees it.
//!
//! libgit2 reads every object except blobs into memory as a whole. It allocates for as many objects as the
//! pack's header announces, and reads for as long as the server sends. So the pack is first unpacked here, in
//! small pieces, and measured.

use flate2::{Decompress, FlushDecompress, Status};

use crate::Limits;

/// Bytes to unpack at a time.
const PIECE: usize = 32 * 1024;

/// The relevant types of objects (gitformat-pack(5)).
const BLOB: u8 = 3;
const DISTANT_DELTA: u8 = 6;
const NAMED_DELTA: u8 = 7;

/// A limit that was exceeded: what is counted, and the limit.
pub type Excess = (&'static str, u64);

/// The position in the stream.
enum At {
    /// In the length of a packet.
    Length(Vec<u8>),
    /// At the first byte of a packet of this length.
    Band(usize),
    /// In a packet, with this many bytes left.
    Packet { band: u8, left: usize },
    /// In a pack without packets.
    Bare,
    /// The rest is not git's protocol: its reader will report that.
    Over,
}

/// Checks one answer.
pub struct Guard {
    limits: Limits,
    at: At,
    sent: u64,
    talk: u64,
    pack: Pack,
}

impl Guard {
    /// A guard at the beginning of an answer.
    pub fn new(limits: &Limits) -> Guard {
        let pack = Pack::new(limits);
        Guard { limits: *limits, at: At::Length(Vec::new()), sent: 0, talk: 0, pack }
    }

    /// Checks the next bytes of the answer.
    pub fn see(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        self.sent += bytes.len() as u64;
        if self.sent > self.limits.answer_bytes {
            return Err(("bytes", self.limits.answer_bytes));
        }
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.at {
                At::Over => return Ok(()),
                At::Bare => return self.pack.see(bytes),
                At::Length(digits) => {
                    digits.push(first);
                    bytes = rest;
                    if digits == b"PACK" {
                        self.pack.see(b"PACK")?;
                        self.at = At::Bare;
                    } else if digits.len() == 4 {
                        let length = str::from_utf8(digits).ok();
                        self.at = match length.and_then(|digits| usize::from_str_radix(digits, 16).ok()) {
                            Some(0..=4) => At::Length(Vec::new()),
                            Some(length) => At::Band(length - 4),
                            None => At::Over,
                        };
                    }
                }
                At::Band(length) => {
                    self.at = match *length {
                        1 => At::Length(Vec::new()),
                        length => At::Packet { band: first, left: length - 1 },
                    };
                    bytes = rest;
                }
                At::Packet { band, left } => {
                    let (part, rest) = bytes.split_at(bytes.len().min(*left));
                    let band = *band;
                    *left -= part.len();
                    if *left == 0 {
                        self.at = At::Length(Vec::new());
                    }
                    bytes = rest;
                    match band {
                        1 => self.pack.see(part)?,
                        2 => self.talk += part.len() as u64,
                        _ => {}
                    }
                    if self.talk > self.limits.talk_bytes {
                        return Err(("bytes of messages", self.limits.talk_bytes));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What comes next in a pack.
enum Next {
    /// Its first twelve bytes.
    Head(Vec<u8>),
    /// The type and size of an entry, of which `shift` bits were read.
    Kind { kind: Option<u8>, size: u64, shift: u32 },
    /// The distance of the delta base.
    Distance { size: u64 },
    /// The object id of the delta base, with this many bytes left.
    Name { size: u64, left: usize },
    /// The data of an entry. The beginning of a delta is kept until its sizes are known.
    Data { size: u64, start: Option<Vec<u8>> },
    /// The checksum, or something that is not a pack.
    End,
}

/// The state of the pack.
struct Pack {
    limits: Limits,
    next: Next,
    /// The number of entries to come.
    left: u32,
    /// The size of all entries so far when resolved, in bytes.
    sum: u64,
    inflate: Decompress,
    piece: Vec<u8>,
}

impl Pack {
    fn new(limits: &Limits) -> Pack {
        Pack {
            limits: *limits,
            next: Next::Head(Vec::new()),
            left: 0,
            sum: 0,
            inflate: Decompress::new(true),
            piece: vec![0; PIECE],
        }
    }

    fn see(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.next {
                Next::End => return Ok(()),
                Next::Head(head) => {
                    head.push(first);
                    bytes = rest;
                    if let [b'P', b'A', b'C', b'K', _, _, _, _, a, b, c, d] = head[..] {
                        self.left = u32::from_be_bytes([a, b, c, d]);
                        if self.left > self.limits.objects {
                            return Err(("objects", self.limits.objects.into()));
                        }
                        self.next = self.entry();
                    } else if head.len() == 12 {
                        self.next = Next::End;
                    }
                }
                Next::Kind { kind, size, shift } => {
                    bytes = rest;
                    let (bits, more) = match kind {
                        None => (u64::from(first & 15), 4),
                        Some(_) => (u64::from(first & 0x7f), 7),
                    };
                    let kind = *kind.get_or_insert(first >> 4 & 7);
                    // Bits beyond the 64th would be lost: the size exceeds every limit.
                    let added = bits.checked_shl(*shift).filter(|added| added >> *shift == bits);
                    *size = added.map_or(u64::MAX, |added| *size | added);
                    *shift += more;
                    let size = *size;
                    if size > self.limits.object_bytes && kind != BLOB {
                        return Err(("bytes of one object", self.limits.object_bytes));
                    }
                    if first & 0x80 == 0 {
                        self.next = match kind {
                            DISTANT_DELTA => Next::Distance { size },
                            NAMED_DELTA => Next::Name { size, left: 20 },
                            1..=4 => self.data(kind, size),
                            _ => Next::End,
                        };
                    }
                }
                Next::Distance { size } => {
                    bytes = rest;
                    if first & 0x80 == 0 {
                        let size = *size;
                        self.next = self.data(DISTANT_DELTA, size);
                    }
                }
                Next::Name { size, left } => {
                    bytes = rest;
                    *left -= 1;
                    if *left == 0 {
                        let size = *size;
                        self.next = self.data(NAMED_DELTA, size);
                    }
                }
                Next::Data { .. } => bytes = self.unpack(bytes)?,
            }
        }
        Ok(())
    }

    fn entry(&self) -> Next {
        match self.left {
            0 => Next::End,
            _ => Next::Kind { kind: None, size: 0, shift: 0 },
        }
    }

    fn data(&mut self, kind: u8, size: u64) -> Next {
        self.inflate.reset(true);
        Next::Data { size, start: matches!(kind, DISTANT_DELTA | NAMED_DELTA).then(Vec::new) }
    }

    /// Unpacks the available part of an entry's data. Returns the bytes after it.
    fn unpack<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Excess> {
        let Next::Data { size, start } = &mut self.next else { return Ok(bytes) };
        let (read, made) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(bytes, &mut self.piece, FlushDecompress::None);
        let read = usize::try_from(self.inflate.total_in() - read).unwrap_or(bytes.len());
        let made = usize::try_from(self.inflate.total_out() - made).unwrap_or(PIECE);
        let is_over = matches!(status, Ok(Status::StreamEnd));
        self.sum = self.sum.saturating_add(made as u64);
        if let Some(bytes) = start {
            bytes.extend_from_slice(&self.piece[..made.min(SIZES - bytes.len())]);
            if bytes.len() == SIZES || is_over {
                let most = sizes(bytes).unwrap_or_default();
                if most > self.limits.delta_bytes {
                    return Err(("bytes of one object", self.limits.delta_bytes));
                }
                self.sum = self.sum.saturating_add(most);
                *start = None;
            }
        }
        if self.sum > self.limits.unpacked_bytes {
            return Err(("bytes of objects", self.limits.unpacked_bytes));
        }
        // Its size is wrong, or it is not deflated data: libgit2 will report that.
        let is_odd = status.is_err() || self.inflate.total_out() > *size || (read == 0 && made == 0);
        if is_odd {
            self.next = Next::End;
        } else if is_over {
            self.left -= 1;
            self.next = self.entry();
        }
        Ok(&bytes[read..])
    }
}

/// The most bytes of the two sizes at the start of a delta.
const SIZES: usize = 20;

/// The larger of the delta's two sizes: of its base and of its result.
fn sizes(delta: &[u8]) -> Option<u64> {
    let mut rest = delta.iter();
    let mut number = || {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = *rest.next()?;
            let bits = u64::from(byte & 0x7f);
            match bits.checked_shl(shift).filter(|added| added >> shift == bits) {
                Some(added) => number |= added,
                None => return Some(u64::MAX),
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
    };
    Some(number()?.max(number()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send_pack::deflated;
    use crate::tests::LIMITS;

    /// The first bytes of an entry.
    fn header(kind: u8, mut size: u64) -> Vec<u8> {
        let mut bytes = vec![kind << 4 | (size & 15) as u8];
        size >>= 4;
        while size > 0 {
            *bytes.last_mut().unwrap() |= 0x80;
            bytes.push((size & 0x7f) as u8);
            size >>= 7;
        }
        bytes
    }

    fn number(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(0x80 | (number & 0x7f) as u8);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn pack(objects: u32, entries: &[Vec<u8>]) -> Vec<u8> {
        [b"PACK\0\0\0\x02", &objects.to_be_bytes()[..], &entries.concat(), &[7; 20]].concat()
    }

    fn packets(band: u8, data: &[u8], size: usize) -> Vec<u8> {
        let packet = |part: &[u8]| [format!("{:04x}", part.len() + 5).as_bytes(), &[band], part].concat();
        data.chunks(size).flat_map(packet).collect()
    }

    /// Passes the stream as a network would, in pieces of that size.
    fn seen(stream: &[u8], piece: usize) -> Result<(), Excess> {
        let mut guard = Guard::new(&LIMITS);
        stream.chunks(piece).try_for_each(|part| guard.see(part))
    }

    #[track_caller]
    fn check(pack: &[u8], expect: Result<(), Excess>) {
        for piece in [1, 7, 100_000] {
            for size in [1, 1_000] {
                let stream = [b"0008NAK\n", &packets(1, pack, size)[..], b"0000"].concat();
                assert_eq!(seen(&stream, piece), expect, "{piece} {size}");
            }
            assert_eq!(seen(&[b"0008NAK\n", pack].concat(), piece), expect, "{piece}, without packets");
        }
    }

    #[test]
    fn a_pack_as_it_should_be_goes_by() {
        let data = vec![b'x'; 70_000];
        let blob = [header(BLOB, 70_000), deflated(&data)].concat();
        let commit = [header(1, 4), deflated(b"tree")].concat();
        let difference = deflated(&[number(70_000), number(70_001), vec![1, 2, 3]].concat());
        let distant = [header(DISTANT_DELTA, 9), vec![0x81, 0x02], difference.clone()].concat();
        let named = [header(NAMED_DELTA, 9), vec![9; 20], difference].concat();
        check(&pack(4, &[blob, commit, distant, named]), Ok(()));
        check(&pack(0, &[]), Ok(()));
    }

    #[test]
    fn what_libgit2_would_take_into_memory_is_measured_first() {
        let tree = [header(2, LIMITS.object_bytes + 1), deflated(b"")].concat();
        check(&pack(1, &[tree]), Err(("bytes of one object", LIMITS.object_bytes)));
        check(
            &pack(1, &[[0xa0; 1].to_vec(), vec![0xff; 11]]),
            Err(("bytes of one object", LIMITS.object_bytes)),
        );
        // Of a blob, libgit2 keeps only the packed data.
        let blob = [header(BLOB, 1 << 40), deflated(b"")].concat();
        check(&pack(1, &[blob]), Ok(()));
        let bomb = deflated(&[number(10), number(LIMITS.delta_bytes + 1)].concat());
        let bomb = [header(NAMED_DELTA, 6), vec![9; 20], bomb].concat();
        let commit = [header(1, 4), deflated(b"tree")].concat();
        check(&pack(2, &[commit, bomb]), Err(("bytes of one object", LIMITS.delta_bytes)));
        check(&pack(LIMITS.objects + 1, &[]), Err(("objects", LIMITS.objects.into())));
    }

    /// A fetch of a whole history: `count` deltas, each between two trees of that size.
    fn history(count: u32, size: u64) -> Vec<u8> {
        let delta = deflated(&[number(size), number(size), vec![1; 20]].concat());
        let entry = [header(NAMED_DELTA, 20 + 2 * number(size).len() as u64), vec![9; 20], delta].concat();
        pack(count, &vec![entry; count as usize])
    }

    #[test]
    fn what_differences_make_is_measured_together() {
        let excess = Err(("bytes of objects", LIMITS.unpacked_bytes));
        let seen = |pack: &[u8]| seen(&[b"0008NAK\n", pack].concat(), 65_536);
        assert_eq!(seen(&history(3_000, 240 << 20)), excess);
        assert_eq!(seen(&history(60_000, 8 << 20)), excess);
        assert_eq!(seen(&history(100_000, 400_000)), Ok(()), "the history of a large fleet");
    }

    #[test]
    fn talk_has_an_end() {
        let talk = packets(2, &vec![b'x'; LIMITS.talk_bytes as usize + 1], 1_000);
        assert_eq!(seen(&talk, 10_000), Err(("bytes of messages", LIMITS.talk_bytes)));
        assert_eq!(seen(&packets(2, b"Counting objects", 5), 3), Ok(()));
    }

    #[test]
    fn what_is_no_pack_is_left_to_libgit2() {
        for odd in [&b"what?"[..], b"00", b"0008NAK\nPACK", b"0009\x01PACK"] {
            assert_eq!(seen(odd, 2), Ok(()));
        }
        let odd = [header(1, 4), b"no deflated data".to_vec()].concat();
        check(&pack(1, &[odd]), Ok(()));
        check(&pack(1, &[[header(1, 2), deflated(b"more than it says")].concat()]), Ok(()));
    }
}
