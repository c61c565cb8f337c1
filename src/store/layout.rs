//! The path of a node's file below the folder: `{instance-id}.json`, or deeper for large fleets.

use std::hash::Hasher;

use crate::name::Name;
use crate::record::Record;

/// The end of every pattern: a file has the name of its node.
const FILE: &str = "{instance-id}.json";

/// The paths, below the folder, at which a node's record is written. Readers accept any path.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout(Vec<String>);

/// Why a pattern is invalid, or a record does not fit it.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The pattern does not name files after their nodes.
    #[error("the layout `{0}` does not end with `{FILE}`")]
    End(String),
    /// A part of the path is empty, hidden, or has a brace that is not closed.
    #[error("the layout `{0}` is not a relative path of plain names and `{{fact}}`s")]
    Path(String),
    /// The node lacks a fact, or its value is not a valid name.
    #[error(
        "the layout `{layout}` needs the fact `{fact}`, but this node has no value for it that can be part \
         of a path"
    )]
    Fact {
        /// The pattern.
        layout: String,
        /// The fact.
        fact: String,
    },
}

impl Default for Layout {
    fn default() -> Layout {
        Layout(vec![FILE.to_owned()])
    }
}

impl Layout {
    /// Checks the patterns: relative paths of names, `{fact}` or `{hash}` (two hex digits from the
    /// instance-id), which end with `{instance-id}.json`. An empty list means the default.
    pub fn parse(patterns: &[String]) -> Result<Layout, LayoutError> {
        for pattern in patterns {
            let dirs = pattern.strip_suffix(FILE).ok_or_else(|| LayoutError::End(pattern.clone()))?;
            let bad = || LayoutError::Path(pattern.clone());
            let dirs = match dirs {
                "" => continue,
                dirs => dirs.strip_suffix('/').ok_or_else(bad)?,
            };
            let usable = |part: &str| match part.strip_prefix('{') {
                Some(fact) => fact.strip_suffix('}').is_some_and(|fact| Name::parse(fact).is_ok()),
                None => Name::parse(part).is_ok(),
            };
            if !dirs.split('/').all(usable) {
                return Err(bad());
            }
        }
        match patterns {
            [] => Ok(Layout::default()),
            patterns => Ok(Layout(patterns.to_vec())),
        }
    }

    /// Whether the record belongs at that path below the folder.
    pub(crate) fn has(&self, record: &Record, path: &str) -> bool {
        self.paths(record).is_ok_and(|paths| paths.iter().any(|own| own == path))
    }

    /// The record's paths below the folder; at least one.
    pub fn paths(&self, record: &Record) -> Result<Vec<String>, LayoutError> {
        self.0
            .iter()
            .map(|pattern| {
                let mut path = String::new();
                for part in pattern.split('/') {
                    if !path.is_empty() {
                        path.push('/');
                    }
                    match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                        Some("hash") => path.push_str(&hash(record.id())),
                        Some(fact) => {
                            let value = record.text(fact).and_then(|value| Name::parse(&value).ok());
                            let value = value.ok_or_else(|| LayoutError::Fact {
                                layout: pattern.clone(),
                                fact: fact.to_owned(),
                            })?;
                            path.push_str(value.as_ref());
                        }
                        None => path.push_str(&part.replace("{instance-id}", record.id().as_ref())),
                    }
                }
                Ok(path)
            })
            .collect()
    }
}

/// One of 256 folders; every machine computes the same one for a node.
fn hash(id: &Name) -> String {
    let mut hash = fnv::FnvHasher::default();
    hash.write(id.as_ref().as_bytes());
    format!("{:02x}", hash.finish() & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(patterns: &[&str]) -> Result<Vec<String>, String> {
        let record = Record::parse(
            br#"{"filetype":"nodepresence","value":{"instance-id":"i-1","nodepart":"app1","x":"a/b"}}"#,
        )
        .unwrap();
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Layout::parse(&patterns).and_then(|layout| layout.paths(&record)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pattern_places_a_record() {
        assert_eq!(paths(&[]).unwrap(), ["i-1.json"]);
        assert_eq!(
            paths(&["all/{instance-id}.json", "{nodepart}/{hash}/{instance-id}.json"]).unwrap(),
            ["all/i-1.json", "app1/4e/i-1.json"]
        );
    }

    #[test]
    fn what_places_nothing_is_refused() {
        for (pattern, expect) in [
            ("x.json", "does not end"),
            ("../{instance-id}.json", "not a relative path"),
            ("{a{instance-id}.json", "not a relative path"),
            ("/{instance-id}.json", "not a relative path"),
            (".git/{instance-id}.json", "not a relative path"),
            ("{x}/{instance-id}.json", "needs the fact `x`"),
            ("{deployment}/{instance-id}.json", "needs the fact `deployment`"),
        ] {
            let error = paths(&[pattern]).unwrap_err();
            assert!(error.contains(expect), "{pattern}: {error}");
        }
    }
}
