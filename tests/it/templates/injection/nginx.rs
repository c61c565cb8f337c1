//! `nginx-upstream.conf`, judged by the servers that nginx tries to reach.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Model, assert_reported, hostile, is_name};
use crate::judges::nginx::tried;

/// Whether the node is listed in its part's upstream.
fn address(model: &Model<'_>) -> Option<SocketAddr> {
    (model.availability == "active").then_some(())?;
    Some(SocketAddr::new(model.address?, model.port.ok()??))
}

/// The upstreams with their servers. Of names that nginx treats as equal, the one with the most nodes is
/// used.
fn expected<'m>(models: impl Iterator<Item = &'m Model<'m>>) -> BTreeMap<String, BTreeSet<SocketAddr>> {
    let mut parts: BTreeMap<String, Vec<&Model<'_>>> = BTreeMap::new();
    for model in models.filter(|model| model.availability != "absent" && model.address.is_some()) {
        if let Some(part) = model.app_part() {
            parts.entry(part).or_default().push(model);
        }
    }
    let mut best: BTreeMap<String, (String, Vec<&Model<'_>>)> = BTreeMap::new();
    for (part, models) in parts {
        let rival = best.entry(part.to_lowercase()).or_default();
        if models.len() > rival.1.len() {
            *rival = (part, models);
        }
    }
    best.into_values()
        .map(|(part, models)| (part, models.into_iter().filter_map(address).collect()))
        .collect()
}

/// Only text that the template writes around names and addresses.
fn is_plain(line: &str) -> bool {
    let upstream =
        line.strip_prefix("upstream ").and_then(|rest| rest.strip_suffix(" {")).is_some_and(is_name);
    let server = line
        .strip_prefix("    server ")
        .and_then(|rest| rest.strip_suffix(';'))
        .is_some_and(|server| server.parse::<SocketAddr>().is_ok());
    upstream
        || server
        || line == "}"
        || line.starts_with("# Written by")
        || line.starts_with("    server 127.0.0.1:9 down; # ")
}

#[test]
fn nginx_connects_to_whom_the_rules_say_and_to_nobody_else() {
    let (fleet, nodes) = hostile();
    let outcome = fleet.render("nginx-upstream", &[]);
    let strange: Vec<&str> = outcome.good().lines().filter(|line| !is_plain(line)).collect();
    assert!(strange.is_empty(), "{strange:#?}");

    let models: Vec<Model<'_>> = nodes.iter().filter_map(Model::of).collect();
    let expect = expected(models.iter().filter(|model| model.in_scope()));
    let names: BTreeSet<String> = expect.keys().cloned().collect();
    assert!(names.len() > 20 && expect["app1"].len() > 1_000);
    let upstreams = outcome.good().lines().filter(|line| line.starts_with("upstream ")).count();
    assert_eq!(upstreams, names.len());
    let seen = tried(outcome.good(), &names);
    for (part, servers) in &expect {
        let missing: Vec<_> = servers.difference(&seen[part]).collect();
        let extra: Vec<_> = seen[part].difference(servers).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{part}: missing {missing:?}, extra {extra:?}");
    }

    let asked = models.iter().filter(|model| model.in_scope() && model.app_part().is_some());
    assert_reported(&outcome.reports, asked.filter(|model| address(model).is_none()));
}
