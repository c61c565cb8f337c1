//! `{{#nodes part="app*"}}…{{else}}…{{/nodes}}`: once per node, by instance-id.
//!
//! If the body cannot be rendered for a node, because a fact is missing or the format cannot carry it, the
//! node is left out and reported. The others are rendered as if it did not exist.
//!
//! If several active nodes are one server (the same part, address and port), the body is rendered only for
//! the first one that can be rendered. `twins=true` lists all of them.

use handlebars::{
    BlockContext, BlockParams, Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext,
    RenderError, Renderable, StringOutput,
};

use super::Shared;
use super::attribution::{NodeFault, attribute_error, for_none};
use super::choice::{choose, other};
use super::fast_path::FastPath;
use crate::template::context::{Member, shape};

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
        let choice = choose(&self.0, h, &["twins"])?;
        let (text, left_out) = render_each(&self.0, choice.given, usize::MAX, h, r, ctx, rc)?;
        let given = choice.all.iter().copied().filter(|member| !left_out.contains(member.node.record.id()));
        self.0.count(&choice.question, given);
        write_or_else(text, h, r, ctx, rc, out)
    }
}

/// Writes the text of a block, or renders its `{{else}}` if no node contributed.
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

/// The nodes that a block has left out.
pub(super) type LeftOut<'a> = std::collections::BTreeSet<&'a crate::name::Name>;

/// Renders the block's body for at most `most` members. `None` if no node contributed.
pub(super) fn render_each<'reg: 'rc, 'rc, 'a>(
    shared: &Shared<'a>,
    mut members: Vec<&Member<'a>>,
    most: usize,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
) -> Result<(Option<String>, LeftOut<'a>), RenderError> {
    let asked = members.len();
    let mut faults: Vec<NodeFault<'a>> = Vec::new();
    // If the first pass left a node out, a second pass follows: `@last` and what depends on it must not
    // include that node.
    let twins = h.hash_get("twins").is_some_and(|twins| twins.value() == true);
    let pass = loop {
        let mut pass = match shared.without_twins(&members).filter(|_| !twins) {
            Some(single) => render_pass(shared, &single, most, h, r, ctx, rc)?,
            None => render_pass(shared, &members, most, h, r, ctx, rc)?,
        };
        if pass.faults.is_empty() {
            break pass;
        }
        let left_out: LeftOut<'a> = pass.faults.iter().map(|fault| fault.node.record.id()).collect();
        members.retain(|member| !left_out.contains(member.node.record.id()));
        faults.append(&mut pass.faults);
    };
    // Every node lacks it, so it is a typo in the template, not a bad record.
    if pass.rendered == 0
        && let Some((node, error)) =
            faults.iter().find_map(|fault| Some((fault.node.record.id(), fault.doubtful.as_ref()?)))
    {
        let whom = match asked {
            1 => format!("node {node}"),
            _ => format!("none of {asked} nodes can be rendered, for example {node}"),
        };
        return Err(for_none(error, &whom));
    }
    for fault in &faults {
        shared.leave_out(fault.node, &fault.reason);
    }
    let left_out = faults.iter().map(|fault| fault.node.record.id()).collect();
    Ok(((pass.rendered > 0).then_some(pass.text), left_out))
}

struct Pass<'a> {
    text: String,
    rendered: usize,
    faults: Vec<NodeFault<'a>>,
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
    // A body that fails leaves the render context inside its blocks; this is the state to restore.
    let before = rc.clone();
    let last = members.len().min(most).saturating_sub(1);
    let plain = FastPath::new(body, shared, ctx, rc);
    let plain = plain.map(|plain| plain.render(shared, &members[..members.len().min(most)], last));
    let mut runs = plain.into_iter().flatten().peekable();
    let mut index = 0;
    while index < members.len() && pass.rendered < most {
        if let Some(run) = runs.next_if(|run| run.members.start == index) {
            index = run.members.end;
            pass.rendered += run.members.len();
            match pass.text.is_empty() {
                true => pass.text = run.text,
                false => pass.text.push_str(&run.text),
            }
            continue;
        }
        let member = members[index];
        rc.push_block(block(member, index, last, h)?);
        let mut output = StringOutput::new();
        let around = shared.enter(Some(member.node));
        let pending = shared.take_unplain();
        let result = body.render(r, ctx, rc, &mut output);
        let unplain = shared.take_unplain();
        shared.put_unplain(pending);
        shared.enter(around);
        match (result, unplain) {
            (Ok(()), None) => {
                rc.pop_block();
                pass.text.push_str(&output.into_string()?);
                pass.rendered += 1;
            }
            (Ok(()), Some(value)) => {
                *rc = before.clone();
                let reason = format!("`{value}` contains control characters");
                // The value may come from a variable.
                let doubtful = Some(other(reason.clone()));
                pass.faults.push(NodeFault { node: member.node, reason, doubtful });
            }
            (Err(error), _) => {
                *rc = before.clone();
                pass.faults.push(attribute_error(member.node, error, h.block_param())?);
            }
        }
        index += 1;
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
    let node = shape(member.node);
    block.set_local_var("index", index.into());
    block.set_local_var("first", (index == 0).into());
    block.set_local_var("last", (index == last).into());
    if let Some(name) = h.block_param() {
        let mut params = BlockParams::new();
        params.add_value(name, node.clone())?;
        block.set_block_params(params);
    }
    block.set_base_value(node);
    Ok(block)
}
