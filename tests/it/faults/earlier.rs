//! A node's earlier update that still waits while the node says something new: it must neither be lost before the
//! new one is durable, nor come after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{guest, ids, node, settle};
use crate::envelope;
use crate::fixture::machine::Machine;
use crate::fixture::{GitDaemon, Host, Relay, Repository};

/// An `update` hook that keeps everything off the branch.
const NO_BRANCH: &str = "case $1 in refs/heads/*) exit 1;; esac";

fn record(port: u16) -> String {
    format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"i-009","port":{port}}}}}"#)
}

/// A node whose port is 8000 on the branch and 8001 in an update that waits. Nobody can merge that one, since the
/// server refuses the branch; another node's update waits as well.
fn waiting(host: &Host) -> (Repository, Machine) {
    let list = host.repository("list.git");
    let one = guest(1, host, &host.url("list.git")).config("beat-shards = 1\n[timeouts]\nrecheck = 0\n");
    one.fact("port", 8000);
    one.good(&["publish"]);
    envelope::leave(list.path(), "i-009", &record(1));
    list.hook("update", NO_BRANCH);
    one.fact("port", 8001);
    one.good(&["publish"]);
    assert_eq!(on_branch(&list), "8000");
    assert_eq!(seen(host, 8001), ["i-001"]);
    (list, one)
}

/// The port that the branch has of the node.
fn on_branch(list: &Repository) -> String {
    let text = list.read("it/presence/all/i-001.json");
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["value"]["port"].to_string().trim_matches('"').to_owned()
}

/// The nodes with that port, as a reader sees them that has seen nothing before.
fn seen(host: &Host, port: u16) -> Vec<String> {
    let reader = guest(3, host, &host.url("list.git"));
    let listed = reader.good(&["list", "--where", &format!("port={port}"), "--format", "ids"]);
    listed.lines().map(str::to_owned).collect()
}

/// The server carries out deletions beside an update that it refuses.
#[test]
fn the_last_update_outlives_a_new_one_that_is_refused() {
    for host in Host::each() {
        let (list, one) = waiting(&host);
        let nothing_new = "case $3 in 0000000000*) ;; *) exit 1;; esac";
        list.hook("update", &format!("{NO_BRANCH}\ncase $1 in refs/presence/inbox/*) {nothing_new};; esac"));
        one.fact("port", 8002);
        one.run(&["publish"]).code(1).says("hook declined");
        assert_eq!(seen(&host, 8001), ["i-001"], "{}", host.url(""));
        // Once the server accepts it, the new one wins.
        list.unhook("update");
        one.good(&["publish"]);
        assert_eq!(seen(&host, 8002), ["i-001"]);
        settle(&list, &host);
        assert_eq!(on_branch(&list), "8002");
    }
}

