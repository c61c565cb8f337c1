//! What the helpers of one rendering have in common: the nodes they choose from, and what they note down.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use glob::Pattern;

use super::hosts::{self, Claims};
use super::parts::Block;
use crate::excerpt::excerpt;
use crate::roster::{Availability, Identity, Node};
use crate::target::limits::{Count, Counts};
use crate::template::context::Member;

/// Cheap to clone: every helper holds one.
#[derive(Clone)]
pub(in crate::template) struct Shared<'a>(Arc<Inner<'a>>);

struct Inner<'a> {
    who: &'a Identity,
    members: Vec<Member<'a>>,
    /// Whether names in the template may mean something else than usual.
    scoped: bool,
    notes: Mutex<Notes>,
    /// The node whose block is being rendered.
    current: Mutex<Option<&'a Node>>,
    unplain: Arc<Mutex<Option<String>>>,
    /// The members by the part that they play, each in the order of all.
    by_part: OnceLock<ByPart<'a>>,
    /// HAProxy's server ids, one a member.
    ids: OnceLock<Vec<u32>>,
    /// Who has which host name.
    claims: OnceLock<BTreeMap<String, Claims>>,
}

/// The places of members, by the part that they play.
pub(super) type ByPart<'a> = BTreeMap<Cow<'a, str>, Vec<usize>>;

/// What was noted down while rendering.
#[derive(Default)]
pub(super) struct Notes {
    counts: Counts,
    warnings: BTreeSet<String>,
    /// The question of the `#parts` block that is being rendered.
    pub(super) inside: Option<String>,
    /// All parts of that block.
    pub(super) parts: Arc<Block>,
}

