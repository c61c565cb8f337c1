//! The agent's log: news at once, and a standing complaint only the first time.

use std::collections::{BTreeMap, BTreeSet};

use crate::beat::warning::Warning;
use crate::errors::chain;
use crate::store::StoreError;

/// A message for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Something was done.
    Note(String),
    /// Something is wrong; with a hint.
    Warning(String, Option<String>),
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Identifies the complaint: with the same subject, it is the same one. Ages and counts in the text may
    /// change.
    subject: String,
    text: String,
    /// What to do.
    hint: Option<String>,
}

impl From<(String, Option<String>)> for Complaint {
    /// A complaint with a hint. Its subject is the text without its numbers.
    fn from((text, hint): (String, Option<String>)) -> Complaint {
        Complaint { subject: without_numbers(&text), text, hint }
    }
}

impl From<Warning> for Complaint {
    fn from(Warning { subject, text }: Warning) -> Complaint {
        Complaint { subject, text, hint: None }
    }
}

impl Complaint {
    /// A complaint about a store.
    pub fn of_store(error: &StoreError) -> Complaint {
        let text = chain(error);
        // Numbers in a URL are kept: they distinguish stores.
        let subject = format!("{} {}", error.url, without_numbers(&text));
        Complaint { subject, text, hint: error.hint() }
    }

    /// The same complaint, with the name of the thing in front.
    pub(super) fn about(self, what: &str) -> Complaint {
        Complaint {
            subject: format!("{what}: {}", self.subject),
            text: format!("{what}: {}", self.text),
            hint: self.hint,
        }
    }
}

/// The text with `#` for each run of digits: ages, counts, ports and times change while a complaint stands.
fn without_numbers(text: &str) -> String {
    let mut subject = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii_digit() {
            true if subject.ends_with('#') => {}
            true => subject.push('#'),
            false => subject.push(character),
        }
    }
    subject
}

/// Remembers the standing complaints.
pub(super) struct Reporter<'a> {
    say: &'a dyn Fn(Report),
    /// The subjects of the standing complaints, by topic.
    standing: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(say: &'a dyn Fn(Report)) -> Reporter<'a> {
        Reporter { say, standing: BTreeMap::new() }
    }

    /// Reports something that was done.
    pub(super) fn note(&self, text: impl Into<String>) {
        (self.say)(Report::Note(text.into()));
    }

    /// Reports the complaints about `topic` that are new since the last call. Without complaints, reports that
    /// all is well again.
    pub(super) fn report(&mut self, topic: &str, complaints: impl IntoIterator<Item = impl Into<Complaint>>) {
        let complaints: Vec<Complaint> = complaints.into_iter().map(Into::into).collect();
        if complaints.is_empty() {
            return self.well(topic);
        }
        let before = self.standing.remove(topic).unwrap_or_default();
        let subjects = complaints.iter().map(|complaint| complaint.subject.clone()).collect();
        for Complaint { subject, text, hint } in complaints {
            if !before.contains(&subject) {
                (self.say)(Report::Warning(text, hint));
            }
        }
        self.standing.insert(topic.to_owned(), subjects);
    }

    /// Reports that all is well with `topic` again, if it was not.
    pub(super) fn well(&mut self, topic: &str) {
        if self.standing.remove(topic).is_some() {
            self.note(format!("{topic}: resolved"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn what_stands_is_said_once() {
        let said = RefCell::new(Vec::new());
        let say = |what: Report| {
            said.borrow_mut().push(match what {
                Report::Note(text) | Report::Warning(text, _) => text,
            });
        };
        let mut reporter = Reporter::new(&say);
        let one = |text: &str| Complaint::from((text.to_owned(), None));
        reporter.well("store");
        reporter.report("store", vec![one("a")]);
        reporter.report("store", vec![one("a"), one("b")]);
        reporter.report("file", vec![one("a")]);
        reporter.well("store");
        reporter.report("store", vec![one("a")]);
        assert_eq!(said.into_inner(), ["a", "b", "a", "store: resolved", "a"]);
    }

    #[test]
    fn a_complaint_is_known_by_its_subject_and_not_by_the_numbers_in_it() {
        let said = RefCell::new(0);
        let say = |_: Report| *said.borrow_mut() += 1;
        let mut reporter = Reporter::new(&say);
        for age in 20..40 {
            let text = format!("others were first {} times in {age} s", age / 3);
            reporter.report("store", vec![(text, None)]);
            let silent = |id: &str| Warning {
                subject: format!("{id}: missed"),
                text: format!("{id}: was last seen {age} s ago"),
            };
            reporter.report("nodes", vec![silent("i-1"), silent("i-2")]);
        }
        let of = |url: &str| StoreError { url: url.to_owned(), kind: crate::store::StoreErrorKind::NotYet };
        let both =
            vec![Complaint::of_store(&of("git://10.0.0.1/l")), Complaint::of_store(&of("git://10.0.0.2/l"))];
        reporter.report("stores", both);
        assert_eq!(said.into_inner(), 1 + 2 + 2);
    }
}
