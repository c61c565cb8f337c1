//! Network namespaces: one for each host, on the bridge of another one. `ip netns` lists them as
//! `presence-<pid>-<n>-<host>`.
//!
//! Everything is inside these namespaces, so two fleets never meet, and the machine's own network is not
//! touched.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal};

use crate::process::run;

/// The namespace with the bridge and the clients of the balancers.
const HUB: &str = "hub";
const BEGINNING: &str = "presence-";

/// A network of hosts, and the directory of their files. Dropping it removes both, and kills every process in
/// these namespaces.
pub(crate) struct Namespaces {
    prefix: String,
    dir: PathBuf,
}

impl Namespaces {
    /// Whether this machine allows it.
    pub(crate) fn can_be_made() -> bool {
        let name = format!("{BEGINNING}{}-0-try", std::process::id());
        let ip = |word| Command::new("ip").args(["netns", word, &name]).output();
        let made = ip("add").is_ok_and(|output| output.status.success());
        made && ip("del").is_ok_and(|output| output.status.success())
    }

    /// A bridge without hosts.
    pub(crate) fn new() -> Namespaces {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let prefix = format!("{BEGINNING}{}-{number}-", std::process::id());
        let dir = std::env::temp_dir().join(format!("{prefix}hosts"));
        fs::create_dir(&dir).unwrap();
        let network = Namespaces { prefix, dir };
        network.add(HUB);
        let hub = network.name(HUB);
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &hub, "link", "set", "br0", "up"]);
        ip(&["-n", &hub, "addr", "add", "10.213.0.254/24", "dev", "br0"]);
        network
    }

    /// Adds a namespace with this address. Returns the host's directory.
    pub(crate) fn host(&self, host: &str, address: Ipv4Addr) -> PathBuf {
        self.add(host);
        let (hub, name) = (self.name(HUB), self.name(host));
        ip(&["-n", &name, "link", "add", "eth0", "type", "veth", "peer", "name", host, "netns", &hub]);
        ip(&["-n", &name, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        ip(&["-n", &name, "link", "set", "eth0", "up"]);
        ip(&["-n", &hub, "link", "set", host, "master", "br0", "up"]);
        let dir = self.dir.join(host);
        fs::create_dir(&dir).unwrap();
        dir
    }

    fn add(&self, host: &str) {
        let name = self.name(host);
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
    }

    /// Plugs or unplugs the host's cable.
    pub(crate) fn plug(&self, host: &str, up: bool) {
        ip(&["-n", &self.name(HUB), "link", "set", host, if up { "up" } else { "down" }]);
    }

    /// The namespace of a host.
    pub(crate) fn name(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// The namespace of the bridge.
    pub(crate) fn hub(&self) -> String {
        self.name(HUB)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        remove(&self.prefix, &self.dir);
    }
}

/// A program in a namespace. It replaces `ip`, so the child is the program itself.
pub(crate) fn inside(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// The file that represents a namespace.
pub(crate) fn file(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Removes what killed runs have left behind.
pub(crate) fn sweep() {
    let old = |name: &str| -> Option<String> {
        let (pid, rest) = name.strip_prefix(BEGINNING)?.split_once('-')?;
        let (number, _) = rest.split_once('-')?;
        pid.parse::<u32>().ok()?;
        (!Path::new("/proc").join(pid).exists()).then(|| format!("{BEGINNING}{pid}-{number}-"))
    };
    let mut prefixes: Vec<String> = [Path::new("/run/netns"), &std::env::temp_dir()]
        .into_iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| old(entry.file_name().to_str()?))
        .collect();
    prefixes.sort();
    prefixes.dedup();
    for prefix in prefixes {
        remove(&prefix, &std::env::temp_dir().join(format!("{prefix}hosts")));
    }
}

/// Kills all processes in namespaces of that prefix, and removes these and the directory with all mounts
/// below it. Ignores errors: what is already gone does not matter, and the rest must be removed regardless.
fn remove(prefix: &str, dir: &Path) {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    for name in &names {
        for pid in pids(name) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    for name in &names {
        let _ = Command::new("ip").args(["netns", "del", name]).output();
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let below = dir.display().to_string();
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if mount.starts_with(&below) {
            let _ = Command::new("umount").args(["--lazy", mount]).output();
        }
    }
    let _ = fs::remove_dir_all(dir);
}

/// The processes in a namespace.
fn pids(namespace: &str) -> Vec<Pid> {
    let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()
}

#[track_caller]
fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}
