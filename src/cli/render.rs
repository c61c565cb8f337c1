use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::at::Moment;
use super::console;
use super::error::CliError;
use super::fleet::{self, Fleet, FleetStores, MaxAge};
use super::templates::Who;
use super::vars_file::VarsFile;
use crate::beat::absence::{self, Missed, Remembered};
use crate::beat::inputs::Inputs;
use crate::beat::rendering::{self, ComposeError, Composed, Composition, Excess, LastOutput, Rendering};
use crate::beat::{holding, machine, reachable, turn};
use crate::config::{self, Config};
use crate::output::limits::Limits;
use crate::output::{Command, Done, LastGood, Made, Memory, Owner, Target};
use crate::record::Facts;
use crate::roster::Identity;
use crate::store::At;
use crate::template::Lookup;

/// Render a template with the nodes on the list
///
/// Without -o, stdout gets the output and nothing else. With -o, the file is replaced as a whole, after its
/// check has passed, and only if its bytes differ; then the reload command runs. A failed reload is
/// remembered and tried again at the next run.
///
/// An output with too few nodes is refused (exit code 3): the file then keeps the nodes that it would lose,
/// or stays unchanged. Without -o, the last good output is printed, as it is whenever there is no new one, so
/// that `> FILE` does not leave an empty file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence render haproxy > haproxy.cfg
  presence render haproxy --part lb1 --stacktype lad1 --set stats_socket=/run/haproxy/admin.sock
  presence render database.yml -o /srv/app/config/database.yml --owner app --mode 0640
  presence render haproxy -o /etc/haproxy/haproxy.cfg --check 'haproxy -dW -c -f {}' \\
      --reload 'systemctl reload haproxy'
  presence render haproxy -o /etc/haproxy/haproxy.cfg --diff
  presence render haproxy --at '2026-01-31 08:00'")]
pub(super) struct Args {
    /// The template's name, with or without the last extension; `presence templates` lists all
    name: String,
    #[command(flatten)]
    who: Who,
    /// Set a template variable; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Set template variables from this file, one JSON object; --set overrides them. Others on the machine can
    /// read a command line, but not a file with mode 0600
    #[arg(long, value_name = "FILE")]
    vars_file: Option<VarsFile>,
    /// Write this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Set the file's mode, in octal [default: the mode it has, else 0644]
    #[arg(long, requires = "output", value_parser = config::mode)]
    mode: Option<u32>,
    /// Set the file's owner, USER or USER:GROUP [default: the owner it has]
    #[arg(long, requires = "output")]
    owner: Option<String>,
    /// Write into the file instead of replacing it, for a file that is a mount point: readers can see it half
    /// written
    #[arg(long, requires = "output")]
    in_place: bool,
    /// Require that this command succeeds on the new file before it is used; {} is the new file, and is
    /// mandatory
    #[arg(long, value_name = "CMD")]
    check: Option<String>,
    /// Run this command after the file was replaced; {} is the file
    #[arg(long, value_name = "CMD", requires = "output")]
    reload: Option<String>,
    /// Print the difference and change nothing
    #[arg(long)]
    diff: bool,
    /// Do everything up to and including the check, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Refuse an output with fewer active nodes in any part that the template asks for [default: 1 where the
    /// last good output had any]
    #[arg(long, value_name = "N")]
    min_nodes: Option<u64>,
    /// Refuse an output that loses more than this share of the last good output's active nodes [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    max_shrink: Option<u8>,
    #[command(flatten)]
    max_age: MaxAge,
    /// Treat only nodes that accept a connection on their port as active; PARTS names the parts that are
    /// asked [default: *]
    #[arg(
        long,
        value_name = "PARTS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "*",
        value_parser = glob::Pattern::new
    )]
    awake: Option<glob::Pattern>,
    /// Make no file before an active node of these parts is in scope; an existing file is rendered as ever
    #[arg(long, value_name = "PARTS", requires = "output", value_parser = glob::Pattern::new)]
    wait_for_nodes: Option<glob::Pattern>,
    /// Override the safety limits once
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    moment: Moment,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    match &args.vars_file {
        None => render(args, config, stores),
        Some(file) => render(args, &file.merged(config)?, stores),
    }
}

