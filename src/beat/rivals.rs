//! Two machines under one instance-id, for example from a cloned image: each overwrites the other's record.
//!
//! Each machine knows its own mark and its last heartbeat. A different heartbeat in that place is from
//! another machine. Without heartbeats, the machine compares the record that it last published.

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

/// After this many beats or publishings in a row without the rival, it is gone.
const CALM: u32 = 3;

/// Overwritings that prove a rival: a single one may come from a restored backup.
const OVERWRITTEN: u32 = 2;

/// The number of own marks that are remembered: a store may be restored from a backup.
const MAX_OWN: usize = 16;

/// What this machine remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct RivalMemory {
    /// A random number, drawn once.
    seed: u64,
    /// The marks that this machine has had, the current one last.
    own: Vec<u32>,
    /// What it met in each store.
    stores: BTreeMap<String, Met>,
}

/// What this machine met in one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Met {
    /// The mark of its last heartbeat; 0 before the first one.
    left: u32,
    /// Whether there is a rival.
    rival: bool,
    /// The number of beats in a row without it.
    calm: u32,
    /// A digest of the record that it last published; 0 before the first one.
    put: u64,
    /// How often it found another record in the place of its own.
    overwritten: u32,
    /// The number of publishings in a row that did not replace another record.
    quiet: u32,
}

impl Met {
    /// The memory after a heartbeat that replaced this one.
    fn after(self, own: &[u32], replaced: Option<Timestamp>) -> Met {
        let left = own.last().copied().unwrap_or_default();
        let found = replaced.and_then(Mark::on).map(Mark::number);
        // Before the first heartbeat of this machine, another one may have had the name rightfully.
        let foreign = self.left != 0 && found.is_some_and(|mark| !own.contains(&mark));
        match foreign {
            true => Met { left, rival: true, calm: 0, ..self },
            false => {
                let calm = self.calm.saturating_add(1).min(CALM);
                Met { left, rival: self.rival && calm < CALM, calm, ..self }
            }
        }
    }

    /// The memory after a record with that digest was published. `replaced` says whether it replaced another
    /// record, `before` is the digest that this machine had published when it began.
    fn after_put(self, digest: u64, replaced: bool, before: u64) -> Met {
        // This machine's record is the same as before, but the store had another one.
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
    /// The situation, in one sentence.
    pub text: String,
    /// What to do.
    pub hint: String,
}

/// Threads of one process take turns. Of two processes, the later write wins.
static TURN: Mutex<()> = Mutex::new(());

/// The timestamp of a heartbeat sent now, with the mark of this machine.
pub fn stamp(config: &Config, now: Timestamp) -> Timestamp {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut memory = remembered(&config.state_dir);
    let before = memory.clone();
    let mark = memory.mark(&machine());
    if memory != before {
        // Without a state directory, this machine does not know its own marks, and detects no rival.
        let _ = save(&config.state_dir, &memory);
    }
    mark.stamp(now, memory.stores.values().any(|met| met.has_rival()))
}

impl RivalMemory {
    /// The mark of this machine. The state directory may have been cloned with the image, so the mark also
    /// depends on what distinguishes running machines.
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

/// A text that distinguishes this machine from a running copy of it.
fn machine() -> String {
    // A new one for each start of the kernel (random(4)).
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{} {}", boot.trim(), rustix::system::uname().nodename().to_string_lossy())
}

/// Records which heartbeats were replaced, by store. Returns the rival, if there is one in one of these
/// stores.
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

/// A record about to be published, with what this machine had published before. Another run of this machine
/// may publish the same record meanwhile, which must not look like a rival.
pub struct Putting {
    digest: u64,
    before: BTreeMap<String, u64>,
}

/// Begins to publish a record.
pub fn put(config: &Config, record: &Record) -> Putting {
    let mut hash = fnv::FnvHasher::default();
    hash.write(&record.to_bytes());
    let known = load(&config.state_dir).stores;
    let before = known.into_iter().map(|(store, met)| (store, met.put)).collect();
    Putting { digest: hash.finish().max(1), before }
}

impl Putting {
    /// Records the result in each store. Returns the rival, if a record of this node was overwritten again:
    /// machines that send no heartbeats detect each other by their records only.
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

/// The rival, if the last beats have met one.
pub fn met(config: &Config) -> Option<Rival> {
    let memory = load(&config.state_dir);
    let (store, _) = memory.stores.iter().find(|(_, met)| met.has_rival())?;
    Some(told(config, store, false))
}

fn told(config: &Config, store: &str, is_new: bool) -> Rival {
    let file = facts::file(&config.nodeinfo.dir, "instance-id");
    Rival {
        is_new,
        text: format!(
            "{store}: another machine publishes under the instance-id of this node; they overwrite each \
             other's record"
        ),
        hint: format!(
            "write a different name into `{}` on one of them; a cloned image contains the file or the \
             machine id. If somebody edited this node's record or restored a backup, the warning ends by \
             itself",
            file.display()
        ),
    }
}

const RIVALS: &str = "rivals.json";

fn load(state_dir: &Path) -> RivalMemory {
    state::load(state_dir, RIVALS).unwrap_or_default()
}

/// The memory with a seed, which is drawn once, before anything else is remembered.
fn remembered(state_dir: &Path) -> RivalMemory {
    let memory = load(state_dir);
    if memory.seed != 0 {
        return memory;
    }
    // If several processes draw at once, the first one's seed applies to all.
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

    /// A machine beats. Each step is the heartbeat that it finds: `-` none, `.` its own last one, `o` its own
    /// from before a restart, `x` another machine's. Returns whether there is a rival after each step.
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

    /// A machine publishes. Each step is what it finds: `-` no record, `.` its own, `x` another one. With `n`
    /// it finds another one after a change of its own, with `s` while another run of it publishes the same.
    /// Returns whether there is a rival after each step.
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
