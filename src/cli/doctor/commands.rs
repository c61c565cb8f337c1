//! The programs of all configured commands.

use std::env;
use std::path::Path;

use super::findings::Findings;
use crate::access::may_run;
use crate::config::{Check, Config};
use crate::errors::chain;
use crate::output::Command;

/// Looks for the program of each command.
pub(super) fn programs(config: &Config, findings: &mut Findings) {
    let mut commands: Vec<(String, &Command)> = Vec::new();
    for render in &config.renders {
        let path = render.target.path.display();
        commands.extend(render.target.check.as_ref().map(|check| (format!("the check of `{path}`"), check)));
        commands
            .extend(render.target.reload.as_ref().map(|reload| (format!("the reload of `{path}`"), reload)));
    }
    for health in &config.healths {
        if let Check::Command(command) = &health.check {
            commands.push((format!("health check `{}`", health.name), command));
        }
    }
    let notifies = config.notifies.iter().filter_map(|notify| notify.command.as_ref());
    commands.extend(notifies.map(|command| ("a notification".to_owned(), command)));
    let mut found = 0;
    for (what, command) in &commands {
        match find(command) {
            Ok(()) => found += 1,
            Err(reason) => findings.bad(
                "command",
                format!("{what}, `{command}`: {reason}"),
                "install the program, or correct the command in presence.toml".to_owned(),
            ),
        }
    }
    if found > 0 {
        findings
            .good("command", format!("the programs of {found} of {} commands are installed", commands.len()));
    }
}

/// Whether the program exists and is executable, searched as a shell searches it.
pub(super) fn find(command: &Command) -> Result<(), String> {
    let program = command.program();
    if program.contains('/') {
        return may_run(Path::new(program)).map_err(|error| chain(&error));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    match env::split_paths(&path).any(|dir| may_run(&dir.join(program)).is_ok()) {
        true => Ok(()),
        false => Err(format!("there is no program `{program}` in PATH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let find = |line: &str| find(&Command::parse(line).unwrap());
        assert_eq!((find("sh -c x"), find("/bin/sh")), (Ok(()), Ok(())));
        assert!(find("no-such-program {}").unwrap_err().contains("`no-such-program` in PATH"));
        assert!(find("/etc/passwd").is_err() && find("/no/such").unwrap_err().contains("/no/such"));
    }
}
