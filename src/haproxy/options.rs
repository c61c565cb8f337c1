//! The options of a `server` or `default-server` line, understood well enough to compare them and to write
//! them again.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Options and their values; as in HAProxy, the last word wins. Servers share the values that they inherit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, Option<Arc<str>>>);

/// A word that this module does not know well enough. A change of such a server needs a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread;

/// Options without a value (HAProxy 2.6 manual, section 5.2).
const FLAGS: [&str; 29] = [
    "allow-0rtt",
    "backup",
    "check",
    "check-send-proxy",
    "check-ssl",
    "check-via-socks4",
    "disabled",
    "force-sslv3",
    "force-tlsv10",
    "force-tlsv11",
    "force-tlsv12",
    "force-tlsv13",
    "no-check-ssl",
    "no-sslv3",
    "no-ssl-reuse",
    "no-tls-tickets",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "no-tlsv13",
    "non-stick",
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2-ssl",
    "send-proxy-v2-ssl-cn",
    "ssl",
    "ssl-reuse",
    "tfo",
    "tls-tickets",
];

/// Options with one value. Three are left out on purpose: `source` takes several values, and with
/// `agent-check` and `track`, not only the file decides on the server's state.
const VALUED: [&str; 54] = [
    "addr",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "agent-send",
    "alpn",
    "ca-file",
    "check-alpn",
    "check-proto",
    "check-sni",
    "ciphers",
    "ciphersuites",
    "cookie",
    "crl-file",
    "crt",
    "downinter",
    "error-limit",
    "fall",
    "fastinter",
    "id",
    "init-addr",
    "inter",
    "log-proto",
    "max-reuse",
    "maxconn",
    "maxqueue",
    "minconn",
    "namespace",
    "observe",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-low-conn",
    "pool-max-conn",
    "pool-purge-delay",
    "port",
    "proto",
    "proxy-v2-options",
    "redir",
    "resolve-net",
    "resolve-opts",
    "resolve-prefer",
    "resolvers",
    "rise",
    "slowstart",
    "sni",
    "socks4",
    "ssl-max-ver",
    "ssl-min-ver",
    "tcp-ut",
    "verify",
    "verifyhost",
    "weight",
    "ws",
];

/// Words that revoke a flag of a default: the word and the flag.
const TAKEN_BACK: [(&str, &str); 10] = [
    ("enabled", "disabled"),
    ("no-backup", "backup"),
    ("no-check", "check"),
    ("no-check-send-proxy", "check-send-proxy"),
    ("no-send-proxy", "send-proxy"),
    ("no-send-proxy-v2", "send-proxy-v2"),
    ("no-send-proxy-v2-ssl", "send-proxy-v2-ssl"),
    ("no-send-proxy-v2-ssl-cn", "send-proxy-v2-ssl-cn"),
    ("no-ssl", "ssl"),
    ("stick", "non-stick"),
];

/// Flags that revoke each other. Both are remembered: without either, a check follows the server's traffic.
const OPPOSED: [(&str, &str); 2] = [("check-ssl", "no-check-ssl"), ("no-check-ssl", "check-ssl")];

/// The PROXY protocol for the server's traffic.
const SEND_PROXY: [&str; 4] = ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"];

/// `add server` refuses these. They mean nothing for an IP address, so they are left out.
const NAME_RESOLUTION: [&str; 5] =
    ["init-addr", "resolve-net", "resolve-opts", "resolve-prefer", "resolvers"];

/// `add server` refuses these, and they have a meaning.
const NOT_AT_RUN_TIME: [&str; 8] =
    ["cookie", "log-proto", "max-reuse", "namespace", "non-stick", "redir", "socks4", "tcp-ut"];

/// HAProxy's defaults for a server of the file, which it does not apply to a server added at run time (seen
/// in 2.6). Without them, it would open a connection for every request.
const POOL: [(&str, &str); 2] = [("pool-max-conn", "-1"), ("pool-purge-delay", "5s")];
/// The same for a server that is observed.
const OBSERVED: [(&str, &str); 2] = [("error-limit", "10"), ("on-error", "fail-check")];

