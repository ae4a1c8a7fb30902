//! The feed, resume and the rooms as a whole, on the product's own code and without I/O: message processes, gateways and
//! clients whose every step is chosen by a seed, with losses, delays, reordering, crashes and slow readers between them.
//!
//! A failing seed is printed; `SIMULATION_SEED=<seed> cargo nextest run -p messenger-gateway simulation --no-capture`
//! tells what happened in it. `SIMULATION_SEEDS=<count>` tries more of them.

mod client;
mod gateway;
mod journal;
mod log;
mod random;
mod service;
mod world;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use self::world::World;

const SEEDS: u64 = 10_000;

/// Says which seed it was when the test fails.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed: SIMULATION_SEED={} tells how", self.0);
        }
    }
}

fn run(seed: u64, is_told: bool) {
    let _running = Running(seed);
    let mut world = World::new(seed, is_told);
    world.live();
    world.come_to_rest();
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn nothing_is_lost_doubled_reordered_or_leaked() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return run(seed, true);
    }
    let (seeds, next) = (number("SIMULATION_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            run(seed, false);
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            assert!(worker.join().is_ok(), "a seed failed");
        }
    });
}
