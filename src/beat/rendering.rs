//! From the roster to a usable text: template, then safety limits.

use std::borrow::Cow;
use std::collections::BTreeSet;

use glob::Pattern;
use jiff::Timestamp;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3Default;

use super::kept::Kept;
use crate::haproxy::Installed;
use crate::name::Name;
use crate::output::Memory;
use crate::output::limits::{self, Count, Counts, Limits, Refusal};
use crate::record::Facts;
use crate::roster::{Identity, Node, Patterns, Roster, States};
use crate::sanitize::excerpt;
use crate::template::{self, HAPROXY_VERSION, Lookup, RenderRequest, Rendered, TemplateError};
use crate::threads;

/// The note in a target's memory with the last installed version of HAProxy.
const VERSION_SEEN: &str = "haproxy-version.json";

/// Fewer nodes than this are not worth a second thread.
const MANY: usize = 10_000;

/// What to render, for whom, and within which limits.
#[derive(Debug)]
pub struct Rendering<'a> {
    /// The template's name, with or without its last extension.
    pub name: &'a str,
    /// The directories of templates.
    pub lookup: &'a Lookup,
    /// The identity that the file is for.
    pub who: &'a Identity,
    /// The facts of this node.
    pub facts: &'a Facts,
    /// The variables.
    pub vars: &'a Map<String, Value>,
    /// The safety limits; `None` if they are overridden.
    pub limits: Option<Limits>,
    /// What the states of nodes mean.
    pub states: &'a States,
    /// The time.
    pub now: Timestamp,
    /// Whether templates may be rendered by the fast path.
    pub fast_path: bool,
}

/// The variables, with the version of the HAProxy installed here, if the template depends on it and it is not
/// given. While none is installed, the version last seen for this output applies: a package upgrade removes
/// the program for a moment, and the file must not change for that.
pub fn variables(
    mut given: Map<String, Value>,
    lookup: &Lookup,
    name: &str,
    memory: Option<&Memory>,
    dry_run: bool,
) -> Result<Map<String, Value>, TemplateError> {
    if given.contains_key(HAPROXY_VERSION) || !template::depends_on_haproxy(lookup, name)? {
        return Ok(given);
    }
    let seen = memory.and_then(|memory| memory.note::<String>(VERSION_SEEN));
    let version = match Installed::find() {
        Some(installed) => Some(installed.version()?.to_string()),
        None => seen.clone(),
    };
    if let Some(memory) = memory
        && version != seen
        && !dry_run
    {
        // Without the note, a program that disappears looks like one that never existed.
        let _ = memory.write_note(VERSION_SEEN, version.as_ref());
    }
    given.extend(version.map(|version| (HAPROXY_VERSION.to_owned(), version.into())));
    Ok(given)
}

/// What was there before this output.
#[derive(Debug, Clone, Default)]
pub struct LastOutput {
    /// The counts of the last good output, if they are remembered.
    pub counts: Option<Counts>,
    /// The nodes of the last good output, if they are remembered.
    pub kept: Option<Kept>,
    /// Whether there is an output of which nothing is remembered.
    pub in_place: bool,
    /// Its nodes whose records are missing because they were withdrawn.
    pub withdrawn: BTreeSet<Name>,
}

/// What happens to a question that loses too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// It keeps the nodes of the last good output, if they are known, and all other questions change.
    Hold,
    /// There is no output.
    Refuse,
}

impl LastOutput {
    /// Finds out which of the missing nodes were withdrawn. A single missing node has left anyway.
    pub fn ask(
        self,
        roster: &Roster,
        withdrawn: impl FnOnce(&BTreeSet<Name>) -> BTreeSet<Name>,
    ) -> LastOutput {
        let away = self.kept.as_ref().map(|kept| kept.away(roster)).unwrap_or_default();
        match away.len() < 2 {
            true => self,
            false => LastOutput { withdrawn: withdrawn(&away), ..self },
        }
    }

    /// The counts of the last good output. If nothing is remembered of an existing output, one node for each
    /// question: the output may be handmade, and a first run must not empty it.
    fn counts(&self, now: &Counts) -> Option<Counts> {
        let unknown = || {
            now.keys().map(|question| (question.clone(), Count { active: 1, leaving: u64::MAX })).collect()
        };
        self.counts.clone().or_else(|| self.in_place.then(unknown))
    }
}

/// A rendering or its error, with warnings.
#[derive(Debug)]
pub struct Composition {
    /// The text with its nodes, or the error.
    pub result: Result<Composed, ComposeError>,
    /// What was left out, one sentence each.
    pub warnings: Vec<String>,
}

/// A usable text.
#[derive(Debug)]
pub struct Composed {
    /// The text.
    pub text: String,
    /// The number of nodes in the answer to each question.
    pub counts: Counts,
    /// The nodes of the text.
    pub kept: Kept,
    /// The refusals of safety limits: these questions have held nodes.
    pub refused: Vec<Refusal>,
    /// The held nodes.
    pub held: BTreeSet<String>,
}

