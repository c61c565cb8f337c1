//! The memory of a target between runs: its last good output, and an owed reload.

use std::fs::TryLockError;
use std::hash::Hasher;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::limits::Counts;
use super::port::{OnDisk, Port};
use super::{Runtime, TargetError};
use crate::errors::{AtPath, PathError};
use crate::folder::{self, Folder};
use crate::haproxy::{Running, SocketError};
use crate::stat_key::Key;

/// How long a run waits for another run on the same target: longer than check and reload can take together.
const LOCK_PATIENCE: Duration = Duration::from_secs(180);

/// The last output that passed its limits and its check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LastGood {
    /// The counts of the template's questions.
    pub counts: Counts,
    /// The output's [`digest`].
    pub digest: String,
    /// The inputs of the output; `None` if they are unknown, or work is left.
    pub made: Option<Made>,
    /// The key of the file when it was last read and found right; `None` if the key proves nothing yet.
    pub key: Option<Key>,
}

/// The inputs of an output and its warnings. Equal inputs make an equal output with equal warnings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The digest of all inputs.
    pub inputs: String,
    /// The warnings, as they were printed.
    pub warnings: Vec<String>,
}

impl LastGood {
    /// The memory of that output.
    pub fn new(counts: Counts, output: &str, made: Option<Made>) -> LastGood {
        LastGood { counts, digest: digest(output.as_bytes()), made, key: None }
    }
}

