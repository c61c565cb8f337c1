//! The first active node, by instance-id: `{{#first part="db*"}}…{{else}}…{{/first}}`, `{{first part="db*"}}`
//! (its address), `{{first "port" part="db*"}}`, and `(first part="db*")` for other helpers.
//!
//! With `by="nodepart"`, the order is by that fact and then by instance-id: `db1` before `db2`, whatever
//! their ids.
//!
//! With `as_role="primary"`, the nodes' fact `role` decides if any node states one: only a primary is the first, and
//! two of them are an error. A replica must never take the place of a primary that is late. With `as_role="replica"`,
//! only replicas are considered.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, ScopedJson,
};
use serde_json::Value;

use super::Shared;
use super::choice::{Choice, argument, choose, other};
use super::escape::LineEscape;
use super::natural_order::natural_order;
use super::nodes::{render_each, write_or_else};
use crate::record::text;
use crate::roster::Availability;
use crate::sanitize::excerpt;
use crate::template::context::{Member, shape};

pub(super) struct First<'a>(pub(super) Shared<'a>);

impl<'a> First<'a> {
    /// The selected nodes, and the active ones among them in the requested order.
    fn choose<'s>(&'s self, h: &Helper<'_>) -> Result<(Choice<'s, 'a>, Vec<&'s Member<'a>>), RenderError> {
        let role = Role::wanted(h)?;
        let mut choice = choose(&self.0, h, &["by", AS_ROLE])?;
        let mut active: Vec<_> = choice
            .given
            .iter()
            .filter(|member| member.availability == Availability::Active)
            .copied()
            .collect();
        if let Some(role) = role {
            role.restrict(&self.0, &mut choice, &mut active)?;
        }
        if let Some(fact) = h.hash_get("by") {
            let fact = text(fact.value()).ok_or_else(|| other("`by` of {{first}} is not text".into()))?;
            // A node without that fact comes last.
            active.sort_by(|a, b| match (a.node.record.text(&fact), b.node.record.text(&fact)) {
                (Some(a), Some(b)) => natural_order(&a, &b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            });
        }
        // The node in use stays while it is active: a new node could choose any name.
        let in_use = self.0.previous().in_use.first.get(&self.0.question(&choice.question));
        let place = active
            .iter()
            .position(|member| Some(member.node.record.id().as_str()) == in_use.map(String::as_str));
        if let Some(place) = place {
            active[..=place].rotate_right(1);
        }
        Ok((choice, active))
    }

    /// Counts the nodes. Most fleets state no roles, and have no answer without a node: a question for replicas
    /// that none of them has asked must meet no limit.
    fn count<'m>(&self, choice: &Choice<'_, 'a>, given: impl Iterator<Item = &'m Member<'a>>)
    where
        'a: 'm,
    {
        let was_asked = || self.0.previous().in_use.first.contains_key(&self.0.question(&choice.question));
        if !choice.all.is_empty() || !choice.question.ends_with(REPLICAS) || was_asked() {
            self.0.count_for_first(&choice.question, given);
        }
    }

    /// Records which node is in use. If none is, the last one is remembered.
    fn note(&self, question: &str, first: Option<&Member<'_>>) {
        let question = self.0.question(question);
        let id = match first {
            Some(first) => Some(first.node.record.id().to_string()),
            None => self.0.previous().in_use.first.get(&question).cloned(),
        };
        if let Some(id) = id {
            self.0.uses(|in_use| drop(in_use.first.insert(question, id)));
        }
    }

    /// The requested value: a fact of the first active node, or the whole node. It never comes from another
    /// node: an address and a port that are read one after the other must belong together.
    fn value(&self, h: &Helper<'_>, fact: Option<&str>) -> Result<Value, RenderError> {
        let (choice, active) = self.choose(h)?;
        self.count(&choice, choice.all.iter().copied());
        self.note(&choice.question, active.first().copied());
        let (first, fact) = match (active.first(), fact) {
            (None, None) => return Ok(Value::Null),
            (None, Some(_)) => {
                return Err(other(format!("no active node of `{}` is in scope", choice.question)));
            }
            (Some(first), None) => return Ok(shape(first.node)),
            (Some(first), Some(fact)) => (first, fact),
        };
        shape(first.node).get(fact).cloned().ok_or_else(|| {
            let id = first.node.record.id();
            other(format!("the first active node of `{}`, {id}, has no usable `{fact}`", choice.question))
        })
    }
}

