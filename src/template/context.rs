//! What a template sees. This is a public interface: `docs/templates.md` describes it, and users' templates
//! rely on it.

use serde_json::{Map, Value, json};

use crate::record::Facts;
use crate::roster::{Availability, Identity, Node, Roster};

/// The root key of the list of nodes in scope.
pub(super) const NODES: &str = "nodes";

/// The root key of the variables.
pub(super) const VARS: &str = "vars";

/// The root key of the list of all other nodes.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// The digests of a rendering's inputs. They contain no clock: equal input gives equal output.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Identifies the records.
    pub tree: String,
    /// Identifies the template and its partials.
    pub template: String,
}

/// A node that a template can get, with what blocks select by.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) node: &'a Node,
    pub(super) in_scope: bool,
    /// The availability of the node. All blocks read it, and members lie closer together in memory than
    /// nodes.
    pub(super) availability: Availability,
    /// The index among all members.
    pub(super) place: usize,
    /// The index in the roster.
    pub(super) at: u32,
}

/// All members, ordered by instance-id. A node without a usable address is not a member; the second list has
/// such nodes in scope, with the reason.
pub(super) fn members<'a>(who: &Identity, roster: &'a Roster) -> (Vec<Member<'a>>, Vec<(&'a Node, String)>) {
    let mut members = Vec::with_capacity(roster.nodes.len());
    let mut unusable = Vec::new();
    for (at, node) in (0..).zip(&roster.nodes) {
        let in_scope = who.sees(node);
        match &node.address {
            Ok(_) => {
                let (availability, place) = (node.availability, members.len());
                members.push(Member { node, in_scope, availability, place, at });
            }
            Err(reason) if in_scope => unusable.push((node, reason.clone())),
            Err(_) => {}
        }
    }
    (members, unusable)
}

/// Builds the context. It contains the lists of nodes only on request: they are most of its size, and blocks
/// do not need them.
pub(super) fn build(
    who: &Identity,
    facts: &Facts,
    vars: &Map<String, Value>,
    input: &Input,
    lists: bool,
    members: &[Member<'_>],
) -> Value {
    let mut context = json!({
        "self": own(who, facts),
        "vars": vars,
        "input": { "tree": input.tree, "template": input.template },
    });
    if lists {
        let list = |in_scope: bool| -> Value {
            let members = members.iter().filter(|member| member.in_scope == in_scope);
            members.map(|member| shape(member.node)).collect()
        };
        context[NODES] = list(true);
        context[ELSEWHERE] = list(false);
    }
    context
}

/// A node as templates and `presence list --format json` show it: its facts, overridden by derived values.
pub fn shape(node: &Node) -> Value {
    let mut shape: Map<String, Value> = node.record.facts().into_iter().collect();
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

/// This node's facts, with the part, stacktype and deployment that it renders for.
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
