//! CPU time and memory of process trees, from `/proc`.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    time::Instant,
};

use crate::target::Target;

/// Kernel clock ticks a second, the same on every Linux platform we run on (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures what is used from its beginning on.
pub struct Meter<'a> {
    target: &'a Target,
    begin: Instant,
    server_cpu: BTreeMap<String, f64>,
    generator_cpu: f64,
    server_wakes: u64,
    resident_kib: u64,
}

/// What was used.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// How long it took.
    pub seconds: f64,
    /// CPU seconds of the servers and their databases, by the names of the processes.
    pub server_cpu: BTreeMap<String, f64>,
    /// CPU seconds of this generator.
    pub generator_cpu: f64,
    /// How often threads of the servers woke up, their databases' not counted.
    pub server_wakes: u64,
    /// Resident memory of the servers at the beginning, KiB. Shared pages count in each process.
    pub resident_before_kib: u64,
    /// The same at the end.
    pub resident_after_kib: u64,
}

impl<'a> Meter<'a> {
    /// Begins now.
    pub fn begin(target: &'a Target) -> Self {
        Self {
            target,
            resident_kib: resident_kib(&target.pids),
            server_cpu: server_seconds(target),
            generator_cpu: own_seconds(),
            server_wakes: wakes(&target.pids),
            begin: Instant::now(),
        }
    }

    /// Since the beginning.
    pub fn usage(&self) -> Usage {
        let mut server_cpu = server_seconds(self.target);
        for (name, before) in &self.server_cpu {
            *server_cpu.entry(name.clone()).or_default() -= before;
        }
        Usage {
            seconds: self.begin.elapsed().as_secs_f64(),
            server_cpu,
            generator_cpu: own_seconds() - self.generator_cpu,
            server_wakes: wakes(&self.target.pids).saturating_sub(self.server_wakes),
            resident_before_kib: self.resident_kib,
            resident_after_kib: resident_kib(&self.target.pids),
        }
    }
}

/// Resident memory of the trees in KiB. Shared pages count in each process.
pub fn resident_kib(roots: &[u32]) -> u64 {
    tree(roots).iter().filter_map(|process| resident_of(process.pid)).sum()
}

/// How often threads of the trees have given up the processor to wait for something. Threads that ended are not counted.
fn wakes(roots: &[u32]) -> u64 {
    let threads = |pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let processes = tree(roots).into_iter();
    processes.flat_map(|process| threads(process.pid)).filter_map(|thread| wakes_of(&thread.path())).sum()
}

/// CPU (user and system) the trees have used so far, children that ended included.
fn server_seconds(target: &Target) -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    for process in tree(&[&target.pids[..], &target.databases].concat()) {
        let ticks = process.own_ticks + process.waited_ticks;
        *seconds.entry(process.name).or_default() += ticks as f64 / TICKS_PER_SECOND;
    }
    seconds
}

/// Without children: they may be the servers.
fn own_seconds() -> f64 {
    read(std::process::id()).map_or(0.0, |process| process.own_ticks as f64 / TICKS_PER_SECOND)
}

struct Process {
    pid: u32,
    name: String,
    parent: u32,
    own_ticks: u64,
    /// Of children that ended.
    waited_ticks: u64,
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
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some(Process {
        pid,
        name: name.to_owned(),
        parent: u32::try_from(field(1)?).ok()?,
        own_ticks: field(11)? + field(12)?,
        waited_ticks: field(13)? + field(14)?,
    })
}

fn resident_of(pid: u32) -> Option<u64> {
    status_of(Path::new(&format!("/proc/{pid}")), "VmRSS:")
}

fn wakes_of(thread: &Path) -> Option<u64> {
    status_of(thread, "voluntary_ctxt_switches:")
}

fn status_of(process: &Path, name: &str) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
