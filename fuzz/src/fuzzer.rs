//! The loop: change an input, show it to the target, keep what is new, cut down what breaks it.

use std::{
    collections::HashSet,
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{Outcome, Probe, Target, mutation::mutated};

/// Inputs that are kept, at most.
const POOL_MAX: usize = 4_096;
/// Bytes of an input that is kept: large ones are made of small ones anew.
const POOL_BYTES_MAX: usize = 2 * 1024;
/// Inputs between two looks at the clock.
const INPUTS_PER_LOOK: u64 = 64;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// After so many inputs: the same ones for the same seed.
    Inputs(u64),
    /// After this time.
    Time(Duration),
}

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// Inputs shown.
    pub inputs: u64,
    /// Shapes of results seen.
    pub outcomes: usize,
    /// Their cost.
    pub probe: Probe,
}

/// An input that breaks a target.
#[derive(Debug)]
pub struct Failure {
    /// As small as it was made.
    pub input: Vec<u8>,
    /// The number of the input that was found.
    pub number: u64,
}

/// One target being run.
#[derive(Debug)]
pub struct Fuzzer<'a> {
    target: &'a Target,
    random: Rng,
    pool: Vec<Vec<u8>>,
    outcomes: HashSet<Outcome>,
    probe: Probe,
}

impl<'a> Fuzzer<'a> {
    /// From the target's seeds.
    #[must_use]
    pub fn new(target: &'a Target, seed: u64) -> Self {
        let (random, pool) = (Rng::with_seed(seed), target.seeds());
        Self { target, random, pool, outcomes: HashSet::new(), probe: Probe::default() }
    }

    /// Shows the seeds as they are, then changed ones.
    ///
    /// # Errors
    /// The first input that breaks the target.
    pub fn run(mut self, budget: Budget) -> Result<Report, Failure> {
        let start = Instant::now();
        let mut inputs = 0;
        for seed in self.pool.clone() {
            inputs += 1;
            self.show(&seed).ok_or_else(|| self.failure(seed, inputs))?;
        }
        while !is_spent(budget, inputs, start) {
            inputs += 1;
            let input = mutated(&mut self.random, &self.pool);
            let is_new = self.show(&input).ok_or_else(|| self.failure(input.clone(), inputs))?;
            if is_new && input.len() <= POOL_BYTES_MAX && self.pool.len() < POOL_MAX {
                self.pool.push(input);
            }
        }
        Ok(Report { inputs, outcomes: self.outcomes.len(), probe: self.probe })
    }

    /// Whether the result has a new shape; none when the target broke.
    fn show(&mut self, input: &[u8]) -> Option<bool> {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (self.target.check)(input, &mut self.probe))).ok()?;
        Some(self.outcomes.insert(outcome))
    }

    /// Takes away whatever is not needed to break the target. Silently: each try panics as the first did.
    fn failure(&self, mut input: Vec<u8>, number: u64) -> Failure {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        let mut piece = input.len() / 2;
        while piece > 0 {
            let mut from = 0;
            while from + piece <= input.len() {
                let shorter = [&input[..from], &input[from + piece..]].concat();
                let check = AssertUnwindSafe(|| (self.target.check)(&shorter, &mut Probe::default()));
                if panic::catch_unwind(check).is_err() {
                    input = shorter;
                } else {
                    from += piece;
                }
            }
            piece /= 2;
        }
        panic::set_hook(hook);
        Failure { input, number }
    }
}

fn is_spent(budget: Budget, inputs: u64, start: Instant) -> bool {
    match budget {
        Budget::Inputs(limit) => inputs >= limit,
        Budget::Time(limit) => inputs.is_multiple_of(INPUTS_PER_LOOK) && start.elapsed() >= limit,
    }
}
