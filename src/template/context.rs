//! What a template sees. The shape is public: `docs/templates.md` describes it, and templates of users rely on it.

use serde_json::{Map, Value, json};

use crate::record::Facts;
use crate::roster::{Identity, Node, Roster};

/// The root key of the nodes in scope.
pub(super) const NODES: &str = "nodes";

/// The root key of all other nodes, for blocks that widen the scope.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// The hashes of what a rendering was made from. No clock: the same input makes the same output for ever.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Names the records.
    pub tree: String,
    /// Names the template and its partials.
    pub template: String,
}

/// A node that templates can be given: its place in the context, and what blocks choose by.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) node: &'a Node,
    pub(super) in_scope: bool,
    /// Its index below [`NODES`] or [`ELSEWHERE`].
    index: usize,
}

impl Member<'_> {
    /// Its path in the context.
    pub(super) fn path(&self) -> Vec<String> {
        let root = if self.in_scope { NODES } else { ELSEWHERE };
        vec![root.to_owned(), self.index.to_string()]
    }
}

/// Builds the context, and the list of members in the order of their instance-ids. A node without a usable address is
/// in neither: what is left out, and why, is the third.
pub(super) fn build<'a>(
    who: &Identity,
    facts: &Facts,
    roster: &'a Roster,
    vars: &Map<String, Value>,
    input: &Input,
) -> (Value, Vec<Member<'a>>, Vec<(&'a Node, String)>) {
    let mut nodes = Vec::new();
    let mut elsewhere = Vec::new();
    let mut members = Vec::with_capacity(roster.nodes.len());
    let mut unusable = Vec::new();
    for node in &roster.nodes {
        let in_scope = who.sees(node);
        if let Err(reason) = &node.address {
            if in_scope {
                unusable.push((node, reason.clone()));
            }
            continue;
        }
        let list = if in_scope { &mut nodes } else { &mut elsewhere };
        members.push(Member { node, in_scope, index: list.len() });
        list.push(shape(node));
    }
    let context = json!({
        "self": own(who, facts),
        NODES: nodes,
        ELSEWHERE: elsewhere,
        "vars": vars,
        "input": { "tree": input.tree, "template": input.template },
    });
    (context, members, unusable)
}

/// A node as templates and `presence list --format json` show it: its facts, and over them what is worked out.
pub fn shape(node: &Node) -> Value {
    let mut shape: Map<String, Value> =
        node.record.facts().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    shape.remove("address");
    shape.remove("port");
    if let Ok(address) = &node.address {
        shape.insert("address".into(), address.to_string().into());
    }
    if let Ok(Some(port)) = &node.port {
        shape.insert("port".into(), port.get().into());
    }
    shape.insert("availability".into(), node.availability.as_str().into());
    Value::Object(shape)
}

/// This node's facts, with the part, stacktype and deployment that it stands in for.
fn own(who: &Identity, facts: &Facts) -> Map<String, Value> {
    let mut own: Map<String, Value> =
        facts.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    for (fact, value) in
        [("nodepart", &who.part), ("stacktype", &who.stacktype), ("deployment", &who.deployment)]
    {
        if let Some(value) = value {
            own.insert(fact.to_owned(), value.clone().into());
        }
    }
    own
}
