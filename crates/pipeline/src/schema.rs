//! What the data is like, inferred once and then pinned: columns, kinds, ranges, missing values, classes.
//!
//! `[validate] schema` names a JSON file of the project. Where it is not there, a run infers it from its rows and writes it: to be
//! read, tightened by hand, and kept beside the code. From then on data must fit it. What a range is inferred as is wider than
//! what was seen by the width of that on either side: other units are found, a new maximum is not.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use edgeward_api::operator::GateVerdict;
use edgeward_core::Dataset;
use serde::{Deserialize, Serialize};

use crate::project::TaskKind;
use crate::validate::{shortened, verdict};
use crate::workdir::{WorkError, write_atomically};

const SCHEMA: &str = "edgeward.data-schema/1";
const GATE: &str = "data.schema";
/// Largest file that is read.
const BYTES_MAX: u64 = 16 << 20;

/// What rows must be like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSchema {
    /// Always `edgeward.data-schema/1`.
    pub schema: String,
    /// The features, in the order that the model takes them in.
    pub features: Vec<FeatureSchema>,
    /// The classes that labels may be; none for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<BTreeSet<String>>,
}

/// What one feature must be like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSchema {
    /// Its name.
    pub name: String,
    /// Whether its values are whole numbers.
    pub whole: bool,
    /// Lowest and highest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Largest share of missing values.
    pub missing_max: f64,
}

/// A pinned schema that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is no schema.
    #[error("{file} is no schema of data; mend it, or remove it to have it inferred again")]
    Malformed {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file system.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl DataSchema {
    /// What `dataset` is like.
    #[must_use]
    pub fn infer(dataset: &Dataset, task: TaskKind) -> Self {
        let classes = || dataset.labels.iter().cloned().collect();
        Self {
            schema: SCHEMA.to_owned(),
            features: (0..dataset.width()).map(|at| FeatureSchema::infer(dataset, at)).collect(),
            classes: (task == TaskKind::Classification).then(classes),
        }
    }

    /// Reads a pinned one; none if the file is not there.
    ///
    /// # Errors
    /// The file cannot be read or is no schema.
    pub fn read(path: &Path) -> Result<Option<Self>, SchemaError> {
        use io::Read as _;
        let mut text = Vec::new();
        match std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(WorkError::at("reading", path))?,
        };
        let malformed = |source| SchemaError::Malformed { file: path.display().to_string(), source };
        serde_json::from_slice(&text).map(Some).map_err(malformed)
    }

    /// Pins it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), WorkError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| WorkError::at("writing", path)(io::Error::other(error)))?;
        text.push(b'\n');
        write_atomically(path, &text)
    }

    /// Whether `dataset` fits.
    #[must_use]
    pub fn check(&self, dataset: &Dataset) -> GateVerdict {
        let mut faults = self.columns(dataset);
        for feature in &self.features {
            let at = dataset.feature_names.iter().position(|name| *name == feature.name);
            faults.extend(at.and_then(|at| feature.fault(dataset, at)));
        }
        faults.extend(self.unknown_classes(dataset));
        match faults.is_empty() {
            true => verdict(GATE, true, format!("{} features are as pinned", self.features.len())),
            false => {
                verdict(GATE, false, format!("{}; mend the data or the pinned schema", shortened(&faults)))
            }
        }
    }

    fn columns(&self, dataset: &Dataset) -> Vec<String> {
        let pinned: BTreeSet<&str> = self.features.iter().map(|feature| feature.name.as_str()).collect();
        let found: BTreeSet<&str> = dataset.feature_names.iter().map(String::as_str).collect();
        let missing = pinned.difference(&found).map(|name| format!("the column '{name}' is gone"));
        let new = found.difference(&pinned).map(|name| format!("the column '{name}' is new"));
        missing.chain(new).collect()
    }

    fn unknown_classes(&self, dataset: &Dataset) -> Option<String> {
        let known = self.classes.as_ref()?;
        let unknown: BTreeSet<&String> =
            dataset.labels.iter().filter(|label| !known.contains(*label)).collect();
        let first: String = unknown.first()?.chars().take(80).collect();
        Some(format!("{} labels are not among the classes, the first is '{first}'", unknown.len()))
    }
}

impl FeatureSchema {
    fn infer(dataset: &Dataset, at: usize) -> Self {
        let seen: Vec<f64> = present(dataset, at).collect();
        let low = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let high = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let width = high - low;
        let is_range = low.is_finite() && high.is_finite() && width > 0.0;
        Self {
            name: dataset.feature_names[at].clone(),
            whole: !seen.is_empty() && seen.iter().all(|value| value.fract() == 0.0),
            range: is_range.then_some([low - width, high + width]),
            missing_max: share_missing(seen.len(), dataset.len()),
        }
    }

