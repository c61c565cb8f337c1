//! A render without changes reads, renders and writes nothing; and after a change, the old output is never
//! reused.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::fixture::fleet;
use crate::fixture::machine::{Machine, Outcome, bare_repository, git};

const ARGS: [&str; 4] = ["render", "apps", "--template-dir", "templates"];

/// A load balancer with its own templates, and a list of two nodes.
struct Fleet {
    lb: Machine,
    app: Machine,
    store: PathBuf,
}

impl Fleet {
    fn new() -> Fleet {
        let app = Machine::new("app1");
        let store = app.path("list.git");
        bare_repository(&store);
        let app = app.store(store.display());
        app.good(&["publish"]);
        app.fact("instance-id", "i-app2");
        app.fact("state", "unheard-of");
        app.fact("port", 8081);
        app.run(&["publish"]).code(0);
        let lb = Machine::new("lb1").store(store.display());
        let fleet = Fleet { lb, app, store };
        fleet.template("common/apps.hbs", "{{#nodes state=\"*\"}}{{/nodes}}{{#nodes}}{{> line}}{{/nodes}}");
        fleet.template(
            "common/line.hbs",
            "{{instance-id}} {{address}} {{default @root.vars.v \"-\"}} {{@root.self.port}}\n",
        );
        fleet
    }

    fn template(&self, name: &str, text: &str) {
        let path = self.lb.path("templates").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn render(&self, args: &[&str]) -> Outcome {
        self.lb.run(&[&ARGS, args].concat())
    }

    fn out(&self) -> String {
        fs::read_to_string(self.lb.path("out")).unwrap()
    }

    /// Makes all records unreadable: removes the objects and the cache.
    fn forget_records(&self) {
        for object in git(&self.store, &["rev-list", "--objects", "--all"]).lines() {
            let oid = object.split(' ').next().unwrap();
            if git(&self.store, &["cat-file", "-t", oid]).trim() == "blob" {
                fs::remove_file(self.store.join("objects").join(&oid[..2]).join(&oid[2..])).unwrap();
            }
        }
        fs::remove_dir_all(self.lb.path("state/stores")).unwrap();
    }
}

/// What any write would change: the inodes and times of the file and of its memory.
fn traces(machine: &Machine) -> Vec<(PathBuf, u64, i64, i64)> {
    fn add(path: &Path, all: &mut Vec<(PathBuf, u64, i64, i64)>) {
        let found = fs::symlink_metadata(path).unwrap();
        all.push((path.to_owned(), found.ino(), found.ctime(), found.ctime_nsec()));
        if found.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| add(&entry.unwrap().path(), all));
        }
    }
    let mut all = Vec::new();
    add(&machine.path("state"), &mut all);
    add(&machine.path("out"), &mut all);
    all.sort();
    all
}

#[test]
fn nothing_is_read_rendered_or_written() {
    let fleet = Fleet::new();
    let first = fleet.render(&["-o", "out"]).code(0).says("unknown state").says("replaced");
    let stdout = fleet.render(&[]).code(0);
    assert_eq!(stdout.stdout, fleet.out());
    let traces_before = traces(&fleet.lb);
    for _ in 0..2 {
        let again = fleet.render(&["-o", "out"]).code(0).says("out is unchanged");
        assert_eq!(
            again.stderr,
            first.stderr.replace("replaced", "unchanged").replace("out unchanged", "out is unchanged")
        );
        let again = fleet.render(&[]).code(0);
        assert_eq!((&again.stdout, &again.stderr), (&stdout.stdout, &stdout.stderr));
    }
    assert_eq!(traces(&fleet.lb), traces_before, "something was written");
    fleet.forget_records();
    fleet.render(&["-o", "out"]).code(0).says("out is unchanged").says("unknown state");
    assert_eq!(fleet.render(&[]).code(0).stdout, stdout.stdout);
    // A verbose run reads again, and reports what is wrong.
    fleet.render(&["-o", "out", "-v"]).code(3).says("cannot be read");
    assert_eq!(fleet.out(), stdout.stdout);
}

