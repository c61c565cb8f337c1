//! Which nodes a balancer's file has, over a network that carries heartbeats: silent nodes leave it, and no
//! others.

mod clocks;
mod fleet;
mod starts;
mod stores;

use std::fs;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::place::Place;
use fleet::{Fleet, MAX_AGE};

/// Longer than any node may be silent.
const LONGER: Duration = Duration::from_secs(MAX_AGE.as_secs() + 4);

/// Long enough for a wrong decision to show.
const SOME_BEATS: Duration = Duration::from_secs(4);

/// A change that a look finds arrives at once, although the file depends on heartbeats, and without a beat.
fn changes_arrive(place: Place) {
    let lb = place.machine("lb1");
    fs::create_dir_all(lb.path("templates/common")).unwrap();
    fs::write(
        lb.path("templates/common/apps.hbs"),
        "{{#nodes part=\"app*\"}}{{address}} {{state}}\n{{/nodes}}",
    )
    .unwrap();
    let text = format!(
        "template-dir = 'templates'\n[agent]\ninterval = '1h'\npoll = '150ms'\nquiet-min = '50ms'\n\
         [[render]]\nname = 'apps'\noutput = '{}'\nmax-age = '4h'\n",
        lb.path("apps").display()
    );
    fs::write(lb.path("presence.toml"), text).unwrap();
    let app = place.machine("app1");
    app.good(&["state", "done"]);
    let agent = Daemon::start(&lb);
    // Waiting for a lock would take as long as a publisher's patience: 60 s.
    let arrives = |expected: &str| {
        let started = Instant::now();
        agent.wait_for(expected, || fs::read_to_string(lb.path("apps")).is_ok_and(|text| text == expected));
        let took = started.elapsed();
        assert!(took < Duration::from_secs(30), "{expected:?} took {took:?}\n{}", agent.log());
    };
    arrives("10.0.0.2 done\n");
    app.fact("ipv4", "10.0.9.9");
    app.good(&["publish"]);
    arrives("10.0.9.9 done\n");
    for state in ["draining", "done", "draining", "done"] {
        app.good(&["state", state]);
        arrives(&format!("10.0.9.9 {state}\n"));
    }
    let log = agent.log();
    assert!(!log.contains("has held") && !log.contains("holds `"), "{log}");
}

#[test]
fn changes_arrive_over_git() {
    changes_arrive(Place::git());
}

#[test]
fn changes_arrive_over_ssh() {
    changes_arrive(Place::ssh());
}

#[test]
fn many_that_fall_silent_at_once_are_kept_until_enough_are_heard_again() {
    let mut fleet = Fleet::start(Place::git(), 5);
    fleet.kill_apps(&[1, 2, 3]);
    fleet.add(6);
    fleet.stay_served(&[1, 2, 3, 4, 5], MAX_AGE / 2);
    let held = |fleet: &Fleet, count| fleet.metric("presence_file_held{") == Some(count);
    fleet.wait_for("them to be held", || held(&fleet, 3));
    // Other changes are followed.
    fleet.start_app(6);
    fleet.become_served(&[1, 2, 3, 4, 5, 6]);
    fleet.stay_served(&[1, 2, 3, 4, 5, 6], SOME_BEATS);
    assert!(held(&fleet, 3));
    assert_eq!(fleet.said("silent, but kept"), 1, "{}", fleet.log());
    // Two of seven may be missed, so the hold ends. These two get their full time again.
    fleet.start_app(1);
    fleet.wait_for("the end", || held(&fleet, 0));
    fleet.start_app(2);
    fleet.start_app(3);
    fleet.stay_served(&[1, 2, 3, 4, 5, 6], SOME_BEATS);
    assert!(held(&fleet, 0));
    fleet.end(1);
}

#[test]
fn what_is_accepted_as_gone_stays_gone_until_it_is_heard() {
    let mut fleet = Fleet::start(Place::git(), 5);
    fleet.kill_apps(&[1, 2, 3]);
    fleet.wait_for("them to be held", || fleet.metric("presence_file_held{") == Some(3));
    assert_eq!(fleet.served(), [1, 2, 3, 4, 5]);
    let hosts = fleet.balancer.path("hosts").display().to_string();
    let mut accept = fleet.balancer.command(&["accept", &hosts]);
    let output = accept.env_remove("PRESENCE_NOW").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fleet.served(), [4, 5]);
    fleet.stay_served(&[4, 5], SOME_BEATS);
    fleet.start_app(2);
    fleet.become_served(&[2, 4, 5]);
    fleet.stay_served(&[2, 4, 5], SOME_BEATS);
    assert_eq!(fleet.metric("presence_file_held{"), Some(0));
    fleet.end(1);
}
