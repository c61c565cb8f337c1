//! HAProxy: the installed program and the running processes.

use std::path::Path;

use super::findings::Findings;
use crate::access::may_make_files_in;
use crate::config::Config;
use crate::errors::chain;
use crate::haproxy::{Installed, Socket, Version, serving};
use crate::output::Runtime;

/// Checks the installed HAProxy.
pub(super) fn installed(config: &Config, findings: &mut Findings) {
    let Some(installed) = Installed::find() else {
        return findings.doubtful(
            "haproxy",
            "haproxy is not installed",
            "only a load balancer needs it, or a machine that uses --check 'haproxy -dW -c -f {}'".to_owned(),
        );
    };
    let at_run_time = config.renders.iter().any(|render| render.target.runtime.is_some());
    match installed.version() {
        Ok(version) if at_run_time && version < Version::RUNTIME => {
            findings.bad("haproxy", format!("haproxy {version} is installed"), too_old());
        }
        Ok(version) => findings.good("haproxy", format!("haproxy {version} is installed")),
        Err(error) => findings.doubtful("haproxy", chain(&error), error.hint()),
    }
}

/// Whether HAProxy answers at a socket that only confirms reloads.
pub(super) fn confirming(socket: &Path, findings: &mut Findings) {
    let path = socket.display();
    match serving(&Socket::new(socket)) {
        Some(_) => findings.good("socket", format!("HAProxy answers at `{path}`, which confirms reloads")),
        None => findings.bad(
            "socket",
            format!("HAProxy does not answer at `{path}`, which must confirm reloads"),
            "check that it is running, with a `stats socket` or a master's socket (`-S`) at that path"
                .to_owned(),
        ),
    }
}

/// Checks the HAProxy that follows a file at run time.
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
                "HAProxy's socket `{path}` has level `{}`, which cannot change servers",
                crate::sanitize::shown(level)
            ),
            format!(
                "write `stats socket {path} level admin` into HAProxy's global section, and reload HAProxy"
            ),
        ),
    }
    let stated = answer(1).lines().find_map(|line| line.strip_prefix("Version:"));
    let version = stated.and_then(|stated| Version::parse(stated.trim()));
    if let Some(version) = version.filter(|version| *version < Version::RUNTIME) {
        findings.bad("socket", format!("HAProxy {version} runs at `{path}`"), too_old());
    }
    if let Some(Err(error)) = runtime.state_file.as_deref().and_then(Path::parent).map(may_make_files_in) {
        findings.bad("socket", format!("the server-state file: {}", chain(&error)), error.hint());
    }
}

fn too_old() -> String {
    let least = Version::RUNTIME;
    format!("`apply = \"runtime\"` needs {least} or later: install it, or use `apply = \"reload\"`")
}
