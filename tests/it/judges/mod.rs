//! The real programs that judge our output, and the payloads for them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) mod haproxy;
pub(crate) mod hosts;
pub(crate) mod nagios;
pub(crate) mod nginx;
pub(crate) mod pgbouncer;
pub(crate) mod prometheus;
pub(crate) mod properties;
pub(crate) mod server;
pub(crate) mod shell;
pub(crate) mod yaml;

/// What attackers and accidents produce: every payload of the injection table, and the special characters of
/// each format.
pub(crate) fn payloads() -> Vec<String> {
    let mut payloads: Vec<String> = [
        "10.0.0.1:80\n  server evil 6.6.6.6:80",
        "10.0.0.1\nlisten evil\n  bind 127.0.0.1:1",
        "10.0.0.1 disabled",
        "10.0.0.1\tssl",
        "10.0.0.1#:80",
        "$HOME",
        "${HOME}",
        "\"${HOME}\"",
        "'$HOME'",
        "\\x31",
        "a\\",
        "a\\\\",
        "\\",
        "10.0.0.256",
        "010.0.0.1",
        "10.1",
        "[fe80::1%lo]",
        "2001:db8::1",
        "0.0.0.0",
        "*",
        "[::]",
        "/path",
        "unix@/run/docker.sock",
        "abns@evil",
        "+80",
        "-80",
        "8_0",
        "%[env(HOME)]",
        "%%[env(HOME)]",
        "%",
        "%{+Q}o %t",
        "\\r\\nX-Evil: 1",
        "a\r\nX-Evil: 1",
        "it's",
        "'",
        "''",
        "'\\''",
        "\"",
        "\\\"",
        "\"; evil \"",
        "'; touch evil; '",
        "$(touch evil)",
        "`touch evil`",
        "<%= `touch evil` %>",
        "<%% %%>",
        "\n% raise 'evil'\n",
        "a: b",
        "- a",
        "# a",
        "!ruby/object:Object {}",
        "&a *a",
        "{{a}}",
        "no",
        "null",
        "~",
        "1e3",
        "0x50",
        "---",
        "...",
        "\n---\na: 1",
        "a = b",
        "!a",
        ":a",
        "\\u0041",
        "",
        " ",
        " a",
        "a ",
        "\ta\t",
        "a\n",
        "\n",
        "\u{feff}a",
        "a\u{2028}b\u{2029}c\u{85}d",
        "\u{fffe}\u{ffff}\u{fffd}\u{1fffe}\u{10ffff}\u{d7ff}\u{e000}",
        "größe €😀",
        "\u{202e}moc.elpmaxe",
    ]
    .map(str::to_owned)
    .to_vec();
    // Every Latin-1 character in the middle, so that none is trimmed or special at an end.
    payloads.extend(('\0'..='\u{ff}').map(|character| format!("a{character}b")));
    payloads
}

/// Runs a program until it exits. A missing program fails the test: a check that does not run proves nothing.
#[track_caller]
pub(crate) fn run(program: &str, package: &str, command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run {program}: {error}; it is in the Debian package `{package}`"),
    }
}

/// The standard output of a run, which must have succeeded.
#[track_caller]
pub(crate) fn stdout(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).unwrap();
}

/// Writes each text to its own file.
pub(crate) fn files(directory: &Path, texts: &[String]) -> Vec<PathBuf> {
    let write_one = |(number, text): (usize, &String)| {
        let file = directory.join(number.to_string());
        write(&file, text);
        file
    };
    texts.iter().enumerate().map(write_one).collect()
}

/// Whether an optional program is missing; the test's log says so.
#[expect(clippy::print_stderr, reason = "whoever reads the test log must see what was not tested")]
pub(crate) fn is_missing(program: &str, package: &str) -> bool {
    let missing = Command::new(program).arg("--version").output().is_err();
    if missing {
        eprintln!("skipped: no `{program}` (from the Debian package `{package}`)");
    }
    missing
}

/// Makes root run a command as Debian's user `nobody`.
pub(crate) fn as_nobody(command: &mut Command) {
    const NOBODY: u32 = 65534;
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}
