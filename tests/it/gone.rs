//! Lists that vanish from a repository: never an empty list, and never a second list beside the first.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::Host;
use crate::fixture::machine::{Machine, git};

const READ: [&str; 3] = ["list", "--format", "ids"];

/// A repository, used by its path or behind a server.
struct List {
    host: Option<Host>,
    path: PathBuf,
    url: String,
    _dir: tempfile::TempDir,
}

impl List {
    /// One used by path, and one behind each kind of server, with two nodes each.
    fn each() -> Vec<(List, Machine, Machine)> {
        let hosts = Host::each().into_iter().map(Some);
        std::iter::once(None).chain(hosts).map(List::new).collect()
    }

    fn new(host: Option<Host>) -> (List, Machine, Machine) {
        let dir = tempfile::tempdir().unwrap();
        let (path, url) = match &host {
            Some(host) => {
                let path = host.repository("list.git").git(["rev-parse", "--absolute-git-dir"]);
                (PathBuf::from(path.trim()), host.url("list.git"))
            }
            None => {
                let path = dir.path().join("list.git");
                init(&path);
                (path.clone(), path.display().to_string())
            }
        };
        let list = List { host, path, url, _dir: dir };
        let (one, two) = (list.node("app1"), list.node("db1"));
        one.good(&["publish"]);
        two.good(&["publish"]);
        for node in [&one, &two] {
            assert_eq!(node.good(&READ), "i-app1\ni-db1\n", "{}", list.url);
        }
        (list, one, two)
    }

    fn node(&self, part: &str) -> Machine {
        let node = Machine::new(part).config("[timeouts]\nrecheck = 0\n");
        if let Some(host) = &self.host {
            host.admit(&node);
        }
        node.store(&self.url)
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.path, args)
    }
}

fn init(path: &Path) {
    let path = path.to_str().unwrap();
    git(Path::new("/"), &["init", "--quiet", "--bare", "--initial-branch=master", path]);
    git(Path::new(path), &["config", "http.receivepack", "true"]);
}

/// A commit of a file that does not belong to the list.
fn readme(list: &Path) -> String {
    let blob = git(list, &["hash-object", "-w", "config"]);
    git(list, &["read-tree", "--empty"]);
    git(list, &["update-index", "--add", "--cacheinfo", &format!("100644,{},README", blob.trim())]);
    let tree = git(list, &["write-tree"]);
    git(list, &["commit-tree", "-m", "a README", tree.trim()]).trim().to_owned()
}

#[test]
fn a_list_that_is_gone_is_an_error_for_readers_and_publishers_put_it_back() {
    type Break = fn(&Path);
    let breaks: [Break; 4] = [
        |list| {
            fs::remove_dir_all(list).unwrap();
            init(list);
            fs::write(list.join("git-daemon-export-ok"), "").unwrap();
        },
        |list| {
            git(list, &["update-ref", "-d", "refs/heads/master"]);
        },
        |list| {
            git(list, &["update-ref", "-d", "refs/heads/master"]);
            fs::create_dir_all(list.join("refs/heads/master")).unwrap();
        },
        |list| {
            let commit = readme(list);
            git(list, &["update-ref", "refs/heads/master", &commit]);
        },
    ];
    for (list, one, two) in List::each() {
        for (number, break_it) in breaks.iter().enumerate() {
            break_it(&list.path);
            for node in [&one, &two] {
                let listed = node.run(&READ).code(3).says("the list that was here is gone");
                assert_eq!(listed.stdout, "i-app1\ni-db1\n", "its last copy, {number} {}", list.url);
                node.run(&["render", "hosts", "-o", "hosts"]).code(3);
                node.run(&["log"]).code(1).says("is gone");
                let withdrawn = node.run(&["withdraw"]).code(1).says("is gone");
                assert!(!withdrawn.stderr.contains("git init"), "{withdrawn}");
            }
            one.run(&["publish"])
                .code(0)
                .says("the list that was here is gone")
                .says("this node is on the list again");
            assert!(two.good(&READ).starts_with("i-app1\n"), "{number} {}", list.url);
            two.good(&["publish"]);
            for node in [&one, &two] {
                assert_eq!(node.good(&READ), "i-app1\ni-db1\n", "{number} {}", list.url);
            }
        }
        // It was intended.
        list.git(&["update-ref", "-d", "refs/heads/master"]);
        let held = |node: &Machine| {
            let place = fs::read_dir(node.path("state/stores")).unwrap().next().unwrap().unwrap().path();
            place.join("held")
        };
        one.run(&READ).code(3).says(&format!("`rm {}`", held(&one).display()));
        fs::remove_file(held(&one)).unwrap();
        assert_eq!(one.good(&READ), "");
    }
}

