//! Where a simulation's decisions come from: a seed, or a script that the exhaustive search writes.

use std::cell::RefCell;

/// A source of decisions. The same seed or script makes the same decisions.
pub(crate) struct Chance(RefCell<Source>);

enum Source {
    Seeded(fastrand::Rng),
    Scripted(Script),
}

/// The choices of one run of an exhaustive search.
#[derive(Default)]
struct Script {
    /// The choice and the number of options, of each decision so far.
    choices: Vec<(usize, usize)>,
    /// The number of decisions made in this run.
    made: usize,
    /// The number of decisions that this run repeats from the last one.
    repeated: usize,
}

impl Chance {
    /// The decisions of this seed.
    pub(crate) fn seeded(seed: u64) -> Chance {
        Chance(RefCell::new(Source::Seeded(fastrand::Rng::with_seed(seed))))
    }

    /// The first run of a search: always the first option.
    pub(crate) fn scripted() -> Chance {
        Chance(RefCell::new(Source::Scripted(Script::default())))
    }

    /// Takes the source away at the end of a run.
    pub(crate) fn take(&self) -> Chance {
        Chance(RefCell::new(self.0.replace(Source::Scripted(Script::default()))))
    }

    /// The next run of a search: the last decision that has another option takes it. `None` if no decision has.
    pub(crate) fn next(self) -> Option<Chance> {
        let Source::Scripted(mut script) = self.0.into_inner() else { return None };
        script.choices.truncate(script.made);
        while let Some((choice, options)) = script.choices.pop() {
            if choice + 1 < options {
                script.choices.push((choice + 1, options));
                let repeated = script.choices.len();
                return Some(Chance(RefCell::new(Source::Scripted(Script { made: 0, repeated, ..script }))));
            }
        }
        None
    }

    /// The same run of a search again.
    pub(crate) fn again(self) -> Chance {
        let Source::Scripted(mut script) = self.0.into_inner() else { unreachable!("only a search repeats") };
        script.choices.truncate(script.made);
        script.repeated = std::mem::take(&mut script.made);
        Chance(RefCell::new(Source::Scripted(script)))
    }

    /// Whether this run still repeats the decisions of the last one.
    pub(crate) fn is_repeating(&self) -> bool {
        match &*self.0.borrow() {
            Source::Seeded(_) => false,
            Source::Scripted(script) => script.made < script.repeated,
        }
    }

    /// The choices of a search so far, to repeat them by hand.
    pub(crate) fn choices(&self) -> Vec<usize> {
        match &*self.0.borrow() {
            Source::Seeded(_) => Vec::new(),
            Source::Scripted(script) => {
                script.choices[..script.made].iter().map(|(choice, _)| *choice).collect()
            }
        }
    }

    /// Makes a decision between this many options, at least one. A search tries all of them.
    pub(crate) fn below(&self, options: usize) -> usize {
        match &mut *self.0.borrow_mut() {
            _ if options < 2 => 0,
            Source::Seeded(generator) => generator.usize(..options),
            Source::Scripted(script) => {
                if script.made == script.choices.len() {
                    script.choices.push((0, options));
                }
                let (choice, before) = script.choices[script.made];
                assert_eq!(before, options, "the run does not depend on its decisions alone");
                script.made += 1;
                choice
            }
        }
    }

    /// A number from 0 to 1, without 1. A search takes the middle.
    pub(crate) fn f64(&self) -> f64 {
        match &mut *self.0.borrow_mut() {
            Source::Seeded(generator) => generator.f64(),
            Source::Scripted(_) => 0.5,
        }
    }

    /// A number of 64 bits, for unique names. A search takes numbers in order.
    pub(crate) fn u64(&self) -> u64 {
        match &mut *self.0.borrow_mut() {
            Source::Seeded(generator) => generator.u64(..),
            Source::Scripted(script) => script.made as u64,
        }
    }

    /// Whether something happens that happens with this probability. A search tries both.
    pub(crate) fn happens(&self, probability: f64) -> bool {
        let mut source = self.0.borrow_mut();
        match &mut *source {
            _ if probability <= 0.0 => false,
            Source::Seeded(generator) => generator.f64() < probability,
            Source::Scripted(_) => {
                drop(source);
                self.below(2) == 1
            }
        }
    }

    /// One of these values.
    pub(crate) fn pick<'a, T>(&self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }
}
