//! One conformance suite, stamped on every runner; the cluster is a real Ray head on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test should panic where it happens"
)]

mod bench;
mod limits;
mod suite;

use std::sync::OnceLock;

use edgeward_pipeline::project::{RunnerKind, RunnerTable};
use edgeward_testkit_python::{RayHead, Skip, ray_head};

/// Processes of this machine.
fn local() -> Result<RunnerTable, Skip> {
    Ok(RunnerTable { parallel: Some(4), ..RunnerTable::default() })
}

/// One head for all tests; it ends with this process.
fn ray() -> Result<RunnerTable, Skip> {
    static HEAD: OnceLock<Result<RayHead, Skip>> = OnceLock::new();
    let head = HEAD.get_or_init(ray_head).as_ref().map_err(Clone::clone)?;
    let address = Some(head.address().to_owned());
    Ok(RunnerTable { kind: RunnerKind::Ray, address, ..RunnerTable::default() })
}

macro_rules! conforms {
    ($runner:ident: $($check:ident)*) => {
        mod $runner {
            $(
                #[test]
                fn $check() {
                    let Ok(table) = super::$runner() else { return };
                    super::suite::$check(&table);
                }
            )*
        }
    };
    ($($runner:ident)*) => {
        $(conforms!($runner:
            a_command_is_given_its_files_and_gives_what_it_leaves
            a_failure_says_its_exit_code_and_last_words
            a_cancelled_command_is_stopped_with_all_it_started
            a_command_that_takes_too_long_is_stopped
            one_whose_client_was_killed_is_gone_on_with
            one_that_has_ended_is_not_run_again
            four_run_at_once
            one_that_was_killed_is_begun_again_and_given_up_at_last
            what_is_left_is_ended
            one_that_must_be_watched_is_begun_anew
        );)*
    };
}

conforms!(local ray);

#[test]
fn files_come_back_by_a_shared_folder_too() {
    let Ok(table) = ray() else { return };
    let shared = tempfile::tempdir().unwrap();
    let table = RunnerTable { shared: Some(shared.path().to_owned()), ..table };
    suite::a_command_is_given_its_files_and_gives_what_it_leaves(&table);
    let left = std::fs::read_dir(shared.path()).unwrap().count();
    assert_eq!(left, 0, "what was shared is removed");
}

#[test]
fn a_ray_that_is_not_there_may_be_there_later() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = Some(format!("http://127.0.0.1:{port}"));
    let table = RunnerTable { kind: RunnerKind::Ray, address, ..RunnerTable::default() };
    let bench = bench::Bench::new(&table);
    // Whoever is patient is asked to stop.
    bench.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let (result, _) = bench.run("true");
    assert!(result.unwrap_err().may_pass());
}

/// Not a test: the client that another test kills.
#[test]
#[ignore = "it is started by another test"]
fn client() {
    if let Some(dir) = std::env::var_os("EDGEWARD_TEST_CLIENT") {
        let _ = bench::Bench::found_in(dir.as_ref()).run_noted();
    }
}
