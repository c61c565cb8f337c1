//! The outcome of a publish, as far as it can be known without publishing.

/// The most branches to name.
const MAX_NAMES: usize = 5;

/// The result of a publish that stopped before the change.
#[derive(Debug)]
pub struct Rehearsal {
    /// The URL without secrets.
    pub url: String,
    /// The branch that would move; `None` if the store has no branches.
    pub branch: Option<Branch>,
    /// What only the change itself can show.
    pub untried: Option<&'static str>,
}

/// A branch of a git store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// The first few other branches. A missing branch is normal in a repository without branches.
    pub others: Vec<String>,
}

impl Branch {
    /// Describes the branch `wanted`, given the repository's refs.
    pub(super) fn among<'r>(wanted: &str, refs: impl Iterator<Item = &'r str>) -> Branch {
        let short = |name: &str| name.strip_prefix("refs/heads/").map(str::to_owned);
        let mut exists = false;
        let mut others = Vec::new();
        for name in refs {
            exists |= name == wanted;
            if let Some(other) = short(name).filter(|_| name != wanted && others.len() < MAX_NAMES) {
                others.push(other);
            }
        }
        Branch { name: short(wanted).unwrap_or_else(|| wanted.to_owned()), exists, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_there_or_others_are_named() {
        let among = |wanted: &str, refs: &[&str]| {
            let branch = Branch::among(wanted, refs.iter().copied());
            (branch.name, branch.exists, branch.others.join(" "))
        };
        let refs = ["refs/heads/main", "refs/heads/old", "refs/presence/beats/00"];
        assert_eq!(among("refs/heads/main", &refs), ("main".into(), true, "old".into()));
        assert_eq!(among("refs/heads/mian", &refs), ("mian".into(), false, "main old".into()));
        assert_eq!(among("refs/heads/main", &[]), ("main".into(), false, String::new()));
    }
}
