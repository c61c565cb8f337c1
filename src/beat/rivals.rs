//! Two machines under one instance-id, as a cloned image makes them: each overwrites what the other one says.
//!
//! Each machine knows its own mark and which heartbeat it left last. If it finds another one in its place, somebody else has
//! left it. Where there are no heartbeats, it knows the record that it put on the list last.

use std::collections::BTreeMap;
use std::fs;
use std::hash::Hasher;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::config::Config;
use crate::errors::PathError;
use crate::facts;
use crate::mark::Mark;
use crate::record::Record;
use crate::state;
use crate::store::{Applied, Outcome, StoreError};

/// After so many beats or publishings in a row without the other machine, it is gone.
const CALM: u32 = 3;

/// A record that was overwritten once may have come from a backup.
const OVERWRITTEN: u32 = 2;

/// So many marks of its own are remembered: a store may come back from a backup.
const MAX_OWN: usize = 16;

/// What this machine remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct RivalMemory {
    /// Drawn once.
    seed: u64,
    /// The marks that this machine had, the present one last.
    own: Vec<u32>,
    /// What it met in each store.
    stores: BTreeMap<String, Met>,
}

/// What this machine met in one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Met {
    /// The mark that it left last; 0 if it left none yet.
    left: u32,
    /// Whether there is another machine.
    rival: bool,
    /// So many beats in a row have not met it.
    calm: u32,
    /// A digest of the record that it put there last; 0 if it put none yet.
    put: u64,
    /// So often it found another record in the place of that one.
    overwritten: u32,
    /// So many publishings in a row have found that one.
    quiet: u32,
}

impl Met {
    /// What is so after a heartbeat that took the place of that one.
    fn after(self, own: &[u32], replaced: Option<Timestamp>) -> Met {
        let left = own.last().copied().unwrap_or_default();
        let found = replaced.and_then(Mark::on).map(Mark::number);
        // Before the first heartbeat of this machine, another one may have had the name by right.
        let foreign = self.left != 0 && found.is_some_and(|mark| !own.contains(&mark));
        match foreign {
            true => Met { left, rival: true, calm: 0, ..self },
            false => {
                let calm = self.calm.saturating_add(1).min(CALM);
                Met { left, rival: self.rival && calm < CALM, calm, ..self }
            }
        }
    }

    /// What is so after a record of that digest was put there. `replaced` is whether another one was in its place, and
    /// `before` the digest of the one that this machine had put there when it began.
    fn after_put(self, digest: u64, replaced: bool, before: u64) -> Met {
        // What this machine says has not changed, and what the store has did.
        if replaced && before == digest {
            return Met { overwritten: self.overwritten.saturating_add(1), quiet: 0, ..self };
        }
        let quiet = if replaced { 0 } else { self.quiet.saturating_add(1).min(CALM) };
        let overwritten = if quiet < CALM { self.overwritten } else { 0 };
        Met { put: digest, overwritten, quiet, ..self }
    }

    fn has_rival(self) -> bool {
        self.rival || self.overwritten >= OVERWRITTEN
    }
}

/// The machine that publishes under the same instance-id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Whether it was met for the first time now.
    pub is_new: bool,
    /// What is so, in one sentence.
    pub text: String,
    /// What to do.
    pub hint: String,
}

/// Threads of one process take turns; of two processes, the later one counts.
static TURN: Mutex<()> = Mutex::new(());

/// The heartbeat to leave at that time: it bears the mark of this machine.
pub fn stamp(config: &Config, now: Timestamp) -> Timestamp {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut memory = remembered(&config.state_dir);
    let before = memory.clone();
    let mark = memory.mark(&machine());
    if memory != before {
        // Without a state directory this machine does not know its own marks, and meets nobody.
        let _ = save(&config.state_dir, &memory);
    }
    mark.stamp(now, memory.stores.values().any(|met| met.has_rival()))
}

impl RivalMemory {
    /// The mark of this machine. An image may have been cloned with the state directory: what tells the machines apart now
    /// goes into it too.
    fn mark(&mut self, machine: &str) -> Mark {
        let mut hash = fnv::FnvHasher::default();
        hash.write_u64(self.seed);
        hash.write(machine.as_bytes());
        let mark = Mark::of(hash.finish());
        if self.own.last() != Some(&mark.number()) {
            self.own.retain(|own| *own != mark.number());
            self.own.push(mark.number());
            let old = self.own.len().saturating_sub(MAX_OWN);
            self.own.drain(..old);
        }
        mark
    }
}

/// What tells this machine from a copy of it that runs.
fn machine() -> String {
    // A new one for each start of the kernel (random(4)).
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{} {}", boot.trim(), rustix::system::uname().nodename().to_string_lossy())
}

/// Counts in which heartbeats took the place of which, by store. Gives the other machine, if there is one in one of these.
pub fn note(config: &Config, replaced: &[(String, Option<Timestamp>)]) -> Option<Rival> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut memory = load(&config.state_dir);
    let before = memory.clone();
    let mut rival = None;
    for (store, replaced) in replaced {
        let known = memory.stores.get(store).copied().unwrap_or_default();
        let met = known.after(&memory.own, *replaced);
        memory.stores.insert(store.clone(), met);
        if met.has_rival() {
            rival = rival.or_else(|| Some(told(config, store, !known.has_rival())));
        }
    }
    if memory != before {
        let _ = save(&config.state_dir, &memory);
    }
    rival
}

/// A record that is about to be put on the list: what this machine had put there before. Another run of it may put the same
/// one there meanwhile, which is no other machine.
pub struct Putting {
    digest: u64,
    before: BTreeMap<String, u64>,
}

