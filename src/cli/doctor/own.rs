//! This node's record, and the folders that presence writes to.

use super::findings::Findings;
use crate::access::may_make_files_in;
use crate::beat::rivals;
use crate::cli::node;
use crate::config::Config;
use crate::errors::chain;
use crate::facts;
use crate::folder::Folder;
use crate::record::{Facts, Record};
use crate::roster::{Availability, Identity, faults};

pub(super) fn configuration(config: &Config, findings: &mut Findings) {
    let file = config.file.display();
    match config.file_found {
        true => findings.good("configuration", format!("configuration `{file}`")),
        false => findings.good("configuration", format!("no configuration `{file}`; the defaults apply")),
    }
}

/// This node's facts; its record is judged as readers will judge it. `None` if there are no facts.
pub(super) fn record(config: &Config, findings: &mut Findings) -> Option<Facts> {
    let facts = match node::facts(config) {
        Ok(facts) => facts,
        Err(error) => {
            let text = format!("nodeinfo `{}`: {}", config.nodeinfo.dir.display(), error.message());
            findings.bad("record", text, error.advice().map(str::to_owned));
            return None;
        }
    };
    match node::record(config) {
        Ok(record) => {
            let size = record.to_bytes().len();
            findings.good("record", format!("this node is {}, its record has {size} bytes", record.id()));
            judge(config, &record, findings);
            if let Some(rival) = rivals::met(config) {
                findings.bad("record", rival.text, rival.hint);
            }
        }
        Err(error) => findings.bad("record", error.message(), error.advice().map(str::to_owned)),
    }
    Some(facts)
}

/// Reports what readers will find wrong with the record.
fn judge(config: &Config, record: &Record, findings: &mut Findings) {
    if let Err(error) = config.layout.paths(record) {
        let advice = "state the fact in nodeinfo, or change `layout` in presence.toml".to_owned();
        findings.bad("record", chain(&error), advice);
    }
    for fault in faults(record, &config.states, &config.addresses) {
        let text = format!("this node's record {}: {}", fault.reason, fault.so);
        let advice = format!("correct `{}`", facts::file(&config.nodeinfo.dir, fault.fact).display());
        match fault.fact {
            // Other readers may know this state.
            "state" => findings.doubtful("record", text, advice),
            _ => findings.bad("record", text, advice),
        }
    }
    let state = record.state().filter(|state| config.states.knows(state));
    if let Some(state) = state.filter(|state| config.states.of(Some(state)) == Availability::Absent) {
        let text = format!(
            "the state `{}` means absent: templates leave the node out",
            crate::sanitize::shown(&state)
        );
        findings.doubtful("record", text, "run `presence state done` when the node is in service".to_owned());
    }
}

pub(super) fn identity(config: &Config, who: &Identity, findings: &mut Findings) {
    for (fact, value) in
        [("nodepart", &who.part), ("stacktype", &who.stacktype), ("deployment", &who.deployment)]
    {
        match value {
            Some(value) => findings.good("record", format!("{fact} {}", crate::sanitize::shown(value))),
            None => {
                let file = config.nodeinfo.dir.join(format!("{fact}.txt"));
                let advice = format!("write it into `{}`, if this machine is a node", file.display());
                findings.doubtful("record", format!("no {fact}"), advice);
            }
        }
    }
}

/// Checks the folders outside the stores that presence writes to.
pub(super) fn directories(config: &Config, findings: &mut Findings) {
    let dir = &config.state_dir;
    let usable = Folder::private(dir).and_then(|folder| folder.stage("").map(drop));
    let shown = dir.display();
    match usable {
        Ok(()) => findings.good("state-dir", format!("state directory `{shown}` can be written")),
        Err(error) => findings.bad(
            "state-dir",
            format!("state directory `{shown}`: {}", chain(&error)),
            "run as a user that may write there, or name another one with --state-dir".to_owned(),
        ),
    }
    if !config.healths.is_empty()
        && let Err(error) = may_make_files_in(&config.nodeinfo.dir)
    {
        let text = format!("{}, where health checks write the state `wedged`", chain(&error));
        findings.bad("health", text, error.hint());
    }
    if let Some(Err(error)) =
        config.agent.metrics.as_deref().and_then(|path| path.parent()).map(may_make_files_in)
    {
        findings.bad("metrics", chain(&error), error.hint());
    }
}
