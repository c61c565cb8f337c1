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
            Self::Connect { .. } => "check that the server runs, its port, and the firewalls on the way",
            Self::Proxy { proxy, .. } if proxy == "core.gitProxy" => {
                "`git config --get-all core.gitProxy` shows it; the value `none for HOST` before it lets git:// through"
            }
            Self::Proxy { proxy, .. } if proxy == "GIT_PROXY_COMMAND" => {
                "take GIT_PROXY_COMMAND out of the environment to reach git:// servers directly"
            }
            Self::Proxy { .. } => {
                "`http.proxy` of git's configuration, `https_proxy` and `http_proxy` name the proxy, `no_proxy` the hosts \
                 that are reached without one"
            }
            Self::Silent { .. } => {
                "the server or the network hangs; `silence` in `[timeouts]` of presence.toml is the limit"
            }
            Self::Late { key, .. } => {
                return Some(format!(
                    "the server or the network hangs, or is slow; `{key}` in `[timeouts]` of presence.toml is the limit"
                ));
            }
            Self::Broken { .. } | Self::Closed { .. } => {
                "run the same command again; if that does not help, look at the log of the server"
            }
            Self::Refused { .. } => {
                "check the path; `git daemon` shows a repository with a file `git-daemon-export-ok`, and takes pushes \
                 with --enable=receive-pack"
            }
            Self::NoRepository { .. } => "check the path, and that this user may read the repository",
            Self::Forbidden { .. } => "ask whoever keeps the repository for the right to do that",
            Self::Login { hint, .. } => hint,
            Self::HostKeyUnknown { scan, .. } => {
                return Some(format!(
                    "`{scan}` shows its key; compare it with what the server's keeper says, then add it to known_hosts"
                ));
            }
            Self::HostKeyChanged { forget, .. } => {
                return Some(format!(
                    "if the server was set up anew, `{forget}` forgets the old key; if not, somebody sits in between"
                ));
            }
            Self::Program { .. } => {
                "install it (Debian package `openssh-client`), or name another one in GIT_SSH_COMMAND"
            }
            Self::Failed { .. } => "run ssh by hand to see more: `ssh -v` and the host",
            Self::Certificate { .. } => {
                "SSL_CERT_FILE names a file with the certificates of the authorities to trust"
            }
            Self::Authorities { .. } => "it must be a PEM file with at least one certificate",
            Self::Redirect { .. } => "if that is where the repository has moved, give its URL as the store",
            Self::Status { status: 413, .. } => {
                "it takes no bodies of that size; with nginx, raise client_max_body_size"
            }
            Self::TooMuch { .. } => {
                "no list of nodes needs so much: see that the server is the right one, and who has pushed to it; \
                 [store-limits] in presence.toml raises a limit"
            }
            Self::Status { .. } => "look at the log of the web server",
            Self::Sha256 { .. } => {
                "make a repository with `git init --bare --object-format=sha1` on the server"
            }
            Self::Protocol { .. } => "check the URL: it is the one that `git clone` takes",
        };
        Some(hint.to_owned())
    }
}
