//! The drawing as an SVG file of its own.

use super::layers::{self, Place};
use super::{Drawn, Graph, or_mark};
use crate::escape::xml;

const BOX_HEIGHT: usize = 68;
const ROW: usize = BOX_HEIGHT + 28;
const MARGIN: usize = 24;
/// The space between layers, for the names of templates.
const GAP: usize = 170;
/// The height of a line of notes.
const LINE: usize = 18;
/// The width of a character of the small font, a little more than it usually is.
const CHARACTER: usize = 7;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.part { font-weight: 600; font-size: 15px; }
.dim { fill: #57606a; }
.group { fill: #f6f8fa; stroke: #8c959f; }
.wire { fill: none; stroke: #57606a; }
.tip { fill: #57606a; }
.by { text-anchor: middle; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
.paper { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.dim { fill: #9da7b3; }
.group { fill: #161b22; stroke: #6e7681; }
.wire { stroke: #9da7b3; }
.tip { fill: #9da7b3; }
.by { stroke: #0d1117; }
.paper { fill: #0d1117; }
}
";

/// The drawing as SVG.
pub fn svg(graph: &Graph) -> String {
    let ends = graph.wires.iter().map(|(from, to, _)| (*from, *to));
    let sheet = Sheet::new(graph, layers::places(graph.groups.len(), ends));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"title desc\" width=\"{0}\" \
         height=\"{1}\" viewBox=\"0 0 {0} {1}\">\n",
        sheet.width, sheet.height
    );
    text.push_str(&format!("<title id=\"title\">{}</title>\n", escaped(&graph.title)));
    text.push_str(&format!("<desc id=\"desc\">{}</desc>\n", escaped(&description(graph))));
    text.push_str(&format!("<style>\n{STYLE}</style>\n"));
    text.push_str(
        "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto-start-reverse\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
    );
    text.push_str("<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n");
    for (from, to, _) in &graph.wires {
        text.push_str(&format!(
            "<path class=\"wire\" marker-end=\"url(#tip)\" d=\"{}\"/>\n",
            sheet.curve(*from, *to).0
        ));
    }
    for (at, group) in graph.groups.iter().enumerate() {
        text.push_str(&sheet.group(at, group));
    }
    // Above the boxes and the other wires.
    for (from, to, by) in &graph.wires {
        let (x, y) = sheet.curve(*from, *to).1;
        text.push_str(&format!("<text class=\"by\" x=\"{x}\" y=\"{y}\">{}</text>\n", escaped(by)));
    }
    let notes = graph.groups.is_empty().then_some(&graph.title).into_iter().chain(&graph.notes);
    for (at, note) in notes.enumerate() {
        let y = sheet.notes + LINE * at;
        text.push_str(&format!("<text class=\"dim\" x=\"{MARGIN}\" y=\"{y}\">{}</text>\n", escaped(note)));
    }
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    or_mark(xml(text))
}

/// The description names at most this many groups and wires.
const MAX_TOLD: usize = 60;

/// The drawing in words, for those who hear it.
fn description(graph: &Graph) -> String {
    let groups = graph.groups.iter().map(|group| format!("{}: {}.", group.name, group.states));
    let wires = graph.wires.iter().map(|(from, to, by)| {
        format!("{} is wired to {} by {by}.", graph.groups[*from].name, graph.groups[*to].name)
    });
    let told: Vec<String> = wires.take(MAX_TOLD).chain(groups.take(MAX_TOLD)).collect();
    told.join(" ")
}

/// The sizes of a drawing.
struct Sheet {
    places: Vec<Place>,
    /// The number of rows in each layer.
    rows: Vec<usize>,
    box_width: usize,
    width: usize,
    height: usize,
    /// The first line of the notes.
    notes: usize,
}

impl Sheet {
    fn new(graph: &Graph, places: Vec<Place>) -> Sheet {
        let layers = places.iter().map(|place| place.layer + 1).max().unwrap_or_default();
        let mut rows = vec![0; layers];
        places.iter().for_each(|place| rows[place.layer] = rows[place.layer].max(place.row + 1));
        let lines = graph
            .groups
            .iter()
            .flat_map(|group| [width(&group.part) * 5 / 4, width(&group.place), width(&group.states)]);
        let box_width = lines.max().unwrap_or_default() + 24;
        let boxes = layers * (box_width + GAP) + 2 * MARGIN;
        let drawn = rows.iter().copied().max().unwrap_or_default() * ROW + MARGIN;
        let shown = graph.notes.len() + usize::from(graph.groups.is_empty());
        let written =
            graph.notes.iter().chain([&graph.title]).map(|note| width(note)).max().unwrap_or_default();
        Sheet {
            places,
            rows,
            box_width,
            // The last layer needs no space on its right, except for a wire that leads back.
            width: (boxes - GAP.min(boxes) + 40).max(written + 2 * MARGIN),
            height: drawn + shown * LINE + MARGIN,
            notes: drawn + LINE,
        }
    }

    /// The upper left corner of a group.
    fn corner(&self, at: usize) -> (usize, usize) {
        let Place { layer, row } = self.places[at];
        let most = self.rows.iter().copied().max().unwrap_or_default();
        let above = (most - self.rows[layer]) * ROW / 2;
        (MARGIN + layer * (self.box_width + GAP), MARGIN + above + row * ROW)
    }

    fn group(&self, at: usize, group: &Drawn) -> String {
        let ((x, y), width) = (self.corner(at), self.box_width);
        let line = |class: &str, down: usize, text: &str| {
            format!("<text{class} x=\"{}\" y=\"{}\">{}</text>\n", x + 12, y + down, escaped(text))
        };
        let lines = [
            line(" class=\"part\"", 23, &group.part),
            line(" class=\"dim\"", 41, &group.place),
            line("", 58, &group.states),
        ];
        format!(
            "<g><title>{}</title>\n<rect class=\"group\" x=\"{x}\" y=\"{y}\" width=\"{width}\" \
             height=\"{BOX_HEIGHT}\" rx=\"6\"/>\n{}</g>\n",
            escaped(&group.name),
            lines.concat()
        )
    }

    /// The path of a wire, and the place of its name.
    fn curve(&self, from: usize, to: usize) -> (String, (usize, usize)) {
        let ((x1, y1), (x2, y2)) = (self.corner(from), self.corner(to));
        let (middle, right) = (BOX_HEIGHT / 2, x1 + self.box_width);
        if self.places[from].layer < self.places[to].layer {
            let (y1, y2, bend) = (y1 + middle, y2 + middle, GAP / 2);
            let path = format!("M{right} {y1}C{} {y1} {} {y2} {x2} {y2}", right + bend, x2 - bend);
            return (path, (right + (x2 - right) / 2, (y1 + y2) / 2 + 4));
        }
        // A wire to itself, to the same layer or back leaves on the right and arrives there.
        let (y1, y2, end) = (y1 + BOX_HEIGHT / 4, y2 + BOX_HEIGHT * 3 / 4, x2 + self.box_width);
        let out = right.max(end) + 50;
        (format!("M{right} {y1}C{out} {y1} {out} {y2} {end} {y2}"), (out, (y1 + y2) / 2))
    }
}

/// The width of a text, by its characters: those of other scripts may be wide.
fn width(text: &str) -> usize {
    text.chars().map(|character| if character.is_ascii() { CHARACTER } else { 2 * CHARACTER }).sum()
}
