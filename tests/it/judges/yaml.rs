//! YAML as Rails reads it (ERB, then Psych) and as Python does.

use std::process::Command;

use serde_json::Value;

use super::{run, stdout};

const RUBY: &str = r"
print JSON.generate(ARGV.map { |file| YAML.load(ERB.new(File.read(file)).result) })
";

const PYTHON: &str = r"
import json, sys, yaml
json.dump([yaml.safe_load(open(file, 'rb')) for file in sys.argv[1:]], sys.stdout)
";

/// What Ruby and Python read from each text. They must agree, and no code may have run.
#[track_caller]
pub(crate) fn read(texts: &[String]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let files = super::files(directory.path(), texts);
    let mut ruby = Command::new("ruby");
    ruby.args(["-Ku", "-ryaml", "-rerb", "-rjson", "-e", RUBY]).args(&files);
    let ruby: Vec<Value> =
        serde_json::from_slice(&stdout(run("ruby", "ruby", ruby.current_dir(&directory)))).unwrap();
    // Debian's own interpreter, since another one in PATH may lack PyYAML.
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", PYTHON]).args(&files);
    let python = run("/usr/bin/python3 with PyYAML", "python3-yaml", python.current_dir(&directory));
    assert_eq!(ruby, serde_json::from_slice::<Vec<Value>>(&stdout(python)).unwrap());
    assert!(!directory.path().join("evil").exists(), "a payload ran");
    ruby
}
