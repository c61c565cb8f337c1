//! The agent's metrics, as a textfile for Prometheus's node exporter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::beat::turn::{Turn, TurnError};
use crate::metrics::Page;
use crate::output::{Done, TargetError};
use crate::roster::Roster;

/// All counts since the agent started. Times are by the machine's clock, since 1970.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    targets: BTreeMap<String, OfTarget>,
    store_errors: BTreeMap<String, u64>,
    announce_errors: u64,
    /// For each store of heartbeats, whether silence in it proves anything at present.
    proven: BTreeMap<String, bool>,
    /// The indexes of the stores in which another machine was met under this instance-id.
    rivals: BTreeSet<usize>,
    /// When a store was last read.
    roster: Option<Duration>,
    /// When a beat last ended without any failure.
    success: Option<Duration>,
    beats: u64,
}

#[derive(Debug, Default)]
struct OfTarget {
    renders: BTreeMap<&'static str, u64>,
    reloads: u64,
    refusals: u64,
    good: bool,
    pending: usize,
    warnings: usize,
    held: usize,
    failed: usize,
    /// When the file was last in order.
    success: Option<Duration>,
}

impl Metrics {
    pub(super) fn beat(&mut self, good: bool, now: Duration) {
        self.beats += 1;
        if good {
            self.success = Some(now);
        }
    }

    pub(super) fn read(&mut self, now: Duration) {
        self.roster = Some(now);
    }

    pub(super) fn store_error(&mut self, store: &str) {
        *self.store_errors.entry(store.to_owned()).or_default() += 1;
    }

    pub(super) fn announce_error(&mut self) {
        self.announce_errors += 1;
    }

    /// Records whether silence in that store proves anything.
    pub(super) fn proves(&mut self, store: &str, proves: bool) {
        self.proven.insert(store.to_owned(), proves);
    }

    /// Records whether another machine was met under this instance-id in that store.
    pub(super) fn rival(&mut self, place: usize, met: bool) {
        match met {
            true => self.rivals.insert(place),
            false => self.rivals.remove(&place),
        };
    }

    /// Counts a turn.
    pub(super) fn turn(&mut self, turn: &Turn, reloaded: bool, now: Duration) {
        let of = self.targets.entry(turn.path.display().to_string()).or_default();
        *of.renders.entry(outcome(&turn.result)).or_default() += 1;
        of.reloads += u64::from(reloaded);
        of.refusals += u64::from(matches!(
            turn.result,
            Err(TurnError::Refused { .. }
                | TurnError::Limited { .. }
                | TurnError::Target(TargetError::Check { .. }))
        ));
        of.good = turn.result.is_ok();
        of.pending = match turn.done().map_or_else(|| turn.result.as_ref(), Ok) {
            Ok(Done::Followed(followed)) => followed.pending.len(),
            Ok(Done::Held(_))
            | Err(TurnError::Target(
                TargetError::Reload { .. }
                | TargetError::NotLoaded { .. }
                | TargetError::NotAsked { .. }
                | TargetError::NotConverged { .. },
            )) => 1,
            _ => 0,
        };
        of.warnings = turn.warnings.len();
        of.held = turn.held;
        of.failed = match turn.done().map_or_else(|| turn.result.as_ref(), Ok) {
            Ok(Done::Followed(followed)) => followed.failed.len(),
            _ => 0,
        };
        if of.good {
            of.success = Some(now);
        }
    }

