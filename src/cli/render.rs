use std::path::PathBuf;

use serde_json::{Map, Value};
use similar::TextDiff;
use xxhash_rust::xxh3::Xxh3Default;

use super::error::{CliError, Kind};
use super::fleet::{self, Fleet, MaxAge};
use super::inputs::Inputs;
use super::templates::Who;
use super::{node, output};
use crate::config::Config;
use crate::record::Facts;
use crate::roster::Identity;
use crate::target::limits::{self, Counts, Limits, Refusal};
use crate::target::{self, Command, Done, LastGood, Made, Memory, Owner, Target, TargetError};
use crate::template::{self, Lookup, Rendered, Request};

/// Render a template with the nodes on the list
///
/// Without -o, stdout is the file and nothing else. With -o, the file is replaced whole, after its check has passed, and
/// only if its bytes differ; then the reload command is run. A reload that fails is remembered and tried again at the next
/// run.
///
/// An output with too few nodes is refused (exit code 3): then the last good one stands. Without -o it is printed, as it
/// is whenever there is no new one, so that `> FILE` does not leave an empty file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence render haproxy > haproxy.cfg
  presence render haproxy --part lb1 --stacktype lad1 --set stats_socket=/run/haproxy/admin.sock
  presence render database.yml -o /srv/app/config/database.yml --owner app --mode 0640
  presence render haproxy -o /etc/haproxy/haproxy.cfg --check 'haproxy -dW -c -f {}' \\
      --reload 'systemctl reload haproxy'
  presence render haproxy -o /etc/haproxy/haproxy.cfg --diff")]
pub(super) struct Args {
    /// The template, with or without its last extension; `presence templates` lists them
    name: String,
    #[command(flatten)]
    who: Who,
    /// Set a template variable; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Write this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The file's mode, in octal [default: the mode it has, else 0644]
    #[arg(long, requires = "output", value_parser = octal)]
    mode: Option<u32>,
    /// The file's owner, USER or USER:GROUP [default: the owner it has]
    #[arg(long, requires = "output")]
    owner: Option<String>,
    /// A command that must succeed on the new file before it is used; {} is the file
    #[arg(long, value_name = "CMD")]
    check: Option<String>,
    /// A command to run after the file was replaced; {} is the file
    #[arg(long, value_name = "CMD", requires = "output")]
    reload: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    diff: bool,
    /// Do everything up to the check, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Refuse fewer active nodes for any part that the template asks for [default: 1 where the last good output had any]
    #[arg(long, value_name = "N")]
    min_nodes: Option<u64>,
    /// Refuse a loss of more than this share of the last good output's active nodes [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    max_shrink: Option<u8>,
    #[command(flatten)]
    max_age: MaxAge,
    /// Override the safety limits, this once
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let facts = node::facts(config)?;
    let who = args.who.identity(&facts);
    let lookup = args.who.lookup(config, &who)?;
    let name = lookup.find(&args.name)?.name;
    let vars = variables(config, &args.sets)?;
    let destination = Destination::new(args, config, &name, &who)?;
    let limits = Limits {
        min_nodes: args.min_nodes.or(config.limits.min_nodes),
        max_shrink: args.max_shrink.unwrap_or(config.limits.max_shrink),
    };

