//! The folder of facts: one file `NAME.txt` per fact, whose trimmed content is the value. The folder `services` in
//! it has such a folder for each service that the node offers.
//!
//! A file without text is not a fact: it is being written, or was emptied. Byte order marks and Windows line
//! ends do not belong to a fact.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::errors::{AtPath, PathError};
use crate::folder::{self, Folder, Lasting, NotPlain, READABLE};
use crate::name::{Name, NameError};
use crate::record::{Facts, MAX_SERVICES, SERVICES};

/// The folder of this node's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodeinfo {
    /// Its path.
    pub dir: PathBuf,
    /// Whether it was named explicitly; then it must exist.
    pub is_named: bool,
}

/// The maximum length of a fact, in bytes.
pub const MAX_FACT_BYTES: u64 = 16 * 1024;

/// Why the facts could not be read or written. An unreadable fact is never silently left out: a record
/// without its `state` would be active.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The folder or a file in it could not be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A symbolic link, device or directory: only regular files are facts.
    #[error("fact `{}` is not a regular file; links are not followed", .0.display())]
    NotAFile(PathBuf),
    /// Longer than [`MAX_FACT_BYTES`].
    #[error("fact `{}` is longer than {MAX_FACT_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
    /// The folder of services, or of one of them, is something else.
    #[error("`{}` is not a folder; links are not followed", .0.display())]
    NotAFolder(PathBuf),
    /// The name of the folder cannot be the name of a service.
    #[error("the folder `{}` is no service", path.display())]
    BadService {
        /// The folder.
        path: PathBuf,
        /// What is wrong with its name.
        #[source]
        source: NameError,
    },
    /// More than [`MAX_SERVICES`] services.
    #[error("`{}` has more than {MAX_SERVICES} services", .0.display())]
    TooMany(PathBuf),
    /// The content, or the name, is not UTF-8.
    #[error("fact `{}` is not UTF-8 text", .0.display())]
    NotText(PathBuf),
}

impl FactsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            FactsError::Io(error) => return error.hint(),
            FactsError::NotAFile(path) => {
                format!("replace `{}` by a regular file", path.display())
            }
            FactsError::NotAFolder(path) => {
                format!("replace `{}` by a folder, or move it away", path.display())
            }
            FactsError::BadService { path, .. } => {
                format!("rename `{}`, or move it away", path.display())
            }
            FactsError::TooMany(path) => format!("move some folders out of `{}`", path.display()),
            FactsError::TooLong(path) => {
                format!(
                    "a fact is a short text: shorten `{}`, or give it another ending than .txt",
                    path.display()
                )
            }
            FactsError::NotText(path) => {
                format!(
                    "save `{}` as UTF-8 (`iconv -f LATIN1 -t UTF-8` converts Latin-1), or give it another \
                     ending than .txt",
                    path.display()
                )
            }
        })
    }
}

/// Reads every `*.txt` of the folder and of its services. Skips hidden files.
pub fn read(dir: &Path) -> Result<Facts, FactsError> {
    let mut facts = read_folder(dir)?;
    let services = read_services(&dir.join(SERVICES))?;
    if !services.is_empty() {
        facts.insert(SERVICES.to_owned(), Value::Object(services));
    }
    Ok(facts)
}

/// The folder with the facts of a service.
pub fn service(dir: &Path, name: &str) -> PathBuf {
    dir.join(SERVICES).join(name)
}

/// The facts of each service. A folder without a fact is not a service: it is being made, or was emptied.
fn read_services(dir: &Path) -> Result<Map<String, Value>, FactsError> {
    let mut services = Map::new();
    let found = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(services),
        found => found.at("read", dir)?,
    };
    if !found.is_dir() {
        return Err(FactsError::NotAFolder(dir.to_owned()));
    }
    for entry in fs::read_dir(dir).at("read", dir)? {
        let entry = entry.at("read", dir)?;
        let (path, kind) = (entry.path(), entry.file_type().at("read", &entry.path())?);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(FactsError::NotText(path));
        };
        if name.starts_with('.') || kind.is_file() {
            continue;
        }
        if !kind.is_dir() {
            return Err(FactsError::NotAFolder(path));
        }
        let name = match Name::parse(name) {
            Ok(name) => name,
            Err(source) => return Err(FactsError::BadService { path, source }),
        };
        let facts = read_folder(&path)?;
        if !facts.is_empty() {
            services.insert(name.to_string(), facts.into_iter().collect());
        }
        if services.len() > MAX_SERVICES {
            return Err(FactsError::TooMany(dir.to_owned()));
        }
    }
    Ok(services)
}

fn read_folder(dir: &Path) -> Result<Facts, FactsError> {
    let mut facts = Facts::new();
    for entry in fs::read_dir(dir).at("read", dir)? {
        let entry = entry.at("read", dir)?;
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
            return Err(FactsError::NotText(path));
        };
        if name.starts_with('.') {
            continue;
        }
        let text = read_fact(&path)?;
        if !text.is_empty() {
            facts.insert(name.to_owned(), text.into());
        }
    }
    Ok(facts)
}

/// Whether a fact has a file, with or without text in it.
pub fn has_file(dir: &Path, fact: &str) -> bool {
    fs::symlink_metadata(file(dir, fact)).is_ok()
}

