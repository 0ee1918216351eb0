//! Limits of commands on this machine.

#![cfg(target_os = "linux")]

use edgeward_pipeline::project::RunnerTable;
use edgeward_pipeline::runner::JobError;

use crate::bench::Bench;

/// Holds 200 MB in two processes, then waits to be stopped.
const GREEDY: &str = r#"
    echo begun
    head -c 100M /dev/zero | tail -c 100M | (sleep 600; cat > /dev/null) &
    head -c 100M /dev/zero | tail -c 100M | (sleep 600; cat > /dev/null)
"#;

#[test]
fn a_command_over_its_memory_fails_for_that_reason() {
    let bench = Bench::new(&RunnerTable { memory_mb: Some(150), ..RunnerTable::default() });
    let (result, lines) = bench.run(GREEDY);
    let Err(JobError::OverMemory { held_mb, limit_mb, .. }) = &result else { panic!("{result:?}") };
    assert!(*held_mb > 150 && *limit_mb == 150, "{held_mb} MB");
    let said = result.unwrap_err().to_string();
    assert!(said.contains("[runner] memory_mb is 150") && said.contains("begun"), "{said}");
    assert_eq!(lines, ["begun"]);
}

#[test]
fn a_command_within_its_memory_is_left_alone() {
    let bench = Bench::new(&RunnerTable { memory_mb: Some(150), ..RunnerTable::default() });
    bench.run("head -c 50M /dev/zero | tail -c 50M | wc -c").0.unwrap();
}

#[test]
fn a_command_is_bound_to_its_processors() {
    let bench = Bench::new(&RunnerTable { cpus: Some(1), ..RunnerTable::default() });
    let (result, lines) = bench.run("nproc; sh -c nproc");
    result.unwrap();
    assert_eq!(lines, ["1", "1"]);
}

#[test]
fn commands_at_once_are_bound_to_different_processors() {
    let bench = Bench::new(&RunnerTable { cpus: Some(1), parallel: Some(2), ..RunnerTable::default() });
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("skipped: there is one processor");
        return;
    }
    let here = bench.witness("here").display().to_string();
    let command = format!(
        "echo x >> '{here}'; while [ \"$(wc -l < '{here}')\" -lt 2 ]; do sleep 0.05; done; \
         grep Cpus_allowed_list /proc/self/status"
    );
    let runner = bench.runner();
    let bound: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = ["one", "two"]
            .map(|id| {
                let (bench, runner, command) = (&bench, &runner, &command);
                scope.spawn(move || {
                    let mut lines = Vec::new();
                    bench.with_task(id, command, |_, task| {
                        runner.run(task, &mut |line| lines.push(line.to_owned())).unwrap();
                    });
                    lines.pop().unwrap()
                })
            })
            .into();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_ne!(bound[0], bound[1]);
}
