//! From a roster to the text of a file: which template, what it sees, and how it is rendered.
//!
//! A template knows nothing of stores. The nodes that it asks for are counted, so that a target can judge
//! whether the answer is plausible. A node's bad data costs that node, never the file.

mod builtin;
mod context;
mod engine;
mod error;
mod helpers;
mod in_use;
mod load;
mod lookup;
mod offered;
mod parsed;
mod survey;
mod syntax;

pub use context::{Input, shape};
pub use engine::{
    AnswerNodes, RenderRequest, Rendered, Taken, compile, depends_on_haproxy, partials, render,
};
pub use error::TemplateError;
pub use in_use::{InUse, Previous};
pub use lookup::{Lookup, TemplateFile};

/// The variable with the HAProxy version that a config is for.
pub const HAPROXY_VERSION: &str = "haproxy_version";
