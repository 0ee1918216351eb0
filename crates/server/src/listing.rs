//! What is kept, as the documents that go out: the one place where rows become answers.

use std::collections::BTreeMap;

use edgeward_api::device::{Report, Sample};
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{
    Acknowledgement, Device, GateVerdict, Model, RaisedAlert, Rollout, Run, Version,
};
use edgeward_core::ModelName;
use edgeward_core::envelope::Base64;
use edgeward_store::{
    AcknowledgementRow, AlertRow, DeviceRow, ModelRow, RolloutRow, RunRow, SampleRow, StoreError, VersionRow,
    View,
};

/// Most devices in one listing.
pub(crate) const DEVICES_MAX: usize = 100_000;

/// Every device, by id.
pub(crate) fn devices(view: &View<'_>) -> Result<Vec<Device>, StoreError> {
    let mut devices: Vec<Device> = Vec::new();
    loop {
        let page = view.devices(devices.last().map(|device| &device.id), PAGE_MAX)?;
        let full = page.len() == PAGE_MAX;
        devices.extend(page.into_iter().map(device));
        if !full || devices.len() >= DEVICES_MAX {
            return Ok(devices);
        }
    }
}

/// One of them.
pub(crate) fn device(row: DeviceRow) -> Device {
    let seen_at_ms = row.report.as_ref().map(|report| report.received_at_ms);
    let report = row.report.and_then(|report| serde_json::from_value::<Report>(report.document).ok());
    Device {
        id: row.id,
        enrolled_at_ms: row.enrolled_at_ms,
        revoked_at_ms: row.revoked_at_ms,
        seen_at_ms,
        report,
    }
}

/// The newest runs first.
pub(crate) fn runs(view: &View<'_>) -> Result<Vec<Run>, StoreError> {
    Ok(view.runs(None, PAGE_MAX)?.into_iter().map(run).collect())
}

pub(crate) fn run(row: RunRow) -> Run {
    let gates = row.gates.into_iter();
    Run {
        id: row.id,
        project: row.project,
        cause: row.cause,
        commit: row.commit,
        requested_at_ms: row.requested_at_ms,
        finished_at_ms: row.finished_at_ms,
        outcome: row.outcome,
        gates: gates
            .map(|gate| GateVerdict { gate: gate.gate, passed: gate.passed, reason: gate.reason })
            .collect(),
    }
}

/// Every model, by name.
pub(crate) fn models(view: &View<'_>) -> Result<Vec<Model>, StoreError> {
    view.models()?.into_iter().map(|row| model(view, row)).collect()
}

fn model(view: &View<'_>, row: ModelRow) -> Result<Model, StoreError> {
    let versions = versions(view, &row.name)?;
    Ok(Model { name: row.name, aliases: row.aliases, versions })
}

/// The versions of a model, the newest last.
pub(crate) fn versions(view: &View<'_>, model: &ModelName) -> Result<Vec<Version>, StoreError> {
    let mut versions: Vec<Version> = view.versions(model, PAGE_MAX)?.into_iter().map(version).collect();
    versions.reverse();
    Ok(versions)
}

pub(crate) fn version(row: VersionRow) -> Version {
    Version {
        version: row.version,
        bundle: row.bundle,
        run: row.run,
        registered_at_ms: row.registered_at_ms,
        metrics: row.metrics.into_iter().collect::<BTreeMap<_, _>>(),
    }
}

/// The newest alerts first.
pub(crate) fn alerts(view: &View<'_>) -> Result<Vec<RaisedAlert>, StoreError> {
    Ok(view.alert_rows(None, PAGE_MAX)?.into_iter().map(alert).collect())
}

pub(crate) fn alert(row: AlertRow) -> RaisedAlert {
    RaisedAlert { alert: row.alert, acknowledged: row.acknowledged.map(acknowledgement) }
}

pub(crate) fn acknowledgement(row: AcknowledgementRow) -> Acknowledgement {
    Acknowledgement { by: row.by, at_ms: row.at_ms, note: row.note }
}

/// The newest rollouts first.
pub(crate) fn rollouts(view: &View<'_>) -> Result<Vec<Rollout>, StoreError> {
    Ok(view.rollouts(None, PAGE_MAX)?.into_iter().map(rollout).collect())
}

pub(crate) fn rollout(row: RolloutRow) -> Rollout {
    Rollout {
        id: row.id,
        model: row.model,
        version: row.version,
        bundle: row.bundle,
        group: row.policy.group,
        started_at_ms: row.started_at_ms,
        start_at_ms: row.start_at_ms,
        wave: row.wave.map(|wave| wave.index),
        waves_approved: row.waves_approved,
        paused: row.paused,
        outcome: row.outcome,
        finished_at_ms: row.finished_at_ms,
        reasons: row.reasons,
    }
}

pub(crate) fn sample(row: SampleRow) -> Sample {
    let sample = row.sample;
    Sample {
        prediction: sample.prediction,
        row: sample.row,
        model: sample.model,
        bundle: sample.bundle,
        at_ms: sample.at_ms,
        features: Base64(sample.features),
        predicted: sample.predicted,
        label: sample.label,
        suspicion: sample.suspicion,
    }
}
