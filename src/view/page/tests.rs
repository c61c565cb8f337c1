use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::history::COLUMNS;
use crate::history::{End, Timeline};
use crate::name::Name;
use crate::record::Record;
use crate::roster::{Heartbeats, Node, Roster, Selector, Source, States};
use crate::store::{Before, Moment, NodeStep, Snapshot, Step, Visitor};
use crate::view::Wiring;

/// A list: the facts of each node besides its name.
type List = BTreeMap<String, Value>;

fn file(id: &str, facts: &Value) -> String {
    let mut value = facts.clone();
    value["instance-id"] = id.into();
    json!({ "filetype": "nodepresence", "value": value }).to_string()
}

fn roster(list: &List) -> Roster {
    let files: Vec<(String, String)> =
        list.iter().map(|(id, facts)| (format!("{id}.json"), file(id, facts))).collect();
    let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
    Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default())
}

/// The time of a version, a minute after the one before.
fn time(version: usize) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + 60 * i64::try_from(version).unwrap()).unwrap()
}

fn moment(version: usize) -> Moment {
    Moment { commit: format!("{version:040}"), time: time(version) }
}

/// The timeline of these versions of a list; before the first, `first` is known.
fn timeline(versions: &[List], most: usize, first: Before, end: End, shown: &[&Node]) -> Timeline {
    let listed = shown.iter().map(|node| (node.record.id().clone(), true)).collect();
    let mut timeline = Timeline::new(most, end, listed, (Selector::default(), States::default()));
    for version in (0..versions.len()).rev() {
        let (empty, after) = (List::new(), &versions[version]);
        let before = if version == 0 { &empty } else { &versions[version - 1] };
        let parse =
            |list: &List, id: &String| Some(Record::parse(file(id, list.get(id)?).as_bytes()).unwrap());
        let mut ids: Vec<&String> = before.keys().chain(after.keys()).collect();
        ids.sort_unstable();
        ids.dedup();
        let nodes = ids.into_iter().filter(|id| before.get(*id) != after.get(*id)).map(|id| NodeStep {
            id: Name::parse(id).unwrap(),
            before: parse(before, id),
            after: parse(after, id),
            withdrawn: false,
        });
        let nodes: Vec<NodeStep> = nodes.collect();
        if nodes.is_empty() && version > 0 {
            continue;
        }
        let step =
            Step { moment: moment(version), nodes, before: if version == 0 { first } else { Before::Step } };
        if timeline.visit(step) == ControlFlow::Break(()) {
            break;
        }
    }
    timeline
}

/// The page as HTML.
fn html(content: &Content<'_>) -> String {
    page(content).html
}

fn content<'a>(roster: &'a Roster, timeline: Option<&'a Timeline>, wiring: &'a Wiring) -> Content<'a> {
    Content {
        at: time(1_000_000),
        is_past: false,
        commit: None,
        stores: Vec::new(),
        problems: Vec::new(),
        nodes: roster.nodes.iter().collect(),
        heartbeats: None,
        timeline,
        states: Box::leak(Box::default()),
        wiring,
        reload: None,
    }
}

/// The data of a page, as a browser finds it.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="fleet">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// What nodes stated at a time, found by undoing the changes of the page.
fn back(data: &Value, at: i64) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let nodes = data["nodes"].as_array().unwrap();
    let columns = |node: &Value| -> BTreeMap<String, String> {
        let is = node["is"].as_object().unwrap().iter();
        is.filter_map(|(column, value)| Some((column.clone(), text(value)?))).collect()
    };
    let mut now: Vec<(bool, BTreeMap<String, String>)> =
        nodes.iter().map(|node| (node["listed"] == true, columns(node))).collect();
    for event in data["history"]["events"].as_array().unwrap().iter().rev() {
        if event[0].as_i64().unwrap() <= at {
            break;
        }
        let (listed, is) = &mut now[usize::try_from(event[1].as_u64().unwrap()).unwrap()];
        match event[2].as_str().unwrap() {
            "joined" | "there" => *listed = false,
            "left" => *listed = true,
            _ => {}
        }
        for change in event[4].as_array().unwrap() {
            let (column, old) = (text(&change[0]).unwrap(), text(&change[1]));
            if COLUMNS.contains(&column.as_str()) {
                match old {
                    Some(old) => drop(is.insert(column, old)),
                    None => drop(is.remove(&column)),
                }
            }
        }
    }
    let listed = nodes.iter().zip(now).filter(|(_, (listed, _))| *listed);
    listed.map(|(node, (_, is))| (text(&node["id"]).unwrap(), is)).collect()
}

