//! Renders a template: strictly, without HTML escaping, and so that a bad node costs only itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use handlebars::{Context, Handlebars, RenderErrorReason};
use serde_json::{Map, Value};

use super::context::{self, Input};
use super::helpers::{self, Pool, Shared};
use super::in_use::{InUse, Previous};
use super::load::load;
use super::offered::Offered;
use super::parsed::{Parsed, TemplateSource};
use super::survey::Survey;
use super::{Lookup, TemplateError};
use crate::output::limits::Counts;
use crate::record::Facts;
use crate::roster::{self, Identity, Node, Roster};

/// What to render.
#[derive(Debug)]
pub struct RenderRequest<'a> {
    /// The template's name, with or without its last extension.
    pub name: &'a str,
    /// The template files.
    pub lookup: &'a Lookup,
    /// The identity to render for.
    pub who: &'a Identity,
    /// The facts of this node.
    pub facts: &'a Facts,
    /// All nodes.
    pub roster: &'a Roster,
    /// The variables of the configuration and the command line.
    pub vars: &'a Map<String, Value>,
    /// Identifies the records.
    pub tree: String,
    /// What is known of the last good output.
    pub previous: &'a Previous,
    /// Whether simple blocks over nodes may be rendered without the engine.
    pub fast_path: bool,
}

/// For each question, the roster indexes of the active nodes in its answer, in no order.
pub type AnswerNodes = BTreeMap<String, Vec<u32>>;

/// A rendered template.
#[derive(Debug)]
pub struct Rendered {
    /// The full name of the template, which is the name of the output file.
    pub name: String,
    /// The text, or the reason why there is none. The counts are valid either way.
    pub text: Result<String, TemplateError>,
    /// The number of nodes in the answer to each question.
    pub counts: Counts,
    /// The active nodes in each answer.
    pub given: AnswerNodes,
    /// What the text takes from the list.
    pub taken: Taken,
    /// What was left out, one sentence each, in order.
    pub warnings: Vec<String>,
    /// What the text has in use.
    pub in_use: InUse,
}

/// What a text takes from the list.
#[derive(Debug, Default)]
pub struct Taken {
    /// Whether the template asks any question or reads the lists of nodes.
    pub any: bool,
    /// The questions of which the text takes the whole answer. Of the others, it takes the first node only.
    pub whole: BTreeSet<String>,
    /// The draining and down nodes in each answer.
    pub leaving: AnswerNodes,
    /// The questions of blocks over parts.
    pub parts: BTreeSet<String>,
}

/// Renders a template. Returns an error only if the template cannot be found or read; [`Rendered::text`] has
/// the others.
pub fn render(request: &RenderRequest<'_>) -> Result<Rendered, TemplateError> {
    let found = request.lookup.find(request.name)?;
    let Parsed { sources, templates } = Arc::unwrap_or_clone(load(request.lookup, &found)?);
    let survey = Survey::of(&templates);
    let input = Input { tree: request.tree.clone(), template: digest(&sources) };
    let (members, unusable) = context::members(request.who, request.roster);
    let context = context::build(request.who, request.facts, request.vars, &input, survey.lists, &members);
    let scoped = survey.scoped || !request.fast_path;
    let offered = if survey.services { Offered::by(&members) } else { Offered::default() };
    let nodes = Pool::new(members, twins(&request.roster.nodes));
    let services = offered.pools(&twins(&offered.nodes));
    let shared = Shared::new(request.who, nodes, services, scoped, request.previous);
    for (node, reason) in unusable {
        shared.leave_out(node, &reason);
    }
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    engine.register_escape_fn(shared.plain_text());
    helpers::register(&mut engine, &shared);
    for mut template in templates {
        let name = template.name.take().unwrap_or_default();
        template.name = Some(name.clone());
        engine.register_template(&name, template);
    }
    let context = Context::from(context);
    let text = engine
        .render_with_context(&found.name, &context)
        .map_err(|error| render_error(&sources, &error))
        .and_then(|text| match shared.take_unplain() {
            Some(value) => Err(TemplateError::Render {
                place: found.path.clone(),
                reason: format!(
                    "`{value}` contains control characters, and {{{{…}}}} writes it without an escaping \
                     helper"
                ),
            }),
            None => Ok(text),
        })
        .and_then(|text| finish(&found.path, text));
    drop(engine);
    let (counts, given, mut taken, warnings, in_use) = shared.finish();
    taken.any |= survey.lists;
    Ok(Rendered { name: found.name, text, counts, given, taken, warnings, in_use })
}