    /// The current metrics as text.
    pub(super) fn text(&self, roster: Option<&Roster>, now: Duration) -> String {
        let mut page = Page::default();
        if let Some(roster) = roster {
            page.nodes(roster.nodes.iter());
            page.family("presence_problems", "gauge", "Files and nodes of the list that have a problem.");
            page.series("presence_problems", &[], roster.problems.len());
        }
        if let Some(read) = self.roster {
            let age = now.saturating_sub(read);
            page.family("presence_roster_age_seconds", "gauge", "Seconds since a store was last read.");
            page.series("presence_roster_age_seconds", &[], age.as_secs());
            page.family("presence_roster_timestamp_seconds", "gauge", "When a store was last read.");
            page.series("presence_roster_timestamp_seconds", &[], read.as_secs());
        }
        if let Some(success) = self.success {
            page.family(
                "presence_last_success_timestamp_seconds",
                "gauge",
                "When the last beat without a failure ended.",
            );
            page.series("presence_last_success_timestamp_seconds", &[], success.as_secs());
        }
        page.family("presence_beats_total", "counter", "Beats.");
        page.series("presence_beats_total", &[], self.beats);
        page.family(
            "presence_announce_errors_total",
            "counter",
            "Beats in which no store accepted the record.",
        );
        page.series("presence_announce_errors_total", &[], self.announce_errors);
        page.family("presence_store_errors_total", "counter", "Failed reads of a store.");
        for (store, count) in &self.store_errors {
            page.series("presence_store_errors_total", &[("store", store)], count);
        }
        let help = "Whether another machine publishes under this node's instance-id.";
        page.family("presence_instance_id_conflict", "gauge", help);
        page.series("presence_instance_id_conflict", &[], u8::from(!self.rivals.is_empty()));
        let help = "Whether the store answers and accepts this node's heartbeat.";
        page.family("presence_heartbeats_proven", "gauge", help);
        for (store, proves) in &self.proven {
            page.series("presence_heartbeats_proven", &[("store", store)], u8::from(*proves));
        }
        self.of_targets(&mut page);
        page.into_text()
    }

    fn of_targets(&self, page: &mut Page) {
        page.family("presence_renders_total", "counter", "Turns of a file, by result.");
        for (file, of) in &self.targets {
            for (result, count) in &of.renders {
                page.series("presence_renders_total", &[("file", file), ("result", result)], count);
            }
        }
        type Series = (&'static str, &'static str, &'static str, fn(&OfTarget) -> Option<u64>);
        let series: [Series; 8] = [
            ("presence_reloads_total", "counter", "Reloads.", |of| Some(of.reloads)),
            ("presence_refusals_total", "counter", "Outputs refused by a limit or a check.", |of| {
                Some(of.refusals)
            }),
            ("presence_file_good", "gauge", "Whether the file is up to date and in use.", |of| {
                Some(u64::from(of.good))
            }),
            ("presence_file_pending", "gauge", "Pending reloads and changes at run time.", |of| {
                Some(of.pending as u64)
            }),
            (
                "presence_file_warnings",
                "gauge",
                "Warnings about the file, such as nodes that were left out.",
                |of| Some(of.warnings as u64),
            ),
            (
                "presence_file_held",
                "gauge",
                "Nodes that the file keeps because too many are silent or missing at once.",
                |of| Some(of.held as u64),
            ),
            (
                "presence_file_servers_not_up",
                "gauge",
                "New servers that get no requests because their checks fail.",
                |of| Some(of.failed as u64),
            ),
            (
                "presence_file_success_timestamp_seconds",
                "gauge",
                "When the file was last up to date and in use.",
                |of| of.success.map(|time| time.as_secs()),
            ),
        ];
        for (name, kind, help, value) in series {
            page.family(name, kind, help);
            for (file, of) in &self.targets {
                if let Some(value) = value(of) {
                    page.series(name, &[("file", file)], value);
                }
            }
        }
    }
}

fn outcome(result: &Result<Done, TurnError>) -> &'static str {
    match result {
        Ok(Done::Unchanged) => "unchanged",
        Ok(Done::Adjusted) => "adjusted",
        Ok(Done::Replaced | Done::ReloadedFor(_)) => "replaced",
        Ok(Done::Reloaded) => "reloaded",
        Ok(Done::Followed(_)) => "followed",
        Ok(Done::Held(_)) => "held",
        Ok(Done::Waits(_)) => "waiting",
        Err(TurnError::Unreachable { .. } | TurnError::NotMade { .. }) => "unreachable",
        Err(TurnError::Refused { .. } | TurnError::Limited { .. }) => "refused",
        Err(TurnError::Target(TargetError::Check { .. })) => "check_failed",
        Err(TurnError::Target(TargetError::Reload { .. } | TargetError::NotLoaded { .. })) => "reload_failed",
        Err(TurnError::Target(TargetError::NotConverged { .. } | TargetError::NotAsked { .. })) => {
            "unfollowed"
        }
        Err(_) => "failed",
    }
}
