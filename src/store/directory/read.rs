//! Reads a folder in one pass: what has not changed since the last time is only looked at, the rest is opened.
//!
//! Whether a file has changed is told by its inode, size and times, as git's index tells it, and with git's care: a time
//! that is too young says nothing, since the next change might bear the same one.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3Default;

use super::listing::{Listing, Sort, open_dir};
use crate::errors::PathError;
use crate::record::MAX_BYTES;
use crate::store::snapshot::{self, Batch, Item, Key, NO_KEY, Snapshot};

/// A time younger than this, in nanoseconds, says nothing: file systems count in steps, the coarsest of two seconds.
const SETTLED: i128 = 2_000_000_000;

/// Fewer files than this are not worth a second thread.
const MANY: usize = 1_000;

/// More threads than this wait for the same locks of the kernel.
const MAX_THREADS: usize = 4;

/// File systems of this machine, whose times are made by the clock of this machine (statfs(2)): ext2 to ext4, XFS,
/// Btrfs, tmpfs, overlayfs, ZFS, F2FS. Of any other, a network's above all, every file is read every time: what the
/// kernel says of its times may be another machine's word, and a minute old (nfs(5), "acregmax").
const LOCAL: [u64; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xf2f5_2010];

/// A folder that was looked at.
pub(super) struct Seen {
    listing: Listing,
    /// The files' keys, if somebody remembers earlier ones to compare with.
    keys: Option<Vec<Key>>,
    /// The device whose times mean something; none if they do not.
    device: Option<u64>,
    /// When it was looked at, in nanoseconds since 1970.
    now: i128,
}