/// The names of the partials that a template includes, directly or through others.
pub fn partials(lookup: &Lookup, name: &str) -> Result<BTreeSet<String>, TemplateError> {
    let found = lookup.find(name)?;
    let parsed = load(lookup, &found)?;
    Ok(parsed.sources.keys().filter(|name| **name != found.name).cloned().collect())
}

/// The nodes that are one server with others, each with the first of them, by index.
fn twins(nodes: &[Node]) -> BTreeMap<u32, u32> {
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let twins = roster::twins(nodes);
    twins
        .into_iter()
        .flat_map(|(twin, first)| [(place(twin), place(first)), (place(first), place(first))])
        .collect()
}

/// Reads and parses a template and its partials, to find errors.
pub fn compile(lookup: &Lookup, name: &str) -> Result<(), TemplateError> {
    load(lookup, &lookup.find(name)?).map(drop)
}

/// Whether the template's output depends on the version of HAProxy.
pub fn depends_on_haproxy(lookup: &Lookup, name: &str) -> Result<bool, TemplateError> {
    let parsed = load(lookup, &lookup.find(name)?)?;
    Ok(Survey::of(&parsed.templates).haproxy)
}

/// Identifies the texts: the same templates have the same digest on any machine.
fn digest(sources: &BTreeMap<String, TemplateSource>) -> String {
    use std::hash::Hasher;
    let mut hash = fnv::FnvHasher::default();
    for (name, source) in sources {
        for text in [name, &source.text] {
            hash.write_u64(text.len() as u64);
            hash.write(text.as_bytes());
        }
    }
    format!("{:016x}", hash.finish())
}

fn render_error(
    sources: &BTreeMap<String, TemplateSource>,
    error: &handlebars::RenderError,
) -> TemplateError {
    let name = error.template_name.as_deref().unwrap_or_default();
    let path = sources.get(name).map_or(name, |source| &source.path);
    let place = match (error.line_no, error.column_no) {
        (Some(line), Some(column)) => format!("{path}:{line}:{column}"),
        _ => path.to_owned(),
    };
    TemplateError::Render { place, reason: reason(error.reason()) }
}

/// The engine's error, reworded where the engine describes its own internals.
pub(super) fn reason(reason: &RenderErrorReason) -> String {
    match reason {
        RenderErrorReason::MissingVariable(Some(path)) => format!("there is no `{path}`"),
        RenderErrorReason::MissingVariable(None) => "a value is missing".into(),
        RenderErrorReason::HelperNotFound(name) => format!("there is no helper `{name}`"),
        RenderErrorReason::PartialNotFound(name) => format!("there is no partial `{name}`"),
        RenderErrorReason::ParamNotFoundForIndex(helper, index) => {
            format!("argument {} of {{{{{helper}}}}} is missing", index + 1)
        }
        RenderErrorReason::NestedError(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// Makes the text valid for any reader: no NUL and no byte order mark (both are fatal to HAProxy), and a
/// final newline.
fn finish(path: &str, mut text: String) -> Result<String, TemplateError> {
    if text.starts_with('\u{feff}') || text.contains('\0') {
        return Err(TemplateError::Render {
            place: path.to_owned(),
            reason: "the output contains a NUL or starts with a byte order mark".into(),
        });
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
