//! The lock of a mirror: one holder among all processes and threads of this machine.
//!
//! The lock ends with its process, however that ends. A guard stays on the thread that took it, so no value
//! that is used later, perhaps elsewhere, can hold a lock unnoticed. A thread that asks for a lock that it
//! already holds gets an error at once, instead of waiting for itself.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, TryLockError};
use std::io::Write;
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::errors::AtPath;
use crate::folder::Folder;
use crate::state;
use crate::store::StoreErrorKind;
use crate::store::git::GitError;

/// Device and inode, which identify a file under any path.
type Identity = (u64, u64);

thread_local! {
    /// The locks that this thread holds.
    static HELD: RefCell<HashSet<Identity>> = RefCell::default();
}

const FILE: &str = "lock";

/// The lock, held until this is dropped.
pub(super) struct Lock {
    _file: fs::File,
    identity: Identity,
    /// Not `Send`: `HELD` belongs to one thread.
    _here: PhantomData<*const ()>,
}

impl Lock {
    /// Takes the lock of that folder. Waits until the deadline while another process or thread holds it.
    pub(super) fn take(folder: &Path, deadline: Deadline) -> Result<Lock, StoreErrorKind> {
        // The file keeps the holder's pid, so it is not truncated.
        let mut file = Folder::private(folder)?.lock_file(FILE)?;
        let path = &folder.join(FILE);
        let found = file.metadata().at("open", path)?;
        let identity = (found.dev(), found.ino());
        if HELD.with_borrow(|held| held.contains(&identity)) {
            return Err(StoreErrorKind::Git(GitError::LockedByItself(path.to_owned())));
        }
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if !deadline.is_over() => {
                    deadline.sleep(Duration::from_millis(5 + fastrand::u64(..20)));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreErrorKind::Git(GitError::Locked {
                        path: path.to_owned(),
                        holder: holder(folder),
                        seconds: started.elapsed().as_secs_f64().round() as u64,
                        key: deadline.setting(),
                    }));
                }
                Err(TryLockError::Error(error)) => return Err(error).at("lock", path).map_err(Into::into),
            }
        }
        // For messages only: a full disk must not prevent reading.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        HELD.with_borrow_mut(|held| held.insert(identity));
        Ok(Lock { _file: file, identity, _here: PhantomData })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // At the end of the thread, `HELD` may already be destroyed.
        let _ = HELD.try_with(|held| held.borrow_mut().remove(&self.identity));
    }
}

/// The process that last wrote its pid into the file; `None` if that is unreadable.
fn holder(folder: &Path) -> Option<u32> {
    state::load_text(folder, FILE)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::deadline::Limit;

    fn within(seconds: f64) -> Deadline {
        Deadline::new(Limit::Publish, Duration::from_secs_f64(seconds))
    }

    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("place");
        (dir, path)
    }

    #[test]
    fn a_thread_that_waits_for_itself_is_told_so_at_once() {
        let (dir, path) = place();
        let started = Instant::now();
        let lock = Lock::take(&path, within(600.0)).unwrap();
        // The same lock under another path.
        let other = dir.path().join("other");
        std::os::unix::fs::symlink(&path, &other).unwrap();
        for name in [&path, &other] {
            let error = Lock::take(name, within(600.0)).err().unwrap();
            assert!(matches!(&error, StoreErrorKind::Git(GitError::LockedByItself(_))), "{error}");
            let text = error.to_string();
            assert!(text.contains("a bug in presence") && text.contains(name.to_str().unwrap()), "{text}");
        }
        assert!(started.elapsed() < Duration::from_secs(60));
        drop(lock);
        Lock::take(&path, within(0.0)).unwrap();
    }

    #[test]
    fn threads_of_one_process_wait_for_each_other() {
        let (_dir, path) = place();
        let lock = Lock::take(&path, within(0.0)).unwrap();
        let (sender, receiver) = mpsc::channel();
        let other = path.clone();
        let thread = std::thread::spawn(move || {
            let refused = Lock::take(&other, within(0.05)).err().unwrap();
            sender.send(refused.to_string()).unwrap();
            Lock::take(&other, within(60.0)).map(drop).is_ok()
        });
        let refused = receiver.recv().unwrap();
        let own = std::process::id();
        let lock_file = path.join(FILE);
        assert_eq!(refused, format!("process {own} has held `{}` for 0 s", lock_file.display()));
        drop(lock);
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_holder_that_wrote_no_pid_is_nobody_in_particular() {
        let (_dir, path) = place();
        let foreign = Folder::private(&path).unwrap().lock_file(FILE).unwrap();
        foreign.lock().unwrap();
        let error = Lock::take(&path, within(0.0)).err().unwrap();
        let path = path.join(FILE);
        assert_eq!(error.to_string(), format!("another process has held `{}` for 0 s", path.display()));
    }
}
