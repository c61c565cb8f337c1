//! Hints for the errors of transports.

use super::TransportError;

impl TransportError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Address(_) => "a URL is SCHEME://[USER@]HOST[:PORT]/PATH, or [USER@]HOST:PATH for ssh",
            Self::Resolve { .. } => {
                "check the spelling of the host's name, and the name servers of this machine"
            }
            Self::Connect { .. } => {
                "check that the server is running, that the port is right, and that no firewall blocks it"
            }
            Self::Proxy { proxy, .. } if proxy == "core.gitProxy" => {
                "`git config --get-all core.gitProxy` shows it; put the value `none for HOST` before it to \
                 connect directly"
            }
            Self::Proxy { proxy, .. } if proxy == "GIT_PROXY_COMMAND" => {
                "unset GIT_PROXY_COMMAND to reach git:// servers directly"
            }
            Self::Proxy { .. } => {
                "git's `http.proxy`, `https_proxy` and `http_proxy` set the proxy; `no_proxy` lists the \
                 hosts to reach without one"
            }
            Self::Silent { .. } => {
                "the server or the network hangs; `silence` in `[timeouts]` of presence.toml sets the limit"
            }
            Self::Late { key, .. } => {
                return Some(format!(
                    "the server or the network hangs or is slow; `{key}` in `[timeouts]` of presence.toml \
                     sets the limit"
                ));
            }
            Self::Broken { .. } | Self::Closed { .. } => {
                "run the same command again; if that does not help, see the server's log"
            }
            Self::Refused { .. } => {
                "check the path; `git daemon` serves only repositories with a file `git-daemon-export-ok`, \
                 and accepts pushes only with --enable=receive-pack"
            }
            Self::NoRepository { .. } => "check the path, and that this user may read the repository",
            Self::Forbidden { .. } => "ask the repository's administrator for this permission",
            Self::Login { hint, .. } => hint,
            Self::HostKeyUnknown { scan, .. } => {
                return Some(format!(
                    "`{scan}` shows its key; check the key with the server's administrator, then add it to \
                     known_hosts"
                ));
            }
            Self::HostKeyChanged { forget, .. } => {
                return Some(format!(
                    "if the server was reinstalled, remove the old key with `{forget}`; if not, somebody \
                     may be intercepting the connection"
                ));
            }
            Self::Program { .. } => {
                "install it (Debian package `openssh-client`), or name another one in GIT_SSH_COMMAND"
            }
            Self::Failed { .. } => "run `ssh -v HOST` to see more",
            Self::Certificate { .. } => {
                "set SSL_CERT_FILE to a file with the certificates of the authorities to trust"
            }
            Self::Authorities { .. } => "it must be a PEM file with at least one certificate",
            Self::Redirect { .. } => "if the repository has moved there, use that URL as the store",
            Self::Status { status: 413, .. } => {
                "the server rejects requests of this size; with nginx, raise client_max_body_size"
            }
            Self::TooMuch { .. } => {
                "no list of nodes needs that much: check that this is the right server, and who pushed to \
                 it; or raise the limit in [store-limits] of presence.toml"
            }
            Self::Status { .. } => "see the web server's log",
            Self::Sha256 { .. } => {
                "create a repository with `git init --bare --object-format=sha1` on the server"
            }
            Self::Protocol { .. } => "check the URL: `git clone` must accept it",
        };
        Some(hint.to_owned())
    }
}