fn render(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    if let Some(at) = args.moment.at()? {
        return run_back(args, config, stores, &at);
    }
    let mut template = args.who.template(config, &args.name, &args.sets, None)?;
    let destination = Destination::new(args, config, &template.name, &template.who)?;
    let limits = Limits {
        min_nodes: args.min_nodes.or(config.limits.min_nodes),
        max_shrink: args.max_shrink.unwrap_or(config.limits.max_shrink),
    };

    let memory = destination.memory(&config.state_dir)?;
    let memory = memory.as_ref();
    let last = memory.and_then(Memory::last_good);
    let inputs = inputs(args, config, &template.facts, &template.lookup);
    let seen = fleet::look(stores, &args.max_age);
    let versions = seen.iter().map(|seen| (seen.url(), seen.version()));
    if let Some(inputs) = inputs.as_ref().and_then(|inputs| inputs.name(versions))
        && destination.repeat(memory, last.as_ref(), &inputs)?
    {
        tracing::info!(target: "file", template = template.name, "unchanged: every input is as for the last output");
        return Ok(());
    }
    let fleet = fleet::read_pending(config, stores, &args.max_age, seen)?;
    if let Err(error) = template.know_haproxy(memory, destination.rehearsal) {
        return destination.fail(memory, error.into());
    }
    if !fleet.is_current() {
        return destination.keep(memory, |message| {
            fleet::unreachable(&fleet, &format!("no store could be read; {message}"))
        });
    }
    let who = &template.who;
    if let Some(parts) = args.wait_for_nodes.as_ref().filter(|parts| !fleet.roster.has_active(who, parts))
        && let Some(waits) = destination.wait(memory, parts)?
    {
        warnings(&fleet, &[], who).iter().for_each(|warning| console::warning(warning));
        console::note(&waits);
        return Ok(());
    }
    let rendering = template.rendering(config, (!args.force).then_some(limits))?;
    let before =
        destination.before(memory, last.as_ref())?.ask(&fleet.roster, |away| stores.list.withdrawn(away));
    let composed = compose(args, &rendering, &fleet, limits, (&before, destination.excess(config)));
    let (composition, missed) = match composed {
        Ok(composed) => composed,
        Err(error) => return destination.fail(memory, error),
    };
    let said: Vec<String> = missed.into_iter().chain(composition.warnings).collect();
    let mut warnings = warnings(&fleet, &said, &template.who);
    warnings.extend(args.who.nobody(&fleet.roster)?);
    warnings.iter().for_each(|warning| console::warning(warning));
    let composed = match composition.result {
        Ok(composed) => composed,
        Err(error @ ComposeError::Refused(_)) => {
            let error = CliError::from(error);
            let error = match destination.table(config) {
                Some(hint) => error.hint(hint),
                None => error,
            };
            return destination.keep(memory, |message| error.after(message));
        }
        Err(error) => return destination.fail(memory, error.into()),
    };
    if args.diff {
        return console::data(&destination.diff(memory, &composed.text)?);
    }
    if let Err(error) = destination.check_stdout(&composed.text) {
        return destination.fail(memory, error);
    }
    if args.dry_run {
        destination.rehearse(&composed.text)?;
        return destination.limited(composed);
    }
    // The versions of what was read, which may be newer than the look.
    let made = inputs.and_then(|inputs| Some(Made { inputs: inputs.name(fleet.versions())?, warnings }));
    // While a limit holds nodes, every run must report it, so it must not be repeated from memory.
    destination.write(memory, &composed, made.filter(|_| composed.refused.is_empty()))?;
    destination.limited(composed)
}

/// Renders the list as it was. Uses and changes no memory, and applies no safety limit.
fn run_back(args: &Args, config: &Config, stores: &FleetStores, at: &At) -> Result<(), CliError> {
    let unusable = [
        (args.output.is_some(), "--output", "it would put the past into a file that is in use"),
        (args.diff, "--diff", "`presence diff A B --render NAME` compares two moments"),
        (args.max_age.max_age.is_some(), "--max-age", "the past has no heartbeats"),
        (args.awake.is_some(), "--awake", "nodes answer now only"),
    ];
    if let Some((_, option, why)) = unusable.iter().find(|(is_given, ..)| *is_given) {
        return Err(CliError::usage(format!("{option} cannot be used with --at: {why}")));
    }
    let check = args.check.as_deref().map(Command::parse_check).transpose()?;
    let fleet = fleet::read_back(config, stores, at)?;
    let past = Past { name: &args.name, who: &args.who, sets: &args.sets };
    let text = past.render(config, &fleet)?;
    if let Some(check) = check {
        crate::output::check_text(&check, &args.name, &text, config.command_limit)?;
    }
    console::data(&text)
}

