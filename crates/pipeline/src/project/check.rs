//! The rules a project file keeps beyond the types of its values.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Component, Path};
use std::time::Duration;

use edgeward_core::ModelName;
use edgeward_core::manifest::BundlePath;
use edgeward_core::record::{RECORD_DAYS_MAX, RECORD_REDACT_MAX};
use edgeward_core::shadow::SHADOWS_MAX;
use edgeward_core::source::is_safe_name;
use edgeward_monitor::MAX_LABEL_WINDOW;

use super::{
    DataTable, ProjectError, ProjectFile, RunnerKind, Span, SplitBy, TaskKind, TriggerOn, TriggerTable,
    Window,
};
use crate::tool::ToolSpec;

/// Most variants of one model.
pub(crate) const VARIANTS_MAX: usize = 16;
/// Longest side of an image, in pixels.
const IMAGE_SIDE_MAX: usize = 1 << 14;
/// Most triggers of one project.
pub(crate) const TRIGGERS_MAX: usize = 32;
/// Least and most of the rows that may be held out.
const HOLDOUT: RangeInclusive<f64> = 0.05..=0.9;
/// Rows of a smoke run.
const SMOKE_ROWS: RangeInclusive<usize> = 10..=1_000_000;
/// Error rates that a gate may have.
const ALPHA: RangeInclusive<f64> = 1e-9..=0.5;
/// Most shadows that one project declares.
pub(crate) const SHADOWS_DECLARED_MAX: usize = 16;
/// Processors of one command, and commands at once.
const PROCESSORS: RangeInclusive<usize> = 1..=1024;
/// Memory of one command: 16 MB to 64 TB.
const MEMORY_MB: RangeInclusive<u64> = 16..=(64 << 20);
/// Rows that a shadow may learn from.
const WINDOW: RangeInclusive<usize> = 1..=1_000_000_000;
/// Times that the newer half of them may be learned from.
const WEIGHT: RangeInclusive<usize> = 1..=100;
const SHARE: RangeInclusive<f64> = 0.0..=1.0;

struct Checker<'a> {
    file: &'a str,
}

type Checked = Result<(), ProjectError>;

pub(super) fn check(project: &ProjectFile, file: &str) -> Checked {
    let checker = Checker { file };
    checker.level(project)?;
    checker.source(project)?;
    checker.data(project)?;
    checker.train(project)?;
    checker.runner(project)?;
    checker.convert(project)?;
    checker.gate(project)?;
    checker.monitor(project)?;
    checker.records(project)?;
    checker.rollout(project)?;
    checker.shadows(project)?;
    checker.within("[[trigger]]", "on", project.triggers.len(), 0..=TRIGGERS_MAX)?;
    project.triggers.iter().try_for_each(|trigger| checker.trigger(trigger))
}

