//! What must hold, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use presence::agent::core::Report;
use presence::haproxy::{self, Overrides, Plan, State};

use super::world::{Balancer, File, Node, Seen, World};

impl World {
    /// A message of an agent's log: each standing complaint only once.
    pub(super) fn said(&self, at: usize, report: &Report) {
        let balancer = &self.balancers[at];
        let text = match report {
            Report::Note(text) => return self.sim.event(|| format!("{}: {text}", balancer.name)),
            Report::Warning(text, _) => text,
        };
        self.sim.event(|| format!("{}: warning: {text}", balancer.name));
        let now = (self.sim.now(), self.changes.get());
        // A node that is held gets its full time again, and may be silent again.
        let long = balancer.config.renders[0].max_age.unwrap().unsigned_abs() / 2;
        let mut complaints = balancer.complaints.borrow_mut();
        let before = complaints.insert(text.clone(), now);
        // A file has one complaint at a time, besides those about its nodes: the next one ends it.
        for render in &balancer.config.renders {
            let quoted = format!("`{}`", render.target.path.display());
            if text.contains(&quoted) {
                complaints.retain(|other, _| other == text || !other.contains(&quoted));
            }
        }
        drop(complaints);
        if let Some((then, changes)) = before
            && changes == now.1
            && now.0 - then < long
            // What is known of clocks changes with each heartbeat.
            && !text.contains("clock")
        {
            self.broken(format!("{} logs twice, although nothing changed: {text}", balancer.name));
        }
    }

    /// A reload command runs in a turn that began then.
    pub(super) fn reloads(&self, at: usize, began: Duration) {
        let balancer = &self.balancers[at];
        let (life, minute) = (balancer.life.get(), Duration::from_secs(60));
        let mut reloads = balancer.reloads.borrow_mut();
        reloads.retain(|(of, then)| *of == life && *then + minute > began);
        reloads.push((life, began));
        let most = balancer.config.agent.reloads_per_minute as usize;
        if reloads.len() > most {
            self.broken(format!(
                "{} reloads {} times in a minute; the budget is {most}",
                balancer.name,
                reloads.len()
            ));
        }
        self.sim.count("reloads", 1);
    }

