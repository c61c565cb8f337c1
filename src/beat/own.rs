//! What this node is about to publish: judged as readers will judge it, and compared with what it published
//! before.
//!
//! A missing fact may only be in the middle of a write, or the network may not be up yet; an unusable value
//! may be half of one. So a fact by which others find this node stays on the list until two publishings in a
//! row miss it, or find the same unusable value.

use std::collections::BTreeMap;
use std::path::Path;

use super::fleet::{Fleet, FleetStores};
use super::published::{ADDRESSES, LastPublished, load, save};
use super::warning::Warning;
use crate::config::Config;
use crate::facts;
use crate::record::{Facts, Record};
use crate::roster::faults;
use crate::state;

/// Other facts without which readers do not find this node, or the wrong readers find it.
const FIRM: [&str; 5] = ["deployment", "nodepart", "port", "stacktype", "state"];

/// The fact that says whether this node is in service.
const STATE: &str = "state";

/// Facts that are never empty on purpose.
const TOLD: [&str; 9] =
    ["address", "deployment", "hostname", "instance-id", "ipv4", "ipv6", "nodepart", "port", "stacktype"];

/// What a publishing does about missing facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmness {
    /// Nothing is published now: the facts stay.
    Look,
    /// A fact stays if the last publishing had it.
    Say,
    /// They are removed.
    Anyway,
}

/// What this node is to publish.
#[derive(Debug, Clone)]
pub struct Own {
    /// Its record.
    pub record: Record,
    /// What is wrong with the record, and which earlier facts it keeps.
    pub warnings: Vec<Warning>,
}

/// A fact that this node published before and now lacks, or has with an unusable value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Away {
    fact: String,
    /// The published value.
    value: String,
    /// The fact and the unusable value in its place.
    instead: Option<(&'static str, String)>,
}

impl Away {
    /// What must be the same in two publishings in a row.
    fn doubt(&self) -> String {
        match &self.instead {
            Some((_, value)) => format!("{}={value}", self.fact),
            None => self.fact.clone(),
        }
    }
}

