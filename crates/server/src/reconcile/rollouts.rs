//! New versions become rollouts, rollouts widen or are taken back, and what follows is signed for the fleet.
//!
//! Two halves, each safe to repeat: [`advance`] appends the events that the planner asks for, and [`publish`] compares
//! what should be signed with what the repository says. A crash between the two is healed by the next turn.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_api::operator::PolicyChanges;
use edgeward_core::desired::{Assignment, DESIRED_SCHEMA, GroupAssignment, Members, Wave};
use edgeward_core::event::{Project, RolloutOutcome, RunOutcome};
use edgeward_core::rollout::{self, Decision as Planned, Plan, RolloutPolicy};
use edgeward_core::{Bucket, Desired, Digest, Event, GroupName, ModelName, RolloutId, Timestamp};
use edgeward_store::{ROWS_PAGE_MAX, RolloutRow, StoreError, VersionRow, View};

use super::ReconcileError;
use super::observe::observed;
use super::shadows;
use crate::app::{App, Decision, blocking};
use crate::handlers::fresh_id;
use crate::members::{self, MEMBERS_MAX};
use crate::secret::NoRandomness;

/// The alias of the version that serves.
pub(crate) const CHAMPION: &str = "champion";
/// Steps taken in one turn; more wait for the next.
const STEPS_MAX: usize = 8;

/// Carries every rollout as far as it may go now, and publishes what follows.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    advance(app).await?;
    publish(app).await
}

/// Signs the repository anew where it no longer says what the fleet should run, or grows old.
async fn publish(app: &App) -> Result<(), ReconcileError> {
    let now = app.now();
    let models = app.read(|view| Ok::<_, ReconcileError>(assignments(view)?)).await?;
    let repository = std::sync::Arc::clone(&app.repository);
    blocking(move || {
        repository.follow()?;
        repository.keep_fresh(now)?;
        let latest = repository.desired();
        let is_said = match &latest {
            Some(latest) => latest.models == models && !repository.is_desired_due(now),
            None => models.is_empty(),
        };
        if !is_said {
            let generation = latest.map_or(0, |latest| latest.generation) + 1;
            let desired = Desired { schema: DESIRED_SCHEMA.to_owned(), generation, models };
            repository.publish(&desired, now)?;
            tracing::info!(generation, "desired state published");
        }
        Ok::<_, ReconcileError>(())
    })
    .await?;
    app.saw_generation();
    Ok(())
}

/// Appends what the planner asks for, until it asks for nothing.
async fn advance(app: &App) -> Result<(), ReconcileError> {
    for _ in 0..STEPS_MAX {
        let now = app.now();
        if !app.read(move |view| is_step_due(view, now).map_err(ReconcileError::from)).await? {
            return Ok(());
        }
        app.decide(step).await?;
    }
    Ok(())
}

fn is_step_due(view: &View<'_>, now: Timestamp) -> Result<bool, StoreError> {
    for project in view.projects()? {
        if due(view, &project)?.is_some() {
            return Ok(true);
        }
    }
    for row in view.rollouts_under_way()? {
        if plan(view, &row, now)?.decision != Planned::Hold {
            return Ok(true);
        }
    }
    Ok(false)
}

fn step(decision: &Decision<'_, '_>) -> Result<(), ReconcileError> {
    for project in decision.projects()? {
        if let Some(version) = due(decision, &project)? {
            let wish = Wish { cause: format!("run {} passed every gate", version.run), ..Wish::default() };
            start(decision, &version, wish)?;
        }
    }
    for row in decision.rollouts_under_way()? {
        let plan = plan(decision, &row, decision.now())?;
        carry_out(decision, &row, plan)?;
    }
    Ok(())
}

/// Whether a rollout of `model` is under way.
pub(crate) fn is_under_way(view: &View<'_>, model: &ModelName) -> Result<bool, StoreError> {
    Ok(view.rollouts_under_way()?.iter().any(|rollout| rollout.model == *model))
}

