//! Users who send far more than can be stored, beside a few who talk quietly.

use std::time::Duration;

use crate::{
    meter::Meter,
    p2p::{Pace, Talks},
    report::{Round, Trouble},
    target::{Account, Target},
    workload::Workload,
};

/// Options of the workload. Three results: the quiet alone, the quiet beside the flood, and the flood.
#[derive(clap::Args, Clone, Debug)]
pub struct Overload {
    /// Users who flood, each into a P2P conversation of its own.
    #[arg(long, default_value_t = 1)]
    flooders: usize,
    /// Unacknowledged messages of each of them: far more than a connection may have undecided in the server.
    #[arg(long, default_value_t = 4_000)]
    window: u64,
    /// Quiet pairs.
    #[arg(long, default_value_t = 20)]
    pairs: usize,
    /// Messages a second of all quiet pairs.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Length of each half of a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

const SIZE: usize = 100;
const WARMUP: Duration = Duration::from_secs(1);

/// The quiet and the flooders, two by two.
pub struct Ground {
    quiet: Vec<Account>,
    flooders: Vec<Account>,
}

impl Workload for Overload {
    type Ground = Ground;

    async fn prepare(&self, target: &Target) -> anyhow::Result<Ground> {
        let quiet = target.register(self.pairs * 2).await?;
        Ok(Ground { quiet, flooders: target.register(self.flooders * 2).await? })
    }

    async fn round(&self, target: &Target, ground: &Ground) -> anyhow::Result<Vec<Round>> {
        let half = Duration::from_secs(self.seconds);
        let pause = Some(Duration::from_secs_f64(self.pairs as f64 / self.rate));
        let quiet = Talks::begin(target, &ground.quiet, Pace { window: 1_000, pause, size: SIZE }).await?;
        tokio::time::sleep(WARMUP).await;
        quiet.count_anew();
        let meter = Meter::begin(target);
        tokio::time::sleep(half).await;
        let alone = quiet.count_anew().round(target, "alone", meter.usage(), Trouble::default());

        let flood = Pace { window: self.window, pause: None, size: SIZE };
        let meter = Meter::begin(target);
        let flood = Talks::begin(target, &ground.flooders, flood).await?;
        tokio::time::sleep(WARMUP).await;
        drop((quiet.count_anew(), flood.count_anew()));
        let counted = Meter::begin(target);
        tokio::time::sleep(half).await;
        let (beside, flooded) = (quiet.count_anew(), flood.count_anew());
        let mut usage = counted.usage();
        usage.resident_before_kib = meter.usage().resident_before_kib;
        let trouble = (quiet.end().await?, flood.end().await?);
        let beside = beside.round(target, "beside", usage.clone(), trouble.0);
        Ok(vec![alone, beside, flooded.round(target, "flood", usage, trouble.1)])
    }
}
