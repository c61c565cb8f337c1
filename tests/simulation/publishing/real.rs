//! Compares the server in memory with git's own: the same pushes to both must have the same results.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use git2::{Oid, Repository, Signature};
use presence_git::connection::Process;
use presence_git::send_pack::{self, NewCommit, RefUpdate, Report, Session};
use presence_git::{Client, Deadline, Limits, Settings, Timeouts};

use super::objects::{Content, Files, Objects};
use super::server::{Request, Rule, Server};
use crate::runner::{self, Kind};
use crate::scheduler::Simulation;

pub(crate) const WORLD: runner::World = runner::World {
    name: "real-git",
    about: "the same random pushes to the server in memory and to `git daemon`",
    kind: Kind::Seeds(6, &[], run),
};

/// The refs that take part. Some cannot exist beside others.
const REFS: [&str; 7] = [
    "refs/heads/master",
    "refs/heads/other",
    "refs/presence/inbox/a/1",
    "refs/presence/inbox/a/2",
    "refs/presence/inbox/a",
    "refs/presence/inbox/b/1",
    "refs/presence/beats/000",
];

/// How many pushes a seed makes, and how many connections are open at a time.
const PUSHES: usize = 30;
const OPEN: usize = 3;

/// The hooks of the real server for each rule.
const HOOKS: [(Rule, &str, &str); 4] = [
    (Rule::None, "update", "exit 0"),
    (Rule::All, "pre-receive", "exit 1"),
    (Rule::Branches, "update", "case $1 in refs/heads/*) exit 1;; esac"),
    (Rule::Others, "update", "case $1 in refs/heads/*) ;; *) exit 1;; esac"),
];

/// The real server: a `git daemon` with one repository.
struct Daemon {
    child: std::process::Child,
    base: tempfile::TempDir,
    port: u16,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

fn git(directory: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "git {arguments:?}: {status}");
}

