//! What was done with a file.

use std::fmt;

use super::Followed;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The file was already right.
    Unchanged,
    /// Its bytes were right; its mode or owner was set.
    Adjusted,
    /// It was replaced or created.
    Replaced,
    /// It was already right; an owed reload has succeeded.
    Reloaded,
    /// It is right, and HAProxy follows without a reload.
    Followed(Followed),
    /// It is right, and HAProxy could not follow without a reload, for this reason.
    ReloadedFor(String),
    /// It is right; a reload is owed, and was not run now.
    Held(Held),
    /// It does not exist yet, and waits for a node of these parts.
    Waits(String),
}

/// An owed reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whether the file was replaced now.
    pub(super) replaced: bool,
    /// Why HAProxy cannot follow without it.
    pub(super) why: Option<String>,
}

impl Held {
    /// The result after that reload has succeeded.
    pub fn reloaded(self) -> Done {
        match self.why {
            Some(why) => Done::ReloadedFor(why),
            None if self.replaced => Done::Replaced,
            None => Done::Reloaded,
        }
    }

    /// The result if another process has run that reload.
    pub fn settled(self) -> Done {
        if self.replaced { Done::Replaced } else { Done::Unchanged }
    }
}

impl Done {
    /// Whether nothing is left for a later run.
    pub fn is_settled(&self) -> bool {
        match self {
            Done::Followed(followed) => followed.pending.is_empty() && followed.failed.is_empty(),
            Done::Held(_) => false,
            // Only another look can tell whether the reload has loaded the file.
            Done::Reloaded | Done::ReloadedFor(_) => false,
            // A change of the list begins the next turn.
            Done::Unchanged | Done::Adjusted | Done::Replaced | Done::Waits(_) => true,
        }
    }
}

impl fmt::Display for Done {
    /// The message about the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done::Unchanged => f.write_str("unchanged"),
            Done::Adjusted => f.write_str("corrected in mode and owner"),
            Done::Replaced => f.write_str("replaced"),
            Done::Reloaded => f.write_str("unchanged; the pending reload has succeeded"),
            Done::ReloadedFor(why) => write!(f, "reloaded: {why}"),
            Done::Held(_) => f.write_str("right; its reload is pending"),
            Done::Waits(parts) => {
                write!(f, "not made yet: it waits for an active node of `{parts}` in scope")
            }
            Done::Followed(followed) => {
                let steps: Vec<&str> =
                    followed.done.iter().chain(&followed.pending).map(String::as_str).collect();
                write!(f, "right, without a reload: {}", steps.join("; "))
            }
        }
    }
}
