//! A reload command that several files share runs once, after all of them are replaced.

use std::collections::BTreeMap;

use super::machine::TurnPort;
use super::turn::{Turn, TurnError};
use crate::config::Render;
use crate::output::{self, Done, Memory, Target};

/// For each table, whether another table has the same reload command. A command that contains the file's name
/// is never shared.
pub fn shared(renders: &[Render]) -> Vec<bool> {
    let same = |one: &Render, other: &Render| match (&one.target.reload, &other.target.reload) {
        (Some(one), Some(other)) => one == other && !one.names_the_file(),
        _ => false,
    };
    let others = |place: usize| renders.iter().enumerate().filter(move |(other, _)| *other != place);
    let shares = |(place, render): (usize, &Render)| others(place).any(|(_, other)| same(render, other));
    renders.iter().enumerate().map(shares).collect()
}

/// Runs each command that turns still owe, once for all files that share it, if `allow` permits it. Then the
/// turns are as if each had reloaded by itself. Returns the index of one file for each command that ran.
///
/// `turns` are turns of tables with a [`shared`] command, taken with `hold_reload`, and the tables' indexes.
pub fn run(
    port: &impl TurnPort,
    renders: &[Render],
    turns: &mut [(usize, Turn)],
    mut allow: impl FnMut() -> bool,
) -> Vec<usize> {
    let mut ran = Vec::new();
    for at in 0..turns.len() {
        let (place, turn) = &turns[at];
        if !matches!(turn.done(), Some(Done::Held { .. })) || !allow() {
            continue;
        }
        let command = &renders[*place].target.reload;
        // Also for files without a turn now: they owe the same command.
        let sharing = (0..renders.len()).filter(|other| renders[*other].target.reload == *command);
        let mut outcomes = reload(port, renders, sharing);
        if outcomes.values().any(|outcome| !matches!(outcome, Err(TurnError::Memory(_)))) {
            ran.push(*place);
        }
        for (other, turn) in turns.iter_mut().filter(|(other, _)| renders[*other].target.reload == *command) {
            let Some(done) = turn.done_mut() else { continue };
            let Done::Held(held) = &*done else { continue };
            match outcomes.remove(other) {
                Some(Ok(())) => *done = held.clone().reloaded(),
                Some(Err(error)) => turn.result = Err(error),
                // Another process has run it meanwhile.
                None => *done = held.clone().settled(),
            }
        }
    }
    ran
}

/// Runs the command of these tables for those that owe it. Returns the results by the tables' indexes.
fn reload(
    port: &impl TurnPort,
    renders: &[Render],
    sharing: impl Iterator<Item = usize>,
) -> BTreeMap<usize, Result<(), TurnError>> {
    let mut outcomes = BTreeMap::new();
    let mut owing = Vec::new();
    // In the order of the configuration: every process that takes several of these locks takes them in this
    // order.
    for place in sharing {
        let target = &renders[place].target;
        match port.memory(&target.path) {
            Ok(memory) if memory.owes_reload() => owing.push((place, target, memory)),
            Ok(_) => {}
            Err(error) => drop(outcomes.insert(place, Err(error.into()))),
        }
    }
    let files: Vec<(&Target, &Memory)> = owing.iter().map(|(_, target, memory)| (*target, memory)).collect();
    let reloaded = output::reload_together(&files);
    let places = owing.iter().map(|(place, ..)| *place);
    outcomes.extend(places.zip(reloaded.into_iter().map(|outcome| outcome.map_err(TurnError::from))));
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, RawOptions};

    #[test]
    fn a_command_is_shared_if_it_is_the_same_and_names_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("presence.toml");
        let reloads = ["a b", "a 'b'", "a {}", "a {}", "c", ""];
        let tables = reloads.iter().enumerate().map(|(number, reload)| {
            let reload = if reload.is_empty() { String::new() } else { format!("reload = \"{reload}\"\n") };
            format!("[[render]]\nname = 'hosts'\noutput = '/nonexistent/{number}'\n{reload}")
        });
        std::fs::write(&path, tables.collect::<String>()).unwrap();
        let config = Config::load(&RawOptions { config: Some(path), ..RawOptions::default() }).unwrap();
        assert_eq!(shared(&config.renders), [true, true, false, false, false, false]);
    }
}
