//! Whether a file is unchanged, found out without reading it: by its inode, size and times, like git's index.
//! Also like git, a time that is too young proves nothing, since the next change might have the same one.

use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// Identifies the content of a file: at one path, equal keys mean equal bytes.
pub(crate) type Key = [u8; 32];

/// A time younger than this, in nanoseconds, proves nothing: file systems count in steps, of up to two
/// seconds.
const SETTLED: i128 = 2_000_000_000;

/// Local file systems, whose times come from this machine's clock (statfs(2)): ext2 to ext4, XFS, Btrfs,
/// tmpfs, overlayfs, ZFS, F2FS. On any other, above all on a network's, every file is read every time: the
/// kernel may have the times from another machine, and they may be a minute old (nfs(5), "acregmax").
const LOCAL: [u64; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xf2f5_2010];

/// A file system at one moment, whose times can be trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    device: u64,
    /// In nanoseconds since 1970.
    now: i128,
}

impl Times {
    /// The times of this file's or directory's file system; `None` if they cannot be trusted.
    pub(crate) fn of(file: impl AsFd, now: SystemTime) -> Option<Times> {
        let local = rustix::fs::fstatfs(&file).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64)));
        let device = rustix::fs::fstat(&file).ok().filter(|_| local)?.st_dev;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Some(Times { device, now: i128::try_from(now).unwrap_or(i128::MAX) })
    }

    /// The key of a file that had this status before it was read; `None` if its times prove nothing.
    pub(crate) fn key(&self, found: &Stat) -> Option<Key> {
        let nanoseconds = |seconds: i64, rest: i128| i128::from(seconds) * 1_000_000_000 + rest;
        let modified = nanoseconds(found.st_mtime, found.st_mtime_nsec.into());
        let changed = nanoseconds(found.st_ctime, found.st_ctime_nsec.into());
        if found.st_dev != self.device || modified.max(changed) >= self.now - SETTLED {
            return None;
        }
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(found.st_ino).to_le_bytes());
        // The low eight bytes: nanoseconds for 584 years.
        key[8..16].copy_from_slice(&modified.to_le_bytes()[..8]);
        key[16..24].copy_from_slice(&changed.to_le_bytes()[..8]);
        key[24..28].copy_from_slice(&(found.st_size as u32).to_le_bytes());
        key[28..].copy_from_slice(&(found.st_dev as u32).to_le_bytes());
        Some(key)
    }
}