/// A template to render with the list of a past moment.
pub(super) struct Past<'a> {
    /// The template's name.
    pub(super) name: &'a str,
    pub(super) who: &'a Who,
    /// Variables on the command line.
    pub(super) sets: &'a [String],
}

impl Past<'_> {
    /// The output, as for the first time. Prints the warnings.
    pub(super) fn render(&self, config: &Config, fleet: &Fleet) -> Result<String, CliError> {
        let mut template = self.who.template(config, self.name, self.sets, None)?;
        template.know_haproxy(None, true)?;
        let rendering = template.rendering(config, None)?;
        let composition =
            rendering::compose(&rendering, &fleet.roster, &LastOutput::default(), Excess::Refuse)?;
        let warnings = warnings(fleet, &composition.warnings, &template.who);
        warnings.iter().for_each(|warning| console::warning(warning));
        Ok(composition.result?.text)
    }
}

/// Renders without the missed nodes and names them. If the list loses too many nodes, keeps them. An output that
/// is all or nothing is refused if the last good one loses too many.
fn compose(
    args: &Args,
    rendering: &Rendering<'_>,
    fleet: &Fleet,
    limits: Limits,
    (before, excess): (&LastOutput, Excess),
) -> Result<(Composition, Vec<String>), CliError> {
    let mut missed = Missed::default();
    let mut said = Vec::new();
    if let Some(max_age) = args.max_age.max_age {
        missed = absence::silent(&fleet.roster, fleet.evidence()?, max_age);
    }
    if let Some(parts) = &args.awake {
        let asked = reachable::ask(&fleet.roster, rendering.who, parts);
        said.extend(asked.unasked);
        missed.gone.extend(asked.silent);
    }
    // With `--force`, all missed nodes are dropped.
    let holds = if args.force { Limits { min_nodes: Some(0), max_shrink: 100 } } else { limits };
    let holds = (holds, args.max_age.max_age);
    let attendance = holding::attend(rendering, &fleet.roster, &missed, holds, None, &Remembered::default())?;
    let refused = match attendance.remembered.held.is_empty() || excess == Excess::Hold {
        true => None,
        false => {
            let heard = absence::without(&fleet.roster, missed.gone.keys());
            let strict = rendering::compose(rendering, &heard, before, Excess::Refuse)?;
            Some(strict).filter(|strict| matches!(strict.result, Err(ComposeError::Refused(_))))
        }
    };
    let drops = refused.is_none().then_some("`--force`");
    said.extend(attendance.warnings_by_hand(limits, drops));
    let composition = match refused {
        Some(refused) => refused,
        None => rendering::compose(rendering, &attendance.roster, before, excess)?,
    };
    Ok((composition, said.into_iter().map(|warning| warning.text).collect()))
}

/// The inputs of this rendering, if the last output from equal inputs may be repeated. `None` if the user only
/// looks or wants details, or if the result depends on the time, on nodes' answers or on a check of stdout.
fn inputs(args: &Args, config: &Config, facts: &Facts, lookup: &Lookup) -> Option<Inputs> {
    let checks_stdout = args.output.is_none() && args.check.is_some();
    let looks = args.diff || args.dry_run || console::is_verbose();
    match looks || checks_stdout || args.max_age.max_age.is_some() || args.awake.is_some() {
        true => None,
        false => Inputs::new(args, config, facts, lookup),
    }
}

/// The destination of the output.
struct Destination {
    /// Identifies the memory of this output.
    key: String,
    /// Nothing is written, so the last good output is not printed instead of a new one.
    rehearsal: bool,
    kind: DestinationKind,
}

enum DestinationKind {
    /// stdout, with a name for diffs and for the check.
    Stdout {
        name: String,
        check: Option<Command>,
        limit: std::time::Duration,
    },
    File(Box<Target>),
}

