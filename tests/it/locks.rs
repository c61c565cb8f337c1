//! The lock of a mirror: held during reads and writes, and never in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use presence::deadline::{Deadline, Limit};
use presence::store::git;
use presence::store::{At, Folder, Layout, Options, Snapshot, open};
use presence_git::Timeouts;

use crate::fixture::GitDaemon;
use crate::fixture::machine::{self, Machine, bare_repository};

/// The limit for an operation that takes no time: less than the wait for a lock, and enough for a busy
/// machine.
const AT_ONCE: Duration = Duration::from_secs(30);

fn soon() -> Deadline {
    Deadline::new(Limit::Publish, Duration::from_secs(60))
}

fn options(state_dir: &Path) -> Options {
    Options {
        folder: Folder::parse("it/presence/all").unwrap(),
        layout: Layout::parse(&[]).unwrap(),
        state_dir: state_dir.to_owned(),
        publishing: Duration::from_secs(60),
        reading: Duration::from_secs(30),
        looking_back: Duration::from_secs(30),
        connect: Duration::from_secs(5),
        git: git::Options {
            branch: None,
            create_branch: false,
            beat_shards: 4,
            recheck: Duration::ZERO,
            network: Timeouts::default(),
            credentials: Vec::new(),
        },
        #[cfg(feature = "etcd")]
        etcd: presence::store::etcd::Options::default(),
    }
}

fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.beats.keys().map(String::as_str).collect()
}

/// A list with one node, and the folder of this machine's mirrors.
fn list() -> (GitDaemon, Machine, PathBuf) {
    let server = GitDaemon::start();
    server.repository("list.git");
    let app = Machine::new("app1").store(server.url("list.git"));
    app.good(&["beat"]);
    let state = app.path("library");
    fs::create_dir(&state).unwrap();
    (server, app, state)
}

#[test]
fn a_look_that_is_not_read_yet_keeps_nobody_from_reading() {
    let (server, _app, state) = list();
    let store = open(&server.url("list.git"), &Arc::new(options(&state)));
    let started = Instant::now();
    let first = store.look(&At::Latest, true, soon()).unwrap();
    // As an agent does that also needs the heartbeats, on the same thread.
    let second = store.look(&At::Latest, true, soon()).unwrap().read(soon()).unwrap();
    store.beat(&presence::name::Name::parse("i-app2").unwrap(), "t", jiff::Timestamp::now(), soon()).unwrap();
    let first = first.read(soon()).unwrap();
    assert!(started.elapsed() < AT_ONCE, "it waited for itself");
    assert_eq!((first.len(), ids(&first)), (1, vec!["i-app1"]), "as it was at the look");
    assert_eq!((second.len(), ids(&second)), (1, vec!["i-app1"]));
}

#[test]
fn a_mirror_that_is_made_anew_between_look_and_reading_is_looked_at_again() {
    let (server, app, state) = list();
    let store = open(&server.url("list.git"), &Arc::new(options(&state)));
    let look = store.look(&At::Latest, true, soon()).unwrap();
    app.fact("port", 9001);
    app.good(&["publish"]);
    // Another process has deleted the mirror and fetched the present content.
    let place = fs::read_dir(state.join("stores")).unwrap().next().unwrap().unwrap().path();
    fs::remove_dir_all(place.join("mirror.git")).unwrap();
    store.look(&At::Latest, true, soon()).unwrap().read(soon()).unwrap();
    let made = fs::metadata(place.join("mirror.git")).unwrap();
    let snapshot = look.read(soon()).unwrap();
    let record = snapshot.files().next().unwrap().record().unwrap();
    assert_eq!(
        record.text("port").as_deref(),
        Some("9001"),
        "the objects of the look are gone: it looks again"
    );
    let kept = fs::metadata(place.join("mirror.git")).unwrap();
    assert_eq!(kept.created().unwrap(), made.created().unwrap(), "the mirror is good, and stays");
}

#[test]
fn a_lock_that_another_process_holds_is_waited_for_and_its_holder_is_named() {
    let server = GitDaemon::start();
    server.repository("list.git");
    let app = Machine::new("app1").store(server.url("list.git"));
    let app = app.config("[timeouts]\npublish = 2\nrecheck = 0\n");
    app.good(&["publish"]);
    let lock = app.mirror().with_file_name("lock");
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo $PPID > \"$0\"; echo held; exec sleep 60"])
        .arg(&lock)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    app.fact("port", 9001);
    let outcome = app.run(&["publish"]).code(1);
    outcome
        .says(&format!("process {} has held", holder.id()))
        .says("for 2 s")
        .says(&format!("ps -fp {}", holder.id()));
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_lock_that_a_killed_publisher_left_is_removed_before_the_other_store_gives_it_up() {
    let app = Machine::new("app1");
    let (repository, directory) = (app.path("list.git"), app.path("directory"));
    bare_repository(&repository);
    fs::create_dir(&directory).unwrap();
    let app = app.store(repository.display()).store(directory.display());
    app.good(&["publish"]);
    let branch = machine::git(&repository, &["symbolic-ref", "HEAD"]);
    fs::write(repository.join(format!("{}.lock", branch.trim())), "").unwrap();
    app.fact("port", 9001);
    let outcome = app.run(&["publish"]).code(0);
    assert!(outcome.stderr.is_empty(), "{outcome}");
    machine::git(&repository, &["grep", "9001", "HEAD"]);
}
