//! Determines why ssh failed, from its output. OpenSSH has one exit status for all failures.

use std::io;
use std::process::ExitStatus;

use crate::TransportError;
use crate::address::Address;
use crate::connection::Service;
use crate::message::{SAID, said as excerpt};

/// The error that `said`, the end of ssh's stderr, describes.
pub(super) fn of(
    said: &str,
    status: Option<ExitStatus>,
    address: &Address,
    service: Service,
) -> TransportError {
    let peer = address.peer();
    let tells = |words: &[&str]| words.iter().any(|words| said.contains(words));
    // The order matters: the output of one failure often matches several rules.
    if tells(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "REVOKED HOST KEY"]) {
        let forget = format!("ssh-keygen -R '{}'", known_hosts_name(address));
        return TransportError::HostKeyChanged { peer, forget };
    }
    if tells(&["Host key verification failed", "host key is known for"]) {
        let port = address.port.map_or(String::new(), |port| format!(" -p {port}"));
        return TransportError::HostKeyUnknown { peer, scan: format!("ssh-keyscan{port} {}", address.host) };
    }
    if tells(&["Could not resolve hostname"]) {
        return TransportError::Resolve { peer };
    }
    // "ssh: connect to host H port N: Connection refused"
    if let Some(line) = said.lines().find(|line| line.contains("connect to host ")) {
        let reason = line.trim_end().rsplit_once(": ").map_or(line, |(_, reason)| reason);
        return TransportError::Connect { peer, source: connect_error(reason) };
    }
    // The server accepted the connection and then sent nothing.
    if tells(&["during banner exchange"]) {
        return TransportError::Connect { peer, source: io::ErrorKind::TimedOut.into() };
    }
    // The behaviour of a server with too many connections (MaxStartups of sshd_config(5)).
    if tells(&["kex_exchange_identification", "Connection closed by", "Connection reset by"])
        && !tells(&["Permission denied"])
    {
        return TransportError::Closed { peer };
    }
    if tells(&["Connection to ", "Timeout, server"]) && tells(&["timed out", "not responding"]) {
        return TransportError::Broken { peer, source: io::ErrorKind::TimedOut.into() };
    }
    if tells(&[
        "Permission denied (",
        "Too many authentication failures",
        "No supported authentication methods",
    ]) {
        let said = format!(": {}", excerpt(&last_lines(said), SAID));
        return TransportError::Login { peer, said, hint: HINT };
    }
    // Messages of git and of known git hosts.
    if tells(&["does not appear to be a git repository", "epository not found", "could not be found"]) {
        return TransportError::NoRepository { peer, path: excerpt(&address.path, SAID) };
    }
    if tells(&["marked as read only", "DENIED", " denied to ", "not allowed to push"]) {
        let said = format!(": {}", excerpt(&last_lines(said), SAID));
        return TransportError::Forbidden { peer, operation: service.during(), said };
    }
    match status {
        // `ExitStatus` prints "exit status: 1" or "signal: 9 (SIGKILL)".
        Some(status) if !status.success() || !said.trim().is_empty() => TransportError::Failed {
            program: "ssh",
            status: status.to_string().replace(':', ""),
            said: match said.trim() {
                "" => "it printed nothing".into(),
                said => excerpt(&last_lines(said), SAID),
            },
        },
        _ => TransportError::Closed { peer },
    }
}

const HINT: &str = "the server must know the public key of this user (`ssh-add -l`, `~/.ssh/id_ed25519.pub`), \
                    and the private key must have no passphrase or be in an agent";

/// The host's name in known_hosts (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
fn known_hosts_name(address: &Address) -> String {
    match address.port {
        None | Some(22) => address.host.clone(),
        Some(port) => format!("[{}]:{port}", address.host),
    }
}

/// Turns ssh's message back into the system's error.
fn connect_error(reason: &str) -> io::Error {
    use rustix::io::Errno;
    let errno = match reason {
        "Connection refused" => Errno::CONNREFUSED,
        "Connection timed out" => Errno::TIMEDOUT,
        "Connection reset by peer" => Errno::CONNRESET,
        "No route to host" => Errno::HOSTUNREACH,
        "Network is unreachable" => Errno::NETUNREACH,
        _ => return io::Error::other(excerpt(reason, SAID)),
    };
    errno.into()
}

/// The last lines have the reason; banners come before them.
fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[track_caller]
    fn check(said: &str, expect: &str) {
        let address = Address::parse("ssh://git@h:2222/srv/list.git").unwrap();
        let error = of(said, Some(ExitStatus::from_raw(255 << 8)), &address, Service::ReceivePack);
        assert_eq!(crate::message::chain(&error), expect);
    }

    #[test]
    fn openssh_is_understood() {
        check(
            "No ED25519 host key is known for [h]:2222 and you have requested strict checking.\r\n\
             Host key verification failed.\r\n",
            "the host key of `h:2222` is not in known_hosts",
        );
        check("Host key verification failed.\r\n", "the host key of `h:2222` is not in known_hosts");
        check(
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key verification failed.\r\n",
            "the host key of `h:2222` does not match known_hosts",
        );
        check(
            "ssh: Could not resolve hostname h: Name or service not known\r\n",
            "the name of `h:2222` cannot be resolved",
        );
        check(
            "ssh: connect to host h port 2222: Connection refused\r\n",
            "cannot connect to `h:2222`: Connection refused (os error 111)",
        );
        check(
            "Connection timed out during banner exchange\r\nConnection to 127.0.0.1 port 2222 timed out\r\n",
            "cannot connect to `h:2222`: timed out",
        );
        check("ssh: connect to host h port 2222: Odd\r\n", "cannot connect to `h:2222`: Odd");
        check(
            "kex_exchange_identification: read: Connection reset by peer\r\n",
            "`h:2222` closed the connection before its answer was complete",
        );
        check(
            "Welcome!\ngit@h: Permission denied (publickey).\r\n",
            "`h:2222` refused the login: Welcome!; git@h: Permission denied (publickey).",
        );
        check("Timeout, server h not responding.\r\n", "the connection to `h:2222` broke: timed out");
    }

    #[test]
    fn what_the_server_says_is_understood() {
        let missing = "`h:2222` has no repository `/srv/list.git`, or hides it from this user";
        check("fatal: '/srv/list.git' does not appear to be a git repository\n", missing);
        check("ERROR: Repository not found.\nfatal: Could not read from remote repository.\n", missing);
        check(
            "ERROR: The key you are authenticating with has been marked as read only.\n",
            "`h:2222` does not let this user write the repository: ERROR: The key you are authenticating \
             with has been marked as read only.",
        );
        check(
            "sh: 1: git-receive-pack: not found\n",
            "`ssh` ended with exit status 255: sh: 1: git-receive-pack: not found",
        );
        check("", "`ssh` ended with exit status 255: it printed nothing");
    }

    #[test]
    fn the_hints_name_the_host_as_known_hosts_does() {
        let address = |url| Address::parse(url).unwrap();
        assert_eq!(known_hosts_name(&address("ssh://h:2222/p")), "[h]:2222");
        assert_eq!(known_hosts_name(&address("h:p")), "h");
    }
}