impl Destination {
    fn new(args: &Args, config: &Config, name: &str, who: &Identity) -> Result<Destination, CliError> {
        let check = args.check.as_deref().map(Command::parse_check).transpose()?;
        let limit = config.command_limit;
        let rehearsal = args.diff || args.dry_run;
        match args.output.as_deref().filter(|path| path.as_os_str() != "-") {
            None => {
                // The stores are not part of the key: a mistyped store must not get a memory of its own, and
                // with it no limits.
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
                    in_place: args.in_place,
                    check,
                    reload: args.reload.as_deref().map(Command::parse).transpose()?,
                    socket: None,
                    runtime: None,
                    hold_reload: false,
                    command_limit: limit,
                    path,
                };
                Ok(Destination {
                    key: machine::key(&target.path),
                    rehearsal,
                    kind: DestinationKind::File(Box::new(target)),
                })
            }
        }
    }

    /// The memory of the output. stdout is also rendered without one, as if for the first time.
    fn memory(&self, state_dir: &Path) -> Result<Option<Memory>, CliError> {
        let memory = Memory::open(state_dir, &self.key);
        match (&self.kind, memory) {
            (DestinationKind::Stdout { .. }, Err(error)) => {
                console::warning(&format!(
                    "{}; presence keeps no copy of the output and applies no safety limit",
                    crate::errors::chain(&error)
                ));
                Ok(None)
            }
            (DestinationKind::File(target), Ok(memory)) => {
                if !self.rehearsal {
                    target.recover(&memory)?;
                }
                Ok(Some(memory))
            }
            (_, memory) => Ok(Some(memory?)),
        }
    }

    fn before(&self, memory: Option<&Memory>, last: Option<&LastGood>) -> Result<LastOutput, CliError> {
        let Some(memory) = memory else { return Ok(LastOutput::default()) };
        match &self.kind {
            DestinationKind::Stdout { .. } => Ok(turn::remembered(memory, last)),
            DestinationKind::File(target) => Ok(turn::before(target, memory, last)?),
        }
    }

    /// What to do about a question that loses too many nodes. A file keeps the lost nodes, as in a beat. A
    /// file that has a `[[render]]` table is rendered with other variables there, so nothing is written.
    /// Output to stdout is all or nothing.
    fn excess(&self, config: &Config) -> Excess {
        match &self.kind {
            DestinationKind::File(_) if self.table(config).is_none() => Excess::Hold,
            DestinationKind::File(_) | DestinationKind::Stdout { .. } => Excess::Refuse,
        }
    }

    /// An error if a safety limit holds nodes in the file.
    fn limited(&self, composed: Composed) -> Result<(), CliError> {
        let DestinationKind::File(target) = &self.kind else { return Ok(()) };
        if composed.refused.is_empty() {
            return Ok(());
        }
        let held = composed.held.len();
        let plural = if held == 1 { "" } else { "s" };
        let path = target.path.display();
        Err(CliError::from(ComposeError::Refused(composed.refused)).after(&format!(
            "`{path}` keeps {held} node{plural} of its last good output, and otherwise follows the list"
        )))
    }

    /// The hint for a refusal if the file has a `[[render]]` table: this command's variables would make a
    /// different file.
    fn table(&self, config: &Config) -> Option<String> {
        let DestinationKind::File(target) = &self.kind else { return None };
        config.renders.iter().any(|render| render.target.path == target.path).then(|| {
            format!(
                "`presence list` shows the nodes; `{}` has a [[render]] table: if this is intended, run `{}`",
                target.path.display(),
                config.to_accept(&target.path)
            )
        })
    }

    /// Repeats the effects of the last good output without rendering, if it was made from the same inputs.
    /// False, without any effect, if there is more to do.
    fn repeat(
        &self,
        memory: Option<&Memory>,
        last: Option<&LastGood>,
        inputs: &str,
    ) -> Result<bool, CliError> {
        let Some(memory) = memory else { return Ok(false) };
        let Some((last, made)) = last.and_then(|last| Some((last, last.made.as_ref()?))) else {
            return Ok(false);
        };
        if made.inputs != inputs {
            return Ok(false);
        }
        let warn = || made.warnings.iter().for_each(|warning| console::warning(warning));
        match &self.kind {
            DestinationKind::Stdout { .. } => {
                let Some(output) = memory.last_output() else { return Ok(false) };
                warn();
                console::data(&output)?;
            }
            DestinationKind::File(target) => {
                let Some(result) = target.confirm(memory, last)? else { return Ok(false) };
                warn();
                console::note(&done(&target.path.display(), target, &result));
            }
        }
        Ok(true)
    }

    /// Leaves the file unchanged or prints the last good output, and returns an error with the reason.
    fn keep(&self, memory: Option<&Memory>, error: impl FnOnce(&str) -> CliError) -> Result<(), CliError> {
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

    /// Fails with that error. A shell that redirects stdout into a file has already emptied it, so the last
    /// good output is printed.
    fn fail(&self, memory: Option<&Memory>, error: CliError) -> Result<(), CliError> {
        match &self.kind {
            DestinationKind::Stdout { .. } if !self.rehearsal && self.print_last(memory)? => {
                Err(error.after("the last good output was printed instead"))
            }
            _ => Err(error),
        }
    }

    fn print_last(&self, memory: Option<&Memory>) -> Result<bool, CliError> {
        match memory.and_then(Memory::last_output) {
            Some(output) => console::data(&output).map(|()| true),
            None => Ok(false),
        }
    }

    fn diff(&self, memory: Option<&Memory>, new: &str) -> Result<String, CliError> {
        let (name, old) = match &self.kind {
            DestinationKind::Stdout { name, .. } => {
                (name.clone(), memory.and_then(Memory::last_output).unwrap_or_default())
            }
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
            DestinationKind::Stdout { .. } => console::data(text),
            DestinationKind::File(target) => {
                let path = target.path.display();
                let mut lost = Vec::new();
                let done = target.rehearse(text.as_bytes(), &mut lost);
                lost.iter().for_each(|lost| console::warning(&format!("{path}: {lost}")));
                console::note(&would(&path, target, &done?));
                Ok(())
            }
        }
    }

    fn write(
        &self,
        memory: Option<&Memory>,
        composed: &Composed,
        made: Option<Made>,
    ) -> Result<(), CliError> {
        match &self.kind {
            DestinationKind::Stdout { .. } => {
                // A full disk must not prevent the output as well.
                if let Some(Err(error)) =
                    memory.map(|memory| turn::remember(memory, composed, made, Some(&composed.text)))
                {
                    console::warning(&format!(
                        "{}; presence keeps no copy of the output",
                        crate::errors::chain(&error)
                    ));
                }
                console::data(&composed.text)
            }
            DestinationKind::File(target) => {
                // Always present: for a file, `memory` returns it or an error.
                let Some(memory) = memory else { return Ok(()) };
                let mut lost = Vec::new();
                let result = turn::put(target, memory, composed, made, &mut lost);
                lost.iter().for_each(|lost| console::warning(&format!("{}: {lost}", target.path.display())));
                let result = result?;
                console::note(&done(&target.path.display(), target, &result));
                Ok(())
            }
        }
    }

    /// The report that the file waits for its nodes; `None` if there is a file.
    fn wait(&self, memory: Option<&Memory>, parts: &glob::Pattern) -> Result<Option<String>, CliError> {
        let DestinationKind::File(target) = &self.kind else { return Ok(None) };
        let exists = memory.map(|memory| memory.current(&target.path)).transpose()?.flatten().is_some();
        let waits = Done::Waits(parts.to_string());
        Ok((!exists).then(|| done(&target.path.display(), target, &waits)))
    }

    /// Checks an output for stdout, in a temporary file.
    fn check_stdout(&self, text: &str) -> Result<(), CliError> {
        let DestinationKind::Stdout { name, check: Some(check), limit } = &self.kind else { return Ok(()) };
        crate::output::check_text(check, name, text, *limit).map_err(CliError::from)
    }
}

