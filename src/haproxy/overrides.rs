//! Overrides: settings at the socket by somebody else, which this program leaves in place. For example a
//! server in maintenance, another weight, or a server of theirs.
//!
//! A server that differs from the file is either in transition or was set by somebody else. The running
//! HAProxy does not show which, so presence records the servers in transition before it sends anything. A
//! server without such a record was set by somebody else, if neither its line in the file nor HAProxy's
//! process has changed. If that is uncertain, the file applies.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::config::{Backend, Config, Server, State};
use super::reload::Serving;
use super::running::{Running, RunningServer};
use super::step::ServerName;
use crate::errors::PathError;

/// What is known of the servers that differ from the file, from one look at HAProxy to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// A digest of the file.
    file: String,
    /// The process that served.
    worker: Option<Serving>,
    /// Servers in transition, as `BACKEND/SERVER`.
    moving: BTreeSet<String>,
    /// Servers that somebody else has set.
    left: BTreeMap<String, Left>,
    /// Servers that have left the file and still run, with a digest of their options.
    #[serde(default)]
    leaving: BTreeMap<String, String>,
}

/// A server that somebody else has set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    /// Its setting in the file.
    wanted: String,
    /// Its actual setting.
    is: String,
}

/// The storage of [`Overrides`] between looks.
pub trait Remember {
    /// What was last saved; `None` if there is nothing, or if it is unreadable.
    fn recall(&self) -> Option<Overrides>;
    /// Saves the overrides. If this fails, either it returns an error, or [`Remember::recall`] gives `None`
    /// afterwards.
    fn keep(&self, overrides: &Overrides) -> Result<(), PathError>;
}

/// Remembers nothing: then the file applies to every server.
impl Remember for () {
    fn recall(&self) -> Option<Overrides> {
        None
    }

    fn keep(&self, _: &Overrides) -> Result<(), PathError> {
        Ok(())
    }
}

/// The two files, and what runs.
pub(super) struct Look<'a> {
    pub(super) old: (&'a str, &'a Config),
    pub(super) new: (&'a str, &'a Config),
    pub(super) running: &'a Running,
    /// The process that serves; `None` if it is unknown.
    pub(super) worker: Option<Serving>,
}

impl Overrides {
    /// Whether somebody else has set this server.
    pub(super) fn is_left(&self, backend: &str, server: &str) -> bool {
        !self.left.is_empty() && self.left.contains_key(&full_name(backend, server))
    }

    /// Whether somebody else has set this server, and its setting in the file is still the same.
    pub(super) fn holds(&self, server: &ServerName, wanted: State) -> bool {
        self.left.get(&server.to_string()).is_some_and(|left| left.wanted == words(wanted))
    }

    /// The overrides after a reload of that file: the given process serves, and has loaded it. No server is
    /// in transition any more: each is as in the file, or as somebody else has set it.
    pub fn reloaded(self, file: &str, worker: Serving) -> Overrides {
        Overrides { file: digest(file), worker: Some(worker), left: self.left, ..Overrides::default() }
    }

    /// Why the step from one file to the other needs a reload because of a server that returns before it was
    /// removed; `None` if it does not. What runs does not show a server's options, so a server that may run
    /// with other options than those of the new file must be loaded again.
    pub fn comes_back(&self, (text, old): (&str, &Config), new: &Config) -> Option<String> {
        let is_known = self.file == digest(text);
        for (name, backend) in &new.backends {
            for (server, wanted) in &backend.servers {
                if old.backends.get(name).is_some_and(|old| old.servers.contains_key(server)) {
                    continue;
                }
                let full = full_name(name, server);
                let may_run = !is_known || self.moving.contains(&full) || self.left.contains_key(&full);
                let runs_so = || self.leaving.get(&full) == Some(&options(wanted));
                if may_run && !runs_so() {
                    return Some(format!("server `{full}`: it may still run with other options"));
                }
            }
        }
        None
    }

