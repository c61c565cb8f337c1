//! The check and reload commands: argv words, no shell, a time limit.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use wait_timeout::ChildExt;

use crate::children;

mod shell;

/// The most of a command's output that an error repeats, in bytes, from its end.
const MAX_OUTPUT: u64 = 4 * 1024;

/// A command of the user: a program and its arguments, where `{}` stands for the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    words: Vec<String>,
}

/// The text is not a valid command.
#[derive(Debug, thiserror::Error)]
pub enum BadCommand {
    /// It has no words.
    #[error("the command is empty")]
    Empty,
    /// A quote is not closed.
    #[error("`{0}` has a quote that is not closed")]
    Quote(String),
    /// It needs a shell, and no shell runs it.
    #[error("only a shell understands {what} in `{}`, but presence runs commands without one: write {}", line.replace('\n', "\\n"), in_a_shell(line))]
    Shell {
        /// The command as it was written.
        line: String,
        /// The first thing in it that needs a shell.
        what: String,
    },
    /// A check does not name the file to check.
    #[error("the check `{0}` has no `{{}}`: it would check the old file, not the new one")]
    NoFile(String),
}

impl BadCommand {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            BadCommand::NoFile(_) => "write {} in place of the file's name; `true {}` checks nothing",
            BadCommand::Shell { .. } => {
                "or quote it, if it is part of an argument; {} is the file, also in the script"
            }
            _ => "write a command as words, as in --check 'haproxy -dW -c -f {}'",
        }
        .to_owned()
    }
}

/// The same command for a shell, ready to paste.
fn in_a_shell(line: &str) -> String {
    format!("sh -c {}", shell_words::quote(line.trim()))
}

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command.
        command: String,
        /// The system's error.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// It ended with an error.
    #[error("`{command}` ended with {status}{output}")]
    Failed {
        /// The command.
        command: String,
        /// "exit code 1", "signal 9".
        status: String,
        /// The end of its output, on lines of its own.
        output: String,
    },
    /// It exceeded the time limit.
    #[error("`{command}` was killed after {seconds} s{output}")]
    TooLong {
        /// The command.
        command: String,
        /// The time limit.
        seconds: u64,
        /// The end of its output, on lines of its own.
        output: String,
    },
}

impl Command {
    /// Splits a line into words, with quotes and backslashes as in sh. Other shell syntax is refused.
    pub fn parse(line: &str) -> Result<Command, BadCommand> {
        let words = shell_words::split(line).map_err(|_| BadCommand::Quote(line.to_owned()))?;
        if let Some(what) = shell::only_for_a_shell(line) {
            return Err(BadCommand::Shell { line: line.to_owned(), what });
        }
        if words.is_empty() { Err(BadCommand::Empty) } else { Ok(Command { words }) }
    }

    /// The same for a check, which must name the file: otherwise it would check the old file.
    pub fn parse_check(line: &str) -> Result<Command, BadCommand> {
        let check = Command::parse(line)?;
        match check.names_the_file() {
            true => Ok(check),
            false => Err(BadCommand::NoFile(check.to_string())),
        }
    }

    /// Whether it contains `{}`.
    pub fn names_the_file(&self) -> bool {
        self.words.iter().any(|word| word.contains(shell::FILE))
    }

    /// The program, as written in the configuration.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Runs the command on `file`, and waits for its end. After `limit`, kills it with all that it started.
    pub fn run(&self, file: &Path, limit: Duration) -> Result<(), CommandError> {
        let command = self.to_string();
        let start = |source| CommandError::Start { command: command.clone(), source: Arc::new(source) };
        // A file instead of a pipe: a process that the command leaves behind could hold a pipe open for ever.
        let output = tempfile::tempfile().map_err(start)?;
        let mut words = shell::fill(&self.words, &file.to_string_lossy()).into_iter();
        let mut program = std::process::Command::new(words.next().unwrap_or_default());
        program
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(start)?)
            .stderr(output.try_clone().map_err(start)?)
            .process_group(0);
        let mut child = children::start(&mut program).map_err(start)?;
        let ended = child.wait_timeout(limit).map_err(start)?;
        let Some(status) = ended else {
            child.kill_group();
            return Err(CommandError::TooLong { command, seconds: limit.as_secs(), output: tail(output) });
        };
        if status.success() {
            return Ok(());
        }
        // `ExitStatus` prints "exit status: 1" or "signal: 9 (SIGKILL)".
        Err(CommandError::Failed {
            command,
            status: status.to_string().replace(':', ""),
            output: tail(output),
        })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shell_words::join(&self.words))
    }
}

