//! `(eq backup "yes")`, `(gt weight 5)` and similar helpers, which accept missing values.
//!
//! The engine's own helpers refuse a missing value and only say "argument 1 of {{eq}}". But it is normal that
//! only some nodes state a fact: a missing fact is equal to nothing. Values that have no order are an error
//! that names the value.

use std::cmp::Ordering;
use std::str::FromStr;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, JsonTruthy, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable, ScopedJson,
};
use serde_json::{Number, Value};

use super::add;

pub(super) fn register(engine: &mut Handlebars<'_>) {
    add(engine, "eq", Question(|h| Ok(equal(h)? == Some(true))));
    add(engine, "ne", Question(|h| Ok(equal(h)? != Some(true))));
    add(engine, "not", Question(|h| Ok(!argument(h, 0)?.is_some_and(|value| value.is_truthy(false)))));
    add(engine, "gt", Question(|h| Ok(order(h)? == Some(Ordering::Greater))));
    add(engine, "gte", Question(|h| Ok(order(h)?.is_some_and(Ordering::is_ge))));
    add(engine, "lt", Question(|h| Ok(order(h)? == Some(Ordering::Less))));
    add(engine, "lte", Question(|h| Ok(order(h)?.is_some_and(Ordering::is_le))));
}

/// A helper with a boolean result: `{{#if (x …)}}`, `{{#x …}}…{{else}}…{{/x}}` or `{{x …}}`.
struct Question(fn(&Helper<'_>) -> Result<bool, RenderError>);

impl HelperDef for Question {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        (self.0)(h).map(|answer| ScopedJson::Derived(answer.into()))
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        engine: &'reg Handlebars<'reg>,
        context: &'rc Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let answer = (self.0)(h)?;
        if !h.is_block() {
            return Ok(out.write(if answer { "true" } else { "false" })?);
        }
        let branch = if answer { h.template() } else { h.inverse() };
        branch.map_or(Ok(()), |branch| branch.render(engine, context, rc, out))
    }
}

/// Whether the two arguments are equal. `None` if one is missing.
fn equal(h: &Helper<'_>) -> Result<Option<bool>, RenderError> {
    Ok(match (argument(h, 0)?, argument(h, 1)?) {
        (Some(one), Some(other)) => Some(one == other),
        _ => None,
    })
}

/// The argument. `None` if it names a missing value.
fn argument<'h>(h: &'h Helper<'_>, index: usize) -> Result<Option<&'h Value>, RenderError> {
    let argument = h.param(index).ok_or_else(|| too_few(h, index))?;
    Ok((!argument.is_value_missing()).then(|| argument.value()))
}

fn too_few(h: &Helper<'_>, index: usize) -> RenderError {
    RenderErrorReason::Other(format!("{{{{{}}}}} needs argument {}", h.name(), index + 1)).into()
}

/// The order of the two arguments. `None` if they have none, such as a text and a list. A missing argument is
/// an error.
fn order(h: &Helper<'_>) -> Result<Option<Ordering>, RenderError> {
    for index in 0..2 {
        if argument(h, index)?.is_none() {
            return Err(RenderError::strict_error(h.param(index).and_then(|param| param.relative_path())));
        }
    }
    Ok(match (argument(h, 0)?, argument(h, 1)?) {
        (Some(one), Some(other)) => compare(one, other),
        _ => None,
    })
}

/// Compares as the engine does: numbers by value, even if one of them is a text; texts with texts, and
/// booleans with booleans.
fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => numbers(one, other),
        (Value::Number(one), Value::String(other)) => numbers(one, &Number::from_str(other).ok()?),
        (Value::String(one), Value::Number(other)) => numbers(&Number::from_str(one).ok()?, other),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

fn numbers(one: &Number, other: &Number) -> Option<Ordering> {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_is_equal_to_nothing_and_has_no_order() {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        register(&mut engine);
        let data = serde_json::json!({"a": "x", "n": 5, "m": "7", "f": 4.5, "list": [1]});
        let render = |question: &str| {
            let template = format!("{{{{#if ({question})}}}}yes{{{{else}}}}no{{{{/if}}}}");
            engine.render_template(&template, &data).map_err(|error| error.to_string())
        };
        for (question, expect) in [
            ("eq a \"x\"", "yes"),
            ("eq a \"y\"", "no"),
            ("eq backup \"yes\"", "no"),
            ("eq \"yes\" backup", "no"),
            ("eq backup backup", "no"),
            ("ne backup \"yes\"", "yes"),
            ("ne a \"x\"", "no"),
            ("not backup", "yes"),
            ("not a", "no"),
            ("not (eq backup \"yes\")", "yes"),
            ("eq n \"5\"", "no"),
            ("gt n 4", "yes"),
            ("gt m n", "yes"),
            ("lt n m", "yes"),
            ("gte f 4", "yes"),
            ("lte f 4", "no"),
            ("gt a 4", "no"),
            ("lt list a", "no"),
            ("gt 18446744073709551615 -1", "yes"),
        ] {
            assert_eq!(render(question).as_deref(), Ok(expect), "{question}");
        }
        for question in ["gt weight 5", "lte 5 weight"] {
            assert!(
                render(question).unwrap_err().contains("\"weight\""),
                "{question}: {:?}",
                render(question)
            );
        }
        assert!(render("eq a").unwrap_err().contains("{{eq}} needs argument 2"));
        let block = "{{#eq a \"x\"}}yes{{else}}no{{/eq}}{{#ne backup 1}}yes{{/ne}}{{eq a 1}}";
        assert_eq!(engine.render_template(block, &data).unwrap(), "yesyesfalse");
    }
}