    let memory = Memory::open(&config.state_dir, &destination.key)?;
    let last = memory.last_good();
    let inputs = inputs(args, config, &facts, &lookup);
    let seen = fleet::look(config, &args.max_age)?;
    let stamps = seen.iter().map(|seen| (seen.url(), seen.stamp()));
    if let Some(inputs) = inputs.as_ref().and_then(|inputs| inputs.name(stamps))
        && destination.repeat(&memory, last.as_ref(), &inputs)?
    {
        return Ok(());
    }
    let fleet = fleet::read_seen(config, &args.max_age, false, seen)?;
    if !fleet.is_current() {
        return destination
            .keep(&memory, |message| fleet.unreachable(&format!("no store could be read; {message}")));
    }
    let request = Request {
        name: &name,
        lookup: &lookup,
        who: &who,
        facts: &facts,
        roster: &fleet.roster,
        vars: &vars,
        tree: tree(&fleet),
    };
    let rendered = match template::render(&request) {
        Ok(rendered) => rendered,
        Err(error) => return destination.fail(&memory, error.into()),
    };
    let warnings = warnings(&fleet, &rendered, &who);
    warnings.iter().for_each(|warning| output::warning(warning));
    if !args.force {
        let refusals = limits::judge(
            limits,
            destination.before(last.as_ref(), &rendered.counts)?.as_ref(),
            &rendered.counts,
        );
        if !refusals.is_empty() {
            return destination.keep(&memory, |message| refused(&refusals, message));
        }
    }
    let text = match rendered.text {
        Ok(text) => text,
        Err(error) => return destination.fail(&memory, error.into()),
    };
    if args.diff {
        return output::data(&destination.diff(&memory, &text)?);
    }
    if let Err(error) = destination.check_stdout(&text) {
        return destination.fail(&memory, error);
    }
    if args.dry_run {
        return destination.rehearse(&text);
    }
    // The stamps of what was read, which may be younger than the look.
    let made = inputs.and_then(|inputs| Some(Made { inputs: inputs.name(fleet.stamps())?, warnings }));
    let good = LastGood { counts: rendered.counts, digest: target::digest(text.as_bytes()), made };
    destination.write(&memory, good, &text)
}

/// What this rendering is made from, if it may be repeated without being made again: somebody who only looks, who wants
/// to know more, or whose answer depends on the time or on a command, gets a new one.
fn inputs(args: &Args, config: &Config, facts: &Facts, lookup: &Lookup) -> Option<Inputs> {
    let checks_stdout = args.output.is_none() && args.check.is_some();
    let looks = args.diff || args.dry_run || output::is_verbose();
    match looks || checks_stdout || args.max_age.max_age.is_some() {
        true => None,
        false => Inputs::new(args, config, facts, lookup),
    }
}

/// Where the output goes.
struct Destination {
    /// What its memory is known by.
    key: String,
    /// Somebody only looks: no last good output in place of a new one.
    rehearsal: bool,
    kind: DestinationKind,
}

enum DestinationKind {
    /// stdout, with a name for diffs and for a check.
    Stdout {
        name: String,
        check: Option<Command>,
        limit: std::time::Duration,
    },
    File(Box<Target>),
}

impl Destination {
    fn new(args: &Args, config: &Config, name: &str, who: &Identity) -> Result<Destination, CliError> {
        let check = args.check.as_deref().map(Command::parse).transpose()?;
        let limit = config.command_limit;
        let rehearsal = args.diff || args.dry_run;
        match args.output.as_deref().filter(|path| path.as_os_str() != "-") {
            None => {
                // Not the stores: one that is spelt wrong must not get a memory of its own, and with it no limit.
                let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
                let key = format!(
                    "stdout {name} {} {} {}",
                    word(&who.part),
                    word(&who.stacktype),
                    word(&who.deployment)
                );
                let kind = DestinationKind::Stdout { name: name.to_owned(), check, limit };
                Ok(Destination { key, rehearsal, kind })
            }
            Some(path) => {
                let path = std::path::absolute(path)
                    .map_err(|error| CliError::usage(format!("cannot find `{}`: {error}", path.display())))?;
                let target = Target {
                    mode: args.mode,
                    owner: args.owner.as_deref().map(Owner::parse).transpose()?,
                    check,
                    reload: args.reload.as_deref().map(Command::parse).transpose()?,
                    command_limit: limit,
                    path,
                };
                Ok(Destination {
                    key: format!("file {}", target.path.display()),
                    rehearsal,
                    kind: DestinationKind::File(Box::new(target)),
                })
            }
        }
    }

