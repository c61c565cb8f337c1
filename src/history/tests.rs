use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
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
