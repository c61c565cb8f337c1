//! The lock of a mirror: one holder at a time, among all processes and threads of this machine.
//!
//! The lock goes with the process, however that ends. A guard stays on the thread that took it: no value that is read
//! later, perhaps elsewhere, can hold one unseen. A thread that asks for a lock which it holds itself would wait for
//! itself; it gets an error at once.

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

/// A file, by device and inode: however it is named.
type Identity = (u64, u64);

thread_local! {
    /// The locks that this thread holds.
    static HELD: RefCell<HashSet<Identity>> = RefCell::default();
}

const FILE: &str = "lock";

/// A lock that is held until this is dropped.
pub(super) struct Lock {
    _file: fs::File,
    identity: Identity,
    /// Not `Send`: the registry of holders is that of one thread.
    _here: PhantomData<*const ()>,
}

impl Lock {
    /// Takes the lock of that folder, and waits until the deadline for another process or thread that holds it.
    pub(super) fn take(folder: &Path, deadline: Deadline) -> Result<Lock, StoreErrorKind> {
        // It may hold the pid of the holder.
        let mut file = Folder::private(folder)?.lock_file(FILE)?;
        let path = &folder.join(FILE);
        let found = file.metadata().at("open", path)?;
        let identity = (found.dev(), found.ino());
        if HELD.with_borrow(|held| held.contains(&identity)) {
            return Err(StoreErrorKind::LockedByItself(path.to_owned()));
        }
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if !deadline.is_over() => {
                    deadline.sleep(Duration::from_millis(5 + fastrand::u64(..20)));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreErrorKind::Locked {
                        path: path.to_owned(),
                        holder: holder(folder),
                        seconds: started.elapsed().as_secs_f64().round() as u64,
                        key: deadline.limit().key(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(error).at("lock", path).map_err(Into::into),
            }
        }
        // For messages only: a full disk must not keep anybody from reading.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        HELD.with_borrow_mut(|held| held.insert(identity));
        Ok(Lock { _file: file, identity, _here: PhantomData })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // At the end of the thread the registry may be gone already.
        let _ = HELD.try_with(|held| held.borrow_mut().remove(&self.identity));
    }
}

/// The process that wrote its pid into the file last; none if that cannot be read.
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
        // By another name it is the same lock.
        let other = dir.path().join("other");
        std::os::unix::fs::symlink(&path, &other).unwrap();
        for name in [&path, &other] {
            let error = Lock::take(name, within(600.0)).err().unwrap();
            assert!(matches!(&error, StoreErrorKind::LockedByItself(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains("a defect of presence") && text.contains(name.to_str().unwrap()), "{text}");
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
