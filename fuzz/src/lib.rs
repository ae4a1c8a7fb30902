//! Fuzzing of everything that reads what strangers send: one list of targets, run for seconds with every test and for as
//! long as one likes by `scripts/fuzz`.
//!
//! Inputs are changed seeds. One that brought a result of a new shape is kept and changed further, so that a run works its
//! way into a decoder without instrumentation of the compiler. `guided` shows the same targets to libFuzzer, which has it.

mod fuzzer;
mod mutation;
mod outcome;
mod targets;

pub use self::{
    fuzzer::{Budget, Failure, Fuzzer, Report},
    mutation::mutated,
    outcome::{Outcome, Probe},
    targets::{TARGETS, Target},
};
