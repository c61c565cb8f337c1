//! What the helpers of one rendering share: the nodes they select from, and what they record.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::block::Block;
use super::hosts::{Claims, Names};
use crate::escape::haproxy::{server_id, unique_but_kept};
use crate::output::limits::{Count, Counts};
use crate::roster::{Availability, Identity, Node, Patterns};
use crate::sanitize::excerpt;
use crate::template::context::Member;
use crate::template::{AnswerNodes, Taken};
use crate::template::{InUse, Previous};
use crate::threads;

/// Fewer members do not pay for a second thread. The tests use a low number, so that they start threads.
pub(super) const MANY: usize = if cfg!(test) { 2 } else { 2_000 };

/// Cheap to clone: every helper holds one.
#[derive(Clone)]
pub(in crate::template) struct Shared<'a>(Arc<Inner<'a>>);

/// Nodes to choose from: all of them, or those that offer a service, as that service.
#[derive(Default)]
pub(in crate::template) struct Pool<'a> {
    /// By instance-id.
    pub(in crate::template) members: Vec<Member<'a>>,
    /// The members that are one server with others, each with the first of them, by roster index.
    pub(in crate::template) twins: BTreeMap<u32, u32>,
    parts: OnceLock<Parts<'a>>,
}

struct Inner<'a> {
    who: &'a Identity,
    nodes: Pool<'a>,
    services: BTreeMap<&'a str, Pool<'a>>,
    /// What is known of the last good output.
    previous: &'a Previous,
    /// Whether names in the template may have another meaning than usual.
    scoped: bool,
    notes: Mutex<Notes>,
    /// The node whose block is being rendered.
    current: Mutex<Option<&'a Node>>,
    unplain: Arc<Mutex<Option<String>>>,
    /// The server ids for HAProxy, one per member.
    ids: OnceLock<Vec<u32>>,
    /// The claims on host names.
    names: OnceLock<Names>,
}

/// Which member has which part.
struct Parts<'a> {
    /// The indexes of members by part, each list in the order of members.
    by_name: BTreeMap<Cow<'a, str>, Vec<usize>>,
    /// The part of each member, if it has one.
    of: Vec<Option<Cow<'a, str>>>,
}

/// What was recorded while rendering.
#[derive(Default)]
pub(super) struct Notes {
    counts: Counts,
    /// The active nodes behind the counts.
    given: AnswerNodes,
    pub(super) taken: Taken,
    warnings: BTreeSet<String>,
    in_use: InUse,
    /// The question of the `#parts` block that is being rendered.
    pub(super) inside: Option<String>,
    /// All parts of that block.
    pub(super) parts: Arc<Block>,
    /// The ids of the backends of all parts so far.
    pub(super) part_ids: BTreeSet<u32>,
}

impl<'a> Pool<'a> {
    pub(in crate::template) fn new(members: Vec<Member<'a>>, twins: BTreeMap<u32, u32>) -> Pool<'a> {
        Pool { members, twins, parts: OnceLock::new() }
    }

    /// The members whose part matches, in order. Matches each part once instead of each member, and looks up
    /// parts that are named in full. So a question per part costs no more than its own members.
    pub(super) fn of_part<'s>(&'s self, patterns: &Patterns) -> Vec<&'s Member<'a>> {
        let by_name = &self.parts().by_name;
        let mut places: Cow<'_, [usize]> = Cow::default();
        let mut add = |members: &'s [usize]| match places.is_empty() {
            true => places = members.into(),
            false => places.to_mut().extend_from_slice(members),
        };
        match patterns.are_literals() {
            true => {
                let names: BTreeSet<&str> = patterns.literals().collect();
                names.into_iter().filter_map(|name| by_name.get(name)).for_each(|members| add(members));
            }
            false => {
                let found = by_name.iter().filter(|(part, _)| patterns.matches(part));
                found.for_each(|(_, members)| add(members));
            }
        }
        if !places.is_sorted() {
            places.to_mut().sort_unstable();
        }
        places.iter().map(|place| &self.members[*place]).collect()
    }

    fn parts(&self) -> &Parts<'a> {
        self.parts.get_or_init(|| {
            let of =
                self.in_parts(|members| members.map(|member| member.node.record.part()).collect::<Vec<_>>());
            let mut parts = Parts { by_name: BTreeMap::new(), of: of.concat() };
            for (place, part) in parts.of.iter().enumerate() {
                match part.as_ref().map(|part| (part, parts.by_name.get_mut(part))) {
                    Some((_, Some(places))) => places.push(place),
                    Some((part, None)) => drop(parts.by_name.insert(part.clone(), vec![place])),
                    None => {}
                }
            }
            parts
        })
    }

    /// Runs a function on all members, in as many threads as pay.
    fn in_parts<T: Send>(&self, act: impl Fn(std::slice::Iter<'_, Member<'a>>) -> T + Sync) -> Vec<T> {
        threads::in_parts(self.members.len(), MANY, |part| act(self.members[part].iter()))
    }
}

