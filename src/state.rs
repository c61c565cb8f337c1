//! The state directory: the memory of this program between runs. It is for this user only, since it has
//! copies of lists, URLs with passwords, and locks. Everybody who can open a lock file can take the lock and
//! keep it.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::errors::{AtPath, PathError};
use crate::folder::{Folder, Lasting, PRIVATE, PRIVATE_FOLDER};

/// The largest memory. Copies of whole lists are read elsewhere.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The files that this program makes in the state directory.
const OWN: [&str; 10] = [
    "agent.lock",
    "health.json",
    "notify",
    "rivals.json",
    "said.json",
    "sightings.json",
    "silent.json",
    "store.git",
    "stores",
    "targets",
];

/// How deep this program's files lie below the state directory; deeper are repositories.
const DEPTH: usize = 2;

/// Loads a memory from that folder. An unreadable one is treated as missing.
pub(crate) fn load<T: DeserializeOwned>(dir: &Path, name: &str) -> Option<T> {
    load_from(&Folder::open(dir).ok()?, name)
}

/// The same from an open folder.
pub(crate) fn load_from<T: DeserializeOwned>(folder: &Folder, name: &str) -> Option<T> {
    serde_json::from_slice(&folder.read(name, MAX_BYTES).ok()??).ok()
}

/// Saves a memory in that folder, which is made if it does not exist.
pub(crate) fn save<T: Serialize>(dir: &Path, name: &str, what: &T) -> Result<(), PathError> {
    save_in(&Folder::private(dir)?, name, what, Lasting::Cached)
}

/// Loads a memory that is text from that folder. An unreadable one is treated as missing.
pub(crate) fn load_text(dir: &Path, name: &str) -> Option<String> {
    String::from_utf8(Folder::open(dir).ok()?.read(name, MAX_BYTES).ok()??).ok()
}

/// Saves a memory that is text in that folder, which is made if it does not exist.
pub(crate) fn save_text(dir: &Path, name: &str, text: &str) -> Result<(), PathError> {
    Folder::private(dir)?.replace(name, text.as_bytes(), PRIVATE, Lasting::Cached)
}

/// Saves a memory if there is none of that name. False if there is one.
pub(crate) fn save_first<T: Serialize>(dir: &Path, name: &str, what: &T) -> Result<bool, PathError> {
    let folder = Folder::private(dir)?;
    let path = folder.at(name);
    let text = serde_json::to_vec(what).map_err(io::Error::from).at("write", &path)?;
    let mut staged = folder.stage("")?;
    staged.fill(&text, PRIVATE, Lasting::Cached).at("write", &path)?;
    staged.place_new(Path::new(name)).at("write", &path)
}

/// Whether memories can be saved in that folder, which is made if it does not exist.
pub(crate) fn can_save(dir: &Path) -> bool {
    Folder::private(dir).and_then(|folder| folder.stage("").map(drop)).is_ok()
}

/// Like [`save`], in an open folder.
pub(crate) fn save_in<T: Serialize>(
    folder: &Folder,
    name: &str,
    what: &T,
    lasting: Lasting,
) -> Result<(), PathError> {
    let text = serde_json::to_vec(what).map_err(io::Error::from).at("write", &folder.at(name))?;
    folder.replace(name, &text, PRIVATE, lasting)
}

/// Removes the permissions of others from a state directory that an older version or a package has made. A
/// directory that also has other files, such as `/var/lib`, keeps its permissions.
pub(crate) fn make_private(dir: &Path) {
    // An error is ignored here: the first write into the directory will report it.
    let _ = Folder::open(dir).and_then(|folder| {
        if !is_open_to_others(folder.as_file()) {
            return Ok(());
        }
        let names = folder.names()?;
        for name in names.iter().filter(|name| is_own(name)) {
            narrow(&folder, name, DEPTH)?;
        }
        match names.iter().all(|name| is_own(name)) {
            true => restrict(folder.as_file(), PRIVATE_FOLDER).at("set the mode of", dir),
            false => Ok(()),
        }
    });
}

fn is_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    // Files that a killed run did not give their final names.
    OWN.contains(&&*name) || name.starts_with(".presence-") || name.starts_with(".tmp")
}

fn narrow(folder: &Folder, name: &OsStr, depth: usize) -> Result<(), PathError> {
    let Ok(inner) = folder.existing(name) else {
        if let Ok(Some(file)) = folder.file(name) {
            restrict(&file, PRIVATE).at("set the mode of", &folder.at(name))?;
        }
        return Ok(());
    };
    if depth > 0 && !name.as_encoded_bytes().ends_with(b".git") {
        for name in inner.names()? {
            narrow(&inner, &name, depth - 1)?;
        }
    }
    restrict(inner.as_file(), PRIVATE_FOLDER).at("set the mode of", inner.path())
}

fn is_open_to_others(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.mode() & 0o077 != 0)
}

/// Removes the permissions of others, if the file belongs to this user.
fn restrict(file: &File, mode: u32) -> io::Result<()> {
    let mine = file.metadata()?.uid() == rustix::process::geteuid().as_raw();
    match mine && is_open_to_others(file) {
        true => file.set_permissions(Permissions::from_mode(mode)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn older(dir: &Path) {
        fs::create_dir_all(dir.join("stores/1/mirror.git/objects")).unwrap();
        for file in ["agent.lock", "stores/1/lock", "stores/1/mirror.git/HEAD", ".presence-AbCdEf"] {
            fs::write(dir.join(file), "").unwrap();
            fs::set_permissions(dir.join(file), Permissions::from_mode(0o644)).unwrap();
        }
        for folder in ["", "stores", "stores/1", "stores/1/mirror.git"] {
            fs::set_permissions(dir.join(folder), Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn a_directory_of_an_older_version_becomes_private() {
        let dir = tempfile::tempdir().unwrap();
        older(dir.path());
        make_private(dir.path());
        for (path, expect) in [
            ("", 0o700),
            ("stores", 0o700),
            ("stores/1", 0o700),
            ("stores/1/mirror.git", 0o700),
            ("agent.lock", 0o600),
            (".presence-AbCdEf", 0o600),
            ("stores/1/lock", 0o600),
            // The folder above is already restricted, and git sets its own modes.
            ("stores/1/mirror.git/HEAD", 0o644),
        ] {
            assert_eq!(mode(&dir.path().join(path)), expect, "{path}");
        }
        make_private(&dir.path().join("none"));
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn a_directory_of_others_keeps_its_mode_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        older(dir.path());
        let victim = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(victim.path(), Permissions::from_mode(0o644)).unwrap();
        fs::write(dir.path().join("somebody's"), "").unwrap();
        fs::remove_file(dir.path().join("agent.lock")).unwrap();
        std::os::unix::fs::symlink(victim.path(), dir.path().join("agent.lock")).unwrap();
        make_private(dir.path());
        assert_eq!((mode(dir.path()), mode(&dir.path().join("stores"))), (0o755, 0o700));
        assert_eq!(mode(victim.path()), 0o644);
    }

    #[test]
    fn what_was_saved_is_loaded_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(load::<u8>(&state, "x.json"), None);
        save(&state, "x.json", &7).unwrap();
        assert_eq!(
            (load(&state, "x.json"), mode(&state), mode(&state.join("x.json"))),
            (Some(7), 0o700, 0o600)
        );
        fs::write(state.join("x.json"), "broken").unwrap();
        assert_eq!(load::<u8>(&state, "x.json"), None);
    }
}
