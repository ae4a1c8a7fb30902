//! Somebody well behaved beside those who are not.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::shapes::{Running, ask, call, remote};

/// Calls all the time, on a connection of its own, and has to be answered every time.
pub struct Neighbour {
    ends: Arc<AtomicBool>,
    task: JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    pub async fn begin(running: &Running) -> Self {
        let (mut client, ends) = (remote(running), Arc::new(AtomicBool::new(false)));
        call(&mut client, ask("caller")).await.expect("answered before");
        let seen = Arc::clone(&ends);
        let task = tokio::spawn(async move {
            let mut waits = Vec::new();
            while !seen.load(Ordering::Relaxed) || waits.is_empty() {
                let began = Instant::now();
                call(&mut client, ask("caller")).await.expect("the neighbour is answered, always");
                waits.push(began.elapsed());
            }
            waits
        });
        Self { ends, task }
    }

    /// It was answered every time. Prints how long that took: figures, not promises, on a machine with others.
    pub async fn end(self, beside: &str) {
        self.ends.store(true, Ordering::Relaxed);
        let mut waits = self.task.await.expect("every call was answered");
        waits.sort_unstable();
        let (p50, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
        println!("beside {beside}: {} calls, p50 {p50:?}, p99 {p99:?}", waits.len());
    }
}

pub fn address(running: &Running) -> SocketAddr {
    running.url.trim_start_matches("http://").parse().expect("an address")
}

/// Of this process, server and hostile client together.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4_096
}
