//! Measured rounds, how the servers compare in them, and what a comparison must come to.

use std::{collections::BTreeMap, fmt, str::FromStr};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::meter::Usage;

/// One round of one workload on one server.
#[derive(Debug)]
pub struct Round {
    /// Which server.
    pub target: String,
    /// Which of the things a workload measures; empty if there is only one.
    pub part: String,
    /// What was counted: messages acknowledged or delivered, pages, connections.
    pub count: u64,
    /// Time, CPU, memory.
    pub usage: Usage,
    /// Microseconds from send to delivery, or from request to answer.
    pub latency: Histogram<u64>,
    /// What went wrong.
    pub trouble: Trouble,
}

/// What should not be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Delivered against the sender's order.
    pub reordered: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Acknowledged and not delivered.
    pub lost: u64,
    /// Refused or failed.
    pub errors: u64,
    /// Sent and never answered.
    pub unanswered: u64,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reordered, duplicated, lost, errors, unanswered } = self;
        write!(
            f,
            "reordered {reordered}  duplicated {duplicated}  lost {lost}  errors {errors}  unanswered {unanswered}"
        )
    }
}

/// An empty histogram of microseconds, up to a minute.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant and valid bounds")
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Counted a second.
    Rate,
    /// CPU seconds of the servers for 1,000 counted.
    Cpu,
    /// Median latency, ms.
    P50,
    /// 99th percentile of the latency, ms.
    P99,
    /// 99.9th percentile of the latency, ms.
    P999,
    /// Growth of the servers' memory for each counted, KiB.
    Memory,
    /// How often a thread of the servers woke up, for each counted.
    Wakes,
    /// CPU microseconds of the generator for each counted.
    Generator,
}

impl Metric {
    const ALL: [(Self, &str); 8] = [
        (Self::Rate, "rate"),
        (Self::Cpu, "cpu"),
        (Self::P50, "p50"),
        (Self::P99, "p99"),
        (Self::P999, "p99.9"),
        (Self::Memory, "memory"),
        (Self::Wakes, "wakes"),
        (Self::Generator, "generator"),
    ];

    fn of(self, round: &Round) -> f64 {
        let (count, usage) = (round.count.max(1) as f64, &round.usage);
        let quantile = |quantile| round.latency.value_at_quantile(quantile) as f64 / 1e3;
        match self {
            Self::Rate => round.count as f64 / usage.seconds,
            Self::Cpu => usage.server_cpu.values().sum::<f64>() * 1e3 / count,
            Self::P50 => quantile(0.5),
            Self::P99 => quantile(0.99),
            Self::P999 => quantile(0.999),
            Self::Memory => usage.resident_after_kib.saturating_sub(usage.resident_before_kib) as f64 / count,
            Self::Wakes => usage.server_wakes as f64 / count,
            Self::Generator => usage.generator_cpu * 1e6 / count,
        }
    }

    /// How many times better the first is.
    fn better(self, first: &Round, second: &Round) -> f64 {
        let (first, second) = (self.of(first), self.of(second));
        if self == Self::Rate { first / second } else { second / first }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<10} {:<8} {:>9.0}/s  cpu/1000 {:.4} s  p50 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms  rss {} > {} MiB  \
             generator {:.1} us each  {}",
            self.target,
            self.part,
            Metric::Rate.of(self),
            Metric::Cpu.of(self),
            Metric::P50.of(self),
            Metric::P99.of(self),
            Metric::P999.of(self),
            self.usage.resident_before_kib / 1024,
            self.usage.resident_after_kib / 1024,
            Metric::Generator.of(self),
            self.trouble,
        )
    }
}

/// Median, smallest and largest of one metric over the rounds.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: f64::midpoint(*lower, *upper), min: *values.first()?, max: *values.last()? })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.median {
            ..1.0 => 4,
            ..100.0 => 2,
            _ => 0,
        };
        write!(f, "{:.decimals$} ({:.decimals$}..{:.decimals$})", self.median, self.min, self.max)
    }
}

