//! `{{frontend_port part}}`: the port on which a balancer listens for a part, or null if there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};
use serde_json::{Map, Value};

use super::Shared;
use super::block::{Listener, Listeners, Played, key};
use super::choice::{argument, other, service};
use crate::endpoint::Port;
use crate::errors::chain;
use crate::name::Name;
use crate::record::text;
use crate::roster::Patterns;

/// The port of a part without a number or with the number 1, unless the variable `frontend_port` sets
/// another.
const DEFAULT_FIRST: u16 = 80;

/// The variable for the number of consecutive ports that parts may get without being named by the operator.
const MOST: &str = "max_frontends";

/// Its default.
const DEFAULT_MOST: u16 = 10;

/// Variables that name a port that the same config uses, possibly after an address.
const TAKEN: [&str; 2] = ["stats_bind", "peers_bind"];

/// The variable `frontend_port_PART` sets the port. Otherwise `app` and `app1` get the port `frontend_port`
/// (80), `app2` the next one, and so on, for `max_frontends` ports. Anyone who can write a record can name
/// any part. So a port beyond these is opened only if the operator names the part, by that variable or in the
/// template. A port that the config uses for something else is opened only by that variable.
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
        if let Some(service) = service(h)? {
            return self.of_service(&key(&part, Some(&service)), &row(ctx, None)?);
        }
        let (block, asked) = {
            let notes = self.0.notes();
            (Arc::clone(&notes.parts), notes.inside.clone())
        };
        let in_use = &self.0.previous().in_use.ports;
        let allotted =
            |parts: &[Played]| Ok::<_, RenderError>(allot(parts, &row(ctx, asked.as_deref())?, in_use));
        let own;
        let listeners = match (block.place(&part), block.listeners.get()) {
            (Some(_), Some(listeners)) => listeners,
            (Some(_), None) => {
                let listeners = allotted(&block.parts)?;
                block.listeners.get_or_init(|| listeners)
            }
            (None, _) => {
                let alone = Name::parse(&part);
                let alone = alone.map(|part| Played { part: part.to_string(), active: 0, old: false });
                own = allotted(&block.parts.iter().cloned().chain(alone).collect::<Vec<_>>())?;
                &own
            }
        };
        let why = match listeners.get(&part) {
            Some(Listener::At(port)) => {
                self.0.uses(|in_use| drop(in_use.ports.insert(*port, part)));
                return Ok(ScopedJson::Derived((*port).into()));
            }
            Some(Listener::Taken { port, holder }) => {
                format!("{holder} uses port {port}; set another")
            }
            Some(Listener::Reserved { port, variable }) => {
                format!("the variable `{variable}` uses port {port}; set another")
            }
            Some(Listener::Beyond { most }) => {
                format!("at most {most} parts without a port of their own get one ({MOST}); set its port")
            }
            None => "set its port".to_owned(),
        };
        self.0.warn(format!("part {part} gets no frontend: {why} with --set frontend_port_{part}=PORT"));
        Ok(ScopedJson::Derived(Value::Null))
    }
}

impl FrontendPort<'_> {
    /// The port of a service, if the operator set one. Services have no row of ports: a node offers what it likes.
    fn of_service(&self, key: &str, row: &Row) -> Result<ScopedJson<'static>, RenderError> {
        let Some(port) = row.stated.get(key) else { return Ok(ScopedJson::Derived(Value::Null)) };
        let rank = |name: &str| (name.contains('/'), name.to_owned());
        let others = row.stated.iter().filter(|(name, other)| *other == port && rank(name) < rank(key));
        if let Some((holder, _)) = others.min_by_key(|(name, _)| rank(name)) {
            self.0.warn(format!("service {key} gets no frontend: {holder} uses port {port}"));
            return Ok(ScopedJson::Derived(Value::Null));
        }
        self.0.uses(|in_use| drop(in_use.ports.insert(*port, key.to_owned())));
        Ok(ScopedJson::Derived((*port).into()))
    }
}

/// The operator's settings for ports.
#[derive(Debug, Default)]
struct Row {
    /// The ports of parts that have a variable of their own.
    stated: BTreeMap<String, u16>,
    /// Ports that the config uses, with the variables that name them. A part gets one only through its own
    /// variable.
    reserved: BTreeMap<u16, String>,
    /// The port of the first part.
    first: u16,
    /// The number of ports.
    most: u16,
    /// The parts that were requested by their names.
    named: BTreeSet<String>,
}

