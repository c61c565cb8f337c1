//! Finds out what a template uses, without rendering it.

use super::helpers::HAPROXY_AT_LEAST;
use crate::record::SERVICE;
use handlebars::Path;
use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, Template, TemplateElement};

/// What a template and its partials use.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Whether it may use the lists of nodes in the context. If not, they are not built.
    pub(super) lists: bool,
    /// Whether names may have another meaning than usual or lines may be indented: `as |name|`, arguments of
    /// partials, and partials that do not begin their line.
    pub(super) scoped: bool,
    /// Whether it uses the version of HAProxy.
    pub(super) haproxy: bool,
    /// Whether it may ask for services. If not, they are not prepared.
    pub(super) services: bool,
}

impl Survey {
    /// What these templates use.
    pub(super) fn of(templates: &[Template]) -> Survey {
        let mut survey = Survey::default();
        templates.iter().for_each(|template| survey.add(template));
        survey
    }

    fn add(&mut self, template: &Template) {
        for element in &template.elements {
            match element {
                TemplateElement::Expression(helper)
                | TemplateElement::HtmlExpression(helper)
                | TemplateElement::HelperBlock(helper) => self.helper(helper),
                TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) => {
                    self.scoped |= partial.indent.is_some() || !partial.hash.is_empty();
                    self.decorator(partial);
                }
                TemplateElement::DecoratorExpression(decorator)
                | TemplateElement::DecoratorBlock(decorator) => {
                    self.decorator(decorator);
                }
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                // An unknown kind of element may use anything.
                _ => {
                    self.lists = true;
                    self.scoped = true;
                    self.haproxy = true;
                    self.services = true;
                }
            }
        }
    }

    fn helper(&mut self, helper: &HelperTemplate) {
        self.haproxy |= helper.name.as_name() == Some(HAPROXY_AT_LEAST);
        self.services |= helper.hash.contains_key(SERVICE) || helper.name.as_name() == Some("services");
        self.parameter(&helper.name);
        helper.params.iter().chain(helper.hash.values()).for_each(|parameter| self.parameter(parameter));
        self.scoped |= helper.block_param.is_some();
        helper.template.iter().chain(&helper.inverse).for_each(|inner| self.add(inner));
    }

    fn decorator(&mut self, decorator: &DecoratorTemplate) {
        self.parameter(&decorator.name);
        decorator
            .params
            .iter()
            .chain(decorator.hash.values())
            .for_each(|parameter| self.parameter(parameter));
        decorator.template.iter().for_each(|inner| self.add(inner));
    }

    fn parameter(&mut self, parameter: &Parameter) {
        match parameter {
            Parameter::Path(Path::Relative((_, path))) => self.lists |= may_be_a_list(path),
            Parameter::Path(Path::Local((_, name, _))) => self.lists |= name == "root",
            Parameter::Subexpression(expression) => {
                if let TemplateElement::Expression(helper) = expression.as_element() {
                    self.helper(helper);
                }
            }
            // The name of a helper, such as `nodes`, or a literal.
            _ => {}
        }
    }
}

/// Whether a path may lead to `nodes` or `elsewhere`, or to a value that contains them.
fn may_be_a_list(path: &str) -> bool {
    let mut words = path.split(['.', '/']).filter(|word| !matches!(*word, "" | "this" | "@root"));
    words.next().is_none_or(|word| {
        let word = word.trim_matches(['[', ']']);
        matches!(word, "nodes" | "elsewhere") || word.starts_with('@')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(text: &str) -> Survey {
        Survey::of(&[Template::compile(text).unwrap()])
    }

    #[test]
    fn the_version_of_haproxy_is_asked_for_by_its_helper() {
        assert!(survey("{{#if a}}{{#unless (haproxy_at_least \"2.6\")}}x{{/unless}}{{/if}}").haproxy);
        assert!(survey("{{#*inline \"x\"}}{{haproxy_at_least \"2.6\"}}{{/inline}}").haproxy);
        assert!(!survey("{{haproxy_id instance-id}} {{vars.haproxy_version}} haproxy_at_least").haproxy);
    }

    #[test]
    fn lists_are_asked_for_by_name_or_with_all_the_rest() {
        for text in [
            "{{#each nodes}}{{/each}}",
            "{{#each @root.nodes}}x{{/each}}",
            "{{#each ../elsewhere}}x{{/each}}",
            "{{#each this.nodes}}x{{/each}}",
            "{{#each @root/nodes}}x{{/each}}",
            "{{#each [nodes]}}x{{/each}}",
            "{{nodes.0.address}}",
            "{{lookup this \"nodes\"}}",
            "{{lookup @root \"nodes\"}}",
            "{{#with @root}}x{{/with}}",
            "{{> p this}}",
            "{{> p list=nodes}}",
            "{{#if a}}{{else}}{{len nodes}}{{/if}}",
            "{{#*inline \"x\"}}{{nodes}}{{/inline}}",
        ] {
            assert!(survey(text).lists, "{text}");
        }
        for text in [
            "{{#nodes part=\"app*\"}}{{instance-id}} {{@root.vars.x}}{{else}}{{vars.y}}{{/nodes}}",
            "{{> p}}{{self.port}}{{@index}}{{count part=\"x\"}}",
            "nodes",
        ] {
            assert!(!survey(text).lists, "{text}");
        }
    }

    #[test]
    fn services_are_asked_for_by_a_block_or_an_argument() {
        assert!(survey("{{#services}}x{{/services}}").services);
        assert!(survey("{{#parts}}{{#if (count part=part service=\"api\")}}x{{/if}}{{/parts}}").services);
        assert!(!survey("{{#nodes part=\"app*\"}}{{service}}{{/nodes}}").services);
    }

    #[test]
    fn what_gives_names_another_meaning_is_found() {
        assert!(!survey("{{#if a}}{{> one}}{{else}}{{#> two}}{{> three}}{{/two}}{{/if}}").scoped);
        for text in ["{{#nodes as |n|}}x{{/nodes}}", "{{> p a=1}}", "x\n  {{> p}}\n"] {
            assert!(survey(text).scoped, "{text}");
        }
    }
}
