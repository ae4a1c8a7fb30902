//! What a run says at its end.

use std::{collections::BTreeMap, time::Duration};

use crate::nemesis::{Fault, Felt};

/// Prints how long each kind of fault was felt.
pub fn recovery(felt: &[Felt]) {
    println!("\nseconds                       times  first ack after the fault   everybody after its end");
    println!("                                     median        longest       median        longest");
    let mut by_kind: BTreeMap<Fault, (Vec<Duration>, Vec<Duration>)> = BTreeMap::new();
    for one in felt {
        let (first, everybody) = by_kind.entry(one.fault).or_default();
        first.push(one.first_ack);
        everybody.push(one.everybody);
    }
    for (fault, (mut first, mut everybody)) in by_kind {
        first.sort_unstable();
        everybody.sort_unstable();
        println!(
            "{:<30}{:>4}{:>13}{:>15}{:>13}{:>15}",
            fault.to_string(),
            first.len(),
            seconds(quantile(&first, 0.5)),
            seconds(quantile(&first, 1.0)),
            seconds(quantile(&everybody, 0.5)),
            seconds(quantile(&everybody, 1.0))
        );
    }
}

/// Of sorted durations; zero when there are none.
pub fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((q * last as f64).round() as usize).copied().unwrap_or_default()
}

/// With milliseconds.
pub fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}
