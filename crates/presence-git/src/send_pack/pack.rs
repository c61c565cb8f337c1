//! Makes a pack of only the objects that a push adds (gitformat-pack(5)).

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{ObjectType, Oid, Repository, Tree};

use super::tree_delta;

/// The type of a delta whose base is given by object id.
const REF_DELTA: u8 = 7;

/// A commit to send.
#[derive(Debug, Clone, Copy)]
pub struct NewCommit {
    /// The commit.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// The tree of its base: a commit that the server has.
    pub base: Option<Oid>,
}

/// A pack of the objects of commits that their bases lack, with trees as deltas against those of the base.
///
/// The server must have each base: then it also has everything in the base's tree.
pub fn pack_of(repo: &Repository, commits: &[NewCommit]) -> Result<Vec<u8>, git2::Error> {
    let objects = Objects::of(repo, commits)?;
    let mut pack = Vec::from(*b"PACK\0\0\0\x02");
    pack.extend_from_slice(&u32::try_from(objects.found.len()).unwrap_or(u32::MAX).to_be_bytes());
    let odb = repo.odb()?;
    for (oid, base) in &objects.found {
        let object = odb.read(*oid)?;
        let delta = match base {
            Some(base) => {
                tree_delta::between_trees(odb.read(*base)?.data(), object.data()).map(|delta| (base, delta))
            }
            None => None,
        };
        match delta {
            Some((base, delta)) => {
                header(&mut pack, REF_DELTA, delta.len());
                pack.extend_from_slice(base.as_bytes());
                deflate(&mut pack, &delta)
            }
            None => {
                header(&mut pack, type_number(object.kind()), object.data().len());
                deflate(&mut pack, object.data())
            }
        }
        .map_err(|error| git2::Error::from_str(&error.to_string()))?;
    }
    let digest = sha1_smol::Sha1::from(&pack).digest().bytes();
    pack.extend_from_slice(&digest);
    Ok(pack)
}

/// The objects that a commit has and its base lacks.
pub fn added(repo: &Repository, commit: NewCommit) -> Result<Vec<Oid>, git2::Error> {
    Ok(Objects::of(repo, &[commit])?.found.into_keys().collect())
}

/// The new objects, and for a tree its similar predecessor. Sorted by id, so that equal pushes give equal
/// packs.
struct Objects<'repo> {
    repo: &'repo Repository,
    found: BTreeMap<Oid, Option<Oid>>,
}

impl Objects<'_> {
    fn of<'repo>(repo: &'repo Repository, commits: &[NewCommit]) -> Result<Objects<'repo>, git2::Error> {
        let mut objects = Objects { repo, found: BTreeMap::new() };
        for new_commit in commits {
            let new = repo.find_tree(new_commit.tree)?;
            let old = new_commit.base.map(|tree| repo.find_tree(tree)).transpose()?;
            objects.found.insert(new_commit.commit, None);
            objects.add_tree(old.as_ref(), &new)?;
        }
        Ok(objects)
    }

    fn add_tree(&mut self, old: Option<&Tree<'_>>, new: &Tree<'_>) -> Result<(), git2::Error> {
        if old.is_some_and(|old| old.id() == new.id()) || self.found.contains_key(&new.id()) {
            return Ok(());
        }
        self.found.insert(new.id(), old.map(Tree::id));
        for entry in new {
            let before = old.and_then(|old| old.get_name_bytes(entry.name_bytes()));
            if before.as_ref().is_some_and(|before| before.id() == entry.id()) {
                continue;
            }
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let before = before
                        .filter(|before| before.kind() == Some(ObjectType::Tree))
                        .map(|before| self.repo.find_tree(before.id()))
                        .transpose()?;
                    self.add_tree(before.as_ref(), &self.repo.find_tree(entry.id())?)?;
                }
                Some(ObjectType::Blob) => {
                    self.found.insert(entry.id(), None);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn type_number(kind: ObjectType) -> u8 {
    match kind {
        ObjectType::Commit => 1,
        ObjectType::Tree => 2,
        ObjectType::Tag => 4,
        _ => 3,
    }
}

/// Type and size: the first byte has three bits of type and four of size, each further byte has seven bits of
/// size.
fn header(pack: &mut Vec<u8>, kind: u8, size: usize) {
    let mut byte = kind << 4 | (size & 0x0f) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        pack.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    pack.push(byte);
}

/// The bytes as they stand in a pack.
#[cfg(test)]
pub(crate) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut pack = Vec::new();
    deflate(&mut pack, bytes).unwrap();
    pack
}

fn deflate(pack: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let mut encoder = ZlibEncoder::new(pack, Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()?;
    Ok(())
}
