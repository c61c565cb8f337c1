//! The cache of the last reading makes the next one cheap, and never wrong: whatever it contained and
//! whatever happened to it, the output is that of a first run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::fixture::fleet::{self, File};
use crate::fixture::machine::{Machine, git};

const FOLDER: &str = "it/presence/all";

/// More than the program reads through libgit2, and enough for two threads.
const NODES: usize = 2_500;

/// A load balancer with a cache, and a second way to render without one.
struct Reader {
    lb: Machine,
    store: PathBuf,
}

impl Reader {
    fn new(store: &Path) -> Reader {
        Reader { lb: Machine::new("lb1").store(store.display()), store: store.to_owned() }
    }

    fn list(&self, machine: &Machine, args: &[&str]) -> String {
        let words = [&["list", "--format", "json"], args].concat();
        machine.run(&words).code(0).stdout
    }

    /// The machine with a cache must see the same list as a new machine.
    #[track_caller]
    fn check(&self, what: &str) -> String {
        self.check_with(what, &[])
    }

    #[track_caller]
    fn check_with(&self, what: &str, args: &[&str]) -> String {
        let fresh = self.list(&Machine::new("lb1").store(self.store.display()), args);
        let seen = self.list(&self.lb, args);
        assert!(seen == fresh, "{what}: what is remembered is not what is there");
        seen
    }

    /// The files of the cache.
    fn copy(&self) -> Vec<PathBuf> {
        let stores = self.lb.path("state/stores");
        let place = fs::read_dir(stores).unwrap().next().unwrap().unwrap().path();
        ["records", "changes"].map(|name| place.join(name)).into_iter().filter(|path| path.exists()).collect()
    }
}

/// Files whose times are old enough to be reliable.
fn settled(path: &Path, files: &[File]) {
    fleet::directory(path, files);
    for (name, _) in files {
        set_time(&path.join(name), SystemTime::now() - Duration::from_secs(100));
    }
}

fn set_time(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn of_a_repository_that_changes() {
    for sharded in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("list.git");
        let files = fleet::files(NODES, 1);
        fleet::repository(&store, FOLDER, sharded, &files);
        let reader = Reader::new(&store);
        let first = reader.check("cold");
        assert_eq!(reader.check("warm"), first);
        let changed: Vec<File> = [3, 4, NODES - 1].iter().map(|at| fleet::drained(&files[*at])).collect();
        fleet::commit(&store, FOLDER, sharded, &changed);
        assert_ne!(reader.check("three changed"), first);
        reader.check("three changed, again");
        fleet::commit(&store, FOLDER, sharded, &[("i-new.json".into(), files[0].1.clone())]);
        assert!(reader.check("a liar").contains("not the name of the file"));
        git(&store, &["update-ref", "refs/heads/main", "main~2"]);
        assert_eq!(reader.check("forced back"), first);
        let many: Vec<File> = files.iter().step_by(3).map(fleet::drained).collect();
        fleet::commit(&store, FOLDER, sharded, &many);
        reader.check("a third changed");
        reader.check("a third changed, again");
        fs::remove_dir_all(reader.lb.path("state/stores")).unwrap();
        reader.check("the copy deleted");
        git(&store, &["update-ref", "-d", "refs/heads/main"]);
        // Otherwise the list would be gone.
        fs::remove_file(reader.copy()[0].with_file_name("held")).unwrap();
        assert!(reader.check("the branch is gone").contains("\"nodes\": []"));
        fleet::commit(&store, FOLDER, sharded, &changed);
        reader.check("three nodes alone");
    }
}

#[test]
fn of_a_directory_that_changes() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(FOLDER);
    let files = fleet::files(NODES, 1);
    settled(&folder, &files);
    let reader = Reader::new(dir.path());
    let first = reader.check("cold");
    assert_eq!(reader.check("warm"), first);
    let changed = fleet::drained(&files[7]);
    let (path, old) = (folder.join(&changed.0), files[7].1.clone());
    fs::write(&path, &changed.1).unwrap();
    assert_ne!(reader.check("one changed"), first);
    reader.check("one changed, again");
    // Same length, same modification time: only the inode's change time shows it.
    let time = fs::metadata(folder.join(&files[8].0)).unwrap().modified().unwrap();
    let same_length = files[8].1.replace("10.0.", "10.9.");
    fs::write(folder.join(&files[8].0), same_length).unwrap();
    set_time(&folder.join(&files[8].0), time);
    assert!(reader.check("changed in secret").contains("10.9."));
    fs::write(&path, old).unwrap();
    fs::write(folder.join(&files[8].0), &files[8].1).unwrap();
    fs::remove_file(folder.join(&files[9].0)).unwrap();
    fs::create_dir(folder.join("more")).unwrap();
    fs::rename(folder.join(&files[10].0), folder.join("more").join(&files[10].0)).unwrap();
    let moved = reader.check("one gone, one moved");
    assert_eq!(moved.matches("\"instance-id\"").count(), NODES - 1);
    fs::remove_file(folder.join(&files[11].0)).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join(&files[11].0)).unwrap();
    assert!(reader.check("one became a link").contains("is a link"));
    fs::remove_dir_all(dir.path().join("it")).unwrap();
    settled(&folder, &files);
    assert_eq!(reader.check("all new"), first);
}

