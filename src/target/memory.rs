//! What is remembered of a target between runs: its last good output, and a reload that is still owed.

use std::fs::{self, File, TryLockError};
use std::hash::Hasher;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::limits::Counts;
use crate::errors::{AtPath, PathError};

/// How long a run waits for another run on the same target. Longer than check and reload may take together.
const LOCK_PATIENCE: Duration = Duration::from_secs(180);

/// The last output that was good enough to be used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LastGood {
    /// What the template was given.
    pub counts: Counts,
    /// The output itself; none for a target that is a file, which is its own memory.
    pub output: Option<String>,
}

/// The memory of one target, locked: two runs on one target go one after the other.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
    _lock: File,
}

impl Memory {
    /// Opens the memory of the target named `key` (a file's path, or what identifies a rendering to stdout), and waits
    /// while another process holds it.
    pub fn open(state_dir: &Path, key: &str) -> Result<Memory, PathError> {
        let mut hash = fnv::FnvHasher::default();
        hash.write(key.as_bytes());
        let dir = state_dir.join("targets").join(format!("{:016x}", hash.finish()));
        fs::create_dir_all(&dir).at("make", &dir)?;
        let path = dir.join("lock");
        let mut file =
            File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let busy = std::io::Error::new(
                        std::io::ErrorKind::TimedOut,
                        "another run holds it for too long",
                    );
                    return Err(busy).at("lock", &path);
                }
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
            }
        }
        // For people who look into the state directory: the directory's name is only a hash of this.
        file.set_len(0).and_then(|()| writeln!(file, "{key}")).at("write", &path)?;
        Ok(Memory { dir, _lock: file })
    }

    /// The last good output. One that cannot be read counts as none, and is replaced by the next.
    pub fn last_good(&self) -> Option<LastGood> {
        serde_json::from_slice(&fs::read(self.dir.join("last-good.json")).ok()?).ok()
    }

    /// Remembers a good output.
    pub fn keep(&self, good: &LastGood) -> Result<(), PathError> {
        if self.last_good().as_ref() == Some(good) {
            return Ok(());
        }
        let path = self.dir.join("last-good.json");
        let text = serde_json::to_vec(good).map_err(std::io::Error::from).at("write", &path)?;
        let mut staged = tempfile::NamedTempFile::new_in(&self.dir).at("write a file in", &self.dir)?;
        staged.write_all(&text).and_then(|()| staged.as_file().sync_all()).at("write", &path)?;
        staged.persist(&path).map_err(|error| error.error).at("replace", &path)?;
        Ok(())
    }

    /// Whether a reload is owed: the file was replaced, and no reload has succeeded since.
    pub fn owes_reload(&self) -> bool {
        self.pending().exists()
    }

    /// Remembers, before the file is replaced, that a reload will be owed.
    pub fn owe_reload(&self) -> Result<(), PathError> {
        let path = self.pending();
        File::create(&path).and_then(|file| file.sync_all()).at("write", &path)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).at("write", &self.dir)
    }

    /// The reload succeeded.
    pub fn reloaded(&self) -> Result<(), PathError> {
        let path = self.pending();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", &path),
            _ => Ok(()),
        }
    }

    fn pending(&self) -> PathBuf {
        self.dir.join("reload-pending")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::limits::Count;

    #[test]
    fn what_was_kept_is_there_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let good = LastGood {
            counts: Counts::from([("app*".into(), Count { active: 3, leaving: 0 })]),
            output: Some("x".into()),
        };
        {
            let memory = Memory::open(dir.path(), "/etc/haproxy.cfg").unwrap();
            assert_eq!(memory.last_good(), None);
            memory.keep(&good).unwrap();
            memory.owe_reload().unwrap();
        }
        let memory = Memory::open(dir.path(), "/etc/haproxy.cfg").unwrap();
        assert_eq!(memory.last_good(), Some(good));
        assert!(memory.owes_reload());
        memory.reloaded().unwrap();
        memory.reloaded().unwrap();
        assert!(!memory.owes_reload());
        assert_eq!(Memory::open(dir.path(), "other").unwrap().last_good(), None);
    }

    #[test]
    fn a_broken_memory_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(dir.path(), "x").unwrap();
        fs::write(memory.dir.join("last-good.json"), "{\"counts\":").unwrap();
        assert_eq!(memory.last_good(), None);
    }
}
