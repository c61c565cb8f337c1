//! The parsers of data from git servers, for `fuzz/`.

use std::io::{Read, Write};
use std::time::Duration;

use git2::Oid;
use presence_git::connection::{filter, guard::Guard};
use presence_git::packs::Pack;
use presence_git::send_pack::{RefUpdate, Session};
use presence_git::{Connection, TransportError, delta as deltas};

use super::network::size_limits;
use super::{beats, commits, inbox, updates};
use crate::limits;
use crate::record::MAX_BYTES;
use crate::store::Folder;

/// A server whose whole output is known in advance.
struct Recorded {
    bytes: Vec<u8>,
    at: usize,
}

impl Connection for Recorded {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, TransportError> {
        let read = (&self.bytes[self.at..]).read(into).unwrap_or_default();
        self.at += read;
        Ok(read)
    }

    fn send(&mut self, _: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }

    fn ended(&mut self) -> TransportError {
        TransportError::Closed { peer: "localhost".to_owned() }
    }

    fn answered_in(&self) -> Option<Duration> {
        None
    }

    fn is_stateless(&self) -> bool {
        false
    }
}

/// An advertisement and the report on a push: pkt-lines, side bands, refusals.
pub fn conversation(bytes: &[u8]) {
    let server = Recorded { bytes: bytes.to_vec(), at: 0 };
    let Ok(session) = Session::on(Box::new(server), limits::get().report_bytes) else { return };
    let name = "refs/heads/main".to_owned();
    let command = RefUpdate { name, old: None, new: Some(Oid::ZERO_SHA1) };
    let _ = session.send(&[command], b"PACK", true);
}

/// A delta from an untrusted source.
pub fn delta(bytes: &[u8]) {
    const MOST: usize = 128 * 1024;
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some((base, delta)) = rest.split_at_checked(usize::from(*length)) else { return };
    let mut whole = base.to_vec();
    if deltas::apply(delta, 0..base.len(), &mut whole, MOST).is_some() {
        assert!(whole.len() <= base.len() + MOST);
    }
    assert_eq!(&whole[..base.len()], base);
}

/// Entries of a pack, with an index that names entries in it. The first byte gives the number of entries; two
/// bytes for each are its offset.
pub fn pack(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return };
    let count = usize::from(*count % 16) + 1;
    let Some((offsets, entries)) = rest.split_at_checked(count * 2) else { return };
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(entries).is_err() {
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
    let Some(pack) = Pack::new(file, entries.len() as u64, index) else { return };
    // Once with the whole pack in memory, once with a window.
    for most in [u64::MAX, 0] {
        let mut reader = pack.reader(MAX_BYTES, most);
        for entry in 0..count {
            if let Some(place) = pack.find(&[entry as u8; 20]) {
                let _ = reader.read(place);
            }
        }
    }
}

/// A server's ref advertisement, as passed to libgit2.
pub fn refs(mut bytes: &[u8]) {
    let whole = bytes.len();
    let read = filter::read("localhost", &size_limits(), |into| Ok(bytes.read(into).unwrap_or_default()));
    if let Ok(kept) = read {
        // The capabilities may occur twice: again after the first ref that is kept.
        assert!(kept.len() <= 2 * whole + 1024, "{} bytes of {whole}", kept.len());
    }
}

/// A server's answer to a fetch, as passed to libgit2, in chunks of any size.
pub fn answer(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let mut guard = Guard::new(&size_limits());
    for piece in bytes.chunks(usize::from(*size) + 1) {
        if guard.see(piece).is_err() {
            return;
        }
    }
}

/// A commit.
pub fn commit(bytes: &[u8]) {
    let _ = commits::parse(bytes);
}

/// A shard of heartbeats.
pub fn beats(bytes: &[u8]) {
    let beats = beats::parse(&String::from_utf8_lossy(bytes));
    assert!(beats.keys().all(|id| id.parse::<crate::name::Name>().is_ok()));
}

/// The names of waiting updates' refs, and of the files in them.
pub fn inbox(bytes: &[u8]) {
    let Ok(folder) = Folder::parse("it/presence/all") else { return };
    if let Some(path) = updates::path_below(&folder, bytes) {
        assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "{path}");
    }
    let name = String::from_utf8_lossy(bytes).into_owned();
    for entry in inbox::entries([(&name, &Oid::ZERO_SHA1)]) {
        assert_eq!(inbox::entries([(&entry.name(), &Oid::ZERO_SHA1)]), [entry]);
    }
}