/// The effect that a run would have, as a sentence.
pub(super) fn would(path: &impl std::fmt::Display, target: &Target, done: &Done) -> String {
    match (done, &target.reload) {
        (Done::Unchanged, _) => format!("{path} is already up to date"),
        (Done::Waits(_), _) => format!("{path} is {done}"),
        (_, Some(reload)) if target.runtime.is_none() => format!("would replace {path} and run `{reload}`"),
        (_, Some(reload)) => {
            format!(
                "would replace {path} and update HAProxy at run time, or run `{reload}` if that is not enough"
            )
        }
        (_, None) => format!("would replace {path}"),
    }
}

/// The effect of the run, as a sentence.
pub(super) fn done(path: &impl std::fmt::Display, target: &Target, done: &Done) -> String {
    match done {
        Done::Unchanged => format!("{path} is unchanged"),
        Done::Replaced if target.reload.is_some() => format!("{path} replaced and reloaded"),
        Done::Reloaded => format!("{path} is unchanged; the pending reload has succeeded"),
        Done::Held(_) | Done::Followed(_) | Done::Waits(_) => format!("{path} is {done}"),
        Done::Adjusted | Done::Replaced | Done::ReloadedFor(_) => format!("{path} {done}"),
    }
}

/// All warnings about a rendering, as they are printed.
fn warnings(fleet: &Fleet, warnings: &[String], who: &Identity) -> Vec<String> {
    let mut lines = fleet.problems();
    lines.extend(warnings.iter().cloned());
    let mut lines = console::shortened(&lines, fleet::ALL_PROBLEMS);
    lines.extend(rendering::unscoped(who, &fleet.roster));
    lines
}
