//! Labels, groups and pins: which devices a rollout is for.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use edgeward_api::operator::{DeviceLabels, Group, GroupRequest, Groups, LabelsChange, Pin, PinRequest};
use edgeward_api::{Problem, routes};
use edgeward_core::group::{Expression, LABELS_MAX, check_label};
use edgeward_core::{DeviceId, Event, GroupName};
use edgeward_store::View;

use super::models::find_version;
use crate::access::Caller;
use crate::app::App;
use crate::extract::{Document, Named};
use crate::failure::Failure;

fn labels_of(view: &View<'_>, device: DeviceId) -> Result<DeviceLabels, Failure> {
    let labels = view.labels()?.remove(&device);
    let labels = labels.ok_or_else(|| Failure::not_found(format!("there is no device {device}")))?;
    Ok(DeviceLabels { device, labels })
}

/// Labels of a device: those that people set and those that it reports.
#[utoipa::path(get, path = routes::DEVICE_LABELS, params(("device" = String, Path, description = "The device's id")),
    responses((status = 200, body = DeviceLabels), (status = 404, body = Problem)))]
pub(crate) async fn labels(
    State(app): State<Arc<App>>,
    Named(device): Named<DeviceId>,
) -> Result<Json<DeviceLabels>, Failure> {
    app.read(move |view| labels_of(view, device)).await.map(Json)
}

/// Sets labels of a device.
#[utoipa::path(post, path = routes::DEVICE_LABELS, params(("device" = String, Path, description = "The device's id")),
    request_body = LabelsChange,
    responses((status = 200, body = DeviceLabels), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn set_labels(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<DeviceId>,
    Document(change): Document<LabelsChange>,
) -> Result<Json<DeviceLabels>, Failure> {
    for (key, value) in &change.labels {
        let checked = check_label(key, value.as_deref().unwrap_or("removed"));
        checked.map_err(|error| Failure::invalid(error.to_string()))?;
    }
    let by = caller.name();
    let labels = app.decide_now(move |decision| {
        labels_of(decision, device.clone())?;
        if !change.labels.is_empty() {
            decision.append(Event::DeviceLabelled { device: device.clone(), labels: change.labels, by })?;
        }
        let labels = labels_of(decision, device)?;
        if labels.labels.len() > LABELS_MAX {
            return Err(Failure::invalid(format!("a device has at most {LABELS_MAX} labels")));
        }
        Ok(labels)
    });
    labels.await.map(Json)
}

/// Pins a device to a version of a model, or unpins it.
#[utoipa::path(post, path = routes::DEVICE_PIN, params(("device" = String, Path, description = "The device's id")),
    request_body = PinRequest, responses((status = 200, body = Pin), (status = 404, body = Problem)))]
pub(crate) async fn pin(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<DeviceId>,
    Document(request): Document<PinRequest>,
) -> Result<Json<Pin>, Failure> {
    let by = caller.name();
    let pin = app.decide_now(move |decision| {
        if decision.device(&device)?.is_none() {
            return Err(Failure::not_found(format!("there is no device {device}")));
        }
        let PinRequest { model, target } = request;
        let pinned = decision.pins(&model)?.remove(&device);
        let bundle = match &target {
            Some(target) => {
                let version = find_version(decision, &model, target)?;
                let missing = || Failure::not_found(format!("{model} has no version {target}"));
                Some(version.ok_or_else(missing)?.bundle)
            }
            None => None,
        };
        let pin = Pin { device: device.clone(), model: model.clone(), bundle };
        match bundle {
            Some(bundle) if pinned != Some(bundle) => {
                decision.append(Event::DevicePinned { device, model, bundle, by })?;
            }
            None if pinned.is_some() => decision.append(Event::DeviceUnpinned { device, model, by })?,
            _ => {}
        }
        Ok(pin)
    });
    pin.await.map(Json)
}

fn all(view: &View<'_>) -> Result<Vec<Group>, Failure> {
    let labels = view.labels()?;
    let group = |(group, expression): (GroupName, Expression)| {
        let members = labels.iter().filter(|(_, labels)| expression.includes(labels));
        let devices = members.map(|(device, _)| device.clone()).collect();
        Group { group, expression: expression.to_string(), devices }
    };
    Ok(view.groups()?.into_iter().map(group).collect())
}

fn one(view: &View<'_>, name: &GroupName) -> Result<Group, Failure> {
    let found = all(view)?.into_iter().find(|group| group.group == *name);
    found.ok_or_else(|| Failure::not_found(format!("there is no group {name}")))
}

/// The groups and their devices.
#[utoipa::path(get, path = routes::GROUPS, responses((status = 200, body = Groups)))]
pub(crate) async fn groups(State(app): State<Arc<App>>) -> Result<Json<Groups>, Failure> {
    app.read(|view| Ok(Json(Groups { groups: all(view)? }))).await
}

/// Makes a group, or changes who is in it.
#[utoipa::path(post, path = routes::GROUPS, request_body = GroupRequest,
    responses((status = 200, body = Group), (status = 422, body = Problem)))]
pub(crate) async fn make_group(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(request): Document<GroupRequest>,
) -> Result<Json<Group>, Failure> {
    let GroupRequest { group, expression } = request;
    let expression: Expression = expression.parse().map_err(|error| {
        Failure::invalid(format!("the expression cannot be read {error}"))
            .hint("Such as: hardware=jetson and site in (berlin, paris) and not canary")
    })?;
    let by = caller.name();
    let made = app.decide_now(move |decision| {
        if decision.groups()?.get(&group) != Some(&expression) {
            decision.append(Event::GroupDefined { group: group.clone(), expression, by })?;
        }
        one(decision, &group)
    });
    made.await.map(Json)
}

/// Removes a group: its devices run what the others run.
#[utoipa::path(post, path = routes::GROUP_REMOVE, params(("group" = String, Path, description = "The group's name")),
    responses((status = 200, body = Group), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn remove_group(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<GroupName>,
) -> Result<Json<Group>, Failure> {
    let by = caller.name();
    let removed = app.decide_now(move |decision| {
        let group = one(decision, &name)?;
        let under_way = decision.rollouts_under_way()?;
        if let Some(rollout) = under_way.iter().find(|row| row.policy.group.as_ref() == Some(&name)) {
            return Err(Failure::conflict(format!("rollout {} to {name} is under way", rollout.id))
                .hint("Take it back first: edgeward rollout abort."));
        }
        decision.append(Event::GroupRemoved { group: name, by })?;
        Ok(group)
    });
    removed.await.map(Json)
}
