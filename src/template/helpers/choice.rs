//! The nodes that a block or a question selects, from its arguments: `part="app*" deployment="*" rack="r1"`.

use std::borrow::Cow;

use handlebars::{Helper, RenderError, RenderErrorReason};
use serde_json::Value;

use super::Shared;
use super::refusal::refusal;
use crate::errors::chain;
use crate::name::Name;
use crate::record::{SERVICE, text};
use crate::roster::{Availability, Patterns, Selector};
use crate::template::context::Member;

/// The selected nodes.
pub(super) struct Choice<'s, 'a> {
    /// The question, as limits and messages name it.
    pub(super) question: String,
    /// All nodes that the question selects, in any state.
    pub(super) all: Vec<&'s Member<'a>>,
    /// Those in the requested states. If no state is requested, all but the absent ones.
    pub(super) given: Vec<&'s Member<'a>>,
}

/// Selects by the arguments of a helper. `ignored` are arguments that mean something else to that helper.
pub(super) fn choose<'s, 'a>(
    shared: &'s Shared<'a>,
    h: &Helper<'_>,
    ignored: &[&str],
) -> Result<Choice<'s, 'a>, RenderError> {
    choose_as(shared, h, ignored, None)
}

/// The same among the nodes that offer a service, whatever services the arguments name.
pub(super) fn choose_service<'s, 'a>(
    shared: &'s Shared<'a>,
    h: &Helper<'_>,
    service: &str,
) -> Result<Choice<'s, 'a>, RenderError> {
    choose_as(shared, h, &[SERVICE], Some(service.to_owned()))
}

fn choose_as<'s, 'a>(
    shared: &'s Shared<'a>,
    h: &Helper<'_>,
    ignored: &[&str],
    mut service: Option<String>,
) -> Result<Choice<'s, 'a>, RenderError> {
    let mut selector = Selector::default();
    let mut states = Vec::new();
    let (mut deployment, mut stacktype) = (false, false);
    let mut parts: Option<Patterns> = None;
    let mut rest = String::new();
    for (key, value) in h.hash() {
        if ignored.contains(key) {
            continue;
        }
        // In a block over parts, `service=service` is no condition.
        if *key == SERVICE && value.value().is_null() && !value.is_value_missing() {
            continue;
        }
        if value.is_value_missing() {
            return Err(RenderError::strict_error(value.relative_path()));
        }
        let pattern = match (*key, value.value()) {
            ("part", Value::Array(list)) => listed(list).map(Cow::from),
            (_, value) => text(value),
        };
        let Some(pattern) = pattern else {
            return Err(other(format!("`{key}` of {{{{{}}}}} is not text", h.name())));
        };
        match *key {
            "state" | "availability" => {
                states.push(pattern.into_owned());
                continue;
            }
            "part" => {
                parts = Some(Patterns::parse(&pattern).map_err(|error| other(chain(&error)))?);
                continue;
            }
            SERVICE => {
                let name = Name::parse(&pattern).map_err(|error| {
                    other(format!(
                        "`service` of {{{{{}}}}} is not the name of one: {}",
                        h.name(),
                        chain(&error)
                    ))
                })?;
                rest.push_str(&format!(" {SERVICE}={name}"));
                service = Some(name.to_string());
                continue;
            }
            "deployment" => deployment = true,
            "stacktype" => stacktype = true,
            _ => {}
        }
        rest.push_str(&format!(" {key}={pattern}"));
        // `*` matches everything, even a node that states nothing: all deployments means all nodes.
        if matches!(*key, "deployment" | "stacktype") && pattern == "*" {
            continue;
        }
        let condition = Selector::default().fact(key, &pattern);
        let condition = condition.map_err(|error| other(chain(&error)))?.facts;
        selector.facts.extend(condition);
    }
    let who = shared.who();
    let in_scope = |member: &Member<'a>| match (deployment, stacktype) {
        (false, false) => member.in_scope,
        (true, false) => who.same_stacktype(member.node),
        (false, true) => who.same_deployment(member.node),
        (true, true) => true,
    };
    let meant = |member: &&Member<'a>| in_scope(member) && selector.matches(member.node);
    let all: Vec<&Member<'a>> = match (shared.pool(service.as_deref()), &parts) {
        (Some(pool), Some(parts)) => pool.of_part(parts).into_iter().filter(meant).collect(),
        (Some(pool), None) => pool.members.iter().filter(meant).collect(),
        (None, _) => Vec::new(),
    };
    let by_state = Selector { states, ..Selector::default() };
    let given = all
        .iter()
        .filter(|member| match by_state.states.is_empty() {
            true => member.availability != Availability::Absent,
            false => by_state.matches(member.node),
        })
        .copied()
        .collect();
    Ok(Choice { question: format!("{}{rest}", parts.as_ref().map_or("*", Patterns::text)), all, given })
}

/// A list of patterns as one text. `None` if it is empty or has anything but text.
fn listed(list: &[Value]) -> Option<String> {
    let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
    texts.filter(|texts| !texts.is_empty()).map(|texts| texts.join(","))
}

/// An error with our own message.
pub(super) fn other(message: String) -> RenderError {
    RenderErrorReason::Other(message).into()
}

/// A positional argument as text. If it is missing, the error names it.
pub(super) fn argument(h: &Helper<'_>, index: usize) -> Result<String, RenderError> {
    let Some(param) = h.param(index) else {
        return Err(other(format!("{{{{{}}}}} needs {} argument(s)", h.name(), index + 1)));
    };
    if param.is_value_missing() {
        return Err(RenderError::strict_error(param.relative_path()));
    }
    text(param.value())
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| refusal(h, index, "is a list or an object, not text"))
}

/// The second argument, if it is the name of a service.
pub(super) fn service(h: &Helper<'_>) -> Result<Option<String>, RenderError> {
    match h.param(1) {
        Some(param) if is_given(param.value(), false) || param.is_value_missing() => argument(h, 1).map(Some),
        _ => Ok(None),
    }
}

/// Whether an argument is given: not missing, not null, not empty.
pub(super) fn is_given(value: &Value, missing: bool) -> bool {
    !missing && !value.is_null() && value.as_str() != Some("")
}
