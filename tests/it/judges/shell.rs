//! Env files as a shell reads them.

use std::collections::BTreeMap;
use std::process::Command;

use super::{run, stdout};

/// All variables that each text sets.
#[track_caller]
pub(crate) fn variables(texts: &[String]) -> Vec<BTreeMap<String, String>> {
    let directory = tempfile::tempdir().unwrap();
    // Exported, so that `env` prints them; a second NUL ends those of a file.
    let script = "for file; do (set -a; . ./\"$file\"; exec env -0); printf '\\0'; done";
    let mut command = Command::new("sh");
    command.env_clear().env("PATH", "/usr/bin:/bin").args(["-euc", script, "sh"]);
    let files = super::files(directory.path(), texts);
    command.args(files.iter().map(|file| file.file_name().unwrap())).current_dir(&directory);
    let output = String::from_utf8(stdout(run("sh", "dash", &mut command))).unwrap();
    assert!(!directory.path().join("evil").exists(), "a payload ran");
    let mut read = Vec::new();
    let mut variables = BTreeMap::new();
    for entry in output.split_terminator('\0') {
        match entry.split_once('=') {
            None => read.push(std::mem::take(&mut variables)),
            Some(("PATH" | "PWD" | "OLDPWD" | "_" | "SHLVL" | "file", _)) => {}
            Some((name, value)) => drop(variables.insert(name.to_owned(), value.to_owned())),
        }
    }
    assert_eq!(read.len(), texts.len());
    read
}
