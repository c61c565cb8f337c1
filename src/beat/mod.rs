//! One beat, and the one place that composes: facts → record → stores → roster → template → limits → target.
//!
//! Nothing here prints: messages are returned with the result.

pub mod absence;
pub mod announce;
pub mod fleet;
pub mod heard;
pub mod holding;
pub mod inputs;
pub mod kept;
pub mod machine;
pub mod mirror;
pub mod node;
pub mod own;
pub mod page;
pub mod pages;
mod published;
pub mod reachable;
pub mod reloads;
pub mod rendering;
pub mod replay;
pub mod rivals;
pub mod turn;
pub mod warning;
pub mod wiring;