    /// The file of that balancer is about to be replaced.
    pub(super) fn replaces(&self, at: usize, table: usize, new: &[u8], seen: &Seen) {
        let balancer = &self.balancers[at];
        let file = &balancer.files[table];
        let (old, new) = (active(&file.text()), active(&String::from_utf8_lossy(new)));
        self.sim.event(|| format!("{}: file {table} has {new:?}", balancer.name));
        self.sim.count("files replaced", 1);
        let mut settled = file.settled.borrow_mut();
        if seen.forced {
            *settled = new.into_iter().map(|id| (id, None)).collect();
            return;
        }
        let accepted = file.missed("accepted");
        let long =
            balancer.config.renders[0].max_age.unwrap().unsigned_abs() + 3 * balancer.config.agent.interval;
        let listed: BTreeSet<String> = seen.listed.difference(&accepted).cloned().collect();
        let everyone: BTreeSet<String> = seen.active.difference(&accepted).cloned().collect();
        // Nodes that call themselves active, and are not in the file.
        let silent: Vec<&String> = listed.difference(&new).collect();
        for id in old.difference(&new).filter(|id| listed.contains(*id)) {
            self.sim.count("servers dropped for silence", 1);
            let beats_since = self.nodes.borrow().get(id).and_then(|node| node.beats_since);
            let from = seen.began.saturating_sub(long);
            // While stores blink, a node may lose heartbeats that the agent cannot know of.
            if beats_since.is_some_and(|since| since < from) && self.blinked.get() < from {
                self.broken(format!(
                    "{}: {id} is removed for silence, and never ceased to beat",
                    balancer.name
                ));
            }
            let age = balancer.config.renders[0].max_age.unwrap().unsigned_abs();
            let held = file.held.borrow().get(id).filter(|(life, _)| *life == balancer.life.get()).copied();
            // What its stores prove next may include the interval before.
            let least = age.saturating_sub(balancer.config.agent.interval + Duration::from_secs(60));
            if held.is_some_and(|(_, held)| seen.began < held + least) {
                self.broken(format!("{}: {id} is removed for silence, and was held before", balancer.name));
            }
            if self.is_one_of_many(balancer, id, &everyone) {
                self.broken(format!(
                    "{}: {id} is removed for silence, and most nodes have been silent for longer",
                    balancer.name
                ));
            }
            let health = self.health(id);
            let steady = health.alive && seen.began.saturating_sub(health.since) > Duration::from_secs(30);
            if file.has_runtime && steady && balancer.haproxy.borrow().down_until <= seen.began {
                let running = balancer.haproxy.borrow().running(seen.began, |id| self.health(id));
                if running.up().any(|up| up == id) {
                    self.broken(format!(
                        "{}: {id} is removed for silence, and HAProxy finds it up",
                        balancer.name
                    ));
                }
            }
        }
        let too_many = |lost: usize, of: usize| lost * 100 > 50 * of;
        if silent.len() > 1 && too_many(silent.len(), listed.len()) {
            self.broken(format!("{}: {silent:?} are silent, and none of them is held", balancer.name));
        }
        // Nodes whose records are missing without a withdrawal.
        let is_withdrawn = |id: &&String| self.lists.iter().any(|list| list.borrow().withdrawn.contains(*id));
        let lost: Vec<&String> = old
            .difference(&new)
            .filter(|id| !seen.all.contains(*id))
            .filter(|id| !is_withdrawn(id))
            .collect();
        let clock = self.wall(balancer.clock.get(), Duration::ZERO).as_second();
        let is_long = |since: i64| clock - since >= 3600;
        let is_settled = |id: &&&String| settled.get(**id).is_some_and(|since| since.is_none_or(is_long));
        // A young node may leave again. Whether a node is young depends on clocks; these are certainly not.
        let lost_settled = lost.iter().filter(is_settled).count();
        // Those that left in order, and those whose place others have taken, are no loss.
        let is_in_order = |id: &&String| match seen.all.contains(*id) {
            true => !seen.listed.contains(*id),
            false => is_withdrawn(id),
        };
        let base = old.len() - old.difference(&new).filter(is_in_order).count();
        let fewer = lost.len().min(base.saturating_sub(new.len()));
        let is_below = fewer > 1 && too_many(fewer.min(lost_settled), base);
        if is_below || lost.len() > 1 && new.is_empty() {
            self.broken(format!("{}: the file loses {lost:?} of {old:?}, below its limit", balancer.name));
        }
        settled.retain(|id, _| new.contains(id) || seen.all.contains(id));
        for id in new {
            settled.entry(id).or_insert((!old.is_empty()).then_some(clock));
        }
    }

    /// Whether most of these nodes have certainly been silent for longer than that one.
    fn is_one_of_many(&self, balancer: &Balancer, id: &str, active: &BTreeSet<String>) -> bool {
        let (nodes, beaten) = (self.nodes.borrow(), self.beaten.borrow());
        let is_quiet = |id: &str| nodes.get(id).is_some_and(|node| node.quiet_since.is_some());
        let last = |id: &str| is_quiet(id).then(|| beaten.get(id).copied().unwrap_or_default());
        let Some(since) = last(id) else { return false };
        // Of nodes that fall silent together, one may have beaten an interval before another.
        let before = since.saturating_sub(balancer.config.agent.interval);
        let others: Vec<Duration> =
            active.iter().filter_map(|other| last(other)).filter(|other| *other <= before).collect();
        // Held nodes may have got their full time again, and a record that returns is a sign of life.
        let first = others.iter().min().copied().unwrap_or_default();
        let is_certain = balancer.pardoned.get() < first && self.emptied.get() < first;
        is_certain && (others.len() + 1) * 2 > active.len() && !others.is_empty()
    }

    /// A turn has ended: the nodes that the file holds get their full time again before it may lose them.
    pub(super) fn holds(&self, at: usize, table: usize, seen: &Seen) {
        let balancer = &self.balancers[at];
        let file = &balancer.files[table];
        for id in file.missed("held") {
            file.held.borrow_mut().insert(id, (balancer.life.get(), seen.began));
        }
    }

