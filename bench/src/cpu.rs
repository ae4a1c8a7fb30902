//! CPU time and memory of process trees, from `/proc`.

use std::{collections::HashMap, fs};

/// Kernel clock ticks a second, the same on every Linux platform we run on (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU (user and system) the trees have used so far, children that ended included.
pub fn seconds(roots: &[u32]) -> f64 {
    tree(roots).iter().map(|process| process.ticks as f64 / TICKS_PER_SECOND).sum()
}

/// Resident memory of the trees in KiB. Shared pages count in each process.
pub fn resident_kib(roots: &[u32]) -> u64 {
    tree(roots).iter().filter_map(|process| resident_of(process.pid)).sum()
}

struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
}

fn tree(roots: &[u32]) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut all: HashMap<u32, Process> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(process) = read(pid) {
            children.entry(process.parent).or_default().push(pid);
            all.insert(pid, process);
        }
    }
    let mut waiting = roots.to_vec();
    let mut found = Vec::new();
    while let Some(pid) = waiting.pop() {
        if let Some(process) = all.remove(&pid) {
            waiting.extend(children.get(&pid).into_iter().flatten());
            found.push(process);
        }
    }
    found
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |n: usize| fields.get(n)?.parse::<u64>().ok();
    let ticks = field(11)? + field(12)? + field(13)? + field(14)?;
    Some(Process { pid, parent: u32::try_from(field(1)?).ok()?, ticks })
}

fn resident_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