/// Whether a fact has a file without text.
pub fn is_empty(dir: &Path, fact: &str) -> bool {
    has_file(dir, fact) && read_fact(&file(dir, fact)).is_ok_and(|text| text.is_empty())
}

/// The file of a fact, or the folder of the services.
pub fn file(dir: &Path, fact: &str) -> PathBuf {
    match fact {
        SERVICES => dir.join(SERVICES),
        fact => dir.join(format!("{fact}.txt")),
    }
}

fn read_fact(path: &Path) -> Result<String, FactsError> {
    let file = folder::open_plain(path).map_err(|error| match NotPlain::of(&error) {
        Some(_) => FactsError::NotAFile(path.to_owned()),
        None => FactsError::Io(error),
    })?;
    let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)).at("read", path)?;
    let bytes = match folder::read_within(file, MAX_FACT_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(FactsError::TooLong(path.to_owned()));
        }
        read => read.at("read", path)?,
    };
    let text = String::from_utf8(bytes).map_err(|_| FactsError::NotText(path.to_owned()))?;
    Ok(plain(&text))
}

/// The trimmed text, without byte order marks and with `\n` as line end.
fn plain(text: &str) -> String {
    let blank = |character: char| character.is_whitespace() || character == '\u{feff}';
    text.trim_matches(blank).replace("\r\n", "\n")
}

/// Writes one fact atomically.
pub fn write(dir: &Path, name: &str, value: &str) -> Result<(), FactsError> {
    let text = format!("{value}\n");
    Ok(Folder::open(dir)?.replace(format!("{name}.txt"), text.as_bytes(), READABLE, Lasting::Durable)?)
}

/// Removes a fact, if it exists.
pub fn remove(dir: &Path, name: &str) -> Result<(), FactsError> {
    Ok(Folder::open(dir)?.remove(format!("{name}.txt"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_txt_is_a_fact_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("nodepart.txt"), "  app1 \r\n\n").unwrap();
        fs::write(dir.path().join("my fact.txt"), "ü").unwrap();
        fs::write(dir.path().join("port.txt"), b"\xef\xbb\xbf8080\r\n").unwrap();
        fs::write(dir.path().join("rack.txt"), "a\r\nb\r\n").unwrap();
        fs::write(dir.path().join("state.txt"), b"\xef\xbb\xbf \r\n").unwrap();
        fs::write(dir.path().join("address.txt"), "").unwrap();
        fs::write(dir.path().join("notes.md"), "x").unwrap();
        fs::write(dir.path().join(".hidden.txt"), "x").unwrap();
        let facts = read(dir.path()).unwrap();
        assert_eq!(
            serde_json::to_string(&facts).unwrap(),
            r#"{"my fact":"ü","nodepart":"app1","port":"8080","rack":"a\nb"}"#
        );
        assert!(has_file(dir.path(), "address") && !has_file(dir.path(), "zone"));
    }

    #[test]
    fn a_folder_of_services_has_the_facts_of_each() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("port.txt", "8080");
        put("services/README", "ignored");
        put("services/web/port.txt", "8081\n");
        put("services/api/port.txt", "9090\n");
        put("services/api/check-path.txt", "/alive\n");
        put("services/api/notes.md", "x");
        put("services/empty/port.txt", "\n");
        put("services/.git/config.txt", "x");
        let facts = read(dir.path()).unwrap();
        let text = r#"{"port":"8080","services":{"api":{"check-path":"/alive","port":"9090"},"web":{"port":"8081"}}}"#;
        assert_eq!(serde_json::to_string(&facts).unwrap(), text);
        assert_eq!(service(dir.path(), "api"), dir.path().join("services/api"));

        let told = |expect: &str| {
            let error = read(dir.path()).unwrap_err();
            assert!(error.to_string().contains(expect) && error.hint().is_some(), "{error}");
        };
        put("services/a b/port.txt", "1");
        told("services/a b` is no service");
        fs::remove_dir_all(dir.path().join("services/a b")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("services/api"), dir.path().join("services/link"))
            .unwrap();
        told("services/link` is not a folder");
        fs::remove_file(dir.path().join("services/link")).unwrap();
        for number in 0..64 {
            put(&format!("services/s{number}/port.txt"), "1");
        }
        told("more than 64 services");
        fs::remove_dir_all(dir.path().join("services")).unwrap();
        fs::write(dir.path().join("services"), "x").unwrap();
        told("services` is not a folder");
    }

    #[test]
    fn what_cannot_be_a_fact_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.txt");
        let check = |expect: &str| {
            let error = read(dir.path()).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
            assert!(error.to_string().contains("x.txt") && error.hint().is_some());
            fs::remove_file(&path).unwrap();
        };
        fs::write(&path, vec![b'x'; 20_000]).unwrap();
        check("longer than");
        fs::write(&path, b"\xff").unwrap();
        check("not UTF-8");
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        check("not a regular file");
        assert!(read(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn a_written_fact_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "state", "done").unwrap();
        write(dir.path(), "state", "draining").unwrap();
        assert_eq!(read(dir.path()).unwrap()["state"], "draining");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(dir.path(), "state").unwrap();
        remove(dir.path(), "state").unwrap();
        assert_eq!(read(dir.path()).unwrap().len(), 0);
    }
}
