use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::error::{CliError, Kind};
use super::templates::Who;
use super::{fleet, node, output};
use crate::config::Config;
use crate::errors::chain;
use crate::haproxy::Socket;
use crate::roster::Identity;
use crate::target::Command;
use crate::template::Lookup;

/// Look at everything that this node needs, and say what to do
///
/// Changes nothing but the copies in the state directory. The exit code is 1 if something does not work.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence doctor\n  presence doctor --store ssh://git@git.example.net/srv/list.git"
)]
pub(super) struct Args {
    #[command(flatten)]
    who: Who,
}

/// How a finding looks and counts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Good,
    Doubtful,
    Bad,
}

/// What was found, a line each.
#[derive(Default)]
struct Findings {
    lines: Vec<(Verdict, String)>,
}

impl Findings {
    fn add(&mut self, verdict: Verdict, text: impl Display) {
        self.lines.push((verdict, text.to_string()));
    }

    fn advise(&mut self, verdict: Verdict, text: impl Display, advice: Option<impl Display>) {
        match advice {
            Some(advice) => self.add(verdict, format!("{text}\n        {advice}")),
            None => self.add(verdict, text),
        }
    }

    fn text(&self) -> String {
        self.lines
            .iter()
            .map(|(verdict, text)| {
                let word = match verdict {
                    Verdict::Good => "ok",
                    Verdict::Doubtful => "warning",
                    Verdict::Bad => "FAILED",
                };
                format!("{word:7} {text}\n")
            })
            .collect()
    }
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let mut findings = Findings::default();
    look_at_config(config, &mut findings);
    let who = look_at_node(args, config, &mut findings);
    look_at_state_dir(&config.state_dir, &mut findings);
    look_at_stores(config, &mut findings);
    look_at_templates(args, config, &who, &mut findings);
    look_at_haproxy(&mut findings);
    look_at_renders(config, &who, &mut findings);
    output::data(&findings.text())?;
    match findings.lines.iter().filter(|(verdict, _)| *verdict == Verdict::Bad).count() {
        0 => Ok(()),
        failed => {
            Err(CliError::new(Kind::Failed, format!("{failed} of {} checks failed", findings.lines.len())))
        }
    }
}

fn look_at_config(config: &Config, findings: &mut Findings) {
    let file = config.file.display();
    match config.file_found {
        true => findings.add(Verdict::Good, format!("configuration `{file}`")),
        false => findings.add(Verdict::Good, format!("no configuration `{file}`; defaults hold")),
    }
}

fn look_at_node(args: &Args, config: &Config, findings: &mut Findings) -> Identity {
    let dir = config.nodeinfo.display();
    let facts = match node::facts(config) {
        Ok(facts) => facts,
        Err(error) => {
            findings.add(Verdict::Bad, format!("nodeinfo `{dir}`: {}", error.message()));
            return args.who.identity(&crate::record::Facts::new());
        }
    };
    match node::record(config) {
        Ok(record) => {
            let size = record.to_bytes().len();
            findings.add(Verdict::Good, format!("this node is {}, its record has {size} bytes", record.id()));
        }
        Err(error) => findings.advise(Verdict::Bad, error.message(), error.advice()),
    }
    let who = args.who.identity(&facts);
    for (fact, value) in
        [("nodepart", &who.part), ("stacktype", &who.stacktype), ("deployment", &who.deployment)]
    {
        match value {
            Some(value) => findings.add(Verdict::Good, format!("{fact} {}", value.escape_debug())),
            None => findings.advise(
                Verdict::Doubtful,
                format!("no {fact}"),
                Some(format!("write it into `{dir}/{fact}.txt`, if this machine is a node")),
            ),
        }
    }
    who
}

fn look_at_state_dir(dir: &Path, findings: &mut Findings) {
    let usable = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir).map(drop));
    let shown = dir.display();
    match usable {
        Ok(()) => findings.add(Verdict::Good, format!("state directory `{shown}` can be written")),
        Err(error) => findings.advise(
            Verdict::Bad,
            format!("state directory `{shown}`: {error}"),
            Some("run as a user that may write there, or name another one with --state-dir"),
        ),
    }
}

