//! YAML as Rails reads it (ERB, then Psych) and as Python does.

use std::process::Command;

use presence::escape::yaml;

use super::{assert_same, escaped, numbered, run, stdout, write};

fn document(values: &[(String, String)]) -> String {
    values.iter().enumerate().map(|(index, (_, escaped))| format!("v{index}: {escaped}\n")).collect()
}

/// As `Rails::Application::Configuration#database_configuration` reads it, and with `%` lines, as some
/// loaders do.
#[test]
fn ruby_reads_back_every_value_through_erb() {
    let script = "print JSON.generate(YAML.load(ERB.new(File.read(ARGV[0]), trim_mode: ARGV[1]).result))";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("database.yml");
    let values = escaped(yaml);
    write(&file, document(&values));
    for trim_mode in ["", "%", "<>", "-"] {
        let mut ruby = Command::new("ruby");
        ruby.args(["-Ku", "-ryaml", "-rerb", "-rjson", "-e", script]).arg(&file).arg(trim_mode);
        let json = stdout(run("ruby", "ruby", ruby.current_dir(&directory)));
        assert_same(&values, &numbered(&json));
    }
    assert!(!directory.path().join("evil").exists(), "a payload ran");
}

/// Debian's own interpreter, since another one in PATH may lack PyYAML.
#[test]
fn python_reads_back_every_value() {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1], 'rb')), sys.stdout)";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("values.yml");
    let values = escaped(yaml);
    write(&file, document(&values));
    let output =
        run("/usr/bin/python3", "python3", Command::new("/usr/bin/python3").args(["-c", script]).arg(&file));
    let missing = String::from_utf8_lossy(&output.stderr).contains("No module named 'yaml'");
    assert!(!missing, "python3 has no PyYAML; it is in the Debian package `python3-yaml`");
    assert_same(&values, &numbered(&stdout(output)));
}
