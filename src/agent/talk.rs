//! What the agent says: news at once, and what stands as it was only the first time.

use std::collections::{BTreeMap, BTreeSet};

/// Something for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// What was done.
    Note(String),
    /// What is not as it should be, with what to do.
    Warning(String, Option<String>),
}

/// What is not as it should be, and what to do.
pub(super) type Complaint = (String, Option<String>);

/// Remembers what stands.
pub(super) struct Talk<'a> {
    say: &'a dyn Fn(Said),
    standing: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(say: &'a dyn Fn(Said)) -> Talk<'a> {
        Talk { say, standing: BTreeMap::new() }
    }

    /// Says what was done.
    pub(super) fn note(&self, text: impl Into<String>) {
        (self.say)(Said::Note(text.into()));
    }

    /// Says what is wrong with `topic` now: only what was not said the last time; and that all is well again.
    pub(super) fn complain(&mut self, topic: &str, complaints: Vec<Complaint>) {
        let before = self.standing.remove(topic).unwrap_or_default();
        if complaints.is_empty() {
            if !before.is_empty() {
                self.note(format!("{topic}: well again"));
            }
            return;
        }
        let texts = complaints.iter().map(|(text, _)| text.clone()).collect();
        for (text, hint) in complaints {
            if !before.contains(&text) {
                (self.say)(Said::Warning(text, hint));
            }
        }
        self.standing.insert(topic.to_owned(), texts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn what_stands_is_said_once() {
        let said = RefCell::new(Vec::new());
        let say = |what: Said| {
            said.borrow_mut().push(match what {
                Said::Note(text) | Said::Warning(text, _) => text,
            });
        };
        let mut talk = Talk::new(&say);
        let one = |text: &str| (text.to_owned(), None);
        talk.complain("store", vec![]);
        talk.complain("store", vec![one("a")]);
        talk.complain("store", vec![one("a"), one("b")]);
        talk.complain("file", vec![one("a")]);
        talk.complain("store", vec![]);
        talk.complain("store", vec![one("a")]);
        assert_eq!(said.into_inner(), ["a", "b", "a", "store: well again", "a"]);
    }
}