/// The fact that says which database may be written to.
const ROLE: &str = "role";

/// The argument that names a role.
const AS_ROLE: &str = "as_role";

/// Ends the question for replicas.
const REPLICAS: &str = " role=replica";

/// A role of a database.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Primary,
    Replica,
}

impl Role {
    const ALL: [(&'static str, Role); 2] = [("primary", Role::Primary), ("replica", Role::Replica)];

    /// The role that the block asks for.
    fn wanted(h: &Helper<'_>) -> Result<Option<Role>, RenderError> {
        let Some(value) = h.hash_get(AS_ROLE) else { return Ok(None) };
        let role = text(value.value()).and_then(|word| Role::of(&word));
        role.map(Some)
            .ok_or_else(|| other("`as_role` of {{first}} is neither `primary` nor `replica`".into()))
    }

    fn of(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, role)| role)
    }

    /// Leaves the nodes that have this role.
    fn restrict<'s, 'a>(
        self,
        shared: &Shared<'a>,
        choice: &mut Choice<'s, 'a>,
        active: &mut Vec<&'s Member<'a>>,
    ) -> Result<(), RenderError> {
        let stated = |member: &Member<'a>| {
            let role = member.node.record.text(ROLE).filter(|role| !role.is_empty())?;
            Some((Role::of(&role), role))
        };
        let has = |member: &Member<'a>| stated(member).is_some_and(|(role, _)| role == Some(self));
        let mut is_stated = false;
        for member in &choice.all {
            let Some((known, role)) = stated(member) else { continue };
            is_stated = true;
            if known.is_none() {
                let (store, path) = (&member.node.store, &member.node.path);
                let role = excerpt(&role);
                shared.warn(format!(
                    "{store}: {path}: its `role` is `{role}`, and neither `primary` nor `replica`"
                ));
            }
        }
        if !is_stated && self == Role::Primary {
            return Ok(());
        }
        let there = active.len();
        active.retain(|member| has(member));
        if self == Role::Primary && there > 0 && active.is_empty() {
            let question = &choice.question;
            shared.warn(format!(
                "no active node of `{question}` states the role `primary`, and no other one takes its place"
            ));
        }
        if self == Role::Replica {
            choice.all.retain(|member| has(member));
            choice.question.push_str(REPLICAS);
            return Ok(());
        }
        let single = shared.without_twins(active);
        let names = |members: &[&Member<'a>]| {
            members.iter().map(|member| member.node.record.id().as_str()).collect::<Vec<_>>().join(" and ")
        };
        match single.as_deref().unwrap_or(active) {
            [] | [_] => Ok(()),
            several => Err(other(format!(
                "{} nodes of `{}` state the role `primary`: {}",
                several.len(),
                choice.question,
                names(several)
            ))),
        }
    }
}

impl HelperDef for First<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let fact = h.param(0).map(|_| argument(h, 0)).transpose()?;
        self.value(h, fact.as_deref()).map(ScopedJson::Derived)
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        r: &'reg Handlebars<'reg>,
        ctx: &'rc Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        if !h.is_block() {
            let fact = if h.param(0).is_some() { argument(h, 0)? } else { "address".to_owned() };
            let value = self.value(h, Some(&fact))?;
            let text = text(&value).ok_or_else(|| other(format!("`{fact}` is not text")))?;
            return LineEscape(&text).call(h, r, ctx, rc, out);
        }
        let (choice, active) = self.choose(h)?;
        let (text, left_out) = render_each(&self.0, active.clone(), 1, h, r, ctx, rc)?;
        let used = active.iter().find(|member| !left_out.contains(member.node.record.id()));
        self.note(&choice.question, used.copied());
        let given = choice.all.iter().copied().filter(|member| !left_out.contains(member.node.record.id()));
        self.count(&choice, given);
        write_or_else(text, h, r, ctx, rc, out)
    }
}
