//! The documents are true: the README's commands work as they stand, and the reference is what the program says.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixture::machine::program;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The code blocks of that language, as one script.
fn blocks(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn the_commands_of_the_readme_work() {
    let dir = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_presence")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    for (name, value) in program(dir.path()).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command
        .args(["-eux", "-c", &blocks(&read("README.md"), "sh")])
        .current_dir(dir.path())
        .env("PATH", path)
        .env("PRESENCE_STATE_DIR", dir.path().join("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let seen = String::from_utf8_lossy(&output.stdout);
    for expect in ["i-app1: joined", "server i-app1 192.0.2.21:8080", "weight 0", "i-app1: left"] {
        assert!(seen.contains(expect), "no {expect:?} in\n{seen}\n{said}");
    }
    let database = fs::read_to_string(dir.path().join("database.yml")).unwrap();
    assert!(database.contains("192.0.2.31"), "{database}");
}

#[test]
fn the_reference_is_what_the_program_says() {
    let mut text = String::from(
        "# Command line reference\n\nWhat `presence --help` and `presence COMMAND --help` say; a test keeps it true.\n",
    );
    let mut root = presence::cli::command().bin_name("presence").term_width(100);
    let mut add = |command: &mut clap::Command| {
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        text.push_str(&format!(
            "\n## {}\n\n```text\n{}\n```\n",
            command.get_bin_name().unwrap(),
            lines.join("\n").trim()
        ));
    };
    root.build();
    add(&mut root);
    for command in root.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        add(command);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        read("docs/cli.md") == text,
        "docs/cli.md is out of date: UPDATE_DOCS=1 cargo test the_reference"
    );
}

#[test]
fn every_page_that_is_linked_is_there() {
    for page in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        for link in read(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let there = link.starts_with("http") || Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists();
            assert!(there, "{page} links to {link}");
        }
    }
}

#[test]
fn systemd_takes_the_units_as_they_are() {
    let units = tempfile::tempdir().unwrap();
    let names = ["presence-agent.service", "presence-beat.service", "presence-beat.timer"];
    let paths = names.map(|name| {
        // The program must be where the unit says; here it is somewhere else.
        let text = read(&format!("packaging/systemd/{name}"));
        let path = units.path().join(name);
        fs::write(&path, text.replace("/usr/bin/presence", env!("CARGO_BIN_EXE_presence"))).unwrap();
        path
    });
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output();
    let output = output.expect("systemd-analyze, of the Debian package systemd");
    let said = String::from_utf8_lossy(&output.stderr);
    // It also says what it thinks of the machine's own units.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("presence-")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
