//! Who is wired to whom, found out by rendering: the templates of each group, as one of its nodes would render
//! them, and the nodes that their questions choose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use glob::Pattern;
use serde_json::{Map, Value};

use crate::config::{Config, Render};
use crate::errors::chain;
use crate::record::Facts;
use crate::roster::{Identity, Node, Roster};
use crate::sanitize::excerpt;
use crate::template::{self, Lookup, Previous, RenderRequest, Rendered, TemplateError};
use crate::view::{Chosen, Group, Groups, Wire, Wiring};

/// The templates that parts use if nothing else says what they use.
pub const DEFAULT_USES: [(&str, &str); 2] = [("lb*", "haproxy"), ("app*", "database.yml")];

/// More wires make no drawing that anybody can read.
const MAX_WIRES: usize = 2_000;

/// If there are more notes, the others are counted.
const MAX_NOTES: usize = 50;

/// How many parts one note names.
const MAX_NAMED: usize = 10;

/// The template that some parts use.
#[derive(Debug, Clone)]
pub struct Uses {
    /// The parts.
    pub part: Pattern,
    /// The template's name.
    pub template: String,
}

/// What is known of the templates.
#[derive(Debug)]
pub struct Templates<'a> {
    /// The configuration, with template folders, variables and the `[[render]]` tables of this node.
    pub config: &'a Config,
    /// The facts of this node, whose group uses those tables.
    pub own: &'a Facts,
    /// Template folders to search first.
    pub dirs: &'a [PathBuf],
    /// What parts use, whatever else says so.
    pub uses: &'a [Uses],
}

/// A template that a group uses.
struct Used {
    name: String,
    who: Identity,
    dirs: Vec<PathBuf>,
    vars: Map<String, Value>,
}

/// The wiring of these groups: from each, to all groups of the roster that its templates take nodes from.
pub fn wiring(templates: &Templates<'_>, groups: &Groups<'_>, roster: &Roster) -> Wiring {
    let groups_of: Vec<Group> = roster.nodes.iter().map(|node| Group::of(&node.record)).collect();
    let mut found = Found {
        roster,
        groups_of,
        wires: BTreeMap::new(),
        chosen: BTreeSet::new(),
        notes: BTreeSet::new(),
        warnings: BTreeMap::new(),
        unknown: BTreeSet::new(),
    };
    for (group, members) in &groups.all {
        let Some(example) = members.example() else { continue };
        match templates.used(group) {
            Ok(used) if used.is_empty() => {
                found.unknown.insert(group.part.as_deref().map_or_else(|| "-".to_owned(), excerpt));
            }
            Ok(used) => used.iter().for_each(|used| found.add(templates, (group, example), used)),
            Err(error) => found.note(format!("{group}: {}", chain(&error))),
        }
    }
    found.finish()
}

impl Templates<'_> {
    /// The templates of that group. The user's words come first. Then come the folders of its part, with the
    /// `[[render]]` tables of this node's own group, and then the defaults.
    fn used(&self, group: &Group) -> Result<Vec<Used>, TemplateError> {
        let who = group.identity();
        let part = group.part.as_deref().unwrap_or_default();
        let said = self.uses.iter().filter(|uses| uses.part.matches(part));
        let said: Vec<Used> = said.map(|uses| self.plain(&uses.template, &who)).collect();
        if !said.is_empty() {
            return Ok(said);
        }
        let lookup = Lookup::new(&self.dirs(&[]), &who)?;
        // A template that cannot be read is reported when it is rendered.
        let partials = |name: &String| template::partials(&lookup, name).unwrap_or_default();
        let partials: BTreeSet<String> = lookup.of_part().iter().flat_map(partials).collect();
        let names = lookup.of_part().iter().filter(|name| !partials.contains(*name));
        let mut used: Vec<Used> = names.map(|name| self.plain(name, &who)).collect();
        let own = Identity::of(self.own);
        if own.part.is_some() && Group::of_identity(&own) == *group {
            used.extend(self.config.renders.iter().map(|render| self.of_table(render, &own)));
        }
        if used.is_empty() {
            let matches = |glob: &str| Pattern::new(glob).is_ok_and(|glob| glob.matches(part));
            let defaults = DEFAULT_USES.iter().filter(|(glob, _)| matches(glob));
            used.extend(defaults.map(|(_, name)| self.plain(name, &who)));
        }
        Ok(used)
    }

    fn plain(&self, name: &str, who: &Identity) -> Used {
        Used { name: name.to_owned(), who: who.clone(), dirs: self.dirs(&[]), vars: self.config.vars.clone() }
    }

    fn of_table(&self, render: &Render, own: &Identity) -> Used {
        let vars = render.vars_over(&self.config.vars);
        let or = |said: &Option<String>, own: &Option<String>| said.clone().or_else(|| own.clone());
        let who = Identity {
            part: or(&render.part, &own.part),
            stacktype: or(&render.stacktype, &own.stacktype),
            deployment: or(&render.deployment, &own.deployment),
        };
        Used { name: render.name.clone(), who, dirs: self.dirs(&render.template_dirs), vars }
    }

    /// The template folders, with those of a table.
    fn dirs(&self, of_table: &[PathBuf]) -> Vec<PathBuf> {
        self.dirs.iter().chain(of_table).chain(&self.config.template_dirs).cloned().collect()
    }
}

