//! Errors for the user. Each one says what failed, where, and what to do next, and has an exit code.

use std::process::ExitCode;

use crate::agent::AgentError;
use crate::beat::announce::HealthError;
use crate::beat::node::NodeError;
use crate::beat::pages::PageError;
use crate::beat::rendering::ComposeError;
use crate::beat::turn::TurnError;
use crate::config::ConfigError;
use crate::errors::{PathError, chain};
use crate::facts::FactsError;
use crate::output::{BadCommand, TargetError, UnknownOwner};
use crate::roster::SelectorError;
use crate::store::StoreError;
use crate::template::TemplateError;

/// The meaning of an exit code for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitKind {
    /// Nothing was changed.
    Failed = 1,
    /// The usage or the configuration is wrong.
    Usage = 2,
    /// The last good output was kept.
    Kept = 3,
    /// The check refused the new file.
    CheckRefused = 4,
    /// The file is in place; the reload is owed.
    ReloadFailed = 5,
}

impl From<ExitKind> for ExitCode {
    fn from(kind: ExitKind) -> ExitCode {
        ExitCode::from(kind as u8)
    }
}

/// The error of a command.
#[derive(Debug)]
pub(super) struct CliError {
    pub(super) kind: ExitKind,
    message: String,
    hint: Option<String>,
}

impl CliError {
    pub(super) fn new(kind: ExitKind, message: impl Into<String>) -> CliError {
        CliError { kind, message: message.into(), hint: None }
    }

    pub(super) fn failed(message: impl Into<String>) -> CliError {
        CliError::new(ExitKind::Failed, message)
    }

    pub(super) fn usage(message: impl Into<String>) -> CliError {
        CliError::new(ExitKind::Usage, message)
    }

    pub(super) fn hint(self, hint: impl Into<Option<String>>) -> CliError {
        CliError { hint: hint.into(), ..self }
    }

    /// The same exit code without a message, which was printed before.
    pub(super) fn untold(self) -> CliError {
        CliError::new(self.kind, "")
    }

    /// The same error, followed by what was done about it.
    pub(super) fn after(self, done: &str) -> CliError {
        CliError { message: format!("{}; {done}", self.message), ..self }
    }

    /// What failed, in one sentence.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// What to do next, if known.
    pub(super) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    fn of(kind: ExitKind, error: &dyn std::error::Error, hint: Option<String>) -> CliError {
        CliError::new(kind, chain(error)).hint(hint)
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        CliError::of(ExitKind::Usage, &error, error.hint())
    }
}

impl From<PathError> for CliError {
    fn from(error: PathError) -> CliError {
        CliError::of(ExitKind::Failed, &error, error.hint())
    }
}

impl From<FactsError> for CliError {
    fn from(error: FactsError) -> CliError {
        CliError::of(ExitKind::Failed, &error, error.hint())
    }
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> CliError {
        let kind = if matches!(error, NodeError::Clock(_)) { ExitKind::Usage } else { ExitKind::Failed };
        CliError::of(kind, &error, error.hint())
    }
}

impl From<ComposeError> for CliError {
    fn from(error: ComposeError) -> CliError {
        match error {
            ComposeError::Template(error) => error.into(),
            ComposeError::Refused(_) => CliError::of(ExitKind::Kept, &error, error.hint()),
        }
    }
}

impl From<HealthError> for CliError {
    fn from(error: HealthError) -> CliError {
        CliError::of(ExitKind::Failed, &error, error.hint())
    }
}

impl From<AgentError> for CliError {
    fn from(error: AgentError) -> CliError {
        CliError::of(ExitKind::Failed, &error, error.hint())
    }
}

impl From<TurnError> for CliError {
    fn from(error: TurnError) -> CliError {
        match error {
            TurnError::Unreachable { .. }
            | TurnError::NotMade { .. }
            | TurnError::Refused { .. }
            | TurnError::Limited { .. } => CliError::of(ExitKind::Kept, &error, error.hint()),
            TurnError::Template(error) => error.into(),
            TurnError::Node(error) => error.into(),
            TurnError::Memory(error) => error.into(),
            TurnError::Target(error) => error.into(),
        }
    }
}

impl From<PageError> for CliError {
    fn from(error: PageError) -> CliError {
        match error {
            PageError::Unreachable { .. } => CliError::of(ExitKind::Kept, &error, error.hint()),
            PageError::Node(error) => error.into(),
            PageError::Memory(error) => error.into(),
            PageError::Target(error) => error.into(),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> CliError {
        CliError::of(ExitKind::Failed, &error, error.hint())
    }
}

impl From<SelectorError> for CliError {
    fn from(error: SelectorError) -> CliError {
        CliError::of(ExitKind::Usage, &error, Some("for example --where 'rack=r1*'".into()))
    }
}

impl From<BadCommand> for CliError {
    fn from(error: BadCommand) -> CliError {
        CliError::of(ExitKind::Usage, &error, Some(error.hint()))
    }
}

impl From<UnknownOwner> for CliError {
    fn from(error: UnknownOwner) -> CliError {
        CliError::of(ExitKind::Usage, &error, Some("write USER or USER:GROUP, as names or numbers".into()))
    }
}

impl From<TemplateError> for CliError {
    fn from(error: TemplateError) -> CliError {
        let kind = match error {
            TemplateError::BadName { .. }
            | TemplateError::NotFound { .. }
            | TemplateError::Ambiguous { .. } => ExitKind::Usage,
            _ => ExitKind::Failed,
        };
        CliError::of(kind, &error, error.hint())
    }
}

impl From<TargetError> for CliError {
    fn from(error: TargetError) -> CliError {
        let kind = match error {
            TargetError::Check { .. } => ExitKind::CheckRefused,
            TargetError::Reload { .. }
            | TargetError::NotLoaded { .. }
            | TargetError::NotAsked { .. }
            | TargetError::NotConverged { .. } => ExitKind::ReloadFailed,
            _ => ExitKind::Failed,
        };
        CliError::of(kind, &error, error.hint())
    }
}
