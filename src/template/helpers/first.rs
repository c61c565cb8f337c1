//! The first active node, by instance-id: `{{#first part="db*"}}…{{else}}…{{/first}}`, `{{first part="db*"}}`
//! (its address), `{{first "port" part="db*"}}`, and `(first part="db*")` for other helpers.
//!
//! With `by="nodepart"`, the order is by that fact and then by instance-id: `db1` before `db2`, whatever
//! their ids.

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
use crate::template::context::{Member, shape};

pub(super) struct First<'a>(pub(super) Shared<'a>);

impl<'a> First<'a> {
    /// The selected nodes, and the active ones among them in the requested order.
    fn choose<'s>(&'s self, h: &Helper<'_>) -> Result<(Choice<'s, 'a>, Vec<&'s Member<'a>>), RenderError> {
        let choice = choose(&self.0, h, &["by"])?;
        let mut active: Vec<_> = choice
            .given
            .iter()
            .filter(|member| member.availability == Availability::Active)
            .copied()
            .collect();
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
        self.0.count_for_first(&choice.question, choice.all.iter().copied());
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
        self.0.count_for_first(&choice.question, given);
        write_or_else(text, h, r, ctx, rc, out)
    }
}
