//! Refs that the server lists but does not send. It lacks their objects, after `git gc --prune=now` during a
//! push or after a crash. A single one makes git refuse the whole fetch, so they are found, remembered for a
//! while, and left out.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use git2::Oid;
use presence_git::TransportError;

use crate::errors::PathError;
use crate::folder::Folder;
use crate::state;
use crate::store::StoreErrorKind;
use crate::store::git::GitError;
use crate::store::git::refs::Refs;

/// The time after which a broken ref is requested again: its objects may have been restored.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The most requests of one look to find the broken refs.
const REQUESTS: u32 = 32;

/// The name of the memory's file.
const FILE: &str = "broken";

/// The refs that were recently found broken.
pub(super) fn remembered(place: &Path) -> Refs {
    let age = fs::metadata(place.join(FILE))
        .and_then(|found| found.modified())
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.is_none_or(|age| age > REMEMBERED) {
        return Refs::new();
    }
    let text = state::load_text(place, FILE).unwrap_or_default();
    let refs = text.lines().filter_map(|line| {
        let (oid, name) = line.split_once(' ')?;
        Some((name.to_owned(), Oid::from_str(oid).ok()?))
    });
    refs.collect()
}

/// Records that exactly these refs are broken.
pub(super) fn remember(place: &Path, refs: &Refs) -> Result<(), PathError> {
    if refs.is_empty() {
        return Folder::private(place)?.remove(FILE);
    }
    let text: String = refs.iter().map(|(name, oid)| format!("{oid} {name}\n")).collect();
    state::save_text(place, FILE, &text)
}

/// Whether a fetch may have failed because the server lacks objects of a ref. If a commit is missing, the
/// server says "not our ref" and hangs up, and over `git://` often only the latter is seen. If objects below
/// a commit are missing, it says that the repository is corrupt.
pub(super) fn may_lack_objects(error: &StoreErrorKind) -> bool {
    match error {
        StoreErrorKind::Git(GitError::Transport(error)) => matches!(
            error,
            TransportError::Broken { .. }
                | TransportError::Closed { .. }
                | TransportError::Refused { .. }
                | TransportError::Failed { .. }
                | TransportError::Status { .. }
        ),
        StoreErrorKind::Git(GitError::Libgit2 { source, .. }) => {
            source.class() == git2::ErrorClass::Net || source.class() == git2::ErrorClass::Indexer
        }
        _ => false,
    }
}

/// The object that the server reports as missing, in git's words.
fn named(error: &StoreErrorKind) -> Option<Oid> {
    let text = crate::errors::chain(error);
    let (_, rest) = text.split_once("not our ref ")?;
    Oid::from_str(rest.get(..40)?).ok()
}

/// The result of requesting refs in parts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct BrokenRefs {
    /// Requested alone, or named by the server, and not sent.
    pub(super) broken: Refs,
    /// Not fully tested: the limit of requests was reached.
    pub(super) undecided: Refs,
}

/// Requests the refs in ever smaller parts until everything available was sent. Returns the other refs.
pub(super) fn find(
    refs: &Refs,
    mut ask: impl FnMut(&Refs) -> Result<(), StoreErrorKind>,
) -> Result<BrokenRefs, StoreErrorKind> {
    let mut found = BrokenRefs::default();
    let mut requests = 0;
    let mut parts = vec![refs.clone()];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        if requests == REQUESTS {
            found.undecided.append(&mut part);
            continue;
        }
        requests += 1;
        let error = match ask(&part) {
            Ok(()) => continue,
            Err(error) if may_lack_objects(&error) => error,
            Err(error) => return Err(error),
        };
        let (bad, rest): (Refs, Refs) = match named(&error) {
            Some(oid) if part.values().any(|known| *known == oid) => {
                part.into_iter().partition(|(_, known)| *known == oid)
            }
            _ if part.len() == 1 => (part, Refs::new()),
            _ => {
                let middle = part.keys().nth(part.len() / 2).cloned().unwrap_or_default();
                parts.push(part.split_off(&middle));
                (Refs::new(), part)
            }
        };
        found.broken.extend(bad);
        parts.push(rest);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(count: u8) -> Refs {
        (0..count).map(|n| (format!("refs/presence/beats/{n:03}"), oid(n))).collect()
    }

    fn oid(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).unwrap()
    }

    fn reset() -> StoreErrorKind {
        let source = std::io::ErrorKind::ConnectionReset.into();
        StoreErrorKind::Git(GitError::Transport(TransportError::Broken { peer: "h".into(), source }))
    }

    fn not_our_ref(oid: Oid) -> StoreErrorKind {
        let said = format!("upload-pack: not our ref {oid}");
        StoreErrorKind::Git(GitError::Transport(TransportError::Refused { peer: "h".into(), said }))
    }

    /// Searches `count` refs of which `broken` are broken. Returns the result and the number of requests.
    /// With `words`, the server names a broken ref.
    fn search(count: u8, broken: &[u8], words: bool) -> (BrokenRefs, usize) {
        let mut requests = 0;
        let found = find(&refs(count), |part| {
            requests += 1;
            match part.values().find(|known| broken.iter().any(|n| oid(*n) == **known)) {
                Some(bad) => Err(if words { not_our_ref(*bad) } else { reset() }),
                None => Ok(()),
            }
        });
        (found.unwrap(), requests)
    }

    fn numbers(refs: &Refs) -> Vec<u8> {
        refs.values().map(|oid| oid.as_bytes()[0]).collect()
    }

    #[test]
    fn the_broken_ones_are_found_and_the_rest_is_had() {
        for (count, broken) in
            [(1, vec![0]), (64, vec![]), (64, vec![17]), (64, vec![0, 63]), (3, vec![0, 1, 2])]
        {
            for words in [false, true] {
                let (found, requests) = search(count, &broken, words);
                assert_eq!((numbers(&found.broken), found.undecided.len()), (broken.clone(), 0));
                assert!(!words || requests <= broken.len() + 1);
            }
        }
    }

    #[test]
    fn the_work_is_bounded_and_nothing_is_called_good_that_was_not_had() {
        let broken: Vec<u8> = (0..64).step_by(2).collect();
        let (found, requests) = search(64, &broken, false);
        assert!(requests <= REQUESTS as usize);
        let all: Vec<u8> = numbers(&found.broken).into_iter().chain(numbers(&found.undecided)).collect();
        assert!(!found.undecided.is_empty() && broken.iter().all(|n| all.contains(n)));
    }

    #[test]
    fn another_failure_is_one() {
        let silent = || TransportError::Silent { peer: "h".into(), seconds: 1 };
        let error = find(&refs(3), |_| Err(StoreErrorKind::Git(GitError::Transport(silent())))).unwrap_err();
        assert!(matches!(error, StoreErrorKind::Git(GitError::Transport(TransportError::Silent { .. }))));
    }

    #[test]
    fn they_are_remembered_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remembered(dir.path()), Refs::new());
        remember(dir.path(), &refs(2)).unwrap();
        assert_eq!(remembered(dir.path()), refs(2));
        let file = fs::File::options().write(true).open(dir.path().join("broken")).unwrap();
        file.set_modified(SystemTime::now() - REMEMBERED - Duration::from_secs(1)).unwrap();
        assert_eq!(remembered(dir.path()), Refs::new());
        remember(dir.path(), &Refs::new()).unwrap();
        remember(dir.path(), &Refs::new()).unwrap();
    }
}
