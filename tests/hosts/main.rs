//! A whole fleet, each host in a network namespace of its own: what balancers serve while hosts, networks, stores and
//! clocks fail. `README.md` beside this file says how to run it.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]

mod able;
mod app;
mod balancer;
mod cut;
mod fleet;
mod git;
#[path = "../it/fixture/haproxy.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod haproxy;
mod host;
mod load;
mod namespaces;
mod plan;
mod process;
mod row;
mod rows;
mod table;
mod wait;
mod watch;

use fleet::Fleet;
use plan::Plan;
use row::Row;
use table::Table;

/// A row of the table.
type Fault = dyn Fn(&mut Fleet) -> Row + Sync;

/// The fleet goes through the faults, one after the other.
fn go_through(plan: Plan, faults: &[&Fault], table: &Table) {
    let mut fleet = Fleet::start(plan);
    for fault in faults {
        table.add(fault(&mut fleet));
    }
}

/// What may not break, at a hasty pace: three fleets of ten hosts at most at the same time.
#[test]
fn the_short_table() {
    if !able::able() {
        return;
    }
    let nodes: &[&Fault] = &[
        &rows::drain,
        &|fleet| rows::cut_off_while_one_comes(fleet, 4),
        &|fleet| rows::cut_off(fleet, 7),
        &rows::node_dead,
    ];
    let stores: &[&Fault] =
        &[&rows::git_stopped, &rows::disk_full, &rows::refused_for_some, &rows::power_outage];
    let two_stores: &[&Fault] =
        &[&rows::split, &rows::agents_restarted, &|fleet| rows::clock(fleet, "-1h"), &|fleet| {
            rows::clock(fleet, "+30d")
        }];
    let (table, short) = (Table::default(), Plan::short());
    std::thread::scope(|scope| {
        scope.spawn(|| go_through(short.clone(), nodes, &table));
        scope.spawn(|| go_through(short.clone(), stores, &table));
        scope.spawn(|| go_through(short.clone().two_stores(), two_stores, &table));
    });
    table.finish();
}

/// All rows, at the pace of production.
#[test]
#[ignore = "half an hour, for the figures"]
fn the_whole_table() {
    if !able::able() {
        return;
    }
    let faults: &[&Fault] = &[
        &rows::drain,
        &rows::node_dead,
        &rows::link_down,
        &|fleet| rows::cut_off(fleet, 6),
        &|fleet| rows::cut_off(fleet, 9),
        &|fleet| rows::cut_off(fleet, 15),
        &rows::git_stopped,
        &rows::git_killed,
        &rows::black_hole,
        &rows::disk_full,
        &rows::read_only,
        &rows::refused,
        &rows::refused_for_some,
        &|fleet| rows::clock(fleet, "-1h"),
        &|fleet| rows::clock(fleet, "-15s"),
        &|fleet| rows::clock(fleet, "+30d"),
        &rows::balancers_cut_off,
        &rows::agents_restarted,
        &rows::power_outage,
        &rows::several_dead,
        &rows::several_hung,
        &rows::flapping,
        &|fleet| rows::cut_off_while_one_comes(fleet, 15),
    ];
    let table = Table::default();
    go_through(Plan::long(), faults, &table);
    go_through(Plan::long().two_stores(), &[&rows::split], &table);
    table.finish();
}
