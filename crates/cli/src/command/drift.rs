//! `edgeward drift`: two files in, how far each column moved out, the most to blame first; a page of it if asked for.

use std::fs;
use std::path::Path;

use edgeward_pipeline::table::compare::{ColumnDrift, Comparison, compare};
use edgeward_server::report::{DriftFeature, DriftPage, drift_page};
use serde::Serialize;

use super::history;
use crate::args::DriftArgs;
use crate::output::{Explain, Failure, Outcome, Output, note, table, with_causes};

const HEADER: [&str; 8] = ["feature", "effect", "psi", "js", "ks", "wasserstein", "missing", "what happened"];

/// What was compared, and what came of it.
#[derive(Serialize)]
struct Compared<'a> {
    reference: Side<'a>,
    current: Side<'a>,
    /// Features that moved beyond noise.
    moved: usize,
    #[serde(flatten)]
    comparison: Comparison,
}

#[derive(Serialize)]
struct Side<'a> {
    file: &'a Path,
    rows: usize,
}

pub(crate) fn run(args: &DriftArgs, out: Output) -> Outcome {
    let doing = format!("comparing {} with {}", args.current.display(), args.reference.display());
    let reference = history::read(&args.reference, &args.columns)?;
    let current = history::read(&args.current, &args.columns)?;
    for (rows, file) in [(reference.rows(), &args.reference), (current.rows(), &args.current)] {
        if rows == 0 {
            return Err(Failure::new("data", format!("{doing}: {} has no rows", file.display())));
        }
    }
    let comparison = compare(&reference, &current, &args.columns)
        .map_err(|error| Failure::new("data", format!("{doing}: {}", with_causes(&error))))?;
    let compared = Compared {
        reference: Side { file: &args.reference, rows: reference.rows() },
        current: Side { file: &args.current, rows: current.rows() },
        moved: comparison.blame.len(),
        comparison,
    };
    if let Some(file) = &args.html {
        fs::write(file, drift_page(&page(&compared)))
            .explain("file", format_args!("writing {}", file.display()))?;
        note(&format!("the page is in {}", file.display()));
    }
    out.document(&compared, words)
}

fn notes(compared: &Compared<'_>) -> Vec<String> {
    let Compared { reference, current, comparison, .. } = compared;
    let mut notes = vec![format!("{} rows against {} of the reference.", current.rows, reference.rows)];
    let listed = |what: &str, columns: &[String]| {
        (!columns.is_empty()).then(|| format!("{what}: {}.", columns.join(", ")))
    };
    notes.extend(listed("Only the reference has", &comparison.only_in_reference));
    notes.extend(listed("Only the current file has", &comparison.only_in_current));
    let left_out = comparison.left_out.iter();
    notes.extend(left_out.map(|left| format!("'{}' is not compared: it {}.", left.column, left.reason)));
    notes
}

fn words(compared: &Compared<'_>) -> String {
    let rows: Vec<Vec<String>> = compared.comparison.features.iter().map(row).collect();
    let listing = table(&HEADER, &rows, "no column is in both files");
    format!("{listing}\n{}", notes(compared).join("\n"))
}

fn row(feature: &ColumnDrift) -> Vec<String> {
    let drift = &feature.drift;
    vec![
        feature.feature.clone(),
        format!("{:.3}", drift.effect),
        figure(drift.psi),
        figure(drift.jensen_shannon_distance),
        figure(drift.kolmogorov_smirnov),
        figure(drift.wasserstein),
        format!("{:.1}%", 100.0 * feature.current_missing),
        happened(feature).join("; "),
    ]
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}

/// The move in words, with what is new and what is gone.
fn happened(feature: &ColumnDrift) -> Vec<String> {
    let mut words = feature.drift.reasons.clone();
    let named =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
    words.extend(named("new", &feature.new_categories));
    words.extend(named("gone", &feature.missing_categories));
    if feature.not_numbers > 0 {
        words.push(format!("{} cells are no number", feature.not_numbers));
    }
    words
}

fn page(compared: &Compared<'_>) -> DriftPage {
    DriftPage {
        reference: compared.reference.file.display().to_string(),
        current: compared.current.file.display().to_string(),
        notes: notes(compared),
        features: compared.comparison.features.iter().map(drawn).collect(),
    }
}

fn drawn(feature: &ColumnDrift) -> DriftFeature {
    let drift = &feature.drift;
    let figures = [
        ("PSI", drift.psi),
        ("Jensen-Shannon", drift.jensen_shannon_distance),
        ("Kolmogorov-Smirnov", drift.kolmogorov_smirnov),
        ("Wasserstein", drift.wasserstein),
        ("Hellinger", drift.hellinger),
        ("chi-square", drift.chi_square),
        ("L-infinity", drift.l_infinity),
        ("outside", Some(drift.outside as f64)),
        ("missing", Some(feature.current_missing)),
    ];
    let known = figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), figure(Some(value?)))));
    DriftFeature {
        name: feature.feature.clone(),
        effect: drift.effect,
        reasons: happened(feature),
        figures: known.collect(),
        bars: feature.bars.iter().map(|bar| (bar.label.clone(), bar.reference, bar.current)).collect(),
    }
}
