//! `{{require part="db*"}}` and `{{require part="db*" min=2}}`: an error if there are fewer active nodes.
//! `{{require vars.name "what to do"}}`: the value, or an error with that text.

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};

use super::Shared;
use super::choice::{argument, choose, is_given, other};
use super::refusal::refusal;
use crate::roster::Availability;

pub(super) struct Require<'a>(pub(super) Shared<'a>);

impl HelperDef for Require<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        if let Some(value) = h.param(0) {
            if is_given(value.value(), value.is_value_missing()) {
                return Ok(ScopedJson::Derived(value.value().clone()));
            }
            let advice = if h.param(1).is_some() { format!(": {}", argument(h, 1)?) } else { String::new() };
            return Err(refusal(h, 0, &format!("is required{advice}")));
        }
        let least = match h.hash_get("min") {
            None => 1,
            Some(min) => {
                min.value().as_u64().ok_or_else(|| other("`min` of {{require}} is not a number".into()))?
            }
        };
        let choice = choose(&self.0, h, &["min"])?;
        self.0.count(&choice.question, choice.all.iter().copied());
        let active = choice.given.iter().filter(|member| member.availability == Availability::Active).count();
        if (active as u64) < least {
            let question = choice.question;
            return Err(other(format!(
                "{active} active nodes of `{question}` are in scope, but {least} are required"
            )));
        }
        Ok(ScopedJson::Derived("".into()))
    }
}
