use std::time::Duration;

use super::console;
use super::error::CliError;
use crate::beat::mirror::{Mirror, Round};
use crate::config::Config;
use crate::errors::chain;
use crate::schedule::back_off;
use crate::store::{StoreError, shown_url};

/// The waits after failed rounds.
const BASE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Copy the list from one store to another, and keep it copied
///
/// Copies the records that TO lacks or has in an older form, byte for byte, and the heartbeats of nodes that TO
/// does not hear itself. A record that is newer in TO stays: its node has moved there. Other stores of the
/// configuration do not matter.
///
/// With --follow, it does so again at each change of FROM. It then also removes nodes that withdrew from FROM
/// meanwhile, if their records in TO are its own copies. So a fleet can move from one store to another, node by
/// node, while balancers read either. Stop it with a signal when FROM has no more publishers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence mirror ssh://git@git.example.net/srv/list.git etcd://192.0.2.1,192.0.2.2,192.0.2.3/presence
  presence mirror --follow etcd://192.0.2.1/presence /srv/history.git")]
pub(super) struct Args {
    /// The store to read
    from: String,
    /// The store to write
    to: String,
    /// Copy each change until a signal ends the program
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    if args.from == args.to {
        return Err(CliError::usage("FROM and TO are the same store"));
    }
    let mut mirror = Mirror::new(config, &args.from, &args.to);
    let done = match args.follow {
        true => follow(&mut mirror),
        false => once(args, &mut mirror),
    };
    mirror.finish();
    done
}

fn once(args: &Args, mirror: &mut Mirror<'_>) -> Result<(), CliError> {
    let mut round = mirror.round()?;
    tell(&round)?;
    let Round { records, newer, beats, .. } = round;
    console::note(&format!(
        "{}: {records} records, {} changed in {}, {newer} newer there, {beats} heartbeats copied",
        shown_url(&args.from),
        round.changes.len(),
        shown_url(&args.to)
    ));
    match round.errors.pop() {
        None => Ok(()),
        Some(last) => {
            round.errors.iter().for_each(|error| console::warning(&chain(error)));
            Err(last.into())
        }
    }
}

fn follow(mirror: &mut Mirror<'_>) -> Result<(), CliError> {
    let mut failures = 0;
    let mut told = None;
    loop {
        let failed = match mirror.round() {
            Ok(round) => {
                tell(&round)?;
                round.errors.into_iter().next()
            }
            Err(error) => Some(error),
        };
        complain(failed.as_ref(), &mut told);
        match failed {
            None => {
                failures = 0;
                mirror.wait();
            }
            Some(_) => {
                failures += 1;
                std::thread::sleep(back_off(failures, BASE, LONGEST, fastrand::f64()));
            }
        }
    }
}

/// Prints a failure once, and its end.
fn complain(failed: Option<&StoreError>, told: &mut Option<String>) {
    let text = failed.map(|error| chain(error));
    if text == *told {
        return;
    }
    match (&text, failed) {
        (Some(text), Some(error)) => {
            console::warning(text);
            error.hint().iter().for_each(|hint| console::remedy(hint));
        }
        _ => console::note("both stores answer again"),
    }
    *told = text;
}

fn tell(round: &Round) -> Result<(), CliError> {
    let lines: String = round.changes.iter().map(|(id, change)| format!("{id}: {change}\n")).collect();
    match lines.is_empty() {
        true => Ok(()),
        false => console::report(&lines),
    }
}
