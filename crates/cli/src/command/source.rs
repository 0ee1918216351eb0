//! `edgeward source`: the repositories that pipelines come from, at level 2.

use edgeward_api::operator::SourceStatus;
use edgeward_core::ProjectName;
use edgeward_core::source::short;

use super::remote::{ago, now, refused};
use crate::args::SourceCommand;
use crate::output::{Failure, Outcome, Output, table};

const HEADER: [&str; 6] = ["project", "repository", "branch", "in use", "looked", "newest commit"];

pub(crate) fn run(command: &SourceCommand, out: Output) -> Outcome {
    match command {
        SourceCommand::Ls { remote } => {
            let sources =
                remote.client()?.sources().map_err(|error| refused("listing repositories", &error))?;
            out.document(&sources, |sources| {
                let rows: Vec<Vec<String>> = sources.sources.iter().map(row).collect();
                table(&HEADER, &rows, "no project follows a repository; see level = 2 in the guide on levels")
            })
        }
        SourceCommand::Check { project, remote } => {
            let name =
                ProjectName::new(project.as_str()).map_err(|error| Failure::usage(error.to_string()))?;
            let status = remote.client()?.check_source(&name);
            let status =
                status.map_err(|error| refused(&format!("asking about the source of {name}"), &error))?;
            out.document(&status, |status| format!("{} of {} is looked at now", status.branch, status.git))
        }
    }
}

fn row(source: &SourceStatus) -> Vec<String> {
    let looked = source.looked_at_ms.map_or_else(|| "not yet".to_owned(), |looked| ago(looked, now()));
    let newest = match &source.error {
        Some(error) => format!("the last look failed: {error}"),
        None => source.state.clone(),
    };
    let in_use = source.commit.as_deref().map_or_else(|| "-".to_owned(), |commit| short(commit).to_owned());
    vec![source.project.to_string(), source.git.clone(), source.branch.clone(), in_use, looked, newest]
}