/// The end of the output, each line indented on a line of its own; empty if there is none.
fn tail(output: File) -> String {
    end_of(output)
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("\n  | {}", crate::sanitize::shown(line.trim_end())))
        .collect()
}

/// The unchanged end of the output; empty if it cannot be read.
fn end_of(mut output: File) -> String {
    let length = output.metadata().map_or(0, |found| found.len());
    let mut bytes = Vec::new();
    let read = output
        .seek(SeekFrom::Start(length.saturating_sub(MAX_OUTPUT)))
        .and_then(|_| output.read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<(), String> {
        let limit = Duration::from_millis(500);
        Command::parse(line)
            .unwrap()
            .run(Path::new("/tmp/a file"), limit)
            .map_err(|error| crate::errors::chain(&error))
    }

    #[test]
    fn words_are_words_and_nothing_is_a_shell() {
        assert_eq!(run("test '/tmp/a file' = {}"), Ok(()));
        assert_eq!(run("test '$HOME' = \\$HOME"), Ok(()));
        assert!(matches!(Command::parse(" "), Err(BadCommand::Empty)));
        assert!(matches!(Command::parse("a 'b"), Err(BadCommand::Quote(_))));
    }

    #[test]
    fn what_needs_a_shell_is_refused_with_a_line_that_can_be_pasted() {
        let told = |line: &str| Command::parse(line).unwrap_err().to_string();
        assert_eq!(
            told("true && false"),
            "only a shell understands `&&` in `true && false`, but presence runs commands without one: \
             write sh -c 'true && false'"
        );
        let pasted = told("echo 'a b' > c").split_once("write ").unwrap().1.to_owned();
        assert_eq!(Command::parse(&pasted).unwrap().words, ["sh", "-c", "echo 'a b' > c"]);
    }

    #[test]
    fn a_check_names_the_file() {
        let check = |line: &str| Command::parse_check(line).map_err(|error| error.to_string());
        assert!(check("haproxy -c -f {}").is_ok() && check("sh -c 'test -s {} && true'").is_ok());
        assert!(check("x --config={}").is_ok());
        assert!(check("haproxy -c -f /etc/haproxy/haproxy.cfg").unwrap_err().contains("has no `{}`"));
    }

    #[test]
    fn in_a_script_the_file_is_one_word() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["plain", "a file", "it's", "$HOME `x`", "a\"b\\c;d", "a#b (c) *"] {
            let file = dir.path().join(name);
            std::fs::write(&file, "x").unwrap();
            for line in [
                "test -s {}",
                "sh -c 'test -s {}'",
                "sh -c 'test -s \"{}\"'",
                "sh -c \"test -s '{}'\"",
                "sh -c \"true # it's {}\ntest -s {}\"",
                r#"sh -ec 'x="$(cat "{}")"; test "$x" = x && y="$(cat {})" && test $y = x'"#,
                "sh -c 'test -s \"$1\"' x {}",
                "env X=1 /bin/sh -c '(test -s {})'",
                r#"sh -c 'test "x\"{}" != x && test \"{} != x && test -s {}'"#,
            ] {
                let run = Command::parse(line).unwrap().run(&file, Duration::from_secs(20));
                assert!(run.is_ok(), "{line} on {name}: {}", run.unwrap_err());
            }
        }
        let words = |line: &str, file: &str| shell::fill(&Command::parse(line).unwrap().words, file);
        assert_eq!(words("ssh host test -s {}", "/a b"), ["ssh", "host", "test", "-s", "'/a b'"]);
        assert_eq!(words("su app -c 'test {}'", "/a b"), ["su", "app", "-c", "test '/a b'"]);
        assert_eq!(words("sh /x.sh {}", "/a b"), ["sh", "/x.sh", "/a b"]);
    }

    #[test]
    fn a_comment_is_no_word() {
        assert_eq!(Command::parse("true a#b # c {}").unwrap().words, ["true", "a#b"]);
    }

    #[test]
    fn what_goes_wrong_is_told_with_the_output() {
        assert_eq!(run("false").unwrap_err(), "`false` ended with exit status 1");
        assert_eq!(
            run("sh -c 'echo why; exit 3'").unwrap_err(),
            "`sh -c 'echo why; exit 3'` ended with exit status 3\n  | why"
        );
        assert!(run("/no/such/program").unwrap_err().contains("cannot run `/no/such/program`: No such file"));
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_with_its_children() {
        let started = std::time::Instant::now();
        assert!(run("sh -c 'sleep 60 & sleep 60'").unwrap_err().contains("was killed after 0 s"));
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
