//! Writes HAProxy's server-state file, from which HAProxy restores its servers after a reload.
//!
//! Without it, every server is up after a reload until its checks find it down, and a broken one gets
//! requests again. With it, HAProxy trusts it more than its own file: a changed port has no effect, nor has
//! the removal of a `disabled` or `weight 0`. So this module writes what ran, corrected by the new file.
//!
//! A server that is down in it makes `haproxy -c` warn ("is DOWN, changed from server-state after a reload"),
//! which `-dW` turns into a refusal. So the file is filled right before a reload, and emptied once the reload is
//! confirmed and before the next check.

use std::path::Path;

use super::config::{Backend, Config, State};
use super::overrides::Overrides;
use super::port::Port;
use super::running::{RunningServer, SyntaxError, read_states};
use super::socket::SocketError;
use crate::errors::PathError;
use crate::folder::{Folder, Lasting, READABLE};

/// A state file without servers: after a reload, before a check, and if the file is missing. HAProxy warns
/// about a missing or empty one.
pub const EMPTY: &str = "1\n";

/// Whether the file exists and has no servers.
pub fn is_clear(path: &Path) -> bool {
    // HAProxy's own states take more bytes.
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == EMPTY.len() as u64)
}

/// The text of the file right before a reload that loads `new`.
pub fn before_reload(socket: &dyn Port, new: &str, overrides: &Overrides) -> Result<String, SocketError> {
    Ok(remember(&socket.states()?, &Config::parse(new), overrides)?)
}

/// What HAProxy should remember when it loads `new`, made from the answer to `show servers state`.
pub fn remember(states: &str, new: &Config, overrides: &Overrides) -> Result<String, SyntaxError> {
    let servers = read_states(states)?;
    let mut lines = states.lines().filter(|line| !line.is_empty());
    let mut kept: Vec<String> = lines.by_ref().take(2).map(str::to_owned).collect();
    let header = kept.get(1).cloned().unwrap_or_default();
    let columns: Vec<&str> = header.trim_start_matches("# ").split(' ').collect();
    let before = kept.len();
    for (line, (name, seen)) in lines.zip(&servers) {
        let Some(backend) = new.backends.get(&name.backend) else { continue };
        let left = backend.servers.get(&name.server);
        if left.is_some_and(|wanted| seen.is(wanted) && overrides.holds(name, wanted.state)) {
            kept.push(line.to_owned());
            continue;
        }
        match memory(backend, &name.server, seen) {
            KeptState::Nothing => {}
            KeptState::AsItIs => kept.push(line.to_owned()),
            KeptState::Ready(weight) => kept.push(corrected(line, &columns, weight)),
        }
    }
    if kept.len() == before {
        return Ok(EMPTY.to_owned());
    }
    Ok(kept.join("\n") + "\n")
}

/// What HAProxy should remember of one server.
enum KeptState {
    Nothing,
    AsItIs,
    /// It should get requests now, with this weight, and did not. A server from maintenance is down until its
    /// checks find it good: only servers known to be good get requests.
    Ready(u16),
}

fn memory(backend: &Backend, name: &str, seen: &RunningServer) -> KeptState {
    let Some(wanted) = backend.servers.get(name) else {
        let known = backend.has_template || backend.left_alone.contains(name);
        return if known { KeptState::AsItIs } else { KeptState::Nothing };
    };
    if !seen.is(wanted) {
        return KeptState::Nothing;
    }
    match (wanted.state, seen.state()) {
        (wanted, seen) if wanted == seen => KeptState::AsItIs,
        // Without a check, a server that is down stays down.
        (State::Ready(_), State::Down) if !wanted.options.has("check") => KeptState::Nothing,
        (State::Ready(weight), _) => KeptState::Ready(weight),
        _ => KeptState::Nothing,
    }
}

fn corrected(line: &str, columns: &[&str], weight: u16) -> String {
    let weight = weight.to_string();
    let field = |(index, field)| match columns.get(index).copied().unwrap_or_default() {
        "srv_admin_state" => "0",
        "srv_uweight" | "srv_iweight" => weight.as_str(),
        _ => field,
    };
    line.split(' ').enumerate().map(field).collect::<Vec<_>>().join(" ")
}

/// Replaces the whole file, unless it is already right.
pub fn write(path: &Path, text: &str) -> Result<(), PathError> {
    let (folder, name) = Folder::of(path)?;
    // Anything else there is replaced too, even a link.
    let now = folder.read(&name, text.len() as u64);
    if now.is_ok_and(|now| now.as_deref() == Some(text.as_bytes())) {
        return Ok(());
    }
    // HAProxy may read it as another user, and it reveals no more than HAProxy's own sockets do.
    folder.replace(name, text.as_bytes(), READABLE, Lasting::Durable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const HEADER: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

    /// What is remembered of a running server, if the new file has this line for it.
    #[track_caller]
    fn check(seen: &str, file: &str, expect: &str) {
        let new = Config::parse(&format!("backend b\n default-server check\n {file}\n"));
        let remembered = remember(&format!("{HEADER}{seen}\n\n"), &new, &Overrides::default()).unwrap();
        let line = remembered.strip_prefix(HEADER).map_or(remembered.as_str(), |line| line);
        assert_eq!(line.trim_end(), expect, "for {seen}");
    }

    #[test]
    fn what_ran_is_remembered_and_corrected_by_the_new_file() {
        let ready = "5 b 7 a 10.0.0.1 2 0 1 1 8 15 3 4 6 0 1 1 - 80 - 0 0 - - 0";
        let broken = "5 b 7 a 10.0.0.1 0 0 1 1 8 15 3 0 6 0 1 1 - 80 - 0 0 - - 0";
        let drain = "5 b 7 a 10.0.0.1 2 8 1 1 8 15 3 4 6 0 1 1 - 80 - 0 0 - - 0";
        let maint = "5 b 7 a 10.0.0.1 0 5 1 1 8 15 3 0 14 0 1 1 - 80 - 0 0 - - 0";
        let server = "server a 10.0.0.1:80 id 7";
        check(ready, server, ready);
        check(broken, server, broken);
        check(drain, &format!("{server} weight 0"), drain);
        check(maint, &format!("{server} disabled"), maint);
        // Another address, port, id or check port.
        check(ready, "server a 10.0.0.2:80 id 7", "1");
        check(ready, "server a 10.0.0.1:81 id 7", "1");
        check(ready, "server a 10.0.0.1:80 id 8", "1");
        check(ready, &format!("{server} port 81"), "1");
        // About to stop: the file says so.
        check(ready, &format!("{server} weight 0"), "1");
        check(drain, &format!("{server} disabled"), "1");
        check(maint, &format!("{server} weight 0"), "1");
        check(ready, "", "1");
        check(ready, "\nbackend c", "1");
        // About to enter: the reason why it stopped is forgotten, the result of its checks is not.
        check(drain, server, &drain.replace(" 2 8 ", " 2 0 "));
        check(maint, server, &maint.replace(" 0 5 1 1 ", " 0 0 1 1 "));
        check(maint, &format!("{server} no-check"), "1");
        check(ready, &format!("{server} weight 9"), &ready.replace(" 2 0 1 1 ", " 2 0 9 9 "));
        // If the line is not understood, HAProxy's own state is kept.
        check(drain, "server a app.example:80", drain);
        check(drain, "server-template x 3 10.0.0.1:80", drain);
    }

    #[test]
    fn the_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let other = dir.path().join("other");
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        write(&path, EMPTY).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        let nowhere = super::super::socket::Socket::new(Path::new("/nowhere"));
        assert!(before_reload(&nowhere, "", &Overrides::default()).is_err());
    }
}
