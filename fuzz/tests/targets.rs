//! Every target for a moment, always the same inputs: what was found once stays found, and what breaks shows at once.

use messenger_fuzz::{Budget, Fuzzer, TARGETS};

const INPUTS: u64 = 10_000;
const SEED: u64 = 1;

fn holds(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let report = Fuzzer::new(target, SEED).run(Budget::Inputs(INPUTS));
    let report = report.unwrap_or_else(|failure| panic!("{}", failure.input.escape_ascii()));
    // Seeds that all end at the first refusal would show nothing.
    assert!(report.outcomes > 3, "only {} different results", report.outcomes);
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test] fn $name() { holds(stringify!($name)); })+

        #[test]
        fn every_target_is_here() {
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), [$(stringify!($name)),+]);
        }
    };
}

targets! {
    engine_packet polling_body socketio_packet plain_frame command cursor page_token pid access_token token_claims jwk_set
    content metadata id_and_time
}
