//! An acknowledged message, sent ten more times at once on two gateways: each answer is the first one again.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use messenger_testkit::User;
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    board::Board,
    link::{self, Frame, ResumePoint, Wire},
};

const TIMES_ON_EACH: u64 = 5;
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// Repeats the draft that became message `id`. Faults may leave repeats without an answer; those do not count.
pub async fn run(edges: Vec<SocketAddr>, user: User, draft: Value, id: Uuid, board: Arc<Board>) {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    if let [first, second] = edges[..] {
        (one, other) = tokio::join!(repeat(first, &user, &draft), repeat(second, &user, &draft));
    }
    for answer in one.into_iter().chain(other) {
        if answer["error"].is_null() {
            board.repeats.fetch_add(1, Ordering::Relaxed);
            if answer["id"] != id.to_string() {
                board.wrong(format!("a repeat of {id} was answered {answer}"));
            }
        }
    }
}

async fn repeat(edge: SocketAddr, user: &User, draft: &Value) -> Vec<Value> {
    let mut answers = Vec::new();
    let asking = async {
        let mut link = link::connect(edge, Wire::Plain, &user.token, &ResumePoint::default()).await?;
        for id in 1..=TIMES_ON_EACH {
            link.writer.ask(id, "send_message", draft).await?;
        }
        while (answers.len() as u64) < TIMES_ON_EACH {
            if let Frame::Answer(_, answer) = link.reader.next().await? {
                answers.push(answer);
            }
        }
        anyhow::Ok(())
    };
    let _ = timeout(ANSWERED_WITHIN, asking).await;
    answers
}