    fn fault(&self, dataset: &Dataset, at: usize) -> Option<String> {
        let name = &self.name;
        let seen: Vec<f64> = present(dataset, at).collect();
        let missing = share_missing(seen.len(), dataset.len());
        if missing > self.missing_max {
            let most = self.missing_max;
            return Some(format!(
                "'{name}' is missing in {missing:.3} of the rows, not in at most {most:.3}"
            ));
        }
        if let Some(value) = seen.iter().find(|value| self.whole && value.fract() != 0.0) {
            return Some(format!("'{name}' holds {value}, which is no whole number"));
        }
        let [low, high] = self.range?;
        let outside = seen.iter().find(|value| !(low..=high).contains(*value))?;
        Some(format!("'{name}' holds {outside}, outside [{low}, {high}]"))
    }
}

fn present(dataset: &Dataset, at: usize) -> impl Iterator<Item = f64> {
    let column = dataset.values.iter().skip(at).step_by(dataset.width().max(1));
    column.filter(|value| !value.is_nan()).map(|value| f64::from(*value))
}

fn share_missing(present: usize, rows: usize) -> f64 {
    1.0 - present as f64 / rows.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(columns: &[&str], rows: &[(&[f32], &str)]) -> Dataset {
        let mut dataset = Dataset::with_columns(columns.iter().map(|&name| name.to_owned()).collect());
        rows.iter().for_each(|(values, label)| dataset.push(values, *label).unwrap());
        dataset
    }

    fn pinned() -> DataSchema {
        let seen = dataset(&["a", "b"], &[(&[1.0, 0.5], "x"), (&[3.0, 1.5], "y"), (&[2.0, f32::NAN], "x")]);
        DataSchema::infer(&seen, TaskKind::Classification)
    }

    #[test]
    fn what_is_inferred_is_what_was_seen_with_room() {
        let schema = pinned();
        let [a, b] = &schema.features[..] else { panic!("two features") };
        assert_eq!((a.whole, a.range, a.missing_max), (true, Some([-1.0, 5.0]), 0.0));
        assert_eq!((b.whole, b.range), (false, Some([-0.5, 2.5])));
        assert!((b.missing_max - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(schema.classes.as_ref().unwrap().len(), 2);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("schema.json");
        assert_eq!(DataSchema::read(&path).unwrap(), None);
        schema.write(&path).unwrap();
        assert_eq!(DataSchema::read(&path).unwrap(), Some(schema));
        std::fs::write(&path, "{}").unwrap();
        assert!(DataSchema::read(&path).unwrap_err().to_string().contains("schema.json is no schema"));
    }

    #[test]
    fn each_way_not_to_fit_is_named() {
        let check = |columns: &[&str], rows: &[(&[f32], &str)], expect: &str| {
            let found = pinned().check(&dataset(columns, rows));
            assert!(found.reason.contains(expect), "{}", found.reason);
            assert_eq!(found.passed, expect.contains("as pinned"), "{}", found.reason);
        };
        check(&["b", "a"], &[(&[1.0, 5.0], "x")], "2 features are as pinned");
        check(&["a"], &[(&[1.0], "x")], "the column 'b' is gone");
        check(&["a", "b", "c"], &[(&[1.0, 1.0, 1.0], "x")], "the column 'c' is new");
        check(&["a", "b"], &[(&[1.5, 1.0], "x")], "'a' holds 1.5, which is no whole number");
        check(&["a", "b"], &[(&[1.0, 2.6], "x")], "'b' holds 2.5999");
        check(&["a", "b"], &[(&[f32::NAN, 1.0], "x")], "'a' is missing in 1.000 of the rows");
        check(&["a", "b"], &[(&[1.0, 1.0], "z")], "1 labels are not among the classes, the first is 'z'");
    }

    #[test]
    fn numbers_have_no_classes_and_a_constant_has_no_range() {
        let seen = dataset(&["a"], &[(&[1.0], "0.5"), (&[1.0], "0.7")]);
        let schema = DataSchema::infer(&seen, TaskKind::Regression);
        assert_eq!((&schema.classes, schema.features[0].range), (&None, None));
        assert!(schema.check(&dataset(&["a"], &[(&[7.0], "9")])).passed);
    }
}