fn row(ctx: &Context, asked: Option<&str>) -> Result<Row, RenderError> {
    let nothing = Map::new();
    let vars = ctx.data().pointer("/vars").and_then(Value::as_object).unwrap_or(&nothing);
    let port = |name: &str, value: &Value| {
        Port::parse(&text(value).unwrap_or_default())
            .map(Port::get)
            .map_err(|error| other(format!("the variable `{name}` is not a port: {}", chain(&error))))
    };
    let mut row = Row { first: DEFAULT_FIRST, most: DEFAULT_MOST, ..Row::default() };
    for (name, value) in vars {
        // `[vars.app2]`
        if let Some(value) = value.get("frontend_port") {
            let name = format!("{name}.frontend_port");
            let port = port(&name, value)?;
            row.stated.insert(name.trim_end_matches(".frontend_port").to_owned(), port);
            row.reserved.insert(port, name);
        }
        if let Some(part) = name.strip_prefix("frontend_port_") {
            let port = port(name, value)?;
            row.stated.insert(part.to_owned(), port);
            row.reserved.insert(port, name.clone());
        }
        if let Some(port) =
            text(value).filter(|_| TAKEN.contains(&name.as_str())).and_then(|bind| port_of(&bind))
        {
            row.reserved.insert(port, name.clone());
        }
    }
    if let Some(value) = vars.get("frontend_port") {
        row.first = port("frontend_port", value)?;
    }
    if let Some(value) = vars.get(MOST) {
        let most = text(value).and_then(|most| most.parse().ok());
        row.most =
            most.ok_or_else(|| other(format!("the variable `{MOST}` is not a number from 0 to 65535")))?;
    }
    // With other conditions, the parts are what the records say.
    let asked = asked.filter(|asked| !asked.contains(' ')).and_then(|asked| Patterns::parse(asked).ok());
    row.named = asked.iter().flat_map(Patterns::literals).map(str::to_owned).collect();
    Ok(row)
}

/// The port at the end of a bind address, before its options.
fn port_of(bind: &str) -> Option<u16> {
    let address = bind.split_ascii_whitespace().next()?;
    address.rsplit(':').next()?.parse().ok()
}

/// Gives each part its port: first the ports that the operator set, then those that follow from the parts'
/// numbers.
///
/// Two parts never share a port: HAProxy would accept that and give each part some of the other's requests.
/// If two parts claim a port (`app` and `app1`), the last good output decides, else the number of nodes: a
/// node that names a new part must not take the port of a serving one.
fn allot(parts: &[Played], row: &Row, in_use: &BTreeMap<u16, String>) -> Listeners {
    let mut listeners = Listeners::new();
    let mut claims: Vec<(&str, u16, usize)> = Vec::new();
    for Played { part, active, .. } in parts {
        let part = part.as_str();
        if let Some(port) = row.stated.get(part) {
            claims.push((part, *port, *active));
            continue;
        }
        let Some(place) = numbered(part) else { continue };
        let is_named = row.named.contains(part);
        let port = row.first.checked_add(place).filter(|_| place < row.most || is_named);
        match port.map(|port| (port, row.reserved.get(&port))) {
            Some((port, None)) => claims.push((part, port, *active)),
            Some((port, Some(variable))) => {
                listeners.insert(part.to_owned(), Listener::Reserved { port, variable: variable.clone() });
            }
            None => drop(listeners.insert(part.to_owned(), Listener::Beyond { most: row.most })),
        }
    }
    claims.sort_by_key(|&(part, port, active)| {
        let is_new = in_use.get(&port).is_none_or(|holder| holder != part);
        (!row.stated.contains_key(part), is_new, std::cmp::Reverse(active), part.len(), part)
    });
    let mut holders: BTreeMap<u16, &str> = BTreeMap::new();
    for (part, port, _) in claims {
        let holder = *holders.entry(port).or_insert(part);
        let taken = || Listener::Taken { port, holder: holder.to_owned() };
        listeners.insert(part.to_owned(), if holder == part { Listener::At(port) } else { taken() });
    }
    listeners
}

