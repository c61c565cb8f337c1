use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::output::limits::{Count, Counts, Crossed, Refusal};
use crate::store::Visitor;

fn record(id: &str, facts: &[(&str, &str)]) -> Record {
    let mut value = json!({ "instance-id": id, "nodepart": "app1" });
    for (fact, text) in facts {
        value[fact] = (*text).into();
    }
    Record::parse(json!({ "filetype": "nodepresence", "value": value }).to_string().as_bytes()).unwrap()
}

fn step(second: i64, before: Before, nodes: &[(Option<Record>, Option<Record>)]) -> Step {
    let nodes = nodes.iter().map(|(before, after)| NodeStep {
        id: after.as_ref().or(before.as_ref()).unwrap().id().clone(),
        before: before.clone(),
        after: after.clone(),
        withdrawn: false,
    });
    let time = Timestamp::from_second(second).unwrap();
    Step { moment: Moment { commit: format!("c{second}"), time }, nodes: nodes.collect(), before }
}

/// The steps of a small fleet, newest first.
fn steps(first: Before) -> Vec<Step> {
    let one = |state| record("i-1", &[("state", state), ("port", "80")]);
    let moved = record("i-1", &[("state", "done"), ("port", "81")]);
    let two = record("i-2", &[]);
    vec![
        step(500, Before::Step, &[(Some(moved.clone()), None)]),
        step(400, Before::Step, &[(Some(one("done")), Some(moved))]),
        step(300, Before::Step, &[(Some(one("setup")), Some(one("done"))), (Some(two.clone()), None)]),
        step(200, Before::Step, &[(None, Some(two))]),
        step(100, first, &[(None, Some(one("setup")))]),
    ]
}

fn walk<V: Visitor>(visitor: &mut V, steps: Vec<Step>) -> usize {
    let count = steps.len();
    let mut visited = 0;
    for step in steps {
        visited += 1;
        if visitor.visit(step) == ControlFlow::Break(()) {
            break;
        }
    }
    visited.min(count)
}

fn told(log: &Log) -> Vec<String> {
    let told = log
        .events
        .iter()
        .map(|event| format!("{} {} {}: {}", event.moment.commit, event.what.kind(), event.id, event.what));
    told.collect()
}

#[test]
fn steps_are_events_of_nodes() {
    let mut log = Log::new(Filter::default(), 100);
    walk(&mut log, steps(Before::Nothing));
    let whole = [
        "c500 left i-1: left",
        "c400 facts i-1: port 80 -> 81",
        "c300 state i-1: state setup -> done",
        "c300 left i-2: left",
        "c200 joined i-2: joined",
        "c100 joined i-1: joined",
    ];
    assert_eq!(told(&log), whole);
    assert_eq!(log.begins, None);
    // A history that begins late does not show when a node joined.
    let mut log = Log::new(Filter::default(), 100);
    walk(&mut log, steps(Before::Unknown));
    assert_eq!(told(&log)[5], "c100 there i-1: joined by then: the known history begins here");
    assert_eq!(log.begins.unwrap().commit, "c100");
}

#[test]
fn a_log_is_filtered_and_ends_early() {
    let of = |filter: Filter, most: usize| {
        let mut log = Log::new(filter, most);
        let visited = walk(&mut log, steps(Before::Nothing));
        (told(&log), visited)
    };
    let id = Filter { id: Some(Name::parse("i-2").unwrap()), ..Filter::default() };
    assert_eq!(of(id.clone(), 9).0, ["c300 left i-2: left", "c200 joined i-2: joined"]);
    assert_eq!(of(id, 1), (vec!["c300 left i-2: left".to_owned()], 3));
    let part = |glob: &str| Filter { part: Some(glob::Pattern::new(glob).unwrap()), ..Filter::default() };
    assert_eq!(of(part("app*"), 9).0.len(), 6);
    assert_eq!(of(part("db*"), 9).0.len(), 0);
    let since = |second| Filter { since: Some(Timestamp::from_second(second).unwrap()), ..Filter::default() };
    assert_eq!(of(since(400), 9), (of(Filter::default(), 2).0, 5), "a clock may be wrong by some hours");
    assert_eq!(of(since(400 + 86_400), 9), (vec![], 3));
}

