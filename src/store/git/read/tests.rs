use git2::Repository;

use super::*;

const FILE: i32 = 0o100_644;
const LINK: i32 = 0o120_000;
const TREE: i32 = 0o040_000;

fn record(id: &str, port: u16) -> String {
    format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","port":"{port}"}}}}"#)
}

struct Fixture {
    _dir: tempfile::TempDir,
    repo: Repository,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        Fixture { _dir: dir, repo }
    }

    fn blob(&self, text: &str) -> Oid {
        self.repo.blob(text.as_bytes()).unwrap()
    }

    fn tree(&self, entries: &[(&str, Oid, i32)]) -> Oid {
        let mut builder = self.repo.treebuilder(None).unwrap();
        for (name, oid, mode) in entries {
            builder.insert(name, *oid, *mode).unwrap();
        }
        builder.write().unwrap()
    }

    fn read(&self, tree: Oid, known: &Snapshot) -> Snapshot {
        FolderTree(Some(tree)).read(&self.repo, known).unwrap()
    }

    /// A reading with the help of `known` must equal one without. Returns how many files were taken over.
    #[track_caller]
    fn check(&self, tree: Oid, known: &Snapshot, expect: &[&str]) -> (Snapshot, usize) {
        let snapshot = self.read(tree, known);
        assert_eq!(told(&snapshot), expect);
        assert_eq!(told(&self.read(tree, &Snapshot::default())), expect);
        let kept =
            snapshot.entries.iter().filter(|entry| usize::from(entry.heap) < known.heaps.len()).count();
        (snapshot, kept)
    }
}

fn told(snapshot: &Snapshot) -> Vec<String> {
    snapshot
        .files()
        .map(|file| match file.record() {
            Ok(record) => format!("{} {}", file.path(), record.text("port").unwrap()),
            Err(reason) => format!("{} {reason}", file.path()),
        })
        .collect()
}

#[test]
fn a_tree_that_changes_in_one_place_is_read_in_one_place() {
    let fixture = Fixture::new();
    let blobs = ["a", "b", "c", "d"].map(|id| fixture.blob(&record(id, 1)));
    let inner = fixture.tree(&[("c.json", blobs[2], FILE), ("no.txt", blobs[2], FILE)]);
    let other = fixture.tree(&[("d.json", blobs[3], FILE), ("e", inner, TREE), (".x.json", blobs[3], FILE)]);
    let tree = |a: Oid, other: Oid| {
        fixture.tree(&[
            ("a.json", a, FILE),
            ("b.json", blobs[1], FILE),
            ("b", inner, TREE),
            ("c", other, TREE),
        ])
    };
    let whole = ["a.json 1", "b.json 1", "b/c.json 1", "c/d.json 1", "c/e/c.json 1"];
    let (first, _) = fixture.check(tree(blobs[0], other), &Snapshot::default(), &whole);
    assert_eq!(first.trees.len(), 4);
    let (_, kept) = fixture.check(tree(blobs[0], other), &first, &whole);
    assert_eq!(kept, 5);
    let changed = tree(fixture.blob(&record("a", 2)), other);
    let (second, kept) =
        fixture.check(changed, &first, &["a.json 2", "b.json 1", "b/c.json 1", "c/d.json 1", "c/e/c.json 1"]);
    assert_eq!((kept, &second.trees[..3]), (4, &first.trees[..3]));
    // Everything moves up by one place, and the inner tree becomes an outer one.
    let moved = fixture.tree(&[("b", inner, TREE), ("c", inner, TREE), ("d", other, TREE)]);
    let (third, _) =
        fixture.check(moved, &second, &["b/c.json 1", "c/c.json 1", "d/d.json 1", "d/e/c.json 1"]);
    let (_, kept) = fixture.check(moved, &third, &["b/c.json 1", "c/c.json 1", "d/d.json 1", "d/e/c.json 1"]);
    assert_eq!(kept, 4);
    fixture.check(tree(blobs[0], other), &third, &whole);
    fixture.check(fixture.tree(&[]), &third, &[]);
}

#[test]
fn a_file_that_becomes_a_link_is_one() {
    let fixture = Fixture::new();
    let blob = fixture.blob(&record("a", 1));
    let (file, _) =
        fixture.check(fixture.tree(&[("a.json", blob, FILE)]), &Snapshot::default(), &["a.json 1"]);
    let link = fixture.tree(&[("a.json", blob, LINK)]);
    let (link, _) = fixture.check(link, &file, &["a.json is a link, and links are not followed"]);
    fixture.check(fixture.tree(&[("a.json", blob, FILE)]), &link, &["a.json 1"]);
}

#[test]
fn the_same_object_under_another_name_is_another_file() {
    let fixture = Fixture::new();
    let blob = fixture.blob(&record("a", 1));
    let (first, _) =
        fixture.check(fixture.tree(&[("a.json", blob, FILE)]), &Snapshot::default(), &["a.json 1"]);
    let liar = "b.json states the instance-id `a`, which is not the name of the file";
    fixture.check(fixture.tree(&[("b.json", blob, FILE)]), &first, &[liar]);
}

#[test]
fn a_broken_tree_is_an_error_and_no_empty_folder() {
    let fixture = Fixture::new();
    let odb = fixture.repo.odb().unwrap();
    for bytes in [&b"100644 a.json"[..], b"100644 a.json\0too short", b"no tree at all"] {
        let Ok(oid) = odb.write(ObjectType::Tree, bytes) else { continue };
        assert!(FolderTree(Some(oid)).read(&fixture.repo, &Snapshot::default()).is_err(), "{bytes:?}");
    }
}
