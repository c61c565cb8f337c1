//! The files of `[[render]]` tables: one turn each, up to the replacement.

use std::path::Path;

use super::findings::Findings;
use super::{Args, commands, haproxy};
use crate::access::{may_make_files_in, may_write};
use crate::beat::absence::Evidence;
use crate::beat::fleet::Fleet;
use crate::beat::machine::Machine;
use crate::beat::turn::{self, TurnError, TurnOptions};
use crate::cli::render;
use crate::config::{Config, Render, TEMPLATE_DIR};
use crate::errors::chain;
use crate::output::Target;
use crate::record::Facts;
use crate::roster::Identity;

/// If one file has more warnings, only their number is shown.
const MAX_WARNINGS: usize = 3;

/// Whether every template can be read.
pub(super) fn templates(args: &Args, config: &Config, who: &Identity, findings: &mut Findings) {
    let lookup = match args.who.lookup(config, who) {
        Ok(lookup) => lookup,
        Err(error) => return findings.bad("template", error.message(), error.advice().map(str::to_owned)),
    };
    let tables = config.renders.iter().flat_map(|render| &render.template_dirs);
    for dir in config.template_dirs.iter().chain(tables) {
        if !dir.is_dir() && dir != Path::new(TEMPLATE_DIR) {
            let advice = "correct `template-dir` in presence.toml".to_owned();
            findings.bad("template", format!("there is no template directory `{}`", dir.display()), advice);
        }
    }
    let all = lookup.all();
    let mut good = 0;
    for found in &all {
        match crate::template::compile(&lookup, &found.name) {
            Ok(()) => good += 1,
            Err(error) => findings.bad("template", chain(&error), error.hint()),
        }
    }
    findings.good("template", format!("{good} of {} templates can be read", all.len()));
}

/// Checks every `[[render]]` table.
pub(super) fn targets(
    config: &Config,
    machine: &Machine<'_>,
    facts: Option<&Facts>,
    fleet: &Fleet,
    findings: &mut Findings,
) {
    for render in &config.renders {
        let path = render.target.path.display();
        let short = config.agent.interval.saturating_mul(3);
        if let Some(max_age) = render.max_age.filter(|max_age| max_age.unsigned_abs() < short) {
            findings.doubtful(
                "file",
                format!("`{path}`: `max-age` {max_age:#} is shorter than three heartbeats"),
                "a healthy node that misses one or two would be left out; raise `max-age`, or lower `interval` in [agent]"
                    .to_owned(),
            );
        }
        if may_be_written(&render.target, findings) {
            match facts {
                Some(facts) => target((config, machine), render, facts, fleet, findings),
                None => findings.untried("file", format!("`{path}`: this node's facts cannot be read")),
            }
        }
        match (&render.target.runtime, &render.target.socket) {
            (Some(runtime), _) => haproxy::running(runtime, findings),
            (None, Some(socket)) => haproxy::confirming(socket, findings),
            (None, None) => {}
        }
    }
}

/// Checks every `[[page]]` table.
pub(super) fn pages(config: &Config, findings: &mut Findings) {
    for page in &config.pages {
        if may_be_written(&page.target, findings) {
            findings.good("page", format!("`{}` can be written", page.target.path.display()));
        }
    }
}

/// Whether the file could be replaced, or written in place.
fn may_be_written(target: &Target, findings: &mut Findings) -> bool {
    let path = &target.path;
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        let advice = format!("create it with `mkdir -p {}`", crate::errors::pasted(dir));
        findings.bad("file", format!("`{}`: there is no such directory", path.display()), advice);
        return false;
    }
    let allowed = match target.in_place && path.exists() {
        true => may_write(path),
        false => may_make_files_in(dir),
    };
    if let Err(error) = &allowed {
        findings.bad("file", format!("`{}`: {}", path.display(), chain(error)), error.hint());
    }
    // An up-to-date file is checked too: the next change to it would fail.
    let protected = target.protection();
    if let Some(error) = &protected {
        findings.bad("file", error.to_string(), error.hint());
    }
    allowed.is_ok() && protected.is_none()
}

/// Rehearses the turn of one file.
fn target(
    (config, machine): (&Config, &Machine<'_>),
    render: &Render,
    facts: &Facts,
    fleet: &Fleet,
    findings: &mut Findings,
) {
    let mut render = render.clone();
    let path = render.target.path.display().to_string();
    let check = render.target.check.clone();
    // A missing program was already reported; the rest can still be tried.
    render.target.check = check.filter(|check| commands::find(check).is_ok());
    let options = TurnOptions {
        dry_run: true,
        hold_reload: false,
        evidence: Evidence::Nothing,
        accept: false,
        compare_firsts: true,
    };
    let turn = turn::take(machine, config, &render, facts, fleet, options);
    for warning in turn.warnings.iter().take(MAX_WARNINGS) {
        findings.doubtful("file", format!("`{path}`: {}", warning.text), None);
    }
    if turn.warnings.len() > MAX_WARNINGS {
        let more = turn.warnings.len() - MAX_WARNINGS;
        let advice = "`presence beat --dry-run -v` shows all".to_owned();
        findings.doubtful("file", format!("`{path}`: {more} more warnings"), advice);
    }
    for first in &turn.firsts {
        let advice = format!(
            "compare the file on other machines; `{}` chooses again",
            config.to_accept(&render.target.path)
        );
        findings.doubtful(
            "file",
            format!(
                "`{path}` keeps `{}` as the first node of `{}`; a machine that renders it for the first \
                 time would take `{}`",
                first.node, first.question, first.anew
            ),
            advice,
        );
    }
    match turn.result {
        Ok(done) => {
            let name = &render.name;
            let done = render::would(&format!("`{path}`"), &render.target, &done);
            findings.good("file", format!("{done}; it is rendered from `{name}`"));
        }
        Err(TurnError::Unreachable { .. } | TurnError::NotMade { .. }) => {
            findings.untried("file", format!("`{path}`: no store could be read"));
        }
        Err(error) => {
            let told = chain(&error);
            let text = if told.contains(&path) { told } else { format!("`{path}`: {told}") };
            findings.bad("file", text, error.hint());
        }
    }
}
