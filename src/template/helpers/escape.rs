//! One helper per format, which escapes a value for that format or refuses it.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, ScopedJson,
};

use super::add;
use super::choice::argument;
use super::refusal::refusal;
use crate::endpoint::{Address, Port};
use crate::errors::chain;
use crate::escape;
use crate::name::Name;

/// Escapes a value for a format, or gives the reason for a refusal.
pub(super) type Format = fn(&str) -> Result<String, String>;

/// All formats, by the names of their helpers.
const FORMATS: [(&str, Format); 17] = [
    ("haproxy_name", |value| escape::haproxy::name(value).map_err(|error| error.to_string())),
    ("haproxy_quoted", |value| escape::haproxy::quoted(value).map_err(|error| error.to_string())),
    ("haproxy_path", |value| escape::haproxy::path(value).map_err(|error| error.to_string())),
    ("hosts_name", |value| escape::hosts(value).map_err(|error| error.to_string())),
    ("json", |value| escape::json(value).map_err(|error| error.to_string())),
    ("nagios", |value| escape::nagios(value).map_err(|error| error.to_string())),
    ("nagios_name", |value| escape::nagios_name(value).map_err(|error| error.to_string())),
    ("nginx", |value| escape::nginx(value).map_err(|error| error.to_string())),
    ("pgbouncer", |value| escape::pgbouncer(value).map_err(|error| error.to_string())),
    ("properties", |value| escape::properties(value).map_err(|error| error.to_string())),
    ("shell", |value| escape::shell(value).map_err(|error| error.to_string())),
    ("yaml", |value| escape::yaml(value).map_err(|error| error.to_string())),
    ("as_flag", |value| escape::haproxy::flag(value).map_err(|error| unusable(&error.reason))),
    ("as_name", |value| Name::parse(value).map(|name| name.to_string()).map_err(|error| unusable(&error))),
    ("as_port", |value| Port::parse(value).map(|port| port.to_string()).map_err(|error| unusable(&error))),
    ("as_weight", |value| escape::haproxy::weight(value).map_err(|error| unusable(&error.reason))),
    ("bracketed", |value| {
        Address::parse(value).map(|found| found.bracketed()).map_err(|error| unusable(&error))
    }),
];

fn unusable(error: &dyn std::error::Error) -> String {
    format!("is unusable: {}", chain(error))
}

/// The format of a helper.
pub(super) fn format(name: &str) -> Option<Format> {
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
}

/// The names of the helpers that have a format.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FORMATS.into_iter().map(|(name, _)| name)
}

/// A helper that escapes its arguments. The result is not checked again: it may contain a newline if the
/// format allows one.
struct Spelling<F>(F);

impl<F: Fn(&Helper<'_>) -> Result<String, RenderError>> HelperDef for Spelling<F> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        (self.0)(h).map(|text| ScopedJson::Derived(text.into()))
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        r: &'reg Handlebars<'reg>,
        ctx: &'rc Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        write_spelt(&(self.0)(h)?, h, r, ctx, rc, out)
    }
}

/// Writes text that needs no further check. The engine writes the first line, since only the engine knows
/// whether a partial indents it. The other lines belong to the value and must not change.
fn write_spelt<'reg: 'rc, 'rc>(
    text: &str,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    let (line, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
    let escaping_was_off = rc.is_disable_escape();
    rc.set_disable_escape(true);
    let result = LineEscape(line).call(h, r, ctx, rc, out);
    rc.set_disable_escape(escaping_was_off);
    result?;
    if !rest.is_empty() {
        out.write(rest)?;
        rc.set_content_produced(true);
        rc.set_trailing_newline(rest.ends_with('\n'));
        rc.set_indent_before_write(false);
    }
    Ok(())
}

/// Makes the engine write a text as it writes a value.
pub(super) struct LineEscape<'t>(pub(super) &'t str);

impl HelperDef for LineEscape<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        _: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        Ok(ScopedJson::Derived(self.0.into()))
    }
}

pub(super) fn register(engine: &mut Handlebars<'_>) {
    for (name, format) in FORMATS {
        let spell = move |h: &Helper<'_>| format(&argument(h, 0)?).map_err(|reason| refusal(h, 0, &reason));
        engine.register_helper(name, Box::new(Spelling(spell)));
    }
    add(engine, "host_port", Spelling(host_port));
}

/// `{{host_port address port}}`: an address with its port, with an IPv6 address in brackets.
fn host_port(h: &Helper<'_>) -> Result<String, RenderError> {
    let address = Address::parse(&argument(h, 0)?).map_err(|error| refusal(h, 0, &unusable(&error)))?;
    let port = Port::parse(&argument(h, 1)?).map_err(|error| refusal(h, 1, &unusable(&error)))?;
    Ok(address.host_port(port))
}
