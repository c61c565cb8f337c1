//! `ssh://` and `user@host:path`: the `ssh` program, as git itself runs it.
//!
//! So keys, agents, jump hosts, certificates and known_hosts work as the user configured them, and stay as
//! strict.

mod command;
mod failure;

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wait_timeout::ChildExt;

use super::dialogue::{Channel, Dialogue};
use super::tcp::uninterrupted;
use super::{Process, SLACK, Service, Settings as Common, late, retry};
use crate::address::Address;
use crate::{Deadline, TransportError, credential};

/// How long ssh may take to exit after the end of the exchange.
const GOODBYE: Duration = Duration::from_secs(2);

/// The bytes of ssh's stderr to keep, from its end.
const KEPT: usize = 8 * 1024;

/// Settings of ssh from git's variables.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// `$GIT_SSH_COMMAND`, a command line.
    pub(super) command: Option<String>,
    /// `$GIT_SSH`, a program.
    pub(super) program: Option<OsString>,
    /// Whether `$GIT_SSH_VARIANT` is `simple`: the program takes a host and a command, but no options.
    pub(super) simple: bool,
    /// `$HOME`.
    pub(super) home: Option<PathBuf>,
}

impl Settings {
    pub(super) fn from_env() -> Settings {
        let said = |name| env::var_os(name).filter(|value| !value.is_empty());
        Settings {
            command: said("GIT_SSH_COMMAND").map(|line| line.to_string_lossy().into_owned()),
            program: said("GIT_SSH"),
            simple: said("GIT_SSH_VARIANT").is_some_and(|variant| variant == "simple"),
            home: said("HOME").map(PathBuf::from),
        }
    }
}

/// Runs ssh, which connects and starts the service, and waits for the first bytes of the answer.
pub(super) fn open(
    address: &Address,
    service: Service,
    common: &Common,
    deadline: Deadline,
) -> Result<Dialogue<Ssh>, TransportError> {
    let (settings, timeouts) = (&common.ssh, &common.timeouts);
    // The temporary file may go after the server's answer: ssh has read it by then.
    let home = command::home_config(settings.home.as_deref());
    let words = command::words(
        address,
        service,
        timeouts,
        settings,
        home.as_ref().map(tempfile::NamedTempFile::path),
        credential::of(&common.credentials, address),
    )?;
    retry::connecting(timeouts.connect, deadline, |_| {
        let ssh = Ssh::start(&words, address, service, common, deadline)?;
        let mut dialogue = Dialogue::new(ssh, service, &common.limits)?;
        dialogue.channel.limit = timeouts.silence;
        Ok(dialogue)
    })
}

/// A running ssh, with a time limit on every wait.
pub(super) struct Ssh {
    process: Box<dyn Process>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The end of its stderr.
    said: Vec<u8>,
    limit: Duration,
    deadline: Deadline,
    /// Whether to kill it instead of waiting for its end.
    given_up: bool,
    address: Address,
    service: Service,
    peer: String,
}

impl Ssh {
    fn start(
        words: &[OsString],
        address: &Address,
        service: Service,
        common: &Common,
        deadline: Deadline,
    ) -> Result<Ssh, TransportError> {
        let name = words[0].to_string_lossy().into_owned();
        let failed = |source| TransportError::Program { program: name.clone(), source };
        let mut program = Command::new(&words[0]);
        program
            .args(&words[1..])
            // So that messages of the server's git can be recognised: Debian's ssh forwards it.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut process = (common.start)(&mut program).map_err(failed)?;
        let child = process.child();
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let ssh = Ssh {
            process,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            said: Vec::new(),
            // The time to connect, and then for the server's answer.
            limit: common.timeouts.connect + common.timeouts.silence,
            deadline,
            given_up: false,
            address: address.clone(),
            service,
            peer: address.peer(),
        };
        ssh.never_block().map_err(failed)?;
        Ok(ssh)
    }

    /// Makes the pipes nonblocking: all waiting is done in [`Ssh::wait`].
    fn never_block(&self) -> io::Result<()> {
        let pipes = [
            self.stdin.as_ref().map(AsFd::as_fd),
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(())
    }

    /// Waits until stdout or stderr is readable, or with `to_write` until stdin is writable.
    fn wait(&mut self, to_write: bool, limit: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let mut pipes = Vec::with_capacity(2);
        match (&self.stdin, &self.stdout) {
            (Some(stdin), _) if to_write => pipes.push(PollFd::new(stdin, PollFlags::OUT)),
            (_, Some(stdout)) if !to_write => pipes.push(PollFd::new(stdout, PollFlags::IN)),
            _ => {}
        }
        if let Some(stderr) = &self.stderr {
            pipes.push(PollFd::new(stderr, PollFlags::IN));
        }
        uninterrupted(|| Ok(poll(&mut pipes, Some(&timeout))?))?;
        self.listen();
        Ok(())
    }

    /// Reads what is available on stderr. A full pipe would block ssh.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(stderr) = &mut self.stderr {
            match stderr.read(&mut buffer) {
                Ok(count @ 1..) => {
                    self.said.extend_from_slice(&buffer[..count]);
                    let surplus = self.said.len().saturating_sub(KEPT);
                    self.said.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => self.stderr = None,
            }
        }
    }

    /// Repeats an operation that would block until it succeeds.
    fn until_done(
        &mut self,
        to_write: bool,
        mut act: impl FnMut(&mut Ssh) -> io::Result<usize>,
    ) -> Result<usize, TransportError> {
        let started = Instant::now();
        let limit = self.deadline.at_most(self.limit);
        loop {
            if let Some(late) = late(&self.peer, self.deadline) {
                self.given_up = true;
                return Err(late);
            }
            let error = match act(self) {
                Ok(count) => return Ok(count),
                Err(error) => error,
            };
            let left = limit.saturating_sub(started.elapsed());
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock if left.is_zero() => {
                    self.given_up = true;
                    return Err(TransportError::Silent {
                        peer: self.peer.clone(),
                        seconds: self.limit.as_secs(),
                    });
                }
                io::ErrorKind::WouldBlock => {
                    self.wait(to_write, left).map_err(|error| self.broken(error))?;
                }
                // It has exited, and its output has the reason.
                io::ErrorKind::BrokenPipe => return Err(self.ended()),
                _ => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&mut self, source: io::Error) -> TransportError {
        self.given_up = true;
        TransportError::Broken { peer: self.peer.clone(), source }
    }
}

impl Channel for Ssh {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        self.until_done(false, |ssh| match &mut ssh.stdout {
            Some(stdout) => stdout.read(buffer),
            None => Ok(0),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
        self.until_done(true, |ssh| match &mut ssh.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        })
    }

    fn ended(&mut self) -> TransportError {
        self.stdin = None;
        let started = Instant::now();
        let mut status = None;
        let goodbye = self.deadline.at_most(GOODBYE).max(SLACK);
        while status.is_none() && started.elapsed() < goodbye {
            // In short steps: its remaining output may be more than a pipe holds.
            status = self.process.child().wait_timeout(Duration::from_millis(20)).ok().flatten();
            self.listen();
        }
        self.given_up = status.is_none();
        let said = String::from_utf8_lossy(&self.said);
        failure::of(&said, status, &self.address, self.service)
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // Closed first, so that ssh does not wait for a reader of its remaining output.
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        let goodbye = self.deadline.at_most(GOODBYE);
        let ended = !self.given_up && matches!(self.process.child().wait_timeout(goodbye), Ok(Some(_)));
        if !ended {
            self.process.kill_group();
        }
    }
}
