use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::roster::{Roster, Source, States};
use crate::store::Snapshot;
use crate::view::Wire;

fn roster(nodes: &[[&str; 4]]) -> Roster {
    let files = nodes.iter().enumerate().map(|(at, [part, stacktype, deployment, state])| {
        let value = serde_json::json!({
            "instance-id": format!("i-{at}"), "nodepart": part, "stacktype": stacktype,
            "deployment": deployment, "state": state, "ipv4": format!("192.0.2.{at}"),
        });
        let file = serde_json::json!({ "filetype": "nodepresence", "value": value });
        (format!("i-{at}.json"), file.to_string())
    });
    let files: Vec<(String, String)> = files.collect();
    let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
    Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default())
}

fn group(part: &str) -> Group {
    Group { stacktype: Some("lad1".into()), deployment: Some("fed1".into()), part: Some(part.into()) }
}

/// The formats of a drawing with wires between parts of `lad1` and `fed1`.
fn drawn(nodes: &[[&str; 4]], wires: &[(&str, &str, &str)], notes: &[&str]) -> [String; 3] {
    let roster = roster(nodes);
    let mut all: BTreeMap<Wire, BTreeSet<String>> = BTreeMap::new();
    for (from, to, by) in wires {
        all.entry(Wire { from: group(from), to: group(to) }).or_default().insert((*by).to_owned());
    }
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    let wiring = Wiring { wires: all, notes, ..Wiring::default() };
    let graph = Graph::new(&Groups::of(&roster.nodes), &wiring);
    [svg(&graph), dot(&graph), mermaid(&graph)]
}

#[test]
fn a_drawing_has_groups_with_their_states_and_wires_with_their_templates() {
    let nodes = [
        ["lb1", "lad1", "fed1", "done"],
        ["app1", "lad1", "fed1", "draining"],
        ["app1", "lad1", "fed1", "done"],
        ["app1", "lad1", "fed1", "done"],
        ["x", "", "", ""],
    ];
    let wires = [("lb1", "app1", "haproxy.cfg"), ("lb1", "app1", "hosts"), ("app1", "gone", "x")];
    let [svg, dot, mermaid] = drawn(&nodes, &wires, &["app1: a.conf: there is no `x`"]);
    assert_eq!(
        mermaid,
        "flowchart LR
    accTitle: 5 nodes in 3 groups
    g0[\"x<br/>1 no state\"]
    g1[\"app1<br/>lad1, fed1<br/>2 done, 1 draining\"]
    g2[\"lb1<br/>lad1, fed1<br/>1 done\"]
    g2 -->|\"haproxy.cfg, hosts\"| g1
    n0>\"app1#58; a.conf#58; there is no #96;x#96;\"]
"
    );
    assert!(dot.contains("    g2 -> g1 [label=\"haproxy.cfg, hosts\"];\n"), "{dot}");
    assert!(dot.contains("label=\"app1\\nlad1, fed1\\n2 done, 1 draining\""), "{dot}");
    for expect in [
        "<title id=\"title\">5 nodes in 3 groups</title>",
        "lb1 (lad1, fed1) is wired to app1 (lad1, fed1) by haproxy.cfg, hosts.",
        ">app1: a.conf: there is no `x`</text>",
        "prefers-color-scheme: dark",
    ] {
        assert!(svg.contains(expect), "{svg}");
    }
}

#[test]
fn many_states_notes_and_groups_are_counted() {
    let nodes: Vec<[&str; 4]> =
        ["a", "b", "c", "d", "e", "e"].iter().map(|state| ["app1", "lad1", "fed1", *state]).collect();
    let [.., mermaid] = drawn(&nodes, &[], &["note"; 30]);
    assert!(mermaid.contains("2 e, 1 a, 1 b, 2 in other states"), "{mermaid}");
    assert!(mermaid.contains("    n20>\"#8230; and 10 more notes\"]"), "{mermaid}");
    let parts: Vec<String> = (0..250).map(|part| format!("p{part:03}")).collect();
    let mut nodes: Vec<[&str; 4]> =
        parts.iter().map(|part| [part.as_str(), "lad1", "fed1", "done"]).collect();
    nodes.extend([["p249", "lad1", "fed1", "done"]; 2]);
    let [.., mermaid] = drawn(&nodes, &[], &[]);
    assert!(mermaid.contains("50 groups with fewer nodes are left out"), "{mermaid}");
    // The large group is drawn, and many small ones do not displace it.
    assert!(mermaid.contains("p249<br/>") && !mermaid.contains("p248<br/>"), "{mermaid}");
}

#[test]
fn no_nodes_are_a_drawing_that_says_so() {
    for text in drawn(&[], &[], &[]) {
        assert!(text.contains("There are no nodes to draw"), "{text}");
    }
}

/// Values that break out of a format if they are not escaped.
const HOSTILE: [&str; 12] = [
    "\"]; evil",
    "<script>alert(1)</script>",
    "a\nb\\",
    "]]>--><!--",
    "x --> y",
    "%%{init: {}}%%",
    "&lt;&#0;\u{2028}\u{202e}",
    "\\N\\G\\\"",
    "style a:b#c;",
    "`end`",
    "\u{0}\u{1b}[31m\u{ffff}",
    "日本語日本語日本語日本語日本語日本語日本語日本語日本語",
];

#[test]
fn no_value_breaks_out_of_a_format() {
    let nodes: Vec<[&str; 4]> = HOSTILE.iter().map(|text| [*text, *text, *text, *text]).collect();
    let roster = roster(&nodes);
    let groups = Groups::of(&roster.nodes);
    let mut wiring = Wiring::default();
    for from in groups.all.keys() {
        let wire = Wire { from: from.clone(), to: from.clone() };
        wiring.wires.insert(wire, HOSTILE.iter().map(|text| (*text).to_owned()).collect());
    }
    wiring.notes = HOSTILE.iter().map(|text| (*text).to_owned()).collect();
    let graph = Graph::new(&groups, &wiring);
    let (svg, dot, mermaid) = (svg(&graph), dot(&graph), mermaid(&graph));
    for text in [&svg, &dot, &mermaid] {
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{2028}'), "{text}");
    }
    // Every line is one statement, and its only label has only characters that Mermaid does not act upon.
    for line in mermaid.lines().skip(2) {
        let [begin, label, end] = line.split('"').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let begin = begin.replace(|c: char| c.is_ascii_digit(), "");
        let end = end.replace(|c: char| c.is_ascii_digit(), "");
        assert!(
            [("    g[", "]"), ("    g -->|", "| g"), ("    n>", "]")].contains(&(&begin, &end)),
            "{line}"
        );
        let label = label.replace("<br/>", "");
        assert!(
            label.chars().all(|c| c.is_alphanumeric() || " _.,#;".contains(c)) && label.is_ascii(),
            "{line}"
        );
    }
    for line in dot.lines().filter(|line| line.contains('g')).skip(1) {
        assert_eq!(line.replace("\\\\", "").replace("\\\"", "").matches('"').count() % 2, 0, "{line}");
    }
    let outside: String = svg
        .split('<')
        .skip(1)
        .filter_map(|tag| tag.split_once('>'))
        .map(|(tag, _)| format!("{tag}\n"))
        .collect();
    for tag in outside.lines() {
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap_or_default();
        let known = ["svg", "title", "desc", "style", "defs", "marker", "path", "rect", "g", "text"];
        assert!(known.contains(&name), "<{tag}>");
    }
}
