//! `bench` works: every workload on a real messenger, beside another; what falls short is told. Nothing here is timed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The standalone messenger that `cargo build --bins` puts beside the load generator.
fn messenger() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_messenger-bench")).with_file_name("messenger");
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}

fn compare(ours: &str, arguments: &[&str]) -> Output {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_messenger-bench"));
    bench.args(["compare", "--rounds", "1", "--limit", "240", "--ours", ours]).args(arguments);
    bench.output().expect("the load generator runs")
}

#[test]
fn every_workload_measures_and_what_falls_short_is_told() {
    let workloads = [
        "p2p --pairs 2 --seconds 1 --warmup 0 --bystanders 2",
        "p2p --pairs 2 --seconds 1 --warmup 0 --rate 20",
        "fanout --members 5 --seconds 1",
        "idle --connections 20 --per-user 5 --groups 1",
        "history --messages 300 --limit 10 --seconds 1 --readers 2",
        "list --conversations 12 --limit 10 --seconds 1 --readers 2",
        "overload --pairs 1 --rate 20 --window 300 --seconds 1",
    ];
    let (messenger, folder) = (messenger(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let [ours, peer] = ["ours", "peer"].map(|name| {
        let (program, folder) = (messenger.display(), folder.join(name).display().to_string());
        format!(
            "rm -rf {folder}; exec {program} --listen 127.0.0.1:$PORT --grpc-listen 127.0.0.1:0 --data-dir {folder} \
             --no-rate-limits --log warn"
        )
    });
    let required = ["--peer", &peer, "--require", "p2p.rate=0.0001", "--require", "fanout.rate=1000000"];
    let output = compare(&ours, &[&required[..], &workloads[..]].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "nobody is a million times better than itself\n{out}\n{err}");
    assert!(err.contains("fanout  Rate: better by"), "{out}\n{err}");
    assert!(!err.contains("p2p  Rate"), "{err}");
    for workload in workloads {
        assert!(out.contains(&format!("== {workload}\n")), "{workload} has not run\n{out}\n{err}");
    }
    // Ours, and with two parts each: pages newest and deep, quiet alone, quiet beside, flood.
    let rounds = out.lines().filter(|line| line.ends_with("duplicated 0  lost 0  errors 0  unanswered 0")).count();
    assert_eq!(rounds, 2 * (1 + 1 + 1 + 1 + 2 + 1 + 3), "{out}\n{err}");
}

#[test]
fn a_server_that_does_not_start_is_an_error() {
    let output = compare("exit 3", &["p2p"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && err.contains("starting ours"), "{err}");
}
