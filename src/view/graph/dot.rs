//! The drawing for Graphviz.

use super::{Graph, or_mark};
use crate::escape::graphviz;

/// The drawing as a digraph.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph fleet {\n");
    text.push_str("    rankdir=LR;\n    node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    text.push_str("    edge [fontname=\"sans-serif\"];\n    labelloc=b;\n    fontname=\"sans-serif\";\n");
    let lines: Vec<&str> =
        std::iter::once(graph.title.as_str()).chain(graph.notes.iter().map(String::as_str)).collect();
    text.push_str(&format!("    label={};\n", quoted(&lines)));
    for (at, group) in graph.groups.iter().enumerate() {
        let lines = [&group.part, &group.place, &group.states].map(String::as_str);
        text.push_str(&format!(
            "    g{at} [label={}, tooltip={}];\n",
            quoted(&lines),
            quoted(&[&group.name])
        ));
    }
    for (from, to, by) in &graph.wires {
        text.push_str(&format!("    g{from} -> g{to} [label={}];\n", quoted(&[by])));
    }
    text.push_str("}\n");
    text
}

/// The lines as one label.
fn quoted(lines: &[&str]) -> String {
    let lines = lines.iter().filter(|line| !line.is_empty()).map(|line| or_mark(graphviz(line)));
    format!("\"{}\"", lines.collect::<Vec<_>>().join("\\n"))
}
