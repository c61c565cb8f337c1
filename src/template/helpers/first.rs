//! The first active node, by instance-id:
//! `{{#first part="db*"}}…{{else}}…{{/first}}`, `{{first part="db*"}}` (its address),
//! `{{first "port" part="db*"}}`, and `(first part="db*")` for other helpers.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, ScopedJson,
};
use serde_json::Value;

use super::Shared;
use super::choice::{Choice, argument, choose, other};
use super::nodes::{render_each, write_or_else};
use crate::roster::Availability;
use crate::template::context::shape;

pub(super) struct First<'a>(pub(super) Shared<'a>);

impl First<'_> {
    /// The value that is asked for: a fact of the first active node that has it, or the whole node.
    fn value(&self, choice: &Choice<'_, '_>, fact: Option<&str>) -> Result<Value, RenderError> {
        let mut active =
            choice.given.iter().filter(|member| member.node.availability == Availability::Active);
        let Some(fact) = fact else {
            return Ok(active.next().map_or(Value::Null, |member| shape(member.node)));
        };
        active
            .find_map(|member| shape(member.node).get(fact).cloned())
            .ok_or_else(|| other(format!("no active node of `{}` has a `{fact}`", choice.question)))
    }

    fn choose<'s>(&'s self, h: &Helper<'_>) -> Result<Choice<'s, 's>, RenderError> {
        let choice = choose(&self.0, h, &[])?;
        self.0.count(&choice.question, choice.all.iter().map(|member| member.node));
        Ok(choice)
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
        self.value(&self.choose(h)?, fact.as_deref()).map(ScopedJson::Derived)
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
            let value = self.value(&self.choose(h)?, Some(&fact))?;
            let text = crate::record::text(&value).ok_or_else(|| other(format!("`{fact}` is no text")))?;
            return Ok(out.write(&r.get_escape_fn()(&text))?);
        }
        let choice = choose(&self.0, h, &[])?;
        let active = choice
            .given
            .iter()
            .filter(|member| member.node.availability == Availability::Active)
            .copied()
            .collect();
        let (text, left_out) = render_each(&self.0, active, 1, h, r, ctx, rc)?;
        let given =
            choice.all.iter().map(|member| member.node).filter(|node| !left_out.contains(node.record.id()));
        self.0.count(&choice.question, given);
        write_or_else(text, h, r, ctx, rc, out)
    }
}
