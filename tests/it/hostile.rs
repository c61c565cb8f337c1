//! What a hostile node that may push can do to the others: it costs them a warning and nothing more.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fixture::Host;
use crate::fixture::machine::{Machine, git};
use crate::fixture::packs::{copied, deflated, digest, entry, sends, whole};

const IDS: [&str; 3] = ["list", "--format", "ids"];

/// A list with one node, used by its path or behind a server.
struct List {
    host: Option<Host>,
    path: PathBuf,
    url: String,
    _dir: tempfile::TempDir,
}

impl List {
    fn each() -> Vec<(List, Machine)> {
        std::iter::once(None).chain(Host::each().into_iter().map(Some)).map(List::new).collect()
    }

    fn new(host: Option<Host>) -> (List, Machine) {
        let dir = tempfile::tempdir().unwrap();
        let (path, url) = match &host {
            Some(host) => {
                let path = host.repository("list.git").git(["rev-parse", "--absolute-git-dir"]);
                (PathBuf::from(path.trim()), host.url("list.git"))
            }
            None => {
                let path = dir.path().join("list.git");
                git(dir.path(), &["init", "--quiet", "--bare", "--initial-branch=master", "list.git"]);
                (path.clone(), path.display().to_string())
            }
        };
        let list = List { host, path, url, _dir: dir };
        let node = list.node("app1");
        node.good(&["publish"]);
        (list, node)
    }

    fn node(&self, part: &str) -> Machine {
        let node = Machine::new(part).config("beat-shards = 1\n[timeouts]\nrecheck = 0\n");
        if let Some(host) = &self.host {
            host.admit(&node);
        }
        node.store(&self.url)
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.path, args)
    }

    /// Writes an object, and returns its id.
    fn object(&self, kind: &str, content: &[u8]) -> String {
        let file = self.path.join("content");
        fs::write(&file, content).unwrap();
        let args = ["hash-object", "-w", "--literally", "-t", kind, "content"];
        let oid = self.git(&args).trim().to_owned();
        fs::remove_file(file).unwrap();
        oid
    }

    /// A tree with these entries: mode, object, name.
    fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let lines: String = entries
            .iter()
            .map(|(mode, oid, name)| {
                let kind = match *mode {
                    "040000" => "tree",
                    "160000" => "commit",
                    _ => "blob",
                };
                format!("{mode} {kind} {oid}\t{name}\n")
            })
            .collect();
        let file = self.path.join("content");
        fs::write(&file, lines).unwrap();
        let ran = Command::new("git")
            .args(["mktree", "--missing"])
            .current_dir(&self.path)
            .stdin(fs::File::open(&file).unwrap())
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        fs::remove_file(file).unwrap();
        assert!(ran.status.success());
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, tree: &str) -> String {
        self.git(&["commit-tree", "-m", "x", tree]).trim().to_owned()
    }

    /// An update with these files, each under its full path.
    fn update(&self, files: &[(&str, &[u8])]) -> String {
        let blobs: Vec<String> = files.iter().map(|(_, text)| self.object("blob", text)).collect();
        let names: Vec<String> = files.iter().map(|(path, _)| path.replace('/', "%2F")).collect();
        let entries: Vec<_> =
            blobs.iter().zip(&names).map(|(oid, name)| ("100644", &oid[..], &name[..])).collect();
        self.commit(&self.tree(&entries))
    }

    /// On a busy machine, an update waits beside the list. Readers include it, but the branch has no file for
    /// it yet.
    fn publish_until_merged(&self, node: &Machine) {
        for round in 0..100 {
            node.fact("round", round);
            node.good(&["publish"]);
            let file = self.git(&["show", "master:it/presence/all/i-app1.json"]);
            if file.contains(&format!("\"round\": \"{round}\"")) {
                return;
            }
        }
        panic!("an update still waits at {}", self.url);
    }

    /// The node and a new one read, publish and beat, and see each other.
    #[track_caller]
    fn goes_on(&self, node: &Machine, what: &str) {
        let new = self.node("db1");
        for (round, machine) in [node, &new, node].into_iter().enumerate() {
            machine.fact("round", format!("{what} {round}"));
            for args in [&["publish"][..], &["beat"], &["log"], &["list", "--max-age", "1d"], &IDS] {
                let outcome = machine.run(args);
                assert_eq!(outcome.code, Some(0), "{what} {} {args:?}\n{outcome}", self.url);
            }
        }
        assert_eq!(node.run(&IDS).stdout, "i-app1\ni-db1\n", "{what} {}", self.url);
        new.run(&["withdraw"]).code(0);
    }
}

