//! Ledger events in words.

use edgeward_core::Alert;
use edgeward_core::alert::AlertKind;
use edgeward_core::event::{Event, RolloutOutcome, RunOutcome};
use edgeward_core::shadow::{ShadowCandidate, ShadowOutcome};

/// How an event feels: it chooses a colour and a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Work,
    Good,
    Warn,
    Bad,
}

impl Tone {
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Work => "work",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) tone: Tone,
    pub(crate) title: String,
    pub(crate) detail: String,
}

/// Says what `event` was.
pub(crate) fn happening(event: &Event) -> Happening {
    let say = |tone, title: String, detail: String| Happening { tone, title, detail };
    match event {
        Event::ProjectRegistered(project) => say(
            Tone::Plain,
            format!("Project {} registered", project.name),
            level(project.trigger.level).to_owned(),
        ),
        Event::DeviceEnrolled { device } => say(Tone::Plain, format!("{device} joined"), String::new()),
        Event::RunRequested { project, cause, .. } => {
            say(Tone::Work, format!("Training of {project} started"), cause.clone())
        }
        Event::RunFinished { project, outcome, .. } => run_finished(project.as_str(), outcome),
        Event::GateJudged { gate, passed: true, reason, .. } => {
            say(Tone::Good, format!("Gate {gate} passed"), reason.clone())
        }
        Event::GateJudged { gate, reason, .. } => {
            say(Tone::Warn, format!("Gate {gate} refused"), reason.clone())
        }
        Event::ModelRegistered(version) => say(
            Tone::Good,
            format!("{} v{} signed and registered", version.model, version.version),
            format!("bundle {}", version.bundle.short()),
        ),
        Event::AliasMoved { model, alias, version } => {
            say(Tone::Good, format!("{alias} of {model} is now v{version}"), String::new())
        }
        Event::RolloutStarted { model, version, cause, .. } => {
            say(Tone::Work, format!("Rollout of {model} v{version} started"), cause.clone())
        }
        Event::DeviceLabelled { device, by, .. } => {
            say(Tone::Plain, format!("Labels of {device} set"), format!("by {by}"))
        }
        Event::DevicePinned { device, model, bundle, by } => {
            say(Tone::Warn, format!("{device} pinned to {} of {model}", bundle.short()), format!("by {by}"))
        }
        Event::DeviceUnpinned { device, model, by } => {
            say(Tone::Plain, format!("{device} follows rollouts of {model} again"), format!("by {by}"))
        }
        Event::GroupDefined { group, expression, .. } => {
            say(Tone::Plain, format!("Group {group} defined"), expression.to_string())
        }
        Event::GroupRemoved { group, by } => {
            say(Tone::Plain, format!("Group {group} removed"), format!("by {by}"))
        }
        Event::RolloutPaused { reasons, .. } => {
            say(Tone::Warn, "Rollout paused".to_owned(), reasons.join("; "))
        }
        Event::RolloutResumed { cause, .. } => say(Tone::Work, "Rollout resumed".to_owned(), cause.clone()),
        Event::RolloutApproved { cause, .. } => say(Tone::Good, "Rollout approved".to_owned(), cause.clone()),
        Event::RolloutAdvanced { wave, reasons, .. } => {
            say(Tone::Work, format!("Wave {} opened", wave + 1), reasons.join("; "))
        }
        Event::RolloutFinished { outcome, reasons, .. } => rollout_finished(*outcome, reasons),
        Event::ShadowsStarted { model, candidates, .. } => shadows_started(model.as_str(), candidates),
        Event::ShadowsJudged { model, outcome, reasons, .. } => {
            shadows_judged(model.as_str(), outcome, reasons)
        }
        Event::AlertRaised(alert) => say(Tone::Bad, alert_title(alert), alert.message.clone()),
        Event::AlertAcknowledged { alert, by, note } => alert_acknowledged(alert, by, note.as_deref()),
        Event::AccessChanged(change) => say(Tone::Plain, change.to_string(), String::new()),
        Event::SamplesJudged { .. }
        | Event::RecordsKept { .. }
        | Event::RecordsRead { .. }
        | Event::InputsErased { .. }
        | Event::RecordsExpired { .. }
        | Event::SubjectErased { .. } => records(event),
    }
}

