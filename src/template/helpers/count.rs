//! `{{count part="app*"}}`: the number of nodes that `{{#nodes}}` would list for the same arguments.

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};

use super::Shared;
use super::choice::choose;

pub(super) struct Count<'a>(pub(super) Shared<'a>);

impl HelperDef for Count<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let choice = choose(&self.0, h, &[])?;
        self.0.count(&choice.question, choice.all.iter().copied());
        Ok(ScopedJson::Derived(choice.given.len().into()))
    }
}
