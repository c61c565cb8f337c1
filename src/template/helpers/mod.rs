//! What templates can call: blocks over nodes, questions about them, and one escaping helper per format.

mod attribution;
mod block;
mod choice;
mod compare;
mod count;
mod default;
mod escape;
mod fast_path;
mod first;
mod frontend;
mod haproxy;
mod hosts;
mod majority;
mod natural_order;
mod nodes;
mod parts;
mod refusal;
mod require;
mod services;
mod shared;

use handlebars::{Handlebars, HelperDef};

pub(super) use haproxy::AT_LEAST as HAPROXY_AT_LEAST;
pub(super) use shared::{Pool, Shared};

/// All helpers except the escaping ones: the engine's, then ours. `{{name}}` of one of them is not a fact.
const IN_THE_ENGINE: [&str; 31] = [
    "if",
    "unless",
    "each",
    "with",
    "lookup",
    "raw",
    "log",
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "and",
    "or",
    "not",
    "len",
    "nodes",
    "parts",
    "services",
    "first",
    "count",
    "require",
    "majority",
    "default",
    "hosts_names",
    "haproxy_id",
    "haproxy_backend_id",
    haproxy::AT_LEAST,
    "frontend_port",
    "host_port",
];

/// Registers all helpers. None has the name of a fact: `{{port}}` must stay the node's port.
pub(super) fn register<'a>(engine: &mut Handlebars<'a>, shared: &Shared<'a>) {
    add(engine, "nodes", nodes::Nodes(shared.clone()));
    add(engine, "parts", parts::Parts(shared.clone()));
    add(engine, "services", services::Services(shared.clone()));
    add(engine, "first", first::First(shared.clone()));
    add(engine, "count", count::Count(shared.clone()));
    add(engine, "require", require::Require(shared.clone()));
    add(engine, "majority", majority::Majority(shared.clone()));
    add(engine, "default", default::Default(shared.clone()));
    add(engine, "hosts_names", hosts::HostsNames(shared.clone()));
    compare::register(engine);
    haproxy::register(engine, shared);
    escape::register(engine);
}

fn add<'a>(engine: &mut Handlebars<'a>, name: &str, helper: impl HelperDef + Send + Sync + 'a) {
    debug_assert!(IN_THE_ENGINE.contains(&name), "{name} is missing in the list of helpers");
    engine.register_helper(name, Box::new(helper));
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::roster::Identity;
    use crate::template::Previous;

    /// A helper that the list lacks would be taken for a fact by the fast path.
    #[test]
    fn the_fast_path_knows_every_helper() {
        let (who, previous) = (Identity::default(), Previous::default());
        let shared = Shared::new(&who, Pool::default(), BTreeMap::new(), false, &previous);
        let mut engine = Handlebars::new();
        register(&mut engine, &shared);
        // The engine shows its registry only here.
        let shown = format!("{engine:?}");
        let names = shown.split_once("helpers: ").and_then(|(_, rest)| rest.split_once(", decorators: "));
        let names: Vec<String> = serde_json::from_str(names.unwrap().0).unwrap();
        let known = IN_THE_ENGINE.into_iter().chain(escape::names()).map(str::to_owned);
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), known.collect());
    }
}