/// What nodes state, by the names of the columns.
fn stated(list: &List) -> BTreeMap<String, BTreeMap<String, String>> {
    let columns = |facts: &Value| {
        let fact = |name: &str| facts[name].as_str().map(str::to_owned);
        let address = fact("address").or_else(|| fact("ipv4"));
        let all = [("part", fact("nodepart")), ("state", fact("state")), ("address", address)];
        all.into_iter().filter_map(|(column, value)| Some((column.to_owned(), value?))).collect()
    };
    list.iter().map(|(id, facts)| (id.clone(), columns(facts))).collect()
}

/// Versions of a list, of which each changes some nodes.
fn versions(count: usize, mut seed: u64) -> Vec<List> {
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut list = List::new();
    let mut all = Vec::new();
    for _ in 0..count {
        for _ in 0..=random(2) {
            let id = format!("i-{}", random(6));
            let (part, version) = (["app1", "app2"][random(2) as usize], random(3).to_string());
            let mut facts = json!({ "nodepart": part, "version": version, "part": "x" });
            if random(3) > 0 {
                facts["state"] = ["done", "draining"][random(2) as usize].into();
            }
            facts[["address", "ipv4"][random(2) as usize]] = format!("192.0.2.{}", random(4)).into();
            match random(5) {
                0 => drop(list.remove(&id)),
                _ => drop(list.insert(id, facts)),
            }
        }
        all.push(list.clone());
    }
    all
}

#[test]
fn undoing_the_changes_leads_to_every_past_moment() {
    for seed in 0..40 {
        let versions = versions(30, seed);
        let wiring = Wiring::default();
        // The whole history, one that begins late, one that was cut, and one that ends in the past.
        for (first, most, end) in [
            (Before::Nothing, 10_000, End::Newest),
            (Before::Unknown, 10_000, End::Newest),
            (Before::Nothing, 20, End::Newest),
            (Before::Nothing, 10_000, End::At(vec![moment(20)])),
        ] {
            let last = if end == End::Newest { versions.len() - 1 } else { 20 };
            let roster = roster(&versions[last]);
            let nodes: Vec<&Node> = roster.nodes.iter().collect();
            let timeline = timeline(&versions, most, first, end, &nodes);
            let data = data(&html(&content(&roster, Some(&timeline), &wiring)));
            let history = &data["history"];
            assert_eq!(history["cut"] == true, most == 20, "{history}");
            assert_eq!(history["begins"].is_null(), first == Before::Nothing, "{history}");
            let from = history["from"].as_i64().unwrap();
            for (version, list) in versions.iter().enumerate().take(last + 1) {
                let at = time(version).as_second();
                // Of a version with several changes, some may be cut.
                if at > from || most > 20 {
                    assert_eq!(back(&data, at), stated(list), "seed {seed}, version {version}, {history}");
                }
            }
        }
    }
}

#[test]
fn a_list_that_its_history_does_not_explain_is_no_past() {
    let versions = versions(10, 1);
    let mut now = versions[9].clone();
    now.insert("i-new".to_owned(), json!({ "nodepart": "db1" }));
    now.insert("i-1".to_owned(), json!({ "nodepart": "app9", "state": "done" }));
    let gone = versions[9].keys().find(|id| *id != "i-1").unwrap().clone();
    now.remove(&gone);
    let roster = roster(&now);
    let nodes: Vec<&Node> = roster.nodes.iter().collect();
    let timeline = timeline(&versions, 10_000, Before::Nothing, End::Newest, &nodes);
    let wiring = Wiring::default();
    let data = data(&html(&content(&roster, Some(&timeline), &wiring)));
    let at = data["at"].as_i64().unwrap();
    assert_eq!(back(&data, at), stated(&now));
    assert_eq!(
        back(&data, at - 1),
        stated(&versions[9]),
        "updates that wait to be merged are of the present"
    );
}

