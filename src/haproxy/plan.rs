//! The next steps, from what is wanted and what runs. Pure, and without a memory: it is called again after
//! each step.

use std::time::Duration;

use super::config::{Backend, Config, Server, State, is_section};
use super::overrides::Overrides;
use super::running::{Check, Running, RunningServer};
use super::step::{Action, ServerName, Step, Waiting, Why};

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// What runs is what is wanted.
    Nothing,
    /// There are steps at run time, or servers to wait for.
    Runtime(Round),
    /// A reload is necessary, for this reason.
    Reload(String),
}

/// The steps that are possible now, and what must happen before more are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    /// The steps to take now, in this order.
    pub steps: Vec<Step>,
    /// Servers in transition.
    pub waiting: Vec<Waiting>,
}

/// Why the step from one file to the other changes more than servers; `None` if it does not.
pub fn needs_reload(old: &Config, new: &Config) -> Option<String> {
    if old.skeleton != new.skeleton {
        return Some(skeleton_difference(&old.skeleton, &new.skeleton));
    }
    for (name, backend) in &new.backends {
        // With the same skeleton, both files have the same sections.
        let old = old.backends.get(name);
        for (server, wanted) in &backend.servers {
            let refused = match old.and_then(|old| old.servers.get(server)) {
                Some(was) => was
                    .options
                    .first_difference(&wanted.options)
                    .map(|option| format!("its option `{option}` has changed")),
                None => cannot_add(backend, wanted),
            };
            if let Some(reason) = refused {
                return Some(format!("server `{name}/{server}`: {reason}"));
            }
        }
    }
    None
}

/// The first different line, by its section and keyword. Its content may be a password.
fn skeleton_difference(old: &[String], new: &[String]) -> String {
    let index = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let first = |line: &String| line.split_whitespace().next().unwrap_or_default().to_owned();
    let what = match (old.get(index).map(first), new.get(index).map(first)) {
        (Some(old), Some(new)) if old == new => format!("a line `{new}` has changed"),
        (_, Some(new)) => format!("a line `{new}` is new"),
        (Some(old), None) => format!("a line `{old}` is gone"),
        (None, None) => "it is another file".to_owned(),
    };
    match new[..index].iter().rev().find(|line| is_section(line)) {
        Some(section) => format!("`{section}`: {what}"),
        None => what,
    }
}

fn cannot_add(backend: &Backend, server: &Server) -> Option<String> {
    match (backend.fixed, server.options.not_at_run_time()) {
        (Some(reason), _) => Some(reason.to_owned()),
        (None, Some(option)) => Some(format!("its option `{option}` cannot be set at run time")),
        (None, None) => None,
    }
}

/// The next steps toward the new file. A server is waited for until `patience` after its last change. Servers
/// that somebody else has set are left alone.
pub fn plan(
    old: &Config,
    new: &Config,
    running: &Running,
    overrides: &Overrides,
    patience: Duration,
) -> Plan {
    if let Some(reason) = needs_reload(old, new) {
        return Plan::Reload(reason);
    }
    let mut round = Round::default();
    for (name, backend) in &new.backends {
        let pool = Pool { name, backend, running, overrides, patience };
        if let Err(reason) = pool.plan(&mut round) {
            return Plan::Reload(reason);
        }
    }
    if round == Round::default() { Plan::Nothing } else { Plan::Runtime(round) }
}

/// One backend, wanted and seen.
struct Pool<'a> {
    name: &'a str,
    backend: &'a Backend,
    running: &'a Running,
    overrides: &'a Overrides,
    patience: Duration,
}

/// The servers of a backend that should serve, for the decision whether another one may stop.
struct Standing {
    /// A server that should serve does.
    serves: bool,
    /// A server that should serve does not yet.
    entering: bool,
    /// Such a server is still within the patience.
    entering_soon: bool,
}

