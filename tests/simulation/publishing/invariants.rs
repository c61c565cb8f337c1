//! What must hold after every step.
//!
//! Each change of a node is a [`Change`]. A change *precedes* another one if it was over, with everything that
//! it had sent, before the other one began. Of the changes of a node, those are *allowed* that precede no
//! acknowledged one. What readers see of a node must be what one of its allowed changes wants: so an
//! acknowledged change is never lost, and an older one never comes back.

use std::collections::{BTreeMap, BTreeSet};

use git2::Oid;

use super::machine::node_of;
use super::objects::{Content, Files, Objects, Present, path_of};
use super::server::Server;
use presence::store::git::inbox;

/// The number of a node's record; `None` if it is not on the list.
pub(crate) type Value = Option<u32>;

/// A change of one node.
struct Change {
    node: usize,
    value: Value,
    began: u64,
    /// When its operation ended, and how many of its pushes are still under way.
    ended: Option<u64>,
    under_way: u32,
    /// When nothing of it was left.
    over: Option<u64>,
    /// Whether somebody else made it, who tells no node.
    foreign: bool,
    /// Whether the server refused it on the branch, so that its node takes it back.
    withdrawn: bool,
}

/// What was asked for, and what was acknowledged.
pub(crate) struct Truth {
    changes: Vec<Change>,
    /// The allowed changes of each node.
    allowed: Vec<Vec<usize>>,
    /// The changes that are no longer allowed, and since when.
    outdated: Vec<(u64, usize)>,
    /// Changes that are not over before certain others are.
    unsettled: Vec<(usize, BTreeSet<usize>)>,
    moments: u64,
    /// The files of others on the branch.
    foreign: Files,
    version: u64,
    tip: Option<Oid>,
    /// When the branch first had each tip.
    tips: BTreeMap<Option<Oid>, u64>,
    /// What the branch had of each node, and since when.
    branch: Vec<Vec<(u64, Value)>>,
    /// Of each machine and node: the changes that its last reading may have seen. Counts the readings.
    seen: Vec<(u64, Vec<Vec<usize>>)>,
}

/// What was allowed when a reading began, and what its machine had seen before.
pub(crate) struct Before {
    allowed: Vec<Vec<usize>>,
    changes: usize,
    moment: u64,
    readings: u64,
    seen: Vec<Vec<usize>>,
}

impl Truth {
    pub(crate) fn new(nodes: usize, server: &Server) -> Truth {
        let mut truth = Truth {
            changes: Vec::new(),
            allowed: vec![Vec::new(); nodes],
            outdated: Vec::new(),
            unsettled: Vec::new(),
            moments: 0,
            foreign: Files::new(),
            version: 0,
            tip: None,
            tips: BTreeMap::new(),
            branch: vec![Vec::new(); nodes],
            seen: vec![(0, vec![Vec::new(); nodes]); nodes + 1],
        };
        truth.accept(server);
        truth
    }

    /// What is allowed of each node.
    pub(crate) fn allowed(&self) -> Vec<BTreeSet<Value>> {
        let values =
            |changes: &Vec<usize>| changes.iter().map(|change| self.changes[*change].value).collect();
        self.allowed.iter().map(values).collect()
    }

    fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }

    /// A change begins.
    pub(crate) fn begin(&mut self, node: usize, value: Value) -> usize {
        let began = self.moment();
        self.changes.push(Change {
            node,
            value,
            began,
            ended: None,
            under_way: 0,
            over: None,
            foreign: false,
            withdrawn: false,
        });
        self.allowed[node].push(self.changes.len() - 1);
        self.changes.len() - 1
    }

    /// A change is acknowledged: those that precede it are no longer allowed.
    pub(crate) fn acknowledge(&mut self, change: usize) {
        let Change { node, began, .. } = self.changes[change];
        self.outdate(node, |other| other.over.is_some_and(|over| over < began));
    }

    /// These changes of a node are no longer allowed.
    fn outdate(&mut self, node: usize, is_outdated: impl Fn(&Change) -> bool) {
        let now = self.moment();
        let (changes, outdated) = (&self.changes, &mut self.outdated);
        self.allowed[node].retain(|change| {
            let is_outdated = is_outdated(&changes[*change]);
            outdated.extend(is_outdated.then_some((now, *change)));
            !is_outdated
        });
    }

    /// A change is acknowledged without asking the server, since that has confirmed the same record as
    /// `confirmed`. What the node itself began since then is no longer allowed, unless it began later than the
    /// change. A push of an earlier change that was still under way then, and what others did, are not the
    /// node's fault.
    pub(crate) fn acknowledge_unasked(&mut self, change: usize, confirmed: usize) {
        let Change { node, began, .. } = self.changes[change];
        let since = self.changes[confirmed].ended;
        self.outdate(node, |other| {
            let is_between =
                other.over.is_some_and(|over| over < began) && since.is_some_and(|since| other.began > since);
            is_between && !other.foreign
        });
    }

    /// The server refuses a change on the branch: its node takes it back, so it may disappear.
    pub(crate) fn withdraw(&mut self, change: usize) {
        self.changes[change].withdrawn = true;
    }

    /// The operation of a change has ended, with or without success.
    pub(crate) fn end(&mut self, change: usize) {
        self.changes[change].ended = Some(self.moment());
        self.settle(change);
    }

    /// The server begins to handle a push of that change.
    pub(crate) fn push_begins(&mut self, change: usize) {
        self.changes[change].under_way += 1;
    }

    /// The server has handled it.
    pub(crate) fn push_ends(&mut self, change: usize) {
        self.changes[change].under_way -= 1;
        self.settle(change);
    }

    fn settle(&mut self, change: usize) {
        let now = self.moment();
        let Change { ended: Some(_), under_way: 0, ref mut over, .. } = self.changes[change] else { return };
        *over = Some(now);
        self.unsettled.retain_mut(|(other, until)| {
            until.remove(&change);
            if until.is_empty() {
                self.changes[*other].over = Some(now);
            }
            !until.is_empty()
        });
    }

    /// Accepts what the server has now, since somebody else has changed it.
    pub(crate) fn accept(&mut self, server: &Server) {
        self.foreign = foreign(&branch(server), self.allowed.len());
        self.note_branch(server);
        let before = self.tip;
        (self.version, self.tip) = (server.version, server.refs.get(&server.head).copied());
        let is_set_back = before.is_some_and(|before| {
            self.tip.is_none_or(|tip| !server.objects.descends(&server.present, tip, before))
        });
        let nodes = self.allowed.len();
        let mut changes: BTreeSet<(usize, Value)> =
            on_branch(server, nodes).into_iter().enumerate().collect();
        changes.extend(visible(server, nodes).into_iter().enumerate());
        let mut until = BTreeSet::new();
        if is_set_back {
            // Whoever saw this tip when the branch had it before may merge now what waited then: a server compares
            // nothing but the tip.
            let first = self.tips[&self.tip];
            let since = self.outdated.partition_point(|(moment, _)| *moment < first);
            let again = self.outdated[since..].iter().map(|(_, change)| &self.changes[*change]);
            changes.extend(again.map(|change| (change.node, change.value)));
            // Whoever merged updates that the branch has lost may still delete their refs.
            let goes_on = |change: &usize| {
                let change = &self.changes[*change];
                !change.foreign && change.over.is_none()
            };
            until = (0..self.changes.len()).filter(goes_on).collect();
        }
        for (node, value) in changes {
            let change = self.begin(node, value);
            self.changes[change].foreign = true;
            match until.is_empty() {
                true => self.end(change),
                false => {
                    self.changes[change].ended = Some(self.moment());
                    self.unsettled.push((change, until.clone()));
                }
            }
        }
    }

    /// Checks what the server has, if it has changed.
    pub(crate) fn check(&mut self, server: &Server) -> Result<(), String> {
        if std::mem::replace(&mut self.version, server.version) == server.version {
            return Ok(());
        }
        for (node, value) in visible(server, self.allowed.len()).into_iter().enumerate() {
            self.check_node(node, value, "the server")?;
        }
        let tip = server.refs.get(&server.head).copied();
        if std::mem::replace(&mut self.tip, tip) != tip {
            let now = foreign(&branch(server), self.allowed.len());
            if now != self.foreign {
                return Err(format!("files of others changed from {:?} to {now:?}", self.foreign));
            }
            self.note_branch(server);
        }
        Ok(())
    }

    fn check_node(&self, node: usize, value: Value, place: &str) -> Result<(), String> {
        let allowed = &self.allowed[node];
        if allowed.iter().any(|change| self.changes[*change].value == value) {
            return Ok(());
        }
        let allowed: Vec<Value> = allowed.iter().map(|change| self.changes[*change].value).collect();
        Err(format!("{place} has {value:?} of i-{node}, but one of {allowed:?} was acknowledged last"))
    }

    fn note_branch(&mut self, server: &Server) {
        let now = self.moment();
        self.tips.entry(server.refs.get(&server.head).copied()).or_insert(now);
        for (known, value) in self.branch.iter_mut().zip(on_branch(server, self.allowed.len())) {
            known.push((now, value));
        }
    }

    /// A reading of that machine begins.
    pub(crate) fn before(&self, machine: usize) -> Before {
        let (readings, seen) = self.seen[machine].clone();
        let (allowed, changes) = (self.allowed.clone(), self.changes.len());
        Before { allowed, changes, moment: self.moments, readings, seen }
    }

    /// Checks what a reading of that machine found. `torn` tells whether others pushed while the server listed its
    /// refs: then an update that was merged meanwhile may be in neither part of the list, so the branch as it was
    /// is as good. Even then no update disappears that the machine saw before.
    pub(crate) fn check_read(
        &mut self,
        machine: usize,
        before: &Before,
        node: usize,
        value: Value,
        torn: bool,
    ) -> Result<(), String> {
        let says =
            |change: &usize| self.changes[*change].node == node && self.changes[*change].value == value;
        let since = before.changes..self.changes.len();
        let mut found: Vec<usize> = before.allowed[node].iter().copied().chain(since).filter(says).collect();
        if found.is_empty() && torn {
            let from = self.branch[node].iter().rposition(|(moment, _)| *moment <= before.moment);
            let had = &self.branch[node][from.unwrap_or_default()..];
            if had.iter().any(|(_, had)| *had == value) {
                found = (0..self.changes.len()).filter(says).collect();
            }
        }
        if found.is_empty() {
            let known = before.allowed[node].iter().map(|change| self.changes[*change].value);
            return Err(format!(
                "a reader sees {value:?} of i-{node}, but one of {:?} was acknowledged before it looked",
                known.collect::<Vec<_>>()
            ));
        }
        let seen = &before.seen[node];
        let precedes = |change: usize, other: usize| {
            self.changes[change].over.is_some_and(|over| over < self.changes[other].began)
        };
        let may_go = |seen: &usize| self.changes[*seen].withdrawn;
        found.retain(|change| {
            seen.is_empty() || seen.iter().any(|seen| may_go(seen) || !precedes(*change, *seen))
        });
        if found.is_empty() {
            let seen: Vec<_> = seen.iter().map(|change| (*change, self.changes[*change].value)).collect();
            return Err(format!("a reader sees {value:?} of i-{node}, but it saw one of {seen:?} before"));
        }
        let (readings, seen) = &mut self.seen[machine];
        // Another reading that overlaps with this one may have looked later.
        if *readings == before.readings {
            seen[node] = found;
        }
        Ok(())
    }

    /// A reading of that machine is checked.
    pub(crate) fn has_read(&mut self, machine: usize, before: &Before) {
        let (readings, _) = &mut self.seen[machine];
        *readings = (*readings).max(before.readings + 1);
    }
}