/// The index in the row of ports, for a part whose name is letters and an optional number.
fn numbered(part: &str) -> Option<u16> {
    let plain = part.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let digits = &part[plain.len()..];
    // `app01` would be a second name for the port of `app1`.
    if !plain.bytes().all(|byte| byte.is_ascii_alphabetic()) || digits.starts_with('0') {
        return None;
    }
    let number: u16 = if digits.is_empty() { 1 } else { digits.parse().ok()? };
    number.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_the_name_is_a_place_in_the_row_of_ports() {
        for (part, expect) in [
            ("app", Some(0)),
            ("app1", Some(0)),
            ("app3", Some(2)),
            ("app-api", None),
            ("app0", None),
            ("app01", None),
            ("app99999", None),
        ] {
            assert_eq!(numbered(part), expect, "{part}");
        }
    }

    /// `vars` are the operator's variables; `in_use` has the ports of the last good output.
    #[track_caller]
    fn check(parts: &[(&str, usize)], vars: serde_json::Value, in_use: &[(u16, &str)], expect: &str) {
        let parts: Vec<Played> = parts
            .iter()
            .map(|(part, active)| Played { part: (*part).to_owned(), active: *active, old: false })
            .collect();
        let context = Context::wraps(serde_json::json!({ "vars": vars })).unwrap();
        let in_use = in_use.iter().map(|(port, part)| (*port, (*part).to_owned())).collect();
        let asked = vars.get("asked").and_then(|asked| asked.as_str());
        let seen: Vec<String> = allot(&parts, &row(&context, asked).unwrap(), &in_use)
            .iter()
            .map(|(part, listener)| match listener {
                Listener::At(port) => format!("{part}:{port}"),
                Listener::Taken { holder, .. } => format!("{part}<{holder}"),
                Listener::Reserved { variable, .. } => format!("{part}<{variable}"),
                Listener::Beyond { .. } => format!("{part}!"),
            })
            .collect();
        assert_eq!(seen.join(" "), expect);
    }

    use serde_json::json;

    #[test]
    fn a_port_belongs_to_one_part() {
        let none = || json!({});
        check(&[("app1", 3), ("app2", 1), ("app-x", 1)], none(), &[], "app1:80 app2:81");
        check(&[("app", 1), ("app1", 3)], none(), &[], "app<app1 app1:80");
        check(&[("app", 3), ("app1", 3)], none(), &[], "app:80 app1<app");
        check(
            &[("app1", 3), ("app2", 9)],
            json!({"frontend_port_app2": 80}),
            &[],
            "app1<frontend_port_app2 app2:80",
        );
        check(
            &[("app1", 3), ("app2", 9)],
            json!({"frontend_port_app1": "81"}),
            &[],
            "app1:81 app2<frontend_port_app1",
        );
        check(&[("app-x", 1)], json!({"frontend_port_app-x": 443}), &[], "app-x:443");
        check(&[("app2", 1)], json!({"frontend_port": 65535}), &[], "app2!");
        // The part that already listens there keeps the port.
        check(&[("app", 9), ("app1", 3)], none(), &[(80, "app1")], "app<app1 app1:80");
        check(&[("app", 9)], none(), &[(80, "app1")], "app:80");
    }

    #[test]
    fn only_a_few_ports_are_opened_for_parts_that_nobody_has_named() {
        let parts = &[("app1", 1), ("app10", 1), ("app11", 1), ("app364", 9)];
        check(parts, json!({}), &[], "app1:80 app10:89 app11! app364!");
        check(parts, json!({"max_frontends": 1}), &[], "app1:80 app10! app11! app364!");
        check(parts, json!({"max_frontends": 0}), &[], "app1! app10! app11! app364!");
        check(parts, json!({"max_frontends": "11"}), &[], "app1:80 app10:89 app11:90 app364!");
        check(parts, json!({"frontend_port_app364": 443}), &[], "app1:80 app10:89 app11! app364:443");
        check(&[("app364", 9)], json!({"asked": "app364"}), &[], "app364:443");
        check(&[("app364", 9)], json!({"asked": "app*"}), &[], "app364!");
        check(
            &[("app364", 9), ("app99", 1)],
            json!({"asked": "app*,{app364,app1}"}),
            &[],
            "app364:443 app99!",
        );
        check(&[("app364", 9)], json!({"asked": "app364 rack=r1"}), &[], "app364!");
        // A table of variables for one part.
        let own = json!({"app364": {"frontend_port": 443}, "app2": {"balance": "first"}});
        check(&[("app2", 1), ("app364", 9)], own, &[], "app2:81 app364:443");
        check(&[("app2", 1)], json!({"x": {"frontend_port": 81}}), &[], "app2<x.frontend_port");
        // A port that the config uses otherwise is refused too.
        check(&[("app2", 1)], json!({"stats_bind": "127.0.0.1:81 ssl"}), &[], "app2<stats_bind");
        check(&[("app2", 1)], json!({"frontend_port_x": 81}), &[], "app2<frontend_port_x");
    }
}
