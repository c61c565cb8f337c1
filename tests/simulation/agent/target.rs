//! The target of a balancer: its memory, its file, its commands and its HAProxy, under the real turn.
//!
//! A turn is not interrupted by the scheduler. It has a clock of its own, which advances with each step; a
//! process that is killed does nothing more, whatever the rest of the turn asks for.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use presence::beat::machine::TurnPort;
use presence::beat::node::NodeError;
use presence::errors::PathError;
use presence::haproxy::{self, Running, SocketError};
use presence::name::Name;
use presence::output::{Command, CommandError, CurrentFile, Memory, Place, Port, Ready, Target, TargetError};
use presence::roster::Identity;
use presence::template::{Lookup, TemplateError};

use super::haproxy::socket;
use super::world::{Balancer, File, Reloading, Seen, World};

/// How likely a process is killed at a step.
const KILL: f64 = 0.0004;

/// One turn.
pub(super) struct Turning {
    pub(super) world: Rc<World>,
    pub(super) at: usize,
    pub(super) seen: Seen,
    pub(super) elapsed: Cell<Duration>,
    pub(super) dead: Cell<bool>,
}

impl Turning {
    pub(super) fn new(world: &Rc<World>, at: usize, seen: Seen) -> Turning {
        Turning { world: world.clone(), at, seen, elapsed: Cell::default(), dead: Cell::default() }
    }

    fn balancer(&self) -> &Balancer {
        &self.world.balancers[self.at]
    }

    fn now(&self) -> Duration {
        self.world.sim.now() + self.elapsed.get()
    }

    fn takes(&self, time: Duration) {
        self.elapsed.set(self.elapsed.get() + time);
    }

    /// The next step. An error if the process has been killed.
    fn step(&self, step: &'static str, name: &str) -> io::Result<()> {
        self.takes(Duration::from_millis(1));
        let may_die = !self.dead.get() && !self.seen.forced;
        if may_die && self.world.fault("agent killed in a turn", KILL) {
            self.world.sim.event(|| format!("{}: killed before: {step} {name}", self.balancer().name));
            self.dead.set(true);
        }
        match self.dead.get() {
            true => Err(io::Error::other("killed")),
            false => Ok(()),
        }
    }

    fn step_at(&self, step: &'static str, name: &str) -> Result<(), PathError> {
        self.step(step, name).map_err(|source| PathError { operation: step, path: name.into(), source })
    }
}

/// The machine of one file in its turn.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) turning: Rc<Turning>,
    /// The table of the file.
    pub(super) table: usize,
}

impl TurnPort for Machine {
    fn memory(&self, path: &Path) -> Result<Memory, PathError> {
        self.turning.step_at("lock", &path.to_string_lossy())?;
        let renders = &self.turning.balancer().config.renders;
        let table = renders.iter().position(|render| render.target.path == path).unwrap();
        Ok(Memory::over(Machine { turning: self.turning.clone(), table }))
    }

    fn templates(&self, dirs: &[PathBuf], who: &Identity) -> Result<Arc<Lookup>, TemplateError> {
        // Parsing takes longer than everything else of a turn, and no template changes in a run.
        let mut templates = self.turning.world.templates.borrow_mut();
        match &*templates {
            Some(templates) => Ok(templates.clone()),
            None => {
                let lookup = Arc::new(Lookup::new(dirs, who)?.parsed_once());
                Ok(templates.insert(lookup).clone())
            }
        }
    }

    fn now(&self) -> Result<Timestamp, NodeError> {
        Ok(self.turning.world.wall(self.turning.balancer().clock.get(), self.turning.elapsed.get()))
    }

    fn withdrawn(&self, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
        let told = |id: &&Name| {
            self.turning.world.lists.iter().any(|list| list.borrow().withdrawn.contains(id.as_str()))
        };
        ids.iter().filter(told).cloned().collect()
    }
}

impl Port for Machine {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PathError> {
        Ok(self.file().memory.borrow().get(name).cloned())
    }

