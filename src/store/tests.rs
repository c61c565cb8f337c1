//! Tests of the interface, with each kind of store that needs no server.

use std::path::Path;

use super::*;
use crate::deadline::Limit;

pub(super) fn options(state_dir: &Path) -> Arc<Options> {
    let hour = Duration::from_secs(3600);
    Arc::new(Options {
        folder: Folder::parse("it").unwrap(),
        layout: Layout::default(),
        state_dir: state_dir.to_owned(),
        publishing: hour,
        reading: hour,
        looking_back: hour,
        connect: hour,
        git: git::Options {
            branch: None,
            create_branch: false,
            beat_shards: 1,
            recheck: hour,
            network: presence_git::Timeouts::default(),
            credentials: Vec::new(),
        },
        #[cfg(feature = "etcd")]
        etcd: etcd::Options::default(),
    })
}

pub(super) fn soon() -> Deadline {
    Deadline::new(Limit::Read, Duration::from_secs(600))
}

fn record(port: u16) -> Record {
    let text = format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"i-1","port":"{port}"}}}}"#);
    Record::parse(text.as_bytes()).unwrap()
}

fn put(store: &dyn Store, port: u16) {
    store.apply(&Edit::Put(&record(port)), "t", None, soon()).unwrap();
}

/// The port on the list at that moment, or the error.
fn port(store: &dyn Store, at: &At) -> String {
    match store.look(at, false, soon()).and_then(|look| look.read(soon())) {
        Ok(snapshot) => snapshot.files().next().map_or_else(
            || "none".to_owned(),
            |file| file.record().unwrap().text("port").unwrap().to_string(),
        ),
        Err(error) => crate::errors::chain(&error.kind),
    }
}

#[test]
fn a_repository_is_read_as_it_was_and_a_directory_keeps_no_past() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir.path().join("state"));
    let path = dir.path().join("list.git");
    git2::Repository::init_bare(&path).unwrap();
    let store = open(&path.display().to_string(), &options);
    let version = || store.look(&At::Latest, false, soon()).unwrap().version.unwrap();
    let empty = version();
    put(&*store, 1);
    let first = version();
    put(&*store, 2);
    assert_eq!(port(&*store, &At::Latest), "2");
    assert_eq!(port(&*store, &At::Version(first)), "1");
    assert_eq!(port(&*store, &At::Version(empty)), "none");
    let copy = store.last_copy(false).unwrap();
    assert_eq!(copy.files().next().unwrap().record().unwrap(), record(2), "the past replaces no last copy");
    assert_eq!(port(&*store, &At::Time(Timestamp::MAX)), "2");
    assert_eq!(port(&*store, &At::Time(Timestamp::UNIX_EPOCH)), "none", "presence made the first commit");
    let path = dir.path().join("directory");
    std::fs::create_dir(&path).unwrap();
    let store = open(&path.display().to_string(), &options);
    put(&*store, 1);
    assert_eq!(port(&*store, &At::Latest), "1");
    assert_eq!(port(&*store, &At::Time(Timestamp::MAX)), "a plain directory keeps no history");
}

/// Counts the steps of a walk. Takes those before a deadline for a result, or not.
#[derive(Clone)]
struct Count {
    steps: usize,
    is_enough: bool,
}

impl Visitor for Count {
    fn visit(&mut self, _: Step) -> ControlFlow<()> {
        self.steps += 1;
        ControlFlow::Continue(())
    }

    fn cut(&mut self) -> bool {
        self.is_enough
    }
}

#[test]
fn a_walk_ends_at_its_deadline_and_the_visitor_judges_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.git");
    git2::Repository::init_bare(&path).unwrap();
    let known = options(&dir.path().join("state"));
    let store = open(&path.display().to_string(), &known);
    put(&*store, 1);
    put(&*store, 2);
    let walk = |looking_back: Duration, is_enough| {
        let options = Options { looking_back, ..Options::clone(&known) };
        let stores = Stores::open(&[path.display().to_string()], options);
        let walked = stores.history(&Count { steps: 0, is_enough }).remove(0);
        walked.map(|count| count.steps).map_err(|error| crate::errors::chain(&error.kind))
    };
    for is_enough in [true, false] {
        assert_eq!(walk(known.looking_back, is_enough), Ok(2));
    }
    assert_eq!(walk(Duration::ZERO, true), Ok(0));
    assert_eq!(walk(Duration::ZERO, false), Err("has not answered within 0 s".to_owned()));
}

#[test]
fn a_repository_behind_a_network_without_a_copy_is_asked_for_its_past() {
    let dir = tempfile::tempdir().unwrap();
    let store = open("git://127.0.0.1:1/list.git", &options(dir.path()));
    assert!(port(&*store, &At::Time(Timestamp::MAX)).contains("127.0.0.1"));
}

#[test]
fn a_store_says_what_it_can_do() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir.path().join("state"));
    let able = |url: &str| open(url, &options).capabilities().ok();
    let git = Capabilities { history: true, past: true, heartbeats: Heartbeats::Times, waits: false };
    let path = dir.path().join("list").display().to_string();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(able(&path), Some(Capabilities { history: false, past: false, ..git }));
    git2::Repository::init_bare(&path).unwrap();
    assert_eq!(able(&path), Some(git));
    assert_eq!(able("git://127.0.0.1:1/list.git"), Some(git));
    assert_eq!(able("s3://bucket"), None);
    #[cfg(feature = "etcd")]
    {
        let etcd = Capabilities { history: false, past: false, heartbeats: Heartbeats::Leases, waits: true };
        assert_eq!(able("etcd://127.0.0.1:1/list"), Some(etcd));
        assert_eq!(able("etcd://u:p@127.0.0.1/list"), None);
    }
}

#[test]
fn a_wait_ends_with_another_version_or_with_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.git");
    git2::Repository::init_bare(&path).unwrap();
    let store = open(&path.display().to_string(), &options(&dir.path().join("state")));
    let version = store.look(&At::Latest, false, soon()).unwrap().version.unwrap();
    let interval = Duration::from_millis(1);
    let at_once = Deadline::new(Limit::Read, Duration::from_millis(50));
    assert!(!store.wait(&version, interval, at_once).unwrap(), "nothing changes");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.wait(&version, interval, soon()).unwrap());
        put(&*store, 1);
        assert!(waiting.join().unwrap());
    });
    assert!(store.wait(&version, interval, soon()).unwrap(), "it has changed already");
    std::fs::remove_dir_all(&path).unwrap();
    assert!(store.wait(&version, interval, soon()).is_err());
}
