//! What only HAProxy's config needs: stable server ids, and a port to listen on for each part.

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};
use serde_json::Value;

use super::Shared;
use super::choice::{argument, other};
use crate::endpoint::Port;
use crate::errors::chain;
use crate::record::text;

/// The port of the part that has no number, or the number 1, unless the variable `frontend_port` names another.
const DEFAULT_FRONTEND_PORT: u16 = 80;

pub(super) fn register<'a>(engine: &mut Handlebars<'a>, shared: &Shared<'a>) {
    engine.register_helper("haproxy_id", Box::new(Id(shared.clone())));
    engine.register_helper("frontend_port", Box::new(FrontendPort(shared.clone())));
}

/// `{{haproxy_id instance-id}}`: an id that stays with that node whatever happens to the others, so that a hash over
/// servers moves nobody else's keys. For any other text: the hash of it.
struct Id<'a>(Shared<'a>);

impl HelperDef for Id<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let name = argument(h, 0)?;
        let id = self.0.server_id(&name).unwrap_or_else(|| crate::escape::haproxy::server_id(&name));
        Ok(ScopedJson::Derived(id.into()))
    }
}

/// `{{frontend_port part}}`: the port on which the balancer listens for a part, null if there is none.
///
/// The variable `frontend_port_PART` says it. Else `app` and `app1` have the port `frontend_port` (80), `app2` the next
/// one and so on: a part that joins never moves another one's port. Two parts never share a port, since HAProxy would
/// accept that and hand each a share of the other's requests.
struct FrontendPort<'a>(Shared<'a>);

impl HelperDef for FrontendPort<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        ctx: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let part = argument(h, 0)?;
        let variable = |name: &str| match ctx.data().pointer("/vars").and_then(|vars| vars.get(name)) {
            None => Ok(None),
            Some(value) => Port::parse(&text(value).unwrap_or_default())
                .map(|port| Some(port.get()))
                .map_err(|error| other(format!("the variable `{name}` is no port: {}", chain(&error)))),
        };
        let own = format!("frontend_port_{part}");
        let port = match variable(&own)? {
            Some(port) => Some(port),
            None => numbered_port(&part, variable("frontend_port")?.unwrap_or(DEFAULT_FRONTEND_PORT)),
        };
        let Some(port) = port else {
            self.0.warn(format!("part {part} gets no frontend: name its port with --set {own}=PORT"));
            return Ok(ScopedJson::Derived(Value::Null));
        };
        let holder = self.0.notes().listening.entry(port).or_insert_with(|| part.clone()).clone();
        if holder != part {
            self.0.warn(format!(
                "part {part} gets no frontend: port {port} is that of {holder}; name another with --set {own}=PORT"
            ));
            return Ok(ScopedJson::Derived(Value::Null));
        }
        Ok(ScopedJson::Derived(port.into()))
    }
}

/// The port of a part whose name is letters and perhaps a number.
fn numbered_port(part: &str, first: u16) -> Option<u16> {
    let plain = part.trim_end_matches(|digit: char| digit.is_ascii_digit());
    if !plain.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let number: u16 = if plain == part { 1 } else { part[plain.len()..].parse().ok()? };
    first.checked_add(number.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::numbered_port;

    #[test]
    fn a_number_in_the_name_is_a_place_in_the_row_of_ports() {
        for (part, expect) in [
            ("app", Some(80)),
            ("app1", Some(80)),
            ("app3", Some(82)),
            ("app-api", None),
            ("app0", None),
            ("app99999", None),
        ] {
            assert_eq!(numbered_port(part, 80), expect, "{part}");
        }
    }
}
