//! Wrong clocks, by libfaketime (Debian package of that name).

use std::fs;
use std::process::Command;

use jiff::SignedDuration;

use super::fleet::{Fleet, id};
use super::{Place, SOME_BEATS};

/// Gives a program a clock with this offset, in the notation of faketime (`-1h`).
fn wrong(command: &mut Command, by: &str) {
    let library = fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime, of the Debian package of that name");
    // The clock for waits stays right, as when an operator sets the clock.
    command.env("LD_PRELOAD", library).env("FAKETIME", by).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// The tolerance for an offset: on a busy machine, a heartbeat that arrives late makes it appear larger.
const TOLERANCE: i64 = 12;

/// Whether exactly one line of the log reports this clock with about this offset.
fn says_once(fleet: &Fleet, whose: &str, seconds: i64) -> bool {
    let log = fleet.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(whose)).collect();
    assert!(lines.len() <= 1, "{log}");
    let Some(line) = lines.first() else { return false };
    // `about 59m 58s behind`
    let size = line.split("about ").nth(1).unwrap().split(" behind").next().unwrap();
    let size: SignedDuration = size.parse().unwrap();
    assert!((size.as_secs() - seconds).abs() <= TOLERANCE, "{log}");
    true
}

#[test]
fn a_node_whose_clock_is_wrong_stays_and_is_named() {
    let mut fleet = Fleet::new(Place::git());
    for number in 1..=5 {
        fleet.add(number);
        fleet.start_app_with(number, |command| match number {
            1 => wrong(command, "-1h"),
            2 => wrong(command, "-15s"),
            _ => {}
        });
    }
    fleet.start_balancer();
    fleet.become_served(&[1, 2, 3, 4, 5]);
    let told = |fleet: &Fleet| {
        let first = says_once(fleet, &format!("{}: its clock is", id(1)), 3600);
        let second = says_once(fleet, &format!("{}: its clock is", id(2)), 15);
        first && second
    };
    fleet.wait_for("both to be named", || told(&fleet));
    fleet.stay_served(&[1, 2, 3, 4, 5], SOME_BEATS);
    assert!(told(&fleet));
    assert!(!fleet.log().contains("which is probably wrong"), "{}", fleet.log());
    fleet.end(0);
}

#[test]
fn a_balancer_whose_own_clock_is_wrong_drops_nobody_and_says_so() {
    let mut fleet = Fleet::new(Place::git());
    for number in 1..=4 {
        fleet.add(number);
        fleet.start_app(number);
    }
    fleet.start_balancer_with(|command| wrong(command, "+1h"));
    fleet.become_served(&[1, 2, 3, 4]);
    let told = |fleet: &Fleet| says_once(fleet, "which is probably wrong", 3600);
    fleet.wait_for("it to be said", || told(&fleet));
    fleet.stay_served(&[1, 2, 3, 4], SOME_BEATS);
    assert!(told(&fleet) && fleet.log().contains("behind the clock of this machine"), "{}", fleet.log());
    fleet.end(0);
}
