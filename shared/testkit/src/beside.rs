//! Two users who talk all the time, beside an attack or a fault that is none of theirs.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{Api, TestClient, User, Wire};

/// Slow enough for the rates of production.
const EXCHANGE_EVERY: Duration = Duration::from_millis(150);
/// Exchanges after the attack.
const EXCHANGES_AFTER: u64 = 2;

/// What a send is answered while the store is away: at once, or after as long as a caller waits.
const PASSING: [&str; 2] = ["UNAVAILABLE", "DEADLINE_EXCEEDED"];

/// What the two put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerates {
    /// Nothing: every send is acknowledged.
    Nothing,
    /// That the store is away: a send may be refused for that, and is repeated under its key.
    Unavailable,
}

/// The two.
pub struct Beside {
    stop: oneshot::Sender<()>,
    talking: JoinHandle<anyhow::Result<()>>,
}

impl Beside {
    /// Registers and connects them, one over each transport; they begin.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn start(edge: SocketAddr, tolerates: Tolerates) -> anyhow::Result<Self> {
        let api = Api::new(format!("http://{edge}"));
        let (ann, bob) = (api.register("ann").await?, api.register("bob").await?);
        let speaker = TestClient::connect(edge, Wire::SocketIo, &ann).await?;
        let hearer = TestClient::connect(edge, Wire::Plain, &bob).await?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self { stop, talking: tokio::spawn(talk(speaker, hearer, bob, tolerates, stopped)) })
    }

    /// They went on all the time, and still do: every message was acknowledged and heard, in order, once.
    ///
    /// # Errors
    /// What they noticed.
    pub async fn unharmed(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        self.talking.await?.context("the users beside noticed something")
    }
}

async fn talk(
    mut speaker: TestClient,
    mut hearer: TestClient,
    bob: User,
    tolerates: Tolerates,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let mut ticks = interval(EXCHANGE_EVERY);
    // A stall is not made up for: that would be a flood.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut said, mut last) = (0, None);
    while last.is_none_or(|last| said < last) {
        ticks.tick().await;
        let content = said.to_string();
        let draft = json!({ "receiverId": bob.id, "content": content, "clientMessageId": content });
        let answer = speaker.request("send_message", draft).await?;
        let passes = answer["error"]["code"].as_str().is_some_and(|code| PASSING.contains(&code));
        if tolerates == Tolerates::Unavailable && passes {
            continue;
        }
        ensure!(answer["content"] == content, "{answer}");
        let heard = hearer.until("new_message").await?;
        ensure!(heard["content"] == content && heard["seq"] == said + 1, "{heard} instead of {answer}");
        said += 1;
        if last.is_none() && stopped.try_recv() != Err(TryRecvError::Empty) {
            last = Some(said + EXCHANGES_AFTER);
        }
    }
    Ok(())
}