/// There is no usable text.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The template cannot be rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A safety limit refused the result.
    #[error("refused by a safety limit: {}", told(.0))]
    Refused(Vec<Refusal>),
}

impl ComposeError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            ComposeError::Template(error) => error.hint(),
            ComposeError::Refused(_) => Some(
                "`presence list` shows the nodes; if this is intended, run the command once with --force"
                    .to_owned(),
            ),
        }
    }
}

/// The refusals as text.
pub fn told(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

/// Renders, and judges the answers against those of the last good output.
pub fn compose(
    rendering: &Rendering<'_>,
    roster: &Roster,
    before: &LastOutput,
    excess: Excess,
) -> Result<Composition, TemplateError> {
    let kept = before.kept.as_ref();
    let rendered = render(rendering, roster, kept)?;
    let (refused, lost) = judge(rendering, roster, before, &rendered);
    if refused.is_empty() {
        return Ok(composition(rendering, roster, before, rendered, (refused, BTreeSet::new())));
    }
    if let (Excess::Hold, Some(kept)) = (excess, kept.filter(|_| !lost.is_empty())) {
        let (roster, held) = kept.hold(&lost, roster, rendering.states);
        let rendered = render(rendering, &roster, Some(kept))?;
        if rendered.text.is_ok() && judge(rendering, &roster, before, &rendered).0.is_empty() {
            return Ok(composition(rendering, &roster, before, rendered, (refused, held)));
        }
    }
    Ok(Composition { result: Err(ComposeError::Refused(refused)), warnings: rendered.warnings })
}

/// The refusals, and the nodes that those questions have lost, as indexes into the nodes of the last good
/// output.
fn judge(
    rendering: &Rendering<'_>,
    roster: &Roster,
    before: &LastOutput,
    rendered: &Rendered,
) -> (Vec<Refusal>, BTreeSet<u32>) {
    let Some(limits) = rendering.limits else { return Default::default() };
    let counts = &rendered.counts;
    let Some(kept) = &before.kept else {
        return (limits::judge(limits, before.counts(counts).as_ref(), counts), BTreeSet::new());
    };
    let losses =
        kept.losses(&rendered.given, counts, roster, (rendering.states, &before.withdrawn), rendering.now);
    let refused = limits::judge_losses(limits, &losses.losses, counts);
    let lost = refused.iter().filter_map(|refusal| losses.lost.get(&refusal.question));
    let lost = lost.flatten().copied().collect();
    (refused, lost)
}

fn composition(
    rendering: &Rendering<'_>,
    roster: &Roster,
    before: &LastOutput,
    rendered: Rendered,
    (refused, held): (Vec<Refusal>, BTreeSet<String>),
) -> Composition {
    // A list that an operator accepts is the new measure.
    let settled = rendering.limits.is_none();
    let mut kept = Kept::of(&rendered.given, roster, before.kept.as_ref(), &held, rendering.now, settled);
    kept.in_use = rendered.in_use;
    let counts = rendered.counts;
    let result = rendered.text.map(|text| Composed { text, counts, kept, refused, held });
    Composition { result: result.map_err(ComposeError::from), warnings: rendered.warnings }
}

/// A first node that an output keeps, and the one that an output without a memory would have.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptFirst {
    /// The question of the template.
    pub question: String,
    /// The instance-id of the kept node.
    pub node: String,
    /// The instance-id of the node that would be chosen anew.
    pub anew: String,
}

/// The first nodes that this output has only because the last good output had them. Two machines with
/// different histories keep different ones.
pub fn kept_firsts(
    rendering: &Rendering<'_>,
    roster: &Roster,
    before: &LastOutput,
    composed: &Composed,
) -> Result<Vec<KeptFirst>, TemplateError> {
    let firsts = &composed.kept.in_use.first;
    if before.kept.is_none() || firsts.is_empty() {
        return Ok(Vec::new());
    }
    let anew = render(rendering, roster, None)?.in_use.first;
    let differs = |(question, node): (&String, &String)| {
        let anew = anew.get(question).filter(|anew| *anew != node)?;
        Some(KeptFirst { question: question.clone(), node: node.clone(), anew: anew.clone() })
    };
    Ok(firsts.iter().filter_map(differs).collect())
}

/// The number of nodes in the answer to each question; `None` if the template cannot be rendered with this
/// roster.
pub fn counts(rendering: &Rendering<'_>, roster: &Roster) -> Result<Option<Counts>, TemplateError> {
    render(rendering, roster, None).map(|rendered| rendered.text.is_ok().then_some(rendered.counts))
}

