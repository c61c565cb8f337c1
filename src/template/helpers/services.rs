//! `{{#services part="app*"}}…{{else}}…{{/services}}`: once per service of each part of the selected nodes, by name;
//! `part` and `service` are the names.
//!
//! `{{#nodes part=part service=service}}` in it gives the nodes that offer the service. The block itself asks for the
//! nodes of the parts, as `{{#parts}}` does, so a service that no node offers any more is a loss of its own question.

use std::collections::BTreeMap;

use handlebars::{Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError};

use super::Shared;
use super::choice::{choose, choose_service, other};
use super::nodes::write_or_else;
use super::parts::{Members, played, render_inside};
use crate::errors::chain;
use crate::name::Name;
use crate::record::{SERVICE, text};
use crate::roster::Patterns;

pub(super) struct Services<'a>(pub(super) Shared<'a>);

impl HelperDef for Services<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        r: &'reg Handlebars<'reg>,
        ctx: &'rc Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let shared = &self.0;
        let around = choose(shared, h, &[SERVICE])?;
        let wanted = wanted(h)?;
        let mut items: Members<'_, '_> = BTreeMap::new();
        for name in shared.services().filter(|name| wanted.as_ref().is_none_or(|wanted| wanted.matches(name)))
        {
            // Only usable names got here.
            let Ok(service) = Name::parse(name) else { continue };
            let offered = choose_service(shared, h, name)?.given;
            items.extend(played(shared, &offered, Some(&service)).0);
        }
        let (text, _) = render_inside(&around.question, shared, items, h, r, ctx, rc)?;
        shared.count(&around.question, around.all.iter().copied());
        write_or_else(text, h, r, ctx, rc, out)
    }
}

/// The services that the block names. `None` for all.
fn wanted(h: &Helper<'_>) -> Result<Option<Patterns>, RenderError> {
    let Some(value) = h.hash_get(SERVICE).filter(|value| !value.value().is_null()) else { return Ok(None) };
    let names = text(value.value()).ok_or_else(|| other("`service` of {{services}} is not text".into()))?;
    Patterns::parse(&names).map(Some).map_err(|error| other(chain(&error)))
}
