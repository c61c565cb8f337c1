//! Values of the configuration file that are checked while it is parsed, so that an error has its line.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::output::{Command, Owner};
use crate::sanitize::excerpt;

/// Parses a duration: `500ms`, `90s`, `5m`, `2h`, `1d`.
pub fn age(text: &str) -> Result<SignedDuration, String> {
    // The errors of the parser name its own types and formats.
    let say = || format!("`{}` is not a duration; write it like 90s, 5m, 2h or 1d", excerpt(text));
    let span: Span = text.parse().map_err(|_| say())?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| say())?;
    if age.is_negative() { Err("an age must not be negative".to_owned()) } else { Ok(age) }
}

/// Parses a file mode: up to four octal digits.
pub fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("a mode is up to four octal digits, for example 0640".to_owned()),
    }
}

/// A duration; a bare number is in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) SignedDuration);

impl Time {
    /// As a duration of a monotonic clock.
    pub(super) fn wait(self) -> Duration {
        self.0.unsigned_abs()
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"90s\", \"5m\" or a number of seconds")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                age(text).map(Time).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Time, E> {
                if seconds < 0 {
                    return Err(E::custom("a time must not be negative"));
                }
                Ok(Time(SignedDuration::from_secs(seconds)))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Line(pub(super) Command);

impl TryFrom<String> for Line {
    type Error = String;

    fn try_from(text: String) -> Result<Line, String> {
        Command::parse(&text).map(Line).map_err(|error| format!("{error}; {}", error.hint()))
    }
}

/// A command line that checks a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct CheckLine(pub(super) Command);

impl TryFrom<String> for CheckLine {
    type Error = String;

    fn try_from(text: String) -> Result<CheckLine, String> {
        Command::parse_check(&text).map(CheckLine).map_err(|error| format!("{error}; {}", error.hint()))
    }
}

/// A file mode as text: the number 640 would not be octal.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Mode(pub(super) u32);

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Mode, String> {
        mode(&text).map(Mode)
    }
}

/// USER or USER:GROUP.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Ownership(pub(super) Owner);

impl TryFrom<String> for Ownership {
    type Error = String;

    fn try_from(text: String) -> Result<Ownership, String> {
        Owner::parse(&text).map(Ownership).map_err(|error| error.to_string())
    }
}
