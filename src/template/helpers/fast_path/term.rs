//! The content of mustaches in a simple body: a fact, a variable, a literal, or a helper applied to these.

use std::borrow::Cow;
use std::fmt::Write;

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Context, Path, PathSeg};
use serde_json::Value as Json;

use super::super::escape::{self, Format};
use super::super::{IN_THE_ENGINE, Shared};
use crate::endpoint::{Address, Port};
use crate::escape::haproxy::server_id;
use crate::record::Fact;
use crate::template::context::Member;

/// The scope in which a term is evaluated.
pub(super) struct Scope<'p, 'a> {
    pub(super) shared: &'p Shared<'a>,
    pub(super) member: &'p Member<'a>,
    pub(super) index: usize,
    pub(super) last: usize,
}

pub(super) enum Term<'c> {
    Fact(&'c str),
    Constant(Value<'c>),
    Index,
    First,
    Last,
    /// `{{yaml x}}` and similar.
    Spelling(Format, Box<Term<'c>>),
    /// `{{host_port address port}}`
    HostPort(Box<(Term<'c>, Term<'c>)>),
    /// `{{haproxy_id instance-id}}`
    ServerId(Box<Term<'c>>),
    /// `(default x y)`
    Default(Vec<Term<'c>>),
    /// `(eq x y)`
    Equal(Box<(Term<'c>, Term<'c>)>),
    /// `(not x)`
    Not(Box<Term<'c>>),
    /// `(and x y)`
    All(Vec<Term<'c>>),
    /// `(or x y)`
    Any(Vec<Term<'c>>),
}

/// The value of a term. Lists, objects, null and unusual numbers are left to the engine.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'v> {
    Missing,
    Text(Cow<'v, str>),
    Address(Address),
    Number(u64),
    Bool(bool),
}

impl<'c> Term<'c> {
    /// The term in `{{x}}`.
    pub(super) fn of_value(name: &'c Parameter, context: &'c Context) -> Option<Term<'c>> {
        match name.as_name() {
            // It may be a helper without arguments.
            Some(name) if IN_THE_ENGINE.contains(&name) || escape::format(name).is_some() => None,
            _ => Term::of_parameter(name, context),
        }
    }

    /// The term for an argument.
    pub(super) fn of_parameter(parameter: &'c Parameter, context: &'c Context) -> Option<Term<'c>> {
        match parameter {
            Parameter::Literal(json) => Value::of(json).map(Term::Constant),
            Parameter::Path(path) => Term::of_path(path, context),
            Parameter::Subexpression(expression) => match expression.as_element() {
                TemplateElement::Expression(helper) => Term::of_call(helper, context),
                _ => None,
            },
            _ => None,
        }
    }

    fn of_path(path: &'c Path, context: &'c Context) -> Option<Term<'c>> {
        match path {
            Path::Local((0, name, _)) => match name.as_str() {
                "index" => Some(Term::Index),
                "first" => Some(Term::First),
                "last" => Some(Term::Last),
                _ => None,
            },
            Path::Local(_) => None,
            Path::Relative((words, raw)) => match &words[..] {
                [PathSeg::Named(fact)] => Some(Term::Fact(fact)),
                _ => {
                    let (root, name) = raw.strip_prefix("@root.")?.split_once('.')?;
                    let plain = |word: &str| {
                        !word.is_empty()
                            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
                    };
                    (matches!(root, "vars" | "self" | "input") && plain(name)).then_some(())?;
                    match context.data().get(root)?.get(name) {
                        Some(json) => Value::of(json).map(Term::Constant),
                        None => Some(Term::Constant(Value::Missing)),
                    }
                }
            },
        }
    }

    /// The term for a call of a helper.
    pub(super) fn of_call(helper: &'c HelperTemplate, context: &'c Context) -> Option<Term<'c>> {
        let name = helper.name.as_name()?;
        let arguments: Option<Vec<Term<'c>>> =
            helper.params.iter().map(|parameter| Term::of_parameter(parameter, context)).collect();
        let mut arguments = arguments.filter(|_| helper.hash.is_empty())?;
        let count = arguments.len();
        let mut next = || arguments.remove(0);
        Some(match (name, count) {
            ("host_port", 2) => Term::HostPort(Box::new((next(), next()))),
            ("haproxy_id", 1) => Term::ServerId(Box::new(next())),
            ("eq", 2) => Term::Equal(Box::new((next(), next()))),
            ("not", 1) => Term::Not(Box::new(next())),
            ("and", 2..) => Term::All(arguments),
            ("or", 2..) => Term::Any(arguments),
            ("default", 1..) => Term::Default(arguments),
            (name, 1) => Term::Spelling(escape::format(name)?, Box::new(next())),
            _ => return None,
        })
    }

    /// The value for a node. `None` if the engine must evaluate it.
    pub(super) fn value<'v>(&'v self, place: &Scope<'v, '_>) -> Option<Value<'v>> {
        Some(match self {
            Term::Fact(name) => fact(place.member, name)?,
            Term::Constant(value) => value.clone(),
            Term::Index => Value::Number(place.index as u64),
            Term::First => Value::Bool(place.index == 0),
            Term::Last => Value::Bool(place.index == place.last),
            Term::Spelling(format, term) => Value::Text(format(&term.value(place)?.text()?).ok()?.into()),
            Term::HostPort(terms) => {
                let address = match terms.0.value(place)? {
                    Value::Address(address) => address,
                    value => Address::parse(&value.text()?).ok()?,
                };
                let port = match terms.1.value(place)? {
                    Value::Number(number) => Port::try_from(number).ok()?,
                    value => Port::parse(&value.text()?).ok()?,
                };
                Value::Text(address.host_port(port).into())
            }
            Term::ServerId(term) => match **term {
                Term::Fact("instance-id") => Value::Number(place.shared.server_id_of(place.member).into()),
                _ => {
                    let value = term.value(place)?;
                    let name = value.text()?;
                    let id = place.shared.server_id(&name).unwrap_or_else(|| server_id(&name));
                    Value::Number(id.into())
                }
            },
            Term::Default(terms) => {
                for (index, term) in terms.iter().enumerate() {
                    let value = term.value(place)?;
                    if !matches!(&value, Value::Missing)
                        && !matches!(&value, Value::Text(text) if text.is_empty())
                    {
                        // The engine evaluates every argument, and a wrong one leaves the node out.
                        let mut rest = terms[index + 1..].iter();
                        return rest.all(|term| term.value(place).is_some()).then_some(value);
                    }
                    // An invalid port is never replaced.
                    if matches!(term, Term::Fact("port")) && place.member.node.port.is_err() {
                        return None;
                    }
                }
                return None;
            }
            Term::Equal(terms) => match (terms.0.value(place)?, terms.1.value(place)?) {
                // As in `compare`.
                (Value::Missing, _) | (_, Value::Missing) => Value::Bool(false),
                (Value::Address(address), Value::Text(text))
                | (Value::Text(text), Value::Address(address)) => Value::Bool(*address.to_string() == *text),
                (one, other) => Value::Bool(one == other),
            },
            Term::Not(term) => Value::Bool(!term.value(place)?.is_true()),
            Term::All(terms) => {
                let values: Option<Vec<Value<'_>>> = terms.iter().map(|term| term.value(place)).collect();
                Value::Bool(values?.iter().all(Value::is_true))
            }
            Term::Any(terms) => {
                let values: Option<Vec<Value<'_>>> = terms.iter().map(|term| term.value(place)).collect();
                Value::Bool(values?.iter().any(Value::is_true))
            }
        })
    }
}

/// A fact as [`shape`](crate::template::shape) shows it.
fn fact<'v>(member: &Member<'v>, name: &str) -> Option<Value<'v>> {
    let node = member.node;
    Some(match name {
        "address" => Value::Address(*node.address.as_ref().ok()?),
        "port" => match node.port {
            Ok(Some(port)) => Value::Number(port.get().into()),
            _ => Value::Missing,
        },
        "availability" => Value::Text(node.availability.as_str().into()),
        name => match node.record.fact(name) {
            None => Value::Missing,
            Some(Fact::Text(text)) => Value::Text(text.into()),
            Some(Fact::Json(_)) => return None,
        },
    })
}

impl<'v> Value<'v> {
    fn of(json: &'v Json) -> Option<Value<'v>> {
        match json {
            Json::String(text) => Some(Value::Text(text.into())),
            Json::Bool(flag) => Some(Value::Bool(*flag)),
            Json::Number(number) => number.as_u64().map(Value::Number),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// Its truth value in `{{#if}}`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Missing => false,
            Value::Text(text) => !text.is_empty(),
            Value::Address(_) => true,
            Value::Number(number) => *number != 0,
            Value::Bool(flag) => *flag,
        }
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Value::Missing => return None,
            Value::Text(text) => Cow::Borrowed(text),
            Value::Address(address) => address.to_string().into(),
            Value::Number(number) => number.to_string().into(),
            Value::Bool(flag) => flag.to_string().into(),
        })
    }

    /// Appends it as the engine prints it.
    pub(super) fn write(&self, text: &mut String) -> Option<()> {
        match self {
            Value::Missing => return None,
            Value::Text(value) => text.push_str(value),
            // Writing to a string does not fail.
            Value::Address(address) => write!(text, "{address}").ok()?,
            Value::Number(number) => write!(text, "{number}").ok()?,
            Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        }
        Some(())
    }
}
