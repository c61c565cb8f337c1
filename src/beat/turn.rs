//! One file's turn: from the roster to the file, and to the program that reads it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::{debug, info};

use super::absence::{self, Evidence, Missed, Remembered};
use super::fleet::Fleet;
use super::holding::{self, Attendance};
use super::kept::Kept;
use super::machine::{TurnPort, key};
use super::node::NodeError;
use super::reachable;
use super::rendering::{self, ComposeError, Composed, Excess, LastOutput, Rendering};
use super::warning::Warning;
use crate::config::{Config, Render};
use crate::errors::{PathError, chain};
use crate::output::{Done, LastGood, Made, Memory, Target, TargetError};
use crate::record::Facts;
use crate::roster::Identity;
use crate::template::TemplateError;

/// How to take a turn.
#[derive(Debug, Clone, Copy)]
pub struct TurnOptions<'a> {
    /// Change nothing.
    pub dry_run: bool,
    /// Owe reloads instead of running them.
    pub hold_reload: bool,
    /// How it is known which nodes are silent.
    pub evidence: Evidence<'a>,
    /// An operator accepts the list: no safety limit applies, and the held nodes are gone.
    pub accept: bool,
    /// Fill [`Turn::firsts`], which takes a second rendering.
    pub compare_firsts: bool,
}

/// The result of a turn.
#[derive(Debug)]
pub struct Turn {
    /// The file.
    pub path: PathBuf,
    /// What was done.
    pub result: Result<Done, TurnError>,
    /// What was done with the file although no store answers.
    pub finished: Option<Done>,
    /// What was left out and what was kept, one sentence each, without the problems of the whole list.
    pub warnings: Vec<Warning>,
    /// The number of nodes that the file keeps although they are missed or lost.
    pub held: usize,
    /// Each first node that the file keeps although a machine without a memory would choose another one. Empty
    /// unless they were asked for.
    pub firsts: Vec<rendering::KeptFirst>,
    /// Nodes that are not held any more, and get their full time again.
    pub pardoned: BTreeSet<String>,
}

/// The file is not in order.
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
    /// No store answers, and there is no earlier file.
    #[error("no store could be read, and there is no `{}` yet", path.display())]
    NotMade {
        /// The file.
        path: PathBuf,
        /// What to do about the stores.
        hint: Option<String>,
    },
    /// A safety limit refused the output.
    #[error("`{}` is left as it is", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The command that accepts the list.
        accept: String,
        /// The refusals.
        source: ComposeError,
    },
    /// A safety limit refused a part of the output. The rest is in the file.
    #[error("`{}` keeps {held} node{} of its last good output", path.display(), if *held == 1 { "" } else { "s" })]
    Limited {
        /// The file.
        path: PathBuf,
        /// What was done with it.
        done: Box<Done>,
        /// The number of nodes that it keeps.
        held: usize,
        /// The command that accepts the list.
        accept: String,
        /// The refusals.
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
            TurnError::Unreachable { hint, .. } | TurnError::NotMade { hint, .. } => hint.clone(),
            TurnError::Refused { accept, .. } | TurnError::Limited { accept, .. } => {
                Some(format!("`presence list` shows the nodes; if this is intended, run `{accept}`"))
            }
            TurnError::Template(error) => error.hint(),
            TurnError::Node(error) => error.hint(),
            TurnError::Memory(error) => error.hint(),
            TurnError::Target(error) => error.hint(),
        }
    }
}

/// Renders one configured file and puts it into use.
pub fn take(
    port: &impl TurnPort,
    config: &Config,
    render: &Render,
    facts: &Facts,
    fleet: &Fleet,
    options: TurnOptions<'_>,
) -> Turn {
    let began = Instant::now();
    let path = render.target.path.clone();
    let done = Ok(Done::Unchanged);
    let mut turn = Turn {
        path,
        result: done,
        finished: None,
        warnings: Vec::new(),
        held: 0,
        firsts: Vec::new(),
        pardoned: BTreeSet::new(),
    };
    turn.result = turn.take(port, config, render, facts, fleet, options);
    let told: Vec<Warning> = match turn.done() {
        Some(Done::Followed(followed)) => {
            let told = followed.failed.iter().map(|server| Warning {
                subject: format!("server {}", server.name),
                text: format!("{} gets no requests: it waits for {}", server.name, server.why),
            });
            told.collect()
        }
        _ => Vec::new(),
    };
    turn.warnings.extend(told);
    turn.log(began);
    turn
}

/// The note in a target's memory about its missed nodes.
const MISSED: &str = "missed.json";

