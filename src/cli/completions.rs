use super::console;
use super::error::CliError;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence completions bash > /usr/share/bash-completion/completions/presence
  presence completions zsh > \"${fpath[1]}/_presence\"")]
pub(super) struct Args {
    /// The shell: bash, elvish, fish, powershell or zsh
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "presence", &mut script);
    console::data(&String::from_utf8_lossy(&script))
}
