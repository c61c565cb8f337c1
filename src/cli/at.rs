//! The words for a moment: a time, or a version of the list.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::error::CliError;
use super::node;
use crate::config;
use crate::sanitize::excerpt;
use crate::store::At;

/// The moment to read the list at: one option for all commands that can look back.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Moment {
    /// Read the list as it was then: a commit, a tag, a time like 2026-01-31T08:00:00Z or "2026-01-31 08:00"
    /// (UTC), or an age like "10 min ago". Needs a git store
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
}

impl Moment {
    /// Whether the option was given.
    pub(super) fn is_past(&self) -> bool {
        self.at.is_some()
    }

    /// The moment; `None` if the option was not given.
    pub(super) fn at(&self) -> Result<Option<At>, CliError> {
        self.at.as_deref().map(moment).transpose()
    }
}

/// The moment that these words mean.
pub(super) fn moment(text: &str) -> Result<At, CliError> {
    let text = text.trim();
    if text == "now" {
        return Ok(At::Latest);
    }
    Ok(match parse_time(text, node::now()?).map_err(CliError::usage)? {
        Some(time) => At::Time(time),
        None if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') => {
            return Err(CliError::usage(format!("`{}` is no moment", excerpt(text))).hint(hint()));
        }
        None => At::Named(text.to_owned()),
    })
}

/// The time that these words mean.
pub(super) fn time(text: &str) -> Result<Timestamp, CliError> {
    let now = node::now()?;
    let age = |text: &str| now.checked_sub(config::age(text).ok()?).ok();
    let time = parse_time(text.trim(), now).map_err(CliError::usage)?.or_else(|| age(text.trim()));
    time.ok_or_else(|| CliError::usage(format!("`{}` is no time", excerpt(text))).hint(hint()))
}

fn hint() -> String {
    "write a time like `2026-01-31T08:00:00Z` or `2026-01-31 08:00` (UTC), or an age like `10 min ago`"
        .to_owned()
}

/// A time in the past; `None` if the words are no time.
fn parse_time(text: &str, now: Timestamp) -> Result<Option<Timestamp>, String> {
    if let Some(age) = text.strip_suffix("ago") {
        let age = config::age(age.trim()).map_err(|error| error.to_string())?;
        return now.checked_sub(age).map(Some).map_err(|_| "there was no such time".to_owned());
    }
    // Eight digits are the beginning of a commit's id.
    if !text.contains('-') {
        return Ok(None);
    }
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    let time = text.parse::<Timestamp>().ok().or_else(|| Some(civil()?.timestamp()));
    match time {
        Some(time) if time > now => Err(format!("{time} is in the future")),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_from_a_version() {
        let now: Timestamp = "2026-01-31T08:00:00Z".parse().unwrap();
        let check = |text: &str, expect: Option<&str>| {
            let time = parse_time(text, now).unwrap().map(|time| time.to_string());
            assert_eq!(time.as_deref(), expect, "{text}");
        };
        check("10 min ago", Some("2026-01-31T07:50:00Z"));
        check("1d ago", Some("2026-01-30T08:00:00Z"));
        check("2 hours ago", Some("2026-01-31T06:00:00Z"));
        check("2026-01-31T08:00:00+01:00", Some("2026-01-31T07:00:00Z"));
        check("2026-01-31 07:00", Some("2026-01-31T07:00:00Z"));
        check("2026-01-30", Some("2026-01-30T00:00:00Z"));
        for version in ["20260130", "1a2b3c4d", "v1", "before-the-move", "release-2026"] {
            check(version, None);
        }
        assert_eq!(parse_time("2026-02-01", now).unwrap_err(), "2026-02-01T00:00:00Z is in the future");
        assert!(parse_time("long ago", now).is_err());
    }
}
