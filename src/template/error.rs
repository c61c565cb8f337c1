//! The errors of templates, and what to do about them.

use std::path::PathBuf;

use crate::errors::PathError;
use crate::haproxy::VersionError;

/// A template was not found or could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The part, stacktype or template name cannot name a folder or file.
    #[error("{what} is not a usable name")]
    BadName {
        /// The kind of name.
        what: &'static str,
        /// The reason.
        #[source]
        source: crate::name::NameError,
    },
    /// There is no template of that name for this part and stacktype.
    #[error("there is no template `{name}`")]
    NotFound {
        /// The requested name.
        name: String,
        /// The existing names.
        known: Vec<String>,
    },
    /// One folder has several templates of that name.
    #[error("`{name}` could be any of {}", .candidates.join(", "))]
    Ambiguous {
        /// The requested name.
        name: String,
        /// The full names.
        candidates: Vec<String>,
    },
    /// A template could not be read.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The template depends on the version of HAProxy, which cannot be determined.
    #[error(transparent)]
    Haproxy(#[from] VersionError),
    /// A template is larger than the limit.
    #[error("template `{}` is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
    /// A template is not UTF-8.
    #[error("template `{}` is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// A template is not valid handlebars.
    #[error("{place}: {reason}")]
    Syntax {
        /// File, line and column.
        place: String,
        /// The parser's message.
        reason: String,
    },
    /// A template is valid, but cannot be rendered with this fleet.
    #[error("{place}: {reason}")]
    Render {
        /// File, line and column.
        place: String,
        /// The reason.
        reason: String,
    },
}

impl TemplateError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            TemplateError::BadName { .. } => {
                "it becomes part of a path: use letters, digits, `_`, `.` and `-`, first a letter or digit".into()
            }
            TemplateError::NotFound { known, .. } => format!("known templates: {}", known.join(", ")),
            TemplateError::Ambiguous { candidates, .. } => {
                format!("write the full name, for example `presence render {}`", candidates.first().map_or("", String::as_str))
            }
            TemplateError::Io(error) => return error.hint(),
            TemplateError::Haproxy(error) => error.hint(),
            TemplateError::TooLarge { .. } | TemplateError::NotText(_) => {
                "move the file out of the template directory if it is not a template".into()
            }
            TemplateError::Syntax { .. } => "`presence templates` shows where each template comes from".into(),
            TemplateError::Render { reason, .. } if reason.starts_with("there is no `") => {
                "state the fact or set the variable, or write {{default NAME \"…\"}} or {{#if NAME}} in the template".into()
            }
            TemplateError::Render { .. } => return None,
        })
    }
}
