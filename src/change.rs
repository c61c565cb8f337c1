//! The difference between two versions of a node's record, in words: for the subject of a commit, or a line
//! of history.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::record::{Facts, MAX_REASON, REASON, Record, SERVICES, text};
use crate::sanitize::{excerpt, said};

/// What happened to a node's record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The node was not on the list before.
    Joined,
    /// The node is no longer on the list.
    Left,
    /// Some of its facts have changed.
    Changed(Vec<FactChange>),
    /// Its facts are the same, and its file is in another place: the layout has changed.
    Moved,
    /// Its facts are the same, and its file has other bytes: another spelling or signature.
    Rewritten,
}

/// One fact that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct FactChange {
    /// The fact's name.
    pub fact: String,
    /// The text before; `None` if there was no such fact.
    pub before: Option<String>,
    /// The text after; `None` if there is no such fact any more.
    pub after: Option<String>,
}

/// Facts that only accompany a change of `state`, and would be noise.
const COMPANIONS: [&str; 3] = ["statelog", "statetss", REASON];

/// Whether the fact only says when and how the state changed.
pub(crate) fn is_of_the_state(fact: &str) -> bool {
    let fact = own_name(fact);
    COMPANIONS.contains(&fact) && fact != REASON
}

impl Change {
    /// The change from `before` to `after`; `None` if they state the same facts.
    pub fn between(before: Option<&Record>, after: Option<&Record>) -> Option<Change> {
        match (before, after) {
            (None, None) => None,
            (None, Some(_)) => Some(Change::Joined),
            (Some(_), None) => Some(Change::Left),
            (Some(before), Some(after)) if before == after => None,
            (Some(before), Some(after)) => {
                let facts = facts_between(&before.facts(), &after.facts());
                if facts.is_empty() { None } else { Some(Change::Changed(facts)) }
            }
        }
    }
}

fn facts_between(before: &Facts, after: &Facts) -> Vec<FactChange> {
    let (before, after) = (&flat(before), &flat(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            let shown = |value| if own_name(name) == REASON { whole(value) } else { shown(value) };
            FactChange {
                fact: name.clone(),
                before: before.get(name).map(shown),
                after: after.get(name).map(shown),
            }
        })
        .collect()
}

/// The facts with those of each service beside them, as `SERVICE/FACT`.
fn flat(facts: &Facts) -> Cow<'_, Facts> {
    let Some(Value::Object(services)) = facts.get(SERVICES) else { return Cow::Borrowed(facts) };
    let mut flat = facts.clone();
    flat.remove(SERVICES);
    for (service, facts) in services {
        let service = excerpt(service);
        match facts {
            Value::Object(facts) if !facts.is_empty() => {
                flat.extend(facts.iter().map(|(fact, value)| (format!("{service}/{fact}"), value.clone())));
            }
            other => drop(flat.insert(format!("{SERVICES}/{service}"), other.clone())),
        }
    }
    Cow::Owned(flat)
}

/// The name of a fact without that of its service.
fn own_name(fact: &str) -> &str {
    fact.rsplit('/').next().unwrap_or(fact)
}

/// A reason for people: one line, without terminal control characters. It may be longer than other values.
fn whole(value: &serde_json::Value) -> String {
    said(&text(value).unwrap_or_default(), MAX_REASON)
}

/// A value for people: one line, without terminal control characters, shortened.
fn shown(value: &serde_json::Value) -> String {
    excerpt(&text(value).unwrap_or_else(|| value.to_string().into()))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Joined => f.write_str("joined"),
            Change::Left => f.write_str("left"),
            Change::Moved => f.write_str("file moved, same facts"),
            Change::Rewritten => f.write_str("file rewritten, same facts"),
            Change::Changed(facts) => {
                // The reason beside a state is that of the node, or of the same service.
                let reason = |state: &str| {
                    let reason = format!("{}{REASON}", state.strip_suffix("state")?);
                    facts.iter().find(|change| change.fact == reason)?.after.as_deref()
                };
                let told: Vec<String> = facts
                    .iter()
                    .filter(|change| !COMPANIONS.contains(&own_name(&change.fact)))
                    .map(|change| match reason(&change.fact).filter(|_| own_name(&change.fact) == "state") {
                        Some(reason) => format!("{change} ({reason})"),
                        None => change.to_string(),
                    })
                    .collect();
                if told.is_empty() { f.write_str("state confirmed") } else { f.write_str(&told.join(", ")) }
            }
        }
    }
}

impl fmt::Display for FactChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{} {before} -> {after}", self.fact),
            (None, Some(after)) => write!(f, "{} {after}", self.fact),
            (_, None) => write!(f, "no {}", self.fact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(value: serde_json::Value) -> Record {
        Record::parse(json!({"filetype": "nodepresence", "value": value}).to_string().as_bytes()).unwrap()
    }

    fn check(before: serde_json::Value, after: serde_json::Value, expect: Option<&str>) {
        let change = Change::between(Some(&record(before)), Some(&record(after)));
        assert_eq!(change.map(|change| change.to_string()).as_deref(), expect);
    }

    #[test]
    fn a_change_is_told_in_words() {
        let old = json!({"instance-id": "i", "port": "80", "state": "done", "statetss": "1"});
        check(old.clone(), old.clone(), None);
        check(
            old.clone(),
            json!({"instance-id": "i", "port": "80", "state": "draining", "statetss": "2"}),
            Some("state done -> draining"),
        );
        let ill = json!({"instance-id": "i", "port": "80", "state": "wedged", "wedged-reason": "web: http status 500"});
        check(old.clone(), ill.clone(), Some("state done -> wedged (web: http status 500)"));
        check(ill, old.clone(), Some("state wedged -> done"));
        check(
            old.clone(),
            json!({"instance-id": "i", "rack": "r1", "state": "done", "statetss": "1"}),
            Some("no port, rack r1"),
        );
        check(
            old,
            json!({"instance-id": "i", "port": "80", "state": "done", "statetss": "3"}),
            Some("state confirmed"),
        );
        let evil = json!({"instance-id": "i", "x": "a\nb\u{1b}[31m"});
        check(json!({"instance-id": "i"}), evil, Some("x a\\nb\\u{1b}[31m"));
        assert_eq!(Change::between(None, Some(&record(json!({"instance-id": "i"})))), Some(Change::Joined));
    }
}
