//! The option `-o`: a file instead of stdout.

use std::path::{Path, PathBuf};

use super::console;
use super::error::CliError;
use super::fleet::{self, Fleet};
use crate::beat::machine;
use crate::config::Config;
use crate::output::{Memory, Target};

/// Where a drawing or a page goes.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// Write this file instead of stdout. It is replaced as a whole, and left as it is if no store answers
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Output {
    /// The absolute path of the file; `None` for stdout.
    pub(super) fn path(&self) -> Result<Option<PathBuf>, CliError> {
        let Some(path) = self.output.as_deref().filter(|path| path.as_os_str() != "-") else {
            return Ok(None);
        };
        let absolute = std::path::absolute(path);
        absolute
            .map(Some)
            .map_err(|error| CliError::usage(format!("cannot find `{}`: {error}", path.display())))
    }

    /// Writes the text that was made of that fleet. If no store answers, stdout gets what the last copies have.
    pub(super) fn write(&self, config: &Config, fleet: &Fleet, text: &str) -> Result<(), CliError> {
        match (self.path()?, fleet.is_current()) {
            (None, true) => console::data(text),
            (Some(path), true) => replace(config, &path, text),
            (Some(path), false) => {
                let message = format!("no store could be read; `{}` is left as it is", path.display());
                Err(fleet::unreachable(fleet, &message))
            }
            (None, false) if fleet.readings.iter().any(|reading| reading.snapshot.is_some()) => {
                console::data(text)?;
                Err(fleet::unreachable(fleet, "no store could be read; this is from the last copies"))
            }
            (None, false) => {
                Err(fleet::unreachable(fleet, "no store could be read, and there is no earlier copy"))
            }
        }
    }
}

/// Replaces the whole file. Its mode and owner stay.
fn replace(config: &Config, path: &Path, text: &str) -> Result<(), CliError> {
    let target = Target::plain(path.to_owned(), config.command_limit);
    let memory = Memory::open(&config.state_dir, &machine::key(path))?;
    let mut lost = Vec::new();
    let done = target.apply(&memory, text.as_bytes(), &mut lost);
    lost.iter().for_each(|lost| console::warning(&format!("{}: {lost}", path.display())));
    done.map_err(CliError::from).map(|done| console::note(&format!("{} {done}", path.display())))
}