impl Options {
    /// These options, overridden by the words of another line.
    pub(super) fn with(&self, words: &[&str]) -> Result<Options, Unread> {
        let mut all = self.clone();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            if let Some((_, flag)) = TAKEN_BACK.iter().find(|(back, _)| *back == word) {
                all.0.remove(flag);
            } else if let Some(flag) = FLAGS.iter().find(|flag| **flag == word) {
                if let Some((_, other)) = OPPOSED.iter().find(|(flag, _)| *flag == word) {
                    all.0.remove(other);
                }
                all.0.insert(flag, None);
            } else if let Some(option) = VALUED.iter().find(|option| **option == word) {
                let value = words.next().filter(|value| is_plain(value)).ok_or(Unread)?;
                all.0.insert(option, Some((*value).into()));
            } else {
                return Err(Unread);
            }
        }
        Ok(all)
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    /// Removes a flag, and returns whether it was set.
    pub(super) fn take_flag(&mut self, flag: &str) -> bool {
        self.0.remove(flag).is_some()
    }

    /// Removes an option with a number; `None` if it is missing.
    pub(super) fn take_number(&mut self, option: &str) -> Result<Option<u32>, Unread> {
        let Some(value) = self.0.remove(option).flatten() else { return Ok(None) };
        value.parse().map(Some).map_err(|_| Unread)
    }

    /// The first option that only one side has, or that has another value.
    pub fn first_difference(&self, other: &Options) -> Option<&'static str> {
        if self == other {
            return None;
        }
        let differs = |(option, value): &(&&str, &Option<Arc<str>>)| other.0.get(**option) != Some(*value);
        let missing = || other.0.iter().find(|(option, _)| !self.0.contains_key(**option));
        self.0.iter().find(differs).or_else(missing).map(|(option, _)| *option)
    }

    /// The options for `add server`, each after a space. `check_port` is the port of the server's check if it
    /// is a different one. A server added at run time inherits nothing from `default-server`
    /// (<https://github.com/haproxy/haproxy/issues/1994>), so all options are here.
    pub fn at_run_time(&self, check_port: Option<u16>) -> String {
        let mut all: BTreeMap<&str, Option<&str>> =
            self.0.iter().map(|(option, value)| (*option, value.as_deref())).collect();
        // `add server` refuses `no-check-ssl`, and behaves so anyway.
        all.retain(|option, _| !NAME_RESOLUTION.contains(option) && *option != "no-check-ssl");
        for option in self.check_transport(check_port) {
            all.insert(option, None);
        }
        let observed = OBSERVED.into_iter().filter(|_| self.has("observe"));
        for (option, value) in POOL.into_iter().chain(observed) {
            all.entry(option).or_insert(Some(value));
        }
        let word = |(option, value): (&str, Option<&str>)| match value {
            Some(value) => format!(" {option} {value}"),
            None => format!(" {option}"),
        };
        all.into_iter().map(word).collect()
    }

    /// The options that make the check use the protocol of the server's traffic. A server of the file does so
    /// by itself, unless its check goes elsewhere. A server added at run time does not (HAProxy's
    /// `init_srv_check`), and its check would always fail.
    fn check_transport(&self, check_port: Option<u16>) -> Vec<&'static str> {
        if !self.has("check") || check_port.is_some() || self.has("addr") {
            return Vec::new();
        }
        let ssl = self.has("ssl") && !self.has("no-check-ssl");
        let proxy = SEND_PROXY.iter().any(|option| self.has(option));
        [(ssl, "check-ssl"), (proxy, "check-send-proxy")]
            .into_iter()
            .filter_map(|(needed, option)| needed.then_some(option))
            .collect()
    }

    /// The first option that would be lost if the server were added at run time.
    pub fn not_at_run_time(&self) -> Option<&'static str> {
        NOT_AT_RUN_TIME.into_iter().find(|option| self.has(option))
    }
}

