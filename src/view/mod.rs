//! A roster or a history made visible: a drawing of who is wired to whom, and a page.
//!
//! Nothing here reads files, uses the network or knows the time. Equal arguments give equal bytes.

pub mod graph;
mod groups;
pub mod page;
mod wiring;

pub use groups::{Group, Groups, Members};
pub use wiring::{Chosen, Wire, Wiring};

use crate::sanitize::excerpt;

/// At most this many characters of a text that may be hostile, without what a terminal or browser acts upon.
fn short(text: &str, most: usize) -> String {
    let text = excerpt(text);
    match text.chars().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => text,
    }
}
