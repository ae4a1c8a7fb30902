//! Reads pages over REST as fast as they come.

use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    http::Http,
    meter::Meter,
    report::{Round, Trouble, latencies},
    target::Target,
};

/// How pages are read.
#[derive(clap::Args, Clone, Debug)]
pub struct Reading {
    /// Readers, each with a connection and one request at a time.
    #[arg(long, default_value_t = 16)]
    readers: usize,
    /// Rows of a page.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Length of one round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

impl Reading {
    /// Reads these paths in turn, each reader beginning elsewhere. Every page must have all its rows.
    pub async fn round(
        &self,
        target: &Target,
        token: &str,
        part: impl Into<String>,
        paths: &[String],
    ) -> anyhow::Result<Round> {
        let meter = Meter::begin(target);
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut readers = JoinSet::new();
        for reader in 0..self.readers {
            let (http, limit) = (Http::connect(target, token).await?, self.limit);
            let mut paths = paths.to_vec();
            let begin = reader * paths.len() / self.readers;
            paths.rotate_left(begin);
            readers.spawn_local(read(http, paths, limit, end));
        }
        let mut latency = latencies();
        while let Some(read) = readers.join_next().await {
            latency.add(read??)?;
        }
        Ok(Round {
            target: target.name.clone(),
            part: part.into(),
            count: latency.len(),
            usage: meter.usage(),
            latency,
            trouble: Trouble::default(),
        })
    }
}

async fn read(mut http: Http, paths: Vec<String>, limit: usize, end: Instant) -> anyhow::Result<Histogram<u64>> {
    let mut latency = latencies();
    for path in paths.iter().cycle() {
        let begin = Instant::now();
        let page = http.get(path).await?;
        latency.saturating_record(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
        if latency.len() == 1 {
            let rows = std::str::from_utf8(page)?.matches("\"content\":").count();
            ensure!(rows == limit, "{path} has {rows} rows");
        }
        if begin >= end {
            break;
        }
    }
    Ok(latency)
}