    /// The last good output's counts. A file that is in place and of which nothing is remembered had at least one node
    /// of each kind: it may be anybody's work, and must not be emptied by a first run.
    fn before(&self, last: Option<&LastGood>, now: &Counts) -> Result<Option<Counts>, CliError> {
        if let Some(last) = last {
            return Ok(Some(last.counts.clone()));
        }
        let DestinationKind::File(target) = &self.kind else { return Ok(None) };
        let in_place = target.current()?.is_some_and(|bytes| !bytes.is_empty());
        Ok(in_place.then(|| {
            now.keys()
                .map(|question| (question.clone(), limits::Count { active: 1, leaving: u64::MAX }))
                .collect()
        }))
    }

    /// Does again what was done when the last good output was made, if it was made from the same inputs: next to
    /// nothing. False, and nothing done, if there is more to do.
    fn repeat(&self, memory: &Memory, last: Option<&LastGood>, inputs: &str) -> Result<bool, CliError> {
        let Some((last, made)) = last.and_then(|last| Some((last, last.made.as_ref()?))) else {
            return Ok(false);
        };
        if made.inputs != inputs {
            return Ok(false);
        }
        let warn = || made.warnings.iter().for_each(|warning| output::warning(warning));
        match &self.kind {
            DestinationKind::Stdout { .. } => {
                let Some(output) = memory.last_output() else { return Ok(false) };
                warn();
                output::data(&output)?;
            }
            DestinationKind::File(target) => {
                let Some(done) = target.confirm(memory, &last.digest)? else { return Ok(false) };
                warn();
                self.tell(target, done);
            }
        }
        Ok(true)
    }

    /// Leaves the file as it is, or prints the last good output, and says why.
    fn keep(&self, memory: &Memory, error: impl FnOnce(&str) -> CliError) -> Result<(), CliError> {
        let message = match &self.kind {
            DestinationKind::File(target) => format!("`{}` is left as it is", target.path.display()),
            DestinationKind::Stdout { .. } if self.rehearsal => "nothing was printed".to_owned(),
            DestinationKind::Stdout { .. } if self.print_last(memory)? => {
                "the last good output was printed instead".to_owned()
            }
            DestinationKind::Stdout { .. } => "there is no last good output to print instead".to_owned(),
        };
        Err(error(&message))
    }

    /// Fails with that error. Who redirects stdout into a file has emptied it already: the last good output fills it.
    fn fail(&self, memory: &Memory, error: CliError) -> Result<(), CliError> {
        match &self.kind {
            DestinationKind::Stdout { .. } if !self.rehearsal && self.print_last(memory)? => {
                Err(error.after("the last good output was printed instead"))
            }
            _ => Err(error),
        }
    }

    fn print_last(&self, memory: &Memory) -> Result<bool, CliError> {
        match memory.last_output() {
            Some(output) => output::data(&output).map(|()| true),
            None => Ok(false),
        }
    }

