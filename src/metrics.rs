//! Metrics in the Prometheus text exposition format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use crate::record::SERVICE;
use crate::roster::Node;
use crate::sanitize::terminal_safe;

/// The most combinations of labels for nodes. Otherwise, writers of the list could fill the memory of the
/// Prometheus server.
const MAX_KINDS: usize = 500;

/// The most characters of a label.
const MAX_LABEL: usize = 128;

/// The label of all nodes beyond [`MAX_KINDS`]. No name has a parenthesis.
const OTHERS: &str = "(others)";

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a family of series: its name, its type and its meaning.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds a series to the family.
    pub fn series(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// Adds the nodes, and the services that they offer, counted by their facts.
    pub fn nodes<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>) {
        let mut counts: BTreeMap<[String; 5], usize> = BTreeMap::new();
        let mut services: BTreeMap<[String; 5], usize> = BTreeMap::new();
        for node in nodes {
            for service in node.services.iter().map(|offer| node.as_service(offer)) {
                let fact = |name: &str| {
                    let text = service.record.text(name).unwrap_or_default();
                    text.chars().take(MAX_LABEL).collect::<String>()
                };
                let key = [
                    fact("nodepart"),
                    fact(SERVICE),
                    fact("deployment"),
                    fact("state"),
                    service.availability.to_string(),
                ];
                *services.entry(key).or_default() += 1;
            }
            let fact = |name: &str| {
                let text = node.record.text(name).unwrap_or_default();
                text.chars().take(MAX_LABEL).collect::<String>()
            };
            let key = [
                fact("nodepart"),
                fact("stacktype"),
                fact("deployment"),
                fact("state"),
                node.availability.to_string(),
            ];
            *counts.entry(key).or_default() += 1;
        }
        let counts = bounded(counts, MAX_KINDS);
        self.family("presence_nodes", "gauge", "Nodes on the list.");
        for ([part, stacktype, deployment, state, availability], count) in &counts {
            let labels = [
                ("part", part.as_str()),
                ("stacktype", stacktype),
                ("deployment", deployment),
                ("state", state),
                ("availability", availability),
            ];
            self.series("presence_nodes", &labels, count);
        }
        if services.is_empty() {
            return;
        }
        self.family("presence_services", "gauge", "Services that nodes on the list offer.");
        for ([part, service, deployment, state, availability], count) in &bounded(services, MAX_KINDS) {
            let labels = [
                ("part", part.as_str()),
                (SERVICE, service),
                ("deployment", deployment),
                ("state", state),
                ("availability", availability),
            ];
            self.series("presence_services", &labels, count);
        }
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// The counts of the kinds with the most nodes, and one count for all others, with the same sum.
fn bounded(counts: BTreeMap<[String; 5], usize>, most: usize) -> BTreeMap<[String; 5], usize> {
    if counts.len() <= most {
        return counts;
    }
    let mut kinds: Vec<([String; 5], usize)> = counts.into_iter().collect();
    // The sort is stable: among equal counts, the first names stay.
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest: usize = kinds.drain(most..).map(|(_, count)| count).sum();
    kinds.push(([OTHERS; 5].map(str::to_owned), rest));
    kinds.into_iter().collect()
}

/// A label value: backslash, quote and newline escaped, as the format requires. Characters that a terminal
/// would act upon are escaped too, which the format does not require.
fn escaped(value: &str) -> String {
    terminal_safe(value).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_kinds_of_one_node_each_are_one() {
        let key = |part: &str| [part, "", "", "", ""].map(str::to_owned);
        let counts = BTreeMap::from([(key("a1"), 1), (key("a2"), 1), (key("app"), 5), (key("db"), 2)]);
        assert_eq!(bounded(counts.clone(), 4), counts);
        let expect = BTreeMap::from([(key("app"), 5), (key("db"), 2), ([OTHERS; 5].map(str::to_owned), 2)]);
        assert_eq!(bounded(counts, 2), expect);
    }

    #[test]
    fn a_hostile_label_stays_one_label() {
        let mut page = Page::default();
        page.family("x", "gauge", "X.");
        page.series("x", &[("a", "\"} 1\n\\"), ("b", "\u{1b}[2J\u{202e}")], 2);
        page.series("y", &[], 0.5);
        let expect =
            "# HELP x X.\n# TYPE x gauge\nx{a=\"\\\"} 1\\n\\\\\",b=\"\\\\u{1b}[2J\\\\u{202e}\"} 2\ny 0.5\n";
        assert_eq!(page.into_text(), expect);
    }
}
