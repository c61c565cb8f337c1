//! `{{#parts part="app*"}}…{{else}}…{{/parts}}`: once per part of the selected nodes, by name; `part` is its
//! name.
//!
//! If the body cannot be rendered for a part, the part is left out with its nodes, and these are reported.
//! With `ignore_case=true`, only one of several names that differ only in case is used, for formats that
//! cannot distinguish them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use handlebars::{
    BlockContext, Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    Renderable, StringOutput, Template,
};
use serde_json::{Map, Value, json};

use super::Shared;
use super::attribution::{attribute_part_error, for_none};
use super::block::{Block, Item, Played};
use super::choice::choose;
use super::nodes::{LeftOut, write_or_else};
use crate::errors::chain;
use crate::name::Name;
use crate::roster::Availability;
use crate::template::context::{Member, VARS};

pub(super) struct Parts<'a>(pub(super) Shared<'a>);

/// The parts, or services of parts, with their nodes.
pub(super) type Members<'s, 'a> = BTreeMap<Item, Vec<&'s Member<'a>>>;

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
        let (mut parts, mut left_out) = played(shared, &choice.given, None);
        if h.hash_get("ignore_case").is_some_and(|ignore| ignore.value() == true) {
            left_out.extend(drop_same_in_lower_case(shared, &mut parts));
        }
        let (text, failed) = render_inside(&choice.question, shared, parts, h, r, ctx, rc)?;
        left_out.extend(failed);
        let given = choice.all.iter().copied().filter(|member| !left_out.contains(member.node.record.id()));
        shared.count(&choice.question, given);
        write_or_else(text, h, r, ctx, rc, out)
    }
}

/// Renders the body for each item, inside a block that asks that question. `None` if no item contributed.
pub(super) fn render_inside<'reg: 'rc, 'rc, 's>(
    question: &str,
    shared: &Shared<'_>,
    items: Members<'s, '_>,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
) -> Result<(Option<String>, LeftOut<'s>), RenderError> {
    let (around, parts_around) = {
        let mut notes = shared.notes();
        notes.taken.parts.insert(question.to_owned());
        (notes.inside.replace(question.to_owned()), std::mem::take(&mut notes.parts))
    };
    let rendered = render_each(shared, items, h, r, ctx, rc);
    let mut notes = shared.notes();
    notes.inside = around;
    notes.parts = parts_around;
    rendered
}

fn render_each<'reg: 'rc, 'rc, 's>(
    shared: &Shared<'_>,
    mut parts: Members<'s, '_>,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
) -> Result<(Option<String>, LeftOut<'s>), RenderError> {
    let Some(body) = h.template() else { return Ok((None, LeftOut::new())) };
    let asked = parts.len();
    let mut doubtful: Option<RenderError> = None;
    let mut failed = Vec::new();
    // A body that fails leaves the render context inside its blocks; this is the state to restore.
    let before = rc.clone();
    // If a part was left out, another pass follows: `@last`, and numbers that depend on all parts, must not
    // include that part.
    let text = loop {
        let mut played: Vec<Played> =
            parts.iter().map(|(part, members)| play(shared, part, members)).collect();
        played.sort_by(|a, b| a.part.cmp(&b.part));
        shared.notes().parts = Arc::new(Block { parts: played, ..Block::default() });
        let mut text = String::new();
        let mut bad = BTreeMap::new();
        for (index, part) in parts.keys().enumerate() {
            let mut block = BlockContext::new();
            block.set_base_value(json!({ "part": part.part, "service": part.service }));
            block.set_local_var("index", index.into());
            block.set_local_var("first", (index == 0).into());
            block.set_local_var("last", (index + 1 == parts.len()).into());
            rc.push_block(block);
            let mut output = StringOutput::new();
            match render_with(own_vars(part, ctx), body, r, ctx, rc, &mut output) {
                Ok(()) => {
                    rc.pop_block();
                    text.push_str(&output.into_string()?);
                }
                Err(error) => {
                    *rc = before.clone();
                    let (reason, doubt) = attribute_part_error(error)?;
                    let whom = format!("none of {asked} parts can be rendered, for example {}", part.key());
                    doubtful = doubtful.or(doubt.map(|error| for_none(&error, &whom)));
                    bad.insert(part.clone(), reason);
                }
            }
        }
        if bad.is_empty() {
            break text;
        }
        for (part, reason) in bad {
            let members = parts.remove(&part).into_iter().flatten();
            failed.extend(members.map(|member| (member, reason.clone())));
        }
    };
    if let (true, Some(error)) = (parts.is_empty(), doubtful) {
        return Err(error);
    }
    for (member, reason) in &failed {
        shared.leave_out(member.node, reason);
    }
    let failed = failed.into_iter().map(|(member, _)| member.node.record.id()).collect();
    Ok(((!parts.is_empty()).then_some(text), failed))
}

