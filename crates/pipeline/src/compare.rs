//! What differs between two runs, or between a run and what lies in the folder now. Pure.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_core::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::history::{RunRecord, StageRecord};

/// Most files that a reason names one by one.
const NAMED_MAX: usize = 20;

/// What became of something that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is another now.
    Modified,
    /// It is gone.
    Deleted,
}

impl Change {
    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
        }
    }
}

/// A value before and now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueChange {
    /// None if it was not there.
    pub before: Option<Value>,
    /// None if it is gone.
    pub now: Option<Value>,
}

/// A number before and now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MetricChange {
    /// None if it was not measured.
    pub before: Option<f64>,
    /// None if it is not measured any more.
    pub now: Option<f64>,
    /// What was added to it, if both are there.
    pub change: Option<f64>,
}

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// Parameters, by the keys of the project file.
    pub params: BTreeMap<String, ValueChange>,
    /// Data, by path.
    pub files: BTreeMap<String, Change>,
    /// What the training command depends on, by path.
    pub deps: BTreeMap<String, Change>,
    /// What was measured; empty unless both are runs.
    pub metrics: BTreeMap<String, MetricChange>,
}

/// What can be compared: the state that a run found, or that the next one would find.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The parameters.
    pub params: BTreeMap<String, Value>,
    /// The data.
    pub files: BTreeMap<String, Digest>,
    /// What the training command depends on.
    pub deps: BTreeMap<String, Digest>,
    /// What was measured; none before a run.
    pub metrics: Option<BTreeMap<String, f64>>,
}

impl From<&RunRecord> for State {
    fn from(record: &RunRecord) -> Self {
        Self {
            params: record.params.clone(),
            files: record.files.clone(),
            deps: record.deps.clone(),
            metrics: Some(record.metrics.clone()),
        }
    }
}

impl Changes {
    /// What differs between two states.
    #[must_use]
    pub fn between(before: &State, now: &State) -> Self {
        let metrics = match (&before.metrics, &now.metrics) {
            (Some(before), Some(now)) => metrics(before, now),
            _ => BTreeMap::new(),
        };
        Self {
            params: values(&before.params, &now.params),
            files: digests(&before.files, &now.files),
            deps: digests(&before.deps, &now.deps),
            metrics,
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.params.is_empty() && self.files.is_empty() && self.deps.is_empty() && self.metrics.is_empty()
    }
}

/// The names of both, each with what it was and is, unless that is equal.
fn differing<'a, T: PartialEq>(
    before: &'a BTreeMap<String, T>,
    now: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a String, Option<&'a T>, Option<&'a T>)> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    names
        .into_iter()
        .map(|name| (name, before.get(name), now.get(name)))
        .filter(|(_, before, now)| before != now)
}

fn values(before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> BTreeMap<String, ValueChange> {
    let change = |before: Option<&Value>, now: Option<&Value>| ValueChange {
        before: before.cloned(),
        now: now.cloned(),
    };
    differing(before, now).map(|(name, before, now)| (name.clone(), change(before, now))).collect()
}

fn metrics(before: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) -> BTreeMap<String, MetricChange> {
    let change = |before: Option<&f64>, now: Option<&f64>| MetricChange {
        before: before.copied(),
        now: now.copied(),
        change: before.zip(now).map(|(before, now)| now - before),
    };
    differing(before, now).map(|(name, before, now)| (name.clone(), change(before, now))).collect()
}

fn digests(before: &BTreeMap<String, Digest>, now: &BTreeMap<String, Digest>) -> BTreeMap<String, Change> {
    let change = |before: Option<&Digest>, now: Option<&Digest>| match (before, now) {
        (None, _) => Change::Added,
        (_, None) => Change::Deleted,
        _ => Change::Modified,
    };
    differing(before, now).map(|(name, before, now)| (name.clone(), change(before, now))).collect()
}

/// Keys of a document with their values: `{"a": {"b": 1}}` is `a.b` with 1. A list is one value; an empty table is none.
#[must_use]
pub fn flattened(document: &Value) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    flatten("", document, &mut flat);
    flat
}

fn flatten(path: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&below, inner, flat);
            }
        }
        Value::Null => {}
        other => {
            flat.insert(path.to_owned(), other.clone());
        }
    }
}

/// Why a stage, as it would run now, is not the one that ran before.
#[must_use]
pub fn reasons(now: &StageRecord, before: Option<&StageRecord>, changes: &Changes) -> Vec<String> {
    let Some(before) = before else { return vec!["it never ran here".to_owned()] };
    let mut reasons = Vec::new();
    if before.code != now.code {
        reasons.push("this version of Edgeward does it differently".to_owned());
    }
    let params = values(&named_params(&before.params), &named_params(&now.params));
    reasons.extend(params.iter().map(|(name, change)| format!("{name}: {}", from_to(change))));
    for (input, before, now) in differing(&before.inputs, &now.inputs) {
        match (input.as_str(), before, now) {
            ("files", ..) => reasons.extend(named(&changes.files)),
            ("captured", None, _) => reasons.push("samples from devices are there".to_owned()),
            ("captured", ..) => reasons.push("other samples from devices are there".to_owned()),
            (other, ..) => reasons.push(format!("{other} is another")),
        }
    }
    reasons
        .extend(now.params.get("deps_digest").is_some().then(|| named(&changes.deps)).into_iter().flatten());
    if reasons.is_empty() {
        reasons.push(match before.key == now.key {
            true => "its outputs are gone or damaged".to_owned(),
            false => "what it reads is another".to_owned(),
        });
    }
    reasons
}

