use super::*;
use crate::output::limits::{Count, Limits, judge_losses};
use crate::roster::Source;
use crate::store::Snapshot;

/// A roster of nodes: id, part, state. A state `{` is an unreadable file.
fn roster(nodes: &[(&str, &str, &str)]) -> Roster {
    let files: Vec<(String, String)> = nodes
        .iter()
        .map(|(id, part, state)| {
            let text = format!(
                r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"{part}","ipv4":"10.0.0.1","state":"{state}"}}}}"#
            );
            (format!("{id}.json"), if *state == "{" { "{".to_owned() } else { text })
        })
        .collect();
    let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
    let source = Source { store: "s", snapshot: &snapshot, stale: false };
    Roster::new(&[source], &States::default())
}

/// The answers that a template with `{{#parts "app*"}}{{#nodes part=part}}` gets.
fn asked(roster: &Roster) -> (AnswerNodes, Counts) {
    let (mut given, mut counts) = (AnswerNodes::new(), Counts::new());
    for (at, node) in (0..).zip(&roster.nodes).filter(|(_, node)| node.availability != Availability::Absent) {
        for question in ["app*".to_owned(), format!("app*/{}", node.record.part().unwrap())] {
            let count: &mut Count = counts.entry(question.clone()).or_default();
            let nodes = given.entry(question).or_default();
            match node.availability {
                Availability::Active => {
                    count.active += 1;
                    nodes.push(at);
                }
                _ => count.leaving += 1,
            }
        }
    }
    counts.entry("app*".to_owned()).or_default();
    (given, counts)
}

fn kept(roster: &Roster, before: Option<&Kept>, now: Timestamp) -> Kept {
    Kept::of(&asked(roster).0, roster, before, &BTreeSet::new(), now, false)
}

/// The questions that are refused, and the nodes that they keep.
fn refused(kept: &Kept, roster: &Roster, now: Timestamp) -> Vec<String> {
    refused_but(kept, roster, &[], now)
}

/// The same, if these nodes are known to be withdrawn.
fn refused_but(kept: &Kept, roster: &Roster, withdrawn: &[&str], now: Timestamp) -> Vec<String> {
    let (given, counts) = asked(roster);
    let withdrawn = withdrawn.iter().map(|id| Name::parse(id).unwrap()).collect();
    let losses = kept.losses(&given, &counts, roster, (&States::default(), &withdrawn), now);
    judge_losses(Limits::default(), &losses.losses, &counts)
        .iter()
        .map(|refusal| {
            let lost = losses.lost[&refusal.question].iter();
            let ids: Vec<&str> = lost.map(|place| kept.nodes[*place as usize].record.id().as_str()).collect();
            format!("{} {}", refusal.question, ids.join(","))
        })
        .collect()
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap()
}

const FLEET: [(&str, &str, &str); 6] = [
    ("a1", "app1", "done"),
    ("a2", "app1", "done"),
    ("a3", "app1", "done"),
    ("b1", "app7", "done"),
    ("c1", "app8", "done"),
    ("c2", "app8", "done"),
];

/// The fleet with some nodes in another part or state; `None` removes a node.
fn changed(changes: &[(&str, Option<(&'static str, &'static str)>)]) -> Roster {
    let change = |id: &str| changes.iter().find(|(changed, _)| *changed == id).map(|(_, to)| *to);
    let nodes: Vec<_> = FLEET
        .iter()
        .filter_map(|(id, part, state)| match change(id) {
            None => Some((*id, *part, *state)),
            Some(to) => to.map(|(part, state)| (*id, part, state)),
        })
        .collect();
    roster(&nodes)
}

#[test]
fn nodes_that_leave_in_order_are_no_loss_and_others_are() {
    let before = kept(&roster(&FLEET), None, at(0));
    let check = |changes: &[(&str, Option<(&'static str, &'static str)>)], expect: &[&str]| {
        assert_eq!(refused(&before, &changed(changes), at(0)), expect, "{changes:?}");
    };
    check(&[], &[]);
    // The last node of its part is withdrawn, drains, gets another part, is decommissioned.
    check(&[("b1", None)], &[]);
    check(&[("b1", Some(("app7", "draining")))], &[]);
    check(&[("b1", Some(("app1", "done")))], &[]);
    check(&[("b1", Some(("app7", "decommissioned")))], &[]);
    let both = |part, state| [("c1", Some((part, state))), ("c2", Some((part, state)))];
    check(&both("app1", "done"), &[]);
    check(&both("app8", "decommissioned"), &[]);
    // Many at once, or in a way that does not say why.
    check(&both("app8", "wedged"), &["app*/app8 c1,c2"]);
    check(&both("app8", "bogus"), &["app*/app8 c1,c2"]);
    check(&[("c1", None), ("c2", None)], &["app*/app8 c1,c2"]);
    check(&[("b1", Some(("app7", "{")))], &["app*/app7 b1"]);
    check(&[("b1", Some(("app7", "bogus")))], &["app*/app7 b1"]);
    check(&[("b1", None), ("a1", None)], &["app*/app7 b1"]);
    assert_eq!(refused(&before, &roster(&[]), at(0)).len(), 4, "an empty list");
    // Beside others, draining is in order, no matter how many drain.
    check(&[("a1", Some(("app1", "draining"))), ("a2", Some(("app1", "drained")))], &[]);
    check(&[("a1", Some(("app1", "wedged"))), ("a2", Some(("app1", "wedged")))], &["app*/app1 a1,a2"]);
    check(&both("app8", "draining"), &["app*/app8 c1,c2"]);
}