#[test]
fn a_directory_is_looked_at_and_not_read() {
    let lb = Machine::new("lb1");
    let folder = lb.path("list/it/presence/all");
    fleet::directory(&folder, &fleet::files(50, 1));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    let backdate = || {
        for entry in fs::read_dir(&folder).unwrap() {
            fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(old).unwrap();
        }
    };
    backdate();
    let store = lb.path("list");
    let lb = lb.store(store.display());
    let args = ["render", "hosts", "-o", "out", "--stacktype", "lad1", "--deployment", "fed1"];
    lb.run(&args).code(0);
    let text = fs::read_to_string(lb.path("out")).unwrap();
    // Change times cannot be set back, so the files are young for two seconds, and are read again until then.
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    lb.run(&args).code(0).says("is unchanged");
    fs::remove_dir_all(lb.path("state/stores")).unwrap();
    fs::create_dir_all(lb.path("state/stores")).unwrap();
    lb.run(&args).code(0).says("is unchanged");
    assert_eq!(fs::read_to_string(lb.path("out")).unwrap(), text);
    let name = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(name).unwrap();
    lb.run(&args).code(0);
    let fresh = Machine::new("lb1").store(store.display());
    fresh.run(&args).code(0);
    assert_eq!(fs::read_to_string(lb.path("out")).unwrap(), fs::read_to_string(fresh.path("out")).unwrap());
}

#[test]
fn whatever_has_changed_counts() {
    let fleet = Fleet::new();
    let out = || {
        fleet.render(&["-o", "out", "--min-nodes", "0", "--max-shrink", "100"]).code(0);
        let kept = fleet.out();
        // The output of a machine without memory.
        fs::rename(fleet.lb.path("state"), fleet.lb.path("aside")).unwrap();
        fs::create_dir(fleet.lb.path("state")).unwrap();
        fs::remove_file(fleet.lb.path("out")).unwrap();
        fleet.render(&["-o", "out", "--min-nodes", "0", "--max-shrink", "100"]).code(0);
        assert_eq!(kept, fleet.out(), "what is remembered is not what is there");
        fs::remove_dir_all(fleet.lb.path("state")).unwrap();
        fs::rename(fleet.lb.path("aside"), fleet.lb.path("state")).unwrap();
        kept
    };
    let mut seen = vec![out()];
    let mut next = |what: &str| {
        let text = out();
        assert!(!seen.contains(&text), "{what} changed nothing:\n{text}");
        seen.push(text);
    };
    fleet.lb.fact("port", "9090");
    next("a fact of this node");
    fs::write(fleet.lb.path("presence.toml"), "[vars]\nv = 'x'\n").unwrap();
    next("a variable");
    fs::write(fleet.lb.path("presence.toml"), "[vars]\nv = 'x'\n[states]\nunheard-of = 'active'\n").unwrap();
    next("the table of states");
    fleet.template(
        "common/line.hbs",
        "{{instance-id}} {{address}} {{default @root.vars.v \"-\"}} {{@root.self.port}}!\n",
    );
    next("a partial");
    fleet.template("common/apps.hbs", "# {{#nodes state=\"*\"}}{{/nodes}}\n{{#nodes}}{{> line}}{{/nodes}}");
    next("a template");
    fleet.template("part/lb/apps.hbs", "## {{#nodes}}{{> line}}{{/nodes}}");
    next("a more specific template");
    fleet.template("stacktype/lad1/line.hbs", "{{instance-id}}?\n");
    next("a more specific partial");
    fleet.lb.fact("stacktype", "lad2");
    next("the scope");
    fleet.lb.fact("stacktype", "lad1");
    fleet.app.fact("instance-id", "i-app3");
    fleet.app.fact("port", 8082);
    fleet.app.run(&["publish"]).code(0);
    next("a node");
}