/// The context in which the variables of a part override those of all, and those of a service both, if it has any:
/// `[vars.app2]` and `[vars."app2/api"]`.
fn own_vars(item: &Item, ctx: &Context) -> Option<Context> {
    let around = ctx.data();
    let vars = around.get(VARS)?;
    let keys = [Some(item.part.as_str().to_owned()), item.service.as_ref().map(|_| item.key())];
    let own: Vec<&Map<String, Value>> =
        keys.iter().flatten().filter_map(|key| vars.get(key)?.as_object()).collect();
    if own.is_empty() {
        return None;
    }
    let mut all = vars.as_object()?.clone();
    // The ports of all parts are given out together, so `frontend_port` is that of the first part here too.
    let own = own.into_iter().flatten().filter(|(name, _)| *name != "frontend_port");
    all.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    let mut data = around.clone();
    *data.get_mut(VARS)? = Value::Object(all);
    Some(Context::from(data))
}

/// Renders a body, with another context if there is one.
fn render_with<'reg: 'rc, 'rc>(
    context: Option<Context>,
    body: &'rc Template,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
    out: &mut StringOutput,
) -> HelperResult {
    let Some(context) = context else { return body.render(r, ctx, rc, out) };
    // For as long as its own context lives, which is shorter than the one around it.
    let mut inner: RenderContext<'reg, '_> = rc.clone();
    body.render(r, &context, &mut inner, out)?;
    let (newline, produced, indent) =
        (inner.get_trailine_newline(), inner.get_content_produced(), inner.get_indent_before_write());
    rc.set_trailing_newline(newline);
    rc.set_content_produced(produced);
    rc.set_indent_before_write(indent);
    Ok(())
}

fn play(shared: &Shared<'_>, item: &Item, members: &[&Member<'_>]) -> Played {
    let active = members.iter().filter(|member| member.availability == Availability::Active).count();
    Played { part: item.key(), active, old: is_old(shared, members) }
}

/// Whether one of them was in the last good output.
fn is_old(shared: &Shared<'_>, members: &[&Member<'_>]) -> bool {
    members.iter().any(|member| shared.previous().had(member.at))
}

/// The parts of these nodes, or that service of each part, and the nodes whose part has no usable name.
pub(super) fn played<'s, 'a>(
    shared: &Shared<'a>,
    given: &[&'s Member<'a>],
    service: Option<&Name>,
) -> (Members<'s, 'a>, LeftOut<'s>) {
    let mut named: BTreeMap<&str, Vec<&'s Member<'a>>> = BTreeMap::new();
    for member in given {
        named.entry(shared.part_of(member).unwrap_or_default()).or_default().push(member);
    }
    let mut parts: Members<'s, 'a> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    for (part, members) in named {
        match Name::parse(part) {
            Ok(part) => drop(parts.insert(Item { part, service: service.cloned() }, members)),
            Err(error) => {
                let reason = format!("has an unusable `nodepart`: {}", chain(&error));
                for member in members {
                    shared.leave_out(member.node, &reason);
                    left_out.insert(member.node.record.id());
                }
            }
        }
    }
    (parts, left_out)
}

/// Of parts whose names are equal in lower case, keeps one: one of the last good output, else the one with
/// the most nodes. So no node can replace others. Returns the nodes of the other parts.
fn drop_same_in_lower_case<'s>(shared: &Shared<'_>, parts: &mut Members<'s, '_>) -> LeftOut<'s> {
    let mut best: BTreeMap<String, (bool, Reverse<usize>, Item)> = BTreeMap::new();
    for (part, members) in parts.iter() {
        let claim = (!is_old(shared, members), Reverse(members.len()), part.clone());
        let rival = best.entry(part.key().to_ascii_lowercase()).or_insert_with(|| claim.clone());
        *rival = claim.min(rival.clone());
    }
    let kept: BTreeSet<Item> = best.into_values().map(|(_, _, part)| part).collect();
    let mut left_out = BTreeSet::new();
    parts.retain(|part, members| {
        let keep = kept.contains(part);
        for member in members.iter().filter(|_| !keep) {
            shared.leave_out(member.node, "its part differs from another one only in case");
            left_out.insert(member.node.record.id());
        }
        keep
    });
    left_out
}