impl<'a> Shared<'a> {
    pub(in crate::template) fn new(who: &'a Identity, members: Vec<Member<'a>>, scoped: bool) -> Shared<'a> {
        Shared(Arc::new(Inner {
            who,
            members,
            scoped,
            notes: Mutex::default(),
            current: Mutex::default(),
            unplain: Arc::default(),
            by_part: OnceLock::new(),
            ids: OnceLock::new(),
            claims: OnceLock::new(),
        }))
    }

    pub(super) fn who(&self) -> &'a Identity {
        self.0.who
    }

    pub(super) fn members(&self) -> &[Member<'a>] {
        &self.0.members
    }

    /// The members that play a part whose name matches, in their order. Each part is matched once, not each member, and
    /// one that is named whole is looked up: a question for each part costs no more than its own members.
    pub(super) fn of_part(&self, pattern: &Pattern) -> Vec<&Member<'a>> {
        let by_part = self.0.by_part.get_or_init(|| {
            let mut by_part = ByPart::new();
            for member in &self.0.members {
                if let Some(part) = member.node.record.part() {
                    match by_part.get_mut(&part) {
                        Some(members) => members.push(member.place),
                        None => drop(by_part.insert(part, vec![member.place])),
                    }
                }
            }
            by_part
        });
        let mut places: Cow<'_, [usize]> = Cow::default();
        if pattern.as_str().contains(['*', '?', '[']) {
            let mut found =
                by_part.iter().filter(|(part, _)| pattern.matches(part)).map(|(_, members)| members);
            places = found.next().map_or(places, |members| members.into());
            for members in found {
                places.to_mut().extend_from_slice(members);
            }
            if !places.is_sorted() {
                places.to_mut().sort_unstable();
            }
        } else if let Some(members) = by_part.get(pattern.as_str()) {
            places = members.into();
        }
        places.iter().map(|place| &self.0.members[*place]).collect()
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the block of a node, or goes back to the one around it. Gives the one before.
    pub(super) fn enter(&self, node: Option<&'a Node>) -> Option<&'a Node> {
        std::mem::replace(&mut *self.0.current.lock().unwrap_or_else(PoisonError::into_inner), node)
    }

    /// The node whose block is being rendered.
    pub(super) fn current(&self) -> Option<&'a Node> {
        *self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node whose block is being rendered states a port that is none.
    pub(super) fn states_a_wrong_port(&self) -> bool {
        self.current().is_some_and(|node| node.port.is_err())
    }

    /// The server id of a node, unique among all nodes.
    pub(super) fn server_id(&self, instance_id: &str) -> Option<u32> {
        let id = |member: &Member<'a>| member.node.record.id().as_str();
        let place = self.members().binary_search_by(|member| id(member).cmp(instance_id)).ok()?;
        Some(self.server_id_of(&self.members()[place]))
    }

    /// The server id of a member.
    pub(super) fn server_id_of(&self, member: &Member<'a>) -> u32 {
        let ids = self.0.ids.get_or_init(|| {
            // The members come in the order of their names, each once.
            let names = self.0.members.iter().map(|member| member.node.record.id().as_str());
            crate::escape::haproxy::assign_ids_in_order(names)
        });
        ids[member.place]
    }

    /// Whether names in the template may mean something else than usual.
    pub(super) fn is_scoped(&self) -> bool {
        self.0.scoped
    }

    /// How many nodes in scope have a host name.
    pub(super) fn claims(&self, name: &str) -> Claims {
        let claims = self.0.claims.get_or_init(|| hosts::claims(&self.0.members));
        claims.get(&name.to_ascii_lowercase()).copied().unwrap_or_default()
    }

    /// Notes that a node is not in the output, and why.
    pub(in crate::template) fn leave_out(&self, node: &Node, reason: &str) {
        let part = node.record.part().map(|part| format!(" ({})", excerpt(&part))).unwrap_or_default();
        self.warn(format!(
            "{}: {}: left out node {}{part}: {reason}",
            node.store,
            node.path,
            node.record.id()
        ));
    }

    /// Notes something that the user should know.
    pub(super) fn warn(&self, warning: String) {
        self.notes().warnings.insert(warning);
    }

    /// Notes how many nodes a question got. Of two answers to one question the smaller counts.
    pub(super) fn count<'n>(&self, question: &str, given: impl Iterator<Item = &'n Node>) {
        let mut count = Count::default();
        for node in given {
            match node.availability {
                Availability::Active => count.active += 1,
                Availability::Draining | Availability::Down => count.leaving += 1,
                Availability::Absent => {}
            }
        }
        let mut notes = self.notes();
        let question = match &notes.inside {
            Some(parts) if parts != question => format!("{parts}/{question}"),
            _ => question.to_owned(),
        };
        notes
            .counts
            .entry(question)
            .and_modify(|known| {
                if count.active < known.active {
                    *known = count;
                }
            })
            .or_insert(count);
    }

    /// What `{{…}}` does to a value: nothing. One with control characters is remembered, and refused afterwards, since
    /// a newline from a record would be a line of its own in most formats. `{{{…}}}` and helpers do not come here.
    pub(in crate::template) fn plain_text(&self) -> impl Fn(&str) -> String + Send + Sync + 'static {
        let unplain = Arc::clone(&self.0.unplain);
        move |value| {
            if value.contains(char::is_control) {
                unplain.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| excerpt(value));
            }
            value.to_owned()
        }
    }

    /// The beginning of the first value with control characters since the last call.
    pub(in crate::template) fn take_unplain(&self) -> Option<String> {
        self.0.unplain.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts back what was taken.
    pub(super) fn put_unplain(&self, value: Option<String>) {
        *self.0.unplain.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// All counts and warnings. A template that asked nothing, and lists `nodes` by itself, counts as asking for all.
    pub(in crate::template) fn finish(&self) -> (Counts, Vec<String>) {
        if self.notes().counts.is_empty() {
            self.count("*", self.members().iter().filter(|member| member.in_scope).map(|member| member.node));
        }
        let mut notes = self.notes();
        (std::mem::take(&mut notes.counts), std::mem::take(&mut notes.warnings).into_iter().collect())
    }
}
