//! Reads and parses a template with all its partials before anything is rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use handlebars::Template;
use handlebars::template::{Parameter, TemplateElement};

use super::parsed::{Parsed, TemplateSource};
use super::{Lookup, TemplateError, TemplateFile, syntax};

/// The template and its partials, parsed.
pub(super) fn load(lookup: &Lookup, main: &TemplateFile) -> Result<Arc<Parsed>, TemplateError> {
    let Some(kept) = lookup.kept() else { return parse(lookup, main).map(Arc::new) };
    if let Some(parsed) = kept.get(&main.name) {
        return Ok(parsed);
    }
    let parsed = Arc::new(parse(lookup, main)?);
    kept.keep(&main.name, &parsed);
    Ok(parsed)
}

fn parse(lookup: &Lookup, main: &TemplateFile) -> Result<Parsed, TemplateError> {
    let mut sources: BTreeMap<String, TemplateSource> = BTreeMap::new();
    let mut templates = Vec::new();
    let mut uses = Uses::default();
    let mut wanted = vec![(main.name.clone(), main.clone())];
    while let Some((name, found)) = wanted.pop() {
        if sources.contains_key(&name) {
            continue;
        }
        let text = found.read()?;
        let template = Template::compile_with_name(&text, name.clone()).map_err(|error| {
            let (line, column, reason) = syntax::explain(&text, &error);
            TemplateError::Syntax { place: format!("{}:{line}:{column}", found.path), reason }
        })?;
        if !uses.collect(&name, &template) {
            return Err(TemplateError::Syntax {
                place: found.path,
                reason: "the name of a partial must be literal; choose between partials with {{#if}}".into(),
            });
        }
        // A missing partial may be an inline one, or its block may have a fallback: the engine decides and
        // reports.
        let partials = uses.0.values().flatten().filter(|partial| !sources.contains_key(*partial));
        wanted.extend(partials.filter_map(|name| Some((name.clone(), lookup.find_partial(name).ok()?))));
        templates.push(template);
        sources.insert(name, TemplateSource { path: found.path, text });
    }
    if let Some(circle) = uses.circle(&main.name) {
        let path = sources.get(circle[0]).map_or(main.path.as_str(), |source| &source.path);
        return Err(TemplateError::Syntax {
            place: path.to_owned(),
            reason: format!("it includes itself: {}", circle.join(" → ")),
        });
    }
    Ok(Parsed { sources, templates })
}

/// Which partials a template or partial names. All inline partials of one name are treated as one, since only
/// rendering can tell which is meant.
#[derive(Default)]
struct Uses(BTreeMap<String, BTreeSet<String>>);

impl Uses {
    /// Adds the partials that a template names. False if it computes a name while rendering, so that it may
    /// be any partial.
    fn collect(&mut self, user: &str, template: &Template) -> bool {
        self.0.entry(user.to_owned()).or_default();
        template.elements.iter().all(|element| match element {
            TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) => {
                let Some(name) = partial.name.as_name() else { return false };
                self.0.entry(user.to_owned()).or_default().insert(name.to_owned());
                partial.template.iter().all(|inner| self.collect(user, inner))
            }
            TemplateElement::DecoratorBlock(decorator) => {
                let inline = match decorator.params.first() {
                    Some(Parameter::Literal(name)) => name.as_str().unwrap_or(user).to_owned(),
                    _ => user.to_owned(),
                };
                decorator.template.iter().all(|inner| self.collect(&inline, inner))
            }
            TemplateElement::HelperBlock(helper) => {
                helper.template.iter().chain(&helper.inverse).all(|inner| self.collect(user, inner))
            }
            _ => true,
        })
    }

    /// The names in a cycle that is reachable from `start`, with the first name at both ends. Rendering it
    /// would never end.
    fn circle(&self, start: &str) -> Option<Vec<&str>> {
        let (start, _) = self.0.get_key_value(start)?;
        let mut done = BTreeSet::new();
        let mut way: Vec<(&str, Vec<&str>)> = vec![(start, self.of(start))];
        while let Some((name, rest)) = way.last_mut() {
            let Some(next) = rest.pop() else {
                done.insert(*name);
                way.pop();
                continue;
            };
            if let Some(at) = way.iter().position(|(name, _)| *name == next) {
                return Some(way[at..].iter().map(|(name, _)| *name).chain([next]).collect());
            }
            if !done.contains(next) {
                way.push((next, self.of(next)));
            }
        }
        None
    }

    fn of(&self, name: &str) -> Vec<&str> {
        self.0.get(name).into_iter().flatten().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(pairs: &[(&str, &[&str])]) -> Uses {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Uses(pairs.iter().map(|(user, used)| ((*user).to_owned(), names(used))).collect())
    }

    #[test]
    fn a_circle_is_found_and_a_diamond_is_none() {
        let check = |pairs: &[(&str, &[&str])], expect: Option<&str>| {
            let seen = uses(pairs).circle("a").map(|circle| circle.join(" "));
            assert_eq!(seen.as_deref(), expect);
        };
        check(&[("a", &[])], None);
        check(&[("a", &["a"])], Some("a a"));
        check(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])], None);
        check(&[("a", &["b"]), ("b", &["c", "x"]), ("c", &["b"])], Some("b c b"));
        check(&[("a", &[]), ("b", &["b"])], None);
    }
}
