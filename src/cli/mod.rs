//! The command line: one file per subcommand. Only this module prints.

mod accept;
mod agent;
mod at;
mod beat;
mod check;
mod completions;
mod console;
mod diff;
mod doctor;
mod emit;
mod error;
mod file;
mod fleet;
mod graph;
mod init;
mod list;
mod log;
mod logging;
mod man;
mod mirror;
mod node;
mod page;
mod past;
mod publish;
mod render;
mod replay;
mod show;
mod state;
mod templates;
mod trial;
mod vars_file;
mod withdraw;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{Config, FAST_PATH, RawOptions};
use error::{CliError, ExitKind};

/// Service discovery that is just a folder
///
/// Every node of a fleet publishes a record: one JSON file in a folder kept in git. Templates turn the
/// records into the config of load balancers and applications.
#[derive(Debug, Parser)]
#[command(name = "presence", version, max_term_width = 100, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  presence publish                              put this node on the list
  presence list --part 'app*'                   who is there
  presence render haproxy > haproxy.cfg         a load balancer's config
  presence render haproxy -o /etc/haproxy/haproxy.cfg \\
      --check 'haproxy -dW -c -f {}' --reload 'systemctl reload haproxy'

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the last good output was kept,
4 the check refused the new file, 5 the reload failed and is pending.";

#[derive(Debug, Args)]
struct Global {
    /// Read this configuration file [default: /etc/presence/presence.toml, which may be missing]
    #[arg(
        long,
        value_name = "FILE",
        env = "PRESENCE_CONFIG",
        global = true,
        hide_env_values = true,
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,
    /// Read this node's facts from this folder [default: /root/nodeinfo, else /etc/presence/nodeinfo]
    #[arg(
        long,
        value_name = "DIR",
        env = "PRESENCE_NODEINFO",
        global = true,
        hide_env_values = true,
        help_heading = "Global options"
    )]
    nodeinfo: Option<PathBuf>,
    /// Use this store: a git URL, a repository or a directory; may be given more than once [env:
    /// PRESENCE_STORE, with commas] [default: a git repository in the state directory]
    #[arg(long = "store", value_name = "URL", global = true, action = ArgAction::Append, help_heading = "Global options")]
    stores: Vec<String>,
    /// Use this folder of records, inside the store [default: it/presence/all]
    #[arg(
        long,
        value_name = "PATH",
        env = "PRESENCE_FOLDER",
        global = true,
        hide_env_values = true,
        help_heading = "Global options"
    )]
    folder: Option<String>,
    /// Keep last copies and other state in this folder [default: /var/lib/presence for root, else the XDG
    /// state directory]
    #[arg(
        long,
        value_name = "DIR",
        env = "PRESENCE_STATE_DIR",
        global = true,
        hide_env_values = true,
        help_heading = "Global options"
    )]
    state_dir: Option<PathBuf>,
    /// Let records state only addresses of these networks [default: all but unspecified, loopback,
    /// link-local, multicast and reserved ones, and the reader's own in records of other nodes]
    #[arg(
        long,
        value_name = "CIDR,…",
        env = "PRESENCE_ADDRESSES",
        global = true,
        hide_env_values = true,
        value_delimiter = ',',
        help_heading = "Global options"
    )]
    addresses: Vec<String>,
    /// Print more, and log the answers of stores and the decisions about files; -vv logs every step.
    /// PRESENCE_LOG=info or debug logs the same without printing more
    #[arg(short, long, global = true, action = ArgAction::Count, env = "PRESENCE_VERBOSE", hide_env_values = true, help_heading = "Global options")]
    verbose: u8,
    /// Print errors only, and nothing if nothing failed
    #[arg(
        short,
        long,
        global = true,
        env = "PRESENCE_QUIET",
        hide_env_values = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    quiet: bool,
    /// Colour messages and tables
    #[arg(
        long,
        value_name = "WHEN",
        env = "PRESENCE_COLOR",
        global = true,
        hide_env_values = true,
        help_heading = "Global options"
    )]
    color: Option<Color>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Emit(emit::Args),
    Publish(publish::Args),
    Beat(beat::Args),
    Agent(agent::Args),
    Accept(accept::Args),
    State(state::Args),
    Withdraw(withdraw::Args),
    Mirror(mirror::Args),
    List(list::Args),
    Show(show::Args),
    Log(log::Args),
    Diff(diff::Args),
    Replay(replay::Args),
    Graph(graph::Args),
    Page(page::Args),
    Check(check::Args),
    Render(render::Args),
    Templates(templates::Args),
    Doctor(doctor::Args),
    Init(init::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The command line, for generated documents.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = trial::run(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help is not an error, and neither is a pipe that closes while it is printed.
            let _ = error.print();
            return if error.use_stderr() { ExitKind::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::failure(&error);
            error.kind.into()
        }
    }
}