    /// Whether these may be saved in place of the others without a loss. More servers in transition do no
    /// harm.
    pub(super) fn covers(&self, other: &Overrides) -> bool {
        (&self.file, self.worker, &self.left) == (&other.file, other.worker, &other.left)
            && self.moving.is_superset(&other.moving)
            && other.leaving.iter().all(|(name, options)| self.leaving.get(name) == Some(options))
    }

    /// One sentence for each override that is new.
    pub(super) fn news(&self, before: Option<&Overrides>) -> Vec<String> {
        let known =
            |name: &String, left: &Left| before.is_some_and(|before| before.left.get(name) == Some(left));
        let news = self.left.iter().filter(|(name, left)| !known(name, left));
        news.map(|(name, left)| match left.wanted.as_str() {
            ABSENT => format!("{name} was added outside presence, and is left alone"),
            wanted => format!(
                "{name} was set to {} outside presence, and stays so; the file says {wanted}",
                left.is
            ),
        })
        .collect()
    }
}

/// The setting in the file of a server without a line.
const ABSENT: &str = "nothing";

/// Judges each server that differs from the new file.
pub(super) fn judge(known: Option<&Overrides>, look: &Look<'_>) -> Overrides {
    let (old, new) = (digest(look.old.0), digest(look.new.0));
    let same_process = |known: &&Overrides| look.worker.is_some() && known.worker == look.worker;
    let same_file = |known: &&Overrides| known.file == old || known.file == new;
    let judge = Judge { known, trusted: known.filter(same_process).filter(same_file) };
    let mut now = Overrides { file: new, worker: look.worker, ..Overrides::default() };
    for (name, backend) in &look.new.1.backends {
        let before = look.old.1.backends.get(name);
        let running = look.running.servers(name);
        for (server, wanted) in &backend.servers {
            let seen = running.and_then(|running| running.get(server));
            let before = before.and_then(|before| before.servers.get(server));
            judge.server(full_name(name, server), before, wanted, seen, &mut now);
        }
        for (server, seen) in running.into_iter().flatten() {
            if is_unknown(backend, server) {
                let was_ours = before.is_some_and(|before| !is_unknown(before, server));
                let had = before.and_then(|before| before.servers.get(server)).map(options);
                judge.unknown(full_name(name, server), (was_ours, had), seen, &mut now);
            }
        }
    }
    now
}

/// Whether a server is not from the file.
fn is_unknown(backend: &Backend, server: &str) -> bool {
    !backend.servers.contains_key(server) && !backend.left_alone.contains(server) && !backend.has_template
}

struct Judge<'a> {
    known: Option<&'a Overrides>,
    /// The same, if neither the file nor the process has changed unnoticed.
    trusted: Option<&'a Overrides>,
}

impl Judge<'_> {
    fn server(
        &self,
        name: String,
        before: Option<&Server>,
        wanted: &Server,
        seen: Option<&RunningServer>,
        now: &mut Overrides,
    ) {
        match seen {
            Some(seen) if seen.is(wanted) => {
                if seen.state() == wanted.state {
                    return;
                }
                let same = before.is_some_and(|before| before.state == wanted.state);
                self.note(name, Left { wanted: words(wanted.state), is: words(seen.state()) }, same, now);
            }
            _ => drop(now.moving.insert(name)),
        }
    }

    /// `had` are the options of the server in the old file, if it has left now.
    fn unknown(
        &self,
        name: String,
        (was_ours, had): (bool, Option<String>),
        seen: &RunningServer,
        now: &mut Overrides,
    ) {
        let before = || self.known.and_then(|known| known.leaving.get(&name).cloned());
        if let Some(options) = had.or_else(before) {
            now.leaving.insert(name.clone(), options);
        }
        self.note(name, Left { wanted: ABSENT.to_owned(), is: words(seen.state()) }, !was_ours, now);
    }

    /// Records who has set the server. `same`: its setting in the file has not changed.
    fn note(&self, name: String, left: Left, same: bool, now: &mut Overrides) {
        let stays = self.known.and_then(|known| known.left.get(&name)).is_some_and(|before| *before == left);
        let is_new = same && self.trusted.is_some_and(|known| !known.moving.contains(&name));
        match stays || is_new {
            true => drop(now.left.insert(name, left)),
            false => drop(now.moving.insert(name)),
        }
    }
}