#[test]
fn a_file_that_changes_twice_at_one_time_is_read_twice() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(FOLDER);
    let files = fleet::files(20, 1);
    fleet::directory(&folder, &files);
    let reader = Reader::new(dir.path());
    reader.check("young files");
    for round in 0..50 {
        // In place, with the same length, within one tick of the file system's clock.
        fs::write(folder.join(&files[0].0), files[0].1.replace("10.0.0.", &format!("10.{}.0.", round % 10)))
            .unwrap();
        let seen = reader.list(&reader.lb, &[]);
        assert!(seen.contains(&format!("10.{}.0.", round % 10)), "round {round}");
    }
}

#[test]
fn a_damaged_copy_is_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("list.git");
    let files = fleet::files(300, 1);
    fleet::repository(&store, FOLDER, true, &files);
    let reader = Reader::new(&store);
    reader.check("cold");
    fleet::commit(&store, FOLDER, true, &[fleet::drained(&files[5])]);
    let right = reader.check("one changed");
    let copies: Vec<(PathBuf, Vec<u8>)> =
        reader.copy().into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    assert_eq!(copies.len(), 2, "a whole copy, and what changed since");
    let mut random = fleet::Random(1);
    for (path, bytes) in &copies {
        for round in 0..60 {
            let mut damaged = bytes.clone();
            let at = random.below(bytes.len());
            match round % 3 {
                0 => damaged[at] ^= 1 << random.below(8),
                1 => damaged.truncate(at),
                _ => damaged.splice(at..at, [0; 7]).for_each(drop),
            }
            fs::write(path, damaged).unwrap();
            let seen = reader.list(&reader.lb, &[]);
            assert!(seen == right, "{} damaged at {at} in round {round}", path.display());
        }
        fs::write(path, bytes).unwrap();
    }
    for (path, _) in &copies {
        fs::write(path, "").unwrap();
        reader.check("an empty copy");
    }
    // Each file in the place of the other.
    fs::write(&copies[0].0, &copies[1].1).unwrap();
    fs::write(&copies[1].0, &copies[0].1).unwrap();
    assert_eq!(reader.check("exchanged"), right);
}

#[test]
fn changes_belong_to_one_whole_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("list.git");
    let files = fleet::files(300, 1);
    fleet::repository(&store, FOLDER, false, &files);
    let reader = Reader::new(&store);
    reader.check("as they joined");
    let old = fs::read(&reader.copy()[0]).unwrap();
    let drained: Vec<File> = files.iter().map(fleet::drained).collect();
    fleet::commit(&store, FOLDER, false, &drained);
    reader.check("all changed");
    let wedged = (drained[7].0.clone(), drained[7].1.replace("draining", "wedged"));
    fleet::commit(&store, FOLDER, false, &[wedged]);
    reader.check("one more change");
    assert_eq!(reader.copy().len(), 2, "a whole copy, and what changed since");
    fs::write(&reader.copy()[0], old).unwrap();
    fs::rename(&store, dir.path().join("away")).unwrap();
    let last = reader.lb.run(&["list", "--format", "json"]).code(3).stdout;
    assert!(last.contains("\"done\"") && !last.contains("wedged"), "changes of another copy were applied");
}

#[test]
fn a_copy_of_something_else_is_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("list.git");
    let files = fleet::files(300, 1);
    fleet::repository(&store, FOLDER, false, &files);
    fleet::commit(&store, "other/folder", false, &files[..7]);
    git(&store, &["branch", "second", "main~3"]);
    let reader = Reader::new(&store);
    reader.check("cold");
    let other = reader.check_with("another folder", &["--folder", "other/folder"]);
    assert_eq!(other.matches("\"instance-id\"").count(), 7);
    reader.check("back");
    fs::write(reader.lb.path("presence.toml"), "branch = 'second'\n").unwrap();
    let fresh = Machine::new("lb1").store(store.display());
    fs::write(fresh.path("presence.toml"), "branch = 'second'\n").unwrap();
    assert_eq!(reader.list(&reader.lb, &[]), reader.list(&fresh, &[]), "another branch");
    // The store goes away: the last copy of this folder applies, not the last copy of any.
    fs::write(reader.lb.path("presence.toml"), "").unwrap();
    let last = reader.check("back again");
    reader.list(&reader.lb, &["--folder", "other/folder"]);
    fs::rename(&store, dir.path().join("away")).unwrap();
    let away = reader.lb.run(&["list", "--format", "ids"]).code(3).stdout;
    assert_eq!(away, "", "{}", last.len());
}

