//! Prints measured rounds and how the targets compare.

use std::fmt;

use hdrhistogram::Histogram;

/// One round of one workload.
pub struct Round {
    /// Which target.
    pub target: String,
    /// Messages acknowledged or delivered, whichever the workload counts.
    pub messages: u64,
    /// How long it ran.
    pub seconds: f64,
    /// CPU seconds of the servers.
    pub server_cpu: f64,
    /// CPU seconds of this generator.
    pub generator_cpu: f64,
    /// Microseconds from send to delivery.
    pub latency: Histogram<u64>,
    /// Delivered against the sender's order.
    pub reordered: u64,
    /// Refused or failed.
    pub errors: u64,
}

impl Round {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// CPU seconds of the servers for 1,000 messages.
    pub fn cpu_per_thousand(&self) -> f64 {
        self.server_cpu * 1_000.0 / self.messages.max(1) as f64
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |quantile: f64| self.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        write!(
            f,
            "{:<12} {:>9.0}/s  cpu/1000 {:.4} s  p50 {:.2} ms  p99 {:.2} ms  generator {:.1} us each  reordered {}  errors {}",
            self.target,
            self.rate(),
            self.cpu_per_thousand(),
            ms(0.5),
            ms(0.99),
            self.generator_cpu * 1e6 / self.messages.max(1) as f64,
            self.reordered,
            self.errors,
        )
    }
}

/// Prints each target's median and its ratio to the first target's.
pub fn compare(rounds: &[Round]) {
    let mut names: Vec<&str> = Vec::new();
    for round in rounds {
        if !names.contains(&round.target.as_str()) {
            names.push(&round.target);
        }
    }
    let median = |name: &str, value: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().filter(|round| round.target == name).map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let Some(first) = names.first() else { return };
    println!("\nmedians of {} rounds; ratios to {first}", rounds.len() / names.len());
    for name in &names {
        let (rate, cpu) = (median(name, Round::rate), median(name, Round::cpu_per_thousand));
        let (rate_ratio, cpu_ratio) = (rate / median(first, Round::rate), cpu / median(first, Round::cpu_per_thousand));
        println!("{name:<12} {rate:>9.0}/s ({rate_ratio:.2}x)  cpu/1000 {cpu:.4} s ({cpu_ratio:.2}x)");
    }
}