/// A digest of an output.
pub fn digest(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

/// The files of the memory, besides the notes of other modules.
const LOCK: &str = "lock";
const LAST_GOOD: &str = "last-good";
const BEING_WRITTEN: &str = "being-written";
const PENDING: &str = "reload-pending";

/// The name of the note with [`InVain`].
const IN_VAIN: &str = "reloads-in-vain";

/// Reloads whose effect is unknown.
#[derive(Debug, Serialize, Deserialize)]
struct InVain {
    /// A digest of the reload command and of the socket that confirms it. Another command may help.
    way: String,
    times: u32,
}

/// The locked memory of one target: two runs on one target go one after the other.
pub struct Memory {
    port: Box<dyn Port>,
}

impl Memory {
    /// Opens the memory of the target with this `key` (a file's path, or what identifies a rendering to
    /// stdout). Waits while another process holds it.
    pub fn open(state_dir: &Path, key: &str) -> Result<Memory, PathError> {
        let mut hash = fnv::FnvHasher::default();
        hash.write(key.as_bytes());
        let folder = Folder::private(&state_dir.join("targets").join(format!("{:016x}", hash.finish())))?;
        let path = folder.at(LOCK);
        let file = folder.lock_file(LOCK)?;
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
                        "another run has held it for too long",
                    );
                    return Err(busy).at("lock", &path);
                }
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
            }
        }
        // For people who look into the state directory: its name is only a hash of the key.
        let line = format!("{key}\n");
        if folder::read_within(&file, line.len() as u64).ok().as_deref() != Some(line.as_bytes()) {
            file.set_len(0).and_then(|()| file.write_all_at(line.as_bytes(), 0)).at("write", &path)?;
        }
        Ok(Memory::over(OnDisk { folder, _lock: file }))
    }

    /// The memory of the target of that port.
    pub fn over(port: impl Port + 'static) -> Memory {
        Memory { port: Box::new(port) }
    }

    /// The current bytes of the target's file; `None` if there is no file.
    pub fn current(&self, path: &Path) -> Result<Option<Vec<u8>>, TargetError> {
        self.port.current(path)
    }

    /// What runs in the HAProxy that reads the file.
    pub fn running(&self, runtime: &Runtime) -> Result<Running, SocketError> {
        self.port.haproxy(&runtime.socket).running()
    }

    /// What else is done with the target.
    pub(super) fn port(&self) -> &dyn Port {
        &*self.port
    }

    /// The last good output. An unreadable memory is treated as missing, and replaced by the next one.
    pub fn last_good(&self) -> Option<LastGood> {
        let head = self.port.read_line(LAST_GOOD).ok()??;
        let (head, _) = std::str::from_utf8(&head).ok()?.split_once('\n')?;
        let (checksum, head) = head.split_once(' ')?;
        (digest(head.as_bytes()) == checksum).then(|| serde_json::from_str(head).ok()).flatten()
    }

    /// The text of the last good output, if it was saved here. A target that is a file has it in the file.
    pub fn last_output(&self) -> Option<String> {
        let digest = self.last_good()?.digest;
        let mut bytes = self.bytes(LAST_GOOD)?;
        let head = bytes.iter().position(|byte| *byte == b'\n')?;
        bytes.drain(..=head);
        (self::digest(&bytes) == digest).then(|| String::from_utf8(bytes).ok()).flatten()
    }

    /// Saves a good output, and with `output` its text.
    pub fn keep(&self, good: &LastGood, output: Option<&str>) -> Result<(), PathError> {
        if self.last_good().as_ref() == Some(good) && output.is_none_or(|_| self.last_output().is_some()) {
            return Ok(());
        }
        // A checksum and a line of JSON, then the output itself.
        let head = serde_json::to_string(good).map_err(std::io::Error::from);
        let head = head.at("write", Path::new(LAST_GOOD))?;
        let bytes = format!("{} {head}\n{}", digest(head.as_bytes()), output.unwrap_or_default());
        self.port.write(LAST_GOOD, bytes.as_bytes())
    }

    /// Saves what is about to be written over a file in place, until [`Memory::end_in_place`].
    pub(super) fn begin_in_place(&self, bytes: &[u8]) -> Result<(), PathError> {
        self.port.write(BEING_WRITTEN, bytes)
    }

    /// What a killed run was writing over the file.
    pub(super) fn in_place(&self) -> Option<Vec<u8>> {
        self.bytes(BEING_WRITTEN)
    }

    /// The file has all of the bytes, or none.
    pub(super) fn end_in_place(&self) -> Result<(), PathError> {
        self.port.remove(BEING_WRITTEN)
    }

    /// Whether a reload is owed: the file was replaced, and no reload has succeeded since.
    pub fn owes_reload(&self) -> bool {
        // If that cannot be read, a reload is owed: one too many does less harm than one too few.
        !matches!(self.port.has(PENDING), Ok(false))
    }

    /// Records, before the file is replaced, that a reload will be owed.
    pub fn owe_reload(&self) -> Result<(), PathError> {
        self.port.write(PENDING, b"")
    }

    /// Records that the reload succeeded.
    pub fn reloaded(&self) -> Result<(), PathError> {
        self.port.remove(PENDING)
    }

    /// The caller's note with that name. An unreadable note is treated as missing.
    pub fn note<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&self.bytes(name)?).ok()
    }

    /// Saves a note about the target under that name; `None` removes it.
    pub fn write_note<T: Serialize>(&self, name: &str, note: Option<&T>) -> Result<(), PathError> {
        let Some(note) = note else { return self.port.remove(name) };
        let text = serde_json::to_vec(note).map_err(std::io::Error::from);
        let text = text.at("write", Path::new(name))?;
        self.write_bytes(name, &text)
    }

    /// The caller's bytes with that name; `None` if there are none, or they are unreadable.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.port.read(name).ok()?
    }

    /// Saves bytes about the target under that name.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), PathError> {
        if self.bytes(name).as_deref() == Some(bytes) {
            return Ok(());
        }
        self.port.write(name, bytes)
    }

    /// How often the file was reloaded in this way since it was replaced, or since HAProxy was last seen to
    /// follow it.
    pub fn reloads_in_vain(&self, way: &str) -> u32 {
        self.note::<InVain>(IN_VAIN).filter(|known| known.way == way).map_or(0, |known| known.times)
    }

    /// Counts a reload in this way, whose effect is not yet known.
    pub fn count_reload(&self, way: &str) -> Result<(), PathError> {
        let times = self.reloads_in_vain(way).saturating_add(1);
        self.write_note(IN_VAIN, Some(&InVain { way: way.to_owned(), times }))
    }

    /// Resets the count: the file is new, or HAProxy follows it.
    pub fn follows(&self) -> Result<(), PathError> {
        self.write_note::<InVain>(IN_VAIN, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::limits::Count;
    use std::fs;

    #[test]
    fn what_was_kept_is_there_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let good = LastGood {
            counts: Counts::from([("app*".into(), Count { active: 3, leaving: 0 })]),
            digest: digest(b"x\ny\n"),
            made: Some(Made { inputs: "i".into(), warnings: vec!["w\n".into()] }),
            key: Some([7; 32]),
        };
        {
            let memory = Memory::open(dir.path(), "/etc/haproxy.cfg").unwrap();
            assert_eq!(memory.last_good(), None);
            memory.keep(&good, Some("x\ny\n")).unwrap();
            memory.owe_reload().unwrap();
        }
        let memory = Memory::open(dir.path(), "/etc/haproxy.cfg").unwrap();
        assert_eq!(memory.last_good().as_ref(), Some(&good));
        assert_eq!(memory.last_output().as_deref(), Some("x\ny\n"));
        memory.keep(&good, Some("x\ny\n")).unwrap();
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
        let good = LastGood { digest: digest(b"x\n"), ..LastGood::default() };
        memory.keep(&good, Some("x\n")).unwrap();
        let path = walkdir::WalkDir::new(dir.path())
            .into_iter()
            .find_map(|entry| entry.ok().filter(|entry| entry.file_name() == LAST_GOOD))
            .unwrap()
            .into_path();
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(memory.last_output(), None, "{cut}");
        }
        memory.keep(&good, Some("x\n")).unwrap();
        assert_eq!(memory.last_output().as_deref(), Some("x\n"));
    }
}
