//! The limits of the configuration that deadlines come from.

pub use presence_git::Deadline;

/// A limit of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A change, in all stores.
    Publish,
    /// Looking at all stores, and reading them.
    Read,
    /// Looking back: fetching the history of all stores, and going along it.
    History,
}

/// Its key in the table `[timeouts]` of presence.toml.
impl From<Limit> for &'static str {
    fn from(limit: Limit) -> &'static str {
        match limit {
            Limit::Publish => "publish",
            Limit::Read => "read",
            Limit::History => "history",
        }
    }
}
