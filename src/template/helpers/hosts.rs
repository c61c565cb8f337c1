//! `{{hosts_names domain=vars.hosts_domain}}`, in a block over nodes: the names under which a hosts file may
//! list the node, first its host name, then its instance-id.
//!
//! A node receives all traffic for a name under which it is listed. So it gets a name only if no other node
//! in scope claims it, or if the node had the name first. It gets a name in a domain only if the domain
//! belongs to the fleet. Otherwise a node could take the name of another node or of a package mirror. No node
//! gets a name that programs look up by themselves.

use std::collections::{BTreeMap, BTreeSet};

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};

use super::Shared;
use super::choice::other;
use super::refusal::refused_fact;
use crate::escape;
use crate::record::text;
use crate::roster::Availability;
use crate::template::Previous;
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
        let node =
            shared.current().ok_or_else(|| other("use {{hosts_names}} in a block over nodes".into()))?;
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
        if is_reserved(id) {
            return Err(refused_fact("instance-id", RESERVED));
        }
        match shared.holder(id) {
            Some(holder) if holder != id => {
                return Err(refused_fact("instance-id", "is a name that another node already had"));
            }
            None if shared.claims(id).ids > 1 => {
                return Err(refused_fact("instance-id", "differs from that of another node only in case"));
            }
            _ => {}
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
            Some(Ok(name)) if is_reserved(&name) => Some(RESERVED.to_owned()),
            Some(Ok(name)) => match (shared.holder(&name), shared.claims(&name)) {
                (Some(holder), _) if holder == id => {
                    return Ok(ScopedJson::Derived(format!("{name} {id}").into()));
                }
                (None, Claims { ids: 0, hostnames: 1 }) => {
                    return Ok(ScopedJson::Derived(format!("{name} {id}").into()));
                }
                (None, Claims { ids: 0, .. }) => Some("is stated by other nodes too".to_owned()),
                (Some(_), _) => Some("is a name that another node already had".to_owned()),
                (None, _) => Some("is the instance-id of another node".to_owned()),
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

const OUTSIDE: &str = "is in a domain that the variable `hosts_domain` does not list";

const RESERVED: &str = "is a name that programs look up on their own";

/// Names that programs look up by themselves: a node with such a name would receive traffic meant for another
/// machine.
const LOOKED_UP: [&str; 19] = [
    "broadcasthost",
    "chef",
    "chef-server",
    "gateway",
    "instance-data",
    "isatap",
    "kubernetes",
    "loghost",
    "mailhost",
    "metadata",
    "puppet",
    "puppetca",
    "puppetdb",
    "salt",
    "saltmaster",
    "wpad",
    "_gateway",
    "_outbound",
    "host",
];

/// Whether programs look up the name, or its first label, by themselves.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let first = name.split('.').next().unwrap_or_default();
    let is_local = ["localhost", "ip6-"].iter().any(|prefix| first.starts_with(prefix))
        || name.split('.').any(|label| label == "localhost" || label == "localdomain");
    is_local || LOOKED_UP.contains(&first)
}

/// How many nodes claim a name, ignoring case.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Claims {
    /// The number that claim it as their instance-id.
    ids: usize,
    /// The number that claim it as their `hostname`.
    hostnames: usize,
}

/// Which nodes in scope claim which names. Nodes that no block lists claim none.
#[derive(Debug, Default)]
pub(super) struct Names {
    claims: BTreeMap<String, Claims>,
    /// For a name with several claimants: the node that had it in the last good output, if any.
    holders: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn of(members: &[Member<'_>], previous: &Previous) -> Names {
        let mut names = Names::default();
        // Of the nodes that claim a name, those in the last good output.
        let mut old: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        let mut all: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        let listed =
            |member: &&Member<'_>| member.in_scope && member.node.availability != Availability::Absent;
        for member in members.iter().filter(listed) {
            let id = member.node.record.id().as_str();
            let hostname = member.node.record.text("hostname");
            let own = id.to_ascii_lowercase();
            names.claims.entry(own.clone()).or_default().ids += 1;
            let other = hostname.map(|name| name.to_ascii_lowercase());
            if let Some(name) = &other {
                names.claims.entry(name.clone()).or_default().hostnames += 1;
            }
            for name in [Some(own), other].into_iter().flatten() {
                if previous.had(member.at) {
                    old.entry(name.clone()).or_default().insert(id);
                }
                all.entry(name).or_default().insert(id);
            }
        }
        for (name, ids) in all.into_iter().filter(|(_, ids)| ids.len() > 1) {
            let before = previous.in_use.names.get(&name).filter(|id| ids.contains(id.as_str())).cloned();
            let only = old.get(&name).filter(|old| old.len() == 1).and_then(|old| old.first());
            if let Some(holder) = before.or_else(|| only.map(|id| (*id).to_owned())) {
                names.holders.insert(name, holder);
            }
        }
        names
    }

    pub(super) fn claims(&self, name: &str) -> Claims {
        self.claims.get(&name.to_ascii_lowercase()).copied().unwrap_or_default()
    }

    pub(super) fn holder(&self, name: &str) -> Option<&str> {
        self.holders.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    pub(super) fn holders(&self) -> &BTreeMap<String, String> {
        &self.holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_programs_look_up_are_nobody_s() {
        for name in
            ["puppet", "Chef", "wpad.example.net", "localhost", "localhost4", "ip6-loopback", "a.localhost"]
        {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["web1", "puppet1", "mail", "db.example.net", "i-0123"] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
