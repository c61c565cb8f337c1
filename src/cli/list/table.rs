//! The table of nodes. Pure: the columns give way in a fixed order until the lines fit into a width.

use std::cmp::Ordering;

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::columns::Column;
use crate::roster::Heartbeats;
use crate::roster::Node;

/// The number of columns between two columns of the table.
const GAP: usize = 2;

/// A way to make the table narrower.
enum Concession {
    Hide(Column),
    ShortHeadings,
    /// Shortens texts in the middle, but not below that width.
    Narrow(Column, usize),
}

/// In this order, the columns give way. Colours show the availability too; the port is in `--format json`. People
/// copy ids and addresses, so these stay longest.
const CONCESSIONS: [Concession; 16] = [
    Concession::Hide(Column::Availability),
    Concession::ShortHeadings,
    Concession::Hide(Column::Port),
    Concession::Narrow(Column::Part, 12),
    Concession::Narrow(Column::Stacktype, 8),
    Concession::Narrow(Column::Deployment, 8),
    Concession::Narrow(Column::State, 8),
    Concession::Narrow(Column::Id, 13),
    Concession::Narrow(Column::Part, 6),
    Concession::Narrow(Column::Address, 15),
    Concession::Hide(Column::Stacktype),
    Concession::Hide(Column::Deployment),
    Concession::Hide(Column::Seen),
    Concession::Narrow(Column::Id, 8),
    Concession::Hide(Column::Freshness),
    Concession::Narrow(Column::Address, 12),
];

/// The table, with colours. With `width`, it fits into so many columns, if they are at least 40, and nodes are
/// grouped by deployment and stacktype; without, nothing is cut, and nodes are in the order of their ids. The
/// past has no heartbeats, and then the table lacks their columns.
pub(super) fn table(nodes: &[&Node], heartbeats: Option<&Heartbeats<'_>>, width: Option<usize>) -> String {
    let mut nodes = nodes.to_vec();
    let group = |node: &Node| {
        ["deployment", "stacktype"].map(|fact| node.record.text(fact).unwrap_or_default().into_owned())
    };
    if width.is_some() {
        let part = |node: &Node| node.record.part().unwrap_or_default().into_owned();
        nodes.sort_by(|a, b| {
            group(a)
                .cmp(&group(b))
                .then_with(|| natural(&part(a), &part(b)))
                .then_with(|| natural(a.record.id().as_str(), b.record.id().as_str()))
        });
    }
    let columns = Column::ALL.into_iter();
    let columns =
        columns.filter(|column| heartbeats.is_some() || !matches!(column, Column::Seen | Column::Freshness));
    let mut table = Table {
        columns: columns.clone().map(|column| (column, 0)).collect(),
        rows: nodes
            .iter()
            .map(|node| columns.clone().map(|column| column.cell(node, heartbeats)).collect())
            .collect(),
        short_headings: false,
    };
    table.measure();
    if let Some(width) = width {
        table.fit(width);
    }
    let mut text = table.headings();
    for (at, node) in nodes.iter().enumerate() {
        if width.is_some() && at > 0 && group(nodes[at - 1]) != group(node) {
            text.push('\n');
        }
        text.push_str(&table.line(at));
    }
    text
}

struct Table {
    columns: Vec<(Column, usize)>,
    rows: Vec<Vec<(String, Style)>>,
    short_headings: bool,
}