/// Prints each metric of each part: median (smallest..largest) of each server, and how many times better the first is
/// than each other, round by round.
pub fn print(title: &str, rounds: &[Round]) {
    let servers = distinct(rounds, |round| &round.target);
    for part in distinct(rounds, |round| &round.part) {
        println!("\n{title} {part}");
        for (metric, name) in Metric::ALL {
            if rounds.iter().filter(|round| round.part == part).all(|round| metric.of(round) == 0.0) {
                continue;
            }
            let mut line = format!("  {name:<10}");
            for server in &servers {
                let values = of(rounds, part, server).map(|round| metric.of(round));
                if let Some(spread) = Spread::of(values) {
                    line += &format!(" {server} {spread}");
                }
                if let Some(spread) = ratio(rounds, part, metric, (servers[0], server))
                    && *server != servers[0]
                {
                    line += &format!(", better by {spread}");
                }
            }
            println!("{line}");
        }
        for server in &servers {
            println!("  {server}, CPU us each: {}", by_process(of(rounds, part, server)));
        }
    }
    println!();
}

fn by_process<'a>(rounds: impl Iterator<Item = &'a Round>) -> String {
    let (mut seconds, mut count) = (BTreeMap::<&str, f64>::new(), 0);
    for round in rounds {
        count += round.count;
        for (name, used) in &round.usage.server_cpu {
            *seconds.entry(name).or_default() += used;
        }
    }
    let each = |used: f64| used * 1e6 / count.max(1) as f64;
    let parts: Vec<String> = seconds.into_iter().map(|(name, used)| format!("{name} {:.1}", each(used))).collect();
    parts.join(", ")
}

fn ratio(rounds: &[Round], part: &str, metric: Metric, (first, second): (&str, &str)) -> Option<Spread> {
    let pairs = of(rounds, part, first).zip(of(rounds, part, second));
    Spread::of(pairs.map(|(first, second)| metric.better(first, second)))
}

fn of<'a>(rounds: &'a [Round], part: &'a str, target: &'a str) -> impl Iterator<Item = &'a Round> {
    rounds.iter().filter(move |round| round.part == part && round.target == target)
}

fn distinct(rounds: &[Round], name: fn(&Round) -> &str) -> Vec<&str> {
    let mut names = Vec::new();
    for round in rounds {
        if !names.contains(&name(round)) {
            names.push(name(round));
        }
    }
    names
}

/// `p2p.rate=5`: in every part of this workload the median of the metric is so many times better than the second's.
#[derive(Clone, Debug)]
pub struct Requirement {
    workload: String,
    metric: Metric,
    at_least: f64,
}

impl FromStr for Requirement {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts = text.split_once('=').and_then(|(what, least)| Some((what.split_once('.')?, least)));
        let ((workload, name), least) = parts.context("must be workload.metric=times")?;
        let Some((metric, _)) = Metric::ALL.into_iter().find(|(_, known)| *known == name) else {
            bail!("{name} is no metric: {}", Metric::ALL.map(|(_, name)| name).join(", "));
        };
        Ok(Self { workload: workload.to_owned(), metric, at_least: least.parse().context("times is a number")? })
    }
}

impl Requirement {
    /// The name of the workload it is about.
    pub fn workload(&self) -> &str {
        &self.workload
    }

    /// Says what falls short, part by part.
    pub fn failures(&self, rounds: &[Round], first: &str, second: &str) -> Vec<String> {
        let mut failures = Vec::new();
        for part in distinct(rounds, |round| &round.part) {
            let median = ratio(rounds, part, self.metric, (first, second)).map(|spread| spread.median);
            // What cannot be compared is no success either.
            if median.is_none_or(|median| !median.is_finite() || median < self.at_least) {
                let Self { workload, metric, at_least } = self;
                let median = median.unwrap_or(f64::NAN);
                failures.push(format!("{workload} {part} {metric:?}: better by {median:.2}, required {at_least}"));
            }
        }
        failures
    }
}