/// A stage's parameters by name; what stands for files has reasons of its own.
fn named_params(params: &Value) -> BTreeMap<String, Value> {
    let mut named = flattened(params);
    named.remove("deps_digest");
    named
}

/// The files that differ, the first of them by name.
fn named(files: &BTreeMap<String, Change>) -> Vec<String> {
    let mut named: Vec<String> =
        files.iter().take(NAMED_MAX).map(|(path, change)| format!("{path} {}", change.as_str())).collect();
    if files.len() > NAMED_MAX {
        named.push(format!("and {} more files", files.len() - NAMED_MAX));
    }
    named
}

/// A change of a value in words.
#[must_use]
pub fn from_to(change: &ValueChange) -> String {
    let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
    format!("{} -> {}", text(&change.before), text(&change.now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digests_of(named: &[(&str, &str)]) -> BTreeMap<String, Digest> {
        named.iter().map(|(name, content)| ((*name).to_owned(), Digest::of(content.as_bytes()))).collect()
    }

    fn stage(params: Value, inputs: &[(&str, &str)]) -> StageRecord {
        let key = Digest::of(format!("{params}{inputs:?}").as_bytes());
        StageRecord { name: "train".into(), code: 1, params, inputs: digests_of(inputs), key, cached: false }
    }

    #[test]
    fn states_differ_by_params_files_and_metrics() {
        let before = State {
            params: flattened(&json!({"train": {"params": {"width": 64, "old": 1}}, "seed": 1})),
            files: digests_of(&[("a.csv", "1"), ("b.csv", "1"), ("c.csv", "1")]),
            deps: BTreeMap::new(),
            metrics: Some(BTreeMap::from([("accuracy".into(), 0.5), ("loss".into(), 2.0)])),
        };
        let now = State {
            params: flattened(&json!({"train": {"params": {"width": 32}}, "seed": 1})),
            files: digests_of(&[("a.csv", "1"), ("b.csv", "2"), ("d.csv", "1")]),
            deps: digests_of(&[("train.py", "1")]),
            metrics: Some(BTreeMap::from([("accuracy".into(), 0.75), ("loss".into(), 2.0)])),
        };
        let changes = Changes::between(&before, &now);
        assert_eq!(changes.params.keys().collect::<Vec<_>>(), ["train.params.old", "train.params.width"]);
        assert_eq!(from_to(&changes.params["train.params.old"]), "1 -> -");
        let files: Vec<_> = changes.files.iter().map(|(name, change)| (name.as_str(), *change)).collect();
        assert_eq!(
            files,
            [("b.csv", Change::Modified), ("c.csv", Change::Deleted), ("d.csv", Change::Added)]
        );
        assert_eq!(changes.deps["train.py"], Change::Added);
        assert_eq!(changes.metrics.len(), 1);
        assert_eq!(changes.metrics["accuracy"].change, Some(0.25));
        assert!(Changes::between(&now, &now).is_empty());
        let folder = State { metrics: None, ..now.clone() };
        assert!(Changes::between(&now, &folder).is_empty(), "a folder measures nothing");
    }

    #[test]
    fn a_stage_says_what_of_it_changed() {
        let check = |now: StageRecord, before: StageRecord, expect: &[&str]| {
            let changes = Changes {
                files: BTreeMap::from([("a.csv".to_owned(), Change::Modified)]),
                deps: BTreeMap::from([("train.py".to_owned(), Change::Modified)]),
                ..Changes::default()
            };
            assert_eq!(reasons(&now, Some(&before), &changes), expect);
        };
        let base = || stage(json!({"params": {"width": 64}}), &[("snapshot", "1")]);
        check(
            stage(json!({"params": {"width": 32}}), &[("snapshot", "1")]),
            base(),
            &["params.width: 64 -> 32"],
        );
        check(
            stage(json!({"params": {"width": 64}}), &[("snapshot", "2")]),
            base(),
            &["snapshot is another"],
        );
        check(StageRecord { code: 2, ..base() }, base(), &["this version of Edgeward does it differently"]);
        check(base(), base(), &["its outputs are gone or damaged"]);
        check(stage(json!({}), &[("files", "2")]), stage(json!({}), &[("files", "1")]), &["a.csv modified"]);
        let with_deps = |deps: &str| stage(json!({"deps_digest": deps}), &[]);
        check(with_deps("2"), with_deps("1"), &["train.py modified"]);
        assert_eq!(reasons(&base(), None, &Changes::default()), ["it never ran here"]);
    }

    #[test]
    fn many_files_are_counted() {
        let files = (0..25).map(|n| (format!("{n:02}.csv"), Change::Added)).collect();
        let named = named(&files);
        assert_eq!((named.len(), named[20].as_str()), (21, "and 5 more files"));
    }
}
