//! `{{#parts part="app*"}}…{{else}}…{{/parts}}`: once for each part that the chosen nodes play, by name; `part` is its
//! name.
//!
//! With `ignore_case=true`, of names that differ only in case just one counts, for formats that cannot tell them apart.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use handlebars::{
    BlockContext, Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    Renderable,
};
use serde_json::json;

use super::Shared;
use super::choice::choose;
use crate::errors::chain;
use crate::name::Name;
use crate::roster::Availability;
use crate::template::context::Member;

pub(super) struct Parts<'a>(pub(super) Shared<'a>);

/// A part that somebody plays.
#[derive(Debug, Clone)]
pub(super) struct Played {
    pub(super) part: Name,
    /// How many nodes of it may be used.
    pub(super) active: usize,
}

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
        let choice = choose(shared, h, &["ignore_case"])?;
        let (mut parts, mut left_out) = played(shared, &choice.given);
        if h.hash_get("ignore_case").is_some_and(|ignore| ignore.value() == true) {
            left_out.extend(drop_same_in_lower_case(shared, &mut parts));
        }
        let given =
            choice.all.iter().map(|member| member.node).filter(|node| !left_out.contains(node.record.id()));
        shared.count(&choice.question, given);
        let (Some(body), false) = (h.template(), parts.is_empty()) else {
            return match h.inverse() {
                Some(inverse) => inverse.render(r, ctx, rc, out),
                None => Ok(()),
            };
        };
        let parts: Vec<Played> = parts
            .into_iter()
            .map(|(part, members)| {
                let active = |member: &&&Member<'_>| member.node.availability == Availability::Active;
                Played { part, active: members.iter().filter(active).count() }
            })
            .collect();
        let (around, parts_around) = {
            let mut notes = shared.notes();
            (notes.inside.replace(choice.question), std::mem::replace(&mut notes.parts, parts.clone()))
        };
        let result = render_each(&parts, |block| {
            rc.push_block(block);
            let result = body.render(r, ctx, rc, out);
            rc.pop_block();
            result
        });
        let mut notes = shared.notes();
        notes.inside = around;
        notes.parts = parts_around;
        result
    }
}

fn render_each<'rc>(
    parts: &[Played],
    mut render: impl FnMut(BlockContext<'rc>) -> HelperResult,
) -> Result<(), RenderError> {
    for (index, Played { part, .. }) in parts.iter().enumerate() {
        let mut block = BlockContext::new();
        block.set_base_value(json!({ "part": part }));
        block.set_local_var("index", index.into());
        block.set_local_var("first", (index == 0).into());
        block.set_local_var("last", (index + 1 == parts.len()).into());
        render(block)?;
    }
    Ok(())
}

type Members<'s, 'a> = BTreeMap<Name, Vec<&'s Member<'a>>>;
type LeftOut<'s> = BTreeSet<&'s Name>;

/// The parts with those who play them, and the nodes whose part has no usable name.
fn played<'s, 'a>(shared: &Shared<'a>, given: &[&'s Member<'a>]) -> (Members<'s, 'a>, LeftOut<'s>) {
    let mut parts: Members<'s, 'a> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    for member in given {
        match Name::parse(&member.node.record.part().unwrap_or_default()) {
            Ok(part) => parts.entry(part).or_default().push(member),
            Err(error) => {
                shared.leave_out(member.node, &format!("has an unusable `nodepart`: {}", chain(&error)));
                left_out.insert(member.node.record.id());
            }
        }
    }
    (parts, left_out)
}

/// Keeps one of the parts whose names are the same in lower case: the one that most nodes play, so that a single node
/// cannot put itself in the place of others. Gives the nodes of the rest.
fn drop_same_in_lower_case<'s>(shared: &Shared<'_>, parts: &mut Members<'s, '_>) -> LeftOut<'s> {
    let mut best: BTreeMap<String, (&Name, usize)> = BTreeMap::new();
    for (part, members) in parts.iter() {
        let rival = best.entry(part.as_str().to_ascii_lowercase()).or_insert((part, members.len()));
        if (Reverse(members.len()), part) < (Reverse(rival.1), rival.0) {
            *rival = (part, members.len());
        }
    }
    let kept: BTreeSet<Name> = best.into_values().map(|(part, _)| part.clone()).collect();
    let mut left_out = BTreeSet::new();
    parts.retain(|part, members| {
        let keep = kept.contains(part);
        if !keep {
            for member in members.iter() {
                shared.leave_out(member.node, "its part differs from another one only in case");
                left_out.insert(member.node.record.id());
            }
        }
        keep
    });
    left_out
}
