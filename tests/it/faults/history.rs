//! A node fetches no history that it does not need, and missing history does not mislead it.

use super::{guest, node};
use crate::fixture::machine::git;
use crate::fixture::{GitDaemon, Host};

#[test]
fn a_new_node_needs_the_newest_commit_only() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let one = guest(1, &host, &url);
        for port in 1..6 {
            one.fact("port", port);
            one.good(&["publish"]);
        }
        let new = guest(2, &host, &url);
        new.good(&["publish"]);
        assert_eq!(git(&new.mirror(), &["rev-list", "--count", "refs/presence/fetched"]), "2\n", "{url}");
        one.fact("port", 99);
        one.good(&["publish"]);
        new.fact("port", 99);
        new.good(&["publish"]);
        assert_eq!(new.good(&["list", "--where", "port=99", "--format", "ids"]), "i-001\ni-002\n");
        assert_eq!(new.good(&["log", "-n", "1000"]).lines().count(), list.commits().len());
        assert!(new.good(&["publish"]).contains("unchanged"));
        git(&new.mirror(), &["fsck", "--strict"]);
        list.git(["fsck", "--strict"]);
    }
}

#[test]
fn what_was_merged_long_ago_is_not_merged_again_by_who_does_not_know() {
    let host = GitDaemon::start();
    let list = host.repository("list.git");
    let url = host.url("list.git");
    let one = node(1, &url);
    one.good(&["publish"]);
    let old = list.git(["for-each-ref", "--format=update %(refname) %(objectname)", "refs/presence/inbox/"]);
    one.fact("port", 9001);
    one.good(&["publish"]);
    one.fact("port", 9002);
    one.good(&["publish"]);
    // The deletion of its update was lost, as if the server had stopped just then.
    let (name, commit) = old.trim().trim_start_matches("update ").split_once(' ').unwrap();
    list.git(["update-ref", name, commit]);
    let new = node(2, &url);
    assert_eq!(new.good(&["list", "--where", "port=9002", "--format", "ids"]), "i-001\n");
    for port in [1, 2, 3] {
        new.fact("port", port);
        new.good(&["publish"]);
    }
    assert!(list.read("it/presence/all/i-001.json").contains("9002"));
    assert!(!list.git(["for-each-ref", "refs/presence/inbox/"]).contains("i-001"), "and it is taken away");
}