#[test]
fn a_copy_of_another_build_is_no_help_but_still_the_last_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("list.git");
    fleet::repository(&store, FOLDER, false, &fleet::files(300, 1));
    let reader = Reader::new(&store);
    let right = reader.check("cold");
    let program = reader.lb.path("presence-of-another-build");
    // Copied by another process: a child of another thread could hold the file open for writing, and then it
    // does not start.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_presence")).arg(&program).status().unwrap();
    assert!(copied.success());
    let run = |args: &[&str]| {
        let mut command = reader.lb.command(args);
        let mut other = Command::new(&program);
        other
            .env_clear()
            .args(args)
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        other
            .current_dir(command.current_dir(reader.lb.path("")).get_current_dir().unwrap())
            .output()
            .unwrap()
    };
    let whole = reader.copy()[0].clone();
    let before = fs::read(&whole).unwrap();
    assert_eq!(String::from_utf8(run(&["list", "--format", "json"]).stdout).unwrap(), right);
    assert_ne!(fs::read(&whole).unwrap(), before, "it was made anew");
    fs::rename(&store, dir.path().join("away")).unwrap();
    assert_eq!(reader.lb.run(&["list", "--format", "ids"]).code(3).stdout.lines().count(), 300);
}

#[test]
fn an_object_that_is_missing_costs_its_node_until_it_is_there() {
    for packed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("list.git");
        let files = fleet::files(NODES, 1);
        fleet::repository(&store, FOLDER, false, &files);
        if !packed {
            fleet::commit(&store, FOLDER, false, &[fleet::drained(&files[5])]);
            let packs = store.join("objects/pack");
            let last = fs::read_dir(&packs).unwrap().map(|entry| entry.unwrap().path());
            let small = last.min_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
            fs::rename(small.with_extension("pack"), dir.path().join("x.pack")).unwrap();
            fs::remove_file(small.with_extension("idx")).unwrap();
            let mut unpack = Command::new("git");
            unpack.args(["-C", store.to_str().unwrap(), "unpack-objects", "-q"]);
            assert!(
                unpack.stdin(fs::File::open(dir.path().join("x.pack")).unwrap()).status().unwrap().success()
            );
        }
        let reader = Reader::new(&store);
        let whole = reader.check("nothing is missing");
        fs::remove_dir_all(reader.lb.path("state/stores")).unwrap();
        let name = format!("main:{FOLDER}/{}", files[5].0);
        let oid = git(&store, &["rev-parse", &name]);
        let damage = match packed {
            false => store.join("objects").join(&oid[..2]).join(&oid[2..40]),
            true => {
                let packs =
                    fs::read_dir(store.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
                packs
                    .into_iter()
                    .find(|path| path.extension().is_some_and(|extension| extension == "pack"))
                    .unwrap()
            }
        };
        let kept = fs::read(&damage).unwrap();
        // The file is missing, or a bit in the middle of the pack is flipped.
        fs::remove_file(&damage).unwrap();
        if packed {
            let mut flipped = kept.clone();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 1;
            fs::write(&damage, flipped).unwrap();
        }
        let seen = reader.check("an object is missing");
        assert!(seen.contains("cannot be read"), "{}", seen.len());
        assert_ne!(seen, whole);
        reader.check("it is still missing");
        fs::remove_file(&damage).ok();
        fs::write(&damage, &kept).unwrap();
        assert_eq!(reader.check("it is back"), whole);
    }
}

#[test]
fn two_readers_at_once_do_not_harm_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("list.git");
    let files = fleet::files(1_000, 1);
    fleet::repository(&store, FOLDER, true, &files);
    let reader = Reader::new(&store);
    for round in 0..8 {
        let some: Vec<File> =
            files.iter().skip(round).step_by(40 + 100 * (round % 2)).map(fleet::drained).collect();
        fleet::commit(&store, FOLDER, true, &some);
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let mut command = reader.lb.command(&["list", "--format", "json"]);
                command.stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let seen: Vec<_> =
            readers.into_iter().map(|child| child.wait_with_output().unwrap().stdout).collect();
        let right = reader.check("two at once");
        assert!(seen.iter().all(|seen| *seen == right.as_bytes()), "round {round}");
    }
}
