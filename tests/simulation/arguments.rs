//! The command line: the simulation's options, and those that `cargo test` gives to every test.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

pub(crate) const HELP: &str = "\
Usage: cargo test --test simulation -- [OPTIONS] [FILTER]...

Runs simulated worlds, each from a fixed set of seeds. A filter is part of a world's name.

  --world NAME       only this world
  --seeds N          this many seeds, instead of the fixed set
  --from S           the first seed (1)
  --minutes M        as many seeds, or as much of a long search, as M minutes allow, for all worlds together
  --seed S           only this seed
  --only-faults LIST of that seed's faults only these, such as 3,8-12
  --trace            prints the events of each run
  --threads N        this many seeds at a time (as many as there are CPUs)
  --list             prints the worlds";

/// The resolved options.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) world: Option<String>,
    pub(crate) filters: Vec<String>,
    pub(crate) seeds: Option<u64>,
    pub(crate) from: Option<u64>,
    pub(crate) time: Option<Duration>,
    pub(crate) seed: Option<u64>,
    pub(crate) only: Option<BTreeSet<u64>>,
    pub(crate) trace: bool,
    pub(crate) threads: Option<usize>,
    pub(crate) list: bool,
    pub(crate) help: bool,
}

/// The options of other tests that `cargo test -- …` hands to this one, too. They have no meaning here.
const OF_OTHERS: [&str; 9] = [
    "--exact",
    "--nocapture",
    "--no-capture",
    "--quiet",
    "-q",
    "--show-output",
    "--include-ignored",
    "--ignored",
    "--bench",
];

/// Those that have a value.
const OF_OTHERS_WITH_VALUE: [&str; 7] =
    ["--color", "--format", "--logfile", "--skip", "--test-threads", "--shuffle-seed", "-Z"];

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut found = Arguments::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let (option, attached) = match word.split_once('=') {
                Some((option, value)) if option.starts_with('-') => (option, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = || {
                let missing = || format!("`{option}` needs a value");
                attached.clone().or_else(|| words.next()).ok_or_else(missing)
            };
            match option {
                "--world" => found.world = Some(value()?),
                "--seeds" => found.seeds = Some(number(option, &value()?)?),
                "--from" => found.from = Some(number(option, &value()?)?),
                "--seed" => found.seed = Some(number(option, &value()?)?),
                "--minutes" => {
                    let minutes: f64 = number(option, &value()?)?;
                    let time = Duration::try_from_secs_f64(minutes * 60.0);
                    found.time = Some(time.map_err(|error| format!("{option}: {error}"))?);
                }
                "--threads" => found.threads = Some(number(option, &value()?)?),
                "--only-faults" => found.only = Some(set(&value()?)?),
                "--trace" => found.trace = true,
                "--list" => found.list = true,
                "--help" | "-h" => found.help = true,
                known if OF_OTHERS.contains(&known) => {}
                known if OF_OTHERS_WITH_VALUE.contains(&known) => drop(value()?),
                unknown if unknown.starts_with('-') => return Err(format!("unknown option `{unknown}`")),
                filter => found.filters.push(filter.to_owned()),
            }
        }
        Ok(found)
    }

    /// Whether the world of that name is to run.
    pub(crate) fn select(&self, name: &str) -> bool {
        self.world.as_ref().is_none_or(|world| world == name)
            && (self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter)))
    }
}

fn number<T: FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a value of `{option}`"))
}

/// A list of numbers and ranges.
fn set(text: &str) -> Result<BTreeSet<u64>, String> {
    let mut found = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        found.extend(number::<u64>("--only-faults", first)?..=number("--only-faults", last)?);
    }
    Ok(found)
}
