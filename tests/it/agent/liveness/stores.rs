//! Stores that take no heartbeats, and stores that not all nodes can reach.

use std::fs;
use std::time::Duration;

use super::fleet::{Fleet, MAX_AGE, id};
use super::{LONGER, Place, SOME_BEATS};
use crate::fixture::machine::Machine;
use crate::fixture::{GitDaemon, Relay};

#[test]
fn a_store_that_takes_no_heartbeats_makes_nobody_silent() {
    let mut fleet = Fleet::start(Place::git(), 3);
    let list = fleet.repository();
    list.hook("pre-receive", "exit 1");
    // Longer than any node may be silent, but shorter than ten seconds between two heartbeats. The agent
    // takes such a gap for a stop of its own, which proves nothing either.
    fleet.stay_served(&[1, 2, 3], MAX_AGE + Duration::from_millis(500));
    assert!(fleet.said("pre-receive hook declined") > 0, "{}", fleet.log());
    list.unhook("pre-receive");
    fleet.stay_served(&[1, 2, 3], SOME_BEATS);
    fleet.kill_apps(&[2]);
    fleet.become_served(&[1, 3]);
    fleet.end(0);
}

#[test]
fn who_reaches_only_the_store_that_is_away_here_is_not_silent() {
    let second = GitDaemon::start();
    second.repository("list.git");
    let far = second.url("list.git");
    let through = |relay: &Relay, url: &str| {
        let address = relay.address().to_string();
        let (scheme, rest) = url.split_once("//").unwrap();
        format!("{scheme}//{address}/{}", rest.split_once('/').unwrap().1)
    };
    let place = Place::git();
    let Place::Git(first) = &place else { unreachable!() };
    let to_second = Relay::start(second.address(), usize::MAX);
    let to_first = Relay::start(first.address(), usize::MAX);
    let (near, behind_relay) = (place.url(), through(&to_first, &place.url()));
    let balancer = Machine::new("lb1").store(&near).store(through(&to_second, &far));
    let mut fleet = Fleet::of(place, balancer);
    // If its connection is cut, a publisher retries until its patience ends.
    let path = fleet.balancer.path("presence.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}[timeouts]\npublish = 3\n")).unwrap();
    for number in 1..=4 {
        let stores = if number == 1 { &behind_relay } else { &near };
        fleet.add_machine(number, Machine::new("app").store(stores).store(&far));
        fleet.start_app(number);
    }
    fleet.start_balancer();
    fleet.become_served(&[1, 2, 3, 4]);
    // From now on only the second store has heartbeats of the first application, and the balancer is cut off
    // from that store.
    to_first.cut();
    to_second.cut();
    fleet.wait_for("the store to be missed", || fleet.metric("presence_store_errors_total{").is_some());
    fleet.stay_served(&[1, 2, 3, 4], LONGER);
    to_second.heal();
    fleet.stay_served(&[1, 2, 3, 4], SOME_BEATS);
    fleet.kill_apps(&[1]);
    fleet.become_served(&[2, 3, 4]);
    fleet.end(0);
}

/// A single run without an agent has only the times in the heartbeats.
#[test]
fn a_beat_whose_heartbeat_is_refused_drops_nobody() {
    let mut fleet = Fleet::new(Place::git());
    for number in 1..=3 {
        fleet.add(number);
        let time = if number == 1 { "2026-01-02T02:00:00Z" } else { "2026-01-02T03:04:00Z" };
        let mut beat = fleet.apps[&number].machine.command(&["beat"]);
        assert!(beat.env("PRESENCE_NOW", time).output().unwrap().status.success());
    }
    let list = fleet.repository();
    list.hook("pre-receive", "exit 1");
    fleet.balancer.run(&["beat"]).code(1).says("pre-receive hook declined");
    assert_eq!(fleet.served(), [1, 2, 3], "{}", fs::read_to_string(fleet.balancer.path("hosts")).unwrap());
    list.unhook("pre-receive");
    // Now silence is proof.
    fleet.balancer.run(&["beat"]).code(0).says(&format!("{}.json: was last seen 1h 4m ago", id(1)));
    assert_eq!(fleet.served(), [2, 3]);
}
