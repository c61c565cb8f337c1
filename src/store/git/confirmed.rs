//! Records what a server confirmed recently, so that an unchanged node needs no network between two beats.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{ObjectType, Oid};

use crate::errors::PathError;
use crate::folder::Folder;
use crate::record::Record;
use crate::state;
use crate::store::Options;

/// The name of the memory's file.
const FILE: &str = "confirmed";

/// The memory of one store.
pub(super) struct Confirmed {
    dir: PathBuf,
    /// What the confirmation depends on, besides the record.
    place: String,
    fresh_for: Duration,
}

impl Confirmed {
    pub(super) fn new(dir: &Path, options: &Options) -> Confirmed {
        let place = format!("{:?} {} {:?}\n", options.git.branch, options.folder, options.layout);
        Confirmed { dir: dir.to_owned(), place, fresh_for: options.git.recheck }
    }

    /// Whether exactly this record was confirmed recently. If the clock was set back, the answer is no.
    pub(super) fn is_fresh(&self, record: &Record) -> bool {
        let age = fs::metadata(self.dir.join(FILE))
            .and_then(|found| found.modified())
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        age.is_some_and(|age| age < self.fresh_for) && self.is(record)
    }

    /// Whether exactly this record was confirmed last.
    pub(super) fn is(&self, record: &Record) -> bool {
        self.digest(record)
            .is_some_and(|digest| state::load_text(&self.dir, FILE).is_some_and(|kept| kept == digest))
    }

    /// Records that the store has this record. If that fails, the store is asked again, which is harmless.
    pub(super) fn remember(&self, record: &Record) {
        if let Some(digest) = self.digest(record) {
            let _ = state::save_text(&self.dir, FILE, &digest);
        }
    }

    /// Forgets the confirmation before a change, which may be interrupted.
    pub(super) fn forget(&self) -> Result<(), PathError> {
        match Folder::open(&self.dir) {
            Ok(folder) => folder.remove(FILE),
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn digest(&self, record: &Record) -> Option<String> {
        let mut text = self.place.clone().into_bytes();
        text.extend_from_slice(&record.to_bytes());
        Oid::hash_object(ObjectType::Blob, &text).ok().map(|oid| oid.to_string())
    }
}
