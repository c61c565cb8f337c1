//! One file per target format: writes a value from a record so that it cannot break out of the format.
//!
//! Every function here is pure and takes a value that may be hostile. It returns text that the target's own
//! parser reads back as exactly that value, or refuses. It never repairs. Each documents where in the format
//! its result may be used. `tests/it/escaping.rs` gives the same payloads to the real programs.

pub mod haproxy;

mod graphviz;
mod hosts;
mod json;
mod mermaid;
mod nagios;
mod nginx;
mod pgbouncer;
mod properties;
mod shell;
mod xml;
mod yaml;

pub use graphviz::graphviz;
pub use hosts::hosts;
pub use json::{json, json_in_html};
pub use mermaid::mermaid;
pub use nagios::{nagios, nagios_name};
pub use nginx::nginx;
pub use pgbouncer::pgbouncer;
pub use properties::properties;
pub use shell::shell;
pub use xml::xml;
pub use yaml::yaml;

use crate::name::NameError;

/// A value that cannot be written without changing it or breaking out of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as {format}: {reason}")]
pub struct Refused {
    /// The kind of text, as in "cannot be written as …".
    pub format: &'static str,
    /// Why the value is refused.
    pub reason: Reason,
}

/// Why a format refused a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The format cannot write an empty value here.
    #[error("the value is empty")]
    Empty,
    /// The format cannot safely write this character here.
    #[error("character {position} is `{}`, which is not allowed there", character.escape_debug())]
    Character {
        /// The character.
        character: char,
        /// Its position in characters, from 1.
        position: usize,
    },
    /// The format would remove a space at the start or end.
    #[error("it starts or ends with a space, which would be lost")]
    OuterSpace,
    /// The value has more characters than the format or its reader can safely take.
    #[error("it is longer than {max} characters")]
    TooLong {
        /// The limit, in characters.
        max: usize,
    },
    /// The value does not start with the required character.
    #[error("it does not start with `{0}`")]
    Start(char),
    /// A backslash at the end would escape the text that follows.
    #[error("it ends with a backslash, which would escape what follows")]
    TrailingBackslash,
    /// The format gives exactly this value a meaning of its own.
    #[error("that value has a meaning of its own there")]
    Reserved,
    /// Not a host name of RFC 1123.
    #[error(
        "it is not a host name: labels of 1–63 letters, digits and inner hyphens, joined by dots, at most 253 in all, \
         the last label not a number"
    )]
    HostName,
    /// Not the weight of a server.
    #[error("it is not a whole number from 0 to 256")]
    Weight,
    /// Not a word for yes or no.
    #[error("it is neither `yes` nor `no` (nor `true`, `false`, `1` or `0`)")]
    Flag,
    /// Not a [`Name`](crate::name::Name).
    #[error("{0}")]
    Name(NameError),
}

impl Reason {
    /// A refusal by `format` for this reason.
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

/// Refuses a space at either end, for formats that remove it.
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

/// Refuses an empty value, for formats that cannot write one.
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
