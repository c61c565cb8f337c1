//! `{{#nodes part="app*"}}…{{else}}…{{/nodes}}`: once for each node, by instance-id.
//!
//! A node for which the body cannot be rendered – a fact is missing, or holds what the format cannot carry – is left
//! out and reported; the others are rendered as if it were not there.

use handlebars::{
    BlockContext, BlockParams, Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext,
    RenderError, RenderErrorReason, Renderable, StringOutput,
};

use super::Shared;
use super::choice::choose;
use super::escape::Refusal;
use crate::roster::Node;
use crate::template::context::Member;
use crate::template::engine;

pub(super) struct Nodes<'a>(pub(super) Shared<'a>);

impl HelperDef for Nodes<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        r: &'reg Handlebars<'reg>,
        ctx: &'rc Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let choice = choose(&self.0, h, &[])?;
        let (text, left_out) = render_each(&self.0, choice.given, usize::MAX, h, r, ctx, rc)?;
        let given =
            choice.all.iter().map(|member| member.node).filter(|node| !left_out.contains(node.record.id()));
        self.0.count(&choice.question, given);
        write_or_else(text, h, r, ctx, rc, out)
    }
}

/// Writes the text of a block, or renders its `{{else}}` if no node has contributed.
pub(super) fn write_or_else<'reg: 'rc, 'rc>(
    text: Option<String>,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    match (text, h.inverse()) {
        (Some(text), _) => Ok(out.write(&text)?),
        (None, Some(inverse)) => inverse.render(r, ctx, rc, out),
        (None, None) => Ok(()),
    }
}

/// The nodes that a block left out.
pub(super) type LeftOut<'a> = std::collections::BTreeSet<&'a crate::name::Name>;

/// Renders the block's body for each member, `most` of them at most. None if no node has contributed.
pub(super) fn render_each<'reg: 'rc, 'rc, 'a>(
    shared: &Shared<'a>,
    mut members: Vec<&Member<'a>>,
    most: usize,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
) -> Result<(Option<String>, LeftOut<'a>), RenderError> {
    let mut left_out = LeftOut::new();
    let mut doubtful: Option<RenderError> = None;
    // A second pass only if a node was left out in the first: `@last` and what depends on it must not count that one.
    loop {
        let pass = render_pass(shared, &members, most, h, r, ctx, rc)?;
        if pass.faults.is_empty() {
            return match (pass.rendered, doubtful) {
                // Every single node lacks it: a word that is spelt wrong in the template, not a bad record.
                (0, Some(error)) => Err(error),
                (0, None) => Ok((None, left_out)),
                _ => Ok((Some(pass.text), left_out)),
            };
        }
        for fault in pass.faults {
            shared.leave_out(fault.node, &fault.reason);
            left_out.insert(fault.node.record.id());
            doubtful = doubtful.or(fault.doubtful);
        }
        members.retain(|member| !left_out.contains(member.node.record.id()));
    }
}

struct Pass<'a> {
    text: String,
    rendered: usize,
    faults: Vec<Fault<'a>>,
}

/// A node for which the body could not be rendered.
struct Fault<'a> {
    node: &'a Node,
    reason: String,
    /// The error, if it might as well be the template's mistake.
    doubtful: Option<RenderError>,
}

fn render_pass<'reg: 'rc, 'rc, 'a>(
    shared: &Shared<'a>,
    members: &[&Member<'a>],
    most: usize,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
) -> Result<Pass<'a>, RenderError> {
    let mut pass = Pass { text: String::new(), rendered: 0, faults: Vec::new() };
    let Some(body) = h.template() else { return Ok(pass) };
    // A body that fails leaves the blocks that it was in; this is what to go back to.
    let before = rc.clone();
    let last = members.len().min(most).saturating_sub(1);
    for (index, member) in members.iter().enumerate() {
        if pass.rendered == most {
            break;
        }
        rc.push_block(block(member, index, last, h)?);
        let mut output = StringOutput::new();
        let result = body.render(r, ctx, rc, &mut output);
        let unplain = shared.take_unplain();
        match (result, unplain) {
            (Ok(()), None) => {
                rc.pop_block();
                pass.text.push_str(&output.into_string()?);
                pass.rendered += 1;
            }
            (Ok(()), Some(value)) => {
                *rc = before.clone();
                let reason = format!("`{value}` holds control characters");
                pass.faults.push(Fault { node: member.node, reason, doubtful: None });
            }
            (Err(error), _) => {
                *rc = before.clone();
                pass.faults.push(fault(member.node, error, h.block_param())?);
            }
        }
    }
    Ok(pass)
}

fn block<'rc>(
    member: &Member<'_>,
    index: usize,
    last: usize,
    h: &Helper<'rc>,
) -> Result<BlockContext<'rc>, RenderError> {
    let mut block = BlockContext::new();
    *block.base_path_mut() = member.path();
    block.set_local_var("index", index.into());
    block.set_local_var("first", (index == 0).into());
    block.set_local_var("last", (index == last).into());
    if let Some(name) = h.block_param() {
        let mut params = BlockParams::new();
        params.add_path(name, Vec::new())?;
        block.set_block_params(params);
    }
    Ok(block)
}

/// Whether the node is to blame, or the template; then the error is given back.
fn fault<'a>(node: &'a Node, error: RenderError, alias: Option<&str>) -> Result<Fault<'a>, RenderError> {
    let place = match (&error.template_name, error.line_no) {
        (Some(name), Some(line)) => format!(" ({name}, line {line})"),
        _ => String::new(),
    };
    match error.reason() {
        RenderErrorReason::MissingVariable(Some(path)) => {
            let Some(fact) = fact_of(path, alias) else { return Err(error) };
            let (reason, well_known) = match (fact, &node.port) {
                ("port", Err(reason)) => (reason.clone(), true),
                ("port", Ok(_)) => (format!("has no `port`{place}"), true),
                _ => (format!("has no `{fact}`{place}"), false),
            };
            Ok(Fault { node, reason, doubtful: (!well_known).then_some(error) })
        }
        RenderErrorReason::NestedError(nested) => match nested.downcast_ref::<Refusal>() {
            Some(refusal) if fact_of(&refusal.path, alias).is_some() => {
                let reason = format!("{}{place}", engine::reason(error.reason()));
                Ok(Fault { node, reason, doubtful: None })
            }
            _ => Err(error),
        },
        _ => Err(error),
    }
}

/// The fact that a path in the body means; none if it leads away from the node.
fn fact_of<'p>(path: &'p str, alias: Option<&str>) -> Option<&'p str> {
    let path = path.strip_prefix("this.").or(path.strip_prefix("./")).unwrap_or(path);
    let path = alias.and_then(|alias| path.strip_prefix(alias)?.strip_prefix('.')).unwrap_or(path);
    let elsewhere = path.is_empty()
        || path.starts_with('@')
        || path.starts_with("..")
        || ["vars.", "self.", "input.", "nodes."].iter().any(|root| path.starts_with(root));
    (!elsewhere).then_some(path)
}
