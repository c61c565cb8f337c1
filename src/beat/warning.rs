//! Warnings of a beat.

/// A warning about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Identifies the warning: it stays the same while the text changes, so that a log need not repeat it.
    pub subject: String,
    /// One sentence.
    pub text: String,
}

impl From<String> for Warning {
    /// A warning whose text does not change.
    fn from(text: String) -> Warning {
        Warning { subject: text.clone(), text }
    }
}
