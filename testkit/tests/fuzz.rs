//! A short run of the fuzzer in every test run; the long one is `cargo run --release --example fuzz`.

use std::path::Path;

use edgeward_testkit::fuzz::target::TARGETS;
use edgeward_testkit::fuzz::{Plan, run};

/// Inputs per unit of a target's share.
const EXECUTIONS: u64 = 200;

#[test]
fn every_parser_returns_whatever_comes() {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let folder = tempfile::tempdir().expect("a folder for findings");
    for target in TARGETS {
        let executions = EXECUTIONS * u64::from(target.share);
        let plan = Plan { executions, seed: 20_261_126, workspace, findings: folder.path() };
        let outcome = run(&target, &plan).expect("findings can be written");
        assert!(outcome.findings.is_empty(), "{}: {:?}", target.name, outcome.findings);
        assert_eq!(outcome.executions, executions);
        let deeper: u64 = outcome.reached[1..].iter().sum();
        assert!(deeper > 0, "{}: no input got past the first check: {:?}", target.name, outcome.reached);
    }
}