/// What was found so far.
struct Found<'a> {
    roster: &'a Roster,
    /// The group of each node of the roster.
    groups_of: Vec<Group>,
    wires: BTreeMap<Wire, BTreeSet<String>>,
    chosen: BTreeSet<Chosen>,
    notes: BTreeSet<String>,
    /// What templates warn of, with the first that does, and how many other groups' templates do too. A bad
    /// record is mostly in the way of all groups.
    warnings: BTreeMap<String, (String, usize)>,
    /// The parts of which no template is known.
    unknown: BTreeSet<String>,
}

impl Found<'_> {
    /// Renders a template as that node of the group would, and adds the groups that it takes nodes from.
    fn add(&mut self, templates: &Templates<'_>, (group, node): (&Group, &Node), used: &Used) {
        let (name, previous) = (excerpt(&used.name), Previous::default());
        let rendered = Lookup::new(&used.dirs, &used.who).and_then(|lookup| {
            template::render(&RenderRequest {
                name: &used.name,
                lookup: &lookup,
                who: &used.who,
                facts: &node.record.facts(),
                roster: self.roster,
                vars: &used.vars,
                tree: String::new(),
                previous: &previous,
                fast_path: templates.config.fast_path,
            })
        });
        let rendered = match rendered {
            Ok(Rendered { text: Err(error), .. }) | Err(error) => {
                return self.note(format!("{group}: {name}: {}", chain(&error)));
            }
            Ok(rendered) => rendered,
        };
        for warning in &rendered.warnings {
            match self.warnings.get_mut(warning) {
                Some((_, others)) => *others += 1,
                None => drop(self.warnings.insert(warning.clone(), (format!("{group}: {name}"), 0))),
            }
        }
        self.wire(group, &rendered);
    }

    fn wire(&mut self, group: &Group, rendered: &Rendered) {
        let (taken, by) = (&rendered.taken, &rendered.name);
        if !taken.any {
            return;
        }
        let answers = rendered.given.iter().chain(&taken.leaving);
        let whole = answers.filter(|(question, _)| taken.whole.contains(*question));
        let mut nodes: BTreeSet<usize> = whole.flat_map(|(_, nodes)| nodes).map(|at| *at as usize).collect();
        let first =
            |id: &String| self.roster.nodes.binary_search_by(|node| node.record.id().as_str().cmp(id));
        nodes.extend(rendered.in_use.first.values().filter_map(|id| first(id).ok()));
        let to: BTreeSet<&Group> = nodes.into_iter().filter_map(|at| self.groups_of.get(at)).collect();
        for to in to {
            let wire = Wire { from: group.clone(), to: to.clone() };
            self.wires.entry(wire).or_default().insert(by.clone());
        }
        let chosen = rendered.in_use.first.values();
        self.chosen.extend(chosen.map(|id| Chosen { from: group.clone(), by: by.clone(), id: id.clone() }));
    }

    fn note(&mut self, note: String) {
        self.notes.insert(note);
    }

    fn finish(self) -> Wiring {
        let Found { mut wires, chosen, mut notes, warnings, unknown, .. } = self;
        notes.extend(warnings.into_iter().map(|(warning, (by, others))| match others {
            0 => format!("{by}: {warning}"),
            1 => format!("{by}: {warning} (1 other template says so too)"),
            others => format!("{by}: {warning} ({others} other templates say so too)"),
        }));
        let mut notes: Vec<String> = notes.into_iter().collect();
        let more = notes.len().saturating_sub(MAX_NOTES);
        notes.truncate(MAX_NOTES);
        if more > 0 {
            notes.push(format!("… and {more} more notes"));
        }
        if !unknown.is_empty() {
            let mut named: Vec<String> = unknown.iter().take(MAX_NAMED).cloned().collect();
            if unknown.len() > MAX_NAMED {
                named.push(format!("… and {} more", unknown.len() - MAX_NAMED));
            }
            let plural = if unknown.len() == 1 { "" } else { "s" };
            notes.push(format!("no template is known for the part{plural} {}", named.join(", ")));
        }
        let more = wires.len().saturating_sub(MAX_WIRES);
        if more > 0 {
            wires = wires.into_iter().take(MAX_WIRES).collect();
            notes.push(format!("{more} of {} wires are left out", MAX_WIRES + more));
        }
        Wiring { wires, chosen, notes }
    }
}
