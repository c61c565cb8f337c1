//! Metrics in the Prometheus text exposition format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use crate::roster::Node;

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a family of series: its name, its type and what it means.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One series of the family.
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

    /// The nodes, counted by what they say of themselves.
    pub fn nodes<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>) {
        let mut counts: BTreeMap<[String; 5], usize> = BTreeMap::new();
        for node in nodes {
            let fact = |name: &str| node.record.text(name).unwrap_or_default().into_owned();
            let key = [
                fact("nodepart"),
                fact("stacktype"),
                fact("deployment"),
                fact("state"),
                node.availability.to_string(),
            ];
            *counts.entry(key).or_default() += 1;
        }
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
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A label value: backslash, quote and newline escaped, as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_label_stays_one_label() {
        let mut page = Page::default();
        page.family("x", "gauge", "X.");
        page.series("x", &[("a", "\"} 1\n\\"), ("b", "")], 2);
        page.series("y", &[], 0.5);
        let expect = "# HELP x X.\n# TYPE x gauge\nx{a=\"\\\"} 1\\n\\\\\",b=\"\"} 2\ny 0.5\n";
        assert_eq!(page.into_text(), expect);
    }
}