/// Whether a word means the same in a file and on the socket. In a file it must have no quotes, escapes,
/// variables or comments; on the socket neither the separator `;` nor the payload mark `<<`.
pub(super) fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\$#;<".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(default: &str, server: &str, expect: Option<&str>) {
        let default = Options::default().with(&default.split_whitespace().collect::<Vec<_>>());
        let all = default.and_then(|default| default.with(&server.split_whitespace().collect::<Vec<_>>()));
        let said = all.ok().map(|all| all.at_run_time(None));
        let pool = " pool-max-conn -1 pool-purge-delay 5s";
        assert_eq!(said.as_ref().map(|said| said.replace(pool, "")).as_deref(), expect);
    }

    #[test]
    fn a_server_says_its_defaults_too_and_overrides_them() {
        check("", "", Some(""));
        check("inter 2s fall 3", "check inter 1s", Some(" check fall 3 inter 1s"));
        check("check ssl", "no-check verify none", Some(" ssl verify none"));
        let observed = "observe layer4 error-limit 2 on-error sudden-death";
        check(observed, "", Some(" error-limit 2 observe layer4 on-error sudden-death"));
        // As a user would revoke it.
        check(observed, "observe none", Some(" error-limit 2 observe none on-error sudden-death"));
        check("non-stick disabled", "stick enabled", Some(""));
        check("init-addr none resolvers dns resolve-prefer ipv4", "", Some(""));
        check("", "no-tlsv10 cookie c", Some(" cookie c no-tlsv10"));
        // A value that looks like an option is a value.
        check("", "cookie check sni ssl", Some(" cookie check sni ssl"));
    }

    #[test]
    fn a_check_speaks_as_the_traffic_does() {
        check("ssl verify none", "check", Some(" check check-ssl ssl verify none"));
        check("", "check send-proxy-v2", Some(" check check-send-proxy send-proxy-v2"));
        check("no-check-ssl", "check ssl", Some(" check ssl"));
        check("no-check-ssl", "check check-ssl", Some(" check check-ssl"));
        check("check-ssl", "check no-check-ssl", Some(" check"));
        check("ssl", "check no-ssl", Some(" check"));
        // HAProxy forgets `no-check-send-proxy` too.
        check("", "check send-proxy no-check-send-proxy", Some(" check check-send-proxy send-proxy"));
        check("", "ssl send-proxy", Some(" send-proxy ssl"));
        // A check that goes elsewhere states its own protocol.
        check("", "check ssl send-proxy addr 10.0.0.9", Some(" addr 10.0.0.9 check send-proxy ssl"));
        let tls = Options::default().with(&["check", "ssl"]).unwrap();
        assert!(!tls.at_run_time(Some(8081)).contains("check-ssl"));
    }

    #[test]
    fn what_haproxy_adds_to_a_file_is_said_too() {
        let options =
            |text: &str| Options::default().with(&text.split_whitespace().collect::<Vec<_>>()).unwrap();
        assert_eq!(options("").at_run_time(None), " pool-max-conn -1 pool-purge-delay 5s");
        assert_eq!(options("pool-max-conn 3").at_run_time(None), " pool-max-conn 3 pool-purge-delay 5s");
        assert_eq!(
            options("observe layer7 on-error sudden-death").at_run_time(None),
            " error-limit 10 observe layer7 on-error sudden-death pool-max-conn -1 pool-purge-delay 5s"
        );
    }

    #[test]
    fn what_is_not_known_well_is_left_to_a_reload() {
        for words in [
            "bogus",
            "inter",
            "agent-check",
            "track b/a",
            "source 10.0.0.1 interface eth0",
            "sni 'str(a b)'",
            "cookie $HOME",
            "cookie a;b",
        ] {
            check("", words, None);
        }
    }

    #[test]
    fn a_difference_is_named() {
        let options = |text: &str| Options::default().with(&text.split(' ').collect::<Vec<_>>()).unwrap();
        let old = options("check inter 1s");
        assert_eq!(old.first_difference(&old), None);
        assert_eq!(old.first_difference(&options("check inter 2s")), Some("inter"));
        assert_eq!(old.first_difference(&options("check inter 1s ssl")), Some("ssl"));
        assert_eq!(old.first_difference(&options("inter 1s")), Some("check"));
        assert_eq!(options("check redir /x").not_at_run_time(), Some("redir"));
    }
}
