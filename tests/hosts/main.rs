//! A whole fleet, each host in a network namespace of its own: what balancers serve while hosts, networks,
//! stores and clocks fail. `README.md` beside this file explains how to run it.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]

mod able;
mod app;
mod balancer;
mod cut;
mod delay;
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

/// A row of the table, with its short name.
type Fault = (&'static str, &'static (dyn Fn(&mut Fleet) -> Row + Sync));

const DRAIN: Fault = ("drain", &rows::drain);
const DEAD: Fault = ("dead", &rows::node_dead);
const LINK: Fault = ("link", &rows::link_down);
const STOPPED: Fault = ("git-stopped", &rows::git_stopped);
const KILLED: Fault = ("git-killed", &rows::git_killed);
const BLACK_HOLE: Fault = ("git-black-hole", &rows::black_hole);
const LOSS: Fault = ("git-loss", &rows::packets_lost);
const SLOW: Fault = ("git-slow", &rows::git_slow);
const DISK: Fault = ("disk-full", &rows::disk_full);
const READ_ONLY: Fault = ("read-only", &rows::read_only);
const REFUSED: Fault = ("hook-all", &rows::refused);
const REFUSED_FOR_SOME: Fault = ("hook-some", &rows::refused_for_some);
const SPLIT: Fault = ("split", &rows::split);
const HOUR: Fault = ("clock-1h", &|fleet| rows::clock(fleet, "-1h"));
const SECONDS: Fault = ("clock-15s", &|fleet| rows::clock(fleet, "-15s"));
const DAYS: Fault = ("clock+30d", &|fleet| rows::clock(fleet, "+30d"));
const BALANCERS: Fault = ("balancers-cut", &rows::balancers_cut_off);
const RESTART: Fault = ("restart", &rows::agents_restarted);
const OUTAGE: Fault = ("outage", &rows::power_outage);

/// Runs a fleet through the faults, one after the other. `HOSTS_ROWS` selects some by their short names,
/// separated by commas.
fn go_through(plan: Plan, faults: &[Fault], table: &Table) {
    let chosen = std::env::var("HOSTS_ROWS").ok();
    let is_chosen = |name| chosen.as_ref().is_none_or(|chosen| chosen.split(',').any(|word| word == name));
    let faults: Vec<&Fault> = faults.iter().filter(|(name, _)| is_chosen(*name)).collect();
    if faults.is_empty() {
        return;
    }
    let mut fleet = Fleet::start(plan);
    for (_, fault) in faults {
        table.add(fault(&mut fleet));
    }
}

/// What must never break, at a fast pace: at most three fleets of ten hosts at a time.
#[test]
fn the_short_table() {
    if !able::able() {
        return;
    }
    let nodes: &[Fault] = &[
        DRAIN,
        ("cut-4", &|fleet| rows::cut_off_while_one_comes(fleet, 4)),
        ("cut-7", &|fleet| rows::cut_off(fleet, 7)),
        DEAD,
    ];
    let stores = &[STOPPED, DISK, REFUSED_FOR_SOME, OUTAGE];
    let two_stores = &[SPLIT, RESTART, HOUR, DAYS];
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
    let faults: &[Fault] = &[
        DRAIN,
        DEAD,
        LINK,
        ("cut-6", &|fleet| rows::cut_off(fleet, 6)),
        ("cut-9", &|fleet| rows::cut_off(fleet, 9)),
        ("cut-15", &|fleet| rows::cut_off(fleet, 15)),
        STOPPED,
        KILLED,
        BLACK_HOLE,
        LOSS,
        SLOW,
        DISK,
        READ_ONLY,
        REFUSED,
        REFUSED_FOR_SOME,
        HOUR,
        SECONDS,
        DAYS,
        BALANCERS,
        RESTART,
        OUTAGE,
        ("several-dead", &rows::several_dead),
        ("several-hung", &rows::several_hung),
        ("flapping", &rows::flapping),
        ("cut-all-joins", &|fleet| rows::cut_off_while_one_comes(fleet, 15)),
    ];
    let table = Table::default();
    go_through(Plan::long(), faults, &table);
    go_through(Plan::long().two_stores(), &[SPLIT], &table);
    table.print();
    table.finish();
}