impl Seen {
    /// Lists the folder, and looks at its files if `compare`.
    pub(super) fn new(folder: &Path, compare: bool, now: SystemTime) -> Result<Seen, PathError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = i128::try_from(now).unwrap_or(i128::MAX);
        let listing = Listing::new(folder)?;
        let local =
            rustix::fs::fstatfs(&listing.root).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64)));
        let device = rustix::fs::fstat(&listing.root).ok().filter(|_| local).map(|found| found.st_dev);
        let mut seen = Seen { listing, keys: None, device, now };
        if compare && device.is_some() {
            let all: Vec<usize> = (0..seen.listing.len()).collect();
            let keys = seen.in_threads(&all, |files| {
                let mut dir = Dir::default();
                files.iter().map(|file| seen.look_at(&mut dir, *file)).collect::<Vec<_>>()
            });
            seen.keys = Some(keys.concat());
        }
        Ok(seen)
    }

    /// See [`Look::stamp`](crate::store::Look::stamp).
    pub(super) fn stamp(&self) -> Option<String> {
        let keys = self.keys.as_ref().filter(|_| self.listing.problems.is_empty())?;
        stamp((0..keys.len()).map(|file| (self.listing.path(file), &keys[file])))
    }

    /// Reads the files that `known` does not have as they are now.
    pub(super) fn read(self, known: &Snapshot) -> Snapshot {
        let mut items = Vec::new();
        let mut fresh = Vec::new();
        let mut candidates = known.entries.iter().enumerate().peekable();
        for file in 0..self.listing.len() {
            let path = self.listing.path(file);
            while candidates.next_if(|(_, entry)| known.path(entry) < path).is_some() {}
            let key = self.keys.as_ref().map_or(NO_KEY, |keys| keys[file]);
            match candidates.peek() {
                Some((at, entry)) if key != NO_KEY && entry.key == key && known.path(entry) == path => {
                    snapshot::keep(&mut items, *at..at + 1);
                }
                _ => {
                    items.push(Item::Fresh(fresh.len()));
                    fresh.push(file);
                }
            }
        }
        let numbers: Vec<usize> = (0..fresh.len()).collect();
        let mut batches = self.in_threads(&numbers, |numbers| {
            let mut batch = Batch::with_capacity(numbers.len());
            let mut dir = Dir::default();
            let mut buffer = vec![0; MAX_BYTES + 1];
            for number in numbers {
                let file = fresh[*number];
                let path = self.listing.path(file);
                match self.open(&mut dir, file, &mut buffer) {
                    Ok((key, content)) => batch.add(*number, path, key, content),
                    Err(Errno::NOENT) => {} // gone between the listing and the reading: it left
                    Err(error) => {
                        let error = std::io::Error::from(error);
                        batch.add(*number, path, NO_KEY, Err(format!("cannot be read: {error}")));
                    }
                }
            }
            batch
        });
        let mut problems = Batch::default();
        for (number, (path, reason)) in (fresh.len()..).zip(&self.listing.problems) {
            items.push(Item::Fresh(number));
            problems.add(number, path, NO_KEY, Err(reason.clone()));
        }
        batches.push(problems);
        let mut snapshot = Snapshot::assemble(known, &items, batches);
        snapshot.version = snapshot.digest();
        if self.listing.problems.is_empty() {
            snapshot.stamp = stamp(snapshot.entries.iter().map(|entry| (snapshot.path(entry), &entry.key)));
        }
        snapshot
    }

    fn look_at(&self, dir: &mut Dir, file: usize) -> Key {
        let found = dir
            .of(&self.listing, file)
            .and_then(|(dir, name)| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW));
        found.map_or(NO_KEY, |found| self.key(file, &found))
    }

    /// The file's key, and what is in it.
    fn open<'b>(
        &self,
        dir: &mut Dir,
        file: usize,
        buffer: &'b mut [u8],
    ) -> rustix::io::Result<(Key, Result<&'b [u8], String>)> {
        if self.listing.sort(file) == Sort::Link {
            let reason = "is a link, and links are not followed".to_owned();
            return Ok((self.look_at(dir, file), Err(reason)));
        }
        let (dir, name) = dir.of(&self.listing, file)?;
        // Neither follows a link that was not one a moment ago, nor waits for a fifo.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let key = match self.device {
            Some(_) => self.key(file, &rustix::fs::fstat(&opened)?),
            None => NO_KEY,
        };
        let mut length = 0;
        while length < buffer.len() {
            match rustix::io::read(&opened, &mut buffer[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((key, Ok(&buffer[..length])))
    }

    fn key(&self, file: usize, found: &Stat) -> Key {
        let nanoseconds = |seconds: i64, rest: i128| i128::from(seconds) * 1_000_000_000 + rest;
        let modified = nanoseconds(found.st_mtime, found.st_mtime_nsec.into());
        let changed = nanoseconds(found.st_ctime, found.st_ctime_nsec.into());
        let settled = modified.max(changed) < self.now - SETTLED;
        let comparable = self.device == Some(found.st_dev) && self.listing.sort(file) != Sort::Special;
        if !settled || !comparable {
            return NO_KEY;
        }
        let mut key = NO_KEY;
        key[..8].copy_from_slice(&(found.st_ino).to_le_bytes());
        // The low eight bytes: nanoseconds for 584 years.
        key[8..16].copy_from_slice(&modified.to_le_bytes()[..8]);
        key[16..24].copy_from_slice(&changed.to_le_bytes()[..8]);
        key[24..28].copy_from_slice(&(found.st_size as u32).to_le_bytes());
        key[28..].copy_from_slice(&(found.st_dev as u32).to_le_bytes());
        key
    }

    /// Does something with these, in as many threads as pay.
    fn in_threads<T: Send>(&self, all: &[usize], act: impl Fn(&[usize]) -> T + Sync) -> Vec<T> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
        if threads == 1 || all.len() < MANY {
            return vec![act(all)];
        }
        std::thread::scope(|scope| {
            let act = &act;
            let threads: Vec<_> =
                all.chunks(all.len().div_ceil(threads)).map(|part| scope.spawn(move || act(part))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }
}

/// Names what these files hold, if each of them has a key.
fn stamp<'a>(files: impl Iterator<Item = (&'a [u8], &'a Key)>) -> Option<String> {
    let mut hash = Xxh3Default::new();
    for (path, key) in files {
        if *key == NO_KEY {
            return None;
        }
        hash.update(path);
        hash.update(&[0]);
        hash.update(key);
    }
    Some(format!("{:032x}", hash.digest128()))
}

/// The directory that was opened last: the files come sorted, those of one directory together.
#[derive(Default)]
struct Dir(Option<(Vec<u8>, OwnedFd)>);

impl Dir {
    /// The directory that the file is in, and its name there.
    fn of<'a>(
        &'a mut self,
        listing: &'a Listing,
        file: usize,
    ) -> rustix::io::Result<(&'a OwnedFd, &'a [u8])> {
        let path = listing.path(file);
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            return Ok((&listing.root, path));
        };
        let (prefix, name) = (&path[..slash], &path[slash + 1..]);
        if self.0.as_ref().is_none_or(|(opened, _)| opened != prefix) {
            self.0 = Some((prefix.to_vec(), open_dir(&listing.root, prefix, OFlags::NOFOLLOW)?));
        }
        let (_, dir) = self.0.as_ref().ok_or(Errno::NOENT)?;
        Ok((dir, name))
    }
}

#[cfg(test)]
mod tests;
