//! `{{hosts_names domain=vars.hosts_domain}}`, in a block over nodes: the names under which a hosts file may list the
//! node, its host name first, then its instance-id.
//!
//! Whoever is listed under a name gets what is meant for that name. So a node is listed under a name only if no other
//! node in scope has it too, and under a name of a domain only if the domain is one of the fleet's own: otherwise any
//! node could call itself like another one, or like a mirror of packages.

use std::collections::BTreeMap;

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};

use super::Shared;
use super::choice::other;
use super::refusal::refused_fact;
use crate::escape;
use crate::record::text;
use crate::roster::{Availability, Node};
use crate::template::context::Member;

pub(super) struct HostsNames<'a>(pub(super) Shared<'a>);

impl HelperDef for HostsNames<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let shared = &self.0;
        let node = shared
            .current()
            .ok_or_else(|| other("{{hosts_names}} has its place in a block over nodes".into()))?;
        let domains = match h.hash_get("domain").filter(|domain| !domain.is_value_missing()) {
            Some(domain) => text(domain.value()).unwrap_or_default().to_ascii_lowercase(),
            None => String::new(),
        };
        let own = |name: &str| {
            name.split_once('.').is_none_or(|(_, domain)| {
                domains.split([',', ' ']).any(|own| own.trim_start_matches('.').eq_ignore_ascii_case(domain))
            })
        };
        let id = node.record.id().as_str();
        escape::hosts(id).map_err(|error| refused_fact("instance-id", &error.to_string()))?;
        if !own(id) {
            return Err(refused_fact("instance-id", OUTSIDE));
        }
        if shared.claims(id).ids > 1 {
            return Err(refused_fact("instance-id", "differs from that of another node only in case"));
        }
        let stated = node.record.value("hostname").filter(|value| !value.is_null());
        let Some(stated) = stated.filter(|value| value.as_str() != Some("")) else {
            return Ok(ScopedJson::Derived(id.into()));
        };
        let reason = match text(&stated).map(|name| escape::hosts(&name)) {
            None => Some("is a list or an object".to_owned()),
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(name)) if name.eq_ignore_ascii_case(id) => None,
            Some(Ok(name)) if !own(&name) => Some(OUTSIDE.to_owned()),
            Some(Ok(name)) => match shared.claims(&name) {
                Claims { ids: 0, hostnames: 1 } => {
                    return Ok(ScopedJson::Derived(format!("{name} {id}").into()));
                }
                Claims { ids: 0, .. } => Some("is stated by other nodes too".to_owned()),
                _ => Some("is the instance-id of another node".to_owned()),
            },
        };
        if let Some(reason) = reason {
            shared.warn(format!(
                "{}: {}: node {id} is listed without its `hostname`, which {reason}",
                node.store, node.path
            ));
        }
        Ok(ScopedJson::Derived(id.into()))
    }
}

const OUTSIDE: &str = "is in a domain that the variable `hosts_domain` does not name";

/// How many nodes have a name, in any case.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Claims {
    /// As their instance-id.
    ids: usize,
    /// As their `hostname`.
    hostnames: usize,
}

/// Who in scope has which name; those that no block lists have none.
pub(super) fn claims(members: &[Member<'_>]) -> BTreeMap<String, Claims> {
    let mut claims: BTreeMap<String, Claims> = BTreeMap::new();
    let listed = |node: &Node| node.availability != Availability::Absent;
    for node in members.iter().filter(|member| member.in_scope).map(|member| member.node) {
        if !listed(node) {
            continue;
        }
        claims.entry(node.record.id().as_str().to_ascii_lowercase()).or_default().ids += 1;
        if let Some(name) = node.record.text("hostname") {
            claims.entry(name.to_ascii_lowercase()).or_default().hostnames += 1;
        }
    }
    claims
}