/// The facts that were published and are missing now, and what to remember after this publishing. `unusable`
/// are the facts of the record with unusable values.
fn decide(
    before: &LastPublished,
    now: &Record,
    unusable: &[&'static str],
    firmness: Firmness,
) -> (Vec<Away>, LastPublished) {
    let mut after = LastPublished { id: now.id().to_string(), facts: firm(now), doubted: Vec::new() };
    let bad = |fact: &str| {
        let bad = unusable.iter().find(|bad| **bad == fact)?;
        Some((*bad, now.text(bad)?.into_owned()))
    };
    // Readers use the first address that is stated. If it is unusable, they use no other one.
    let first = ADDRESSES.iter().find(|fact| now.text(fact).is_some_and(|text| !text.is_empty()));
    let bad_address = first.and_then(|fact| bad(fact));
    after.facts.retain(|fact, _| {
        let counts = bad_address.is_none() || !ADDRESSES.contains(&fact.as_str());
        counts && !unusable.contains(&fact.as_str())
    });
    let mut away = Vec::new();
    if before.id == after.id && firmness != Firmness::Anyway {
        let best = ADDRESSES.iter().position(|address| before.facts.contains_key(*address));
        for (fact, value) in &before.facts {
            let (is_away, instead) = match ADDRESSES.iter().position(|address| address == fact) {
                // Readers use the best address. It is missing only if no address as good is left.
                Some(rank) => {
                    let as_good = ADDRESSES[..=rank].iter().any(|address| after.facts.contains_key(*address));
                    (best == Some(rank) && !as_good, bad_address.clone())
                }
                None => (!after.facts.contains_key(fact), bad(fact)),
            };
            if is_away {
                away.push(Away { fact: fact.clone(), value: value.clone(), instead });
            }
        }
    }
    if firmness == Firmness::Say && away.iter().map(Away::doubt).eq(before.doubted.iter().cloned()) {
        // A node without a state is active, which an empty file does not mean.
        away.retain(|away| away.fact == STATE && away.instead.is_none());
    }
    after.facts.extend(away.iter().map(|away| (away.fact.clone(), away.value.clone())));
    after.doubted = away.iter().map(Away::doubt).collect();
    (away, after)
}

/// The firm facts of a record.
fn firm(record: &Record) -> BTreeMap<String, String> {
    let all = ADDRESSES.iter().chain(&FIRM);
    let text = |fact: &&str| record.text(fact).filter(|text| !text.is_empty()).map(|text| text.into_owned());
    all.filter_map(|fact| Some(((*fact).to_owned(), text(fact)?))).collect()
}

/// Whether the record has an address.
pub fn has_address(record: &Record) -> bool {
    ADDRESSES.iter().any(|fact| record.has(fact))
}

/// Whether only the list knows what this node has published: nothing on this machine does, and the record
/// lacks a fact that it may have stated. If the state directory cannot be written, any fact may be missing,
/// and the list is asked each time.
pub fn must_ask(config: &Config, stores: &FleetStores, record: &Record) -> bool {
    if load(&config.state_dir).is_some() {
        return false;
    }
    let firm = || ADDRESSES.iter().chain(&FIRM);
    let is_doubtful = !has_address(record)
        || ["nodepart", "stacktype"].iter().any(|fact| !record.has(fact))
        || firm().any(|fact| facts::is_empty(&config.nodeinfo.dir, fact))
        || !faults(record, &config.states, &config.addresses).is_empty()
        || firm().any(|fact| !record.has(fact)) && !state::can_save(&config.state_dir);
    let has_copy =
        || Fleet::of_copies(config, stores, false).readings.iter().any(|reading| reading.snapshot.is_some());
    is_doubtful && !has_copy()
}

/// The record for a single run to publish, with warnings. If only the list knows what this node has
/// published, the list is read first.
pub fn settle_alone(config: &Config, stores: &FleetStores, record: Record, firmness: Firmness) -> Own {
    match firmness != Firmness::Anyway && must_ask(config, stores, &record) {
        true => {
            let before = listed(&Fleet::read(config, stores, false), &record);
            settle_after(config, before, record, firmness)
        }
        false => settle(config, stores, record, firmness),
    }
}

/// The record to publish, with warnings. Except with `Firmness::Look`, the next publishing knows what this
/// one saw.
pub fn settle(config: &Config, stores: &FleetStores, record: Record, firmness: Firmness) -> Own {
    let before =
        load(&config.state_dir).unwrap_or_else(|| listed(&Fleet::of_copies(config, stores, false), &record));
    settle_after(config, before, record, firmness)
}

fn settle_after(config: &Config, before: LastPublished, record: Record, firmness: Firmness) -> Own {
    let unusable: Vec<&'static str> = faults(&record, &config.states, &config.addresses)
        .iter()
        .map(|fault| fault.fact)
        .filter(|fact| record.has(fact))
        .collect();
    let (away, after) = decide(&before, &record, &unusable, firmness);
    // Without a state directory each publishing stands alone, and is never the second in a row.
    let mut is_remembered = true;
    if firmness != Firmness::Look && after != before {
        is_remembered = save(&config.state_dir, &after).is_ok();
    }
    let mut warnings = warnings(config, &record);
    if away.is_empty() {
        return Own { record, warnings };
    }
    let mut all: Facts = record.facts();
    for away in away {
        let fact = away.fact.as_str();
        let until = match (fact, &away.instead) {
            (STATE, None) => "until another state is set".to_owned(),
            _ if !is_remembered => {
                format!("as long as `{}` cannot be written", config.state_dir.display())
            }
            (_, None) => "until the next publish misses it too".to_owned(),
            (_, Some(_)) => "until the next publish finds the same value".to_owned(),
        };
        let culprit = away.instead.as_ref().map_or(fact, |(fact, _)| fact);
        // One warning for each fact is enough.
        let told = warnings.iter().position(|warning| warning.subject == subject(culprit));
        let told = told.map(|at| warnings.remove(at).text);
        let why = match (&away.instead, told) {
            (Some(_), Some(told)) => told,
            _ => format!("{}, and there is no other source of `{fact}`", missing(&config.nodeinfo.dir, fact)),
        };
        let text = format!(
            "{why}: the list keeps `{}` {until} (`presence publish --anyway` removes it at once)",
            crate::sanitize::excerpt(&away.value)
        );
        warnings.push(Warning { subject: format!("{fact}: kept"), text });
        // Readers use the best address, so it must be this one.
        if let Some(rank) = ADDRESSES.iter().position(|address| *address == fact) {
            all.retain(|fact, _| !ADDRESSES[..rank].contains(&fact.as_str()));
        }
        all.insert(away.fact, away.value.into());
    }
    let kept = Record::new(all).unwrap_or(record);
    Own { record: kept, warnings }
}

fn missing(nodeinfo: &Path, fact: &str) -> String {
    let file = facts::file(nodeinfo, fact);
    match facts::has_file(nodeinfo, fact) {
        true => format!("`{}` is empty", file.display()),
        false => format!("there is no `{}`", file.display()),
    }
}

fn subject(fact: &str) -> String {
    format!("{fact}: own record")
}

/// What readers will find wrong with this record, each with the file to correct.
pub fn warnings(config: &Config, record: &Record) -> Vec<Warning> {
    let file = |fact: &str| facts::file(&config.nodeinfo.dir, fact).display().to_string();
    let warning = |fact: &str, text: String| Warning { subject: subject(fact), text };
    let mut told: Vec<Warning> = Vec::new();
    for fact in TOLD.iter().filter(|fact| facts::is_empty(&config.nodeinfo.dir, fact)) {
        let instead = match record.text(fact) {
            Some(value) => format!("presence uses `{}` of this machine", crate::sanitize::excerpt(&value)),
            None => "the node has no such fact".to_owned(),
        };
        told.push(warning(fact, format!("`{}` is empty: {instead}", file(fact))));
    }
    for fault in faults(record, &config.states, &config.addresses) {
        let where_ = match facts::has_file(&config.nodeinfo.dir, fault.fact) {
            true => format!("`{}`", file(fault.fact)),
            false => format!("`{}` (to be written)", file(fault.fact)),
        };
        let text = format!("{where_}: this node {}; {}", fault.reason, fault.so);
        told.push(warning(fault.fact, text));
    }
    for fact in ["nodepart", "stacktype"] {
        if record.text(fact).is_none_or(|value| value.is_empty())
            && !facts::is_empty(&config.nodeinfo.dir, fact)
        {
            let text = format!("this node states no `{fact}`; write it into `{}`", file(fact));
            told.push(warning(fact, text));
        }
    }
    told
}

/// What the list has of this node.
fn listed(fleet: &Fleet, record: &Record) -> LastPublished {
    match fleet.roster.get(record.id().as_str()) {
        Some(node) => {
            LastPublished { id: record.id().to_string(), facts: firm(&node.record), doubted: Vec::new() }
        }
        None => LastPublished::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Allowed;
    use crate::roster::States;

    fn record(facts: &[(&str, &str)]) -> Record {
        let all = facts.iter().chain(&[("instance-id", "i-1")]);
        Record::new(all.map(|(fact, value)| ((*fact).to_owned(), (*value).into())).collect()).unwrap()
    }

    /// Publishes these records one after another. Returns what each of them kept.
    fn kept(steps: &[(&[(&str, &str)], Firmness)]) -> Vec<String> {
        let mut said = LastPublished::default();
        steps
            .iter()
            .map(|(facts, firmness)| {
                let record = record(facts);
                let unusable: Vec<_> = faults(&record, &States::default(), &Allowed::default())
                    .iter()
                    .map(|fault| fault.fact)
                    .collect();
                let (away, after) = decide(&said, &record, &unusable, *firmness);
                if *firmness != Firmness::Look {
                    said = after;
                }
                let away = away.iter().map(|away| format!("{}={}", away.fact, away.value));
                away.collect::<Vec<_>>().join(" ")
            })
            .collect()
    }

    use Firmness::{Anyway, Look, Say};

    #[test]
    fn what_is_away_for_a_moment_stays() {
        let whole: &[_] = &[("address", "10.0.0.1"), ("port", "80"), ("state", "draining")];
        assert_eq!(kept(&[(&[], Say), (whole, Say), (whole, Say)]), ["", "", ""]);
        let bare: &[_] = &[("port", "80"), ("state", "draining")];
        assert_eq!(
            kept(&[(whole, Say), (bare, Say), (bare, Look), (bare, Say), (bare, Say)]),
            ["", "address=10.0.0.1", "address=10.0.0.1", "", ""]
        );
        assert_eq!(
            kept(&[(whole, Say), (bare, Say), (whole, Say), (bare, Say)]).last().unwrap(),
            "address=10.0.0.1"
        );
        assert_eq!(kept(&[(whole, Say), (bare, Anyway), (bare, Say)]), ["", "", ""]);
        let none: &[_] = &[];
        assert_eq!(
            kept(&[(whole, Say), (bare, Say), (none, Say), (none, Say)]),
            ["", "address=10.0.0.1", "address=10.0.0.1 port=80 state=draining", "state=draining"],
            "another loss is another matter"
        );
    }

    #[test]
    fn only_the_address_that_counts_is_kept() {
        let both: &[_] = &[("ipv4", "10.0.0.1"), ("ipv6", "2001:db8::1")];
        let six: &[_] = &[("ipv6", "2001:db8::1")];
        let four: &[_] = &[("ipv4", "10.0.0.1")];
        let stated: &[_] = &[("address", "10.0.0.9"), ("ipv4", "10.0.0.1")];
        assert_eq!(kept(&[(both, Say), (six, Say)]), ["", "ipv4=10.0.0.1"]);
        assert_eq!(kept(&[(both, Say), (four, Say)]), ["", ""]);
        assert_eq!(kept(&[(four, Say), (stated, Say), (four, Say)]), ["", "", "address=10.0.0.9"]);
    }

    #[test]
    fn another_node_has_said_nothing() {
        let said =
            LastPublished { id: "i-2".into(), facts: firm(&record(&[("port", "80")])), doubted: Vec::new() };
        assert_eq!(decide(&said, &record(&[]), &[], Say).0, Vec::new());
    }

    #[test]
    fn half_of_a_value_does_not_take_the_place_of_a_good_one() {
        let good: &[_] = &[("address", "10.0.0.5"), ("port", "80"), ("state", "done")];
        let half: &[_] = &[("address", "10.0.0"), ("port", "80"), ("state", "done")];
        let less: &[_] = &[("address", "10."), ("port", "80"), ("state", "done")];
        let all: &[_] = &[("address", "10.0.0.5"), ("port", "8O"), ("state", "don")];
        assert_eq!(kept(&[(good, Say), (half, Say), (good, Say)]), ["", "address=10.0.0.5", ""]);
        assert_eq!(
            kept(&[(good, Say), (less, Say), (half, Say), (half, Say), (half, Say)]),
            ["", "address=10.0.0.5", "address=10.0.0.5", "", ""]
        );
        assert_eq!(kept(&[(good, Say), (all, Say), (all, Say)]), ["", "port=80 state=done", ""]);
        assert_eq!(kept(&[(half, Say), (half, Say)]), ["", ""], "there was no better one");
        // Only the machine's own address so far.
        let own: &[_] = &[("ipv4", "10.0.0.9")];
        let stated: &[_] = &[("address", "10.0.0"), ("ipv4", "10.0.0.9")];
        assert_eq!(
            kept(&[(own, Say), (stated, Say), (stated, Say), (stated, Say), (stated, Say)]),
            ["", "ipv4=10.0.0.9", "", "", ""]
        );
        assert_eq!(kept(&[(stated, Say), (stated, Say), (stated, Say)]), ["", "", ""], "never anything else");
        // An unusable address after a good one does no harm.
        let both: &[_] = &[("address", "10.0.0.5"), ("ipv4", "127.0.1.1"), ("ipv6", "2001:db8::1")];
        let other: &[_] = &[("ipv4", "127.0.1.1"), ("ipv6", "2001:db8::1")];
        let alone: &[_] = &[("address", "10.0.0.5")];
        assert_eq!(kept(&[(alone, Say), (both, Say), (both, Say)]), ["", "", ""]);
        assert_eq!(kept(&[(other, Say), (other, Say), (both, Say), (both, Say)]), ["", "", "", ""]);
    }
}
