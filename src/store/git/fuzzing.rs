//! The parsers of data from git servers, for `fuzz/`.

use std::io::{self, Read, Write};

use git2::Oid;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};

use super::push::{RefUpdate, Session};
use super::{beats, commits, delta, inbox, packs, transport};
use crate::store::Folder;

/// A server whose whole output is known in advance.
struct Recorded(Vec<u8>);

/// Its remaining output.
struct Playing {
    bytes: Vec<u8>,
    at: usize,
}

impl SmartSubtransport for Recorded {
    fn action(&self, _: &str, _: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        Ok(Box::new(Playing { bytes: self.0.clone(), at: 0 }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

impl Read for Playing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = (&self.bytes[self.at..]).read(into)?;
        self.at += read;
        Ok(read)
    }
}

impl Write for Playing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An advertisement and the report on a push: pkt-lines, side bands, refusals.
pub fn conversation(bytes: &[u8]) {
    let Ok(session) = Session::open(Box::new(Recorded(bytes.to_vec())), false, "git://localhost/") else {
        return;
    };
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
    if delta::apply(delta, 0..base.len(), &mut whole, MOST).is_some() {
        assert!(whole.len() <= base.len() + MOST);
    }
    assert_eq!(&whole[..base.len()], base);
}

/// Entries of a pack.
pub fn pack(bytes: &[u8]) {
    packs::fuzzing::read(bytes);
}

/// A server's ref advertisement, as passed to libgit2.
pub fn refs(bytes: &[u8]) {
    transport::fuzzing::refs(bytes);
}

/// A server's answer to a fetch, as passed to libgit2.
pub fn answer(bytes: &[u8]) {
    transport::fuzzing::answer(bytes);
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
    if let Some(path) = inbox::path_below(&folder, bytes) {
        assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "{path}");
    }
    let name = String::from_utf8_lossy(bytes).into_owned();
    for entry in inbox::entries([(&name, &Oid::ZERO_SHA1)]) {
        assert_eq!(inbox::entries([(&entry.name(), &Oid::ZERO_SHA1)]), [entry]);
    }
}
