//! The drawing for Mermaid.

use super::{Graph, or_mark};
use crate::escape;

/// The drawing as a flowchart.
pub fn mermaid(graph: &Graph) -> String {
    let escaped = |text: &str| or_mark(escape::mermaid(text));
    let mut text = format!("flowchart LR\n    accTitle: {}\n", escaped(&graph.title));
    if graph.groups.is_empty() {
        text.push_str(&format!("    empty[\"{}\"]\n", escaped(&graph.title)));
    }
    for (at, group) in graph.groups.iter().enumerate() {
        let lines = [&group.part, &group.place, &group.states].into_iter().filter(|line| !line.is_empty());
        let lines: Vec<String> = lines.map(|line| escaped(line)).collect();
        text.push_str(&format!("    g{at}[\"{}\"]\n", lines.join("<br/>")));
    }
    for (from, to, by) in &graph.wires {
        text.push_str(&format!("    g{from} -->|\"{}\"| g{to}\n", escaped(by)));
    }
    for (at, note) in graph.notes.iter().enumerate() {
        text.push_str(&format!("    n{at}>\"{}\"]\n", escaped(note)));
    }
    text
}
