//! The readers of all outside input as functions of bytes: for `fuzz/`, and for the test that replays its
//! corpora. Built only for these two.
//!
//! None may panic on any input. If another implementation defines the right result, they compare with it.

mod formats;

use std::io::Write;

use crate::config::{Config, RawOptions};
use crate::haproxy::{self, Overrides, Running};
use crate::record::{FILETYPE, Facts, Record};
use crate::store::git::fuzzing as git;

/// A reader of outside input.
pub type Target = fn(&[u8]);

/// All readers. Each has a file in `fuzz/fuzz_targets` and a folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 14] = [
    ("answer", git::answer),
    ("beats", git::beats),
    ("commit", git::commit),
    ("config", config),
    ("conversation", git::conversation),
    ("delta", git::delta),
    ("escape", formats::escape),
    ("haproxy_answers", haproxy_answers),
    ("haproxy_config", haproxy_config),
    ("haproxy_states", haproxy_states),
    ("inbox", git::inbox),
    ("pack", git::pack),
    ("record", record),
    ("refs", git::refs),
];

/// The reader with a name.
///
/// # Panics
/// If there is no such reader.
pub fn target(name: &str) -> Target {
    TARGETS.iter().find(|target| target.0 == name).expect("the name of a target").1
}

/// `presence.toml`.
fn config(bytes: &[u8]) {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(bytes).is_ok() {
        let _ = Config::load(&RawOptions { config: Some(file.path().to_owned()), ..RawOptions::default() });
    }
}

/// A record. The full JSON parser must accept all that the fast reader accepts, with the same meaning.
fn record(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else { return };
    assert_eq!(record.to_bytes(), bytes, "the file is kept");
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let whole: serde_json::Value = serde_json::from_slice(bytes).expect("a record is JSON");
    assert_eq!(whole["filetype"], FILETYPE);
    let facts: Facts = whole["value"].as_object().expect("facts").clone().into_iter().collect();
    assert_eq!(record.facts(), facts);
    let written = Record::new(record.facts()).expect("it has an instance-id").to_bytes();
    assert_eq!(Record::parse(&written).expect("what was written is read"), record);
}

/// The answers to `show servers state` and `show stat`, one after the other.
fn haproxy_answers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (states, stat) = text.split_once("\n\n").unwrap_or((&text, ""));
    let _ = Running::parse(states, stat);
}

/// The answer to `show servers state`, kept over a reload.
fn haproxy_states(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (states, config) = text.split_once("\n\n").unwrap_or((&text, ""));
    let _ = haproxy::state_file::remember(states, &haproxy::Config::parse(config), &Overrides::default());
}

/// Two versions of haproxy.cfg, and the plan from one to the other.
fn haproxy_config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (old, new) = text.split_once('\0').unwrap_or((&text, ""));
    let (old, new) = (haproxy::Config::parse(old), haproxy::Config::parse(new));
    let _ = haproxy::needs_reload(&old, &new);
    assert_eq!(haproxy::needs_reload(&new, &new), None);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_corpus_is_read() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let names = |dir: &str| {
            let found = std::fs::read_dir(fuzz.join(dir)).unwrap();
            let mut names: Vec<String> = found
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        let targets: Vec<&str> = TARGETS.iter().map(|target| target.0).collect();
        assert_eq!(names("fuzz_targets"), targets);
        assert_eq!(names("corpus"), targets);
        for (name, target) in TARGETS {
            for entry in std::fs::read_dir(fuzz.join("corpus").join(name)).unwrap() {
                target(&std::fs::read(entry.unwrap().path()).unwrap());
            }
        }
    }
}