/// A digest of the options of a server, which what runs does not show.
fn options(server: &Server) -> String {
    digest(&format!("{:?}", server.options))
}

fn words(state: State) -> String {
    match state {
        State::Ready(weight) => format!("ready with weight {weight}"),
        State::Drain => "drain".to_owned(),
        State::Down => "maintenance".to_owned(),
    }
}

fn full_name(backend: &str, server: &str) -> String {
    ServerName { backend: backend.to_owned(), server: server.to_owned() }.to_string()
}

fn digest(text: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "backend b\n server s 10.0.0.1:80\n";
    const WEIGHTY: &str = "backend b\n server s 10.0.0.1:80 weight 9\n";
    const WITHOUT: &str = "backend b\n";

    fn running(servers: &[(&str, u8, u16)]) -> Running {
        Running::of(servers.iter().map(|&(server, admin, weight)| {
            let address = Some("10.0.0.1:80".parse().unwrap());
            let name = ServerName { backend: "b".into(), server: server.into() };
            (name, RunningServer { address, admin, weight, operational: 2, ..RunningServer::default() })
        }))
    }

    fn look(known: Option<&Overrides>, old: &str, new: &str, running: &Running, worker: u32) -> Overrides {
        let (before, after) = (Config::parse(old), Config::parse(new));
        let worker = Some(serde_json::from_value(worker.into()).unwrap());
        judge(known, &Look { old: (old, &before), new: (new, &after), running, worker })
    }

    fn told(overrides: &Overrides) -> String {
        let moving = overrides.moving.iter().map(|name| format!("{name} moves"));
        let left = overrides.left.iter().map(|(name, left)| format!("{name} left in {}", left.is));
        moving.chain(left).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_somebody_sets_is_left_until_the_file_says_something_else() {
        let (ready, maint) = (running(&[("s", 0, 1)]), running(&[("s", 1, 1)]));
        let settled = look(None, A, A, &ready, 7);
        assert_eq!(told(&settled), "");
        let set = look(Some(&settled), A, A, &maint, 7);
        assert_eq!(told(&set), "b/s left in maintenance");
        assert_eq!(
            set.news(Some(&settled)),
            ["b/s was set to maintenance outside presence, and stays so; the file says ready with weight 1"]
        );
        // Reported once. It survives a change elsewhere and, if HAProxy keeps it, a reload.
        let other = "backend b\n server s 10.0.0.1:80\nbackend c\n";
        let kept = look(Some(&set), A, other, &maint, 8);
        assert_eq!((told(&kept), kept.news(Some(&set))), ("b/s left in maintenance".to_owned(), vec![]));
        // Set back, and forgotten.
        assert_eq!(told(&look(Some(&kept), other, other, &ready, 8)), "");
        // The setting in the file is newer.
        assert_eq!(told(&look(Some(&kept), other, WEIGHTY, &maint, 8)), "b/s moves");
    }

    #[test]
    fn what_was_on_its_way_has_arrived_with_a_reload() {
        let maint = running(&[("s", 1, 1)]);
        let moving = look(None, A, A, &maint, 7);
        assert_eq!(told(&moving), "b/s moves");
        let reloaded = moving.reloaded(A, serde_json::from_value(8.into()).unwrap());
        assert_eq!(told(&look(Some(&reloaded), A, A, &maint, 8)), "b/s left in maintenance");
    }

    #[test]
    fn weights_and_servers_of_others_are_left_too() {
        let settled = look(None, A, A, &running(&[("s", 0, 1)]), 7);
        let set = look(Some(&settled), A, A, &running(&[("s", 0, 5), ("x", 0, 1)]), 7);
        assert_eq!(told(&set), "b/s left in ready with weight 5; b/x left in ready with weight 1");
        assert_eq!(set.news(Some(&settled))[1], "b/x was added outside presence, and is left alone");
        // A server that leaves the file is removed, whatever somebody has set.
        assert_eq!(told(&look(Some(&set), A, WITHOUT, &running(&[("s", 0, 5)]), 7)), "b/s moves");
    }

    #[test]
    fn a_server_that_returns_before_it_was_removed_must_run_with_its_options() {
        let slots = |slots: u32| format!("{WITHOUT} server s 10.0.0.1:80 maxconn {slots}\n");
        let back = |known: &Overrides, new: &str| {
            known.comes_back((WITHOUT, &Config::parse(WITHOUT)), &Config::parse(new))
        };
        let (one, two, there, gone) = (slots(1), slots(2), running(&[("s", 8, 1)]), running(&[]));
        let settled = look(None, &one, &one, &running(&[("s", 0, 1)]), 7);
        let leaving = look(Some(&settled), &one, WITHOUT, &there, 7);
        let later = look(Some(&leaving), WITHOUT, WITHOUT, &there, 7);
        let other = Some("server `b/s`: it may still run with other options".to_owned());
        assert_eq!(back(&later, &one), None);
        assert_eq!(back(&later, &two), other);
        // It was removed.
        let removed = look(Some(&later), WITHOUT, WITHOUT, &gone, 7);
        assert_eq!(back(&removed, &two), None);
        // A reload has removed it.
        let reloaded = later.reloaded(WITHOUT, serde_json::from_value(8.into()).unwrap());
        assert_eq!(back(&reloaded, &two), None);
        // The run that removed it from the file was killed before it looked, and so was the next one.
        assert_eq!(back(&settled, &two), other);
        let unknown = look(Some(&settled), WITHOUT, WITHOUT, &there, 7);
        assert_eq!(back(&unknown, &one), other);
        // A server of somebody else.
        let settled = look(None, WITHOUT, WITHOUT, &gone, 7);
        let theirs = look(Some(&settled), WITHOUT, WITHOUT, &there, 7);
        assert_eq!(back(&theirs, &one), other);
    }

    #[test]
    fn what_is_on_its_way_or_uncertain_is_brought_to_what_the_file_says() {
        let maint = running(&[("s", 1, 1)]);
        // Nothing is remembered.
        let moving = look(None, A, A, &maint, 7);
        assert_eq!(told(&moving), "b/s moves");
        // In transition since then.
        assert_eq!(told(&look(Some(&moving), A, A, &maint, 7)), "b/s moves");
        let settled = look(None, A, A, &running(&[("s", 0, 1)]), 7);
        // HAProxy was restarted, perhaps with the states from before.
        assert_eq!(told(&look(Some(&settled), A, A, &maint, 8)), "b/s moves");
        // The file was replaced by a run that was then killed.
        assert_eq!(told(&look(Some(&settled), WEIGHTY, WEIGHTY, &maint, 7)), "b/s moves");
        // It has moved, or is not there.
        let elsewhere = "backend b\n server s 10.0.0.2:80\n";
        assert_eq!(told(&look(Some(&settled), A, elsewhere, &maint, 7)), "b/s moves");
        assert_eq!(told(&look(Some(&settled), A, A, &Running::default(), 7)), "b/s moves");
        // A server that has left the file, and still has sessions.
        let leaving = look(Some(&settled), A, WITHOUT, &running(&[("s", 8, 1)]), 7);
        assert_eq!(told(&look(Some(&leaving), WITHOUT, WITHOUT, &maint, 7)), "b/s moves");
    }
}