/// The files on the branch.
fn branch(server: &Server) -> Files {
    let tip = server.refs.get(&server.head);
    tip.map(|tip| server.objects.get(*tip).files.clone()).unwrap_or_default()
}

/// The files that belong to none of the nodes.
fn foreign(files: &Files, nodes: usize) -> Files {
    let is_own = |path: &String| (0..nodes).any(|node| *path == path_of(&format!("i-{node}")));
    files.iter().filter(|(path, _)| !is_own(path)).map(|(path, content)| (path.clone(), *content)).collect()
}

/// What a reader of the server would see of each node: the branch, and the updates that wait.
pub(crate) fn visible(server: &Server, nodes: usize) -> Vec<Value> {
    let mut values = on_branch(server, nodes);
    for (node, content) in waiting(server) {
        if let Some(value) = values.get_mut(node) {
            *value = number(content);
        }
    }
    values
}

/// What the branch has of each node.
fn on_branch(server: &Server, nodes: usize) -> Vec<Value> {
    let files = branch(server);
    let of = |node| files.get(&path_of(&format!("i-{node}"))).and_then(|content| number(*content));
    (0..nodes).map(of).collect()
}

fn number(content: Oid) -> Value {
    match Content::of(content) {
        Content::Record(_, number) => Some(number),
        _ => None,
    }
}

/// The updates that wait, oldest first.
pub(crate) fn waiting(server: &Server) -> Vec<(usize, Oid)> {
    let tip = server.refs.get(&server.head).copied();
    let updates = inbox::entries(
        server.refs.range(inbox::PREFIX.to_owned()..).take_while(|(name, _)| name.starts_with(inbox::PREFIX)),
    );
    let is_merged = |offered: Option<Oid>| is_merged(&server.objects, &server.present, tip, offered);
    let waits = updates
        .into_iter()
        .filter(|update| server.present.contains(&update.commit) && !is_merged(update.offered));
    waits
        .filter_map(|update| {
            let files = &server.objects.get(update.commit).files;
            Some((usize::from(node_of(update.id.as_ref())), *files.get(&path_of(update.id.as_ref()))?))
        })
        .collect()
}

fn is_merged(objects: &Objects, present: &Present, tip: Option<Oid>, offered: Option<Oid>) -> bool {
    match (tip, offered) {
        (Some(tip), Some(offered)) => offered == tip || objects.descends(present, tip, offered),
        _ => false,
    }
}