#[test]
fn what_is_known_to_be_withdrawn_is_no_loss_with_however_many_others() {
    let before = kept(&roster(&FLEET), None, at(0));
    let check = |away: &[&str], withdrawn: &[&str], expect: &[&str]| {
        let now = changed(&away.iter().map(|id| (*id, None)).collect::<Vec<_>>());
        assert_eq!(refused_but(&before, &now, withdrawn, at(0)), expect, "{away:?} {withdrawn:?}");
        let ids: Vec<String> = before.away(&now).iter().map(ToString::to_string).collect();
        assert_eq!(ids, away);
    };
    check(&["c1", "c2"], &["c1", "c2"], &[]);
    // Beside withdrawn nodes, a single missing node has left.
    check(&["b1", "c1", "c2"], &["c1", "c2"], &[]);
    check(&["a1", "b1", "c1", "c2"], &["c1", "c2"], &["app*/app7 b1"]);
    check(&["c1", "c2"], &[], &["app*/app8 c1,c2"]);
    // The last nodes of all are kept even if they were withdrawn.
    let all: Vec<&str> = FLEET.iter().map(|(id, ..)| *id).collect();
    assert_eq!(refused_but(&before, &roster(&[]), &all, at(0)).len(), 4);
}

#[test]
fn nodes_that_came_a_short_while_ago_may_go() {
    let real = roster(&FLEET);
    let names: Vec<String> = (10..30).map(|number| format!("x{number}")).collect();
    let mut many = FLEET.to_vec();
    many.extend(names.iter().map(|id| (id.as_str(), "app1", "done")));
    let many = roster(&many);
    let before = kept(&real, None, at(0));
    let with = kept(&many, Some(&before), at(1));
    assert_eq!(refused(&with, &real, at(1)), Vec::<String>::new());
    // After an hour they count.
    let later = kept(&many, Some(&with), at(2));
    assert_eq!(refused(&later, &real, at(2)).len(), 2);
    // The loss of settled nodes is not excused by nodes that came lately.
    let young: Vec<_> = names.iter().map(|id| (id.as_str(), "app1", "done")).collect();
    let gone = roster(&young);
    assert_eq!(refused(&with, &gone, at(1)), ["app*/app7 b1", "app*/app8 c1,c2"]);
    assert!(refused(&with, &roster(&[]), at(1)).len() == 4);
}

#[test]
fn what_was_held_for_a_week_is_given_up_unless_it_is_the_last() {
    let list = roster(&FLEET);
    let before = kept(&list, None, at(0));
    let held: BTreeSet<String> = ["a2", "a3", "b1"].map(str::to_owned).into();
    let keep = |before: &Kept, now| Kept::of(&asked(&list).0, &list, Some(before), &held, now, false);
    let first = keep(&before, at(0));
    let last = keep(&first, at(100));
    let without = changed(&[("a2", None), ("a3", None), ("b1", None)]);
    assert_eq!(refused(&last, &without, at(100)), ["app*/app1 a2,a3", "app*/app7 b1"]);
    assert_eq!(refused(&last, &without, at(169)), ["app*/app7 b1"]);
}

#[test]
fn a_held_node_is_as_it_was() {
    let before = kept(&roster(&FLEET), None, at(0));
    let now = changed(&[("c1", None), ("c2", Some(("app8", "wedged")))]);
    let places = before.questions["app*/app8"].iter().copied().collect();
    let (held, ids) = before.hold(&places, &now, &States::default());
    assert_eq!(ids.iter().map(String::as_str).collect::<Vec<_>>(), ["c1", "c2"]);
    assert_eq!(refused(&before, &held, at(0)), Vec::<String>::new());
    assert_eq!(held.nodes.len(), FLEET.len());
}

#[test]
fn what_is_written_down_is_read_back_whole_or_not_at_all() {
    let list = roster(&FLEET);
    let before = kept(&list, None, at(0));
    let held = BTreeSet::from(["a1".to_owned()]);
    let kept = Kept::of(&asked(&list).0, &list, Some(&before), &held, at(5), false);
    let bytes = kept.to_bytes("digest");
    assert_eq!(Kept::from_bytes(bytes.clone(), "digest").as_ref(), Some(&kept));
    assert_eq!(Kept::from_bytes(bytes.clone(), "other"), None);
    for cut in 0..bytes.len() {
        assert_eq!(Kept::from_bytes(bytes[..cut].to_vec(), "digest"), None, "{cut}");
    }
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "figures are for people")]
fn figures_of_a_hundred_thousand_nodes() {
    let ids: Vec<String> = (0..100_000).map(|number| format!("i-{number:06}")).collect();
    let nodes: Vec<_> = ids.iter().map(|id| (id.as_str(), "app1", "done")).collect();
    let list = roster(&nodes);
    let before = kept(&list, None, at(0));
    let time = |what: &str, act: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        act();
        println!("{what}: {:?}", started.elapsed());
    };
    let mut bytes = Vec::new();
    time("write", &mut || bytes = before.to_bytes("digest"));
    println!("{} bytes", bytes.len());
    time("read", &mut || assert!(Kept::from_bytes(bytes.clone(), "digest").is_some()));
    time("make", &mut || drop(kept(&list, Some(&before), at(0))));
    time("losses", &mut || assert!(refused(&before, &list, at(0)).is_empty()));
    time("previous", &mut || drop(before.previous(&list, false)));
    time("away", &mut || assert!(before.away(&list).is_empty()));
}
