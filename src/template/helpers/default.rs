//! `{{default vars.port 80}}`: the first argument that is there and not empty.

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};

use super::choice::{is_given, other};

pub(super) struct Default;

impl HelperDef for Default {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        h.params()
            .iter()
            .find(|param| is_given(param.value(), param.is_value_missing()))
            .map(|param| ScopedJson::Derived(param.value().clone()))
            .ok_or_else(|| other("none of the arguments of {{default}} is there".into()))
    }
}
