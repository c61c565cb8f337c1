//! What can fail in etcd, and what to do about it.

use std::path::PathBuf;

/// A list in etcd could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// The URL is not one of etcd.
    #[error("the URL is not `etcd://HOST:PORT,HOST:PORT/PREFIX`: {0}")]
    Address(&'static str),
    /// A file for the connection cannot be used.
    #[error("`{}`, {what} of `[etcd]`: {reason}", path.display())]
    File {
        /// The purpose of the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The settings of `[etcd]` do not fit together.
    #[error("[etcd]: {0}")]
    Settings(&'static str),
    /// No member answers.
    #[error("no member answers: {0}")]
    Unreachable(String),
    /// Members answer, and they have no leader.
    #[error("the cluster has no quorum: {0}")]
    NoQuorum(String),
    /// The database has reached its quota.
    #[error("{endpoint}: the database is full (mvcc: database space exceeded)")]
    Full {
        /// The member.
        endpoint: String,
    },
    /// The user or password is wrong, or missing.
    #[error("{endpoint}: the login failed: {reason}")]
    Login {
        /// The member.
        endpoint: String,
        /// etcd's words.
        reason: String,
    },
    /// The user may not do this.
    #[error("{endpoint}: etcd does not permit this user to {act} keys below `{prefix}`")]
    Denied {
        /// The member.
        endpoint: String,
        /// What it tried.
        act: &'static str,
        /// The prefix of the list.
        prefix: String,
    },
    /// The revision that was asked for is gone.
    #[error("{endpoint}: the revision has been compacted")]
    Compacted {
        /// The member.
        endpoint: String,
    },
    /// What answers is not etcd, or speaks another version of its protocol.
    #[error("{endpoint} does not answer as etcd's JSON gateway (v3): {reason}")]
    WrongService {
        /// The member.
        endpoint: String,
        /// What it answered.
        reason: String,
    },
    /// etcd refused the request for another reason.
    #[error("{endpoint}: {reason}")]
    Refused {
        /// The member.
        endpoint: String,
        /// etcd's words.
        reason: String,
    },
    /// Others changed the key during each attempt.
    #[error("other programs changed `{key}` during each of {attempts} attempts to write it")]
    Contended {
        /// The key.
        key: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The list held records at the last reading, and is empty although they were not withdrawn.
    #[error("the list held {held} records at the last reading, and now has no key below `{prefix}`")]
    Gone {
        /// How many.
        held: usize,
        /// The prefix of the list.
        prefix: String,
        /// The file that says so.
        memory: PathBuf,
    },
    /// etcd has no history.
    #[error("a store in etcd keeps no history")]
    NoHistory,
}

/// What a member's refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This member cannot serve now. Another one may.
    Member,
    /// The token is not valid, or no longer.
    Token,
    Login,
    Denied,
    Full,
    Compacted,
    /// Logins are not used in this cluster.
    NoAuth,
    Other,
}

impl Refusal {
    /// The meaning of etcd's error text
    /// (<https://github.com/etcd-io/etcd/blob/v3.4.23/etcdserver/api/v3rpc/rpctypes/error.go>).
    pub(super) fn of(text: &str) -> Refusal {
        let is = |words: &[&str]| words.iter().any(|word| text.contains(word));
        match () {
            () if is(&["invalid auth token", "revision of auth store is old"]) => Refusal::Token,
            () if is(&["invalid user ID or password", "user name is empty", "password is empty"]) => {
                Refusal::Login
            }
            () if is(&["permission denied", "permission is not granted"]) => Refusal::Denied,
            () if is(&["database space exceeded"]) => Refusal::Full,
            () if is(&["has been compacted"]) => Refusal::Compacted,
            () if is(&["authentication is not enabled"]) => Refusal::NoAuth,
            () if is(&[
                "no leader",
                "not leader",
                "leader changed",
                "request timed out",
                "too many requests",
                "server stopped",
                "unhealthy cluster",
                "member not found",
                "is a learner",
                "not supported for learner",
                "transport is closing",
                "connection refused",
                "connection error",
                "SubConns are in TransientFailure",
                "context deadline exceeded",
                "context canceled",
                "deadline exceeded",
                "future revision",
            ]) =>
            {
                Refusal::Member
            }
            () => Refusal::Other,
        }
    }
}

impl EtcdError {
    /// What to do next.
    pub(in crate::store) fn hint(&self) -> Option<String> {
        let hint = match self {
            EtcdError::Address(_) => "name the members of the cluster and the prefix of the list",
            EtcdError::File { .. } | EtcdError::Settings(_) => "correct `[etcd]` in presence.toml",
            EtcdError::Unreachable(_) => {
                "start etcd or correct the members in --store; for TLS, write `etcds://`; `etcdctl endpoint \
                 health --cluster` shows each member"
            }
            EtcdError::NoQuorum(_) => {
                "more than half of the members must run and reach each other: `etcdctl endpoint status --cluster`"
            }
            EtcdError::Full { .. } => {
                "run `etcdctl compact REVISION`, `etcdctl defrag --cluster` and `etcdctl alarm disarm`; set \
                 `auto-compaction-retention` in etcd so that it stays so"
            }
            EtcdError::Login { .. } => {
                "set `user` and `password-file` in [etcd] of presence.toml, or PRESENCE_ETCD_USER and \
                 PRESENCE_ETCD_PASSWORD"
            }
            EtcdError::Denied { prefix, .. } => {
                return Some(format!(
                    "grant it: `etcdctl role grant-permission ROLE --prefix=true readwrite /{prefix}/`"
                ));
            }
            EtcdError::Compacted { .. } => "the next look reads the list anew",
            EtcdError::WrongService { .. } => {
                "name etcd's client port in --store (usually 2379), with `etcds://` if it uses TLS; its JSON \
                 gateway must be on (`enable-grpc-gateway`)"
            }
            EtcdError::Refused { .. } => "look into the log of that member",
            EtcdError::Contended { .. } => {
                "find the other machine with this instance-id, or the program that writes the key"
            }
            EtcdError::Gone { memory, .. } => {
                return Some(format!(
                    "restore the cluster or correct the prefix; if somebody removed the list on purpose, run \
                     `rm {}`",
                    crate::errors::pasted(memory)
                ));
            }
            EtcdError::NoHistory => {
                "mirror it to a git repository with `presence mirror --follow`, and name that with --store"
            }
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_words_have_a_meaning() {
        for (text, expect) in [
            ("etcdserver: no leader", Refusal::Member),
            ("etcdserver: leader changed", Refusal::Member),
            ("etcdserver: request timed out, possibly due to previous leader failure", Refusal::Member),
            ("etcdserver: invalid auth token", Refusal::Token),
            ("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", Refusal::Token),
            ("etcdserver: authentication failed, invalid user ID or password", Refusal::Login),
            ("etcdserver: user name is empty", Refusal::Login),
            ("etcdserver: permission denied", Refusal::Denied),
            ("etcdserver: mvcc: database space exceeded", Refusal::Full),
            ("etcdserver: mvcc: required revision has been compacted", Refusal::Compacted),
            ("etcdserver: authentication is not enabled", Refusal::NoAuth),
            ("etcdserver: request is too large", Refusal::Other),
        ] {
            assert_eq!(Refusal::of(text), expect, "{text}");
        }
    }

    #[test]
    fn each_error_says_what_to_do() {
        for error in [
            EtcdError::Unreachable("h:1: refused".into()),
            EtcdError::Denied { endpoint: "h:1".into(), act: "write", prefix: "presence".into() },
            EtcdError::Gone { held: 3, prefix: "presence".into(), memory: "/s/held".into() },
            EtcdError::NoHistory,
        ] {
            assert!(!error.to_string().is_empty() && error.hint().is_some_and(|hint| !hint.is_empty()));
        }
    }
}
