//! SIGKILL at random moments of `publish` and `render`: the next run works, nothing is lost or half-written.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::fixture::machine::{Machine, bare_repository, git};

/// How often each command is killed.
const ROUNDS: u64 = 60;

/// Runs the command and kills it after a delay, which grows from zero to more than its duration.
fn kill_after(machine: &Machine, args: &[&str], after: Duration) {
    let mut child = machine.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_publisher_may_be_killed_at_any_time() {
    let app = Machine::new("app1");
    let repository = app.path("list.git");
    bare_repository(&repository);
    let directory = app.path("directory");
    fs::create_dir(&directory).unwrap();
    let app = app.store(repository.display()).store(directory.display());
    app.good(&["publish"]);
    for round in 0..ROUNDS {
        app.fact("port", 1000 + round);
        kill_after(&app, &["publish"], Duration::from_micros(round * 400));
        let listed = app.good(&["list", "--format", "ids"]);
        assert_eq!(listed, "i-app1\n", "round {round}");
        // A git lock of the killed process is waited for, or removed if it is old.
        let outcome = app.run(&["publish"]).code(0);
        assert!(outcome.stderr.is_empty(), "round {round}: {outcome}");
    }
    git(&repository, &["fsck", "--strict"]);
    let left: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().any(|name| name == "i-app1.json"), "{left:?}");
}

#[test]
fn a_renderer_may_be_killed_at_any_time() {
    let app = Machine::new("app1");
    app.good(&["publish"]);
    let out = app.path("haproxy.cfg");
    let render = |port: &str, after: Option<Duration>| {
        let port = format!("frontend_port={port}");
        let args = [
            "render",
            "haproxy",
            "-o",
            "haproxy.cfg",
            "--set",
            &port,
            "--reload",
            "true",
            "--check",
            "true {}",
        ];
        match after {
            Some(after) => kill_after(&app, &args, after),
            None => drop(app.run(&args).code(0)),
        }
        fs::read_to_string(&out).unwrap()
    };
    let texts = [render("8081", None), render("8082", None)];
    assert_ne!(texts[0], texts[1]);
    for round in 0..ROUNDS {
        let port = if round % 2 == 0 { "8081" } else { "8082" };
        let seen = render(port, Some(Duration::from_micros(round * 500)));
        assert!(texts.contains(&seen), "round {round}: neither the old nor the new file:\n{seen}");
    }
    assert_eq!(render("8081", None), texts[0]);
    let staged = fs::read_dir(app.path(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".presence-"));
    assert_eq!(staged.count(), 0, "what killed runs left is swept");
}
