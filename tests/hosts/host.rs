//! One host: a namespace, an address, a directory, and the program under test.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::haproxy;
use crate::namespaces::{self, Namespaces};
use crate::process::Process;

/// The longest run of the program, whatever the fault.
const RUN_LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    namespace: String,
    dir: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl Host {
    /// A host on the network.
    pub(crate) fn new(network: &Namespaces, name: &str, last: u8) -> Host {
        let address = Ipv4Addr::new(10, 213, 0, last);
        let dir = network.host(name, address);
        Host { name: name.into(), address, namespace: network.name(name), dir, environment: Vec::new() }
    }

    /// Makes the host a node: writes its facts and its configuration.
    pub(crate) fn become_node(&self, part: &str, config: &str) {
        fs::create_dir(self.path("nodeinfo")).unwrap();
        let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        for (fact, value) in [
            ("instance-id", self.id().as_str()),
            ("nodepart", part),
            ("stacktype", "lad1"),
            ("deployment", "fed1"),
            ("hostname", &self.name),
            ("ipv4", &self.address.to_string()),
            ("ipv6", "2001:db8::1"),
            ("port", "8080"),
            ("state", "done"),
            ("statetss", &now),
        ] {
            fs::write(self.path("nodeinfo").join(format!("{fact}.txt")), format!("{value}\n")).unwrap();
        }
        fs::write(self.path("presence.toml"), config).unwrap();
    }

    /// Its instance-id.
    pub(crate) fn id(&self) -> String {
        format!("i-{}", self.name)
    }

    /// The namespace of its programs.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A file of this host.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory of its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program on this host, not yet started.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = namespaces::inside(&self.namespace, program);
        command
            .env_clear()
            .env("PATH", haproxy::path())
            .env("HOME", &self.dir)
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(&self.dir);
        command
    }

    fn presence(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_presence"));
        command
            .env("PRESENCE_NODEINFO", self.path("nodeinfo"))
            .env("PRESENCE_STATE_DIR", self.path("state"))
            .env("PRESENCE_CONFIG", self.path("presence.toml"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(arguments);
        command
    }

    /// Runs `presence` until it exits.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let command = self.presence(arguments);
        assert_cmd::Command::from_std(command).timeout(RUN_LIMIT).output().unwrap()
    }

    /// Starts `presence agent`.
    pub(crate) fn agent(&self) -> Process {
        Process::start(&mut self.presence(&["agent"]), &self.path("agent.log"))
    }

    /// What its agents have logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// Makes the program's clock, and no other, wrong by this offset, in the notation of faketime (`-1h`,
    /// `+30d`). `None` corrects it.
    pub(crate) fn set_clock(&mut self, offset: Option<&str>) {
        self.environment.clear();
        let Some(offset) = offset else { return };
        let library = "libfaketimeMT.so.1";
        let found = fs::read_dir("/usr/lib")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("faketime").join(library))
            .find(|path| path.exists());
        let found = found.unwrap_or_else(|| panic!("no {library}: it is in the Debian package libfaketime"));
        self.environment.push(("LD_PRELOAD", found.into()));
        self.environment.push(("FAKETIME", offset.into()));
        // The clock for waits stays right.
        self.environment.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()));
        self.environment.push(("DONT_FAKE_MONOTONIC", "1".into()));
    }
}
