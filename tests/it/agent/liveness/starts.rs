//! What an agent knows about silence right after its start.

use std::fs;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::fleet::{Fleet, MAX_AGE};
use super::{Place, SOME_BEATS};

#[test]
fn who_was_dropped_stays_dropped_over_a_restart() {
    let mut fleet = Fleet::start(Place::git(), 5);
    fleet.kill_apps(&[3]);
    let killed = Instant::now();
    fleet.become_served(&[1, 2, 4, 5]);
    // Its last heartbeat was sent up to a second earlier, or more on a busy machine.
    assert!(killed.elapsed() > MAX_AGE / 2, "after {:?}\n{}", killed.elapsed(), fleet.log());
    fleet.kill_balancer();
    fleet.start_balancer();
    // Longer than some beats take; a new fact shows that it renders.
    fleet.stay_served(&[1, 2, 4, 5], SOME_BEATS);
    fleet.apps[&1].machine.fact("ipv4", "10.0.9.9");
    let hosts = fleet.balancer.path("hosts");
    fleet.wait_for("the fact", || fs::read_to_string(&hosts).unwrap().contains("10.0.9.9"));
    fleet.stay_served(&[1, 2, 4, 5], Duration::from_secs(1));

    // An agent without memory gives the silent node the full time, as it does all others.
    fleet.kill_balancer();
    fs::remove_file(fleet.balancer.path("state/silent.json")).unwrap();
    fleet.start_balancer();
    let started = Instant::now();
    fleet.become_served(&[1, 2, 3, 4, 5]);
    fleet.become_served(&[1, 2, 4, 5]);
    assert!(started.elapsed() > MAX_AGE, "after {:?}\n{}", started.elapsed(), fleet.log());
    fleet.end(0);
}

#[test]
fn a_fresh_agent_listens_before_it_judges_old_heartbeats() {
    let mut fleet = Fleet::new(Place::git());
    let before = (Timestamp::now() - SignedDuration::from_hours(1)).to_string();
    for number in 1..=5 {
        fleet.add(number);
        let mut beat = fleet.apps[&number].machine.command(&["beat"]);
        assert!(beat.env("PRESENCE_NOW", &before).output().unwrap().status.success());
    }
    let started = Instant::now();
    fleet.start_balancer();
    fleet.become_served(&[1, 2, 3, 4, 5]);
    // After a power outage all others return, but not at once.
    fleet.stay_served(&[1, 2, 3, 4, 5], MAX_AGE / 4);
    for number in 1..=4 {
        fleet.start_app(number);
    }
    fleet.become_served(&[1, 2, 3, 4]);
    assert!(started.elapsed() > MAX_AGE, "after {:?}\n{}", started.elapsed(), fleet.log());
    fleet.stay_served(&[1, 2, 3, 4], Duration::from_secs(2));
    fleet.end(0);
}
