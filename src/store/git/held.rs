//! Records that a repository held records: a list that disappeared is not an empty list.
//!
//! A recreated repository, a deleted branch and a HEAD that names another branch all look like an empty list.
//! So the state directory has the last commit that had records.

use std::fs;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

use super::refs::Refs;
use super::{tree, updates};
use crate::state;
use crate::store::git::error::{During, GitError, Vanished};
use crate::store::{Folder, Options, StoreErrorKind};

/// The name of the memory's file.
const FILE: &str = "held";

/// The most branches to search for the list.
const MAX_BRANCHES: usize = 16;

/// The state directory's record of one store: a safeguard only, which does nothing without a usable state
/// directory.
pub(super) struct Held {
    path: PathBuf,
    /// The folder and the configured branch to which it applies.
    label: String,
    folder: Folder,
    /// Whether the configuration names the branch.
    is_configured: bool,
    known: Option<Known>,
}

/// The last commit that had records, and its branch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    branch: String,
    tip: Oid,
}

/// What a list without records means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emptiness {
    /// It never had records.
    New,
    /// Its last node left, in a descendant of the commit that had records.
    Left,
    /// It has disappeared.
    Gone,
}

/// Judges a list without records. Calls `descends` only if there was a commit with records.
fn judge<E>(known: Option<&Known>, descends: impl FnOnce(&Known) -> Result<bool, E>) -> Result<Emptiness, E> {
    Ok(match known {
        None => Emptiness::New,
        Some(known) if descends(known)? => Emptiness::Left,
        Some(_) => Emptiness::Gone,
    })
}

/// The result of looking for the list.
#[must_use]
#[derive(Debug)]
pub enum Standing {
    /// The list has records, never had any, or its last node left.
    Sound,
    /// The list had records and has disappeared, for this reason.
    Gone(StoreErrorKind),
}

impl Standing {
    /// For readers: a list that disappeared is an error.
    pub fn sound(self) -> Result<(), StoreErrorKind> {
        match self {
            Standing::Sound => Ok(()),
            Standing::Gone(error) => Err(error),
        }
    }
}

impl Held {
    /// Reads it from the store's place in the state directory.
    pub(super) fn of(place: &Path, options: &Options) -> Held {
        let path = place.join(FILE);
        let label = format!("{} {:?}", options.folder, options.git.branch);
        let known = fs::read_to_string(&path).ok().and_then(|text| parse(&text, &label));
        let (folder, is_configured) = (options.folder.clone(), options.git.branch.is_some());
        Held { path, label, folder, is_configured, known }
    }

    /// Looks for the list on the branch, and records what it finds. `elsewhere` are the other branches;
    /// `bring` makes the given ones readable.
    ///
    /// A branch without the list, beside one that has it, is an error: records published there would be a
    /// second list.
    pub(super) fn look(
        &self,
        repo: &Repository,
        branch: &str,
        tip: Option<Oid>,
        elsewhere: &Refs,
        bring: impl FnOnce(&Refs) -> Result<(), StoreErrorKind>,
    ) -> Result<Standing, StoreErrorKind> {
        let no_folder = match self.note(repo, branch, tip) {
            Ok(true) => return Ok(Standing::Sound),
            Ok(false) => None,
            Err(error @ StoreErrorKind::Git(GitError::NoFolder { .. })) => Some(error),
            Err(error) => return Err(error),
        };
        let others = self.candidates(branch, elsewhere);
        if !others.is_empty() {
            bring(&others)?;
        }
        // An unreadable branch is treated as one without the list, so that it does not stop nodes that do not
        // use it.
        let before = self.known.as_ref().and_then(|known| others.get_key_value(&known.branch));
        let mut candidates = before.into_iter().chain(&others);
        if let Some((list, _)) =
            candidates.find(|(_, oid)| holds_records(repo, Some(**oid), &self.folder).unwrap_or(false))
        {
            let (branch, list) = (branch.to_owned(), list.clone());
            return Err(StoreErrorKind::Git(GitError::OtherBranch {
                branch,
                list,
                folder: self.folder.to_string(),
            }));
        }
        match (no_folder, self.was_seen()) {
            (None, _) => {}
            (Some(error), true) => return Ok(Standing::Gone(error)),
            (Some(error), false) => return Err(error),
        }
        let descends = |known: &Known| match tip {
            Some(tip) => {
                let mut all = usize::MAX;
                updates::has_ancestor(repo, tip, known.tip, &mut all).during("read the history")
            }
            None => Ok(false),
        };
        Ok(match judge(self.known.as_ref(), descends)? {
            Emptiness::New => Standing::Sound,
            Emptiness::Left => {
                // If the file remains, the next judgement is the same.
                let _ = fs::remove_file(&self.path);
                Standing::Sound
            }
            Emptiness::Gone => Standing::Gone(StoreErrorKind::Git(GitError::Gone {
                how: match tip {
                    Some(_) => {
                        Vanished::Emptied { branch: branch.to_owned(), folder: self.folder.to_string() }
                    }
                    None => Vanished::Branch(branch.to_owned()),
                },
                memory: self.path.clone(),
            })),
        })
    }

