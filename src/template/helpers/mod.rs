//! What templates can call: blocks over nodes, questions about them, and one escaping helper a format.

mod blame;
mod choice;
mod count;
mod default;
mod escape;
mod first;
mod frontend;
mod haproxy;
mod hosts;
mod majority;
mod natural;
mod nodes;
mod parts;
mod refusal;
mod require;
mod shared;

use handlebars::Handlebars;

pub(super) use shared::Shared;

/// Makes all helpers known to the engine. None has the name of a fact: `{{port}}` must stay the node's port.
pub(super) fn register<'a>(engine: &mut Handlebars<'a>, shared: &Shared<'a>) {
    engine.register_helper("nodes", Box::new(nodes::Nodes(shared.clone())));
    engine.register_helper("parts", Box::new(parts::Parts(shared.clone())));
    engine.register_helper("first", Box::new(first::First(shared.clone())));
    engine.register_helper("count", Box::new(count::Count(shared.clone())));
    engine.register_helper("require", Box::new(require::Require(shared.clone())));
    engine.register_helper("majority", Box::new(majority::Majority(shared.clone())));
    engine.register_helper("default", Box::new(default::Default(shared.clone())));
    engine.register_helper("hosts_names", Box::new(hosts::HostsNames(shared.clone())));
    haproxy::register(engine, shared);
    escape::register(engine);
}
