//! One file a target format: how a value from a record is written so that the format cannot be left.
//!
//! Every function here is pure and takes a value that may be hostile. It returns text that the target's own
//! parser reads back as exactly that value, or refuses; it never repairs. Each says in which place of the
//! format its result may stand. `tests/it/escaping.rs` puts the same payloads before the real programs.

pub mod haproxy;

mod hosts;
mod json;
mod nagios;
mod nginx;
mod pgbouncer;
mod properties;
mod shell;
mod yaml;

pub use hosts::hosts;
pub use json::json;
pub use nagios::{nagios, nagios_name};
pub use nginx::nginx;
pub use pgbouncer::pgbouncer;
pub use properties::properties;
pub use shell::shell;
pub use yaml::yaml;

use crate::name::NameError;

/// A value that cannot be written to a format without changing it or leaving the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as {format}: {reason}")]
pub struct Refused {
    /// What was to be written, as in "cannot be written as …".
    pub format: &'static str,
    /// What about the value is wrong.
    pub reason: Reason,
}

/// What about a value made a format refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The format has no way to write an empty value here.
    #[error("the value is empty")]
    Empty,
    /// The format has no safe way to write this character here.
    #[error("character {position} is `{}`, which is not allowed there", character.escape_debug())]
    Character {
        /// The character in question.
        character: char,
        /// Where it stands, counted in characters from 1.
        position: usize,
    },
    /// The format would cut off a space at the beginning or end.
    #[error("it starts or ends with a space, which would be lost")]
    OuterSpace,
    /// The value has more characters than the format, or what reads it, can be trusted with.
    #[error("it is longer than {max} characters")]
    TooLong {
        /// How many would be fine.
        max: usize,
    },
    /// The value does not start as it must.
    #[error("it does not start with `{0}`")]
    Start(char),
    /// A backslash at the end would take in what follows.
    #[error("it ends with a backslash, which would escape what follows")]
    TrailingBackslash,
    /// The format gives this very value a meaning of its own.
    #[error("that value has a meaning of its own there")]
    Reserved,
    /// Not a host name of RFC 1123.
    #[error(
        "it is not a host name: labels of 1–63 letters, digits and inner hyphens, joined by dots, at most 253 in all, \
         the last label not a number"
    )]
    HostName,
    /// Not a [`Name`](crate::name::Name).
    #[error("{0}")]
    Name(NameError),
}

impl Reason {
    /// This reason, given by `format`.
    fn of(self, format: &'static str) -> Refused {
        Refused { format, reason: self }
    }
}

/// Refuses the first character of `value` that is not `allowed`.
fn only(value: &str, allowed: impl Fn(char) -> bool) -> Result<(), Reason> {
    match value.chars().enumerate().find(|&(_, character)| !allowed(character)) {
        Some((index, character)) => Err(Reason::Character { character, position: index + 1 }),
        None => Ok(()),
    }
}

/// Refuses a space at either end, for formats that cut it off.
fn no_outer_space(value: &str) -> Result<(), Reason> {
    match value.starts_with(' ') || value.ends_with(' ') {
        true => Err(Reason::OuterSpace),
        false => Ok(()),
    }
}

/// Refuses more than `max` characters.
fn not_longer(value: &str, max: usize) -> Result<(), Reason> {
    match value.chars().nth(max) {
        Some(_) => Err(Reason::TooLong { max }),
        None => Ok(()),
    }
}

/// Refuses an empty value, for formats that have no way to write one.
fn not_empty(value: &str) -> Result<(), Reason> {
    match value.is_empty() {
        true => Err(Reason::Empty),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Refused;

    /// Compares an outcome with `Ok` text or the `Err` message after "cannot be written as …: ".
    #[track_caller]
    pub(super) fn assert_outcome(input: &str, outcome: Result<String, Refused>, expect: Result<&str, &str>) {
        let outcome = outcome.map_err(|refused| refused.reason.to_string());
        assert_eq!(outcome, expect.map(str::to_owned).map_err(str::to_owned), "for {input:?}");
    }

    #[test]
    fn the_message_is_one_sentence_without_raw_control_characters() {
        let refused = super::shell("a\0b").expect_err("NUL");
        assert_eq!(
            refused.to_string(),
            r"cannot be written as a word of a shell file: character 2 is `\0`, which is not allowed there"
        );
    }
}