#[test]
fn what_is_not_known_is_null() {
    let list =
        List::from([("i-1".to_owned(), json!({ "nodepart": "app1", "wedged-reason": "http status 500" }))]);
    let mut roster = roster(&list);
    let wiring = Wiring::default();
    let data = data(&html(&content(&roster, None, &wiring)));
    assert_eq!(
        data["nodes"][0],
        json!({
            "id": "i-1", "listed": true, "counted": true, "heard": null, "freshness": "unknown",
            "is": { "part": "app1", "stacktype": null, "deployment": null, "state": null, "address": null },
            "facts": [["wedged-reason", "http status 500"]], "reason": "http status 500",
        })
    );
    let at = time(1_000_000);
    assert_eq!(
        data["history"],
        json!({ "begins": at.as_second(), "cut": false, "from": null, "events": [] })
    );
    let mut check = |heard: Option<i64>, max_age: Option<i64>, is_past: bool, expect: &str| {
        roster.nodes[0].last_seen = heard.map(|ago| at - SignedDuration::from_secs(ago));
        let max_age = max_age.map(SignedDuration::from_secs);
        let heartbeats = Heartbeats { now: at, max_age, are_heard: true, has: &|_| true };
        let heartbeats = Some(heartbeats).filter(|_| !is_past);
        let content = Content { heartbeats, is_past, ..content(&roster, None, &wiring) };
        let data = self::data(&html(&content));
        assert_eq!(data["nodes"][0]["freshness"], expect, "{heard:?} {max_age:?}");
        assert_eq!(data["nodes"][0]["counted"], expect != "silent");
        assert_eq!(data["nodes"][0]["heard"].is_null(), heard.is_none() || is_past);
    };
    check(Some(10), None, false, "fresh");
    check(Some(301), None, false, "silent");
    check(Some(10), Some(60), false, "fresh");
    check(Some(61), Some(60), false, "silent");
    check(None, Some(60), false, "silent");
    check(Some(10), Some(60), true, "unknown");
}

#[test]
fn hostile_values_are_the_same_text_on_the_page_and_end_nothing() {
    let hostile = [
        "</script><script>alert(1)</script>",
        "<!-- <script>",
        "]]>\u{2028}\u{2029}\u{85}\u{202e}",
        "\u{0}\u{1b}[31m\n\r\t\u{7f}\u{9b}",
        "{{css}}{{js}}{{fleet}}",
        "&lt;&#39;\"'\\u003c",
    ];
    let mut facts = json!({ "large": "<".repeat(50_000) });
    for (at, text) in hostile.iter().enumerate() {
        facts[format!("f{at}")] = (*text).into();
        facts[*text] = format!("n{at}").into();
    }
    for fact in ["nodepart", "stacktype", "deployment", "state", "address", "wedged-reason"] {
        facts[fact] = hostile[0].into();
    }
    let list = List::from([("i-1".to_owned(), facts)]);
    let roster = roster(&list);
    let nodes: Vec<&Node> = roster.nodes.iter().collect();
    let timeline = timeline(&[List::new(), list], 10, Before::Nothing, End::Newest, &nodes);
    let wiring = Wiring { notes: vec![hostile[0].to_owned()], ..Wiring::default() };
    let mut content = content(&roster, Some(&timeline), &wiring);
    content.problems = hostile.map(str::to_owned).to_vec();
    let page = html(&content);
    let data = data(&page);
    let facts: BTreeMap<&str, &str> = data["nodes"][0]["facts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    for (at, text) in hostile.iter().enumerate() {
        assert_eq!(facts[format!("f{at}").as_str()], *text);
        assert_eq!(facts[*text], format!("n{at}"));
    }
    assert_eq!(facts["large"].chars().count(), 201);
    assert_eq!(data["nodes"][0]["is"]["part"], hostile[0]);
    assert_eq!(data["history"]["events"][0][4][0], json!(["part", null, hostile[0]]));
    // Nothing of it is markup.
    let empty = html(&self::content(&Roster::default(), None, &Wiring::default()));
    for mark in ["<", ">", "&", "<script", "</script", "<!--", "{{"] {
        assert_eq!(
            page.matches(mark).count(),
            empty.matches(mark).count() + usize::from(mark == "{{") * 9,
            "{mark}"
        );
    }
    assert!(!page.contains(|c: char| c.is_control() && c != '\n') && !page.contains('\u{2028}'));
}

