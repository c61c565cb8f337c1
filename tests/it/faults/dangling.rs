//! Refs of the server that name missing objects: after `git gc --prune=now` during a push, or after a crash.

use super::{guest, ids};
use crate::envelope;
use crate::fixture::Host;
use crate::fixture::machine::Machine;

const WAITING: &str = "refs/presence/inbox/i-009/000634a1b2c3d4e5000000aa";

/// Puts all heartbeats into one shard.
fn in_one_shard(node: Machine) -> Machine {
    node.config("beat-shards = 1\n[timeouts]\nrecheck = 0\n")
}

/// The reader must report the bad refs and read the others.
#[track_caller]
fn names(reader: &Machine, bad: &[&str]) {
    let listed = reader.run(&["list", "--format", "json", "--max-age", "1d"]).code(0);
    for bad in bad {
        assert!(listed.stdout.contains(bad), "{bad} is not named\n{listed}");
    }
    assert!(listed.stdout.contains("i-001") && listed.stdout.contains("i-002"), "{listed}");
    assert!(!listed.stderr.contains("last copy"), "{listed}");
}

#[test]
fn a_ref_that_dangles_costs_that_ref_and_the_next_push_deletes_it() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let (one, two) = (in_one_shard(guest(1, &host, &url)), in_one_shard(guest(2, &host, &url)));
        one.good(&["beat"]);
        two.good(&["beat"]);
        list.dangle(WAITING);
        list.dangle("refs/presence/beats/000");
        names(&one, &[WAITING, "refs/presence/beats/000"]);
        names(&in_one_shard(guest(3, &host, &url)), &[WAITING, "refs/presence/beats/000"]);

        two.fact("port", 9002);
        assert!(two.good(&["beat"]).contains("9002"), "{url}");
        let refs = list.git(["for-each-ref", "--format=%(refname)"]);
        assert!(!refs.contains(WAITING), "{refs}");
        list.git(["fsck", "--strict"]);
        // The shard begins anew, with the nodes that have beaten since.
        one.good(&["beat"]);
        let active = one.good(&["list", "--max-age", "1d", "--state", "active", "--format", "ids"]);
        assert_eq!(active, "i-001\ni-002\n");
        assert_eq!(ids(&one), ["i-001", "i-002"]);
    }
}

#[test]
fn one_who_publishes_without_having_read_clears_them_away_as_well() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let one = in_one_shard(guest(1, &host, &url));
        one.good(&["beat"]);
        let bad: Vec<String> = (10..16).map(|n| WAITING.replace("009", &format!("0{n}"))).collect();
        bad.iter().for_each(|bad| list.dangle(bad));
        list.dangle("refs/presence/beats/000");
        let new = in_one_shard(guest(2, &host, &url));
        assert!(new.good(&["publish"]).contains("joined"), "{url}");
        new.good(&["beat"]);
        list.git(["fsck", "--strict"]);
        assert_eq!(ids(&one), ["i-001", "i-002"]);
    }
}

#[test]
fn a_branch_that_dangles_is_an_error_and_never_an_empty_list() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let one = in_one_shard(guest(1, &host, &url));
        one.good(&["publish"]);
        assert_eq!(ids(&one), ["i-001"]);
        list.dangle("refs/heads/master");
        let listed = one.run(&["list", "--format", "ids"]).code(3);
        assert_eq!(listed.stdout, "i-001\n", "presence uses its last copy");
        let listed = listed
            .says("the server lists `refs/heads/master` but does not send its objects")
            .says("git fsck");
        drop(listed.says("presence uses its last copy"));
        one.fact("port", 9001);
        one.run(&["publish"]).code(1).says("does not send it");
        let fresh = guest(2, &host, &url).run(&["list", "--format", "ids"]).code(3);
        assert_eq!(fresh.stdout, "");
        fresh.says("there is no earlier copy");
    }
}

#[test]
fn an_update_whose_files_are_gone_costs_that_update() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let (one, two) = (in_one_shard(guest(1, &host, &url)), in_one_shard(guest(2, &host, &url)));
        one.good(&["publish"]);
        two.good(&["publish"]);
        // The commit exists, its tree does not.
        let commit = list.git(["commit-tree", "-m", "an update", "HEAD^{tree}"]);
        let text = list.git(["cat-file", "commit", commit.trim()]);
        let text = format!("tree {}{}", "1234567890".repeat(4), &text[45..]);
        let path = one.path("commit");
        std::fs::write(&path, text).unwrap();
        let bad = list.git(["hash-object", "-t", "commit", "-w", "--literally", path.to_str().unwrap()]);
        list.git(["update-ref", WAITING, bad.trim()]);
        names(&one, &[WAITING]);
        two.fact("port", 9002);
        two.good(&["publish"]);
        names(&one, &["9002"]);
    }
}

/// git carries out the deletions of an atomic push although it refuses the branch because of another ref.
#[test]
fn an_update_that_waits_outlives_a_merge_that_is_refused() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let one = in_one_shard(guest(1, &host, &url));
        one.good(&["beat"]);
        let record = r#"{"filetype":"nodepresence","value":{"instance-id":"i-009"}}"#;
        envelope::leave(list.path(), "i-009", record);
        assert_eq!(ids(&one), ["i-001", "i-009"]);
        list.dangle("refs/presence/beats/000");
        // It has nothing to say, and merges what waits.
        for _ in 0..3 {
            one.good(&["publish"]);
            let seen = in_one_shard(guest(3, &host, &url)).run(&["list", "--format", "ids"]).stdout;
            assert_eq!(seen, "i-001\ni-009\n", "{url}");
        }
        // A node on a busy machine may take its own load for a crowd, and leave the merge to others.
        let is_merged = || list.git(["ls-tree", "-r", "--name-only", "HEAD"]).contains("/i-009.json\n");
        for _ in 0..20 {
            one.good(&["beat"]);
            one.good(&["publish"]);
            if is_merged() {
                break;
            }
        }
        assert!(list.read("it/presence/all/i-009.json").contains("i-009"));
        assert_eq!(ids(&one), ["i-001", "i-009"]);
        list.git(["fsck", "--strict"]);
    }
}