/// The version that `project` should roll out by itself: its newest, if its run passed, nobody tried it yet, and it is no
/// shadow.
pub(crate) fn due(view: &View<'_>, project: &Project) -> Result<Option<VersionRow>, StoreError> {
    if project.trigger.level == 0 {
        return Ok(None);
    }
    let Some(newest) = view.versions(&project.model, 1)?.pop() else { return Ok(None) };
    let champion = view.aliased(&project.model, CHAMPION)?.map_or(0, |version| version.version);
    let tried = |rollout: &RolloutRow| rollout.version == newest.version || rollout.outcome.is_none();
    if newest.version <= champion || view.rollouts(Some(&project.model), ROWS_PAGE_MAX)?.iter().any(tried) {
        return Ok(None);
    }
    if view.shadow_test(&newest.run)?.is_some() {
        return Ok(None);
    }
    let outcome = view.run(&newest.run)?.and_then(|run| run.outcome);
    Ok((outcome == Some(RunOutcome::Passed { bundle: newest.bundle })).then_some(newest))
}

/// Why a rollout was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No id could be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// An id that is no name.
    #[error(transparent)]
    Name(#[from] edgeward_core::name::ParseNameError),
    /// There is no such group.
    #[error("there is no group {0}")]
    NoGroup(GroupName),
    /// Too many devices for one document.
    #[error(
        "{group} has {members} devices; something can be rolled out to groups of at most {MEMBERS_MAX}, or to everybody"
    )]
    LargeGroup {
        /// The group.
        group: GroupName,
        /// How many.
        members: usize,
    },
}

impl From<StartError> for ReconcileError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => Self::Store(error),
            StartError::Randomness(error) => Self::Randomness(error),
            StartError::Name(error) => Self::Name(error),
            error => Self::Start(error.to_string()),
        }
    }
}

/// What is wished of a new rollout.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Why.
    pub(crate) cause: String,
    /// Nothing opens before this time.
    pub(crate) start_at_ms: Option<Timestamp>,
    /// What is to be different from the project's policy.
    pub(crate) changes: PolicyChanges,
}

/// Starts a rollout of `version`, in place of one that is under way. Asking for the one under way returns it.
pub(crate) fn start(
    decision: &Decision<'_, '_>,
    version: &VersionRow,
    wish: Wish,
) -> Result<RolloutId, StartError> {
    let model = &version.model;
    for other in decision.rollouts_under_way()?.into_iter().filter(|other| other.model == *model) {
        if other.version == version.version {
            return Ok(other.id);
        }
        let (outcome, reasons) =
            (RolloutOutcome::Superseded, vec![format!("version {} follows", version.version)]);
        decision.append(Event::RolloutFinished { rollout: other.id, outcome, reasons })?;
    }
    let rollout = RolloutId::new(fresh_id("rollout", decision.now())?)?;
    let Wish { cause, start_at_ms, changes } = wish;
    let policy = changed(policy_of(decision, model)?, changes);
    let from = before(decision, model, policy.group.as_ref())?;
    tracing::info!(%rollout, %model, version = version.version, cause, "rollout started");
    decision.append(Event::RolloutStarted {
        rollout: rollout.clone(),
        model: model.clone(),
        version: version.version,
        bundle: version.bundle,
        from,
        policy,
        cause,
        start_at_ms,
    })?;
    Ok(rollout)
}

/// What the devices of a rollout ran before.
fn before(
    decision: &Decision<'_, '_>,
    model: &ModelName,
    group: Option<&GroupName>,
) -> Result<Option<Digest>, StartError> {
    let champion = decision.aliased(model, CHAMPION)?.map(|champion| champion.bundle);
    let Some(group) = group else { return Ok(champion) };
    let members = members::of(decision, group)?.ok_or_else(|| StartError::NoGroup(group.clone()))?;
    if members.len() > MEMBERS_MAX {
        return Err(StartError::LargeGroup { group: group.clone(), members: members.len() });
    }
    let own = decision.group_bundles(model)?.into_iter().find(|own| own.group == *group);
    Ok(own.map(|own| own.bundle).or(champion))
}

fn policy_of(view: &View<'_>, model: &ModelName) -> Result<RolloutPolicy, StoreError> {
    let project = view.projects()?.into_iter().find(|project| project.model == *model);
    Ok(project.map(|project| project.rollout).unwrap_or_default())
}