/// Begins to put a record on the list.
pub fn put(config: &Config, record: &Record) -> Putting {
    let mut hash = fnv::FnvHasher::default();
    hash.write(&record.to_bytes());
    let known = load(&config.state_dir).stores;
    let before = known.into_iter().map(|(store, met)| (store, met.put)).collect();
    Putting { digest: hash.finish().max(1), before }
}

impl Putting {
    /// Counts in what became of the record in each store. Gives the other machine, if a record of this node was overwritten
    /// again: machines that leave no heartbeats meet each other by their records alone.
    pub fn note(&self, config: &Config, changes: &[Result<Applied, StoreError>]) -> Option<Rival> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = remembered(&config.state_dir);
        let before = memory.clone();
        let mut rival = None;
        for applied in changes.iter().flatten().filter(|applied| applied.asked) {
            let replaced = match &applied.outcome {
                Some(Outcome::Merged(change) | Outcome::Waiting(change)) => {
                    matches!(change, Change::Changed(_))
                }
                None => false,
            };
            let known = memory.stores.get(&applied.url).copied().unwrap_or_default();
            let put = self.before.get(&applied.url).copied().unwrap_or_default();
            let met = known.after_put(self.digest, replaced, put);
            if met.overwritten > known.overwritten && met.has_rival() {
                rival = rival.or_else(|| Some(told(config, &applied.url, !known.has_rival())));
            }
            memory.stores.insert(applied.url.clone(), met);
        }
        if memory != before {
            let _ = save(&config.state_dir, &memory);
        }
        rival
    }
}

/// The other machine, if the last beats have met one.
pub fn met(config: &Config) -> Option<Rival> {
    let memory = load(&config.state_dir);
    let (store, _) = memory.stores.iter().find(|(_, met)| met.has_rival())?;
    Some(told(config, store, false))
}

fn told(config: &Config, store: &str, is_new: bool) -> Rival {
    let file = facts::file(&config.nodeinfo, "instance-id");
    Rival {
        is_new,
        text: format!(
            "{store}: another machine publishes under the instance-id of this node, and each overwrites the record of \
             the other"
        ),
        hint: format!(
            "write a name of its own into `{}` on one of them; a cloned image brings the file, or the machine id, along. If \
             somebody edits this node's record by hand, or a backup came back, this passes by itself",
            file.display()
        ),
    }
}

const RIVALS: &str = "rivals.json";

fn load(state_dir: &Path) -> RivalMemory {
    state::load(state_dir, RIVALS).unwrap_or_default()
}

/// The same, with a seed: it is drawn once, before anything else is remembered.
fn remembered(state_dir: &Path) -> RivalMemory {
    let memory = load(state_dir);
    if memory.seed != 0 {
        return memory;
    }
    // Of processes that draw at the same time, the first one draws for all.
    let drawn = RivalMemory { seed: fastrand::u64(1..), ..RivalMemory::default() };
    match state::save_first(state_dir, RIVALS, &drawn) {
        Ok(false) => Some(load(state_dir)).filter(|first| first.seed != 0).unwrap_or(drawn),
        _ => drawn,
    }
}

fn save(state_dir: &Path, memory: &RivalMemory) -> Result<(), PathError> {
    state::save(state_dir, RIVALS, memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine beats; each step is whose heartbeat it finds: `-` none, `.` its own last one, `o` one of its own from before
    /// it was started anew, `x` another machine's. Gives whether there is a rival after each.
    fn beats(steps: &str) -> String {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut memory = RivalMemory { seed: 7, ..RivalMemory::default() };
        let old = memory.mark("boot 1");
        let own = memory.mark("boot 2");
        assert_ne!(old, own);
        let other = RivalMemory { seed: 7, ..RivalMemory::default() }.mark("boot 3");
        let mut met = Met::default();
        steps
            .chars()
            .map(|step| {
                let found = match step {
                    '-' => None,
                    '.' => Some(own),
                    'o' => Some(old),
                    _ => Some(other),
                };
                met = met.after(&memory.own, found.map(|mark| mark.stamp(now, false)));
                if met.rival { '!' } else { ' ' }
            })
            .collect()
    }

    #[test]
    fn another_machine_is_met_and_forgotten() {
        for (steps, expect) in [
            ("-...", "    "),
            ("x...", "    "), // a new machine under an old name
            ("-.x.", "  !!"),
            ("-x...x", " !!! !"),
            ("-xxx", " !!!"),
            ("-.o-.", "     "),
        ] {
            assert_eq!(beats(steps), expect, "{steps}");
        }
    }

    /// A machine publishes; each step is what it finds: `.` its own record, `x` another one, `n` another one after it has
    /// changed its own, `s` another one while another run of it puts the same there, `-` none. Gives whether there is a rival after each.
    fn puts(steps: &str) -> String {
        let (mut met, mut digest) = (Met::default(), 1);
        steps
            .chars()
            .map(|step| {
                digest += u64::from(step == 'n');
                let before = if step == 's' { 0 } else { met.put };
                met = met.after_put(digest, "xns".contains(step), before);
                if met.has_rival() { '!' } else { ' ' }
            })
            .collect()
    }

    #[test]
    fn a_record_that_is_overwritten_again_is_another_machine_s() {
        for (steps, expect) in [
            ("-..n.n.", "       "),
            ("-..x....", "        "), // a backup
            ("-.x.x..x", "    !!!!"),
            ("-.x.x...", "    !!! "),
            ("-xx....", "  !!!  "),
            ("nx.-n.", "      "),
            ("-ssss.", "      "),
        ] {
            assert_eq!(puts(steps), expect, "{steps}");
        }
    }

    #[test]
    fn a_heartbeat_without_a_mark_is_nobodys() {
        let second: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let met = Met { left: 5, ..Met::default() };
        assert!(!met.after(&[5], Some(second)).rival);
    }
}