impl Pool<'_> {
    fn plan(&self, round: &mut Round) -> Result<(), String> {
        let standing = self.standing()?;
        self.dynamic_cookies(round);
        for (server, wanted) in &self.backend.servers {
            match self.seen(server) {
                None => self.add(server, wanted, round)?,
                Some(_) if self.overrides.is_left(self.name, server) => {}
                Some(seen) if !seen.is(wanted) => {
                    let busy = || self.is_stuck(seen).then(|| "its sessions do not end".to_owned());
                    if let Some(reason) = cannot_add(self.backend, wanted).or_else(busy) {
                        return Err(format!("server `{}/{server}` has moved: {reason}", self.name));
                    }
                    self.remove(server, seen, &standing, round);
                }
                Some(seen) => self.change(server, wanted, seen, &standing, round),
            }
        }
        for (server, seen) in self.running.servers(self.name).into_iter().flatten() {
            let known = self.backend.servers.contains_key(server) || self.backend.left_alone.contains(server);
            let left = known || self.overrides.is_left(self.name, server);
            if !left && !self.backend.has_template {
                self.remove(server, seen, &standing, round);
            }
        }
        Ok(())
    }

    fn seen(&self, server: &str) -> Option<&RunningServer> {
        self.running.servers(self.name)?.get(server)
    }

    fn standing(&self) -> Result<Standing, String> {
        let mut standing = Standing { serves: false, entering: false, entering_soon: false };
        let (mut wanted_ready, mut moved) = (0, 0);
        for (server, wanted) in &self.backend.servers {
            if !matches!(wanted.state, State::Ready(_)) {
                continue;
            }
            if self.overrides.is_left(self.name, server) {
                standing.serves |= self.seen(server).is_some_and(RunningServer::serves);
                continue;
            }
            wanted_ready += 1;
            match self.seen(server) {
                Some(seen) if !seen.is(wanted) => moved += 1,
                Some(seen) if matches!(seen.state(), State::Ready(_)) => standing.serves |= seen.serves(),
                Some(seen) => {
                    standing.entering = true;
                    standing.entering_soon |= seen.is_fresh(self.patience);
                }
                None => (standing.entering, standing.entering_soon) = (true, true),
            }
        }
        // Moving them one after another would be slow, and all at once would leave a gap. A reload avoids
        // both.
        if moved > 0 && (moved * 2 > wanted_ready || !standing.serves) {
            return Err(format!("{moved} of {wanted_ready} servers of `{}` have moved", self.name));
        }
        Ok(standing)
    }

    /// Whether a server to be removed has sessions that outlast the patience.
    fn is_stuck(&self, seen: &RunningServer) -> bool {
        !matches!(seen.state(), State::Ready(_)) && seen.sessions > 0 && !seen.is_fresh(self.patience)
    }

    fn dynamic_cookies(&self, round: &mut Round) {
        let Some(seen) = self.running.servers(self.name).filter(|_| self.backend.dynamic_cookie) else {
            return;
        };
        let mut ours = self.backend.servers.keys();
        if let Some(server) = ours.find(|name| seen.get(*name).is_some_and(|seen| seen.cookie.is_empty())) {
            self.step(server, Action::DynamicCookie, round);
        }
    }

    fn add(&self, server: &str, wanted: &Server, round: &mut Round) -> Result<(), String> {
        if let Some(reason) = cannot_add(self.backend, wanted) {
            return Err(format!("server `{}/{server}` does not run: {reason}", self.name));
        }
        // When a server leaves, its id may pass to another one. The id is free once that server is deleted.
        let mut others = self.running.servers(self.name).into_iter().flatten();
        if let Some((other, seen)) = others.find(|(_, seen)| wanted.id == Some(seen.id)) {
            if self.is_stuck(seen) {
                return Err(format!(
                    "server `{}/{server}` needs the id of `{other}`, which is busy",
                    self.name
                ));
            }
            let soon = matches!(seen.state(), State::Ready(_)) || seen.is_fresh(self.patience);
            self.wait(server, Why::Id(seen.id), soon, round);
            return Ok(());
        }
        let mut words = format!("{}{}", wanted.address, wanted.options.at_run_time(wanted.check_port));
        for (option, value) in [("port", wanted.check_port.map(u32::from)), ("id", wanted.id)] {
            if let Some(value) = value {
                words.push_str(&format!(" {option} {value}"));
            }
        }
        if let State::Ready(weight) = wanted.state
            && weight != 1
        {
            words.push_str(&format!(" weight {weight}"));
        }
        if wanted.backup {
            words.push_str(" backup");
        }
        self.step(server, Action::Add(words), round);
        // HAProxy does not check a disabled server of the file either.
        if wanted.options.has("check") && wanted.state != State::Down {
            self.step(server, Action::EnableHealth, round);
        }
        Ok(())
    }

    /// The steps from the server's current state to the wanted one.
    ///
    /// A server that leaves maintenance is up until its checks find it down, and gets requests meanwhile. So no
    /// server goes from there to ready directly. A server added at run time is checked while it is in
    /// maintenance. A server that was ready before is not, and waits for its verdict in drain.
    fn change(
        &self,
        server: &str,
        wanted: &Server,
        seen: &RunningServer,
        standing: &Standing,
        round: &mut Round,
    ) {
        match (wanted.state, seen.state()) {
            (State::Ready(_), State::Down) => match seen.check() {
                Check::None => self.ready(server, wanted, seen, round),
                Check::Off => self.step(server, Action::EnableHealth, round),
                Check::Paused => self.step(server, Action::Drain, round),
                Check::On if seen.is_good() => self.ready(server, wanted, seen, round),
                Check::On => {
                    let verdict = Why::Verdict(seen.check_status.clone());
                    self.wait(server, verdict, seen.is_fresh(self.patience), round);
                }
            },
            (State::Ready(_), State::Drain) => match seen.check() {
                Check::On if !seen.is_judged() => {
                    // Its status is from before.
                    self.wait(server, Why::Verdict(String::new()), seen.is_fresh(self.patience), round);
                }
                Check::Off => self.step(server, Action::EnableHealth, round),
                // A bad verdict is enough: HAProxy keeps the server down until it is better.
                _ => self.ready(server, wanted, seen, round),
            },
            (State::Ready(weight), State::Ready(is)) => {
                if weight != is {
                    self.step(server, Action::Weight(weight), round);
                }
            }
            (State::Drain, State::Ready(_)) => {
                // The last serving server continues until another one serves.
                if seen.serves() && standing.entering && !standing.serves {
                    self.wait(server, Why::Others, standing.entering_soon, round);
                } else {
                    self.step(server, Action::Drain, round);
                }
            }
            (State::Drain, State::Down) => {
                if seen.check() == Check::Off {
                    self.step(server, Action::EnableHealth, round);
                }
                self.step(server, Action::Drain, round);
            }
            (State::Down, State::Ready(_) | State::Drain) => self.step(server, Action::Maint, round),
            (State::Drain, State::Drain) | (State::Down, State::Down) => {}
        }
    }

    fn ready(&self, server: &str, wanted: &Server, seen: &RunningServer, round: &mut Round) {
        if let State::Ready(weight) = wanted.state
            && weight != seen.weight
        {
            self.step(server, Action::Weight(weight), round);
        }
        self.step(server, Action::Ready, round);
    }

    fn remove(&self, server: &str, seen: &RunningServer, standing: &Standing, round: &mut Round) {
        match (seen.state(), seen.sessions) {
            // New servers enter first, so that there are never too few.
            (State::Ready(_), _)
                if seen.serves() && (standing.entering_soon || standing.entering && !standing.serves) =>
            {
                self.wait(server, Why::Others, standing.entering_soon, round);
            }
            (State::Ready(_), _) => self.step(server, Action::Drain, round),
            (_, sessions @ 1..) => {
                self.wait(server, Why::Sessions(sessions), seen.is_fresh(self.patience), round)
            }
            (State::Drain, 0) => {
                self.step(server, Action::Maint, round);
                self.step(server, Action::Delete, round);
            }
            (State::Down, 0) => self.step(server, Action::Delete, round),
        }
    }

    fn step(&self, server: &str, action: Action, round: &mut Round) {
        round.steps.push(Step { server: self.full_name(server), action });
    }

    fn wait(&self, server: &str, why: Why, fresh: bool, round: &mut Round) {
        round.waiting.push(Waiting { server: self.full_name(server), why, fresh });
    }

    fn full_name(&self, server: &str) -> ServerName {
        ServerName { backend: self.name.to_owned(), server: server.to_owned() }
    }
}

#[cfg(test)]
mod tests;
