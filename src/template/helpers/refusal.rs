//! Errors of helpers that show who is at fault: the template or the node.

use handlebars::{Helper, RenderError, RenderErrorReason};

/// A value that cannot be used, with its path in the template. The result of another helper has no path.
#[derive(Debug, thiserror::Error)]
#[error("`{what}` {reason}")]
pub(super) struct NodeRefusal {
    pub(super) path: Option<String>,
    what: String,
    reason: String,
}

/// Refuses a positional argument.
pub(super) fn refusal(h: &Helper<'_>, index: usize, reason: &str) -> RenderError {
    let path = h.param(index).and_then(|param| param.relative_path()).cloned();
    let what = path.clone().unwrap_or_else(|| format!("{} argument {}", h.name(), index + 1));
    refused(path, what, reason)
}

/// Refuses a fact of the node that is being rendered.
pub(super) fn refused_fact(fact: &str, reason: &str) -> RenderError {
    refused(Some(fact.to_owned()), fact.to_owned(), reason)
}

fn refused(path: Option<String>, what: String, reason: &str) -> RenderError {
    RenderErrorReason::NestedError(Box::new(NodeRefusal { path, what, reason: reason.to_owned() })).into()
}
