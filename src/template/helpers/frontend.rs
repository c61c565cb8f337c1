//! `{{frontend_port part}}`: the port on which a balancer listens for a part, null if there is none.

use std::collections::BTreeMap;
use std::sync::Arc;

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};
use serde_json::Value;

use super::Shared;
use super::choice::{argument, other};
use super::parts::Played;
use crate::endpoint::Port;
use crate::errors::chain;
use crate::name::Name;
use crate::record::text;

/// The port of the part that has no number, or the number 1, unless the variable `frontend_port` names another.
const DEFAULT_FIRST: u16 = 80;

/// The variable `frontend_port_PART` says the port. Else `app` and `app1` have the port `frontend_port` (80), `app2` the
/// next one and so on.
pub(super) struct FrontendPort<'a>(pub(super) Shared<'a>);

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
        let allotted = |parts: &[Played]| {
            let mut stated = BTreeMap::new();
            for Played { part, .. } in parts {
                if let Some(port) = variable(&format!("frontend_port_{part}"))? {
                    stated.insert(part.as_str(), port);
                }
            }
            let first = variable("frontend_port")?.unwrap_or(DEFAULT_FIRST);
            Ok::<_, RenderError>(allot(parts, &stated, first))
        };
        let block = Arc::clone(&self.0.notes().parts);
        let own;
        let listeners = match (block.place(&part), block.listeners.get()) {
            (Some(_), Some(listeners)) => listeners,
            (Some(_), None) => {
                let listeners = allotted(&block.parts)?;
                block.listeners.get_or_init(|| listeners)
            }
            (None, _) => {
                let alone = Name::parse(&part).map(|part| Played { part, active: 0 });
                own = allotted(&block.parts.iter().cloned().chain(alone).collect::<Vec<_>>())?;
                &own
            }
        };
        match listeners.get(&part) {
            Some(Listener::At(port)) => return Ok(ScopedJson::Derived((*port).into())),
            Some(Listener::Taken { port, holder }) => self.0.warn(format!(
                "part {part} gets no frontend: port {port} is that of {holder}; name another with \
                 --set frontend_port_{part}=PORT"
            )),
            None => self.0.warn(format!(
                "part {part} gets no frontend: name its port with --set frontend_port_{part}=PORT"
            )),
        }
        Ok(ScopedJson::Derived(Value::Null))
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Listener {
    At(u16),
    Taken { port: u16, holder: String },
}

/// Where the parts of a block are reached.
pub(super) type Listeners = BTreeMap<String, Listener>;

/// Gives every part its port: those that are `stated`, then those that follow from the parts' numbers.
///
/// Two parts never share a port, since HAProxy would accept that and hand each a share of the other's requests. Where two
/// would (`app` and `app1`), the one with more nodes listens: a single node that gives itself a new part must not take
/// the port of one that serves.
fn allot(parts: &[Played], stated: &BTreeMap<&str, u16>, first: u16) -> Listeners {
    let mut claims: Vec<(&str, u16, usize)> = parts
        .iter()
        .filter_map(|Played { part, active }| {
            let part = part.as_str();
            let port = stated.get(part).copied().or_else(|| numbered(part, first))?;
            Some((part, port, *active))
        })
        .collect();
    claims.sort_by_key(|&(part, _, active)| {
        (!stated.contains_key(part), std::cmp::Reverse(active), part.len(), part)
    });
    let mut holders: BTreeMap<u16, &str> = BTreeMap::new();
    let listeners = claims.into_iter().map(|(part, port, _)| {
        let holder = *holders.entry(port).or_insert(part);
        let taken = || Listener::Taken { port, holder: holder.to_owned() };
        (part.to_owned(), if holder == part { Listener::At(port) } else { taken() })
    });
    listeners.collect()
}

/// The port of a part whose name is letters and perhaps a number.
fn numbered(part: &str, first: u16) -> Option<u16> {
    let plain = part.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let digits = &part[plain.len()..];
    // `app01` would be a second name for the port of `app1`.
    if !plain.bytes().all(|byte| byte.is_ascii_alphabetic()) || digits.starts_with('0') {
        return None;
    }
    let number: u16 = if digits.is_empty() { 1 } else { digits.parse().ok()? };
    first.checked_add(number.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_the_name_is_a_place_in_the_row_of_ports() {
        for (part, expect) in [
            ("app", Some(80)),
            ("app1", Some(80)),
            ("app3", Some(82)),
            ("app-api", None),
            ("app0", None),
            ("app01", None),
            ("app99999", None),
        ] {
            assert_eq!(numbered(part, 80), expect, "{part}");
        }
        assert_eq!(numbered("app2", u16::MAX), None);
    }

    #[track_caller]
    fn check(parts: &[(&str, usize)], stated: &[(&str, u16)], expect: &str) {
        let parts: Vec<Played> = parts
            .iter()
            .map(|(part, active)| Played { part: Name::parse(part).unwrap(), active: *active })
            .collect();
        let stated: BTreeMap<&str, u16> = stated.iter().copied().collect();
        let seen: Vec<String> = allot(&parts, &stated, 80)
            .iter()
            .map(|(part, listener)| match listener {
                Listener::At(port) => format!("{part}:{port}"),
                Listener::Taken { holder, .. } => format!("{part}<{holder}"),
            })
            .collect();
        assert_eq!(seen.join(" "), expect);
    }

    #[test]
    fn a_port_belongs_to_one_part() {
        check(&[("app1", 3), ("app2", 1), ("app-x", 1)], &[], "app1:80 app2:81");
        check(&[("app", 1), ("app1", 3)], &[], "app<app1 app1:80");
        check(&[("app", 3), ("app1", 3)], &[], "app:80 app1<app");
        check(&[("app1", 3), ("app2", 9)], &[("app2", 80)], "app1<app2 app2:80");
        check(&[("app1", 3), ("app2", 9)], &[("app1", 81)], "app1:81 app2<app1");
        check(&[("app-x", 1)], &[("app-x", 443)], "app-x:443");
    }
}
