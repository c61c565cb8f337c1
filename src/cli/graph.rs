use std::path::PathBuf;

use super::at::Moment;
use super::error::CliError;
use super::file::Output;
use super::fleet::{self, FleetStores};
use super::list::Select;
use super::{console, node};
use crate::beat::wiring::{Templates, Uses, wiring};
use crate::config::Config;
use crate::roster::Node;
use crate::view::Groups;
use crate::view::graph::{self, Graph};

/// Draw which groups of nodes are wired to which
///
/// A group is the nodes of one stacktype, deployment and part. presence renders the templates of each group as
/// one of its nodes would, and draws a wire to each group that they take nodes from. A template that cannot be
/// rendered is a note.
///
/// The templates of a group are those in the folders part/PART/ and stacktype/STACKTYPE/part/PART/, and for
/// this node's own group those of its [[render]] tables. If there are none of these, parts `lb*` use haproxy,
/// and parts `app*` use database.yml. The variables are those of this configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence graph > fleet.svg
  presence graph --deployment fed1 --format dot | dot -Tpng > fleet.png
  presence graph --uses 'lb*=haproxy' --uses 'web*=nginx-upstream.conf' -o fleet.svg")]
pub(super) struct Args {
    /// Draw in this format, also on a terminal
    #[arg(long, value_name = "FORMAT", default_value = "svg")]
    format: Format,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    moment: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    /// A picture for browsers and documents
    Svg,
    /// The language of Graphviz
    Dot,
    /// A flowchart for Markdown pages that show Mermaid
    Mermaid,
}

/// Which templates parts use: the same options for every command that shows the wiring.
#[derive(Debug, clap::Args)]
pub(super) struct Known {
    /// Say which template these parts use; may be given more than once. For these parts, it overrides folders,
    /// [[render]] tables and defaults
    #[arg(long, value_name = "GLOB=TEMPLATE", value_parser = uses)]
    pub(super) uses: Vec<Uses>,
    /// Search this folder for templates, before /etc/presence/templates and the built-in ones; may be given
    /// more than once
    #[arg(long = "template-dir", value_name = "DIR")]
    template_dirs: Vec<PathBuf>,
}

fn uses(text: &str) -> Result<Uses, String> {
    let (part, template) = text.split_once('=').ok_or("write it like 'lb*=haproxy'")?;
    let part = glob::Pattern::new(part).map_err(|error| error.to_string())?;
    Ok(Uses { part, template: template.to_owned() })
}

impl Known {
    /// The template folders, which must exist.
    pub(super) fn template_dirs(&self) -> Result<&[PathBuf], CliError> {
        match self.template_dirs.iter().find(|dir| !dir.is_dir()) {
            Some(dir) => Err(CliError::usage(format!("there is no template directory `{}`", dir.display()))),
            None => Ok(&self.template_dirs),
        }
    }
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let selector = args.select.selector()?;
    let fleet = args.select.read(config, stores, args.moment.at()?.as_ref(), false)?;
    let nodes: Vec<&Node> = fleet.roster.nodes.iter().filter(|node| selector.matches(node)).collect();
    let groups = Groups::of(nodes);
    let (own, dirs) = (node::facts(config)?, args.known.template_dirs()?);
    let templates = Templates { config, own: &own, dirs, uses: &args.known.uses };
    let wiring = wiring(&templates, &groups, &fleet.roster);
    wiring.notes.iter().for_each(|note| console::note(&format!("note: {note}")));
    let graph = Graph::new(&groups, &wiring);
    let text = match args.format {
        Format::Svg => graph::svg(&graph),
        Format::Dot => graph::dot(&graph),
        Format::Mermaid => graph::mermaid(&graph),
    };
    fleet::tell_moments(&fleet);
    args.select.warn_of_nobody(&fleet.roster)?;
    console::warnings(&fleet.problems(), fleet::ALL_PROBLEMS);
    args.output.write(config, &fleet, &text)
}