#[test]
fn the_last_node_leaves_a_repository_in_order() {
    for (list, one, two) in List::each() {
        one.good(&["withdraw"]);
        two.good(&["withdraw"]);
        // The mirror knows only the newest commit of the history.
        let mirror = one.path("state/stores");
        let mirror = fs::read_dir(mirror).unwrap().next().unwrap().unwrap().path().join("mirror.git");
        let _ = fs::remove_dir_all(mirror);
        for node in [&one, &two, &list.node("lb1")] {
            for _ in 0..2 {
                assert_eq!(node.good(&READ), "", "{}", list.url);
            }
        }
        assert!(one.good(&["publish"]).contains("joined"));
        assert_eq!(two.good(&READ), "i-app1\n");
    }
}

#[test]
fn no_second_list_is_begun_on_the_branch_that_head_names_now() {
    for (list, one, two) in List::each() {
        let commit = readme(&list.path);
        list.git(&["branch", "docs", &commit]);
        list.git(&["branch", "aside", &commit]);
        list.git(&["symbolic-ref", "HEAD", "refs/heads/docs"]);
        let new = list.node("app2");
        let says =
            "the branch `docs` has no records in `it/presence/all`; the list is on the branch `master`";
        for node in [&one, &two, &new] {
            node.fact("port", 9090);
            node.run(&READ).code(3).says(says);
            node.run(&["publish"]).code(1).says(says).says("git symbolic-ref HEAD refs/heads/master");
        }
        assert_eq!(one.run(&READ).stdout, "i-app1\ni-db1\n", "its last copy");
        assert_eq!(list.git(&["rev-parse", "docs"]).trim(), commit, "{}", list.url);
        // A configured branch name makes it usable.
        one.configure("branch = 'master'\n[timeouts]\nrecheck = 0\n");
        one.good(&["publish"]);
        list.git(&["symbolic-ref", "HEAD", "refs/heads/master"]);
        for node in [&two, &new] {
            node.good(&["publish"]);
            assert!(node.good(&READ).contains("i-db1"));
        }
    }
}

#[test]
fn a_repository_with_other_branches_and_no_list_gets_one() {
    for host in Host::each().map(Some).into_iter().chain([None]) {
        let (list, ..) = List::new(host);
        let commit = readme(&list.path);
        for branch in ["master", "docs", "aside"] {
            list.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]);
        }
        for waiting in list.git(&["for-each-ref", "--format=%(refname)", "refs/presence"]).lines() {
            list.git(&["update-ref", "-d", waiting]);
        }
        let new = list.node("app2");
        assert_eq!(new.good(&READ), "", "{}", list.url);
        assert!(new.good(&["publish"]).contains("joined"));
        assert_eq!(new.good(&READ), "i-app2\n");
    }
}

#[test]
fn a_folder_that_is_a_file_or_a_submodule_is_an_error_until_a_node_of_the_list_publishes() {
    for (list, one, two) in List::each() {
        let blob = list.git(&["hash-object", "-w", "config"]).trim().to_owned();
        let tip = list.git(&["rev-parse", "master"]).trim().to_owned();
        for (mode, oid, path, is) in [
            ("100644", &blob, "it/presence/all", "a file"),
            ("100644", &blob, "it", "a file"),
            ("120000", &blob, "it/presence", "a link"),
            ("160000", &tip, "it/presence/all", "a submodule"),
        ] {
            list.git(&["read-tree", "--empty"]);
            list.git(&["update-index", "--add", "--cacheinfo", &format!("{mode},{oid},{path}")]);
            let tree = list.git(&["write-tree"]);
            let commit = list.git(&["commit-tree", "-p", "master", "-m", "odd", tree.trim()]);
            list.git(&["update-ref", "refs/heads/master", commit.trim()]);
            let says = format!("`{path}` is {is} in the repository, not a folder");
            for node in [&one, &two, &list.node("app2")] {
                node.run(&READ).code(3).says(&says);
            }
            // A machine that has never seen the list may have a mistyped folder, and the file may belong to
            // somebody.
            list.node("app2").run(&["publish"]).code(1).says(&says);
            one.run(&["withdraw"]).code(1).says(&says);
            assert_eq!(two.run(&READ).stdout, "i-app1\ni-db1\n", "its last copy");
            assert_eq!(list.git(&["rev-parse", "master"]), commit);
            let replaced =
                format!("{says}, and this node replaced it by one; this node is on the list again");
            one.run(&["publish"]).code(0).says(&replaced);
            assert_eq!(one.good(&READ), "i-app1\n", "{}", list.url);
            two.good(&["publish"]);
            assert_eq!(two.good(&READ), "i-app1\ni-db1\n", "{}", list.url);
            assert_eq!(list.git(&["rev-parse", "master~2"]), commit, "history keeps it");
        }
    }
}