impl Checker<'_> {
    fn refuse(&self, table: &'static str, key: &'static str, reason: impl Into<String>) -> Checked {
        Err(ProjectError::Value { file: self.file.to_owned(), table, key, reason: reason.into() })
    }

    fn within<T: Copy + PartialOrd + std::fmt::Display>(
        &self,
        table: &'static str,
        key: &'static str,
        value: T,
        allowed: RangeInclusive<T>,
    ) -> Checked {
        if allowed.contains(&value) {
            return Ok(());
        }
        let (low, high) = allowed.into_inner();
        self.refuse(table, key, format!("{value} is not allowed; use {low} to {high}"))
    }

    fn positive(&self, table: &'static str, key: &'static str, value: f64) -> Checked {
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        self.refuse(table, key, format!("{value} is not allowed; use a number above 0"))
    }

    fn level(&self, project: &ProjectFile) -> Checked {
        match (project.level, &project.source) {
            (2, None) => self.refuse(
                "[project]",
                "level",
                "2 follows the pipeline's repository: add [source] git = \"...\", or use 0 (notify) or 1 (retrain)",
            ),
            (0..=2, _) => Ok(()),
            (other, _) => self.refuse(
                "[project]",
                "level",
                format!("{other} is not a level; use 0 (notify), 1 (retrain) or 2 (follow the repository, too)"),
            ),
        }
    }

    fn source(&self, project: &ProjectFile) -> Checked {
        let Some(source) = &project.source else { return Ok(()) };
        for (key, name) in [("git", &source.git), ("branch", &source.branch)] {
            if !is_safe_name(name) {
                return self.refuse("[source]", key, "is no name of a repository or branch that git takes");
            }
        }
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if source.path.is_empty() || !Path::new(&source.path).components().all(inside) {
            return self.refuse("[source]", "path", "leaves the repository; name a folder inside it");
        }
        if source.test.as_ref().is_some_and(|command| command.trim().is_empty()) {
            return self.refuse("[source]", "test", "is empty; write the command that runs the tests");
        }
        self.within("[source]", "smoke_rows", source.smoke_rows, SMOKE_ROWS)
    }

    fn shadows(&self, project: &ProjectFile) -> Checked {
        let (table, rules) = ("[[shadow]]", &project.shadows);
        self.within("[shadows]", "max", rules.max, 1..=SHADOWS_MAX)?;
        self.within("[shadows]", "alpha", rules.alpha, ALPHA)?;
        self.within("[shadows]", "margin", rules.margin, SHARE)?;
        self.within("[shadows]", "labels_max", rules.labels_max, 1..=u64::MAX)?;
        self.within(table, "name", project.shadow.len(), 0..=SHADOWS_DECLARED_MAX)?;
        let mut names = BTreeSet::new();
        for shadow in &project.shadow {
            if let Err(error) = ModelName::new(shadow.name.as_str()) {
                return self.refuse(table, "name", format!("'{}' is no name: {error}", shadow.name));
            }
            if !names.insert(&shadow.name) {
                return self.refuse(table, "name", format!("'{}' is there twice; rename one", shadow.name));
            }
            if shadow.files.as_ref().is_some_and(Vec::is_empty) {
                return self.refuse(table, "files", "no data; name files such as [\"data/*.csv\"]");
            }
            self.window(table, shadow.window, project)?;
            self.within(table, "newest_weight", shadow.newest_weight, WEIGHT)?;
            self.filter(table, &shadow.filter)?;
        }
        Ok(())
    }

    fn data(&self, project: &ProjectFile) -> Checked {
        let (data, validate) = (&project.data, &project.validate);
        if data.files.is_empty() {
            return self.refuse("[data]", "files", "no data; name files such as [\"data/*.csv\"]");
        }
        if let Some(source) = &data.source {
            let bucket = source.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
            if bucket.is_none_or(str::is_empty) {
                return self.refuse(
                    "[data]",
                    "source",
                    format!("'{source}' is no bucket; write \"s3://BUCKET/PREFIX\""),
                );
            }
            let leaves = |file: &String| file.starts_with('/') || file.split('/').any(|part| part == "..");
            if data.files.iter().any(leaves) {
                return self.refuse(
                    "[data]",
                    "files",
                    "leave the bucket; patterns are relative to [data] source",
                );
            }
        }
        self.columns(data)?;
        self.division(project)?;
        self.window("[data]", data.window, project)?;
        self.filter("[data]", &data.filter)?;
        self.within("[validate]", "missing_max", validate.missing_max, SHARE)?;
        if let Some(max) = validate.drift_max {
            self.positive("[validate]", "drift_max", max)?;
        }
        match validate.range {
            Some([low, high]) if low.is_nan() || high.is_nan() || low > high => self.refuse(
                "[validate]",
                "range",
                format!("[{low}, {high}] holds no number; use [lowest, highest]"),
            ),
            _ => Ok(()),
        }
    }

    /// The columns that are no features have names of their own.
    fn columns(&self, data: &DataTable) -> Checked {
        let roles =
            [("label", Some(&data.label)), ("time", data.time.as_ref()), ("group", data.group.as_ref())];
        let mut known: Vec<(&str, &String)> = Vec::new();
        for (role, name) in roles.into_iter().filter_map(|(role, name)| Some((role, name?))) {
            if name.is_empty() {
                return self.refuse("[data]", role, "is empty; name a column");
            }
            if let Some((other, _)) = known.iter().find(|(_, found)| *found == name) {
                return self.refuse("[data]", role, format!("'{name}' is the {other} already"));
            }
            known.push((role, name));
        }
        Ok(())
    }

    /// What decides which rows are held out is there.
    fn division(&self, project: &ProjectFile) -> Checked {
        let (table, data) = ("[data]", &project.data);
        self.within(table, "holdout", data.holdout, HOLDOUT)?;
        let needed = match data.split {
            SplitBy::Time if data.time.is_none() => Some("time"),
            SplitBy::Group if data.group.is_none() => Some("group"),
            _ => None,
        };
        if let Some(key) = needed {
            return self.refuse(
                table,
                "split",
                format!("\"{key}\" needs the name of a column: {key} = \"...\""),
            );
        }
        if data.stratify && (data.split != SplitBy::Row || project.task() == TaskKind::Regression) {
            let why = "gives each class its share of rows held out by their values; it needs classes, and split = \"row\"";
            return self.refuse(table, "stratify", why);
        }
        if data.gap.0 > Duration::ZERO && data.split != SplitBy::Time {
            return self.refuse(table, "gap", "lies before rows held out by time; it needs split = \"time\"");
        }
        Ok(())
    }

    fn window(&self, table: &'static str, window: Option<Window>, project: &ProjectFile) -> Checked {
        match window {
            Some(Window::Rows(rows)) => self.within(table, "window", rows, WINDOW),
            Some(Window::Time(span)) if span.0 == Duration::ZERO => {
                self.refuse(table, "window", "is empty; use a duration above 0, such as \"30d\"")
            }
            Some(Window::Time(span)) if project.data.time.is_none() => {
                let why = format!("\"{span}\" needs the times of rows: name their column in [data] time");
                self.refuse(table, "window", why)
            }
            _ => Ok(()),
        }
    }

    fn filter(&self, table: &'static str, filter: &BTreeMap<String, [f64; 2]>) -> Checked {
        let odd = filter.values().find(|[low, high]| low.is_nan() || high.is_nan() || low > high);
        let Some([low, high]) = odd else { return Ok(()) };
        self.refuse(table, "filter", format!("[{low}, {high}] holds no number; use [lowest, highest]"))
    }

    fn train(&self, project: &ProjectFile) -> Checked {
        let train = &project.train;
        let key = "run";
        if let Some(name) = &train.mlflow {
            return match (train.run.is_some() || train.builtin.is_some(), name.trim().is_empty()) {
                (true, _) => {
                    self.refuse("[train]", "mlflow", "stands beside another way to a model; keep one of them")
                }
                (_, true) => {
                    self.refuse("[train]", "mlflow", "is empty; name a registered model of MLflow's")
                }
                _ if train.deps.is_some() => {
                    self.refuse("[train]", "deps", "belongs to a command; a model of MLflow's has none")
                }
                _ => Ok(()),
            };
        }
        match (&train.run, train.builtin) {
            (None, None) => self.refuse(
                "[train]",
                key,
                "nothing trains; set run = \"a command\", builtin = \"mlp\" | \"logistic\" | \"ridge\" | \"gbdt\", or mlflow = \"a registered model\"",
            ),
            (Some(_), Some(_)) => {
                self.refuse("[train]", key, "stands beside builtin; keep one of the two")
            }
            (Some(run), None) if run.trim().is_empty() => {
                self.refuse("[train]", key, "is empty; write the command that trains")
            }
            (None, Some(_)) if train.deps.is_some() => {
                self.refuse("[train]", "deps", "belongs to a command; an embedded trainer has none")
            }
            _ => Ok(()),
        }
    }

    fn runner(&self, project: &ProjectFile) -> Checked {
        let (table, runner) = ("[runner]", &project.runner);
        let of_commands = [
            ("kind", runner.kind != RunnerKind::Local),
            ("cpus", runner.cpus.is_some()),
            ("memory_mb", runner.memory_mb.is_some()),
        ];
        if let Some((key, _)) = of_commands.into_iter().find(|(_, set)| *set && project.train.run.is_none()) {
            return self.refuse(
                table,
                key,
                "is for a command, [train] run; an embedded trainer is part of the run",
            );
        }
        let of_ray = [
            ("address", runner.address.is_some()),
            ("shared", runner.shared.is_some()),
            ("public", runner.public),
        ];
        match runner.kind {
            RunnerKind::Local => {
                if let Some((key, _)) = of_ray.into_iter().find(|(_, set)| *set) {
                    return self.refuse(table, key, "belongs to kind = \"ray\"");
                }
            }
            RunnerKind::Ray if runner.address.is_none() => {
                let needed =
                    "kind = \"ray\" needs the address of its dashboard, such as \"http://127.0.0.1:8265\"";
                return self.refuse(table, "address", needed);
            }
            RunnerKind::Ray => {}
        }
        if runner.shared.as_ref().is_some_and(|shared| !shared.is_absolute()) {
            return self.refuse(
                table,
                "shared",
                "is not absolute; name it as every machine of the cluster does",
            );
        }
        self.within(table, "cpus", runner.cpus.unwrap_or(1), PROCESSORS)?;
        self.within(table, "parallel", runner.parallel.unwrap_or(1), PROCESSORS)?;
        self.within(table, "memory_mb", runner.memory_mb.unwrap_or(*MEMORY_MB.start()), MEMORY_MB)
    }

    fn convert(&self, project: &ProjectFile) -> Checked {
        let (table, variants) = ("[[convert.variant]]", &project.convert.variant);
        self.within(table, "engine", variants.len(), 1..=VARIANTS_MAX)?;
        if variants[0].tool.is_some() {
            let why = "the first form is made by an external tool; begin with one that is not, such as \
                       engine = \"rten\", which every device can fall back to";
            return self.refuse(table, "tool", why);
        }
        let mut labels = BTreeSet::new();
        for (at, variant) in variants.iter().enumerate() {
            match ToolSpec::of(variant) {
                Err((key, reason)) => return self.refuse(table, key, reason),
                Ok(Some(spec)) => {
                    let from = spec.from.as_ref().filter(|from| !labels.contains(*from));
                    if let Some(from) = from {
                        let why = format!("no form before it is called '{from}'");
                        return self.refuse(table, "from", why);
                    }
                    let label = spec.variant.label();
                    if BundlePath::new(label.as_str()).is_err() || label.contains('/') {
                        return self.refuse(table, "name", format!("'{label}' is not a plain name"));
                    }
                    if !labels.insert(label.clone()) {
                        return self.refuse(
                            table,
                            "name",
                            format!("{label} is there twice; give one a name"),
                        );
                    }
                    continue;
                }
                Ok(None) => drop(labels.insert(variant.label())),
            }
            let plain = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
            };
            if !plain(&variant.engine) || !plain(&variant.dtype) {
                return self.refuse(
                    table,
                    "engine",
                    "use plain names, such as engine = \"rten\", dtype = \"f32\"",
                );
            }
            if variants[..at].contains(variant) {
                let name = format!("{}/{}", variant.engine, variant.dtype);
                return self.refuse(table, "engine", format!("{name} is there twice; keep one"));
            }
        }
        let parity = &project.convert.parity;
        let table = "[convert.parity]";
        self.positive(table, "abs_difference_max", parity.abs_difference_max.unwrap_or(1.0))?;
        self.positive(table, "rel_difference_max", parity.rel_difference_max.unwrap_or(1.0))?;
        self.within(table, "top1_agreement_min", parity.top1_agreement_min.unwrap_or(1.0), SHARE)
    }

    fn gate(&self, project: &ProjectFile) -> Checked {
        let gate = &project.gate;
        match project.task() {
            TaskKind::Regression if gate.accuracy_min.is_some() => {
                return self.refuse("[gate]", "accuracy_min", "is for classes; a regression has mae_max");
            }
            TaskKind::Classification if gate.mae_max.is_some() => {
                return self.refuse("[gate]", "mae_max", "is for numbers; a classifier has accuracy_min");
            }
            TaskKind::Regression if gate.calibration_max.is_some() => {
                return self.refuse(
                    "[gate]",
                    "calibration_max",
                    "is for classes; a number has no confidence",
                );
            }
            _ => {}
        }
        if gate.regression_max.is_none() && (gate.proof || !gate.slices.is_empty()) {
            let key = if gate.proof { "proof" } else { "slices" };
            return self.refuse("[gate]", key, "compares with the champion; set regression_max too");
        }
        let shares = [
            ("slice_drop_max", Some(gate.slice_drop_max)),
            ("calibration_max", gate.calibration_max),
            ("missing", Some(gate.missing)),
            ("missing_drop_max", gate.missing_drop_max),
            ("noise_drop_max", gate.noise_drop_max),
        ];
        shares
            .into_iter()
            .try_for_each(|(key, share)| self.within("[gate]", key, share.unwrap_or(0.0), SHARE))?;
        self.positive("[gate]", "noise", gate.noise)?;
        self.positive("[gate]", "latency_max_ms", gate.latency_max_ms.unwrap_or(1.0))?;
        self.within("[gate]", "accuracy_min", gate.accuracy_min.unwrap_or(0.0), SHARE)?;
        self.positive("[gate]", "mae_max", gate.mae_max.unwrap_or(1.0))?;
        self.within("[gate]", "regression_max", gate.regression_max.unwrap_or(0.0), SHARE)
    }

    fn records(&self, project: &ProjectFile) -> Checked {
        let Some(records) = &project.records else { return Ok(()) };
        let table = "[records]";
        self.within(table, "sampled", records.sampled, SHARE)?;
        self.within(table, "redact", records.redact.len(), 0..=RECORD_REDACT_MAX)?;
        let spans = [("retention", Some(records.retention)), ("expire", records.expire)];
        let wrong = |(_, span): &(&str, Option<Span>)| {
            span.is_some_and(|span| !(1..=RECORD_DAYS_MAX).contains(&span.days()))
        };
        match spans.into_iter().find(wrong) {
            None => Ok(()),
            Some((key, _)) => {
                self.refuse(table, key, format!("use 1 to {RECORD_DAYS_MAX} days, such as \"90d\""))
            }
        }
    }

    fn monitor(&self, project: &ProjectFile) -> Checked {
        let monitor = &project.monitor;
        let table = "[monitor]";
        self.positive(table, "false_alarms_per_device_year", monitor.false_alarms_per_device_year)?;
        self.positive(table, "requests_per_second", monitor.requests_per_second)?;
        if monitor.image.is_some() && monitor.audio.is_some() {
            return self.refuse(
                table,
                "audio",
                "an input is an image or a sound, not both; leave one table out",
            );
        }
        if let Some(image) = monitor.image {
            let sides = [("width", image.width), ("height", image.height)];
            sides
                .into_iter()
                .try_for_each(|(key, side)| self.within("[monitor.image]", key, side, 1..=IMAGE_SIDE_MAX))?;
            if !matches!(image.channels, 1 | 3 | 4) {
                return self.refuse("[monitor.image]", "channels", "use 1 (grey), 3 (RGB) or 4 (RGBA)");
            }
            self.positive("[monitor.image]", "white", f64::from(image.white.unwrap_or(1.0)))?;
        }
        let rate = monitor.audio.map_or(1.0, |audio| f64::from(audio.sample_rate));
        self.positive("[monitor.audio]", "sample_rate", rate)?;
        self.within(table, "accuracy_window", monitor.accuracy_window, 1..=MAX_LABEL_WINDOW)
    }

    fn rollout(&self, project: &ProjectFile) -> Checked {
        if project.rollout.waves.is_empty() {
            return self.refuse("[rollout]", "waves", "is empty; use sizes such as [1, \"10%\", \"100%\"]");
        }
        let (table, gates) = ("[rollout.gates]", &project.rollout.gates);
        self.within(table, "alpha", gates.alpha, ALPHA)?;
        self.within(table, "accuracy_drop_max", gates.accuracy_drop_max, SHARE)?;
        self.within(table, "failed_requests_max", gates.failed_requests_max, SHARE)?;
        self.within(table, "slow_requests_max", gates.slow_requests_max, SHARE)?;
        self.positive(table, "alarms_per_device_year", gates.alarms_per_device_year)
    }

    fn trigger(&self, trigger: &TriggerTable) -> Checked {
        let table = "[[trigger]]";
        let (alert, samples, schedule) = match trigger.on {
            TriggerOn::Alert => (true, false, false),
            TriggerOn::NewSamples => (false, true, false),
            TriggerOn::Schedule => (false, false, true),
        };
        let stray = [
            ("kinds", trigger.kinds.is_some(), alert, "on = \"alert\""),
            ("labels_min", trigger.labels_min.is_some(), alert, "on = \"alert\""),
            ("count", trigger.count.is_some(), samples, "on = \"new_samples\""),
            ("every", trigger.every.is_some(), schedule, "on = \"schedule\""),
            ("cron", trigger.cron.is_some(), schedule, "on = \"schedule\""),
        ];
        if let Some((key, .., place)) = stray.into_iter().find(|(_, set, fits, _)| *set && !fits) {
            return self.refuse(table, key, format!("belongs to {place}"));
        }
        if trigger.kinds.as_ref().is_some_and(BTreeSet::is_empty) {
            return self.refuse(table, "kinds", "is empty; use drift, decay, outlier");
        }
        if samples && trigger.count.is_none_or(|count| count == 0) {
            return self.refuse(table, "count", "on = \"new_samples\" needs count = 1 or more");
        }
        if schedule { self.schedule(trigger) } else { Ok(()) }
    }

    fn schedule(&self, trigger: &TriggerTable) -> Checked {
        let table = "[[trigger]]";
        match (&trigger.cron, trigger.every) {
            (Some(_), Some(_)) => {
                self.refuse(table, "cron", "stands in place of every; leave one of them out")
            }
            (Some(cron), None) => edgeward_core::cron::check(cron)
                .or_else(|error| self.refuse(table, "cron", error.to_string())),
            (None, Some(every)) if !every.0.is_zero() => Ok(()),
            (None, _) => {
                let needed =
                    "on = \"schedule\" needs every = \"7d\" or another time, or cron = \"0 3 * * 1\"";
                self.refuse(table, "every", needed)
            }
        }
    }
}
