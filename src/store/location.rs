//! Maps a URL or path to a kind of store, and checks the folder inside it.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::directory::Directory;
use super::error::InStore;
use super::git::{Local, Remote, Urls};
use super::kind::{self, KindMemory, Signs, StoreKind};
use super::snapshot::Cache;
use super::{Options, Snapshot, Store, StoreError, StoreErrorKind, embedded_url};

/// The path of the records inside a store: relative, with `/`, and without `.` or `..`.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder(String);

/// The text is not a folder inside a store.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a folder inside a store: use a relative path without `.`, `..` or empty parts")]
pub struct FolderError(String);

impl Folder {
    /// Checks the path and drops trailing slashes.
    pub fn parse(text: &str) -> Result<Folder, FolderError> {
        let path = text.trim_end_matches('/');
        let usable = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\n']);
        if path.split('/').all(usable) {
            Ok(Folder(path.to_owned()))
        } else {
            Err(FolderError(text.to_owned()))
        }
    }

    /// The path of a node's file inside the store.
    pub fn file_of(&self, id: &crate::name::Name) -> String {
        format!("{}/{id}.json", self.0)
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Folder {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What a URL refers to, before anything is opened.
#[derive(Debug, PartialEq)]
enum Location {
    /// A path on this machine.
    Path(PathBuf),
    /// A URL that needs a transport.
    Remote,
    /// A file on that host.
    OtherHost(String),
    /// A scheme without a transport in this build.
    Unknown(String),
}

/// git's own rule (git-fetch(1), "Git URLs"): the URL is scp-like if no slash precedes the first colon.
fn locate(url: &str) -> Location {
    if let Some((scheme, rest)) = url.split_once("://") {
        return match scheme {
            "file" => match rest.split_once('/') {
                Some(("" | "localhost", _)) => {
                    Location::Path(decoded(rest.strip_prefix("localhost").unwrap_or(rest)))
                }
                _ => Location::OtherHost(rest.split('/').next().unwrap_or(rest).to_owned()),
            },
            "git" => Location::Remote,
            "ssh" | "ssh+git" | "git+ssh" if cfg!(feature = "ssh") => Location::Remote,
            "http" | "https" if cfg!(feature = "https") => Location::Remote,
            _ => Location::Unknown(scheme.to_owned()),
        };
    }
    match url.find(':') {
        Some(colon) if !url[..colon].contains('/') => {
            if cfg!(feature = "ssh") {
                Location::Remote
            } else {
                Location::Unknown("user@host:path".into())
            }
        }
        _ => Location::Path(PathBuf::from(url)),
    }
}

/// The path of a `file://` URL. As in git, `%20` is a space, and a `%` without two hex digits is literal.
fn decoded(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|code| *code != 0) {
            Some(code) if first == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Applies git's configuration to the URL: where the store is read and where it is written.
fn resolve(url: &str, options: &Options) -> Result<(Location, Urls), StoreErrorKind> {
    let urls = match url == embedded_url(&options.state_dir) {
        true => Urls::same(url),
        false => Urls::of(url)?,
    };
    let location = locate(&urls.read);
    if urls.read != urls.write && (location != Location::Remote || locate(&urls.write) != Location::Remote) {
        let (read, write) = (super::shown_url(&urls.read), super::shown_url(&urls.write));
        return Err(StoreErrorKind::Split { read, write });
    }
    Ok((location, urls))
}

pub(super) fn open(url: &str, options: &Options) -> Result<Box<dyn Store>, StoreError> {
    let (location, urls) = resolve(url, options).in_store(url)?;
    match location {
        Location::Remote => Ok(Box::new(Remote::new(url, urls, options))),
        Location::OtherHost(_) => Err(StoreErrorKind::OtherHost).in_store(url),
        Location::Unknown(scheme) => Err(StoreErrorKind::UnknownScheme(scheme)).in_store(url),
        Location::Path(path) if url == embedded_url(&options.state_dir) => {
            Ok(Box::new(Local::embedded(path, options).in_store(url)?))
        }
        Location::Path(path) => {
            let place = Cache::of_path(&options.state_dir, &path, options.folder.as_ref(), None);
            let memory = KindMemory::of(place.place());
            let signs = Signs::of(&path).in_store(url)?;
            match kind::judge(&path, signs, &memory).in_store(url)? {
                StoreKind::Repository => Ok(Box::new(Local::new(url, path, options, Some(memory)))),
                // A path that does not exist may be a file system that is not mounted: its last copy applies.
                StoreKind::Directory => Ok(Box::new(Directory::new(url, path, options, memory))),
            }
        }
    }
}

/// Whether this machine seems to have a copy of that store. Does not ask the store.
pub(super) fn has_copy(url: &str, options: &Options) -> bool {
    match resolve(url, options) {
        Ok((Location::Remote, urls)) => Remote::new(url, urls, options).has_copy(),
        // A file system needs no first fetch.
        Ok((Location::Path(_) | Location::OtherHost(_) | Location::Unknown(_), _)) | Err(_) => true,
    }
}

/// The result of the last successful reading of that store. Does not ask the store: its file system may hang.
pub(super) fn last_copy(url: &str, options: &Options) -> Option<Snapshot> {
    // Without git's configuration, the cache is the one of the URL itself.
    let (location, urls) = resolve(url, options).unwrap_or_else(|_| (locate(url), Urls::same(url)));
    match location {
        Location::Remote => Remote::new(url, urls, options).last_copy(),
        Location::Path(path) => {
            // The same labels as in `open`: a repository has a branch, a directory has none.
            let copy =
                |branch| Cache::of_path(&options.state_dir, &path, options.folder.as_ref(), branch).last();
            copy(options.git.branch.as_deref()).or_else(|| copy(None))
        }
        Location::OtherHost(_) | Location::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_from_a_path_as_git_does() {
        let path = |path: &str| Location::Path(path.into());
        assert_eq!(locate("/srv/list.git"), path("/srv/list.git"));
        assert_eq!(locate("it/presence/all"), path("it/presence/all"));
        assert_eq!(locate("./with:colon"), path("./with:colon"));
        assert_eq!(locate("file:///srv/list.git"), path("/srv/list.git"));
        assert_eq!(locate("file://localhost/srv"), path("/srv"));
        assert_eq!(locate("file:///srv/my%20list%2Egit"), path("/srv/my list.git"));
        assert_eq!(locate("file:///srv/100%/%zz%0"), path("/srv/100%/%zz%0"));
        assert_eq!(locate("/srv/my%20list.git"), path("/srv/my%20list.git"));
        for (url, host) in [
            ("file://otherhost/srv/list.git", "otherhost"),
            ("file://localhostile/srv", "localhostile"),
            ("file://srv", "srv"),
            ("file://", ""),
        ] {
            assert_eq!(locate(url), Location::OtherHost(host.into()), "{url}");
        }
        assert_eq!(locate("git://h/p"), Location::Remote);
        assert_eq!(locate("s3://bucket"), Location::Unknown("s3".into()));
        if cfg!(feature = "ssh") {
            assert_eq!(locate("git@host:list.git"), Location::Remote);
        }
    }

    #[test]
    fn a_folder_stays_inside_its_store() {
        assert_eq!(Folder::parse("it/presence/all/").unwrap().as_ref(), "it/presence/all");
        for bad in ["", "/", "/it", "it//x", "../x", "it/../x", "it/.git", "."] {
            assert!(Folder::parse(bad).is_err(), "{bad:?}");
        }
    }
}
