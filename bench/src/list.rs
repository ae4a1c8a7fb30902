//! The list of a user's conversations, each with its last message and what is unread.

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    client::{Client, Packet, send_packet},
    pages::Reading,
    report::Round,
    target::{Account, Target},
    workload::Workload,
};

/// Options of the workload.
#[derive(clap::Args, Clone, Debug)]
pub struct List {
    /// Groups the reader takes part in; another participant wrote to each.
    #[arg(long, default_value_t = 1_000)]
    conversations: usize,
    #[command(flatten)]
    reading: Reading,
}

const CREATED_AT_ONCE: usize = 8;

impl Workload for List {
    type Ground = Account;

    async fn prepare(&self, target: &Target) -> anyhow::Result<Account> {
        let accounts = target.register(2).await?;
        let groups: Vec<String> = stream::iter(0..self.conversations)
            .map(|_| target.create_group(&accounts))
            .buffered(CREATED_AT_ONCE)
            .try_collect()
            .await?;
        let mut client = Client::connect(target, &accounts[0]).await?;
        for (ack, group) in groups.iter().enumerate() {
            client.feed(send_packet(ack as u64, ("groupId", group), "", 100)).await?;
            client.flush().await?;
            while !matches!(acked(client.next().await?)?, Acked::Yes) {}
        }
        Ok(accounts[1].clone())
    }

    async fn round(&self, target: &Target, reader: &Account) -> anyhow::Result<Vec<Round>> {
        let path = format!("/api/v1/conversations?limit={}", self.reading.limit);
        Ok(vec![self.reading.round(target, &reader.token, "", &[path]).await?])
    }
}

enum Acked {
    Yes,
    NotYet,
}

fn acked(packet: Packet) -> anyhow::Result<Acked> {
    let Packet::Ack(text) = packet else { return Ok(Acked::NotYet) };
    ensure!(!text.contains("\"error\":"), "a message was refused: {text}");
    Ok(Acked::Yes)
}
