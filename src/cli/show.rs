use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::at::Moment;
use super::error::CliError;
use super::fleet::{FleetStores, MaxAge};
use super::{console, fleet, list, node, past};
use crate::config::Config;
use crate::name::Name;
use crate::record::{MAX_REASON, REASON};
use crate::roster::{Node, Offer};
use crate::sanitize::{said, terminal_safe_json};

/// Show one node's record and where it was found
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence show i-c44e9b33\n  presence show i-c44e9b33 --format json\n  presence show i-c44e9b33 --history\n  presence show i-c44e9b33 --at 2026-01-31"
)]
pub(super) struct Args {
    /// The instance-id [default: this node]
    id: Option<String>,
    /// Print the record in this format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Show also since when the node states each fact, and its states over time, from the first git store that
    /// answers
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    moment: Moment,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let id = match &args.id {
        Some(id) => {
            Name::parse(id).map_err(|error| CliError::usage(format!("not an instance-id: {error}")))?
        }
        None => node::record(config)?.id().clone(),
    };
    let at = args.moment.at()?;
    if at.is_some() && args.history {
        return Err(CliError::usage("--history ends now, so it cannot be used with --at"));
    }
    let fleet = match &at {
        Some(at) => fleet::read_back(config, stores, at)?,
        None => fleet::read(config, stores, &MaxAge::default(), true)?,
    };
    let Some(found) = fleet.roster.get(id.as_str()) else {
        let about: Vec<String> =
            fleet.problems().into_iter().filter(|line| line.contains(id.as_str())).collect();
        console::warnings(&about, fleet::ALL_PROBLEMS);
        if !fleet.is_current() {
            return Err(fleet::unreachable(
                &fleet,
                &format!("no store could be read, and no last copy has `{id}`"),
            ));
        }
        let was = if at.is_some() { "was not on the list then" } else { "is not on the list" };
        return Err(CliError::failed(format!("`{id}` {was}"))
            .hint("`presence list --format ids` lists the nodes".to_owned()));
    };
    let history = args.history.then(|| past::of(stores, &id)).transpose()?;
    console::data(&match args.format {
        Format::Text => {
            let history =
                history.map(|history| past::text(&history, &found.record, node::now()?)).transpose()?;
            text(found, at.is_none())? + &history.unwrap_or_default()
        }
        Format::Json => {
            let mut described = list::described(found);
            if let Some(history) = history {
                described["history"] = past::json(&history, &found.record, node::now()?);
            }
            console::json(&described)?
        }
    })?;
    if matches!(args.format, Format::Text) {
        fleet::tell_moments(&fleet);
    }
    match fleet.is_current() {
        true => Ok(()),
        false => Err(fleet::unreachable(&fleet, "no store could be read; this is from the last copy")),
    }
}

fn text(node: &Node, has_heartbeats: bool) -> Result<String, CliError> {
    let address =
        node.address.as_ref().map_or_else(|reason| format!("none: it {reason}"), ToString::to_string);
    let port = match &node.port {
        Ok(Some(port)) => port.to_string(),
        Ok(None) => "none stated".to_owned(),
        Err(reason) => format!("none: it {reason}"),
    };
    let now = node::now()?;
    let told = |time: Option<Timestamp>| match time {
        Some(time) => {
            let age = now.duration_since(time);
            format!("{} UTC ({})", time.strftime("%Y-%m-%d %H:%M:%S"), ago(age.as_secs()))
        }
        None => "at an unknown time".to_owned(),
    };
    let changed =
        told(node.record.changed().and_then(|time| Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())));
    let seen =
        if has_heartbeats { told(node.last_seen) } else { "unknown: the past has no heartbeats".to_owned() };
    let reason =
        node.record.text(REASON).map(|reason| format!("wedged by     {}\n", said(&reason, MAX_REASON)));
    let reason = reason.unwrap_or_default();
    let services: String =
        node.services.iter().map(|offer| service(&node.as_service(offer), offer)).collect();
    let stale = if node.stale { " (the last copy: the store does not answer)" } else { "" };
    let record = node.record.to_pretty();
    let record = terminal_safe_json(&record);
    Ok(format!(
        "node          {}\navailability  {}\n{reason}address       {address}\nport          {port}\n{services}state since   {changed}\nlast seen     {seen}\n\
         found in      {}{stale}\nfile          {}\n\n{record}",
        node.record.id(),
        node.availability,
        node.store,
        node.path,
    ))
}

/// The line of a service.
fn service(node: &Node, offer: &Offer) -> String {
    let port = match &node.port {
        Ok(Some(port)) => format!("port {port}"),
        Ok(None) => "no port".to_owned(),
        Err(reason) => format!("no port: it {reason}"),
    };
    let reason = node.record.text(REASON).map(|reason| format!(", wedged by {}", said(&reason, MAX_REASON)));
    let reason = reason.unwrap_or_default();
    format!("service       {}: {port}, {}{reason}\n", offer.service.name, node.availability)
}

/// A span of time in words, in its largest unit.
pub(super) fn ago(seconds: i64) -> String {
    let (count, unit) = match seconds.unsigned_abs() {
        seconds @ 0..=119 => (seconds, "second"),
        seconds @ 120..=7199 => (seconds / 60, "minute"),
        seconds @ 7200..=172_799 => (seconds / 3600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    match seconds < 0 {
        true => format!("{count} {unit}{plural} in the future: a clock is wrong"),
        false => format!("{count} {unit}{plural} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::ago;

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        for (seconds, expect) in [
            (0, "0 seconds ago"),
            (1, "1 second ago"),
            (180, "3 minutes ago"),
            (7200, "2 hours ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago(seconds), expect);
        }
        assert!(ago(-5).contains("future"));
    }
}