impl<'a> Shared<'a> {
    pub(in crate::template) fn new(
        who: &'a Identity,
        nodes: Pool<'a>,
        services: BTreeMap<&'a str, Pool<'a>>,
        scoped: bool,
        previous: &'a Previous,
    ) -> Shared<'a> {
        Shared(Arc::new(Inner {
            who,
            nodes,
            services,
            scoped,
            previous,
            notes: Mutex::default(),
            current: Mutex::default(),
            unplain: Arc::default(),
            ids: OnceLock::new(),
            names: OnceLock::new(),
        }))
    }

    pub(super) fn who(&self) -> &'a Identity {
        self.0.who
    }

    pub(super) fn members(&self) -> &[Member<'a>] {
        &self.0.nodes.members
    }

    /// The names of all services that nodes offer.
    pub(super) fn services(&self) -> impl Iterator<Item = &'a str> {
        self.0.services.keys().copied()
    }

    /// The nodes to choose from: those that offer a service, or all.
    pub(super) fn pool(&self, service: Option<&str>) -> Option<&Pool<'a>> {
        match service {
            Some(service) => self.0.services.get(service),
            None => Some(&self.0.nodes),
        }
    }

    fn pool_of(&self, member: &Member<'a>) -> Option<&Pool<'a>> {
        self.pool(member.node.service.as_ref().map(|name| name.as_str()))
    }

    /// The part of a member. Unlike its record, this is close in memory.
    pub(super) fn part_of(&self, member: &Member<'a>) -> Option<&str> {
        self.pool_of(member)?.parts().of.get(member.place)?.as_deref()
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the block of a node, or returns to the enclosing one. Returns the previous node.
    pub(super) fn enter(&self, node: Option<&'a Node>) -> Option<&'a Node> {
        std::mem::replace(&mut *self.0.current.lock().unwrap_or_else(PoisonError::into_inner), node)
    }

    /// The node whose block is being rendered.
    pub(super) fn current(&self) -> Option<&'a Node> {
        *self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node whose block is being rendered states an invalid port.
    pub(super) fn states_a_wrong_port(&self) -> bool {
        self.current().is_some_and(|node| node.port.is_err())
    }

    /// The server id of a node, unique among all nodes.
    pub(super) fn server_id(&self, instance_id: &str) -> Option<u32> {
        let id = |member: &Member<'a>| member.node.record.id().as_str();
        let place = self.members().binary_search_by(|member| id(member).cmp(instance_id)).ok()?;
        Some(self.server_id_of(&self.members()[place]))
    }

    /// The server id of a member. A service has the one of its node, which is in no backend twice.
    pub(super) fn server_id_of(&self, member: &Member<'a>) -> u32 {
        if member.node.service.is_some() {
            let id = member.node.record.id().as_str();
            return self.server_id(id).unwrap_or_else(|| server_id(id));
        }
        let ids = self.0.ids.get_or_init(|| {
            // The members are in the order of their names, and each occurs once.
            let members = self.members();
            unique_but_kept(
                self.hashes(),
                |place| self.previous().in_use.servers.get(members[place].node.record.id().as_str()).copied(),
                |place| self.previous().had(members[place].at),
            )
        });
        ids[member.place]
    }

    /// The ids that follow from the members' names.
    fn hashes(&self) -> Vec<u32> {
        let id = |member: &Member<'a>| server_id(member.node.record.id().as_str());
        self.0.nodes.in_parts(|members| members.map(id).collect::<Vec<_>>()).concat()
    }

    /// What is known of the last good output.
    pub(super) fn previous(&self) -> &'a Previous {
        self.0.previous
    }

    /// Records that the output has something in use.
    pub(super) fn uses(&self, note: impl FnOnce(&mut InUse)) {
        note(&mut self.notes().in_use);
    }

    /// The question as limits and messages name it here: inside `{{#parts}}`, each part has its own.
    pub(super) fn question(&self, question: &str) -> String {
        match &self.notes().inside {
            Some(parts) if parts != question => format!("{parts}/{question}"),
            _ => question.to_owned(),
        }
    }

    /// Whether names in the template may have another meaning than usual.
    pub(super) fn is_scoped(&self) -> bool {
        self.0.scoped
    }

    /// How many nodes in scope claim a host name.
    pub(super) fn claims(&self, name: &str) -> Claims {
        self.names().claims(name)
    }

    /// Of several nodes that claim a host name, the one that had it first.
    pub(super) fn holder(&self, name: &str) -> Option<&str> {
        self.names().holder(name)
    }

    fn names(&self) -> &Names {
        self.0.names.get_or_init(|| Names::of(self.members(), self.0.previous))
    }

    /// Keeps only the first of members that are one server. `None` if there are no such members.
    pub(super) fn without_twins<'m>(&self, members: &[&'m Member<'a>]) -> Option<Vec<&'m Member<'a>>> {
        let has_none = |member: &&Member<'a>| self.pool_of(member).is_none_or(|pool| pool.twins.is_empty());
        if members.first().is_none_or(has_none) {
            return None;
        }
        let twins = self.pool_of(members.first()?).map(|pool| &pool.twins)?;
        let mut seen = BTreeSet::new();
        let is_first = |member: &&&Member<'a>| {
            member.availability != Availability::Active
                || twins.get(&member.at).is_none_or(|server| seen.insert(*server))
        };
        let single: Vec<_> = members.iter().filter(is_first).copied().collect();
        (single.len() < members.len()).then_some(single)
    }

    /// Records that a node is not in the output, and why.
    pub(in crate::template) fn leave_out(&self, node: &Node, reason: &str) {
        let part = node.record.part().map(|part| format!(" ({})", excerpt(&part))).unwrap_or_default();
        let service = node.service.as_ref().map(|name| format!("service {name} of ")).unwrap_or_default();
        self.warn(format!(
            "{}: {}: left out {service}node {}{part}: {reason}",
            node.store,
            node.path,
            node.record.id()
        ));
    }

    /// Records a warning for the user.
    pub(super) fn warn(&self, warning: String) {
        self.notes().warnings.insert(warning);
    }

    /// Records how many nodes a question got. Of two answers to one question, the smaller is kept.
    pub(super) fn count<'m>(&self, question: &str, given: impl Iterator<Item = &'m Member<'a>>)
    where
        'a: 'm,
    {
        self.count_for_first(question, given);
        let question = self.question(question);
        self.notes().taken.whole.insert(question);
    }

    /// The same for a question of which only the first node gets into the text.
    pub(super) fn count_for_first<'m>(&self, question: &str, given: impl Iterator<Item = &'m Member<'a>>)
    where
        'a: 'm,
    {
        let mut count = Count::default();
        let (mut active, mut leaving) = (Vec::new(), Vec::new());
        for member in given {
            match member.availability {
                Availability::Active => {
                    count.active += 1;
                    active.push(member.at);
                }
                Availability::Draining | Availability::Down => {
                    count.leaving += 1;
                    leaving.push(member.at);
                }
                Availability::Absent => {}
            }
        }
        let question = self.question(question);
        let mut notes = self.notes();
        if notes.counts.get(&question).is_none_or(|known| count.active < known.active) {
            notes.counts.insert(question.clone(), count);
            match leaving.is_empty() {
                true => drop(notes.taken.leaving.remove(&question)),
                false => drop(notes.taken.leaving.insert(question.clone(), leaving)),
            }
            notes.given.insert(question, active);
        }
    }

    /// What `{{…}}` does to a value: it changes nothing. A value with control characters is recorded and
    /// refused afterwards, since a newline from a record would start a new line in most formats. `{{{…}}}`
    /// and helpers do not pass through here.
    pub(in crate::template) fn plain_text(&self) -> impl Fn(&str) -> String + Send + Sync + 'static {
        let unplain = Arc::clone(&self.0.unplain);
        move |value| {
            if value.contains(char::is_control) {
                unplain.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| excerpt(value));
            }
            value.to_owned()
        }
    }

    /// The start of the first value with control characters since the last call.
    pub(in crate::template) fn take_unplain(&self) -> Option<String> {
        self.0.unplain.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts back what `take_unplain` took.
    pub(super) fn put_unplain(&self, value: Option<String>) {
        *self.0.unplain.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// All counts, the nodes behind them, what the questions take, and the warnings. A template that asks no question but lists
    /// `nodes` itself is treated as if it asked for all.
    pub(in crate::template) fn finish(&self) -> (Counts, AnswerNodes, Taken, Vec<String>, InUse) {
        let any = !self.notes().counts.is_empty();
        if !any {
            self.count("*", self.members().iter().filter(|member| member.in_scope));
        }
        if let Some(ids) = self.0.ids.get() {
            let all = self.members().iter().zip(self.hashes()).zip(ids);
            let others = all.filter(|((_, hash), id)| hash != *id);
            let others = others.map(|((member, _), id)| (member.node.record.id().to_string(), *id));
            self.notes().in_use.servers.extend(others);
        }
        if let Some(names) = self.0.names.get() {
            self.notes().in_use.names.clone_from(names.holders());
        }
        let mut notes = self.notes();
        let notes = std::mem::take(&mut *notes);
        let taken = Taken { any, ..notes.taken };
        (notes.counts, notes.given, taken, notes.warnings.into_iter().collect(), notes.in_use)
    }
}
