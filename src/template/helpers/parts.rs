//! `{{#parts part="app*"}}…{{/parts}}`: once for each part that the chosen nodes play, by name; `part` is its name.

use std::collections::BTreeSet;

use handlebars::{
    BlockContext, Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, Renderable,
};
use serde_json::json;

use super::Shared;
use super::choice::choose;
use crate::errors::chain;
use crate::name::Name;

pub(super) struct Parts<'a>(pub(super) Shared<'a>);

impl HelperDef for Parts<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        r: &'reg Handlebars<'reg>,
        ctx: &'rc Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let shared = &self.0;
        let choice = choose(shared, h, &[])?;
        let mut parts = BTreeSet::new();
        let mut nameless = BTreeSet::new();
        for member in &choice.given {
            match Name::parse(&member.node.record.part().unwrap_or_default()) {
                Ok(part) => {
                    parts.insert(part);
                }
                Err(error) => {
                    shared.leave_out(member.node, &format!("has an unusable `nodepart`: {}", chain(&error)));
                    nameless.insert(member.node.record.id());
                }
            }
        }
        let given =
            choice.all.iter().map(|member| member.node).filter(|node| !nameless.contains(node.record.id()));
        shared.count(&choice.question, given);
        let (Some(body), false) = (h.template(), parts.is_empty()) else {
            return match h.inverse() {
                Some(inverse) => inverse.render(r, ctx, rc, out),
                None => Ok(()),
            };
        };
        let around = shared.notes().inside.replace(choice.question);
        let last = parts.len() - 1;
        let mut result = Ok(());
        for (index, part) in parts.iter().enumerate() {
            let mut block = BlockContext::new();
            block.set_base_value(json!({ "part": part }));
            block.set_local_var("index", index.into());
            block.set_local_var("first", (index == 0).into());
            block.set_local_var("last", (index == last).into());
            rc.push_block(block);
            result = body.render(r, ctx, rc, out);
            rc.pop_block();
            if result.is_err() {
                break;
            }
        }
        shared.notes().inside = around;
        result
    }
}
