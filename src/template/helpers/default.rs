//! `{{default vars.port 80}}`: the first argument that is neither missing nor empty.
//!
//! In a block over nodes, `{{default port vars.app_port}}` replaces a missing port, but never an invalid one:
//! presence must not guess another port for such a node.

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};

use super::Shared;
use super::choice::{is_given, other};

pub(super) struct Default<'a>(pub(super) Shared<'a>);

impl HelperDef for Default<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        for param in h.params() {
            if is_given(param.value(), param.is_value_missing()) {
                return Ok(ScopedJson::Derived(param.value().clone()));
            }
            if param.relative_path().is_some_and(|path| is_port(path)) && self.0.states_a_wrong_port() {
                return Err(RenderError::strict_error(param.relative_path()));
            }
        }
        match h.param(0) {
            Some(first) if first.relative_path().is_some() => {
                Err(RenderError::strict_error(first.relative_path()))
            }
            _ => Err(other("all arguments of {{default}} are missing".into())),
        }
    }
}

/// Whether the path refers to the port of the block's node: `port`, `this.port`, or `n.port` after `as |n|`.
fn is_port(path: &str) -> bool {
    let path = path.strip_prefix("./").unwrap_or(path);
    match path.split_once('.') {
        None => path == "port",
        Some((root, rest)) => {
            rest == "port" && !root.starts_with('@') && !matches!(root, "vars" | "self" | "input" | "nodes")
        }
    }
}
