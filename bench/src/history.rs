//! One long conversation, read at its end and far back.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    client::{Client, Packet, send_packet},
    http::Http,
    pages::Reading,
    report::Round,
    target::{Account, Target},
    workload::Workload,
};

/// Options of the workload.
#[derive(clap::Args, Clone, Debug)]
pub struct History {
    /// Messages in the conversation: stored by the server's fill command, or sent, if it has none.
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// How far back the second part reads; default half way.
    #[arg(long)]
    depth: Option<usize>,
    #[command(flatten)]
    reading: Reading,
}

/// Different pages read around the depth, so that not one is read again and again.
const DEEP_PAGES: usize = 500;
const WALK_LIMIT: usize = 100;
const SEND_WINDOW: u64 = 64;

/// The conversation and where its pages are.
pub struct Ground {
    reader: Account,
    newest: String,
    deep: Vec<String>,
}

impl Workload for History {
    type Ground = Ground;

    async fn prepare(&self, target: &Target) -> anyhow::Result<Ground> {
        let accounts = target.register(2).await?;
        let group = target.create_group(&accounts).await?;
        match &target.fill {
            Some(command) => fill(command, &group, &accounts[0].id, self.messages).await?,
            None => send(target, &accounts[0], &group, self.messages).await?,
        }
        let newest = format!("/api/v1/conversations/{group}/messages?limit={}", self.reading.limit);
        let anchors = self.walk(target, &accounts[1], &group).await?;
        let deep = anchors.iter().map(|id| format!("{newest}&before={id}")).collect();
        Ok(Ground { reader: accounts[1].clone(), newest, deep })
    }

    async fn round(&self, target: &Target, ground: &Ground) -> anyhow::Result<Vec<Round>> {
        let token = &ground.reader.token;
        let newest = std::slice::from_ref(&ground.newest);
        Ok(vec![
            self.reading.round(target, token, "newest", newest).await?,
            self.reading.round(target, token, "deep", &ground.deep).await?,
        ])
    }
}

impl History {
    /// Pages back to the depth as a client would; gives the last messages of the last pages on the way.
    async fn walk(&self, target: &Target, reader: &Account, group: &str) -> anyhow::Result<Vec<String>> {
        let depth = self.depth.unwrap_or(self.messages / 2);
        let mut http = Http::connect(target, &reader.token).await?;
        let mut anchors: Vec<String> = Vec::new();
        for _ in 0..depth.div_ceil(WALK_LIMIT).max(1) {
            let before = anchors.last().map(|id| format!("&before={id}")).unwrap_or_default();
            let path = format!("/api/v1/conversations/{group}/messages?limit={WALK_LIMIT}{before}");
            let page: Value = serde_json::from_slice(http.get(&path).await?)?;
            let messages = page.get("messages").unwrap_or(&page).as_array().context("a page is a list of messages")?;
            let last = messages.last().and_then(|message| message["id"].as_str());
            anchors.push(last.context("the conversation is shorter than the depth")?.to_owned());
        }
        Ok(anchors.split_off(anchors.len().saturating_sub(DEEP_PAGES)))
    }
}

/// The command stores the messages without the server's help: it knows the server's tables, we do not.
async fn fill(command: &str, group: &str, sender: &str, messages: usize) -> anyhow::Result<()> {
    let status = Command::new("sh")
        .args(["-c", command])
        .env("CONVERSATION_ID", group)
        .env("SENDER_ID", sender)
        .env("MESSAGES", messages.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(status.success(), "the fill command failed: {status}");
    Ok(())
}

async fn send(target: &Target, sender: &Account, group: &str, messages: usize) -> anyhow::Result<()> {
    let mut client = Client::connect(target, sender).await?;
    let (mut sent, mut acked, messages) = (0, 0, messages as u64);
    while acked < messages {
        while sent < messages && sent - acked < SEND_WINDOW {
            client.feed(send_packet(sent, ("groupId", group), "", 100)).await?;
            sent += 1;
        }
        client.flush().await?;
        if let Packet::Ack(text) = client.next().await? {
            ensure!(!text.contains("\"error\":"), "a message was refused: {text}");
            acked += 1;
        }
    }
    Ok(())
}