    fn diff(&self, memory: &Memory, new: &str) -> Result<String, CliError> {
        let (name, old) = match &self.kind {
            DestinationKind::Stdout { name, .. } => (name.clone(), memory.last_output().unwrap_or_default()),
            DestinationKind::File(target) => {
                let bytes = target.current()?.unwrap_or_default();
                (target.path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        let diff = TextDiff::from_lines(old.as_str(), new);
        Ok(diff.unified_diff().header(&name, &format!("{name} (new)")).to_string())
    }

    fn rehearse(&self, text: &str) -> Result<(), CliError> {
        match &self.kind {
            DestinationKind::Stdout { .. } => output::data(text),
            DestinationKind::File(target) => {
                let path = target.path.display();
                output::note(&match target.rehearse(text.as_bytes())? {
                    Done::Unchanged => format!("{path} is right already"),
                    _ => match &target.reload {
                        Some(reload) => format!("would replace {path} and run `{reload}`"),
                        None => format!("would replace {path}"),
                    },
                });
                Ok(())
            }
        }
    }

    fn write(&self, memory: &Memory, good: LastGood, text: &str) -> Result<(), CliError> {
        match &self.kind {
            DestinationKind::Stdout { .. } => {
                memory.keep(&good, Some(text))?;
                output::data(text)
            }
            DestinationKind::File(target) => match target.apply(memory, text.as_bytes()) {
                Ok(done) => {
                    memory.keep(&good, None)?;
                    self.tell(target, done);
                    Ok(())
                }
                Err(error) => {
                    // In place is good, though the reload has failed; it is owed, so that not all is done.
                    if matches!(error, TargetError::Reload { .. }) {
                        memory.keep(&LastGood { made: None, ..good }, None)?;
                    }
                    Err(error.into())
                }
            },
        }
    }

    /// Says what was done to a file.
    fn tell(&self, target: &Target, done: Done) {
        let path = target.path.display();
        output::note(&match done {
            Done::Unchanged => format!("{path} is unchanged"),
            Done::Adjusted => format!("{path} has got its mode and owner"),
            Done::Replaced if target.reload.is_some() => format!("{path} replaced and reloaded"),
            Done::Replaced => format!("{path} replaced"),
            Done::Reloaded => format!("{path} is unchanged; the reload that was owed has succeeded"),
        });
    }

    /// Checks an output that goes to stdout, in a file of its own.
    fn check_stdout(&self, text: &str) -> Result<(), CliError> {
        let DestinationKind::Stdout { name, check: Some(check), limit } = &self.kind else { return Ok(()) };
        crate::target::check_text(check, name, text, *limit).map_err(CliError::from)
    }
}

fn refused(refusals: &[Refusal], message: &str) -> CliError {
    let told: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
    CliError::new(Kind::Kept, format!("refused by a safety limit: {}; {message}", told.join("; ")))
        .hint("`presence list` shows who is there; if this is meant, run it once with --force".to_owned())
}

/// The variables of the configuration, with those of the command line over them.
fn variables(config: &Config, sets: &[String]) -> Result<Map<String, Value>, CliError> {
    let mut vars = config.vars.clone();
    for set in sets {
        let Some((key, value)) = set.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(CliError::usage(format!("--set `{set}` is not of the form KEY=VALUE")));
        };
        let value = match value {
            // So that {{#if vars.x}} does what it says.
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => text.into(),
        };
        vars.insert(key.to_owned(), value);
    }
    Ok(vars)
}

/// Names the records that are rendered, whichever stores they came from.
fn tree(fleet: &Fleet) -> String {
    let mut hash = Xxh3Default::new();
    for node in &fleet.roster.nodes {
        let packed = node.record.packed();
        hash.update(&(packed.len() as u64).to_le_bytes());
        hash.update(packed);
    }
    format!("{:032x}", hash.digest128())
}

/// What is to be said about a rendering, as it is printed.
fn warnings(fleet: &Fleet, rendered: &Rendered, who: &Identity) -> Vec<String> {
    let mut lines = fleet.problems();
    lines.extend(rendered.warnings.iter().cloned());
    let mut lines = output::shortened(&lines, fleet::ALL_PROBLEMS);
    for (fact, own, values) in [
        ("deployment", &who.deployment, distinct(fleet, "deployment")),
        ("stacktype", &who.stacktype, distinct(fleet, "stacktype")),
    ] {
        if own.is_none() && values > 1 {
            lines.push(format!(
                "no {fact} is given, so nodes of all {values} {fact}s are in scope; --{fact} or the fact `{fact}` narrows it"
            ));
        }
    }
    lines
}

fn distinct(fleet: &Fleet, fact: &str) -> usize {
    let values: std::collections::BTreeSet<_> =
        fleet.roster.nodes.iter().filter_map(|node| node.record.text(fact)).collect();
    values.len()
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("a mode is up to four octal digits, for example 0640".to_owned()),
    }
}
