//! The escapes before the judges that count: the real programs.
//!
//! Each test writes many hostile values the way a template would and asks the program what it read. Values
//! go in through files, never through a command line.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

mod haproxy;
mod java;
mod nginx;
mod server;
mod shell;
mod yaml;

/// What attackers and accidents write: every payload of the injection table, and the special characters of
/// each format.
fn payloads() -> Vec<String> {
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
    // Every character of Latin-1 in the middle, so that none is cut off or special at an end.
    payloads.extend(('\0'..='\u{ff}').map(|character| format!("a{character}b")));
    payloads
}

/// The payloads that `escape` takes, each with its escaped form.
fn escaped<E>(escape: impl Fn(&str) -> Result<String, E>) -> Vec<(String, String)> {
    let escaped: Vec<_> =
        payloads().into_iter().filter_map(|value| escape(&value).ok().map(|text| (value, text))).collect();
    assert!(escaped.len() > 20, "nearly every payload is refused, so this test tests nothing");
    escaped
}

/// Runs a program to its end. A missing one fails the test: a check that does not run proves nothing.
#[track_caller]
fn run(program: &str, package: &str, command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run {program}: {error}; it is in the Debian package `{package}`"),
    }
}

/// The standard output of a run that must have succeeded.
#[track_caller]
fn stdout(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).unwrap();
}

/// Compares value by value, so that a failure names the one payload.
#[track_caller]
fn assert_same(values: &[(String, String)], read: &[String]) {
    for ((value, escaped), read) in values.iter().zip(read) {
        assert_eq!(read, value, "written as {escaped}");
    }
    assert_eq!(read.len(), values.len());
}

/// The entries `v0`, `v1`, … of a JSON object, in this order.
#[track_caller]
fn numbered(json: &[u8]) -> Vec<String> {
    let mut object: BTreeMap<String, String> = serde_json::from_slice(json).unwrap();
    let values = (0..object.len()).map_while(|index| object.remove(&format!("v{index}"))).collect();
    assert!(object.is_empty(), "keys that nobody wrote: {object:?}");
    values
}
