//! What every runner does.

use std::thread;
use std::time::Duration;

use edgeward_pipeline::project::RunnerTable;
use edgeward_pipeline::runner::{ATTEMPTS_MAX, JobError, to_its_end};

use crate::bench::{Bench, cancel_at, until};

pub(crate) fn a_command_is_given_its_files_and_gives_what_it_leaves(table: &RunnerTable) {
    let bench = Bench::new(table);
    bench.write("train.txt", "a file of the project\n");
    let command = r#"
        cat train.txt
        echo "$GREETING"
        echo "an error" >&2
        cp "$DATA" "$MODEL"
        head -c 100000 /dev/zero >> "$MODEL"
        printf '{"loss": 1}' > "$METRICS"
        echo scratch > written-beside-the-project
        printf 'no end'
    "#;
    let (result, lines) = bench.run(command);
    result.unwrap();
    let said: Vec<&str> = lines.iter().map(String::as_str).collect();
    let own = said.len() - 4;
    assert_eq!(said[own..], ["a file of the project", "good day, 'sir'", "an error", "no end"]);
    assert_eq!(bench.left("metrics.json").unwrap(), "{\"loss\": 1}");
    let model = bench.left("model.bin").unwrap();
    assert!(model.starts_with("a,b\n1,2\n\0") && model.len() == 100_008, "{} bytes", model.len());
}

pub(crate) fn a_failure_says_its_exit_code_and_last_words(table: &RunnerTable) {
    let bench = Bench::new(table);
    let (result, _) = bench.run("seq 1 40; echo left > \"$MODEL\"; exit 3");
    let Err(JobError::Failed { status, ended }) = result else { panic!("{result:?}") };
    assert!(status.contains("exit code 3"), "{status}");
    assert_eq!(ended.tail.last().map(String::as_str), Some("40"));
    assert!(std::fs::read_to_string(ended.log).unwrap().contains("1\n2\n3\n"), "the log has all of it");
    assert_eq!(bench.left("model.bin"), None, "what a failed command leaves is not taken");
}

/// Writes to a witness for ever, from a process that the command started.
fn ticking(bench: &Bench) -> String {
    let witness = bench.witness("ticks").display().to_string();
    format!("(while true; do echo tick >> '{witness}'; sleep 0.05; done) & echo begun; wait")
}

pub(crate) fn a_cancelled_command_is_stopped_with_all_it_started(table: &RunnerTable) {
    let bench = Bench::new(table);
    let (result, _) = bench.run_as("task", &ticking(&bench), cancel_at(&bench, "begun"));
    assert!(matches!(result, Err(JobError::Cancelled { .. })), "{result:?}");
    until("the end of all it started", || bench.is_still("ticks"));
}

pub(crate) fn a_command_that_takes_too_long_is_stopped(table: &RunnerTable) {
    let mut bench = Bench::new(table);
    bench.timeout = Duration::from_millis(1500);
    let (result, lines) = bench.run(&ticking(&bench));
    assert!(matches!(result, Err(JobError::TimedOut { .. })), "{result:?}");
    assert!(lines.contains(&"begun".to_owned()), "{lines:?}");
    until("the end of all it started", || bench.is_still("ticks"));
}

/// Says that it began, and ends when it may.
fn waiting(bench: &Bench) -> String {
    let (began, go) =
        (bench.witness("began").display().to_string(), bench.witness("go").display().to_string());
    format!(
        "echo began >> '{began}'; echo first words; while [ ! -e '{go}' ]; do sleep 0.05; done; \
         echo last words; echo made > \"$MODEL\""
    )
}

pub(crate) fn one_whose_client_was_killed_is_gone_on_with(table: &RunnerTable) {
    let bench = Bench::new(table);
    let command = waiting(&bench);
    let client = bench.client(&command);
    until("the command", || bench.seen("began") == 1);
    client.kill();
    std::fs::write(bench.witness("go"), "").unwrap();
    let (result, lines) = bench.run(&command);
    result.unwrap();
    assert_eq!(bench.seen("began"), 1, "nothing runs twice");
    let words: Vec<&String> = lines.iter().filter(|line| line.ends_with("words")).collect();
    assert_eq!(words, ["first words", "last words"], "what was said meanwhile is not lost");
    assert_eq!(bench.left("model.bin").unwrap(), "made\n");
}

pub(crate) fn one_that_has_ended_is_not_run_again(table: &RunnerTable) {
    let bench = Bench::new(table);
    let command = waiting(&bench);
    std::fs::write(bench.witness("go"), "").unwrap();
    for _ in 0..2 {
        let _ = std::fs::remove_file(bench.witness("../out/model.bin"));
        bench.run(&command).0.unwrap();
        assert_eq!(bench.left("model.bin").unwrap(), "made\n");
    }
    assert_eq!(bench.seen("began"), 1);
    bench.clear();
    bench.run(&command).0.unwrap();
    assert_eq!(bench.seen("began"), 2, "what was cleared is forgotten");
}

pub(crate) fn four_run_at_once(table: &RunnerTable) {
    let bench = Bench::new(table);
    assert!(bench.runner().at_once() >= 4);
    let here = bench.witness("here").display().to_string();
    // Each ends when all four are there.
    let command = format!(
        "echo x >> '{here}'; while [ \"$(wc -l < '{here}')\" -lt 4 ]; do sleep 0.05; done; echo made > \"$MODEL\""
    );
    thread::scope(|scope| {
        let running: Vec<_> = (0..4)
            .map(|at| {
                let (bench, command) = (&bench, &command);
                scope.spawn(move || bench.run_as(&format!("of-four-{at}"), command, |_| {}).0)
            })
            .collect();
        for one in running {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(bench.seen("here"), 4);
}

pub(crate) fn one_that_was_killed_is_begun_again_and_given_up_at_last(table: &RunnerTable) {
    let bench = Bench::new(table);
    let began = bench.witness("began").display().to_string();
    let once = format!(
        "echo x >> '{began}'; [ \"$(wc -l < '{began}')\" -gt 1 ] || kill -9 $$; echo made > \"$MODEL\""
    );
    let outcome = bench.with_task("once", &once, |runner, task| to_its_end(runner, task, &mut |_| {}));
    outcome.unwrap();
    assert_eq!((bench.seen("began"), bench.left("model.bin").as_deref()), (2, Some("made\n")));

    let always = format!("echo x >> '{}'; kill -9 $$", bench.witness("always").display());
    let outcome = bench.with_task("always", &always, |runner, task| to_its_end(runner, task, &mut |_| {}));
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("killed from outside: signal 9"), "{said}");
    assert_eq!(bench.seen("always"), ATTEMPTS_MAX as usize);
}

pub(crate) fn what_is_left_is_ended(table: &RunnerTable) {
    let bench = Bench::new(table);
    let client = bench.client(&ticking(&bench));
    until("the command", || bench.seen("ticks") > 2);
    client.kill();
    assert!(!bench.is_still("ticks"), "it outlives its client");
    bench.clear();
    until("the end of all it started", || bench.is_still("ticks"));
}

pub(crate) fn one_that_must_be_watched_is_begun_anew(table: &RunnerTable) {
    let mut bench = Bench::new(table);
    let command = waiting(&bench);
    let client = bench.client(&command);
    until("the command", || bench.seen("began") == 1);
    client.kill();
    std::fs::write(bench.witness("go"), "").unwrap();
    bench.anew = true;
    bench.run(&command).0.unwrap();
    assert_eq!(bench.seen("began"), 2);
}
