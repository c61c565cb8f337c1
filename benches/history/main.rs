//! The cost of looking back over a long history through a network, the first time and once more.
//!
//! ```text
//! cargo bench --bench history                     # 1,000 nodes, 10,000 commits
//! cargo bench --bench history -- 10000 100000     # 10,000 nodes, 100,000 commits
//! ```
//!
//! `git fast-import` makes the commits, one per change, at equal distances over a year.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

#[expect(dead_code, unused_imports, reason = "the tests need more of it")]
#[path = "../../tests/it/fixture/mod.rs"]
mod fixture;
#[path = "../render/measure.rs"]
mod measure;

use std::path::Path;
use std::time::Instant;

use fixture::machine::Machine;
use fixture::{GitDaemon, fleet};

const FOLDER: &str = "it/presence/all";
const YEAR: u64 = 365 * 86_400;
/// The end of the year: 2026-01-01T00:00:00Z.
const END: u64 = 1_767_225_600;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let Some((mode, rest)) = words.split_first()
        && measure::is_inner(mode, rest)
    {
        return;
    }
    let number = |at: usize, default| words.get(at).map_or(default, |word| word.parse().unwrap());
    let (nodes, commits) = (number(0, 1_000), number(1, 10_000));
    let server = GitDaemon::start();
    let (list, url) = (server.repository("list.git"), server.url("list.git"));
    list.git(["symbolic-ref", "HEAD", "refs/heads/main"]);
    let place = list.git(["rev-parse", "--absolute-git-dir"]);
    let place = Path::new(place.trim());
    let begun = Instant::now();
    year(place, nodes, commits);
    list.git(["gc", "--quiet", "--prune=now"]);
    println!("{nodes} nodes, {commits} commits in a year, made in {} s\n", begun.elapsed().as_secs());
    println!("| git:// | first: wall ms | cpu ms | peak MB | again: wall ms | cpu ms | peak MB |");
    println!("|---|---|---|---|---|---|---|");
    for command in [
        "list --format ids",
        "list --format ids --at 2025-12-31",
        "list --format ids --at 2025-01-02",
        "diff 2025-04-01 2025-07-01",
        "page -o fleet.html",
        "log",
        "log --part lb1 --since 2025-12-01",
        "log --limit 1000000 --format json",
        "show ID --history",
    ] {
        // A state directory of its own: the first run begins from nothing but the newest commit.
        let machine = Machine::new("lb1").store(&url);
        let ids = String::from_utf8(machine.command(&["list", "--format", "ids"]).output().unwrap().stdout);
        let ids = ids.unwrap();
        let words: Vec<&str> = command.split(' ').collect();
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "ID" { ids.lines().next().unwrap() } else { word }).collect();
        let one = || measure::Best::of(1, || measure::run(machine.command(&words)));
        println!("| `{command}` | {} | {} |", one(), one());
    }
}

/// A year of changes: nodes drain and come back, one at a time, in an order that repeats.
fn year(place: &Path, nodes: usize, commits: usize) {
    let files = fleet::files(nodes, 1);
    let begin = END - YEAR;
    // All nodes join on the first day, a hundred in one commit.
    let joined = files.chunks(100).map(|some| (begin, some.to_vec()));
    let mut random = fleet::Random(7);
    let mut drains = vec![false; nodes];
    let changes = (1..=commits as u64).map(|number| {
        let node = random.below(nodes);
        drains[node] = !drains[node];
        let file = if drains[node] { fleet::drained(&files[node]) } else { files[node].clone() };
        (begin + YEAR * number / (commits as u64 + 1), vec![file])
    });
    fleet::commits(place, FOLDER, true, joined.chain(changes));
}
