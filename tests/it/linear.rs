//! Ten times the nodes cost ten times the instructions, whatever the nodes state: no helper visits all nodes
//! for each node, or all parts for each part.

use std::fs;

use crate::fixture::fleet::{self, File};
use crate::fixture::instructions::instructions;
use crate::fixture::machine::Machine;

const FEW: usize = 100;

/// The maximum ratio of instructions for ten times the nodes. Sorting and maps take a little more than ten.
const LIMIT: f64 = 11.0;

/// An ordinary fleet.
fn usual(nodes: usize) -> Vec<File> {
    fleet::files(nodes, 1)
}

/// Each node has its own part.
fn all_different(nodes: usize) -> Vec<File> {
    let own = |(number, (name, text)): (usize, File)| {
        (name, text.replace("\"nodepart\": \"app1\"", &format!("\"nodepart\": \"app{number}\"")))
    };
    usual(nodes).into_iter().enumerate().map(own).collect()
}

/// Each node lacks a fact that the template needs, or states an invalid one.
fn all_bad(nodes: usize) -> Vec<File> {
    let bad = |(name, text): File| (name, text.replace("\"ipv4\": \"10.", "\"ipv4\": \"310."));
    usual(nodes).into_iter().map(bad).collect()
}

fn cost(template: &str, files: &[File]) -> f64 {
    let machine = Machine::new("lb1");
    let store = machine.path("list");
    fleet::directory(&store, files);
    let machine = machine.store(store.display());
    // All nodes are in scope.
    for fact in ["stacktype", "deployment"] {
        fs::remove_file(machine.path(&format!("nodeinfo/{fact}.txt"))).unwrap();
    }
    instructions(&machine.command(&["render", template, "-q", "-o", "out", "--force"])) as f64
}

#[track_caller]
fn is_linear(template: &str, fleet: fn(usize) -> Vec<File>) {
    let none = cost(template, &[]);
    let [few, many] = [FEW, 10 * FEW].map(|nodes| cost(template, &fleet(nodes)) - none);
    let times = many / few;
    assert!(
        times < LIMIT,
        "{template}: {few} instructions for {FEW} nodes, {times:.2} times that for ten times as many"
    );
}

#[test]
fn haproxy_takes_its_nodes_one_after_the_other() {
    is_linear("haproxy", usual);
}

#[test]
fn haproxy_takes_its_parts_one_after_the_other() {
    is_linear("haproxy", all_different);
}

#[test]
fn bad_nodes_cost_no_more_than_good_ones() {
    is_linear("haproxy", all_bad);
}

#[test]
fn names_of_hosts_are_compared_once() {
    is_linear("hosts", usual);
}
