//! The place of the list for an agent under test: a repository on this machine, or one behind a server.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::fixture::machine::{Machine, bare_repository};
#[cfg(all(feature = "https", feature = "ssh"))]
use crate::fixture::{GitDaemon, Sshd};

const LIST: &str = "list.git";

/// A list that can go away and come back.
pub(crate) enum Place {
    Here(TempDir),
    #[cfg(all(feature = "https", feature = "ssh"))]
    Git(GitDaemon),
    #[cfg(all(feature = "https", feature = "ssh"))]
    Ssh(Sshd),
}

impl Place {
    /// A repository used by its path.
    pub(crate) fn here() -> Place {
        let dir = tempfile::tempdir().unwrap();
        bare_repository(&dir.path().join(LIST));
        Place::Here(dir)
    }

    /// A repository behind `git://`.
    #[cfg(all(feature = "https", feature = "ssh"))]
    pub(crate) fn git() -> Place {
        let server = GitDaemon::start();
        server.repository(LIST);
        Place::Git(server)
    }

    /// A repository behind `ssh://`.
    #[cfg(all(feature = "https", feature = "ssh"))]
    pub(crate) fn ssh() -> Place {
        let server = Sshd::start();
        server.repository(LIST);
        Place::Ssh(server)
    }

    /// Adds this list to the machine's stores.
    pub(crate) fn admit(&self, machine: Machine) -> Machine {
        #[cfg(all(feature = "https", feature = "ssh"))]
        if let Place::Ssh(server) = self {
            server.admit(&machine);
            server.introduce(&machine);
        }
        machine.store(self.url())
    }

    /// A machine of a given part, with this list as its store.
    pub(crate) fn machine(&self, part: &str) -> Machine {
        self.admit(Machine::new(part))
    }

    /// The `max-age` of a `[[render]]` table: behind a network, much longer than any test, so that heartbeats
    /// are read and no node is silent.
    pub(crate) fn max_age(&self) -> &'static str {
        match self {
            Place::Here(_) => "",
            #[cfg(all(feature = "https", feature = "ssh"))]
            _ => "max-age = '10h'\n",
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Place::Here(_) => self.repository().display().to_string(),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Git(server) => server.url(LIST),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Ssh(server) => server.url(LIST),
        }
    }

    /// The repository itself, as seen by the server.
    pub(crate) fn repository(&self) -> PathBuf {
        match self {
            Place::Here(dir) => dir.path().join(LIST),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Git(server) => server.path(LIST),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Ssh(server) => server.path(LIST).into(),
        }
    }

    /// Makes it unreachable.
    pub(crate) fn go_away(&mut self) {
        match self {
            Place::Here(dir) => fs::rename(dir.path().join(LIST), dir.path().join("away.git")).unwrap(),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Git(server) => server.kill(),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Ssh(server) => server.kill(),
        }
    }

    /// Makes it reachable again.
    pub(crate) fn come_back(&mut self) {
        match self {
            Place::Here(dir) => fs::rename(dir.path().join("away.git"), dir.path().join(LIST)).unwrap(),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Git(server) => server.restart(),
            #[cfg(all(feature = "https", feature = "ssh"))]
            Place::Ssh(server) => server.restart(),
        }
    }

    /// The message while it is unreachable.
    pub(crate) fn complaint(&self) -> &'static str {
        match self {
            Place::Here(_) => "there is no directory or repository",
            #[cfg(all(feature = "https", feature = "ssh"))]
            _ => "Connection refused",
        }
    }
}

/// Makes a test of each function for each kind of place. An ssh connection costs a tenth of a second of CPU
/// on either side, so the functions after `but ssh:` do without it.
macro_rules! over_each_store {
    (but ssh: $($test:ident),+ $(,)?) => {$(
        mod $test {
            use crate::agent::place::Place;

            #[test]
            fn here() {
                super::$test(Place::here());
            }

            #[cfg(all(feature = "https", feature = "ssh"))]
            #[test]
            fn behind_git() {
                super::$test(Place::git());
            }
        }
    )+};
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use crate::agent::place::Place;

            #[test]
            fn here() {
                super::$test(Place::here());
            }

            #[cfg(all(feature = "https", feature = "ssh"))]
            #[test]
            fn behind_git() {
                super::$test(Place::git());
            }

            #[cfg(all(feature = "https", feature = "ssh"))]
            #[test]
            fn behind_ssh() {
                super::$test(Place::ssh());
            }
        }
    )+};
}
pub(crate) use over_each_store;
