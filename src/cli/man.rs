use std::fs;
use std::path::PathBuf;

use super::console;
use super::error::CliError;
use crate::errors::AtPath;

/// Print the manual page, or write all of them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence man | man -l -\n  presence man --dir /usr/local/share/man/man1"
)]
pub(super) struct Args {
    /// Write the pages of this command and all subcommands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let command = super::command();
    match &args.dir {
        Some(dir) => {
            fs::create_dir_all(dir).at("make", dir)?;
            Ok(clap_mangen::generate_to(command, dir).at("write manual pages into", dir)?)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(|error| CliError::failed(format!("cannot make the manual page: {error}")))?;
            console::data(&String::from_utf8_lossy(&page))
        }
    }
}
