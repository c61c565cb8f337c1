//! HAProxy: the one that is installed, and those that run.

use std::path::Path;
use std::time::Duration;

use super::findings::Findings;
use crate::access::may_make_files_in;
use crate::config::Config;
use crate::errors::chain;
use crate::haproxy::Socket;
use crate::target::{Command, Runtime};

/// The oldest version that adds checked servers at run time.
const LEAST: (u32, u32) = (2, 6);

/// How long `haproxy -v` may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The HAProxy that is installed.
pub(super) fn installed(config: &Config, findings: &mut Findings) {
    let said =
        Command::parse("haproxy -v").ok().and_then(|command| command.output(Path::new(""), LIMIT).ok());
    let Some(said) = said else {
        return findings.doubtful(
            "haproxy",
            "haproxy is not installed, or does not run",
            "only a load balancer needs it, and whoever uses --check 'haproxy -dW -c -f {}'".to_owned(),
        );
    };
    let at_run_time = config.renders.iter().any(|render| render.target.runtime.is_some());
    match version(&said) {
        Some(version) if at_run_time && version < LEAST => {
            findings.bad("haproxy", format!("haproxy {} is installed", shown(version)), too_old())
        }
        Some(version) => findings.good("haproxy", format!("haproxy {} is installed", shown(version))),
        None => findings.doubtful("haproxy", "haproxy is installed, and does not tell its version", None),
    }
}

/// The HAProxy that reads a file and is told of changes.
pub(super) fn running(runtime: &Runtime, findings: &mut Findings) {
    let path = runtime.socket.display();
    let socket = Socket::new(&runtime.socket);
    let questions = ["show cli level", "show info"].map(str::to_owned);
    let answers = match socket.running().and_then(|_| socket.tell(&questions)) {
        Ok(answers) => answers,
        Err(error) => return findings.bad("socket", chain(&error), error.hint()),
    };
    let answer = |index: usize| answers.get(index).map_or("", String::as_str).trim();
    match answer(0) {
        "admin" => findings.good("socket", format!("HAProxy answers at `{path}`, with level admin")),
        level => findings.bad(
            "socket",
            format!(
                "HAProxy answers at `{path}` with level `{}`: servers cannot be changed",
                level.escape_debug()
            ),
            format!("write `stats socket {path} level admin` into its global section, and reload it"),
        ),
    }
    let stated = answer(1).lines().find_map(|line| line.strip_prefix("Version:"));
    if let Some(version) = stated.and_then(numbers).filter(|version| *version < LEAST) {
        findings.bad("socket", format!("HAProxy {} runs at `{path}`", shown(version)), too_old());
    }
    if let Some(Err(error)) = runtime.state_file.as_deref().and_then(Path::parent).map(may_make_files_in) {
        findings.bad("socket", format!("the server-state file: {}", chain(&error)), error.hint());
    }
}

fn too_old() -> String {
    format!("`apply = \"runtime\"` needs {} or later: install it, or use `apply = \"reload\"`", shown(LEAST))
}

fn shown((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// The version in the first line of `haproxy -v`: `HAProxy version 2.6.12-1+deb12u1 2023/12/16`, before 2.4
/// `HA-Proxy version 2.2.9-2 2021/02/06`.
fn version(said: &str) -> Option<(u32, u32)> {
    numbers(said.lines().next()?.split_once("version ")?.1)
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_first_line() {
        assert_eq!(
            version("HAProxy version 2.6.12-1+deb12u1 2023/12/16 - https://haproxy.org/\nx 9.9"),
            Some((2, 6))
        );
        assert_eq!(version("HA-Proxy version 2.2.9-2 2021/02/06"), Some((2, 2)));
        assert_eq!(version("HAProxy version 3.5-dev5-abc 2026/01/01"), Some((3, 5)));
        assert_eq!(version(""), None);
        let old = |said: &str| version(said).is_some_and(|version| version < LEAST);
        assert!(
            old("HAProxy version 2.4.0") && !old("HAProxy version 2.10.1") && !old("HAProxy version 3.0.0")
        );
    }
}