#[test]
fn a_node_has_states_over_time_and_facts_since_a_step() {
    let mut history = NodeHistory::new(Name::parse("i-1").unwrap());
    walk(&mut history, steps(Before::Nothing).split_off(1));
    let since = |fact: &str, value: &str| match history.since(fact, &value.into())? {
        Since::At(moment) => Some(format!("at {}", moment.commit)),
        Since::Before(moment) => Some(format!("before {}", moment.commit)),
    };
    assert_eq!(since("port", "81").as_deref(), Some("at c400"));
    assert_eq!(since("state", "done").as_deref(), Some("at c300"));
    assert_eq!(since("nodepart", "app1").as_deref(), Some("at c100"));
    assert_eq!(since("port", "80"), None, "a value that the history does not end with");
    let now = Timestamp::from_second(1000).unwrap();
    let spans: Vec<_> =
        history.spans.iter().map(|span| (span.presence.clone(), span.duration(now))).collect();
    let (done, setup) = (Some("done".to_owned()), Some("setup".to_owned()));
    let seconds = |seconds| Some(SignedDuration::from_secs(seconds));
    assert_eq!(
        spans,
        [(Presence::Listed(done), seconds(700)), (Presence::Listed(setup.clone()), seconds(200))]
    );

    // It left, and the known history begins late.
    let mut history = NodeHistory::new(Name::parse("i-1").unwrap());
    walk(&mut history, steps(Before::Unknown));
    assert_eq!(history.spans[0].presence, Presence::Away);
    assert_eq!(history.spans[0].duration(now), seconds(500));
    let first = history.spans.last().unwrap();
    assert_eq!((first.presence.clone(), first.duration(now)), (Presence::Listed(setup), None));
    assert_eq!(history.since("port", &"81".into()), None);
}

#[test]
fn clocks_that_disagree_give_no_duration() {
    let one = |state| record("i-1", &[("state", state)]);
    let mut history = NodeHistory::new(Name::parse("i-1").unwrap());
    let steps = vec![
        step(50, Before::Step, &[(Some(one("setup")), Some(one("done")))]),
        step(100, Before::Nothing, &[(None, Some(one("setup")))]),
    ];
    walk(&mut history, steps);
    assert_eq!(history.spans[1].duration(Timestamp::from_second(60).unwrap()), None);
}

fn moment(second: i64) -> Moment {
    Moment { commit: format!("c{second}"), time: Timestamp::from_second(second).unwrap() }
}

#[test]
fn a_stretch_has_the_steps_after_its_first_version() {
    let stretch = |from: Bound, to: Bound, first: Before| {
        let mut stretch = Stretch::new(from, to);
        walk(&mut stretch, steps(first));
        let commits = |moment: &Moment| moment.commit.clone();
        let steps: Vec<_> = stretch.steps.iter().map(|step| commits(&step.moment)).collect();
        let begins_late = (stretch.is_cut, stretch.was_empty);
        (stretch.first.as_ref().map(commits).unwrap_or_default(), steps.join(" "), begins_late)
    };
    let check = |from: Bound, to: Bound, expect: (&str, &str, bool)| {
        for (before, is_known) in [(Before::Nothing, true), (Before::Unknown, false)] {
            let (first, steps, begins_late) = stretch(from.clone(), to.clone(), before);
            assert_eq!((first.as_str(), steps.as_str()), (expect.0, expect.1), "{from:?} {to:?}");
            assert_eq!(begins_late, (expect.2 && !is_known, expect.2 && is_known), "{from:?} {to:?}");
        }
    };
    let at = |second| Bound::Time(Timestamp::from_second(second).unwrap());
    let named = |second| Bound::Moment(moment(second));
    for end in [at(500), at(9000), named(500), Bound::Newest] {
        check(at(200), end.clone(), ("c200", "c500 c400 c300", false));
        check(at(299), end.clone(), ("c200", "c500 c400 c300", false));
        check(named(200), end.clone(), ("c200", "c500 c400 c300", false));
        check(Bound::Newest, end, ("c500", "", false));
    }
    check(at(100), at(399), ("c100", "c300 c200", false));
    check(named(100), named(300), ("c100", "c300 c200", false));
    check(named(300), named(300), ("c300", "", false));
    // The history begins later, and the account says so: the list was empty, or nothing is known.
    check(at(99), at(200), ("c100", "c200", true));
    check(at(10), at(99), ("", "", true));
    // A version that is not in the history may have had nodes.
    assert_eq!(stretch(named(99), at(200), Before::Nothing).2, (true, false));
    // A version that changed nothing is no step.
    let between = |second| Bound::Moment(Moment { commit: "x".to_owned(), ..moment(second) });
    check(between(250), between(450), ("c200", "c400 c300", false));
    // A store with the records before a step needs twice the memory.
    let mut all = Stretch::new(at(200), Bound::Newest);
    walk(&mut all, steps(Before::Nothing));
    assert!(all.steps.iter().flat_map(|step| &step.nodes).all(|node| node.before.is_none()));
}