fn render(
    rendering: &Rendering<'_>,
    roster: &Roster,
    kept: Option<&Kept>,
) -> Result<Rendered, TemplateError> {
    let previous = kept.map(|kept| kept.previous(roster, rendering.limits.is_none())).unwrap_or_default();
    let mut rendered = template::render(&RenderRequest {
        name: rendering.name,
        lookup: rendering.lookup,
        who: rendering.who,
        facts: rendering.facts,
        roster,
        vars: rendering.vars,
        tree: tree(roster),
        previous: &previous,
        fast_path: rendering.fast_path,
    })?;
    rendered.warnings.extend(unmatched(rendering, &rendered, roster));
    Ok(rendered)
}

/// Warnings about patterns that match no part in scope, of variables that name parts for a question of the
/// template, and of its blocks over parts: they may be misspelled.
fn unmatched(rendering: &Rendering<'_>, rendered: &Rendered, roster: &Roster) -> Vec<String> {
    if roster.nodes.is_empty() {
        return Vec::new();
    }
    let of_variable = |(name, value): (&String, &Value)| {
        let text = match value {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            value => value.as_str()?.to_owned(),
        };
        let patterns = Patterns::parse(&text).ok().filter(|_| name.ends_with("_parts"))?;
        let asked =
            rendered.counts.keys().any(|question| question.split(' ').next() == Some(patterns.text()));
        asked.then(|| (patterns, format!(" (the variable `{name}`)")))
    };
    let mut asked: Vec<(Patterns, String)> = rendering.vars.iter().filter_map(of_variable).collect();
    let whole = rendered.taken.parts.iter().filter(|question| !question.contains(' '));
    for patterns in whole.filter_map(|question| Patterns::parse(question).ok()) {
        if !asked.iter().any(|(known, _)| known.text() == patterns.text()) {
            asked.push((patterns, String::new()));
        }
    }
    let scope = || roster.nodes.iter().filter(|node| rendering.who.sees(node));
    let plays =
        |pattern: &Pattern| scope().any(|node| node.record.part().is_some_and(|part| pattern.matches(&part)));
    let each =
        asked.iter().flat_map(|(patterns, whose)| patterns.iter().map(move |pattern| (pattern, whose)));
    let lost: Vec<_> = each.filter(|(pattern, _)| !plays(pattern)).collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let there: BTreeSet<Cow<'_, str>> = scope().filter_map(|node| node.record.part()).collect();
    let mut shown: Vec<String> = there.iter().take(MAX_SHOWN).map(|part| excerpt(part)).collect();
    if there.len() > MAX_SHOWN {
        shown.push(format!("{} more", there.len() - MAX_SHOWN));
    }
    let there = match shown.is_empty() {
        true => "no node in scope states a part".to_owned(),
        false => format!("the parts in scope are {}", shown.join(", ")),
    };
    let told = |(pattern, whose): &(&Pattern, &String)| {
        let pattern = excerpt(pattern.as_str());
        format!("no node in scope has a part that matches `{pattern}`{whose}; {there}")
    };
    lost.iter().map(told).collect()
}

/// The most parts that a warning names.
const MAX_SHOWN: usize = 10;

/// Missing facts that make the scope wider than the user may expect, one sentence each.
pub fn unscoped(who: &Identity, roster: &Roster) -> Vec<String> {
    let open: Vec<&str> = [("deployment", &who.deployment), ("stacktype", &who.stacktype)]
        .into_iter()
        .filter_map(|(fact, own)| own.is_none().then_some(fact))
        .collect();
    let mut distinct = vec![BTreeSet::new(); open.len()];
    for some in threads::in_parts(roster.nodes.len(), MANY, |part| values(&roster.nodes[part], &open)) {
        distinct.iter_mut().zip(some).for_each(|(all, some)| all.extend(some));
    }
    open.iter()
        .zip(distinct.iter().map(BTreeSet::len))
        .filter(|(_, values)| *values > 1)
        .map(|(fact, values)| {
            format!(
                "no {fact} is given, so nodes of all {values} {fact}s are in scope; --{fact} or the fact `{fact}` narrows it"
            )
        })
        .collect()
}

/// The different values that nodes have of each of these facts.
fn values<'n>(nodes: &'n [Node], facts: &[&str]) -> Vec<BTreeSet<Cow<'n, str>>> {
    let mut values = vec![BTreeSet::new(); facts.len()];
    for node in nodes {
        for (fact, values) in facts.iter().zip(&mut values) {
            values.extend(node.record.text(fact));
        }
    }
    values
}

/// A digest of the rendered records, whichever stores they came from.
fn tree(roster: &Roster) -> String {
    let mut hash = Xxh3Default::new();
    for node in &roster.nodes {
        let packed = node.record.packed_facts();
        hash.update(&(packed.len() as u64).to_le_bytes());
        hash.update(packed);
    }
    format!("{:032x}", hash.digest128())
}
