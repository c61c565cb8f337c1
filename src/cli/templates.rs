use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::CliError;
use super::{console, init, list, node};
use crate::beat::rendering::{self, Rendering};
use crate::config::{Config, Render};
use crate::output::Memory;
use crate::output::limits::Limits;
use crate::record::Facts;
use crate::roster::{Identity, Roster};
use crate::template::{Lookup, TemplateError};

/// Show which file each template name means
///
/// The files apply to this node's part and stacktype. Those that each one outranks are listed too.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence templates\n  presence templates --part app1 --template-dir ./templates\n  \
                  presence templates --show haproxy\n  presence templates --copy haproxy --template-dir ./templates"
)]
pub(super) struct Args {
    /// Print this template or partial
    #[arg(long, value_name = "NAME")]
    show: Option<String>,
    /// Copy this template into the first template directory, where it replaces the built-in one. An existing file
    /// stays
    #[arg(long, value_name = "NAME", conflicts_with = "show")]
    copy: Option<String>,
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

    /// The template of that name, with the variables of the configuration, overridden by those of the table of a
    /// file, and these by the command line.
    pub(super) fn template(
        &self,
        config: &Config,
        name: &str,
        sets: &[String],
        table: Option<&Render>,
    ) -> Result<Template, CliError> {
        let facts = node::facts(config)?;
        let who = self.identity_over(&facts, table);
        let lookup = self.lookup_with(config, table.map_or(&[], |table| &table.template_dirs), &who)?;
        let name = lookup.find(name)?.name;
        let mut vars = table.map_or_else(|| config.vars.clone(), |table| table.vars_over(&config.vars));
        set(&mut vars, sets)?;
        Ok(Template { name, lookup, who, facts, vars })
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

/// A template, and everything that its output depends on besides the list.
pub(super) struct Template {
    pub(super) name: String,
    pub(super) lookup: Lookup,
    pub(super) who: Identity,
    pub(super) facts: Facts,
    pub(super) vars: Map<String, Value>,
}

impl Template {
    /// Adds the version of HAProxy, if the template depends on it. See [`rendering::variables`].
    pub(super) fn know_haproxy(
        &mut self,
        memory: Option<&Memory>,
        dry_run: bool,
    ) -> Result<(), TemplateError> {
        let vars = std::mem::take(&mut self.vars);
        self.vars = rendering::variables(vars, &self.lookup, &self.name, memory, dry_run)?;
        Ok(())
    }

    /// The rendering, now and within these limits.
    pub(super) fn rendering<'a>(
        &'a self,
        config: &'a Config,
        limits: Option<Limits>,
    ) -> Result<Rendering<'a>, CliError> {
        Ok(Rendering {
            name: &self.name,
            lookup: &self.lookup,
            who: &self.who,
            facts: &self.facts,
            vars: &self.vars,
            limits,
            states: &config.states,
            now: node::now()?,
            fast_path: config.fast_path,
        })
    }
}

/// Sets the variables of the command line.
fn set(vars: &mut Map<String, Value>, sets: &[String]) -> Result<(), CliError> {
    for set in sets {
        let Some((key, value)) = set.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(CliError::usage(format!("--set `{set}` is not of the form KEY=VALUE")));
        };
        let value = match value {
            // Makes `{{#if vars.x}}` work as expected.
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => text.into(),
        };
        vars.insert(key.to_owned(), value);
    }
    Ok(())
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let who = args.who.identity(&node::facts(config)?);
    if let Some(name) = &args.show {
        return console::data(&args.who.lookup(config, &who)?.find_partial(name)?.read()?);
    }
    if let Some(name) = &args.copy {
        return copy(name, args, config, &who);
    }
    let mut table = console::table(["NAME", "FILE", "SHADOWS"]);
    for found in args.who.lookup(config, &who)?.all() {
        table.add_row([found.name, found.path, found.shadowed.join(", ")]);
    }
    console::data(&console::rows(&table))
}

/// Writes a template into the first directory that is searched, for all parts.
fn copy(name: &str, args: &Args, config: &Config, who: &Identity) -> Result<(), CliError> {
    let found = args.who.lookup(config, who)?.find_partial(name)?;
    let mut dirs = args.who.template_dirs.iter().chain(&config.template_dirs);
    let dir = dirs.next().ok_or_else(|| CliError::usage("no template directory is configured"))?;
    let path = dir.join(format!("common/{}.hbs", found.name));
    if !init::create(&path, found.read()?.as_bytes(), 0o644)? {
        return Err(CliError::failed(format!("`{}` exists", path.display()))
            .hint("edit that file, or move it away first".to_owned()));
    }
    console::report(&format!("{}: written\n", path.display()))?;
    let now = args.who.lookup(config, who)?.find_partial(&found.name)?;
    if now.path != path.display().to_string() {
        console::note(&format!("this node uses `{}`, which is more specific", now.path));
    }
    Ok(())
}