#[test]
fn a_version_is_found_by_its_name_where_clocks_disagree() {
    let mut all = steps(Before::Nothing);
    all[1].moment.time = Timestamp::from_second(700).unwrap();
    all[2].moment.time = Timestamp::from_second(50).unwrap();
    let end = Bound::Moment(all[2].moment.clone());
    let mut stretch = Stretch::new(Bound::Moment(moment(100)), end);
    walk(&mut stretch, all);
    assert_eq!(stretch.first, Some(moment(100)));
    let seen: Vec<_> = stretch.steps.iter().map(|step| step.moment.commit.as_str()).collect();
    assert_eq!(seen, ["c300", "c200"]);
}

fn refusal(question: &str, now: u64) -> Refusal {
    Refusal { question: question.to_owned(), before: Some(9), now, limit: Crossed::MaxShrink(50) }
}

#[test]
fn a_replay_counts_changes_and_keeps_the_worst_moments() {
    let counts = |active: &[(&str, u64)]| -> Counts {
        active
            .iter()
            .map(|(name, active)| ((*name).to_owned(), Count { active: *active, leaving: 0 }))
            .collect()
    };
    let changed = |reload: Option<&str>| Outcome {
        changed: true,
        reload: reload.map(str::to_owned),
        ..Outcome::default()
    };
    let mut replay =
        Replay::begin(&moment(1), &Outcome::default(), &counts(&[("app*", 3), ("app*/app2", 1)]));
    replay.add(&moment(2), changed(None), &counts(&[("app*", 4), ("app*/app2", 2)]));
    replay.add(&moment(3), changed(Some("a line has changed")), &counts(&[("app*", 2)]));
    replay.add(&moment(4), Outcome::default(), &counts(&[("app*", 2), ("db*", 7)]));
    assert_eq!((replay.versions, replay.changes.len(), replay.reloads()), (3, 2, 1));
    let extents: Vec<_> = replay
        .extents
        .iter()
        .map(|(question, extent)| {
            format!("{question} {}-{} {}", extent.fewest, extent.most, extent.at.commit)
        })
        .collect();
    assert_eq!(extents, ["app* 2-4 c3", "app*/app2 0-2 c3", "db* 7-7 c4"]);
}

#[test]
fn a_refusal_lasts_until_its_question_is_whole_again() {
    let mut replay = Replay::begin(&moment(1), &Outcome::default(), &Counts::new());
    let mut add = |second, refused: &[(&str, u64)], held, failed: Option<&str>| {
        let refused = refused.iter().map(|(question, now)| refusal(question, *now)).collect();
        let failed = failed.map(str::to_owned);
        let outcome = Outcome { refused, held, failed, ..Outcome::default() };
        replay.add(&moment(second), outcome, &Counts::new());
    };
    add(2, &[("app*", 1)], Some(8), None);
    add(3, &[("app*", 0), ("db*", 2)], Some(9), None);
    // What could not be rendered was not judged.
    add(4, &[], None, Some("app.hbs:1: there is no `x`"));
    add(5, &[], None, Some("app.hbs:1: there is no `y`"));
    add(6, &[("db*", 2)], None, None);
    add(7, &[("app*", 1), ("db*", 2)], None, None);
    let told: Vec<_> = replay
        .refusals
        .iter()
        .map(|refused| {
            let until = refused.until.as_ref().map_or("-", |until| &until.commit);
            format!(
                "{} {} {until} {:?} {}",
                refused.refusal.question, refused.since.commit, refused.held, refused.refusal.now
            )
        })
        .collect();
    assert_eq!(told, ["app* c2 c6 Some(8) 1", "db* c3 - Some(9) 2", "app* c7 - None 1"]);
    let failed: Vec<_> = replay
        .failures
        .iter()
        .map(|failed| {
            (failed.since.commit.as_str(), failed.until.as_ref().map(|until| until.commit.as_str()))
        })
        .collect();
    assert_eq!(failed, [("c4", Some("c6"))]);
    assert_eq!(replay.failures[0].reason, "app.hbs:1: there is no `x`");
}
