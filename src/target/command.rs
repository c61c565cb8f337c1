//! The check and reload commands: argv words, no shell, a time limit.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use wait_timeout::ChildExt;

/// What stands for the file in a command's words.
const FILE: &str = "{}";

/// The most of a command's output that an error repeats, in bytes, from its end.
const MAX_OUTPUT: u64 = 4 * 1024;

/// A command of the user: a program and its arguments, where `{}` stands for the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    words: Vec<String>,
}

/// That is no command.
#[derive(Debug, thiserror::Error)]
pub enum BadCommand {
    /// There is no word in it.
    #[error("the command is empty")]
    Empty,
    /// A quote is not closed.
    #[error("`{0}` has a quote that is not closed")]
    Quote(String),
}

/// Why a command did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command.
        command: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("`{command}` ended with {status}{output}")]
    Failed {
        /// The command.
        command: String,
        /// "exit code 1", "signal 9".
        status: String,
        /// The end of what it printed, on lines of its own.
        output: String,
    },
    /// It did not end.
    #[error("`{command}` was ended after {seconds} s{output}")]
    TooLong {
        /// The command.
        command: String,
        /// The time limit.
        seconds: u64,
        /// The end of what it printed, on lines of its own.
        output: String,
    },
}

impl Command {
    /// Splits a line into words: quotes and backslashes as in sh, and nothing else of sh.
    pub fn parse(line: &str) -> Result<Command, BadCommand> {
        let words = shell_words::split(line).map_err(|_| BadCommand::Quote(line.to_owned()))?;
        if words.is_empty() { Err(BadCommand::Empty) } else { Ok(Command { words }) }
    }

    /// Runs the command on `file` and waits for its end, `limit` at most; then it and what it started are killed.
    pub fn run(&self, file: &Path, limit: Duration) -> Result<(), CommandError> {
        let command = self.to_string();
        let start = |source| CommandError::Start { command: command.clone(), source };
        // A file, not a pipe: a process that the command leaves behind could hold a pipe open for ever.
        let output = tempfile::tempfile().map_err(start)?;
        let file = file.to_string_lossy();
        let mut words = self.words.iter().map(|word| word.replace(FILE, &file));
        let mut child = std::process::Command::new(words.next().unwrap_or_default())
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(start)?)
            .stderr(output.try_clone().map_err(start)?)
            .process_group(0)
            .spawn()
            .map_err(start)?;
        let ended = child.wait_timeout(limit).map_err(start)?;
        let Some(status) = ended else {
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                // It may have ended this moment; then there is nothing to kill.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.wait();
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

/// The end of the output, indented, each line on its own; empty if there was none.
fn tail(mut output: File) -> String {
    let length = output.metadata().map_or(0, |found| found.len());
    let mut bytes = Vec::new();
    let read = output
        .seek(SeekFrom::Start(length.saturating_sub(MAX_OUTPUT)))
        .and_then(|_| output.read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes)
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            format!(
                "\n  | {}",
                line.trim_end().escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
            )
        })
        .collect()
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
        assert_eq!(run("test $HOME = '$HOME'"), Ok(()));
        assert!(matches!(Command::parse(" "), Err(BadCommand::Empty)));
        assert!(matches!(Command::parse("a 'b"), Err(BadCommand::Quote(_))));
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
        assert!(run("sh -c 'sleep 60 & sleep 60'").unwrap_err().contains("was ended after 0 s"));
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
