//! Full disks: the server's, and this machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{node, settle};
use crate::fixture::{GitDaemon, Host};

/// A full small file system. Only root can make one.
struct FullDisk(PathBuf);

impl FullDisk {
    /// Puts the content of the directory on a full disk of that many KiB, if this process may.
    fn below(dir: &Path, kib: usize) -> Option<FullDisk> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let kept = tempfile::tempdir().unwrap();
        copy(dir, kept.path());
        let size = format!("size={kib}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "full-disk"]).arg(dir).status();
        // A container may forbid it even to root.
        if !mounted.is_ok_and(|status| status.success()) {
            return None;
        }
        let disk = FullDisk(dir.to_owned());
        copy(kept.path(), dir);
        disk.fill();
        Some(disk)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn fill(&self) {
        // Writes until not one more byte fits.
        assert!(fs::write(self.filler(), vec![0; 64 << 20]).is_err());
    }

    fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn copy(from: &Path, to: &Path) {
    let from = format!("{}/.", from.display());
    assert!(Command::new("cp").args(["-a", &from]).arg(to).status().unwrap().success());
}

#[test]
fn the_disk_of_the_server_is_full() {
    let host = Host::Git(GitDaemon::start());
    let list = host.repository("list.git");
    let (one, two) = (node(1, &host.url("list.git")), node(2, &host.url("list.git")));
    one.good(&["publish"]);
    let objects = list.git(["rev-parse", "--absolute-git-dir"]).trim().to_owned() + "/objects";
    let Some(disk) = FullDisk::below(Path::new(&objects), 512) else { return };
    one.fact("port", 9001);
    let refused = one.run(&["publish"]).code(1).says("the server refused the push");
    let refused = refused
        .says("No space left on device")
        .says("hint: check the repository's file system on the server");
    assert!(!refused.stderr.contains("hooks"), "{refused}");
    let listed = two.good(&["list", "--where", "port=8080", "--format", "ids"]);
    assert_eq!(listed, "i-001\n", "what was there is still there");
    disk.empty();
    one.good(&["publish"]);
    two.good(&["publish"]);
    settle(&list, &host);
    assert!(list.read("it/presence/all/i-001.json").contains("9001"));
    assert!(list.files().contains(&"it/presence/all/i-002.json".to_owned()));
    list.git(["fsck", "--strict"]);
}

#[test]
fn the_disk_of_the_node_is_full() {
    let host = Host::Git(GitDaemon::start());
    let list = host.repository("list.git");
    let one = node(1, &host.url("list.git"));
    one.good(&["publish"]);
    let Some(disk) = FullDisk::below(&one.path("state"), 1024) else { return };
    one.fact("port", 9001);
    one.run(&["publish"]).code(1).says("No space left on device");
    // Everything can still be read.
    assert_eq!(one.run(&["list", "--format", "ids"]).stdout, "i-001\n");
    disk.empty();
    one.good(&["publish"]);
    settle(&list, &host);
    assert!(list.read("it/presence/all/i-001.json").contains("9001"));
}
