//! `core.gitProxy` and `GIT_PROXY_COMMAND`: a command through which git reaches `git://` servers. presence
//! neither runs nor bypasses such a command.

use std::env;

use crate::TransportError;
use crate::address::Address;
use crate::configuration::configuration;

/// An error if git would reach that server through a command.
pub(super) fn refuse(address: &Address) -> Result<(), TransportError> {
    let refused = |proxy: &str, reason: &str| {
        Err(TransportError::Proxy {
            peer: address.peer(),
            proxy: proxy.to_owned(),
            reason: reason.to_owned(),
        })
    };
    const REASON: &str = "presence does not run proxy commands for git:// servers; use ssh:// or https://";
    if env::var_os("GIT_PROXY_COMMAND").is_some_and(|command| !command.is_empty()) {
        return refused("GIT_PROXY_COMMAND", REASON);
    }
    let mut values = Vec::new();
    let read = configuration().and_then(|config| {
        config.multivar("core.gitProxy", None)?.for_each(|entry| {
            values.extend(entry.value().map(str::to_owned));
        })
    });
    match read {
        Err(error) => refused("core.gitProxy", error.message()),
        Ok(()) if goes_through(&values, &address.host) => refused("core.gitProxy", REASON),
        Ok(()) => Ok(()),
    }
}

/// The first value for the host applies: `COMMAND` or `COMMAND for DOMAIN`; `none` is no command
/// (git-config(1)).
fn goes_through(values: &[String], host: &str) -> bool {
    for value in values {
        let (command, domain) = match value.split_once(" for ") {
            Some((command, domain)) => (command, domain.trim()),
            None => (value.as_str(), ""),
        };
        let matches = domain.is_empty()
            || host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if matches {
            return !matches!(command.trim(), "none" | "");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_for_the_host_counts() {
        for (values, host, through) in [
            (&["cmd"][..], "h", true),
            (&["none"], "h", false),
            (&["none for h.example", "cmd"], "git.h.example", false),
            (&["none for h.example", "cmd"], "oh.example", true),
            (&["cmd for h.example"], "h.example", true),
            (&["cmd for h.example"], "other", false),
            (&[], "h", false),
        ] {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            assert_eq!(goes_through(&values, host), through, "{values:?} {host}");
        }
    }
}