#[test]
fn the_options_count() {
    let fleet = Fleet::new();
    let all = fleet.render(&[]).code(0).stdout;
    assert_ne!(fleet.render(&["--set", "v=7"]).code(0).stdout, all);
    assert_eq!(fleet.render(&[]).code(0).stdout, all);
    fleet.render(&["--min-nodes", "9"]).code(3);
    fleet.render(&["--min-nodes", "9", "--force"]).code(0);
    fleet.render(&["--min-nodes", "9"]).code(3);
    fleet.render(&["--check", "false {}"]).code(4);
    fleet.render(&[]).code(0);
    fleet.render(&["--check", "false {}"]).code(4);
    assert!(fleet.render(&["-q"]).code(0).stderr.is_empty());
    fleet.render(&[]).code(0).says("unknown state");
    fleet.render(&["--part", "app1"]).code(0);
    fleet.render(&["--max-age", "1s"]).code(3).says("treated as absent");
}

#[test]
fn the_file_in_place_is_looked_at() {
    let fleet = Fleet::new();
    fleet.render(&["-o", "out"]).code(0);
    let text = fleet.out();
    fleet.render(&["-o", "out"]).code(0).says("is unchanged");
    // Changed manually, with the same length and modification time.
    let path = fleet.lb.path("out");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, text.replace("i-app1", "i-evil")).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    fleet.render(&["-o", "out"]).code(0).says("replaced");
    assert_eq!(fleet.out(), text);
    fs::remove_file(&path).unwrap();
    fleet.render(&["-o", "out"]).code(0).says("replaced");
    assert_eq!(fleet.out(), text);
    // A run with a new mode has other options; a run that has set it already detects the manual change.
    fleet.render(&["-o", "out", "--mode", "0640"]).code(0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fleet.render(&["-o", "out", "--mode", "0640"]).code(0).says("corrected in mode");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    // A link in its place is not followed, even if the content is correct.
    fs::rename(&path, fleet.lb.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    fleet.render(&["-o", "out", "--mode", "0640"]).code(1).says("is a link");
}

#[test]
fn a_reload_that_is_owed_is_not_forgotten() {
    let fleet = Fleet::new();
    let marker = fleet.lb.path("reloaded");
    let reload = format!("test -e {}", marker.display());
    for _ in 0..3 {
        fleet.render(&["-o", "out", "--reload", &reload]).code(5);
    }
    fs::write(&marker, "").unwrap();
    fleet.render(&["-o", "out", "--reload", &reload]).code(0).says("the pending reload has succeeded");
    fs::remove_file(&marker).unwrap();
    fleet.render(&["-o", "out", "--reload", &reload]).code(0).says("is unchanged");
}

#[test]
fn a_damaged_memory_is_no_memory() {
    let fleet = Fleet::new();
    let all = fleet.render(&[]).code(0).stdout;
    let targets = fleet.lb.path("state/targets");
    let memory = fs::read_dir(targets).unwrap().next().unwrap().unwrap().path().join("last-good");
    let bytes = fs::read(&memory).unwrap();
    for at in (0..bytes.len()).step_by(11) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(&memory, &damaged).unwrap();
        assert_eq!(fleet.render(&[]).code(0).stdout, all, "damaged at {at}");
        fs::write(&memory, &bytes[..at]).unwrap();
        assert_eq!(fleet.render(&[]).code(0).stdout, all, "cut at {at}");
    }
}

#[test]
fn a_store_that_is_away_is_told_each_time() {
    let fleet = Fleet::new();
    let all = fleet.render(&[]).code(0).stdout;
    fs::rename(&fleet.store, fleet.app.path("away")).unwrap();
    for _ in 0..2 {
        assert_eq!(fleet.render(&[]).code(3).says("no store could be read").stdout, all);
    }
    fs::rename(fleet.app.path("away"), &fleet.store).unwrap();
    assert_eq!(fleet.render(&[]).code(0).stdout, all);
}