fn run(cli: &Cli) -> Result<(), CliError> {
    set_color(cli.global.color);
    console::set_volume(cli.global.verbose, cli.global.quiet);
    match &cli.command {
        // These do not depend on this machine and must work with any configuration.
        Command::Completions(args) => return completions::run(args),
        Command::Man(args) => return man::run(args),
        Command::Init(args) => return init::run(args, &cli.global.given()),
        _ => {}
    }
    let config = match (Config::load(&cli.global.given()), &cli.command) {
        (Ok(config), _) => config,
        (Err(error), Command::Doctor(args)) => return doctor::unconfigured(args, error.into()),
        (Err(error), _) => return Err(error.into()),
    };
    crate::limits::set(config.store_limits.clone());
    crate::state::make_private(&config.state_dir);
    if cli.global.color.is_none() {
        set_color(config.color.as_deref().and_then(|word| Color::from_str(word, true).ok()));
    }
    let (verbose, quiet) = (cli.global.verbose.max(config.verbose), cli.global.quiet || config.quiet);
    console::set_volume(verbose, quiet);
    logging::start(if quiet { 0 } else { verbose })?;
    let began = Instant::now();
    tracing::debug!(
        target: "command",
        version = env!("CARGO_PKG_VERSION"),
        config = %config.file.display(),
        state_dir = %config.state_dir.display(),
        "began"
    );
    let result = run_configured(cli, &config);
    let exit_code = result.as_ref().map_or_else(|error| error.kind as u8, |()| 0);
    tracing::info!(target: "command", exit_code, duration_ms = began.elapsed().as_millis(), "ended");
    result
}

fn run_configured(cli: &Cli, config: &Config) -> Result<(), CliError> {
    let stores = fleet::FleetStores::open(config);
    let done = match &cli.command {
        Command::Emit(args) => emit::run(args, config),
        Command::Publish(args) => publish::run(args, config, &stores),
        Command::Beat(args) => beat::run(args, config, &stores),
        Command::Agent(args) => agent::run(args, config, &stores),
        Command::Accept(args) => accept::run(args, config, &stores),
        Command::State(args) => state::run(args, config, &stores),
        Command::Withdraw(args) => withdraw::run(args, config, &stores),
        Command::Mirror(args) => mirror::run(args, config),
        Command::List(args) => list::run(args, config, &stores),
        Command::Show(args) => show::run(args, config, &stores),
        Command::Log(args) => log::run(args, config, &stores),
        Command::Diff(args) => diff::run(args, config, &stores),
        Command::Replay(args) => replay::run(args, config, &stores),
        Command::Graph(args) => graph::run(args, config, &stores),
        Command::Page(args) => page::run(args, config, &stores),
        Command::Check(args) => check::run(args, config, &stores),
        Command::Render(args) => render::run(args, config, &stores),
        Command::Templates(args) => templates::run(args, config),
        Command::Doctor(args) => doctor::run(args, config, &stores),
        Command::Completions(_) | Command::Man(_) | Command::Init(_) => Ok(()),
    };
    stores.finish();
    done
}

/// The stores of the variable. A URL of etcd has commas between its members.
fn split(said: &str) -> Vec<String> {
    let mut stores: Vec<String> = Vec::new();
    for part in said.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let is_open = |url: &String| {
            let members = url.strip_prefix("etcd://").or_else(|| url.strip_prefix("etcds://"));
            members.is_some_and(|members| !members.contains('/'))
        };
        match stores
            .last_mut()
            .filter(|last| is_open(last) && !part.contains("://") && !part.starts_with('/'))
        {
            Some(last) => {
                last.push(',');
                last.push_str(part);
            }
            None => stores.push(part.to_owned()),
        }
    }
    stores
}

fn set_color(color: Option<Color>) {
    let choice = match color {
        None => return,
        Some(Color::Auto) => anstream::ColorChoice::Auto,
        Some(Color::Always) => anstream::ColorChoice::Always,
        Some(Color::Never) => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

impl Global {
    fn given(&self) -> RawOptions {
        let mut stores = self.stores.clone();
        if stores.is_empty() {
            // Not clap's `env`: in the variable a comma separates stores; on the command line it may be part
            // of a URL.
            let said = std::env::var("PRESENCE_STORE").unwrap_or_default();
            stores = split(&said);
        }
        RawOptions {
            config: self.config.clone(),
            nodeinfo: self.nodeinfo.clone(),
            stores,
            folder: self.folder.clone(),
            state_dir: self.state_dir.clone(),
            addresses: self.addresses.iter().filter(|network| !network.trim().is_empty()).cloned().collect(),
            fast_path: std::env::var_os(FAST_PATH).map(|value| value.to_string_lossy().into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_comma_separates_stores_and_the_members_of_one() {
        for (said, expect) in [
            ("", &[][..]),
            ("/a, /b,", &["/a", "/b"]),
            ("etcd://a:1,b:2/x,/c", &["etcd://a:1,b:2/x", "/c"]),
            ("etcd://a, b,etcds://c,d/x,git://e/f", &["etcd://a,b", "etcds://c,d/x", "git://e/f"]),
            ("etcd://a,/c", &["etcd://a", "/c"]),
        ] {
            assert_eq!(super::split(said), expect, "{said}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