    /// A turn begins with that roster: a node that is neither on it nor in the file is forgotten.
    pub(super) fn begins_turn(&self, at: usize, table: usize, seen: &Seen) {
        let file = &self.balancers[at].files[table];
        let has = active(&file.text());
        file.settled.borrow_mut().retain(|id, _| has.contains(id) || seen.all.contains(id));
    }

    /// What the agents have not done in time.
    pub(super) fn late(&self) -> Option<String> {
        let now = self.sim.now();
        let stops = Duration::from_secs(60);
        self.balancers.iter().find_map(|balancer| {
            if balancer.stopping.get().is_some_and(|since| now > since + stops) {
                return Some(format!("{} has not stopped for {stops:?}", balancer.name));
            }
            let promptness = balancer.promptness.borrow();
            let lists = self.lists.iter().enumerate();
            lists.filter_map(|(place, list)| promptness.late(balancer, place, &list.borrow(), now)).next()
        })
    }

    /// What the file of a balancer lacks: it must have exactly the wanted nodes, in their states.
    pub(super) fn file_differs(&self, at: usize) -> Option<String> {
        self.balancers[at].files.iter().find_map(|file| self.differs(&self.balancers[at], &file.text()))
    }

    fn differs(&self, balancer: &Balancer, text: &str) -> Option<String> {
        let servers = haproxy::Config::parse(text).backends.remove("app").unwrap_or_default().servers;
        let is: BTreeMap<String, State> =
            servers.iter().map(|(name, server)| (name.clone(), server.state)).collect();
        let nodes = self.nodes.borrow();
        let is_wanted = |node: &Node| node.wanted && node.state != "decommissioned" && node.part == "app";
        let wanted = nodes.iter().filter(|(_, node)| is_wanted(node));
        let wanted: BTreeMap<String, State> = wanted
            .map(|(id, node)| {
                let state = match node.state {
                    "draining" => State::Drain,
                    "drained" => State::Down,
                    _ => State::Ready(1),
                };
                (id.clone(), state)
            })
            .collect();
        let slots = nodes.iter().filter(|(id, _)| wanted.contains_key(*id));
        let lacks = slots.filter(|(id, node)| {
            !text.lines().any(|line| {
                line.contains(&format!("server {id} ")) && line.contains(&format!("maxconn {}", node.slots))
            })
        });
        let lacks: Vec<&String> = lacks.map(|(id, _)| id).collect();
        (is != wanted || !lacks.is_empty()).then(|| {
            format!("{}: the file has {is:?}, and the list {wanted:?}; outdated: {lacks:?}", balancer.name)
        })
    }

    /// How the running HAProxy differs from its files.
    pub(super) fn haproxy_differs(&self, at: usize) -> Option<String> {
        let balancer = &self.balancers[at];
        let haproxy = balancer.haproxy.borrow();
        let running = haproxy.running(self.sim.now(), |id| self.health(id));
        balancer.files.iter().find_map(|file| {
            let (loaded, text) = (file.loaded.borrow(), file.text());
            if !file.has_runtime {
                return (*loaded != text)
                    .then(|| format!("{}: HAProxy has not loaded a file", balancer.name));
            }
            let (loaded, file) = (haproxy::Config::parse(&loaded), haproxy::Config::parse(&text));
            let patience = Duration::from_secs(1);
            match haproxy::plan(&file, &file, &running, &Overrides::default(), patience) {
                Plan::Nothing if loaded.skeleton == file.skeleton && haproxy.has_options_of(&text) => None,
                plan => Some(format!("{}: HAProxy does not follow its file: {plan:?}", balancer.name)),
            }
        })
    }
}

impl File {
    /// The nodes that the file holds, or those that an operator has accepted as gone.
    fn missed(&self, what: &str) -> BTreeSet<String> {
        let memory = self.memory.borrow();
        let note: Option<serde_json::Value> =
            memory.get("missed.json").and_then(|bytes| serde_json::from_slice(bytes).ok());
        let ids = note.as_ref().and_then(|note| note.get(what)?.as_object());
        ids.into_iter().flatten().map(|(id, _)| id.clone()).collect()
    }
}

/// The servers that get requests, by a file.
fn active(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.contains(" weight 0") && !line.contains(" disabled"));
    lines
        .filter_map(|line| Some(line.trim().strip_prefix("server ")?.split(' ').next()?.to_owned()))
        .collect()
}
