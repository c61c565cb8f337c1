//! Whose fault it is if a block's body cannot be rendered for a node: the node's or the template's.
//!
//! No node may be able to stop the config of a whole fleet by what it states. So an error that may come from
//! a node's facts costs only that node. The template is at fault only if no node can be rendered and the
//! facts are not clearly the cause.

use handlebars::{RenderError, RenderErrorReason};

use super::refusal::NodeRefusal;
use crate::roster::Node;
use crate::template::engine;

/// A node for which a body could not be rendered.
pub(super) struct NodeFault<'a> {
    pub(super) node: &'a Node,
    pub(super) reason: String,
    /// The error, if it may also be a mistake in the template.
    pub(super) doubtful: Option<RenderError>,
}

/// The node's fault, or the error itself if the template is certainly wrong. `alias` is the block's `as
/// |alias|`.
pub(super) fn attribute_error<'a>(
    node: &'a Node,
    error: RenderError,
    alias: Option<&str>,
) -> Result<NodeFault<'a>, RenderError> {
    let refusal = match error.reason() {
        RenderErrorReason::NestedError(nested) => nested.downcast_ref::<NodeRefusal>(),
        _ => None,
    };
    let path = match error.reason() {
        RenderErrorReason::MissingVariable(path) => path.as_deref(),
        _ => refusal.and_then(|refusal| refusal.path.as_deref()),
    };
    let fact = path.map(|path| fact_of(path, alias));
    if matches!(fact, Some(None)) || is_the_templates(error.reason()) {
        return Err(error);
    }
    // The engine knows the name only of a partial.
    let place = match (&error.template_name, error.line_no) {
        (Some(name), Some(line)) => format!(" ({name}, line {line})"),
        (None, Some(line)) => format!(" (line {line})"),
        _ => String::new(),
    };
    let (reason, certain) = match (error.reason(), fact.flatten(), &node.port) {
        (RenderErrorReason::MissingVariable(_), Some("port"), Err(reason)) => (reason.clone(), true),
        (RenderErrorReason::MissingVariable(_), Some(fact), _) => {
            (format!("has no `{fact}`{place}"), fact == "port")
        }
        (reason, fact, _) => {
            (format!("{}{place}", engine::reason(reason)), refusal.is_some() && fact.is_some())
        }
    };
    Ok(NodeFault { node, reason, doubtful: (!certain).then_some(error) })
}

/// The reason why a body could not be rendered for a part, or the error itself if the template is certainly
/// wrong.
pub(super) fn attribute_part_error(error: RenderError) -> Result<(String, Option<RenderError>), RenderError> {
    let (path, refused) = match error.reason() {
        RenderErrorReason::MissingVariable(path) => (path.as_deref(), false),
        RenderErrorReason::NestedError(nested) => match nested.downcast_ref::<NodeRefusal>() {
            Some(refusal) => (refusal.path.as_deref(), true),
            None => (None, false),
        },
        _ => (None, false),
    };
    let of_the_part = path.map(|path| matches!(path.trim_start_matches("this."), "part" | "service"));
    match of_the_part {
        Some(true) if refused => Ok((engine::reason(error.reason()), None)),
        None if !is_the_templates(error.reason()) => Ok((engine::reason(error.reason()), Some(error))),
        _ => Err(error),
    }
}

/// The error of a body that could be rendered for none of its nodes or parts; it names one of them.
pub(super) fn for_none(error: &RenderError, whom: &str) -> RenderError {
    let mut told: RenderError =
        RenderErrorReason::Other(format!("{} ({whom})", engine::reason(error.reason()))).into();
    told.template_name.clone_from(&error.template_name);
    told.line_no = error.line_no;
    told.column_no = error.column_no;
    told
}

/// The fact that a path in the body refers to. `None` if the path leads away from the node.
fn fact_of<'p>(path: &'p str, alias: Option<&str>) -> Option<&'p str> {
    let path = path.strip_prefix("this.").or(path.strip_prefix("./")).unwrap_or(path);
    let path = alias.and_then(|alias| path.strip_prefix(alias)?.strip_prefix('.')).unwrap_or(path);
    let elsewhere = path.is_empty()
        || path.starts_with('@')
        || path.starts_with("..")
        || ["vars.", "self.", "input.", "nodes."].iter().any(|root| path.starts_with(root));
    (!elsewhere).then_some(path)
}

/// Whether no value of a record can be the cause, so that the template must be corrected.
fn is_the_templates(reason: &RenderErrorReason) -> bool {
    use RenderErrorReason as R;
    matches!(
        reason,
        R::TemplateNotFound(_)
            | R::TemplateError(_)
            | R::PartialNotFound(_)
            | R::PartialBlockNotFound
            | R::HelperNotFound(_)
            | R::DecoratorNotFound(_)
            | R::CannotIncludeSelf
            | R::InvalidLoggingLevel(_)
            | R::BlockContentRequired
            | R::InvalidJsonPath(_)
            | R::IOError(_)
            | R::Utf8Error(_)
            | R::Unimplemented
    )
}