    /// Whether the branch has records. Records the branch if it has.
    pub(super) fn note(
        &self,
        repo: &Repository,
        branch: &str,
        tip: Option<Oid>,
    ) -> Result<bool, StoreErrorKind> {
        let Some(oid) = tip else { return Ok(false) };
        let now = Known { branch: branch.to_owned(), tip: oid };
        if self.known.as_ref() == Some(&now) {
            return Ok(true);
        }
        let holds = holds_records(repo, tip, &self.folder)?;
        if holds {
            self.remember(&now);
        }
        Ok(holds)
    }

    /// Whether the list was ever seen in that folder. Only then a file at the folder's path has taken the
    /// place of the list and may be replaced. Otherwise the folder may be misspelt, and the file is somebody
    /// else's.
    pub(super) fn was_seen(&self) -> bool {
        self.known.is_some()
    }

    /// Whether the list held records, and that commit has none.
    pub(super) fn misses(&self, repo: &Repository, tip: Option<Oid>) -> bool {
        self.known.is_some() && !holds_records(repo, tip, &self.folder).unwrap_or(false)
    }

    /// The branches that may have the list instead, including the one that had it.
    fn candidates(&self, branch: &str, elsewhere: &Refs) -> Refs {
        if self.is_configured {
            return Refs::new();
        }
        let before = self.known.as_ref().and_then(|known| elsewhere.get_key_value(&known.branch));
        let others = before.into_iter().chain(elsewhere.iter().take(MAX_BRANCHES));
        others.filter(|(name, _)| *name != branch).map(|(name, oid)| (name.clone(), *oid)).collect()
    }

    fn remember(&self, known: &Known) {
        let place = self.path.parent().unwrap_or(Path::new("."));
        // Without a writable state directory nothing is recorded.
        let _ = state::save_text(place, FILE, &format!("{} {}\n{}\n", known.tip, known.branch, self.label));
    }
}

fn parse(text: &str, label: &str) -> Option<Known> {
    let (first, second) = text.strip_suffix('\n')?.split_once('\n')?;
    let (oid, branch) = first.split_once(' ')?;
    (second == label).then_some(())?;
    Some(Known { branch: branch.to_owned(), tip: Oid::from_str(oid).ok()? })
}

/// Whether the folder has files at that commit.
fn holds_records(repo: &Repository, tip: Option<Oid>, folder: &Folder) -> Result<bool, StoreErrorKind> {
    let Some(tip) = tip else { return Ok(false) };
    let root = tree::find(repo, tree::commit(repo, tip)?.tree)?;
    match tree::id(repo, &root, folder)? {
        Some(tree) => tree::has_files(repo, tree),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(branch: &str) -> Known {
        Known { branch: branch.into(), tip: Oid::from_bytes(&[7; 20]).unwrap() }
    }

    #[test]
    fn an_empty_list_is_new_or_left_or_gone() {
        let judged = |known: Option<Known>, descends| {
            judge(known.as_ref(), |_| Ok::<_, std::convert::Infallible>(descends)).unwrap()
        };
        assert_eq!(judged(None, false), Emptiness::New);
        assert_eq!(judged(Some(known("refs/heads/main")), true), Emptiness::Left);
        assert_eq!(judged(Some(known("refs/heads/main")), false), Emptiness::Gone);
    }

    #[test]
    fn what_was_remembered_is_read_back_for_the_same_folder_alone() {
        let dir = tempfile::tempdir().unwrap();
        let held = |label: &str| {
            let path = dir.path().join("stores/held");
            let known = fs::read_to_string(&path).ok().and_then(|text| parse(&text, label));
            let folder = Folder::parse("it").unwrap();
            Held { path, label: label.into(), folder, is_configured: false, known }
        };
        held("it None").remember(&known("refs/heads/main"));
        assert_eq!(held("it None").known, Some(known("refs/heads/main")));
        assert_eq!(held("other None").known, None);
    }

    #[test]
    fn the_branch_that_had_the_list_is_among_those_that_are_looked_at() {
        let oid = Oid::from_bytes(&[7; 20]).unwrap();
        let branches: Refs = (0..40).map(|n| (format!("refs/heads/b{n:02}"), oid)).collect();
        let held = |branch: Option<&str>, is_configured| Held {
            path: PathBuf::new(),
            label: String::new(),
            folder: Folder::parse("it").unwrap(),
            is_configured,
            known: branch.map(known),
        };
        let candidates = held(Some("refs/heads/b39"), false).candidates("refs/heads/b00", &branches);
        assert!(candidates.contains_key("refs/heads/b39") && !candidates.contains_key("refs/heads/b00"));
        assert_eq!(candidates.len(), MAX_BRANCHES);
        assert!(held(None, true).candidates("refs/heads/b00", &branches).is_empty());
    }
}