impl Table {
    fn heading(&self, column: Column) -> &'static str {
        let (long, short) = column.heading();
        if self.short_headings { short } else { long }
    }

    /// Makes each column as wide as its texts.
    fn measure(&mut self) {
        for at in 0..self.columns.len() {
            let cells = self.rows.iter().map(|row| row[at].0.width());
            self.columns[at].1 = cells.max().unwrap_or(0).max(self.heading(self.columns[at].0).width());
        }
    }

    fn width(&self) -> usize {
        let gaps = GAP * self.columns.len().saturating_sub(1);
        self.columns.iter().map(|(_, width)| width).sum::<usize>() + gaps
    }

    fn fit(&mut self, width: usize) {
        for concession in CONCESSIONS {
            let excess = self.width().saturating_sub(width);
            if excess == 0 {
                return;
            }
            let place = |wanted: Column| self.columns.iter().position(|(column, _)| *column == wanted);
            match concession {
                Concession::Hide(column) => {
                    let Some(at) = place(column) else { continue };
                    self.columns.remove(at);
                    self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
                }
                Concession::ShortHeadings => {
                    self.short_headings = true;
                    self.measure();
                }
                Concession::Narrow(column, least) => {
                    let Some(at) = place(column) else { continue };
                    let now = self.columns[at].1;
                    let least = least.max(self.heading(column).width());
                    self.columns[at].1 = now.min(least.max(now.saturating_sub(excess)));
                }
            }
        }
    }

    fn headings(&self) -> String {
        let style = Style::new().bold();
        let cells = self.columns.iter().map(|(column, _)| (self.heading(*column).to_owned(), style));
        self.joined(&cells.collect::<Vec<_>>())
    }

    fn line(&self, at: usize) -> String {
        self.joined(&self.rows[at])
    }

    /// The line of these cells, without spaces at its end.
    fn joined(&self, cells: &[(String, Style)]) -> String {
        let mut line = String::new();
        let mut pad = 0;
        for ((text, style), (_, width)) in cells.iter().zip(&self.columns) {
            let text = shortened(text, *width);
            line.extend(std::iter::repeat_n(' ', pad));
            line.push_str(&format!("{style}{text}{style:#}"));
            pad = width.saturating_sub(text.width()) + GAP;
        }
        line.push('\n');
        line
    }
}

/// The text in at most that width, with `…` instead of what is in the middle. The end of an id differs more often
/// than its beginning, so the end gets the larger half.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let begin = taken(text.chars(), room / 2);
    let end = taken(text.chars().rev(), room - room / 2);
    begin.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

/// The beginning of the text in at most that width, with `…` if it goes on.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    taken(text.chars(), width.saturating_sub(1)).into_iter().chain(['…']).collect()
}

/// As many characters as fit into that width.
fn taken(characters: impl Iterator<Item = char>, width: usize) -> Vec<char> {
    let mut left = width;
    let fits = |character: &char| {
        let rest = left.checked_sub(character.width().unwrap_or(0));
        rest.inspect(|rest| left = *rest).is_some()
    };
    characters.take_while(fits).collect()
}

/// Compares texts so that `app2` is before `app10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (x, y) = (chunk(left), chunk(right));
        if x.is_empty() || y.is_empty() {
            return x.len().cmp(&y.len()).then_with(|| a.cmp(b));
        }
        let number = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.trim_start_matches('0').len())
        };
        let order = match (number(x), number(y)) {
            // Without leading zeros, the longer number is greater.
            (Some(digits), Some(others)) => {
                digits.cmp(&others).then_with(|| x.trim_start_matches('0').cmp(y.trim_start_matches('0')))
            }
            _ => x.cmp(y),
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (&left[x.len()..], &right[y.len()..]);
    }
}

