//! What a run says at its end.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use crate::{
    board::Board,
    check::{Breach, Verdict},
    nemesis::{Fault, Felt},
};

/// Times of one kind that make its median tell: a single one may be a busy machine.
const TIMES_THAT_TELL: usize = 5;

/// Prints how long each kind of fault was felt, and breaks the verdict where it was felt for too long.
pub fn recovery(felt: &[Felt], verdict: &mut Verdict) {
    println!("\nseconds                             first ack after the fault    everybody after its end   rights");
    println!("                            times bound    median   longest          median   longest  changed");
    let mut by_kind: BTreeMap<Fault, Vec<&Felt>> = BTreeMap::new();
    felt.iter().for_each(|one| by_kind.entry(one.fault).or_default().push(one));
    let mut beyond = 0;
    for (fault, felt) in by_kind {
        let (first, everybody) = (sorted(&felt, |one| one.first_ack), sorted(&felt, |one| one.everybody));
        let (bound, median) = (fault.bound(), quantile(&first, 0.5));
        let late = first.iter().filter(|first| **first > bound).count();
        beyond += late;
        let changes: u64 = felt.iter().map(|one| one.changes).sum();
        println!(
            "{:<29}{:>4}{:>6}{:>10}{:>10}{}{:>15}{:>10}{changes:>9}",
            fault.to_string(),
            felt.len(),
            bound.as_secs(),
            seconds(median),
            seconds(quantile(&first, 1.0)),
            if late > 0 { "*" } else { " " },
            seconds(quantile(&everybody, 0.5)),
            seconds(quantile(&everybody, 1.0))
        );
        if felt.len() >= TIMES_THAT_TELL && median > bound {
            verdict.breach(Breach::Wrong, || format!("{fault}: half of all times felt for over {bound:?}"));
        }
        let lasted: Duration = felt.iter().map(|one| one.lasted).sum();
        if changes == 0 && fault.lets_change_within().is_some_and(|bound| lasted >= bound) {
            verdict.breach(Breach::Wrong, || format!("{fault}: no right was changed meanwhile"));
        }
    }
    println!("* {beyond} of {} faults were felt for longer than their bound", felt.len());
}

/// Prints the figures of a run.
pub fn figures(board: &Board, verdict: &Verdict, faults: usize, publications_lost: u64) {
    let catch_ups = board.catch_ups();
    println!("\nfaults               {faults}");
    println!("rights changed       {}", board.changes.load(Ordering::Relaxed));
    println!("repeats compared     {}", board.repeats.load(Ordering::Relaxed));
    println!("publications lost    {publications_lost}");
    println!("slow readers closed  {}", board.overflows.load(Ordering::Relaxed));
    println!("connections resumed  {}", catch_ups.len());
    let (p50, p99) = (quantile(&catch_ups, 0.5), quantile(&catch_ups, 0.99));
    println!("catch-up             p50 {} s, p99 {} s", seconds(p50), seconds(p99));
    print!("{verdict}");
}

fn sorted(felt: &[&Felt], of: impl Fn(&Felt) -> Duration) -> Vec<Duration> {
    let mut all: Vec<Duration> = felt.iter().map(|one| of(one)).collect();
    all.sort_unstable();
    all
}

/// Of sorted durations; zero when there are none.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((q * last as f64).round() as usize).copied().unwrap_or_default()
}

/// With milliseconds.
fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}
