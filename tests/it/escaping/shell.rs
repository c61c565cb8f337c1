//! An env file as a shell sources it.

use std::process::Command;

use presence::escape::shell;

use super::{assert_same, escaped, run, stdout, write};

#[test]
fn sh_reads_back_every_value() {
    let directory = tempfile::tempdir().unwrap();
    let values = escaped(shell);
    let assignments = values.iter().enumerate().map(|(index, (_, escaped))| format!("V{index}={escaped}\n"));
    write(&directory.path().join("values.env"), assignments.collect::<String>());
    let prints = (0..values.len()).map(|index| format!("printf '%s\\0' \"$V{index}\"\n"));
    let script = format!(". ./values.env\n{}", prints.collect::<String>());
    write(&directory.path().join("print.sh"), script);

    let output = run("sh", "dash", Command::new("sh").args(["-eu", "print.sh"]).current_dir(&directory));
    let text = String::from_utf8(stdout(output)).unwrap();
    let read: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    assert_same(&values, &read);
    assert!(!directory.path().join("evil").exists(), "a payload ran");
}