/// The file in a target's memory with the nodes of its last good output.
const KEPT: &str = "last-nodes";

impl Turn {
    /// What was done, if the file is in order except for held nodes.
    pub fn done(&self) -> Option<&Done> {
        match &self.result {
            Ok(done) => Some(done),
            Err(TurnError::Limited { done, .. }) => Some(done),
            Err(_) => None,
        }
    }

    /// The same, mutable for a later step.
    pub fn done_mut(&mut self) -> Option<&mut Done> {
        match &mut self.result {
            Ok(done) => Some(done),
            Err(TurnError::Limited { done, .. }) => Some(done),
            Err(_) => None,
        }
    }

    /// Logs the result of the turn that began at that moment.
    fn log(&self, began: Instant) {
        let result = || match &self.result {
            Ok(done) => done.to_string(),
            Err(error) => chain(error),
        };
        info!(
            target: "file",
            path = %self.path.display(),
            duration_ms = began.elapsed().as_millis(),
            held = self.held,
            result = result(),
            "rendered"
        );
    }

    fn take(
        &mut self,
        port: &impl TurnPort,
        config: &Config,
        render: &Render,
        facts: &Facts,
        fleet: &Fleet,
        options: TurnOptions<'_>,
    ) -> Result<Done, TurnError> {
        let target = Target { hold_reload: options.hold_reload, ..render.target.clone() };
        let path = &target.path;
        let memory = port.memory(path)?;
        if !options.dry_run {
            target.recover(&memory)?;
        }
        if !fleet.is_current() {
            let current = memory.current(&target.path)?;
            let exists = current.is_some();
            if !options.dry_run
                && memory.last_good().is_some()
                && let Some(bytes) = current
            {
                // The file is good, and its unfinished work does not need a store.
                self.finished = Some(target.apply(&memory, &bytes, &mut Vec::new())?);
            }
            let (path, hint) = (path.clone(), fleet.hint());
            return Err(match exists {
                true => TurnError::Unreachable { path, hint },
                false => TurnError::NotMade { path, hint },
            });
        }
        let own = Identity::of(facts);
        let who = Identity {
            part: render.part.clone().or(own.part),
            stacktype: render.stacktype.clone().or(own.stacktype),
            deployment: render.deployment.clone().or(own.deployment),
        };
        if let Some(parts) = render.wait_for.as_ref().filter(|parts| !fleet.roster.has_active(&who, parts))
            && memory.current(path)?.is_none()
        {
            return Ok(Done::Waits(parts.to_string()));
        }
        let dirs: Vec<PathBuf> = render.template_dirs.iter().chain(&config.template_dirs).cloned().collect();
        let lookup = port.templates(&dirs, &who)?;
        let vars = render.vars_over(&config.vars);
        let vars = rendering::variables(vars, &lookup, &render.name, Some(&memory), options.dry_run)?;
        let rendering = Rendering {
            name: &render.name,
            lookup: &lookup,
            who: &who,
            facts,
            vars: &vars,
            limits: (!options.accept).then_some(render.limits),
            states: &config.states,
            now: port.now()?,
            fast_path: config.fast_path,
        };

        let attendance = self.attend(&rendering, render, fleet, &memory, options)?;
        let before = before(&target, &memory, memory.last_good().as_ref())?
            .ask(&fleet.roster, |away| port.withdrawn(away));
        let composition = rendering::compose(&rendering, &attendance.roster, &before, Excess::Hold)?;
        self.warnings.extend(composition.warnings.into_iter().map(Warning::from));
        self.warnings.extend(rendering::unscoped(&who, &fleet.roster).into_iter().map(Warning::from));
        let composed = match composition.result {
            Ok(composed) => composed,
            Err(ComposeError::Template(error)) => return Err(error.into()),
            Err(source) => {
                let (path, accept) = (path.clone(), config.to_accept(path));
                return Err(TurnError::Refused { path, accept, source });
            }
        };
        for (question, count) in &composed.counts {
            let (active, leaving) = (count.active, count.leaving);
            debug!(target: "file", path = %path.display(), question, active, leaving, "asked for nodes");
        }
        self.held += composed.held.len();
        if options.compare_firsts {
            self.firsts = rendering::kept_firsts(&rendering, &attendance.roster, &before, &composed)?;
        }
        let mut lost = Vec::new();
        let done = match options.dry_run {
            true => target.rehearse(composed.text.as_bytes(), &mut lost),
            false => put(&target, &memory, &composed, None, &mut lost),
        };
        self.warnings.extend(lost.into_iter().map(Warning::from));
        let done = done?;
        match composed.refused.is_empty() {
            true => Ok(done),
            false => {
                let (path, held, accept) = (path.clone(), composed.held.len(), config.to_accept(path));
                Err(TurnError::Limited {
                    path,
                    done: Box::new(done),
                    held,
                    accept,
                    source: ComposeError::Refused(composed.refused),
                })
            }
        }
    }

