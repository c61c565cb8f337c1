//! `prometheus-sd.json`: every node with its labels, verbatim.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use presence::roster::Identity;

use super::{Model, assert_reported, hostile, is_something};
use crate::judges::prometheus::{Group, groups};
use crate::templates::fleet::balancer;

fn expected(model: &Model<'_>) -> Option<Group> {
    (model.availability != "absent").then_some(())?;
    let port = model.optional_port("metrics-port").ok()?.unwrap_or(9100);
    let mut labels = BTreeMap::from([
        ("availability".to_owned(), model.availability.to_owned()),
        ("node".to_owned(), model.id.clone()),
    ]);
    for (label, fact) in [("part", "nodepart"), ("stacktype", "stacktype"), ("deployment", "deployment")] {
        if model.facts.get(fact).is_some_and(is_something) {
            labels.insert(label.to_owned(), model.text(fact)?);
        }
    }
    Some(Group { targets: vec![SocketAddr::new(model.address?, port).to_string()], labels })
}

#[track_caller]
fn check(who: &Identity) {
    let (fleet, nodes) = hostile();
    let outcome = fleet.render_as(who, &[], "prometheus-sd", &[]);
    let models: Vec<Model<'_>> = nodes.iter().filter_map(Model::of).collect();
    let mut asked: Vec<&Model<'_>> =
        models.iter().filter(|model| who.stacktype.is_none() || model.in_scope()).collect();
    asked.sort_by(|a, b| a.id.cmp(&b.id));
    let expect: Vec<Group> = asked.iter().filter_map(|model| expected(model)).collect();
    let seen = groups(outcome.good());
    for (seen, expect) in seen.iter().zip(&expect) {
        assert_eq!(seen, expect);
    }
    assert_eq!(seen.len(), expect.len());
    let labels: BTreeSet<&str> =
        seen.iter().flat_map(|group| group.labels.keys().map(String::as_str)).collect();
    assert_eq!(labels, BTreeSet::from(["availability", "deployment", "node", "part", "stacktype"]));
    assert_reported(&outcome.reports, asked.into_iter().filter(|model| expected(model).is_none()));
}

#[test]
fn prometheus_reads_every_label_as_it_was_stated() {
    check(&balancer());
}

/// A user's laptop has no scope: the labels then contain values of nodes of all stacktypes and deployments.
#[test]
fn prometheus_reads_every_label_of_the_whole_list() {
    check(&Identity::default());
}
