use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::output::limits::Count;
use crate::roster::{Source, States};
use crate::store::Snapshot;

/// A roster with that many active nodes of each part.
fn roster(parts: &[(&str, usize)]) -> Roster {
    let files: Vec<(String, String)> = parts
        .iter()
        .flat_map(|(part, count)| (0..*count).map(move |number| (format!("i-{part}-{number}"), *part)))
        .map(|(id, part)| {
            let value = format!(r#"{{"instance-id":"{id}","nodepart":"{part}","state":"done"}}"#);
            (format!("{id}.json"), format!(r#"{{"filetype":"nodepresence","value":{value}}}"#))
        })
        .collect();
    let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
    Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default())
}

/// The counts of a template that asks for `app*`, each of its parts, and `db`.
fn counts(roster: &Roster) -> Counts {
    let mut counts =
        Counts::from([("app*".to_owned(), Count::default()), ("db".to_owned(), Count::default())]);
    for node in roster.nodes.iter().filter(|node| node.availability == Availability::Active) {
        let part = node.record.part().unwrap().into_owned();
        match part.starts_with("app") {
            true => {
                counts.entry("app*".to_owned()).or_default().active += 1;
                counts.entry(format!("app*/{part}")).or_default().active += 1;
            }
            false => counts.entry("db".to_owned()).or_default().active += 1,
        }
    }
    counts
}

fn decided(roster: &Roster, gone: &[String], doubtful: &[String]) -> Decision {
    let missed = Missed {
        gone: gone.iter().map(|id| (id.clone(), Reason::NeverSeen)).collect(),
        doubtful: doubtful.iter().cloned().collect(),
        ..Missed::default()
    };
    let heard = without(roster, gone.iter().chain(doubtful));
    let given = AnswerCounts { listed: Some(counts(roster)), heard: Some(counts(&heard)) };
    decide(&missed, roster, &Identity::default(), Limits::default(), &given)
}

fn of(part: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("i-{part}-{number}")).collect()
}

#[test]
fn a_few_that_are_silent_go_and_many_are_held() {
    let fleet = roster(&[("app1", 15), ("db", 5)]);
    let check = |gone: usize, doubtful: usize, held: bool| {
        let all = of("app1", gone + doubtful);
        let decision = decided(&fleet, &all[..gone], &all[gone..]);
        let expect = all[..gone].iter().cloned().collect();
        let seen = if held { &decision.held } else { &decision.dropped };
        assert_eq!(seen, &expect, "{gone} gone, {doubtful} doubtful");
    };
    check(1, 0, false);
    check(7, 0, false);
    check(8, 0, true);
    check(15, 0, true);
    // The first of a group: the others have already missed a heartbeat.
    check(1, 8, true);
    check(1, 2, false);
}

#[test]
fn a_part_is_held_for_itself_unless_most_of_the_fleet_is_missed() {
    let fleet = roster(&[("app1", 10), ("app2", 1), ("db", 4)]);
    let gone = [of("app1", 2), of("app2", 1)].concat();
    let decision = decided(&fleet, &gone, &[]);
    assert_eq!(decision.held, of("app2", 1).into_iter().collect(), "the last node of its part");
    assert_eq!(decision.dropped, of("app1", 2).into_iter().collect());
    // 8 of 15: the single missed database is held as well.
    let decision = decided(&fleet, &[of("app1", 7), of("db", 1)].concat(), &[]);
    assert_eq!(decision.held.len(), 8);
}

#[test]
fn a_template_that_cannot_do_without_them_keeps_them() {
    let fleet = roster(&[("db", 1)]);
    let missed =
        Missed { gone: BTreeMap::from([("i-db-0".to_owned(), Reason::NeverSeen)]), ..Missed::default() };
    let given = AnswerCounts { listed: Some(counts(&fleet)), heard: None };
    let decision = decide(&missed, &fleet, &Identity::default(), Limits::default(), &given);
    assert_eq!(decision.held.len(), 1);
}

#[test]
fn nodes_that_were_accepted_as_gone_are_gone_until_they_are_heard() {
    let seen = |second| Some(Timestamp::from_second(second).unwrap());
    let mut fleet = roster(&[("app1", 3)]);
    fleet.nodes[0].last_seen = seen(1);
    fleet.nodes[1].last_seen = seen(2);
    let accepted = ids(&fleet, of("app1", 2).iter());
    let remembered = Remembered { accepted, ..Remembered::default() };
    assert_eq!(remembered.gone(&fleet), of("app1", 2).into_iter().collect());
    fleet.nodes[1].last_seen = seen(3);
    assert_eq!(remembered.gone(&fleet), of("app1", 1).into_iter().collect());
}

#[test]
fn stated_times_are_judged_by_the_clock_and_a_time_in_the_future_is_told() {
    let now = Timestamp::from_second(10_000).unwrap();
    let mut fleet = roster(&[("app1", 4)]);
    for (node, second) in fleet.nodes.iter_mut().zip([9_990, 9_000, 20_000]) {
        node.last_seen = Some(Timestamp::from_second(second).unwrap());
    }
    let missed = silent(&fleet, Evidence::Stated(now), SignedDuration::from_secs(60));
    let told: Vec<String> = missed.gone.iter().map(|(id, reason)| format!("{id} {reason}")).collect();
    assert_eq!(
        told,
        [
            "i-app1-1 was last seen 16m 40s ago",
            "i-app1-3 was never seen: it has no heartbeat and no `statetss`"
        ]
    );
    assert_eq!(missed.ahead.keys().collect::<Vec<_>>(), ["i-app1-2"]);
    let nothing = silent(&fleet, Evidence::Nothing, SignedDuration::from_secs(60));
    assert!(nothing.gone.is_empty());
}

#[test]
fn when_the_first_of_a_group_falls_silent_the_others_are_doubtful() {
    let fleet = roster(&[("app1", 5)]);
    let second = Duration::from_secs(1);
    let mut liveness = Liveness::new(1, 10 * second, BTreeMap::new());
    let mut beats = crate::store::Beats::new();
    let mut hear = |liveness: &mut Liveness, ids: &[usize], at_ms: u64| {
        let wall = Timestamp::from_millisecond(at_ms.try_into().unwrap()).unwrap();
        beats.extend(
            ids.iter().map(|number| (format!("i-app1-{number}"), crate::store::Heartbeat::Time(wall))),
        );
        let listed = fleet.nodes.iter().map(|node| crate::liveness::Listed {
            id: node.record.id().as_str(),
            changed: None,
            last_seen: None,
        });
        liveness.listed(listed);
        liveness.heard(0, &beats, Duration::from_millis(at_ms), wall);
    };
    hear(&mut liveness, &[0, 1, 2, 3, 4], 9_000);
    hear(&mut liveness, &[0, 1, 2, 3, 4], 10_000);
    // Three die at once. One has beaten before this reading, two after it, and the next reading is a little
    // late.
    hear(&mut liveness, &[1, 2, 3, 4], 11_200);
    (12..=18).for_each(|now| hear(&mut liveness, &[3, 4], now * 1_000));
    hear(&mut liveness, &[3, 4], 18_050);
    let missed = silent(&fleet, Evidence::Listened(&liveness, second), SignedDuration::from_secs(8));
    assert_eq!(missed.gone.into_keys().collect::<Vec<_>>(), ["i-app1-0"]);
    assert_eq!(missed.doubtful.into_iter().collect::<Vec<_>>(), ["i-app1-1", "i-app1-2"]);
}

proptest! {
    /// For any set of missed nodes: a server that HAProxy's checks find up stays, a node that was held is not
    /// dropped at once, and no part loses more than the limit allows.
    #[test]
    fn nothing_that_is_up_is_dropped_and_no_part_loses_more_than_its_limit(
        gone in prop::collection::btree_set(0..20usize, 0..20),
        doubtful in prop::collection::btree_set(0..20usize, 0..20),
        up in prop::collection::btree_set(0..20usize, 0..20),
        held in prop::collection::btree_set(0..20usize, 0..20),
    ) {
        let fleet = roster(&[("app1", 8), ("app2", 5), ("app3", 1), ("db", 6)]);
        let all: Vec<String> = fleet.nodes.iter().map(|node| node.record.id().to_string()).collect();
        let named = |some: &std::collections::BTreeSet<usize>| -> Vec<String> { some.iter().map(|n| all[*n].clone()).collect() };
        let mut decision = decided(&fleet, &named(&gone), &named(&doubtful));
        let before: Ids = named(&held).into_iter().map(|id| (id, None)).collect();
        let pardoned = decision.pardon(&before);
        let up: BTreeSet<String> = named(&up).into_iter().collect();
        decision.keep(&up);
        prop_assert!(decision.dropped.is_disjoint(&up));
        prop_assert!(decision.dropped.is_disjoint(&pardoned));
        prop_assert!(decision.dropped.iter().all(|id| !before.contains_key(id)));
        prop_assert!(decision.dropped.is_disjoint(&decision.held));
        for part in ["app1", "app2", "app3", "db"] {
            let size = all.iter().filter(|id| id.contains(&format!("-{part}-"))).count();
            let lost = decision.dropped.iter().filter(|id| id.contains(&format!("-{part}-"))).count();
            prop_assert!(lost * 2 <= size, "{part} loses {lost} of {size}");
        }
    }
}