fn look_at_stores(config: &Config, findings: &mut Findings) {
    let fleet = fleet::Fleet::read(config, !config.beat_stores.is_empty());
    let readings = fleet.readings.iter().map(|reading| (reading, "files"));
    let beat_readings = fleet.beat_readings.iter().map(|reading| (reading, "heartbeats"));
    for (reading, what) in readings.chain(beat_readings) {
        match (&reading.error, &reading.snapshot) {
            (Some(error), _) => findings.advise(Verdict::Bad, chain(error), error.hint()),
            (None, Some(snapshot)) => {
                let count = if what == "files" { snapshot.len() } else { snapshot.beats.len() };
                findings.add(Verdict::Good, format!("store `{}`: {count} {what}", reading.url));
            }
            (None, None) => {}
        }
    }
    let problems = fleet.problems();
    match problems.first() {
        None => findings.add(Verdict::Good, format!("{} nodes on the list", fleet.roster.nodes.len())),
        Some(first) => findings.advise(
            Verdict::Doubtful,
            format!(
                "{} nodes on the list, and {} problems; the first: {first}",
                fleet.roster.nodes.len(),
                problems.len()
            ),
            Some(fleet::ALL_PROBLEMS),
        ),
    }
}

fn look_at_templates(args: &Args, config: &Config, who: &Identity, findings: &mut Findings) {
    let lookup = match args.who.lookup(config, who) {
        Ok(lookup) => lookup,
        Err(error) => return findings.advise(Verdict::Bad, error.message(), error.advice()),
    };
    let all = lookup.all();
    let mut good = 0;
    for found in &all {
        match crate::template::compile(&lookup, &found.name) {
            Ok(()) => good += 1,
            Err(error) => findings.advise(Verdict::Bad, chain(&error), error.hint()),
        }
    }
    findings.add(Verdict::Good, format!("{good} of {} templates can be read", all.len()));
}

fn look_at_haproxy(findings: &mut Findings) {
    let version =
        Command::parse("haproxy -v").map(|command| command.run(Path::new(""), Duration::from_secs(5)));
    match version {
        Ok(Ok(())) => findings.add(Verdict::Good, "haproxy is installed"),
        _ => findings.advise(
            Verdict::Doubtful,
            "haproxy is not installed, or does not run",
            Some("only a load balancer needs it, and whoever uses --check 'haproxy -dW -c -f {}'"),
        ),
    }
}

/// The files that beats keep right: whether their templates are there, and whether HAProxy can be told.
fn look_at_renders(config: &Config, who: &Identity, findings: &mut Findings) {
    for render in &config.renders {
        let path = render.target.path.display();
        let dirs: Vec<_> = render.template_dirs.iter().chain(&config.template_dirs).cloned().collect();
        let who = Identity {
            part: render.part.clone().or_else(|| who.part.clone()),
            stacktype: render.stacktype.clone().or_else(|| who.stacktype.clone()),
            deployment: render.deployment.clone().or_else(|| who.deployment.clone()),
        };
        match Lookup::new(&dirs, &who).and_then(|lookup| lookup.find(&render.name)) {
            Ok(found) => findings.add(Verdict::Good, format!("`{path}` is rendered from {}", found.path)),
            Err(error) => findings.advise(Verdict::Bad, format!("`{path}`: {}", chain(&error)), error.hint()),
        }
        let short = config.agent.interval.saturating_mul(3);
        if let Some(max_age) = render.max_age.filter(|max_age| max_age.unsigned_abs() < short) {
            findings.advise(
                Verdict::Doubtful,
                format!("`{path}`: `max-age` {max_age:#} is shorter than three heartbeats"),
                Some("a healthy node that misses one or two would be left out; raise `max-age`, or lower `interval` in [agent]"),
            );
        }
        if !render.target.path.parent().is_some_and(Path::is_dir) {
            findings.add(Verdict::Bad, format!("`{path}`: there is no such directory"));
        }
        let Some(runtime) = &render.target.runtime else { continue };
        match Socket::new(&runtime.socket).running() {
            Ok(_) => {
                findings.add(Verdict::Good, format!("HAProxy answers at `{}`", runtime.socket.display()));
            }
            Err(error) => findings.advise(Verdict::Bad, chain(&error), error.hint()),
        }
    }
}
