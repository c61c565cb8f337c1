//! Closed pipes and full disks: an exit code and a sentence, never a panic.

use std::fs::{self, File};
use std::process::Stdio;

use crate::fixture::machine::Machine;

/// Commands that print.
const PRINTERS: [&[&str]; 8] = [
    &["emit"],
    &["list"],
    &["list", "--format", "json"],
    &["render", "haproxy"],
    &["templates"],
    &["doctor"],
    &["completions", "bash"],
    &["--help"],
];

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let app = Machine::new("app1");
    app.good(&["publish"]);
    for args in PRINTERS {
        let mut child = app.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let app = Machine::new("app1");
    app.good(&["publish"]);
    for args in &PRINTERS[..7] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = app.command(args).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("cannot write to stdout: No space left") && stderr.contains("hint: free"),
            "{stderr}"
        );
    }
}

#[test]
fn stderr_may_be_closed_or_full() {
    let app = Machine::new("app1");
    for args in [&["list", "--store", "/no/such/place"][..], &["nonsense"], &["publish"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = app.command(args).stderr(full).output().unwrap();
        assert!(output.status.code().is_some_and(|code| code < 100), "{args:?}");
    }
}

#[test]
fn a_place_without_space_or_right_is_named() {
    let app = Machine::new("app1");
    app.good(&["publish"]);
    app.run(&["render", "haproxy", "-o", "/proc/presence.cfg"]).code(1).says("/proc");
    app.run(&["render", "haproxy", "-o", "no/such/dir/out"]).code(1).says("no/such/dir").says("hint: ");
    app.run(&["publish", "--state-dir", "/proc/state"]).code(1).says("/proc/state");
    fs::create_dir(app.path("out")).unwrap();
    app.run(&["render", "haproxy", "-o", "out"]).code(1).says("is not a regular file");
}