/// What became of samples and of records of predictions.
fn records(event: &Event) -> Happening {
    let say = |tone, title: String, detail: String| Happening { tone, title, detail };
    match event {
        Event::SamplesJudged { model, samples, verdict, cause } => say(
            Tone::Plain,
            format!("{} held samples of {model} {}", samples.len(), verdict.as_str()),
            cause.clone(),
        ),
        Event::RecordsKept { records, .. } => {
            say(Tone::Plain, format!("{records} records of predictions kept"), String::new())
        }
        Event::RecordsRead { what, by } => say(Tone::Plain, format!("{what} was read"), format!("by {by}")),
        Event::InputsErased { inputs, .. } => {
            say(Tone::Plain, format!("{inputs} inputs erased"), "their time is over".to_owned())
        }
        Event::RecordsExpired { records, .. } => {
            say(Tone::Plain, format!("{records} records dropped"), "their time is over".to_owned())
        }
        Event::SubjectErased { inputs, records, by, .. } => say(
            Tone::Plain,
            format!("A subject was erased: {inputs} inputs, {records} records"),
            format!("by {by}"),
        ),
        other => say(Tone::Plain, other.kind().replace('_', " "), String::new()),
    }
}

pub(crate) fn alert_title(alert: &Alert) -> String {
    match alert.kind {
        AlertKind::WorldChanged => "The world changed".to_owned(),
        AlertKind::OddDevice => format!("{} is odd", alert.device),
        kind => format!("{} on {}", capital(kind.as_str()), alert.device),
    }
}

fn alert_acknowledged(alert: &str, by: &str, note: Option<&str>) -> Happening {
    let detail = note.map_or_else(|| alert.to_owned(), |note| format!("{note} ({alert})"));
    Happening { tone: Tone::Plain, title: format!("Alert acknowledged by {by}"), detail }
}

fn shadows_started(model: &str, candidates: &[ShadowCandidate]) -> Happening {
    let named = |one: &ShadowCandidate| format!("{} (v{})", one.name, one.version);
    let detail = candidates.iter().map(named).collect::<Vec<_>>().join(", ");
    let title = format!("{} shadows run beside {model}", candidates.len());
    Happening { tone: Tone::Work, title, detail }
}

fn shadows_judged(model: &str, outcome: &ShadowOutcome, reasons: &[String]) -> Happening {
    let (tone, title) = match outcome {
        ShadowOutcome::Winner(winner) => {
            (Tone::Good, format!("Shadow {} (v{}) of {model} is better", winner.name, winner.version))
        }
        ShadowOutcome::NoneBetter => (Tone::Plain, format!("No shadow of {model} is better")),
        ShadowOutcome::Undecided => (Tone::Warn, format!("The shadows of {model} ended without a verdict")),
        ShadowOutcome::Superseded => (Tone::Plain, format!("The shadows of {model} make way")),
    };
    Happening { tone, title, detail: reasons.join("; ") }
}

fn run_finished(project: &str, outcome: &RunOutcome) -> Happening {
    let (tone, what, detail) = match outcome {
        RunOutcome::Passed { bundle } => {
            (Tone::Good, "passed every gate", format!("bundle {}", bundle.short()))
        }
        RunOutcome::Refused { reason } => (Tone::Warn, "was refused by a gate", reason.clone()),
        RunOutcome::Failed { reason } => (Tone::Bad, "failed", reason.clone()),
    };
    Happening { tone, title: format!("Training of {project} {what}"), detail }
}

fn rollout_finished(outcome: RolloutOutcome, reasons: &[String]) -> Happening {
    let (tone, title) = match outcome {
        RolloutOutcome::Completed => (Tone::Good, "Rollout completed"),
        RolloutOutcome::RolledBack => (Tone::Bad, "Rollout rolled back"),
        RolloutOutcome::Superseded => (Tone::Plain, "Rollout superseded"),
    };
    Happening { tone, title: title.to_owned(), detail: reasons.join("; ") }
}

/// What a project's level means.
pub(crate) const fn level(level: u8) -> &'static str {
    match level {
        0 => "level 0: alerts notify, people act",
        1 => "level 1: retrains and rolls out by itself",
        _ => "level 2: follows its pipeline's source too",
    }
}

/// `decay` as `Decay`.
pub(crate) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
