//! What runs did, in numbers.

use std::collections::BTreeMap;
use std::fmt;

/// The numbers of one run, or of many.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    /// The faults that happened, by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What else a world counts, such as publishes.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        for (sum, of) in [(&mut self.faults, &other.faults), (&mut self.counts, &other.counts)] {
            for (kind, number) in of {
                *sum.entry(kind).or_default() += number;
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps", self.steps)?;
        for (kind, number) in &self.counts {
            write!(f, ", {number} {kind}")?;
        }
        for (index, (kind, number)) in self.faults.iter().enumerate() {
            let before = if index == 0 { "; faults: " } else { ", " };
            write!(f, "{before}{kind} {number}")?;
        }
        Ok(())
    }
}
