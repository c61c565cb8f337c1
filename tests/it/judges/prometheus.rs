//! Files for Prometheus' `file_sd_configs`: checked by their documented shape, and by `promtool` if it
//! exists.

use std::collections::BTreeMap;
use std::process::Command;

use super::{is_missing, run, stdout, write};

/// A group of targets.
#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) targets: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The groups of a file. Python reports duplicate keys of an object.
#[track_caller]
pub(crate) fn groups(text: &str) -> Vec<Group> {
    let script = "
import json, sys
def once(pairs):
    assert len(dict(pairs)) == len(pairs), pairs
json.load(open(sys.argv[1], 'rb'), object_pairs_hook=once)
";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("targets.json");
    write(&file, text);
    stdout(run("python3", "python3", Command::new("/usr/bin/python3").args(["-c", script]).arg(&file)));
    let groups = serde_json::from_str(text).unwrap();
    if !is_missing("promtool", "prometheus") {
        let config = directory.path().join("prometheus.yml");
        write(
            &config,
            format!(
                "scrape_configs:\n- job_name: nodes\n  file_sd_configs:\n  - files: ['{}']\n",
                file.display()
            ),
        );
        stdout(run(
            "promtool",
            "prometheus",
            Command::new("promtool").args(["check", "config"]).arg(&config),
        ));
    }
    groups
}