    fn has(&self, name: &str) -> Result<bool, PathError> {
        Ok(self.file().memory.borrow().contains_key(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PathError> {
        self.turning.step_at("write", name)?;
        self.file().memory.borrow_mut().insert(name.to_owned(), bytes.to_owned());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), PathError> {
        if self.has(name)? {
            self.turning.step_at("remove", name)?;
            self.file().memory.borrow_mut().remove(name);
        }
        Ok(())
    }

    fn recover(&self, _: &Memory, _: &Path) -> Result<(), TargetError> {
        Ok(())
    }

    fn open<'p>(&'p self, _: &'p Path) -> Result<Box<dyn Place + 'p>, TargetError> {
        Ok(Box::new(self.clone()))
    }

    fn current(&self, _: &Path) -> Result<Option<Vec<u8>>, TargetError> {
        Ok(self.file().bytes.borrow().clone())
    }

    fn run(&self, command: &Command, file: &Path, _: Duration) -> Result<(), CommandError> {
        let (turning, balancer) = (&self.turning, self.turning.balancer());
        let failed = || CommandError::Failed {
            command: command.to_string(),
            status: "exit code 1".to_owned(),
            output: String::new(),
        };
        turning.step("run", command.program()).map_err(|_| failed())?;
        turning.takes(Duration::from_millis(100));
        if command.program() == "check" {
            let _ = file;
            return if balancer.check_fails.get() { Err(failed()) } else { Ok(()) };
        }
        if !turning.seen.forced {
            turning.world.reloads(turning.at, turning.seen.began);
        }
        match balancer.reloading.get() {
            Reloading::Fails => return Err(failed()),
            Reloading::IsSlow => turning.takes(Duration::from_secs(3)),
            Reloading::Works => {}
        }
        turning.world.sim.event(|| format!("{}: HAProxy loads its files", balancer.name));
        for file in &balancer.files {
            file.loaded.replace(file.text());
        }
        balancer.haproxy.borrow_mut().load(&balancer.files[0].text(), turning.now());
        Ok(())
    }

    fn haproxy<'p>(&'p self, _: &'p Path) -> Box<dyn haproxy::Port + 'p> {
        Box::new(self.clone())
    }

    fn write_states(&self, _: &Path, _: &str) -> Result<(), PathError> {
        Ok(())
    }
}

impl Place for Machine {
    fn sweep(&self) {}

    fn current(&self) -> Result<Option<CurrentFile>, TargetError> {
        Ok(self.file().bytes.borrow().clone().map(CurrentFile::of))
    }

    fn adjust(&self, _: &Target, _: &CurrentFile) -> Result<bool, TargetError> {
        Ok(false)
    }

    fn replace(
        &self,
        target: &Target,
        _: &Memory,
        _: Option<&CurrentFile>,
        bytes: &[u8],
        _: &mut Vec<String>,
        ready: &mut Ready<'_>,
    ) -> Result<(), TargetError> {
        ready(&target.path)?;
        self.turning.step_at("replace", &target.path.to_string_lossy())?;
        self.turning.world.replaces(self.turning.at, self.table, bytes, &self.turning.seen);
        self.file().bytes.replace(Some(bytes.to_owned()));
        Ok(())
    }
}

impl Machine {
    fn file(&self) -> &File {
        &self.turning.balancer().files[self.table]
    }

    fn ask(&self, operation: &'static str) -> Result<(), SocketError> {
        let turning = &self.turning;
        let failed = |source| SocketError::Io { operation, path: socket().to_owned(), source };
        turning.step(operation, "the socket").map_err(failed)?;
        match turning.balancer().haproxy.borrow().down_until > turning.now() {
            true => Err(failed(io::ErrorKind::ConnectionRefused.into())),
            false => Ok(()),
        }
    }
}

impl haproxy::Port for Machine {
    fn may_change(&self) -> Result<(), SocketError> {
        self.ask("connect to")
    }

    fn running(&self) -> Result<Running, SocketError> {
        self.ask("read from")?;
        self.turning.takes(Duration::from_millis(50));
        let world = &self.turning.world;
        Ok(self.turning.balancer().haproxy.borrow().running(self.turning.now(), |id| world.health(id)))
    }

    fn states(&self) -> Result<String, SocketError> {
        self.ask("read from")?;
        Ok("1\n".to_owned())
    }

    fn worker(&self) -> Result<u32, SocketError> {
        self.ask("read from")?;
        Ok(self.turning.balancer().haproxy.borrow().pid)
    }

    fn tell(&self, commands: &[String]) -> Result<Vec<String>, SocketError> {
        let mut answers = Vec::new();
        for command in commands {
            self.ask("write to")?;
            self.turning.world.sim.event(|| format!("{}: {command}", self.turning.balancer().name));
            answers.push(self.turning.balancer().haproxy.borrow_mut().obey(command, self.turning.now()));
        }
        Ok(answers)
    }

    fn now(&self) -> Duration {
        self.turning.now()
    }

    fn pause(&self, time: Duration) {
        self.turning.takes(time);
    }
}
