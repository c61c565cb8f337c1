//! The cost of publishing through real git servers on loopback, next to other methods.
//!
//! ```text
//! cargo bench --bench publish                     # 10 and 50 nodes publish at one instant
//! cargo bench --bench publish -- 10 100 200 1000
//! cargo bench --bench publish -- lone 10000       # one node changes in a fleet of that size; one reader
//! cargo bench --bench publish -- week 1000        # what a week leaves behind
//! ```
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

mod crowd;
mod lone;
mod measure;
mod week;

#[expect(dead_code, unused_imports, reason = "the tests need more of it")]
#[path = "../../tests/it/fixture/mod.rs"]
mod fixture;

/// One run of the shell script of 2015. The record that it publishes is beside its clone.
const SCRIPT_OF_2015: &str = r#"
set -u
cd "$1" || exit 1
git pull -q || true
mkdir -p it/presence/all
cp "../record.json" "it/presence/all/$2.json"
git add "it/presence/all/$2.json"
git commit -q -m "Updated by $2"
git push -q || { git pull -q; git push -q; } || { git pull -q; git push -q; }
"#;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match words.first().map(String::as_str) {
        Some("lone") => sizes.iter().for_each(|size| lone::run(*size)),
        Some("week") => sizes.iter().for_each(|size| week::run(*size)),
        _ if sizes.is_empty() => crowd::run(&[10, 50]),
        _ => crowd::run(&sizes),
    }
}
