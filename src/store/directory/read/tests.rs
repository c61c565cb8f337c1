use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn text(id: &str, port: u16) -> String {
    format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","port":"{port}"}}}}"#)
}

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(ids: &[&str]) -> Fixture {
        let fixture = Fixture { dir: tempfile::tempdir().unwrap() };
        for id in ids {
            fs::write(fixture.path(id), text(id, 1000)).unwrap();
        }
        fixture
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.path().join(format!("{id}.json"))
    }

    /// A scan at a later time, when the times of all files are old enough to prove something.
    fn seen(&self) -> Scan {
        Scan::new(self.dir.path(), true, SystemTime::now() + Duration::from_secs(100)).unwrap()
    }

    fn read(&self, known: &Snapshot) -> Snapshot {
        self.seen().read(known).unwrap()
    }
}

/// The nodes and their ports, and how many files were taken over instead of read.
fn told(snapshot: &Snapshot, known: &Snapshot) -> (Vec<String>, usize) {
    let files = snapshot.files().map(|file| match file.record() {
        Ok(record) => format!("{} {}", record.id(), record.text("port").unwrap()),
        Err(reason) => format!("{} {reason}", file.path()),
    });
    (
        files.collect(),
        snapshot.entries.iter().filter(|entry| usize::from(entry.heap) < known.heaps.len()).count(),
    )
}

#[test]
fn what_has_not_changed_is_taken_over() {
    let fixture = Fixture::new(&["a", "b", "c"]);
    let first = fixture.read(&Snapshot::default());
    let all = ["a 1000", "b 1000", "c 1000"];
    assert_eq!(told(&first, &Snapshot::default()), (all.map(str::to_owned).to_vec(), 0));
    let again = fixture.read(&first);
    assert_eq!(told(&again, &first), (all.map(str::to_owned).to_vec(), 3));
    assert!(
        again.version.is_some()
            && again.version == first.version
            && again.version == fixture.seen().version()
    );
    fs::remove_file(fixture.path("a")).unwrap();
    fs::create_dir(fixture.dir.path().join("d")).unwrap();
    fs::rename(fixture.path("b"), fixture.dir.path().join("d/b.json")).unwrap();
    fs::write(fixture.path("bb"), text("bb", 7)).unwrap();
    let changed = fixture.read(&again);
    assert_eq!(told(&changed, &again), (vec!["bb 7".into(), "c 1000".into(), "b 1000".into()], 1));
    assert_ne!(changed.version, first.version);
    assert_ne!(changed.digest, first.digest);
}

#[test]
fn a_change_is_seen_whatever_the_writer_does_to_the_time() {
    let fixture = Fixture::new(&["a", "b"]);
    let first = fixture.read(&Snapshot::default());
    let time = fs::metadata(fixture.path("a")).unwrap().modified().unwrap();
    // Written in place, with the same length, and with its old time restored.
    fs::write(fixture.path("a"), text("a", 2000)).unwrap();
    fs::File::options().write(true).open(fixture.path("a")).unwrap().set_modified(time).unwrap();
    let second = fixture.read(&first);
    assert_eq!(told(&second, &first), (vec!["a 2000".into(), "b 1000".into()], 1));
    // Replaced by an older file.
    let old = fixture.dir.path().join("old");
    fs::write(&old, text("a", 3000)).unwrap();
    fs::File::options().write(true).open(&old).unwrap().set_modified(time - Duration::from_secs(9)).unwrap();
    fs::rename(&old, fixture.path("a")).unwrap();
    assert_eq!(told(&fixture.read(&second), &second).0[0], "a 3000");
}

#[test]
fn a_young_time_says_nothing() {
    let fixture = Fixture::new(&["a"]);
    let now = || Scan::new(fixture.dir.path(), true, SystemTime::now()).unwrap();
    let first = now().read(&Snapshot::default()).unwrap();
    assert_eq!((first.version.as_ref(), first.unsure()), (None, 1));
    assert_eq!(now().version(), None);
    assert_eq!(told(&now().read(&first).unwrap(), &first), (vec!["a 1000".into()], 0), "it was read again");
    let later = fixture.read(&first);
    assert_eq!((later.unsure(), told(&later, &first).1), (0, 0));
    assert_eq!(told(&fixture.read(&later), &later).1, 1);
}

#[test]
fn a_link_is_no_file_and_a_file_no_link() {
    let fixture = Fixture::new(&["a"]);
    let first = fixture.read(&Snapshot::default());
    fs::rename(fixture.path("a"), fixture.dir.path().join("aside")).unwrap();
    std::os::unix::fs::symlink("aside", fixture.path("a")).unwrap();
    let link = fixture.read(&first);
    assert_eq!(told(&link, &first).0, ["a.json is a link, and links are not followed"]);
    assert_eq!(told(&fixture.read(&link), &link).1, 1, "a link that stays is not looked at twice");
    fs::remove_file(fixture.path("a")).unwrap();
    fs::rename(fixture.dir.path().join("aside"), fixture.path("a")).unwrap();
    assert_eq!(told(&fixture.read(&link), &link).0, ["a 1000"]);
}

#[test]
fn many_files_are_read_by_many_and_come_in_order() {
    let ids: Vec<String> = (0..3 * MANY).map(|number| format!("i-{number:05}")).collect();
    let fixture = Fixture::new(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let first = fixture.read(&Snapshot::default());
    let expect: Vec<String> = ids.iter().map(|id| format!("{id} 1000")).collect();
    assert_eq!(told(&first, &Snapshot::default()).0, expect);
    for id in ids.iter().step_by(2) {
        fs::write(fixture.path(id), text(id, 1)).unwrap();
    }
    let (seen, kept) = told(&fixture.read(&first), &first);
    assert_eq!((seen[0].as_str(), seen[1].as_str(), kept), ("i-00000 1", "i-00001 1000", 3 * MANY / 2));
}
