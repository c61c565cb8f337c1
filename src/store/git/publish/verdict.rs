//! Interprets the server's report on a push.

use presence_git::send_pack::Report;

use crate::sanitize;
use crate::store::StoreErrorKind;
use crate::store::git::GitError;

/// The longest line of a server's output to repeat, in characters.
const MAX_SAID: usize = 4096;

/// The result of a push.
pub(super) enum Pushed {
    Done,
    /// Others were faster.
    Lost,
}

/// Judges the push by the result of the ref `name`: accepted, overtaken by another push, or refused.
pub(super) fn judge(report: &Report, name: &str, atomic: bool) -> Result<Pushed, StoreErrorKind> {
    let reason = match &report.unpack {
        Some(reason) => reason.as_str(),
        // In an atomic push, a single ref that could not be locked fails all others.
        None if atomic && report.refused.iter().any(|(_, reason)| is_race(reason)) => {
            return Ok(Pushed::Lost);
        }
        None => match report.refused.iter().find(|(refused, _)| refused == name) {
            Some((_, reason)) if is_race(reason) => return Ok(Pushed::Lost),
            Some((_, reason)) => reason.as_str(),
            None => return Ok(Pushed::Done),
        },
    };
    Err(StoreErrorKind::Git(GitError::Refused {
        reason: sanitize::said(reason, MAX_SAID),
        said: report
            .said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| format!("\n  | {}", sanitize::said(line, MAX_SAID)))
            .collect(),
    }))
}

/// The messages of git servers when another push came first, from receive-pack and its ref transactions.
fn is_race(reason: &str) -> bool {
    [
        "non-fast-forward",
        "fetch first",
        "cannot lock ref",
        "failed to update ref",
        "failed to lock",
        "stale info",
        // At least one ref could not be locked.
        "atomic transaction failed",
        "incorrect old value",
        "reference already exists",
    ]
    .iter()
    .any(|race| reason.contains(race))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_race_is_told_from_a_refusal() {
        assert!(is_race("failed to update ref") && is_race("cannot lock ref 'refs/heads/main'"));
        assert!(!is_race("pre-receive hook declined"));
    }
}