    /// Decides about the missed nodes: silent, or without an answer.
    fn attend<'f>(
        &mut self,
        rendering: &Rendering<'_>,
        render: &Render,
        fleet: &'f Fleet,
        memory: &Memory,
        options: TurnOptions<'_>,
    ) -> Result<Attendance<'f>, TurnError> {
        let mut before: Remembered = memory.note(MISSED).unwrap_or_default();
        let mut missed = Missed::default();
        if options.accept {
            before.accepted.append(&mut before.held);
        } else {
            if let Some(max_age) = render.max_age {
                missed = absence::silent(&fleet.roster, options.evidence, max_age);
            }
            if let Some(parts) = &render.reachable {
                let asked = reachable::ask(&fleet.roster, rendering.who, parts);
                self.warnings.extend(asked.unasked);
                missed.gone.extend(asked.silent);
            }
        }
        let runtime = render.target.runtime.as_ref();
        let limits = (render.limits, render.max_age);
        let runtime = runtime.map(|runtime| (runtime, memory));
        let mut attendance = holding::attend(rendering, &fleet.roster, &missed, limits, runtime, &before)?;
        for (node, reason) in &missed.gone {
            let is_kept = attendance.roster.get(node).is_some();
            let decision = if is_kept { "kept" } else { "left out" };
            debug!(target: "file", path = %self.path.display(), node, %reason, decision, "missed");
        }
        self.warnings.append(&mut attendance.warnings);
        self.held = attendance.remembered.held.len();
        self.pardoned = std::mem::take(&mut attendance.pardoned);
        if !options.dry_run {
            let is_nothing = attendance.remembered == Remembered::default();
            memory.write_note(MISSED, (!is_nothing).then_some(&attendance.remembered))?;
        }
        Ok(attendance)
    }
}

/// The note in a target's memory with the last report that a limit holds the file.
const TOLD: &str = "told.json";

/// Remembers the report about a file that a safety limit holds; `None` if none does. False if the last report
/// was the same, so that it need not be repeated.
pub fn note_held(state_dir: &Path, path: &Path, held: Option<&str>) -> bool {
    let Ok(memory) = Memory::open(state_dir, &key(path)) else { return true };
    let told: Option<String> = memory.note(TOLD);
    if told.as_deref() != held {
        // If it cannot be saved, the report is repeated.
        let _ = memory.write_note(TOLD, held.map(str::to_owned).as_ref());
        return true;
    }
    held.is_none()
}

/// What is known of the file before a new output.
pub fn before(target: &Target, memory: &Memory, last: Option<&LastGood>) -> Result<LastOutput, TargetError> {
    let remembered = remembered(memory, last);
    let in_place =
        remembered.counts.is_none() && memory.current(&target.path)?.is_some_and(|bytes| !bytes.is_empty());
    Ok(LastOutput { in_place, ..remembered })
}

/// What is remembered of the last good output.
pub fn remembered(memory: &Memory, last: Option<&LastGood>) -> LastOutput {
    let nodes = last.and_then(|last| Kept::from_bytes(memory.bytes(KEPT)?, &last.digest));
    LastOutput { counts: last.map(|last| last.counts.clone()), kept: nodes, ..LastOutput::default() }
}

/// Remembers a good output: its counts and nodes, and with `text` the output itself.
pub fn remember(
    memory: &Memory,
    composed: &Composed,
    made: Option<Made>,
    text: Option<&str>,
) -> Result<(), PathError> {
    let good = LastGood::new(composed.counts.clone(), &composed.text, made);
    memory.write_bytes(KEPT, &composed.kept.to_bytes(&good.digest))?;
    memory.keep(&good, text)
}

/// Puts a text into use, and remembers it. Attributes of the file that could not be kept are reported in
/// `lost`.
pub fn put(
    target: &Target,
    memory: &Memory,
    composed: &Composed,
    made: Option<Made>,
    lost: &mut Vec<String>,
) -> Result<Done, TargetError> {
    let result = target.apply(memory, composed.text.as_bytes(), lost);
    // A replaced file is good, whether or not the reload succeeded.
    if result.as_ref().map_or_else(TargetError::is_in_place, |_| true) {
        remember(memory, composed, made, None)?;
    }
    result
}
