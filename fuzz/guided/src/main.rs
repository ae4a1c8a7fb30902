//! The targets for libFuzzer, which sees the branches an input takes. FUZZ_TARGET names the target, FUZZ_CORPUS the folder
//! libFuzzer keeps its inputs in, where the seeds are put. Every other change is one of our own, which know the formats.
#![no_main]

use std::{env, fs, sync::LazyLock};

use fastrand::Rng;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use messenger_fuzz::{Probe, TARGETS, Target, mutated};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET is set");
    TARGETS.iter().find(|target| target.name == name).expect("a target of this name")
});

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| TARGET.seeds());

fuzz_target!(init: {
    let corpus = env::var("FUZZ_CORPUS").expect("FUZZ_CORPUS is set");
    for (number, seed) in SEEDS.iter().enumerate() {
        fs::write(format!("{corpus}/seed-{number}"), seed).expect("the corpus can be written");
    }
}, |input: &[u8]| {
    (TARGET.check)(input, &mut Probe::default());
});

fuzz_mutator!(|input: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        return fuzzer_mutate(input, size, max_size);
    }
    let mut random = Rng::with_seed(seed.into());
    let second = SEEDS[random.usize(..SEEDS.len())].clone();
    let changed = mutated(&mut random, &[input[..size].to_vec(), second]);
    let size = changed.len().min(max_size);
    input[..size].copy_from_slice(&changed[..size]);
    size
});
