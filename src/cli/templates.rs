use std::path::PathBuf;

use super::error::CliError;
use super::{console, list, node};
use crate::config::{Config, Render};
use crate::roster::{Identity, Roster};
use crate::template::Lookup;

/// Show which file each template name means
///
/// The files apply to this node's part and stacktype. Those that each one outranks are listed too.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence templates\n  presence templates --part app1 --template-dir ./templates"
)]
pub(super) struct Args {
    #[command(flatten)]
    who: Who,
}

/// The identity to render for, and the template folders: the same options for every command that renders.
#[derive(Debug, clap::Args)]
pub(super) struct Who {
    /// Act as a node of this part
    #[arg(long)]
    part: Option<String>,
    /// Act as a node of this stacktype
    #[arg(long)]
    stacktype: Option<String>,
    /// Act as a node of this deployment
    #[arg(long)]
    deployment: Option<String>,
    /// Search this folder for templates, before /etc/presence/templates and the built-in ones; may be given
    /// more than once
    #[arg(long = "template-dir", value_name = "DIR")]
    template_dirs: Vec<PathBuf>,
}

impl Who {
    /// A sentence for each name on the command line that no node on the list has: it is probably a typo.
    pub(super) fn nobody(&self, roster: &Roster) -> Result<Vec<String>, CliError> {
        let names = [&self.part, &self.stacktype, &self.deployment];
        list::nobody(roster, names.map(|name| name.as_deref().map(glob::Pattern::escape)))
    }

    /// This node's identity, overridden by the command line.
    pub(super) fn identity(&self, facts: &crate::record::Facts) -> Identity {
        self.identity_over(facts, None)
    }

    /// This node's identity, overridden by the table of a file, and that by the command line.
    pub(super) fn identity_over(&self, facts: &crate::record::Facts, table: Option<&Render>) -> Identity {
        let own = Identity::of(facts);
        let named = |of: fn(&Render) -> &Option<String>| table.and_then(|table| of(table).clone());
        Identity {
            part: self.part.clone().or_else(|| named(|table| &table.part)).or(own.part),
            stacktype: self.stacktype.clone().or_else(|| named(|table| &table.stacktype)).or(own.stacktype),
            deployment: self
                .deployment
                .clone()
                .or_else(|| named(|table| &table.deployment))
                .or(own.deployment),
        }
    }

    /// All templates for an identity.
    pub(super) fn lookup(&self, config: &Config, who: &Identity) -> Result<Lookup, CliError> {
        self.lookup_with(config, &[], who)
    }

    /// The same, with folders to search after those on the command line.
    pub(super) fn lookup_with(
        &self,
        config: &Config,
        dirs: &[PathBuf],
        who: &Identity,
    ) -> Result<Lookup, CliError> {
        for dir in &self.template_dirs {
            if !dir.is_dir() {
                return Err(CliError::usage(format!("there is no template directory `{}`", dir.display())));
            }
        }
        let dirs: Vec<PathBuf> =
            self.template_dirs.iter().chain(dirs).chain(&config.template_dirs).cloned().collect();
        Ok(Lookup::new(&dirs, who)?)
    }
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let who = args.who.identity(&node::facts(config)?);
    let mut table = console::table(["NAME", "FILE", "SHADOWS"]);
    for found in args.who.lookup(config, &who)?.all() {
        table.add_row([found.name, found.path, found.shadowed.join(", ")]);
    }
    console::data(&console::rows(&table))
}
