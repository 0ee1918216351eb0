//! `edgeward model`: registered models with their versions, where a version comes from, and its card.

use edgeward_api::operator::{Model, Version};

use super::remote::{ago, now, refused};
use crate::args::{ModelCommand, Remote};
use crate::output::{Outcome, Output, table};

const HEADER: [&str; 7] = ["model", "version", "aliases", "bundle", "run", "registered", "metrics"];

pub(crate) fn run(command: &ModelCommand, out: Output) -> Outcome {
    match command {
        ModelCommand::Ls { remote } => list(remote, out),
        ModelCommand::Lineage(args) => super::why::lineage(args, out),
        ModelCommand::Card(args) => super::why::card(args, out),
    }
}

fn list(remote: &Remote, out: Output) -> Outcome {
    let models = remote.client()?.models().map_err(|error| refused("listing models", &error))?;
    out.document(&models, |models| {
        let rows = models.models.iter().flat_map(|model| model.versions.iter().map(|v| row(model, v)));
        table(&HEADER, &rows.collect::<Vec<_>>(), "no model is registered yet; make one with `edgeward run`")
    })
}

fn row(model: &Model, version: &Version) -> Vec<String> {
    let aliases = model.aliases.iter().filter(|(_, at)| **at == version.version);
    let aliases: Vec<&str> = aliases.map(|(alias, _)| alias.as_str()).collect();
    // `recall.7` and `train.epochs` are parts of a whole: `--json` has them.
    let whole = version.metrics.iter().filter(|(name, _)| !name.contains('.'));
    let metrics: Vec<String> = whole.map(|(name, value)| format!("{name}={value:.3}")).collect();
    vec![
        model.name.to_string(),
        version.version.to_string(),
        aliases.join(","),
        version.bundle.short(),
        version.run.to_string(),
        ago(version.registered_at_ms, now()),
        metrics.join(" "),
    ]
}
