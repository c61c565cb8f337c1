//! Opens a local repository, and finds out why one cannot be opened.

use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, Repository, RepositoryOpenFlags};

use crate::limits::{self, Limits};
use crate::store::StoreErrorKind;
use crate::store::git::GitError;
use crate::store::kind::{is_dir, missing};

/// The longest path, in bytes.
const MAX_PATH: u64 = 4096;

/// Opens a bare repository or a clone at its root. Does not search its parents.
pub(super) fn open(path: &Path) -> Result<Repository, StoreErrorKind> {
    if let Some(error) = missing(path)? {
        return Err(error);
    }
    if let Some(obstacle) = Parts::of(path).obstacle() {
        let source = git2::Error::from_str("it was not opened");
        return Err(StoreErrorKind::Git(GitError::Unopenable { path: path.to_owned(), obstacle, source }));
    }
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, std::iter::empty::<&Path>()).map_err(
        |source| match is_dir(path) {
            // It disappeared meanwhile.
            Ok(false) => StoreErrorKind::Missing(path.to_owned()),
            _ => {
                let obstacle = Obstacle::of(path, &source);
                StoreErrorKind::Git(GitError::Unopenable { path: path.to_owned(), obstacle, source })
            }
        },
    )
}

/// Why a repository cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It belongs to another user (git-config(1), `safe.directory`).
    Owner,
    /// Its configuration is invalid.
    Config,
    /// It uses an extension of git that libgit2 does not know.
    Extension(&'static str),
    /// A part of every repository is missing.
    Lacks(&'static str),
    /// A part of every repository is of the wrong kind.
    Odd(&'static str),
    /// A file in it is a fifo or a device: opening it may block forever.
    Special(PathBuf),
    /// A link in it belongs to another user and leads to something of a third.
    Link(PathBuf),
    /// A file in it, which is read as a whole, is larger than the limit for such files.
    TooLarge(PathBuf, u64),
    /// Its `.git` leads to a path that does not exist.
    DotGit(PathBuf),
    /// It contains other things, but no part of a repository.
    NoRepository,
    /// It is empty.
    Nothing,
    /// Something else, which libgit2's error tells.
    Other,
}

/// What libgit2 does not support: the key in the configuration, its value, and git's term for it. A key
/// without a value means any value.
const UNSUPPORTED: [(&str, Option<&str>, &str); 3] = [
    ("extensions.objectformat", Some("sha256"), "the object format sha256"),
    ("extensions.refstorage", Some("reftable"), "the ref storage format reftable"),
    ("extensions.partialclone", None, "a partial clone"),
];

impl Obstacle {
    fn of(path: &Path, error: &git2::Error) -> Obstacle {
        if error.code() == ErrorCode::Owner {
            return Obstacle::Owner;
        }
        let dir = git_dir(path);
        if dir != path && !dir.is_dir() {
            return Obstacle::DotGit(dir);
        }
        let lacks = |name: &str, wanted: fn(&fs::Metadata) -> bool| {
            !fs::metadata(dir.join(name)).is_ok_and(|found| wanted(&found))
        };
        let parts = [
            ("HEAD", lacks("HEAD", fs::Metadata::is_file)),
            ("objects", lacks("objects", fs::Metadata::is_dir)),
            ("refs", lacks("refs", fs::Metadata::is_dir)),
        ];
        if parts.iter().all(|(_, lacks)| *lacks) && dir == path {
            let is_empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            return if is_empty { Obstacle::Nothing } else { Obstacle::NoRepository };
        }
        match git2::Config::open(&dir.join("config")) {
            Err(_) => return Obstacle::Config,
            Ok(config) => {
                for (key, value, name) in UNSUPPORTED {
                    let found = config.get_string(key).ok();
                    if found.is_some_and(|found| value.is_none_or(|value| found.eq_ignore_ascii_case(value)))
                    {
                        return Obstacle::Extension(name);
                    }
                }
            }
        }
        match parts.into_iter().find(|(_, lacks)| *lacks) {
            Some((name, _)) if fs::symlink_metadata(dir.join(name)).is_ok() => Obstacle::Odd(name),
            Some((name, _)) => Obstacle::Lacks(name),
            None => Obstacle::Other,
        }
    }

    /// What to do about it.
    pub(in crate::store) fn hint(&self, path: &Path) -> String {
        let shown = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let shown = shell_words::quote(&shown.display().to_string()).into_owned();
        match self {
            Obstacle::Owner => format!(
                "run presence as the owner, or trust the repository: `git config --system --add safe.directory {shown}`"
            ),
            Obstacle::Config => {
                format!("`git config --file {shown}/config --list` shows the mistake; correct the file")
            }
            Obstacle::Extension("a partial clone") => {
                "make a full clone: `git clone` without --filter".to_owned()
            }
            Obstacle::Extension(_) => {
                "make a repository with `git init --bare --object-format=sha1 --ref-format=files`".to_owned()
            }
            Obstacle::Special(file) => format!("`ls -l {}` shows it; remove it", crate::errors::pasted(file)),
            Obstacle::Link(link) => {
                let link = crate::errors::pasted(link);
                format!("`ls -l {link}` shows it; `chown -h root {link}` lets it be followed")
            }
            Obstacle::TooLarge(file, _) => {
                format!("`ls -l {}` shows it; find out who created it", crate::errors::pasted(file))
            }
            Obstacle::DotGit(dir) => format!(
                "restore `{}`, or name the repository itself with --store",
                dir.display().to_string().escape_debug()
            ),
            Obstacle::NoRepository => {
                format!(
                    "`ls -A {shown}` shows what is there; the name of a plain directory must not end with \
                     `.git`"
                )
            }
            Obstacle::Lacks(_) | Obstacle::Odd(_) => {
                format!("presence changed nothing; restore it, or run `git -C {shown} fsck`")
            }
            Obstacle::Nothing => format!(
                "create a repository with `git init --bare {shown}`; the name of a plain directory must not \
                 end with `.git`"
            ),
            Obstacle::Other => format!("examine it with `git -C {shown} fsck`"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Owner => f.write_str("it belongs to another user"),
            Obstacle::Config => f.write_str("its `config` cannot be read"),
            Obstacle::Extension("a partial clone") => {
                f.write_str("it is a partial clone, which is not supported")
            }
            Obstacle::Extension(name) => write!(f, "it has {name}, which is not supported"),
            Obstacle::Lacks(name) => write!(f, "its `{name}` is missing"),
            Obstacle::Special(file) => {
                write!(f, "`{}` in it is not a regular file", file.display().to_string().escape_debug())
            }
            Obstacle::Link(link) => {
                let link = link.display().to_string();
                write!(f, "`{}` in it is a link whose owner does not own its target", link.escape_debug())
            }
            Obstacle::TooLarge(file, most) => {
                write!(f, "`{}` in it has more than {most} bytes", file.display().to_string().escape_debug())
            }
            Obstacle::Odd(name) => write!(f, "its `{name}` has the wrong file type"),
            Obstacle::DotGit(dir) => {
                write!(
                    f,
                    "its `.git` leads to `{}`, which does not exist",
                    dir.display().to_string().escape_debug()
                )
            }
            Obstacle::Nothing | Obstacle::NoRepository => f.write_str("there is no git repository in it"),
            Obstacle::Other => f.write_str("libgit2 cannot open it"),
        }
    }
}

/// Files that libgit2 reads as a whole to open a repository or to read refs and commits, and their size
/// limits.
fn opened() -> [(&'static str, u64); 9] {
    let Limits { word_file_bytes: words, line_file_bytes: lines, .. } = *limits::get();
    [
        ("HEAD", words),
        ("commondir", words),
        ("objects/info/alternates", words),
        ("info/attributes", words),
        ("config", lines),
        ("packed-refs", lines),
        ("shallow", lines),
        ("info/grafts", lines),
        ("index", lines),
    ]
}

/// Directories whose files libgit2 opens, including subdirectories.
const LISTED: [&str; 3] = ["refs", "objects/pack", "objects/info"];

/// The greatest depth to search: refs of presence are not deeper.
const DEEP: usize = 8;

/// How deep git follows alternates of alternates.
const MAX_ALTERNATES: usize = 5;

/// The directories of a repository.
pub(super) struct Parts {
    /// The directory of HEAD, and the common directory if that is different. The `.git` of a work tree may be
    /// a file with its path.
    dirs: Vec<PathBuf>,
}

impl Parts {
    pub(super) fn of(path: &Path) -> Parts {
        let dir = git_dir(path);
        // A special file is not read here: `obstacle` reports it.
        let common = dir.join("commondir");
        let common = (!is_special(&common)).then(|| first_bytes(&common)).flatten();
        let common = common.map(|text| dir.join(text.trim()));
        Parts { dirs: std::iter::once(dir).chain(common).collect() }
    }

    /// The files that are read as a whole, with their size limits.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let of = |dir: &PathBuf| opened().map(|(name, most)| (dir.join(name), most));
        self.dirs.iter().flat_map(of).collect()
    }

    /// The directories of its objects, including those of repositories that it borrows from.
    pub(super) fn objects(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self.dirs.iter().map(|dir| dir.join("objects")).collect();
        let mut seen = 0;
        for _ in 0..MAX_ALTERNATES {
            for at in std::mem::replace(&mut seen, all.len())..all.len() {
                let list = all[at].join("info/alternates");
                let text = (!is_special(&list)).then(|| first_bytes(&list)).flatten().unwrap_or_default();
                let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
                let found: Vec<PathBuf> = lines.map(|line| all[at].join(line)).collect();
                all.extend(found);
            }
        }
        all
    }

    /// The first file that is a fifo, a device or a link to one, that is a forbidden link, or that is too
    /// large. Against a file that appears after this check, the operation's deadline protects.
    fn obstacle(&self) -> Option<Obstacle> {
        for (path, most) in self.files() {
            if is_special(&path) {
                return Some(Obstacle::Special(path));
            }
            if is_foreign(&path) {
                return Some(Obstacle::Link(path));
            }
            if fs::metadata(&path).is_ok_and(|found| found.len() > most) {
                return Some(Obstacle::TooLarge(path, most));
            }
        }
        let listed = self.dirs.iter().flat_map(|dir| LISTED.iter().map(move |name| dir.join(name)));
        let objects = self.dirs.iter().map(|dir| dir.join("objects"));
        if let Some(link) = listed.clone().chain(objects).find(|path| is_foreign(path)) {
            return Some(Obstacle::Link(link));
        }
        listed.into_iter().find_map(|path| {
            let entries =
                walkdir::WalkDir::new(path).follow_root_links(true).max_depth(DEEP).into_iter().flatten();
            let odd = entries.filter(|entry| !entry.file_type().is_file() && !entry.file_type().is_dir());
            odd.map(walkdir::DirEntry::into_path).find_map(|path| match is_special(&path) {
                true => Some(Obstacle::Special(path)),
                false => is_foreign(&path).then_some(Obstacle::Link(path)),
            })
        })
    }
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Whether the path is a link that must not be followed: the rule of [`crate::folder`], applied also to links
/// to files.
fn is_foreign(path: &Path) -> bool {
    let Ok(link) = fs::symlink_metadata(path) else { return false };
    let trusted = [0, rustix::process::geteuid().as_raw()].contains(&link.uid());
    link.is_symlink() && !trusted && fs::metadata(path).is_ok_and(|found| found.uid() != link.uid())
}

/// The text of a file that holds one path, cut at [`MAX_PATH`].
fn first_bytes(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_PATH).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The repository's own directory: for a clone `.git`, or the path in it if `.git` is a file.
fn git_dir(path: &Path) -> PathBuf {
    let dot_git = path.join(".git");
    match fs::symlink_metadata(&dot_git) {
        Ok(found) if found.is_symlink() => path.join(fs::read_link(&dot_git).unwrap_or(dot_git)),
        Ok(found) if found.is_dir() => dot_git,
        Ok(found) if !found.is_file() => dot_git,
        Ok(_) => {
            let text = first_bytes(&dot_git).unwrap_or_default();
            text.strip_prefix("gitdir:").map_or(dot_git, |dir| path.join(dir.trim()))
        }
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(break_it: impl FnOnce(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.git");
        Repository::init_bare(&path).unwrap();
        break_it(&path);
        match open(&path) {
            Err(StoreErrorKind::Git(GitError::Unopenable { obstacle, .. })) => obstacle.to_string(),
            Err(other) => other.to_string(),
            Ok(_) => "opened".to_owned(),
        }
    }

    fn configured(text: &str) -> String {
        obstacle(|path| {
            let config = format!("[core]\nrepositoryformatversion = 1\nbare = true\n{text}\n");
            fs::write(path.join("config"), config).unwrap();
        })
    }

    #[test]
    fn the_reason_is_named() {
        assert_eq!(obstacle(|_| {}), "opened");
        assert_eq!(
            configured("[extensions]\nobjectformat = sha256"),
            "it has the object format sha256, which is not supported"
        );
        assert_eq!(
            configured("[extensions]\nrefstorage = reftable"),
            "it has the ref storage format reftable, which is not supported"
        );
        assert_eq!(
            configured("[extensions]\npartialclone = origin"),
            "it is a partial clone, which is not supported"
        );
        assert_eq!(configured("[extensions]\nbrandnew = 1"), "libgit2 cannot open it");
        assert_eq!(configured("[broken"), "its `config` cannot be read");
        for part in ["HEAD", "objects", "refs"] {
            let gone = obstacle(|path| fs::rename(path.join(part), path.with_extension("part")).unwrap());
            assert_eq!(gone, format!("its `{part}` is missing"));
        }
        let fifo = obstacle(|path| {
            let head = path.join("HEAD");
            fs::remove_file(&head).unwrap();
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, &head, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        });
        assert!(fifo.ends_with("HEAD` in it is not a regular file"), "{fifo}");
        let dir = obstacle(|path| {
            fs::remove_file(path.join("HEAD")).unwrap();
            fs::create_dir(path.join("HEAD")).unwrap();
        });
        assert_eq!(dir, "its `HEAD` has the wrong file type");
        for name in
            ["config", "packed-refs", "refs/heads/zz", "objects/pack/pack-0.idx", "objects/info/alternates"]
        {
            let odd = |make: fn(&Path)| {
                obstacle(move |path| {
                    let _ = fs::remove_file(path.join(name));
                    make(&path.join(name));
                })
            };
            let fifo = odd(|path| {
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            });
            let device = odd(|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap());
            for said in [fifo, device] {
                assert!(said.ends_with(&format!("{name}` in it is not a regular file")), "{said}");
            }
        }
        let fifo = obstacle(|path| {
            fs::remove_dir_all(path).unwrap();
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        });
        assert!(fifo.ends_with("list.git` is a fifo, not a directory or repository"), "{fifo}");
        let dangling = obstacle(|path| {
            fs::remove_dir_all(path).unwrap();
            fs::create_dir(path).unwrap();
            std::os::unix::fs::symlink("/nowhere", path.join(".git")).unwrap();
        });
        assert_eq!(dangling, "its `.git` leads to `/nowhere`, which does not exist");
        for name in
            ["HEAD", "config", "packed-refs", "shallow", "info/grafts", "objects/info/alternates", "index"]
        {
            let large = obstacle(|path| {
                fs::create_dir_all(path.join("info")).unwrap();
                let file = fs::OpenOptions::new().create(true).append(true).open(path.join(name)).unwrap();
                file.set_len(8 << 30).unwrap();
            });
            assert!(large.contains(&format!("{name}` in it has more than ")), "{large}");
        }
        let nothing = obstacle(|path| {
            fs::remove_dir_all(path).unwrap();
            fs::create_dir(path).unwrap();
        });
        assert_eq!(nothing, "there is no git repository in it");
        assert!(obstacle(|path| fs::remove_dir_all(path).unwrap()).contains("no directory or repository"));
    }
}
