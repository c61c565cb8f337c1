use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use wait_timeout::ChildExt;

use super::at::Moment;
use super::error::CliError;
use super::file::Output;
use super::fleet::{self, FleetStores};
use super::graph::Known;
use super::list::Select;
use super::{console, node};
use crate::beat::page::{self, EVENTS, Request};
use crate::children;
use crate::config::Config;

/// Write a page that shows the fleet in a browser
///
/// The page is one HTML file that loads nothing from elsewhere: the nodes and their facts, who is wired to whom
/// (as `presence graph` finds it out), and the last changes, through which the reader can go back in time. The
/// changes are from the first git store that answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence page -o fleet.html --open
  presence page --deployment fed1 --max-age 5m > fed1.html
  presence page --at '2026-01-31 08:00' -o then.html")]
pub(super) struct Args {
    #[command(flatten)]
    output: Output,
    /// Show at most this many changes, the last ones
    #[arg(long, value_name = "N", default_value_t = EVENTS)]
    events: usize,
    /// Let an open page look for a newer one of itself after this many seconds. For a file behind a web server
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    reload: Option<u64>,
    /// Open the file in a browser, with `xdg-open`
    #[arg(long, requires = "output")]
    open: bool,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    moment: Moment,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let to_open = if args.open { Some(to_open(args)?) } else { None };
    let selector = args.select.selector()?;
    let at = args.moment.at()?;
    let fleet = args.select.read(config, stores, at.as_ref(), true)?;
    let request = Request {
        at: at.as_ref(),
        selector: &selector,
        max_age: args.select.max_age.max_age,
        events: args.events,
        reload: args.reload,
        uses: &args.known.uses,
        template_dirs: args.known.template_dirs()?,
    };
    let progress = console::Progress::start();
    let made = page::make(config, stores, &fleet, &node::facts(config)?, &request)?;
    drop(progress);
    made.warnings.iter().for_each(|warning| console::warning(warning));
    made.notes.iter().for_each(|note| console::note(&format!("note: {note}")));
    fleet::tell_moments(&fleet);
    args.select.warn_of_nobody(&fleet.roster)?;
    console::warnings(&fleet.problems(), fleet::ALL_PROBLEMS);
    args.output.write(config, &fleet, &made.page.html)?;
    to_open.map_or(Ok(()), |path| open(&path))
}

/// The file to open, if there is a desktop to open it on.
fn to_open(args: &Args) -> Result<PathBuf, CliError> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        return Err(CliError::usage("--open needs a desktop: neither DISPLAY nor WAYLAND_DISPLAY is set")
            .hint("open the file in a browser on a machine with a screen".to_owned()));
    }
    let path = args.output.path()?;
    path.ok_or_else(|| CliError::usage("--open needs a file: `-o fleet.html`"))
}

/// How long to wait for an error of `xdg-open`. It may run as long as the browser.
const OPENING: Duration = Duration::from_secs(3);

/// Starts the user's browser, and does not wait for its end.
fn open(path: &Path) -> Result<(), CliError> {
    let mut command = Command::new("xdg-open");
    command.arg(path).stdin(Stdio::null()).stdout(Stdio::null());
    let failed = |why: String| {
        CliError::failed(format!("`xdg-open` cannot open `{}`: {why}", path.display()))
            .hint("open the file in a browser yourself".to_owned())
    };
    let mut child = children::start(&mut command).map_err(|error| failed(error.to_string()))?;
    match child.wait_timeout(OPENING).map_err(|error| failed(error.to_string()))? {
        Some(status) if !status.success() => Err(failed(status.to_string())),
        _ => Ok(()),
    }
}
