//! Maps a URL or path to a kind of store, and checks the folder inside it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::directory::Directory;
use super::error::InStore;
use super::git::{GitError, Local, Remote, Urls};
use super::kind::{self, KindMemory, Signs, StoreKind};
use super::snapshot::{Cache, CacheWriter};
use super::{
    Applied, At, Branch, Capabilities, Edit, Look, Options, Reached, Snapshot, Step, Store, StoreError,
    StoreErrorKind, embedded_url,
};
use crate::deadline::Deadline;
use crate::name::Name;

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

/// The store at a URL or path.
///
/// git's configuration may change at any time, and so may what is at a path: a file system may be mounted
/// later. So each operation finds out anew what kind of store it is.
pub(super) struct Located {
    /// The URL as configured.
    name: String,
    /// The URL without secrets.
    url: String,
    options: Arc<Options>,
    cache_writer: CacheWriter,
}

impl Located {
    pub(super) fn new(url: &str, options: &Arc<Options>) -> Located {
        let shown = super::shown_url(url);
        let cache_writer = CacheWriter::default();
        Located { name: url.to_owned(), url: shown, options: options.clone(), cache_writer }
    }

    fn is_embedded(&self) -> bool {
        self.name == embedded_url(&self.options.state_dir)
    }

    /// Applies git's configuration to the URL: where the store is read and where it is written.
    fn resolve(&self) -> Result<(Location, Urls), StoreErrorKind> {
        let urls = match self.is_embedded() {
            true => Urls::same(&self.name),
            false => Urls::of(&self.name)?,
        };
        let location = locate(&urls.read);
        if urls.read != urls.write
            && (location != Location::Remote || locate(&urls.write) != Location::Remote)
        {
            let (read, write) = (super::shown_url(&urls.read), super::shown_url(&urls.write));
            return Err(StoreErrorKind::Git(GitError::Split { read, write }));
        }
        Ok((location, urls))
    }

    /// Finds out what the URL names now, and opens it.
    fn store(&self) -> Result<Box<dyn Store>, StoreError> {
        self.find().in_store(&self.name)
    }

    fn find(&self) -> Result<Box<dyn Store>, StoreErrorKind> {
        let (name, options, writer) = (&self.name, &self.options, &self.cache_writer);
        let (location, urls) = self.resolve()?;
        match location {
            Location::Remote => Ok(Box::new(Remote::new(name, urls, options, writer))),
            Location::OtherHost(_) => Err(StoreErrorKind::OtherHost),
            Location::Unknown(scheme) => Err(StoreErrorKind::UnknownScheme(scheme)),
            Location::Path(path) if self.is_embedded() => {
                Ok(Box::new(Local::embedded(path, options, writer)?))
            }
            Location::Path(path) => {
                let place = Cache::of_path(&options.state_dir, &path, options.folder.as_ref(), None, writer);
                let memory = KindMemory::of(place.place());
                match kind::judge(&path, Signs::of(&path)?, &memory)? {
                    StoreKind::Repository => {
                        Ok(Box::new(Local::new(name, path, options, Some(memory), writer)))
                    }
                    // A path that does not exist may be a file system that is not mounted: its last copy
                    // applies.
                    StoreKind::Directory => Ok(Box::new(Directory::new(name, path, options, memory, writer))),
                }
            }
        }
    }
}

impl Store for Located {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Result<Capabilities, StoreError> {
        self.store()?.capabilities()
    }

    fn apply(
        &self,
        edit: &Edit<'_>,
        author: &str,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError> {
        self.store()?.apply(edit, author, beat, deadline)
    }

    fn beat(
        &self,
        id: &Name,
        author: &str,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.store()?.beat(id, author, time, deadline)
    }

    fn look(&self, at: &At, heartbeats: bool, deadline: Deadline) -> Result<Look, StoreError> {
        self.store()?.look(at, heartbeats, deadline)
    }

    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError> {
        self.store()?.rehearse(deadline)
    }

    fn history(
        &self,
        deadline: Deadline,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Reached, StoreError> {
        self.store()?.history(deadline, visit)
    }

    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError> {
        self.store()?.withdrawn(ids)
    }

    fn has_copy(&self) -> bool {
        match self.resolve() {
            Ok((Location::Remote, urls)) => {
                Remote::new(&self.name, urls, &self.options, &self.cache_writer).has_copy()
            }
            // A file system needs no first fetch.
            Ok((Location::Path(_) | Location::OtherHost(_) | Location::Unknown(_), _)) | Err(_) => true,
        }
    }

    /// Does not find out what is at a path: its file system may hang.
    fn last_copy(&self, heartbeats: bool) -> Option<Snapshot> {
        let (options, writer) = (&self.options, &self.cache_writer);
        // Without git's configuration, the cache is the one of the URL itself.
        let (location, urls) =
            self.resolve().unwrap_or_else(|_| (locate(&self.name), Urls::same(&self.name)));
        match location {
            Location::Remote => Remote::new(&self.name, urls, options, writer).last_copy(heartbeats),
            Location::Path(path) => {
                // The same labels as in `find`: a repository has a branch, a directory has none.
                let copy = |branch| {
                    Cache::of_path(&options.state_dir, &path, options.folder.as_ref(), branch, writer).last()
                };
                copy(options.git.branch.as_deref()).or_else(|| copy(None))
            }
            Location::OtherHost(_) | Location::Unknown(_) => None,
        }
    }

    fn finish(&self) {
        self.cache_writer.finish();
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
    fn a_store_is_what_is_there_at_each_operation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let options = crate::store::tests::options(&dir.path().join("state"));
        let store = Located::new(&path.display().to_string(), &options);
        let look = || store.look(&At::Latest, false, crate::store::tests::soon());
        let error = look().err().map(|error| error.kind);
        assert!(matches!(error, Some(StoreErrorKind::Missing(_))), "a mount that comes later");
        std::fs::create_dir(&path).unwrap();
        assert!(look().is_ok(), "an empty directory");
        git2::Repository::init_bare(&path).unwrap();
        assert_eq!(look().unwrap().version, Some(crate::store::Version::new("empty")), "a repository");
        std::fs::remove_dir_all(&path).unwrap();
        let error = look().err().map(|error| error.kind);
        assert!(matches!(error, Some(StoreErrorKind::Away(_))));
    }

    #[test]
    fn a_folder_stays_inside_its_store() {
        assert_eq!(Folder::parse("it/presence/all/").unwrap().as_ref(), "it/presence/all");
        for bad in ["", "/", "/it", "it//x", "../x", "it/../x", "it/.git", "."] {
            assert!(Folder::parse(bad).is_err(), "{bad:?}");
        }
    }
}
