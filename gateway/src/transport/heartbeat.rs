//! The one timer of a connection: when to ask for a sign of life, when to give up waiting for one,
//! and until when the client has to have connected.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::GatewayConfig;

/// How often the server asks for a sign of life, and how long it waits for it.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// From a sign of life to the next ping.
    pub interval: Duration,
    /// From a ping to the end.
    pub timeout: Duration,
}

impl Rhythm {
    /// As configured.
    pub const fn of(config: &GatewayConfig) -> Self {
        Self { interval: config.heartbeat_interval, timeout: config.heartbeat_timeout }
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Ask for a sign of life.
    Ping,
    /// It did not come.
    Silent,
    /// The client did not connect in time.
    Unconnected,
}

/// When something is due.
pub struct Heartbeat {
    timer: Pin<Box<Sleep>>,
    rhythm: Rhythm,
    /// The next ping, or the end of the wait for its answer.
    beat_at: Instant,
    is_waiting: bool,
    connect_by: Option<Instant>,
}

impl Heartbeat {
    /// The first ping comes after one interval.
    pub fn new(rhythm: Rhythm) -> Self {
        let beat_at = Instant::now() + rhythm.interval;
        Self { timer: Box::pin(sleep_until(beat_at)), rhythm, beat_at, is_waiting: false, connect_by: None }
    }

    /// The client has this long to connect.
    pub fn expect_connect(&mut self, within: Duration) {
        self.connect_by = Some(Instant::now() + within);
        self.set_timer();
    }

    /// The client connected.
    pub fn connected(&mut self) {
        self.connect_by = None;
        self.set_timer();
    }

    /// A sign of life came.
    pub fn beat(&mut self) {
        if self.is_waiting {
            self.is_waiting = false;
            self.beat_at = Instant::now() + self.rhythm.interval;
            self.set_timer();
        }
    }

    /// Resolves when something is due; dropping it midway loses nothing.
    pub async fn due(&mut self) -> Due {
        self.timer.as_mut().await;
        let now = Instant::now();
        if self.connect_by.is_some_and(|by| by <= now) {
            return Due::Unconnected;
        }
        if self.is_waiting {
            return Due::Silent;
        }
        self.is_waiting = true;
        self.beat_at = now + self.rhythm.timeout;
        self.set_timer();
        Due::Ping
    }

    fn set_timer(&mut self) {
        let next = self.connect_by.map_or(self.beat_at, |by| by.min(self.beat_at));
        self.timer.as_mut().reset(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) };

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_interval_and_timeout() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(RHYTHM);
        assert_eq!((heartbeat.due().await, start.elapsed().as_secs()), (Due::Ping, 25));
        heartbeat.beat();
        assert_eq!((heartbeat.due().await, start.elapsed().as_secs()), (Due::Ping, 50));
        assert_eq!((heartbeat.due().await, start.elapsed().as_secs()), (Due::Silent, 70));
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_has_its_own_end() {
        let mut heartbeat = Heartbeat::new(RHYTHM);
        heartbeat.expect_connect(Duration::from_secs(10));
        assert_eq!(heartbeat.due().await, Due::Unconnected);
        heartbeat.connected();
        assert_eq!(heartbeat.due().await, Due::Ping);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unasked_sign_of_life_moves_nothing() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(RHYTHM);
        tokio::time::advance(Duration::from_secs(20)).await;
        heartbeat.beat();
        assert_eq!((heartbeat.due().await, start.elapsed().as_secs()), (Due::Ping, 25));
    }
}