impl Daemon {
    fn start() -> Daemon {
        use std::os::unix::process::CommandExt;
        for _ in 0..5 {
            let base = tempfile::tempdir().unwrap();
            git(base.path(), &["init", "--quiet", "--bare", "--initial-branch=master", "list.git"]);
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Command::new("git")
                .args(["daemon", "--listen=127.0.0.1", "--reuseaddr", "--export-all"])
                .args(["--enable=receive-pack", &format!("--port={port}")])
                .arg(format!("--base-path={}", base.path().display()))
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("HOME", base.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .unwrap();
            for _ in 0..200 {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Daemon { child, base, port };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            drop(Daemon { child, base, port });
        }
        panic!("git daemon does not serve");
    }

    fn repository(&self) -> PathBuf {
        self.base.path().join("list.git")
    }

    fn connect(&self, client: &Client) -> Session {
        let deadline = Deadline::new("reading", Duration::from_secs(60));
        Session::open(client, &format!("git://127.0.0.1:{}/list.git", self.port), deadline).unwrap()
    }
}

/// The objects of both worlds: a commit here and its twin in a real repository.
struct Twins {
    objects: Objects,
    local: Repository,
    _directory: tempfile::TempDir,
    real: BTreeMap<Oid, Oid>,
    model: BTreeMap<Oid, Oid>,
}

impl Twins {
    fn new() -> Twins {
        let directory = tempfile::tempdir().unwrap();
        let local = Repository::init_bare(directory.path()).unwrap();
        let (real, model) = (BTreeMap::new(), BTreeMap::new());
        Twins { objects: Objects::default(), local, _directory: directory, real, model }
    }

    fn commit(&mut self, parent: Option<Oid>, number: u32) -> Oid {
        let files = Files::from([("file".to_owned(), Content::Foreign(number).oid())]);
        let commit = self.objects.commit(parent, files, u64::from(number));
        let blob = self.local.blob(number.to_string().as_bytes()).unwrap();
        let mut tree = self.local.treebuilder(None).unwrap();
        tree.insert("file", blob, 0o100_644).unwrap();
        let tree = self.local.find_tree(tree.write().unwrap()).unwrap();
        let who = Signature::new("a", "a@localhost", &git2::Time::new(i64::from(number), 0)).unwrap();
        let parent = parent.map(|parent| self.local.find_commit(self.real[&parent]).unwrap());
        let parents: Vec<_> = parent.iter().collect();
        let real = self.local.commit(None, &who, &who, "x", &tree, &parents).unwrap();
        self.real.insert(commit, real);
        self.model.insert(real, commit);
        commit
    }

    fn pack(&self, commits: &[Oid]) -> Vec<u8> {
        let new = |commit: &Oid| {
            let commit = self.real[commit];
            NewCommit { commit, tree: self.local.find_commit(commit).unwrap().tree_id(), base: None }
        };
        send_pack::pack_of(&self.local, &commits.iter().map(new).collect::<Vec<_>>()).unwrap()
    }

    fn twin(&self, command: &RefUpdate) -> RefUpdate {
        let real = |oid: Option<Oid>| oid.map(|oid| self.real[&oid]);
        RefUpdate { name: command.name.clone(), old: real(command.old), new: real(command.new) }
    }
}

fn client() -> Client {
    fn start(command: &mut Command) -> std::io::Result<Box<dyn Process>> {
        Err(std::io::Error::other(format!("{command:?} is not needed")))
    }
    const MIB: u64 = 1024 * 1024;
    let limits = Limits {
        object_bytes: MIB,
        delta_bytes: MIB,
        objects: 1_000,
        unpacked_bytes: 16 * MIB,
        answer_bytes: 16 * MIB,
        talk_bytes: MIB,
        ref_bytes: 1024 * 1024,
        prefixes: &["refs/"],
        refs: 1_000,
        report_bytes: 1024 * 1024,
    };
    Client::new(Settings::from_env(Timeouts::default(), limits, start))
}

/// The result of a push, in the classes that the protocol distinguishes.
fn classes(report: &Report) -> (bool, BTreeMap<&str, &str>) {
    let class = |reason: &str| match reason {
        "missing necessary objects"
        | "unpacker error"
        | "pre-receive hook declined"
        | "hook declined"
        | "deletion of the current branch prohibited" => "refused",
        "atomic push failure" => "refused beside another one",
        _ if reason.contains("hook") => "refused",
        _ => "lost",
    };
    let refused = report.refused.iter().map(|(name, reason)| (name.as_str(), class(reason))).collect();
    (report.unpack.is_some(), refused)
}

fn run(simulation: &Simulation) -> Result<(), String> {
    let chance = simulation.chance();
    let (daemon, client, mut twins) = (Daemon::start(), client(), Twins::new());
    let mut server = Server::new(&twins.objects);
    // A pack may bring commits without their ancestors.
    server.damaged = true;
    let mut open: Vec<(Session, BTreeMap<String, Oid>)> = Vec::new();
    let mut known: Vec<Oid> = Vec::new();
    let mut absent: Vec<Oid> = Vec::new();
    for number in 0..PUSHES {
        while open.len() < OPEN {
            let session = daemon.connect(&client);
            let shown: BTreeMap<String, Oid> =
                server.advertise(true).into_iter().chain(server.advertise(false)).collect();
            let real: BTreeMap<String, Oid> =
                session.advertisement().refs.iter().map(|(name, oid)| (name.clone(), *oid)).collect();
            let expected: BTreeMap<String, Oid> =
                shown.iter().map(|(name, oid)| (name.clone(), twins.real[oid])).collect();
            if real != expected {
                return Err(format!("git shows {real:?}, the model {expected:?}"));
            }
            open.push((session, shown));
        }
        if chance.happens(0.1) {
            let (rule, hook, script) = *chance.pick(&HOOKS);
            simulation.event(|| format!("the rule is now {rule:?}"));
            set_hook(&daemon.repository(), hook, script);
            server.rule = rule;
        }
        if chance.happens(0.05) {
            // A ref that names nothing, as after a crash.
            let commit = twins.commit(None, 1_000_000 + u32::try_from(number).unwrap());
            let name = format!("refs/presence/inbox/lost/{number}");
            let path = daemon.repository().join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{}\n", twins.real[&commit])).unwrap();
            server.set(&name, Some(commit));
            absent.push(commit);
            simulation.event(|| format!("{name} dangles"));
        }
        let (session, shown) = open.swap_remove(chance.below(open.len()));
        let (mut commands, mut commits) = (Vec::new(), Vec::new());
        let mut names: Vec<String> = REFS.iter().map(|name| (*name).to_owned()).collect();
        names.extend(shown.keys().filter(|name| name.contains("lost")).cloned());
        for _ in 0..=chance.below(4) {
            let name = names.swap_remove(chance.below(names.len()));
            // git 2.47 goes through the commands in order, later versions delete first.
            let in_the_way = |other: &RefUpdate| {
                other.name.starts_with(&format!("{name}/")) || name.starts_with(&format!("{}/", other.name))
            };
            if commands.iter().any(in_the_way) {
                continue;
            }
            let old = shown.get(&name).copied();
            let new = match chance.below(6) {
                0 | 1 if old.is_some() => None,
                2 if !known.is_empty() => Some(*chance.pick(&known)),
                _ => {
                    let parent = match chance.below(8) {
                        // A parent that the server never had.
                        0 => Some(twins.commit(None, 2_000_000 + u32::try_from(number).unwrap())),
                        1..4 => None,
                        _ => old.filter(|old| !absent.contains(old)),
                    };
                    let number = u32::try_from(number * 100 + commands.len()).unwrap();
                    let commit = twins.commit(parent, number);
                    commits.push(commit);
                    Some(commit)
                }
            };
            commands.push(RefUpdate { name, old, new });
        }
        let atomic = chance.happens(0.4);
        let request = Request { commands: commands.clone(), commits: commits.clone(), atomic };
        let model = server.receive(request);
        let real: Vec<RefUpdate> = commands.iter().map(|command| twins.twin(command)).collect();
        let pack = twins.pack(&commits);
        let real = session.send(&real, &pack, atomic).map_err(|error| format!("the push: {error}"))?;
        simulation.event(|| format!("{commands:?} atomic: {atomic}\n  git:   {real:?}\n  model: {model:?}"));
        simulation.count("pushes", 1);
        if classes(&real) != classes(&model) {
            return Err(format!("git answers {real:?}, the model {model:?}"));
        }
        known.extend(commits.iter().filter(|commit| server.present.contains(*commit)));
    }
    Ok(())
}

fn set_hook(repository: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let hooks = repository.join("hooks");
    let _ = fs::remove_dir_all(&hooks);
    fs::create_dir_all(&hooks).unwrap();
    let path = hooks.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}
