//! One file's turn: from the roster to the file, and to whoever reads it.

use std::path::{Path, PathBuf};

use super::awake::keep_awake;
use super::fleet::Fleet;
use super::node::NodeError;
use super::rendering::{self, Before, ComposeError, Rendering};
use crate::config::{Config, Render};
use crate::errors::PathError;
use crate::record::Facts;
use crate::roster::Identity;
use crate::target::{Done, LastGood, Memory, Target, TargetError};
use crate::template::{Lookup, TemplateError};

/// How a turn is to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Change nothing.
    pub dry_run: bool,
    /// Owe reloads instead of running them.
    pub hold_reload: bool,
}

/// What came of a turn.
#[derive(Debug)]
pub struct Turn {
    /// The file.
    pub path: PathBuf,
    /// What was done.
    pub result: Result<Done, TurnError>,
    /// What was left out, one sentence each; not the problems of the whole list.
    pub warnings: Vec<String>,
}

/// The file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// No store answers.
    #[error("no store could be read; `{}` is left as it is", path.display())]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// What to do about the stores.
        hint: Option<String>,
    },
    /// A safety limit refused what there is to render.
    #[error("`{}` is left as it is", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Which limit.
        source: ComposeError,
    },
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The clock.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The memory of the target.
    #[error(transparent)]
    Memory(#[from] PathError),
    /// The file, its check or its reload.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl TurnError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            TurnError::Unreachable { hint, .. } => hint.clone(),
            TurnError::Refused { path, .. } => Some(format!(
                "`presence list` shows who is there; if this is meant, run `presence render` with -o {} and --force once",
                path.display()
            )),
            TurnError::Template(error) => error.hint(),
            TurnError::Node(error) => error.hint(),
            TurnError::Memory(error) => error.hint(),
            TurnError::Target(error) => error.hint(),
        }
    }
}

/// Renders one configured file and takes it into use.
pub fn take(config: &Config, render: &Render, facts: &Facts, fleet: &Fleet, manner: Manner) -> Turn {
    let mut warnings = Vec::new();
    let result = turn(config, render, facts, fleet, manner, &mut warnings);
    Turn { path: render.target.path.clone(), result, warnings }
}

fn turn(
    config: &Config,
    render: &Render,
    facts: &Facts,
    fleet: &Fleet,
    manner: Manner,
    warnings: &mut Vec<String>,
) -> Result<Done, TurnError> {
    let target = Target { hold_reload: manner.hold_reload, ..render.target.clone() };
    let path = &target.path;
    let memory = Memory::open(&config.state_dir, &key(path))?;
    if !fleet.is_current() {
        if !manner.dry_run
            && memory.last_good().is_some()
            && let Some(bytes) = target.current()?
        {
            // The file stands; what is left to be done for it does not need a store.
            target.apply(&memory, &bytes)?;
        }
        return Err(TurnError::Unreachable { path: path.clone(), hint: fleet.hint() });
    }
    let own = Identity::of(facts);
    let who = Identity {
        part: render.part.clone().or(own.part),
        stacktype: render.stacktype.clone().or(own.stacktype),
        deployment: render.deployment.clone().or(own.deployment),
    };
    let dirs: Vec<PathBuf> = render.template_dirs.iter().chain(&config.template_dirs).cloned().collect();
    let lookup = Lookup::new(&dirs, &who)?;
    let mut vars = config.vars.clone();
    vars.extend(render.vars.clone());

    let mut judged = None;
    if render.max_age.is_some() || render.awake.is_some() {
        let mut roster = fleet.roster.clone();
        roster.problems.clear();
        if let Some(max_age) = render.max_age
            && fleet.hears_beats()
        {
            roster.expire(fleet.heard_until()?, max_age);
        }
        if let Some(parts) = &render.awake {
            keep_awake(&mut roster, &who, parts);
        }
        warnings.extend(
            roster
                .problems
                .iter()
                .map(|problem| format!("{}: {}", problem.path.escape_debug(), problem.reason)),
        );
        judged = Some(roster);
    }
    let roster = judged.as_ref().unwrap_or(&fleet.roster);

    let rendering = Rendering {
        name: &render.name,
        lookup: &lookup,
        who: &who,
        facts,
        vars: &vars,
        limits: Some(render.limits),
    };
    let composition = rendering::compose(&rendering, roster, before(&target, memory.last_good().as_ref())?)?;
    warnings.extend(composition.warnings);
    warnings.extend(rendering::unscoped(&who, roster));
    let (text, counts) = match composition.result {
        Ok(composed) => composed,
        Err(ComposeError::Template(error)) => return Err(error.into()),
        Err(source) => return Err(TurnError::Refused { path: path.clone(), source }),
    };
    match manner.dry_run {
        true => Ok(target.rehearse(text.as_bytes())?),
        false => Ok(put(&target, &memory, LastGood::new(counts, &text, None), &text)?),
    }
}

/// What the memory of that file is known by.
pub fn key(path: &Path) -> String {
    format!("file {}", path.display())
}

/// What is known of the file before a new output.
pub fn before(target: &Target, last: Option<&LastGood>) -> Result<Before, TargetError> {
    let counts = last.map(|last| last.counts.clone());
    let in_place = counts.is_none() && target.current()?.is_some_and(|bytes| !bytes.is_empty());
    Ok(Before { counts, in_place })
}

/// Takes a text into use, and remembers what is to be known of it.
pub fn put(target: &Target, memory: &Memory, good: LastGood, text: &str) -> Result<Done, TargetError> {
    let result = target.apply(memory, text.as_bytes());
    // In place is good, whether or not the reload succeeded.
    if matches!(result, Ok(_) | Err(TargetError::Reload { .. } | TargetError::Unfollowed { .. })) {
        memory.keep(&good, None)?;
    }
    result
}
