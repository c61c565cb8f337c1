//! This node: its facts as files and machine say them, and the clock.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::error::CliError;
use crate::config::Config;
use crate::errors::chain;
use crate::facts;
use crate::record::{Facts, Record, RecordError};

/// The facts of this node. The folder may be missing unless somebody named it.
pub(super) fn facts(config: &Config) -> Result<Facts, CliError> {
    let mut found = match config.nodeinfo.is_dir() || config.nodeinfo_named {
        true => facts::read(&config.nodeinfo)?,
        false => Facts::new(),
    };
    facts::complete(&mut found);
    Ok(found)
}

/// The record of this node.
pub(super) fn record(config: &Config) -> Result<Record, CliError> {
    Record::new(facts(config)?).map_err(|error| {
        let file = config.nodeinfo.join("instance-id.txt");
        let hint = match error {
            RecordError::NoId => {
                format!("write a unique name into `{}`; `presence init` does", file.display())
            }
            _ => format!("correct `{}`", file.display()),
        };
        CliError::failed(format!("this node {}", chain(&error))).hint(hint)
    })
}

/// The time. `PRESENCE_NOW` (RFC 3339) stands in for the clock, for tests and rehearsals.
pub(super) fn now() -> Result<Timestamp, CliError> {
    match std::env::var("PRESENCE_NOW") {
        Ok(text) => text.parse().map_err(|error| {
            CliError::usage(format!("PRESENCE_NOW is no time: {error}"))
                .hint("write it like 2015-10-08T17:46:46Z".to_owned())
        }),
        Err(_) => Ok(Timestamp::now()),
    }
}

/// The time as records tell it, in UTC.
pub(super) fn now_utc() -> Result<DateTime, CliError> {
    Ok(now()?.to_zoned(TimeZone::UTC).datetime())
}