fn record(id: &str, more: &str) -> Vec<u8> {
    let facts = format!(r#""address":"10.9.9.9","deployment":"fed1","instance-id":"{id}","nodepart":"evil""#);
    format!(r#"{{"filetype":"nodepresence","value":{{{facts}{more}}}}}"#).into_bytes()
}

fn put(path: &Path, oid: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{oid}\n")).unwrap();
}

#[test]
fn a_ref_with_an_odd_name_costs_nobody_anything() {
    for (list, node) in List::each() {
        let tip = list.git(&["rev-parse", "master"]);
        let names: [&[u8]; 6] = [
            b"refs/presence/inbox/\xff\xfe",
            b"refs/presence/inbox/i-app1/\xff\xfe",
            b"refs/presence/beats/\xff",
            b"refs/heads/\xff",
            b"refs/tags/\xff",
            b"refs/\xff",
        ];
        for name in names {
            put(&list.path.join(OsStr::from_bytes(name)), tip.trim());
        }
        list.goes_on(&node, "loose");
        list.git(&["pack-refs", "--all"]);
        list.goes_on(&node, "packed");
    }
}

#[test]
fn a_ref_that_names_no_commit_costs_itself_alone() {
    for (list, node) in List::each() {
        let tip = list.git(&["rev-parse", "master"]).trim().to_owned();
        let blob = list.object("blob", b"x");
        list.git(&["tag", "-a", "-m", "t", "t", &tip]);
        let tag = list.git(&["rev-parse", "refs/tags/t"]).trim().to_owned();
        for oid in [&blob, &tag, &tip] {
            for name in [
                "refs/presence/beats/000",
                "refs/presence/beats/0ff",
                "refs/presence/inbox/zz/0000000000000001aaaaaaaa",
            ] {
                put(&list.path.join(name), oid);
            }
            list.goes_on(&node, oid);
        }
        if list.host.is_some() {
            // Only a user who may write the server's files can make one there, and a push succeeds despite
            // it.
            continue;
        }
        fs::write(list.path.join("refs/presence/beats/000"), "ref: refs/heads/master\n").unwrap();
        put(&list.path.join("refs/presence/inbox/yy/0000000000000001aaaaaaaa"), "ref: refs/heads/master");
        list.goes_on(&node, "another name");
    }
}

#[test]
fn a_commit_that_git_would_not_write_is_read_and_built_upon() {
    for (list, node) in List::each() {
        for who in ["a <a> 99999999999999999999 +0000", "a <a> x y", "a <a> ", "a", "a <a> -9 +9999"] {
            let (tree, tip) = (list.git(&["rev-parse", "master^{tree}"]), list.git(&["rev-parse", "master"]));
            let text = format!("tree {tree}parent {tip}author {who}\ncommitter {who}\n\nx\n");
            let commit = list.object("commit", text.as_bytes());
            list.git(&["update-ref", "refs/heads/master", &commit]);
            // Each is the tip once: by path, since a process there costs least.
            if list.host.is_none() {
                list.goes_on(&node, who);
            }
        }
        list.goes_on(&node, "all of them");
    }
}

#[test]
fn what_is_too_large_is_never_read_nor_merged() {
    for (list, node) in List::each() {
        list.git(&["config", "core.bigFileThreshold", "1m"]);
        let large = vec![b'\n'; 20 * 1024 * 1024];
        let blob = list.object("blob", &large);
        let commit = list.commit(&list.tree(&[("100644", &blob, "beats")]));
        put(&list.path.join("refs/presence/beats/000"), &commit);
        let update = list.update(&[("it/presence/all/i-big.json", &large[..70_000])]);
        put(&list.path.join("refs/presence/inbox/i-big/0000000000000001aaaaaaaa"), &update);
        let update = list.update(&[("it/presence/all/i-odd.json", b"no record")]);
        put(&list.path.join("refs/presence/inbox/i-odd/0000000000000001aaaaaaaa"), &update);
        let listed = node.run(&["list", "--max-age", "1d", "--format", "json"]).code(0);
        assert!(listed.stdout.contains("heartbeats that are too large"), "{listed}");
        list.goes_on(&node, "in refs");
        let files = list.git(&["ls-tree", "-r", "--name-only", "master"]);
        assert!(!files.contains("i-big") && !files.contains("i-odd"), "{files}");
        if list.host.is_some() {
            let left = list.git(&["for-each-ref", "refs/presence/inbox/i-big", "refs/presence/inbox/i-odd"]);
            assert_eq!(left, "", "{}", list.url);
        }
        // On the branch, it is a problem of its file.
        let all = list.git(&["rev-parse", "master:it/presence/all"]);
        let names = list.git(&["ls-tree", all.trim()]);
        let mut entries: Vec<(&str, &str, &str)> =
            names.lines().map(|line| (&line[..6], &line[12..52], line.split('\t').nth(1).unwrap())).collect();
        entries.push(("100644", &blob, "i-big.json"));
        let mut tree = list.tree(&entries);
        for folder in ["all", "presence", "it"] {
            tree = list.tree(&[("040000", &tree, folder)]);
        }
        let commit = list.commit(&tree);
        list.git(&["update-ref", "refs/heads/master", &commit]);
        list.goes_on(&node, "on the branch");
    }
}

#[test]
fn a_folder_of_folders_without_end_is_an_error_and_the_last_copy_counts() {
    for host in [None, Some(Host::each().into_iter().next().unwrap())] {
        let (list, node) = List::new(host);
        assert_eq!(node.good(&IDS), "i-app1\n");
        let blob = list.object("blob", &record("i-x", ""));
        let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
        let files: Vec<String> = (0..10).map(|n| format!("x{n}.json")).collect();
        let files: Vec<_> = files.iter().map(|name| ("100644", &blob[..], &name[..])).collect();
        let mut tree = list.tree(&files);
        for _ in 0..9 {
            let below: Vec<_> = names.iter().map(|name| ("040000", &tree[..], &name[..])).collect();
            tree = list.tree(&below);
        }
        for folder in ["all", "presence", "it"] {
            tree = list.tree(&[("040000", &tree, folder)]);
        }
        let commit = list.commit(&tree);
        let before = list.git(&["rev-parse", "master"]);
        list.git(&["update-ref", "refs/heads/master", &commit]);
        let listed = node.run(&IDS).code(3).says(": the folder has more than 1000000 files and folders");
        assert_eq!(listed.stdout, "i-app1\n", "its last copy");
        node.fact("port", 9090);
        node.run(&["publish"]).code(1).says("has more than 100000 folders");
        list.git(&["update-ref", "refs/heads/master", before.trim()]);
        node.good(&["publish"]);
        assert_eq!(node.good(&IDS), "i-app1\n");
    }
}

#[test]
fn a_limit_that_is_configured_is_the_one_that_holds() {
    for (list, node) in List::each() {
        list.node("app2").good(&["publish"]);
        assert_eq!(node.good(&IDS), "i-app1\ni-app2\n");
        let low = |name: &str, least: u64| {
            node.configure(&format!("timeouts.recheck = 0\n[store-limits]\n{name} = {least}\n"));
        };
        list.node("app3").good(&["publish"]);
        low("entries", 2);
        let listed = node.run(&IDS).code(3).says(": the folder has more than 2 files and folders");
        assert_eq!(listed.stdout, "i-app1\ni-app2\n", "its last copy");
        low("entries", 3);
        assert_eq!(node.good(&IDS), "i-app1\ni-app2\ni-app3\n");
        if list.host.is_some() {
            list.node("app2").good(&["withdraw"]);
            low("answer-bytes", 64);
            node.run(&IDS).code(3).says("more than 64 bytes").says("[store-limits]");
            low("ref-bytes", 64);
            node.run(&IDS).code(3).says("more than 64 bytes of refs");
        }
        // A writer replaces a whole shard: what it may not read it would delete.
        list.node("app3").good(&["beat"]);
        node.configure("beat-shards = 1\ntimeouts.recheck = 0\n[store-limits]\nshard-bytes = 8\n");
        node.good(&["beat"]);
        let shard = list.git(&["cat-file", "blob", "refs/presence/beats/000:beats"]);
        assert!(shard.contains("i-app1 ") && shard.contains("i-app3 "), "{} {shard}", list.url);
    }
}

#[test]
fn a_flood_of_updates_is_cut_down_and_swept_away() {
    for host in Host::each() {
        let (list, node) = List::new(Some(host));
        let junk = list.commit(&list.tree(&[]));
        let mut packed = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for number in 0..6_000 {
            let name = format!("refs/presence/inbox/z{number:06}/{:016x}{number:08x}+", 1);
            packed.push_str(&format!("{junk} {name}\n"));
        }
        list.git(&["pack-refs", "--all"]);
        let refs = fs::read_to_string(list.path.join("packed-refs")).unwrap();
        let others: String =
            refs.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let (heads, rest) = others.split_at(others.find(" refs/presence").map_or(others.len(), |at| at - 40));
        packed.insert_str(packed.find('\n').unwrap() + 1, heads);
        packed.push_str(rest);
        fs::write(list.path.join("packed-refs"), packed).unwrap();
        let count = || list.git(&["for-each-ref", "refs/presence/inbox"]).lines().count();
        let listed = node.run(&IDS).code(0).says("more updates than presence reads");
        assert_eq!(listed.stdout, "i-app1\n", "{}", list.url);
        let before = count();
        for port in [9001, 9002] {
            node.fact("port", port);
            node.run(&["publish"]).code(0);
            assert!(node.run(&["list", "--where", &format!("port={port}")]).stdout.contains("i-app1"));
        }
        assert!(count() + 1_000 < before, "{} of {before} are left, {}", count(), list.url);
    }
}

#[test]
fn nobody_speaks_for_another_node_for_long() {
    for (list, node) in List::each() {
        // An update with a time far ahead.
        let forged = record("i-app1", r#","statetss":"20260101-000000""#);
        let update = list.update(&[("it/presence/all/i-app1.json", &forged)]);
        for time in ["ffffffffffffffff", "fffffffffffffffe", "00066146ab2a652a"] {
            put(&list.path.join(format!("refs/presence/inbox/i-app1/{time}ffffffff")), &update);
            node.fact("rack", time);
            node.good(&["publish"]);
            let shown = node.good(&["show", "i-app1"]);
            assert!(shown.contains(time) && !shown.contains("evil"), "{} {shown}", list.url);
            node.good(&["publish"]);
            assert!(
                list.git(&["for-each-ref", "refs/presence/inbox"])
                    .lines()
                    .all(|line| !line.contains("ffffffff"))
            );
        }
        // A second file of the node, with a time far ahead.
        list.publish_until_merged(&node);
        let forged = list.object("blob", &record("i-app1", r#","statetss":"99991231-235959""#));
        let own = list.git(&["rev-parse", "master:it/presence/all/i-app1.json"]);
        let below = list.tree(&[("100644", &forged, "i-app1.json")]);
        let mut tree = list.tree(&[("100644", own.trim(), "i-app1.json"), ("040000", &below, "zz")]);
        for folder in ["all", "presence", "it"] {
            tree = list.tree(&[("040000", &tree, folder)]);
        }
        let tip = list.git(&["rev-parse", "master"]);
        let commit = list.git(&["commit-tree", "-p", tip.trim(), "-m", "x", &tree]);
        list.git(&["update-ref", "refs/heads/master", commit.trim()]);
        let listed = node.run(&IDS).code(0);
        listed.says("zz/i-app1.json: is a second file of the node `i-app1`: presence uses `i-app1.json`");
        assert!(!node.run(&["show", "i-app1"]).stdout.contains("evil"), "{}", list.url);
        list.publish_until_merged(&node);
        assert!(!node.good(&["show", "i-app1"]).contains("evil"), "{}", list.url);
        assert_eq!(list.git(&["ls-tree", "-r", "--name-only", "master"]), "it/presence/all/i-app1.json\n");
    }
}

#[test]
fn a_mirror_that_ended_a_process_is_made_anew() {
    for host in Host::each() {
        let (list, node) = List::new(Some(host));
        assert_eq!(node.good(&IDS), "i-app1\n");
        let place = node.mirror();
        let mark = place.with_file_name("in-use");
        assert!(!mark.exists(), "it was left in order");
        fs::write(place.join("trap"), "").unwrap();
        fs::write(&mark, "").unwrap();
        assert_eq!(node.good(&IDS), "i-app1\n", "{}", list.url);
        assert!(!mark.exists() && !place.join("trap").exists());
    }
}

#[test]
fn what_is_in_the_way_of_a_nodes_file_or_heartbeat_is_taken_away() {
    for (list, node) in List::each() {
        let blob = list.object("blob", b"x");
        let inner = list.tree(&[("100644", &blob, "y.txt")]);
        let all = list.tree(&[("040000", &inner, "i-app1.json")]);
        let presence = list.tree(&[("040000", &all, "all")]);
        let it = list.tree(&[("040000", &presence, "presence")]);
        let root = list.tree(&[("040000", &it, "it")]);
        let commit = list.git(&["commit-tree", "-p", "master", "-m", "x", &root]).trim().to_owned();
        list.git(&["update-ref", "refs/heads/master", &commit]);
        node.good(&["publish"]);
        assert!(node.good(&IDS).contains("i-app1"), "{}", list.url);
        for odd in ["refs/presence", "refs/presence/beats", "refs/presence/beats/000/x"] {
            // Not over a network: git refuses that name there, even when an attacker pushes it.
            for pack in [false, true].into_iter().filter(|_| list.host.is_none() || odd != "refs/presence") {
                node.good(&["beat"]);
                let refs = list.git(&["for-each-ref", "--format=%(refname)", "refs/presence"]);
                for name in refs.lines() {
                    list.git(&["update-ref", "-d", name]);
                }
                list.git(&["update-ref", odd, &commit]);
                if pack {
                    list.git(&["pack-refs", "--all"]);
                }
                node.good(&["beat"]);
                let refs = list.git(&["for-each-ref", "--format=%(refname)", "refs/presence"]);
                assert_eq!(refs, "refs/presence/beats/000\n", "{odd} {}", list.url);
            }
        }
    }
}

/// A folder or submodule with the name of a record is not a record, and must be reported.
#[test]
fn what_has_a_records_name_and_is_none_is_a_problem() {
    for (list, node) in List::each() {
        let own = list.git(&["rev-parse", "master:it/presence/all/i-app1.json"]).trim().to_owned();
        let tip = list.git(&["rev-parse", "master"]).trim().to_owned();
        let below = list.tree(&[("100644", &own, "i-app1.json"), ("100644", &own, "notes.txt")]);
        let names =
            [("040000", &below, "i-1.json"), ("160000", &tip, "i-2.json"), ("100644", &own, "i-app1.json")];
        let mut tree = list.tree(&names.map(|(mode, oid, name)| (mode, &oid[..], name)));
        for folder in ["all", "presence", "it"] {
            tree = list.tree(&[("040000", &tree, folder)]);
        }
        let commit = list.git(&["commit-tree", "-p", &tip, "-m", "x", &tree]).trim().to_owned();
        list.git(&["update-ref", "refs/heads/master", &commit]);
        for _ in 0..2 {
            let listed = node.run(&IDS).code(0).says("i-1.json/: is a folder, not a record");
            let listed = listed.says("i-2.json: is a submodule, not a record");
            assert_eq!(listed.stdout, "i-app1\n", "{}", list.url);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let node = Machine::new("app1").store(directory.path().display());
    node.good(&["publish"]);
    fs::create_dir(directory.path().join("i-1.json")).unwrap();
    for _ in 0..2 {
        let listed = node.run(&IDS).code(0).says("i-1.json/: is a folder, not a record");
        assert_eq!(listed.stdout, "i-app1\n");
    }
}

#[test]
fn a_pack_that_is_put_together_for_ever_costs_its_own_store_alone() {
    let size = 1_000_000;
    let (file, oid) = whole(3, "blob", &vec![b'x'; size]);
    // The same file again: libgit2 never finishes it.
    let endless = sends(&[file, copied(oid, size as u32)]);
    let listed = Machine::new("app1").store(&endless).run(&IDS);
    listed.code(3).says("sends more than 805306368 bytes that must be in memory at once");
}

#[test]
fn a_pack_whose_differences_make_too_much_is_an_error_at_once() {
    let size = 15 << 20;
    let (file, oid) = whole(3, "blob", &vec![0; size]);
    let mut objects = vec![file];
    objects.resize(5_000, copied(oid, size as u32));
    let listed = Machine::new("app1").store(sends(&objects)).run(&IDS);
    listed.code(3).says("sends more than 68719476736 bytes of objects");
}

#[test]
fn a_flooded_shard_of_heartbeats_keeps_those_of_the_nodes_on_the_list() {
    for (list, node) in List::each() {
        let other = list.node("db1");
        other.good(&["beat"]);
        let lines = || list.git(&["cat-file", "blob", "refs/presence/beats/000:beats"]);
        let time = lines().trim_end().split(' ').next_back().unwrap().to_owned();
        let second: i64 = time.split('.').next().unwrap().parse().unwrap();
        // More than a shard can hold, fewer, and entries that would make the others look old.
        for (round, (count, ahead)) in [(70_000, 0), (60_000, 0), (400, 40 * 86_400)].into_iter().enumerate()
        {
            let flood = (0..count).map(|number| format!("a-{number} {}\n", second + ahead));
            let known = lines();
            let known = known.lines().filter(|line| line.starts_with("i-")).map(|line| format!("{line}\n"));
            let blob = list.object("blob", flood.chain(known).collect::<String>().as_bytes());
            let commit = list.commit(&list.tree(&[("100644", &blob, "beats")]));
            list.git(&["update-ref", "refs/presence/beats/000", &commit]);
            let active = ["list", "--max-age", "5m", "--state", "active", "--format", "ids"];
            let listed = other.run(&active).code(0);
            assert_eq!(listed.stderr.contains("too many heartbeats"), count > 65_536, "{listed}");
            assert!(listed.stdout.contains("i-db1\n"), "{} {listed}", list.url);
            node.fact("round", round);
            node.good(&["beat"]);
            let lines = lines();
            let known = |id: &str| lines.lines().any(|line| line.starts_with(&format!("{id} ")));
            assert!(known("i-app1") && known("i-db1"), "{count} {}", list.url);
            assert!(lines.lines().count() < 600, "{} of {count}, {}", lines.lines().count(), list.url);
            assert_eq!(node.good(&active), "i-app1\ni-db1\n", "{}", list.url);
        }
    }
}

/// As long as git's own names: libgit2 takes a pack for one that it has if the name of that one only begins
/// with its name (`packfile_load__cb` in its odb_pack.c).
const CIRCULAR: &str = "objects/pack/pack-1111111111111111111111111111111111111111";

/// Writes a pack of two objects, each a delta against the other, and returns the id of one.
fn circular(repository: &Path) -> String {
    let names = [[0x11; 20], [0x22; 20]];
    let difference = deflated(&[5, 5, 0x90, 5]);
    let entries = [1, 0].map(|other: usize| entry(7, 4, &[&names[other], &difference]));
    let mut pack = [b"PACK\0\0\0\x02\0\0\0\x02", &entries.concat()[..]].concat();
    let sum = digest(&pack);
    pack.extend(sum);
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..256 {
        index.extend((u32::from(first >= 0x11) + u32::from(first >= 0x22)).to_be_bytes());
    }
    index.extend(names.concat());
    index.extend([0; 8]);
    for offset in [12, 12 + entries[0].len() as u32] {
        index.extend(offset.to_be_bytes());
    }
    index.extend(sum);
    index.extend(digest(&index));
    fs::write(repository.join(CIRCULAR).with_extension("pack"), pack).unwrap();
    fs::write(repository.join(CIRCULAR).with_extension("idx"), index).unwrap();
    "11".repeat(20)
}

#[test]
fn a_repository_that_ends_whoever_reads_it_does_not_end_presence() {
    let (list, node) = List::new(None);
    list.git(&["repack", "-a", "-d", "-q"]);
    assert_eq!(node.good(&IDS), "i-app1\n");
    let tip = list.git(&["rev-parse", "master"]);
    let damaged = circular(&list.path);
    fs::write(list.path.join("refs/heads/master"), format!("{damaged}\n")).unwrap();
    // libgit2 loops forever, until the system ends it with a signal.
    let limited = |args: &[&str]| {
        let command = node.command(args);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -S -t 2; exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args());
        shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        let ran = shell.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    };
    for (args, code, says) in [(&IDS[..], 3, "i-app1\n"), (&["publish"], 1, "")] {
        let (ended, said, error) = limited(args);
        assert_eq!((ended, &said[..]), (Some(code), says), "{args:?} {error}");
        assert!(error.contains("was killed by signal"), "{error}");
    }
    for extension in ["pack", "idx"] {
        fs::remove_file(list.path.join(CIRCULAR).with_extension(extension)).unwrap();
    }
    fs::write(list.path.join("refs/heads/master"), tip).unwrap();
    node.good(&["publish"]);
    assert_eq!(node.good(&IDS), "i-app1\n");
}