#[test]
fn a_page_of_a_large_fleet_is_small() {
    let check = |facts: usize, value: &str, least_events: usize| {
        let mut list = List::new();
        for node in 0..1000 {
            let mut all = json!({
                "nodepart": format!("app{}", node % 7), "stacktype": "lad1", "deployment": "fed1", "state": "done",
                "ipv4": format!("192.0.2.{}", node % 256), "port": "8080", "statetss": "20260101-000000",
            });
            for fact in 0..facts {
                all[format!("fact{fact}")] = value.into();
            }
            list.insert(format!("i-{node:04}"), all);
        }
        let mut versions = vec![list];
        for change in 0..10_000 {
            // Only what differs matters here, so each version has only the node that changes.
            let id = format!("i-{:04}", change % 1000);
            let mut facts = versions[0][&id].clone();
            facts["state"] = "draining".into();
            versions.push(List::from([(id, facts)]));
        }
        let roster = roster(&versions[0]);
        let mut timeline =
            Timeline::new(10_000, End::Newest, BTreeMap::new(), (Selector::default(), States::default()));
        for version in (1..versions.len()).rev() {
            let (id, after) = versions[version].first_key_value().unwrap();
            let parse = |facts: &Value| Some(Record::parse(file(id, facts).as_bytes()).unwrap());
            let node = NodeStep {
                id: Name::parse(id).unwrap(),
                before: parse(&versions[0][id]),
                after: parse(after),
                withdrawn: false,
            };
            let step = Step { moment: moment(version), nodes: vec![node], before: Before::Step };
            assert_eq!(timeline.visit(step), ControlFlow::Continue(()));
        }
        let wiring = Wiring::default();
        let content = content(&roster, Some(&timeline), &wiring);
        let page = html(&content);
        assert!(page.len() < 2_000_000, "{} bytes", page.len());
        let data = data(&page);
        assert_eq!(data["nodes"].as_array().unwrap().len(), 1000);
        let events = data["history"]["events"].as_array().unwrap().len();
        assert!(events >= least_events, "{events}");
        assert_eq!(data["history"]["cut"] == true, events < 10_000, "{events}");
    };
    check(3, "a usual value", 10_000);
    check(12, &"<\u{2028}".repeat(300), 3000);
}

#[test]
fn time_that_passes_is_nothing_new_and_silence_is() {
    let versions = versions(5, 3);
    let mut now = versions[4].clone();
    now.insert("i-new".to_owned(), json!({ "nodepart": "db1" }));
    let mut roster = roster(&now);
    let nodes: Vec<Node> = roster.nodes.clone();
    let timeline = timeline(&versions, 10, Before::Unknown, End::Newest, &nodes.iter().collect::<Vec<_>>());
    let wiring = Wiring::default();
    let mut essence = |minutes: usize, heard: usize, known: Option<&Timeline>| {
        roster.nodes.iter_mut().for_each(|node| node.last_seen = Some(time(heard)));
        let heartbeats = Heartbeats { now: time(minutes), max_age: None, are_heard: true, has: &|_| true };
        let heartbeats = Some(heartbeats);
        page(&Content { at: time(minutes), heartbeats, ..content(&roster, known, &wiring) }).essence
    };
    for known in [Some(&timeline), None] {
        let first = essence(1000, 998, known);
        assert_eq!(essence(1004, 1003, known), first);
        assert_ne!(essence(1004, 998, known), first);
    }
    assert_ne!(essence(1000, 998, None), essence(1000, 998, Some(&timeline)));
}