/// The digits at the beginning of the text, or what is before the first digit.
fn chunk(text: &str) -> &str {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_number);
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::cli::list::columns::tests::roster;
    use crate::roster::Roster;

    const NOW: &str = "2026-01-31T08:00:00Z";

    fn plain(roster: &Roster, width: Option<usize>) -> String {
        let nodes: Vec<&Node> = roster.nodes.iter().collect();
        let heartbeats = Heartbeats {
            now: NOW.parse().unwrap(),
            max_age: None,
            are_heard: true,
            has: &|node| node.last_seen.is_some(),
        };
        let text = table(&nodes, Some(&heartbeats), width);
        anstream::adapter::strip_str(&text).to_string()
    }

    fn fleet() -> Roster {
        let facts = |part: &str, more: &str| {
            format!(r#""nodepart":"{part}","stacktype":"lad1","deployment":"fed1","port":"8080"{more}"#)
        };
        let nodes = [
            ("i-0c44e9b33ab12cd10", facts("app10", r#","state":"done","ipv4":"192.0.2.110""#)),
            ("i-0c44e9b33ab12cd02", facts("app2", r#","state":"draining","ipv4":"192.0.2.102""#)),
            ("i-0c44e9b33ab12cd01", facts("app2", r#","state":"wedged","ipv6":"2001:db8:1:2:3:4:5:6""#)),
            ("i-c44e9b33", r#""nodepart":"db1","stacktype":"lad2","deployment":"fed1""#.to_owned()),
        ];
        let mut roster = roster(&nodes.each_ref().map(|(id, facts)| (*id, facts.as_str())));
        let now: Timestamp = NOW.parse().unwrap();
        for (node, ago) in roster.nodes.iter_mut().zip([12, 400, 90_000]) {
            node.last_seen = now.checked_sub(SignedDuration::from_secs(ago)).ok();
        }
        roster
    }

    #[test]
    fn a_file_gets_everything_in_the_order_of_the_ids() {
        insta::assert_snapshot!(plain(&fleet(), None), @"
        ID                   PART   STACKTYPE  DEPLOYMENT  STATE     AVAILABILITY  ADDRESS               PORT  SEEN  FRESHNESS
        i-0c44e9b33ab12cd01  app2   lad1       fed1        wedged    down          2001:db8:1:2:3:4:5:6  8080  12s   fresh
        i-0c44e9b33ab12cd02  app2   lad1       fed1        draining  draining      192.0.2.102           8080  6m    silent
        i-0c44e9b33ab12cd10  app10  lad1       fed1        done      active        192.0.2.110           8080  25h   silent
        i-c44e9b33           db1    lad2       fed1        -         active        ?                     -     -     never
        ");
    }

    #[test]
    fn the_columns_give_way_until_the_lines_fit() {
        insta::assert_snapshot!(plain(&fleet(), Some(200)), @"
        ID                   PART   STACKTYPE  DEPLOYMENT  STATE     AVAILABILITY  ADDRESS               PORT  SEEN  FRESHNESS
        i-0c44e9b33ab12cd01  app2   lad1       fed1        wedged    down          2001:db8:1:2:3:4:5:6  8080  12s   fresh
        i-0c44e9b33ab12cd02  app2   lad1       fed1        draining  draining      192.0.2.102           8080  6m    silent
        i-0c44e9b33ab12cd10  app10  lad1       fed1        done      active        192.0.2.110           8080  25h   silent

        i-c44e9b33           db1    lad2       fed1        -         active        ?                     -     -     never
        ");
        insta::assert_snapshot!(plain(&fleet(), Some(80)), @"
        ID             PART   STACK  DEPLOY  STATE     ADDRESS              SEEN  FRESH
        i-0c44…12cd01  app2   lad1   fed1    wedged    2001:db8:…2:3:4:5:6  12s   fresh
        i-0c44…12cd02  app2   lad1   fed1    draining  192.0.2.102          6m    silent
        i-0c44…12cd10  app10  lad1   fed1    done      192.0.2.110          25h   silent

        i-c44e9b33     db1    lad2   fed1    -         ?                    -     never
        ");
        insta::assert_snapshot!(plain(&fleet(), Some(40)), @"
        ID        PART   STATE     ADDRESS
        i-0…cd01  app2   wedged    2001:d…:4:5:6
        i-0…cd02  app2   draining  192.0.2.102
        i-0…cd10  app10  done      192.0.2.110

        i-c…9b33  db1    -         ?
        ");
        for width in 40..140 {
            let text = plain(&fleet(), Some(width));
            let widest = text.lines().map(UnicodeWidthStr::width).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{width}:\n{text}");
        }
    }

    #[test]
    fn long_values_cost_no_column_that_fits() {
        let long = "x".repeat(200);
        let facts =
            format!(r#""nodepart":"{long}","stacktype":"{long}","deployment":"größe日本","state":"{long}""#);
        let roster = roster(&[("i-1", &facts)]);
        for width in [40, 60, 80, 100] {
            let text = plain(&roster, Some(width));
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
        }
    }

    #[test]
    fn colours_are_beside_words() {
        let roster = fleet();
        let nodes: Vec<&Node> = roster.nodes.iter().collect();
        let text = table(&nodes[1..2], None, Some(80));
        assert!(text.contains("\u{1b}[33mdraining\u{1b}[0m"), "{text:?}");
    }

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = ["app10", "app2", "app", "db1", "app02", "app2a", "app1-9", "app1-10"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["app", "app1-9", "app1-10", "app02", "app2", "app2a", "app10", "db1"]);
    }

    #[test]
    fn a_text_is_shortened_in_its_middle() {
        for (width, expect) in [(19, "i-0c44e9b33ab12cd02"), (12, "i-0c4…12cd02"), (2, "…2"), (0, "…")]
        {
            assert_eq!(shortened("i-0c44e9b33ab12cd02", width), expect);
        }
        assert_eq!(shortened("日本日本日本", 7), "日…本");
    }
}