fn changed(policy: RolloutPolicy, changes: PolicyChanges) -> RolloutPolicy {
    RolloutPolicy {
        waves: changes.waves.unwrap_or(policy.waves),
        bake_ms: changes.bake_ms.map_or(policy.bake_ms, Duration::from_millis),
        approval: changes.approval.unwrap_or(policy.approval),
        window: changes.window.or(policy.window),
        on_fail: changes.on_fail.unwrap_or(policy.on_fail),
        group: changes.group.or(policy.group),
        ..policy
    }
}

fn carry_out(decision: &Decision<'_, '_>, row: &RolloutRow, plan: Plan) -> Result<(), StoreError> {
    let (rollout, reasons) = (row.id.clone(), plan.reasons);
    let outcome = match plan.decision {
        Planned::Hold => return Ok(()),
        Planned::Advance { index, limit } => {
            tracing::info!(%rollout, wave = index, "{}", reasons.join("; "));
            return decision.append(Event::RolloutAdvanced { rollout, wave: index, limit, reasons });
        }
        Planned::Pause => {
            tracing::warn!(%rollout, "paused: {}", reasons.join("; "));
            return decision.append(Event::RolloutPaused { rollout, by: None, reasons });
        }
        Planned::Complete => RolloutOutcome::Completed,
        Planned::RollBack => RolloutOutcome::RolledBack,
    };
    tracing::info!(%rollout, ?outcome, "{}", reasons.join("; "));
    decision.append(Event::RolloutFinished { rollout, outcome, reasons })?;
    let champion = decision.aliased(&row.model, CHAMPION)?.map(|version| version.version);
    let is_to_all = row.policy.group.is_none();
    if is_to_all && outcome == RolloutOutcome::Completed && champion != Some(row.version) {
        let (model, alias, version) = (row.model.clone(), CHAMPION.to_owned(), row.version);
        decision.append(Event::AliasMoved { model, alias, version })?;
    }
    Ok(())
}

/// What the planner says of a rollout now.
pub(crate) fn plan(view: &View<'_>, row: &RolloutRow, now: Timestamp) -> Result<Plan, StoreError> {
    Ok(rollout::plan(&row.policy, &observed(view, row, now)?, now))
}

fn assignments(view: &View<'_>) -> Result<BTreeMap<ModelName, Assignment>, StoreError> {
    let mut assignments = BTreeMap::new();
    let under_way = view.rollouts_under_way()?;
    for model in view.models()? {
        let row = under_way.iter().find(|row| row.model == model.name);
        let stable = view.aliased(&model.name, CHAMPION)?.map(|version| version.bundle);
        let next = row.map(|row| wave(view, row)).transpose()?;
        let groups = groups(view, &model.name)?;
        let pins = view.pins(&model.name)?;
        if stable.is_none() && next.is_none() && groups.is_empty() && pins.is_empty() {
            continue;
        }
        let latest = view.rollouts(Some(&model.name), 1)?.pop();
        let policy = match latest {
            Some(row) => row.policy,
            None => policy_of(view, &model.name)?,
        };
        let probation_ms = policy.probation_ms;
        let shadows = shadows::wanted(view, &model.name)?;
        assignments.insert(model.name, Assignment { stable, next, probation_ms, groups, pins, shadows });
    }
    Ok(assignments)
}

/// How far a rollout has come; of a group, whom it reaches.
fn wave(view: &View<'_>, row: &RolloutRow) -> Result<Wave, StoreError> {
    let limit = row.wave.map(|wave| wave.limit);
    let members = match &row.policy.group {
        None => None,
        Some(group) => {
            let members = members::of(view, group)?.unwrap_or_default();
            let reached =
                |limit: Bucket| members.iter().filter(move |device| Bucket::of(&row.id, device) <= limit);
            Some(limit.map_or_else(Members::default, |limit| Members::of(reached(limit))))
        }
    };
    Ok(Wave { rollout: row.id.clone(), bundle: row.bundle, limit, members })
}

/// What the members of each group run, where that is not what the others run.
fn groups(view: &View<'_>, model: &ModelName) -> Result<Vec<GroupAssignment>, StoreError> {
    let mut groups = Vec::new();
    for own in view.group_bundles(model)? {
        let members = Members::of(&members::of(view, &own.group)?.unwrap_or_default());
        groups.push(GroupAssignment { group: own.group, bundle: own.bundle, members });
    }
    Ok(groups)
}
