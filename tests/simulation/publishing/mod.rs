//! Publishing to a git server: the protocol over a server, machines and clocks in memory.

mod invariants;
mod machine;
mod objects;
mod real;
mod server;
mod small;
mod world;

use std::hash::{Hash, Hasher};

use crate::runner::World;

pub(crate) const WORLDS: &[&World] =
    &[&world::WORLD, &real::WORLD, &small::TWO, &small::THREE, &small::THREE_ALIVE, &small::THREE_KILLED];

/// A digest that is the same in every run.
fn digest(value: &impl Hash) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}
