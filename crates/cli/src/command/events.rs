//! `edgeward events`: the ledger's entries, in words or as JSON lines; with `--follow`, new ones as they come.

use std::thread;
use std::time::Duration;

use edgeward_api::limits::PAGE_MAX;
use edgeward_core::ledger::Entry;

use super::remote::{ago, now, refused};
use crate::args::EventsArgs;
use crate::describe;
use crate::output::{Outcome, Output};

/// Between two looks for new entries.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &EventsArgs, out: Output) -> Outcome {
    let client = args.remote.client()?;
    let mut next = args.from;
    loop {
        let page = match client.events(next, PAGE_MAX) {
            Ok(page) => page.entries,
            Err(error) if args.follow && error.is_transient() => Vec::new(),
            Err(error) => return Err(refused("reading the ledger", &error)),
        };
        for entry in &page {
            if !out.row(entry, words)? {
                return Ok(());
            }
            next = entry.seq + 1;
        }
        match (page.is_empty(), args.follow) {
            (false, _) => {}
            (true, true) => thread::sleep(LOOK),
            (true, false) => return Ok(()),
        }
    }
}

fn words(entry: &Entry) -> String {
    format!("{:>5}  {:<12}  {}", entry.seq, ago(entry.at_ms, now()), describe::event(&entry.event))
}
