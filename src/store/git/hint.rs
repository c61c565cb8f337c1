//! What to do about the errors of connections.

use presence_git::TransportError;

/// What to do next.
pub(in crate::store) fn hint(error: &TransportError) -> Option<String> {
    let hint = match error {
        TransportError::Address(_) => {
            "a URL is SCHEME://[USER@]HOST[:PORT]/PATH, or [USER@]HOST:PATH for ssh"
        }
        TransportError::Resolve { .. } => {
            "check the spelling of the host's name, and the name servers of this machine"
        }
        TransportError::Connect { .. } => {
            "check that the server is running, that the port is right, and that no firewall blocks it"
        }
        TransportError::Proxy { proxy, .. } if proxy == "core.gitProxy" => {
            "`git config --get-all core.gitProxy` shows it; put the value `none for HOST` before it to \
                 connect directly"
        }
        TransportError::Proxy { proxy, .. } if proxy == "GIT_PROXY_COMMAND" => {
            "unset GIT_PROXY_COMMAND to reach git:// servers directly"
        }
        TransportError::Proxy { .. } => {
            "git's `http.proxy`, `https_proxy` and `http_proxy` set the proxy; `no_proxy` lists the \
                 hosts to reach without one"
        }
        TransportError::Silent { .. } => {
            "the server or the network hangs; `silence` in `[timeouts]` of presence.toml sets the limit"
        }
        TransportError::Late { key, .. } => {
            return Some(format!(
                "the server or the network hangs or is slow; `{key}` in `[timeouts]` of presence.toml \
                     sets the limit"
            ));
        }
        TransportError::Broken { .. } | TransportError::Closed { .. } => {
            "run the same command again; if that does not help, see the server's log"
        }
        TransportError::Refused { .. } => {
            "check the path; `git daemon` serves only repositories with a file `git-daemon-export-ok`, \
                 and accepts pushes only with --enable=receive-pack"
        }
        TransportError::NoRepository { .. } => "check the path, and that this user may read the repository",
        TransportError::Forbidden { .. } => "ask the repository's administrator for this permission",
        TransportError::Login { hint, .. } => hint,
        TransportError::Credential { .. } => {
            "the file must be readable for the user that runs presence, and have one line"
        }
        TransportError::HostKeyUnknown { scan, .. } => {
            return Some(format!(
                "`{scan}` shows its key; check the key with the server's administrator, then add it to \
                     known_hosts, or to the file that `known-hosts` in a [[credential]] names"
            ));
        }
        TransportError::HostKeyChanged { forget, .. } => {
            return Some(format!(
                "if the server was reinstalled, remove the old key with `{forget}`; if not, somebody \
                     may be intercepting the connection"
            ));
        }
        TransportError::Program { .. } => {
            "install it (Debian package `openssh-client`), or name another one in GIT_SSH_COMMAND"
        }
        TransportError::Failed { .. } => "run `ssh -v HOST` to see more",
        TransportError::Certificate { .. } => {
            "set SSL_CERT_FILE to a file with the certificates of the authorities to trust"
        }
        TransportError::Authorities { .. } => "it must be a PEM file with at least one certificate",
        TransportError::Redirect { .. } => "if the repository has moved there, use that URL as the store",
        TransportError::Status { status: 413, .. } => {
            "the server rejects requests of this size; with nginx, raise client_max_body_size"
        }
        TransportError::TooMuch { .. } => {
            "no list of nodes needs that much: check that this is the right server, and who pushed to \
                 it; or raise the limit in [store-limits] of presence.toml"
        }
        TransportError::Status { .. } => "see the web server's log",
        TransportError::Sha256 { .. } => {
            "create a repository with `git init --bare --object-format=sha1` on the server"
        }
        TransportError::Protocol { .. } => "check the URL: `git clone` must accept it",
    };
    Some(hint.to_owned())
}
