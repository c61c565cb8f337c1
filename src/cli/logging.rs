//! The log of `-v` and `PRESENCE_LOG`: a line on stderr for each event.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::console;
use super::error::CliError;
use crate::sanitize::excerpt;

/// The variable with the level of the log.
const LOG: &str = "PRESENCE_LOG";

/// Starts the log, if `-v` or the variable asks for it. Until then, an event costs one comparison.
pub(super) fn start(verbose: u8) -> Result<(), CliError> {
    let level = by_verbosity(verbose).max(by_variable()?);
    if level != LevelFilter::OFF {
        // Fails only if the log was started before.
        let _ = tracing::subscriber::set_global_default(Log(level));
    }
    Ok(())
}

fn by_verbosity(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    }
}

fn by_variable() -> Result<LevelFilter, CliError> {
    let value = std::env::var_os(LOG).unwrap_or_default();
    match value.to_str() {
        Some("" | "off") => Ok(LevelFilter::OFF),
        Some("info") => Ok(LevelFilter::INFO),
        Some("debug") => Ok(LevelFilter::DEBUG),
        _ => {
            let value = excerpt(&value.to_string_lossy());
            Err(CliError::usage(format!("`{LOG}` is `{value}`; use `off`, `info` or `debug`")))
        }
    }
}

/// Prints events up to a level. The program has no spans.
struct Log(LevelFilter);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = if *event.metadata().level() == Level::DEBUG { "debug" } else { "info" };
        console::log(level, &format!("{} {}{}", event.metadata().target(), line.message, line.fields));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The parts of a line.
#[derive(Default)]
struct Line {
    message: String,
    /// Each as ` name=value`.
    fields: String,
}

impl Line {
    fn add(&mut self, name: &str, value: &str) {
        match name {
            "message" => self.message.push_str(value),
            _ => self.fields.push_str(&format!(" {name}={}", Word(value))),
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

/// A value as one word: quoted if it would otherwise be several, or none.
struct Word<'v>(&'v str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let breaks = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '"';
        match self.0.is_empty() || self.0.contains(breaks) {
            true => write!(f, "{:?}", self.0),
            false => f.write_str(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_of_one_line() {
        for (value, expect) in [
            ("git://h/list.git", "git://h/list.git"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a\"b", r#""a\"b""#),
            ("a\ninfo: store answered", r#""a\ninfo: store answered""#),
            ("\u{1b}[31m", r#""\u{1b}[31m""#),
        ] {
            assert_eq!(Word(value).to_string(), expect);
        }
    }
}
