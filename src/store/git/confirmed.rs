//! What a server has confirmed a short while ago: an unchanged node asks no network between two beats.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{ObjectType, Oid};

use crate::errors::{AtPath, PathError};
use crate::record::Record;
use crate::store::Options;

/// The memory of one store.
pub(super) struct Confirmed {
    path: PathBuf,
    /// What the confirmation depends on besides the record.
    place: String,
    fresh_for: Duration,
}

impl Confirmed {
    pub(super) fn new(dir: &Path, options: &Options) -> Confirmed {
        let place = format!("{:?} {} {:?}\n", options.branch, options.folder, options.layout);
        Confirmed { path: dir.join("confirmed"), place, fresh_for: options.recheck }
    }

    /// Whether just this record was confirmed, not long ago. A clock that was set back confirms nothing.
    pub(super) fn is_fresh(&self, record: &Record) -> bool {
        let age = fs::metadata(&self.path)
            .and_then(|found| found.modified())
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        age.is_some_and(|age| age < self.fresh_for)
            && self
                .digest(record)
                .is_some_and(|digest| fs::read_to_string(&self.path).is_ok_and(|kept| kept == digest))
    }

    /// Remembers that the store has this record. Without the memory, the store is asked again: no harm.
    pub(super) fn remember(&self, record: &Record) {
        if let Some(digest) = self.digest(record) {
            let _ = fs::write(&self.path, digest);
        }
    }

    /// Before a change: if it is cut short, nothing is known.
    pub(super) fn forget(&self) -> Result<(), PathError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", &self.path),
            _ => Ok(()),
        }
    }

    fn digest(&self, record: &Record) -> Option<String> {
        let mut text = self.place.clone().into_bytes();
        text.extend_from_slice(&record.to_bytes());
        Oid::hash_object(ObjectType::Blob, &text).ok().map(|oid| oid.to_string())
    }
}
