//! Where a store is read and written: its URL after git's configuration rewrites it (git-config(1),
//! `url.<base>.insteadOf` and `pushInsteadOf`). One place decides both, so that a readable store can also be
//! published to.

use git2::Config;
use presence_git::configuration::configuration;

use crate::store::StoreErrorKind;
use crate::store::git::error::During;

/// The URLs of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Urls {
    /// For reading.
    pub(in crate::store) read: String,
    /// For publishing.
    pub(in crate::store) write: String,
}

/// Pairs of a URL's prefix and its replacement.
#[derive(Debug, Default, PartialEq)]
struct Rules {
    instead: Vec<(String, String)>,
    push_instead: Vec<(String, String)>,
}

impl Urls {
    /// The same URL for both.
    pub(in crate::store) fn same(url: &str) -> Urls {
        Urls { read: url.to_owned(), write: url.to_owned() }
    }

    /// The URLs according to git's configuration.
    pub(in crate::store) fn of(url: &str) -> Result<Urls, StoreErrorKind> {
        let rules = configuration().and_then(|config| Rules::of(&config));
        Ok(rules.during("read git's configuration")?.apply(url))
    }
}

impl Rules {
    fn of(config: &Config) -> Result<Rules, git2::Error> {
        let mut rules = Rules::default();
        let mut entries = config.entries(Some("^url\\..*\\.(push)?insteadof$"))?;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let (Ok(name), Ok(prefix)) = (entry.name(), entry.value()) else { continue };
            let Some((base, key)) = name.strip_prefix("url.").and_then(|name| name.rsplit_once('.')) else {
                continue;
            };
            let list = match key {
                "insteadof" => &mut rules.instead,
                _ => &mut rules.push_instead,
            };
            list.push((prefix.to_owned(), base.to_owned()));
        }
        Ok(rules)
    }

    /// git rewrites once, by the longest matching prefix. For pushes, `pushInsteadOf` precedes `insteadOf`.
    fn apply(&self, url: &str) -> Urls {
        let read = rewritten(url, &self.instead).unwrap_or_else(|| url.to_owned());
        let write = rewritten(url, &self.push_instead).unwrap_or_else(|| read.clone());
        Urls { read, write }
    }
}

fn rewritten(url: &str, rules: &[(String, String)]) -> Option<String> {
    let matching = rules.iter().filter(|(prefix, _)| !prefix.is_empty() && url.starts_with(prefix));
    // Of two equal prefixes, the first applies.
    let (prefix, base) = matching.rev().max_by_key(|(prefix, _)| prefix.len())?;
    Some(format!("{base}{}", &url[prefix.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_rewritten_as_git_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[url \"git://h.example/\"]\n\tinsteadOf = https://h/\n\tinsteadof = gh:\n\
                    [url \"ssh://Git@h/deep/\"]\n\tinsteadOf = https://h/deep/\n\
                    [url \"ssh://git@h/\"]\n\tpushInsteadOf = https://h/\n\
                    [url \"x://\"]\n\tinsteadOf = \n";
        std::fs::write(file.path(), text).unwrap();
        let rules = Rules::of(&Config::open(file.path()).unwrap()).unwrap();
        for (url, read, write) in [
            ("https://h/a", "git://h.example/a", "ssh://git@h/a"),
            ("gh:a", "git://h.example/a", "git://h.example/a"),
            ("https://h/deep/a", "ssh://Git@h/deep/a", "ssh://git@h/deep/a"),
            ("git://h.example/a", "git://h.example/a", "git://h.example/a"),
            ("/srv/list.git", "/srv/list.git", "/srv/list.git"),
        ] {
            assert_eq!(rules.apply(url), Urls { read: read.into(), write: write.into() });
        }
    }
}
