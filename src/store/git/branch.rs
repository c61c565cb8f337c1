//! Determines which branch holds the list, by the same rule for local repositories and those behind a
//! network.
//!
//! Two rules would make two lists: a node that publishes by path would start a branch that readers behind a
//! network do not read.

use std::collections::BTreeMap;

use git2::Oid;

use super::branch_ref;
use crate::store::StoreErrorKind;
use crate::store::git::GitError;

/// What HEAD of a repository refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    /// This ref, which need not exist.
    Names(String),
    /// This commit: HEAD is detached, or the server does not tell its branch.
    At(Oid),
    /// A branch that does not exist, and whose name the protocol does not tell.
    Unknown {
        /// The ref to start in an empty repository.
        default: String,
    },
}

/// The wanted branch, and whether to start it if it does not exist.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::store) struct Wanted<'a> {
    /// The configured name.
    pub(in crate::store) configured: Option<&'a str>,
    /// Whether to start that branch beside others.
    pub(in crate::store) create: bool,
}

/// Chooses the ref of the branch. `branches` are the existing branches, and the ref that HEAD names if it
/// exists.
///
/// The configured branch comes first, then the one that HEAD names. If that does not exist, the only existing
/// branch is used. A new branch is started only in a repository without branches, or by `--create-branch`.
pub(super) fn choose(
    wanted: Wanted<'_>,
    head: &Head,
    branches: &BTreeMap<String, Oid>,
) -> Result<String, StoreErrorKind> {
    if let Some(branch) = wanted.configured {
        let name = branch_ref(branch);
        return match wanted.create || branches.is_empty() || branches.contains_key(&name) {
            true => Ok(name),
            false => Err(StoreErrorKind::Git(GitError::NoSuchBranch {
                branch: branch.to_owned(),
                there: names(branches),
            })),
        };
    }
    let named = match head {
        Head::Names(name) => Some(name),
        Head::At(oid) => at(*oid, branches),
        Head::Unknown { .. } => None,
    };
    if let Some(name) = named.filter(|name| branches.contains_key(*name)) {
        return Ok(name.clone());
    }
    let mut all = branches.keys();
    match (all.next(), all.next(), head) {
        (Some(only), None, _) => Ok(only.clone()),
        (None, _, Head::Names(name) | Head::Unknown { default: name }) => Ok(name.clone()),
        _ => {
            let head = match head {
                Head::Names(name) => Some(short(name).to_owned()),
                Head::At(_) | Head::Unknown { .. } => None,
            };
            Err(StoreErrorKind::Git(GitError::NoBranch { head, there: names(branches) }))
        }
    }
}

/// The branch at that commit. Of several, git's old default (`guess_remote_head` in its remote.c) or none.
fn at(oid: Oid, branches: &BTreeMap<String, Oid>) -> Option<&String> {
    let candidates: Vec<&String> =
        branches.iter().filter(|(_, tip)| **tip == oid).map(|(name, _)| name).collect();
    match candidates[..] {
        [only] => Some(only),
        _ => candidates.into_iter().find(|name| *name == "refs/heads/master"),
    }
}

/// The names of the first few branches, for a message.
fn names(branches: &BTreeMap<String, Oid>) -> String {
    const MOST: usize = 5;
    let shown: Vec<String> =
        branches.keys().take(MOST).map(|name| format!("`{}`", short(name).escape_debug())).collect();
    match branches.len() {
        0 => "none".to_owned(),
        count if count > MOST => format!("{} and {} more", shown.join(", "), count - MOST),
        _ => shown.join(", "),
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(configured: Option<&str>, create: bool, head: &Head, there: &[(&str, u8)]) -> String {
        let branches = there
            .iter()
            .map(|(name, oid)| (branch_ref(name), Oid::from_bytes(&[*oid; 20]).unwrap()))
            .collect();
        match choose(Wanted { configured, create }, head, &branches) {
            Ok(name) => short(&name).to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_rule() {
        let main = Head::Names("refs/heads/main".into());
        let unknown = Head::Unknown { default: "refs/heads/main".into() };
        let at = Head::At(Oid::from_bytes(&[1; 20]).unwrap());
        for (head, there, expect) in [
            (&main, &[("main", 1), ("x", 1)][..], "main"),
            (&main, &[], "main"),
            (&main, &[("master", 1)], "master"),
            (
                &main,
                &[("a", 1), ("b", 2)],
                "HEAD names the branch `main`, which does not exist; existing branches: `a`, `b`",
            ),
            (&unknown, &[], "main"),
            (&unknown, &[("master", 1)], "master"),
            (&unknown, &[("a", 1), ("main", 2)], "HEAD names no branch; existing branches: `a`, `main`"),
            (&at, &[("a", 2), ("b", 1)], "b"),
            (&at, &[("a", 1), ("b", 1)], "HEAD names no branch; existing branches: `a`, `b`"),
            (&at, &[("a", 1), ("master", 1)], "master"),
            (&at, &[("a", 2)], "a"),
            (&at, &[], "HEAD names no branch; existing branches: none"),
        ] {
            assert_eq!(chosen(None, false, head, there), expect);
        }
    }

    #[test]
    fn a_configured_branch_is_never_begun_beside_others_unasked() {
        let head = Head::Names("refs/heads/main".into());
        assert_eq!(chosen(Some("list"), false, &head, &[("list", 1), ("main", 1)]), "list");
        assert_eq!(chosen(Some("list"), false, &head, &[]), "list");
        assert_eq!(
            chosen(Some("lits"), false, &head, &[("list", 1)]),
            "the configured branch `lits` does not exist; existing branches: `list`"
        );
        assert_eq!(chosen(Some("new"), true, &head, &[("list", 1)]), "new");
        let many: Vec<String> = (0..9).map(|n| format!("b{n}")).collect();
        let many: Vec<(&str, u8)> = many.iter().map(|name| (name.as_str(), 1)).collect();
        assert!(chosen(Some("x"), false, &head, &many).ends_with("`b4` and 4 more"));
    }
}
