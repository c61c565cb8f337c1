//! The facts that this node states: the files of nodeinfo, and what the machine knows where no file exists.

mod machine;
mod network;
mod nodeinfo;

pub use machine::complete;
pub use network::own_addresses;
pub use nodeinfo::{
    FactsError, MAX_FACT_BYTES, Nodeinfo, file, has_file, is_empty, read, remove, service, write,
};

use jiff::civil::DateTime;
use serde_json::Value;

use crate::record::{Facts, TIME_FORMAT};

/// The maximum length of `statelog`, in bytes. The oldest entries are dropped, since a record must not grow
/// without limit.
const MAX_STATELOG_BYTES: usize = 16 * 1024;

/// The three facts that state a node's state, after a change to `state` at `now` (UTC). `None` if the node is
/// already in that state.
///
/// The facts are in the order in which to write them, `state` last. An interrupted change can therefore be
/// detected (the last log entry names a state that the node is not in) and completed with its original time.
pub fn enter_state(facts: &Facts, state: &str, now: DateTime) -> Option<[(&'static str, String); 3]> {
    let current = facts.get("state").and_then(Value::as_str).unwrap_or_default();
    if current == state {
        return None;
    }
    let log = facts.get("statelog").and_then(Value::as_str).unwrap_or_default();
    let last = log.trim_end_matches(';').rsplit(';').next().and_then(|entry| entry.rsplit_once(':'));
    let (log, time) = match last {
        Some((name, time)) if name == state => (log.to_owned(), time.to_owned()),
        _ => {
            let time = now.strftime(TIME_FORMAT).to_string();
            let separator = if log.is_empty() || log.ends_with(';') { "" } else { ";" };
            (format!("{log}{separator}{state}:{time};"), time)
        }
    };
    Some([("statelog", newest_entries(&log).to_owned()), ("statetss", time), ("state", state.to_owned())])
}

/// The last whole entries of a statelog, in at most [`MAX_STATELOG_BYTES`].
fn newest_entries(log: &str) -> &str {
    let mut rest = log;
    while rest.len() > MAX_STATELOG_BYTES {
        match rest.split_once(';') {
            Some((_, newer)) => rest = newer,
            None => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(state: &str, log: &str) -> Facts {
        let mut facts = Facts::new();
        facts.insert("state".into(), state.into());
        facts.insert("statelog".into(), log.into());
        facts
    }

    fn check(state: &str, log: &str, to: &str, expect: Option<(&str, &str)>) {
        let now = jiff::civil::date(2015, 10, 8).at(17, 48, 30, 0);
        let new = enter_state(&facts(state, log), to, now);
        let seen = new.as_ref().map(|[log, time, _]| (log.1.as_str(), time.1.as_str()));
        assert_eq!(seen, expect, "{state} {log} -> {to}");
    }

    #[test]
    fn a_state_is_logged_once() {
        check("", "", "setup", Some(("setup:20151008-174830;", "20151008-174830")));
        check(
            "setup",
            "setup:20151008-174646;",
            "initdone",
            Some(("setup:20151008-174646;initdone:20151008-174830;", "20151008-174830")),
        );
        check("done", "done:20151008-174646;", "done", None);
        check("setup", "setup:1", "done", Some(("setup:1;done:20151008-174830;", "20151008-174830")));
    }

    #[test]
    fn a_change_cut_short_is_finished_with_its_own_time() {
        check(
            "setup",
            "setup:1;done:20151008-174700;",
            "done",
            Some(("setup:1;done:20151008-174700;", "20151008-174700")),
        );
    }

    #[test]
    fn the_log_keeps_its_newest_entries() {
        let log = "x:20151008-174646;".repeat(2_000);
        let new =
            enter_state(&facts("x", &log), "done", jiff::civil::date(2015, 1, 1).at(0, 0, 0, 0)).unwrap();
        assert!(new[0].1.len() <= MAX_STATELOG_BYTES && new[0].1.ends_with(";done:20150101-000000;"));
        assert!(new[0].1.starts_with("x:2015"));
    }
}
