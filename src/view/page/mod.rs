//! The fleet as one file of HTML that needs nothing else.

mod data;

pub use data::{Content, Known, StoreSeen};

use crate::escape;

/// The page without style, script and data. Each of its three placeholders stands once.
const PAGE: &str = include_str!("page.html");

const STYLE: &str = include_str!("page.css");

const SCRIPT: &str = concat!(
    include_str!("model.js"),
    include_str!("elements.js"),
    include_str!("wiring.js"),
    include_str!("view.js"),
    include_str!("summary.js"),
    include_str!("timeline.js"),
    include_str!("nodes.js"),
    include_str!("page.js"),
);

/// The hashes of style and script for the page's policy (CSP level 3, section 2.3.1). A test compares them, and
/// with `UPDATE_DOCS` writes them.
const HASHES: [&str; 2] = [include_str!("style.sha256"), include_str!("script.sha256")];

/// A page.
#[derive(Debug)]
pub struct Page {
    /// The page as HTML.
    pub html: String,
    /// Identifies what it shows, apart from the time at which it was made and the times of heartbeats.
    pub essence: String,
}

/// Makes the page.
pub fn page(content: &Content<'_>) -> Page {
    let data = data::of(content);
    let html = html(&data.to_string());
    let essence = xxhash_rust::xxh3::xxh3_128(data::essence(data).to_string().as_bytes());
    // Another version of the program may make another page of it.
    Page {
        html,
        essence: format!(
            "{essence:032x} {} {}",
            env!("CARGO_PKG_VERSION"),
            PAGE.len() + STYLE.len() + SCRIPT.len()
        ),
    }
}

/// The page as HTML, with that data (JSON).
pub fn html(data: &str) -> String {
    let data = escape::json_in_html(data);
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    // The browser runs this script and no other.
    let own = |hash: &str| format!("-src 'sha256-{}'", hash.trim());
    let text = PAGE.replacen("style-src 'unsafe-inline'", &format!("style{}", own(HASHES[0])), 1);
    let text = text.replacen("script-src 'unsafe-inline'", &format!("script{}", own(HASHES[1])), 1);
    // Only the page's own text has placeholders, whatever the data says.
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        page.push_str(match name {
            "css" => STYLE,
            "js" => SCRIPT,
            _ => &data,
        });
        rest = after;
    }
    page.push_str(rest);
    page
}

#[cfg(test)]
mod tests;