/// A push of the branch alone would leave the earlier update, which readers would take for the last one.
#[test]
fn an_inbox_that_cannot_be_written_for_a_moment_is_tried_again() {
    for host in Host::each() {
        let (list, one) = waiting(&host);
        // Another process has the lock of the new ref.
        list.hook(
            "update",
            r"case $3/$1 in
                0000000000*) ;;
                */refs/presence/inbox/i-001/*)
                    [ -e once ] || { touch once; mkdir -p ${1%/*}; touch $1.lock; };;
            esac",
        );
        one.fact("port", 8002);
        one.good(&["publish"]);
        assert!(list.path().join("once").exists(), "the server refused nothing");
        assert_eq!(seen(&host, 8002), ["i-001"], "{}", host.url(""));
        settle(&list, &host);
        assert_eq!(on_branch(&list), "8002");
    }
}

/// The branch has the same record, but readers see the update that waits.
#[test]
fn what_the_branch_has_is_not_unchanged_beside_an_update_that_waits() {
    for host in Host::each() {
        let (list, one) = waiting(&host);
        let nothing_new = "case $3 in 0000000000*) ;; *) exit 1;; esac";
        list.hook("update", &format!("case $1 in refs/presence/*) {nothing_new};; esac"));
        one.fact("port", 8000);
        one.run(&["publish"]).code(1).says("hook declined");
        assert_eq!(seen(&host, 8001), ["i-001"], "{}", host.url(""));
        list.unhook("update");
        one.good(&["publish"]);
        assert_eq!(seen(&host, 8000), ["i-001"]);
    }
}

/// The server loses the object of the update that it just accepted. So it refuses the heartbeat, and the node deletes
/// the ref.
#[test]
fn an_update_that_is_cleared_away_for_a_heartbeat_is_left_again() {
    for host in Host::each() {
        let (list, one) = waiting(&host);
        list.hook(
            "update",
            &format!("{NO_BRANCH}\ncase $1 in refs/presence/beats/*) [ -e once ] || {{ touch once; exit 1; }};; esac"),
        );
        list.hook(
            "post-receive",
            r"while read old new ref; do
                case $new/$ref in
                    0000000000*) ;;
                    */refs/presence/inbox/i-001/*)
                        [ -e lost ] || rm objects/$(echo $new | cut -c1-2)/$(echo $new | cut -c3-)
                        touch lost;;
                esac
            done",
        );
        one.fact("port", 8002);
        one.good(&["beat"]);
        assert!(list.path().join("lost").exists(), "the server lost nothing");
        list.git(["fsck", "--strict"]);
        assert_eq!(seen(&host, 8002), ["i-001"], "{}", host.url(""));
    }
}

/// A merger has an older update of a node, and lists the newer one. Before it fetches that one, another merger has
/// merged and deleted both.
#[test]
fn an_older_update_is_not_merged_over_a_newer_one_that_is_gone() {
    const OLD: &str = "refs/presence/inbox/i-009/000634a1b2c3d4e5000000aa";
    const NEW: &str = "refs/presence/inbox/i-009/000634a1b2c3d4e6000000aa";
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let path = list.path().to_owned();
    // The connections for writing since the relay was armed.
    let writes = Arc::new(AtomicUsize::new(usize::MAX));
    let count = writes.clone();
    let relay = Relay::before_each(server.address(), move |request| {
        let list = Repository::at(&path);
        let writes = count.load(Ordering::SeqCst);
        if writes == usize::MAX {
            return;
        }
        if request.contains("git-receive-pack") {
            count.store(writes + 1, Ordering::SeqCst);
            // The first one finds that nothing is to be published, the second one looks after what waits.
            if writes == 1 {
                let file = "it/presence/all/i-009.json";
                envelope::import(list.path(), NEW, &file.replace('/', "%2F"), &record(2));
                envelope::import(list.path(), "refs/heads/master", file, &record(2));
            }
        } else if writes > 1 {
            for gone in [OLD, NEW] {
                list.git(["update-ref", "-d", gone]);
            }
            count.store(usize::MAX, Ordering::SeqCst);
        }
    });
    let url = server.url("list.git").replace(&server.address().to_string(), &relay.address().to_string());
    let one = node(1, &url);
    one.good(&["publish"]);
    envelope::leave(list.path(), "i-009", &record(1));
    assert_eq!(ids(&one), ["i-001", "i-009"]);
    writes.store(0, Ordering::SeqCst);
    one.good(&["publish"]);
    assert_eq!(writes.load(Ordering::SeqCst), usize::MAX, "nothing was fetched between listing and merge");
    let host = Host::Git(server);
    assert_eq!(seen(&host, 2), ["i-009"]);
}

/// An update that waits, and a later one that takes it back, change nothing together. A slow merger that has seen only the
/// first one pushes it after both are deleted, on top of the tip that it saw.
#[test]
fn an_update_that_was_taken_back_does_not_return_with_a_slow_merge() {
    const EARLIER: &str = "refs/presence/inbox/i-009/000634a1b2c3d4e5000000aa";
    const LATER: &str = "refs/presence/inbox/i-009/000634a1b2c3d4e6000000aa";
    for host in Host::each() {
        let list = host.repository("list.git");
        let one = guest(1, &host, &host.url("list.git")).config("beat-shards = 1\n[timeouts]\nrecheck = 0\n");
        one.good(&["publish"]);
        let file = "it/presence/all/i-009.json";
        envelope::import(list.path(), "refs/heads/master", file, &record(8001));
        let tip = list.git(["rev-parse", "refs/heads/master"]);
        list.git(["update-ref", "refs/heads/slow", tip.trim()]);
        envelope::import(list.path(), "refs/heads/slow", file, &record(8002));
        let slow = list.git(["rev-parse", "refs/heads/slow"]);
        list.git(["update-ref", "-d", "refs/heads/slow"]);
        envelope::import(list.path(), EARLIER, &file.replace('/', "%2F"), &record(8002));
        envelope::import(list.path(), LATER, &file.replace('/', "%2F"), &record(8001));
        let waits = || list.git(["for-each-ref", "refs/presence/inbox/"]).contains("i-009");
        for _ in 0..20 {
            // A node without a change merges what waits, unless it takes its load for a crowd.
            if waits() {
                one.good(&["publish"]);
            }
        }
        assert!(!waits(), "{}", host.url(""));
        let push = ["update-ref", "refs/heads/master", slow.trim(), tip.trim()];
        let pushed =
            std::process::Command::new("git").arg("-C").arg(list.path()).args(push).output().unwrap();
        assert!(!pushed.status.success(), "{}: the branch has not moved", host.url(""));
        assert_eq!(seen(&host, 8001), ["i-009"], "{}", host.url(""));
        list.git(["fsck", "--strict"]);
    }
}
