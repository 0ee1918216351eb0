//! What devices count about shadows becomes a verdict: a winner at the stated error rate, none better, or no verdict in time.
//!
//! The counts are added up at every look; looking often costs nothing, since the verdict of [`edgeward_monitor::Selection`]
//! may be asked for at any time. Every verdict is an event with its reasons. A winner is rolled out like any version, by the
//! project's own policy, unless a person is to be asked: the devices have it already.

use edgeward_api::device::ShadowReport;
use edgeward_core::shadow::{Promotion, SHADOWS_MAX, ShadowOutcome, ShadowPolicy, Shadows};
use edgeward_core::{Digest, Event, ModelName, Timestamp};
use edgeward_monitor::{PairedLosses, Selection, SelectionPolicy, Verdict};
use edgeward_store::{ROWS_PAGE_MAX, ShadowTestRow, StoreError, View};

use super::{ReconcileError, rollouts};
use crate::app::{App, Decision};

/// What the devices counted, added up.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Devices that counted anything.
    pub(crate) devices: u64,
    /// Requests that the shadows answered, too.
    pub(crate) mirrored: u64,
    /// Requests and labels that were left out.
    pub(crate) dropped: u64,
    /// One entry per candidate.
    pub(crate) candidates: Vec<CandidateCount>,
    /// Labelled requests; none before the first device has all candidates.
    pub(crate) losses: Option<PairedLosses>,
}

/// What was counted about one candidate.
#[derive(Clone, Debug, Default)]
pub(crate) struct CandidateCount {
    /// Devices that have it.
    pub(crate) staged: u64,
    /// Rows it answered.
    pub(crate) answered: u64,
    /// Of them, those on which it said what the champion said.
    pub(crate) agreed: u64,
    /// Sum of its confidence, in millionths.
    pub(crate) confidence_micros: u64,
}

/// Ends the comparisons whose verdict is there, and starts the rollouts of winners.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    let now = app.now();
    let is_due = app.read(move |view| Ok::<_, ReconcileError>(!due(view, now)?.is_empty())).await?;
    match is_due {
        true => app.decide(step).await,
        false => Ok(()),
    }
}

type Due = (ShadowTestRow, ShadowOutcome, Vec<String>);

fn due(view: &View<'_>, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let mut due = Vec::new();
    for test in view.shadow_tests_under_way()? {
        let champion = view.aliased(&test.model, rollouts::CHAMPION)?.map(|version| version.bundle);
        let counted = counted(view, &test)?;
        if let Some((outcome, reasons)) = judge(&test, champion, counted.losses.as_ref(), now) {
            due.push((test, outcome, reasons));
        }
    }
    Ok(due)
}

fn step(decision: &Decision<'_, '_>) -> Result<(), ReconcileError> {
    for (test, outcome, reasons) in due(decision, decision.now())? {
        tracing::info!(run = %test.run, model = %test.model, ?outcome, "{}", reasons.join("; "));
        let (run, model) = (test.run.clone(), test.model.clone());
        let cause = reasons.join("; ");
        decision.append(Event::ShadowsJudged { run, model, outcome: outcome.clone(), reasons })?;
        if let (ShadowOutcome::Winner(winner), Promotion::Auto) = (&outcome, test.policy.promote) {
            let Some(version) = decision.version(&test.model, winner.version)? else { continue };
            let cause = format!("shadow '{}' won: {cause}", winner.name);
            rollouts::start(decision, &version, rollouts::Wish { cause, ..rollouts::Wish::default() })?;
        }
    }
    Ok(())
}

/// How a comparison ends now, and why; none while it goes on.
fn judge(
    test: &ShadowTestRow,
    champion: Option<Digest>,
    losses: Option<&PairedLosses>,
    now: Timestamp,
) -> Option<(ShadowOutcome, Vec<String>)> {
    if champion != Some(test.champion) {
        let reason = "another champion serves than the one they are compared with".to_owned();
        return Some((ShadowOutcome::Superseded, vec![reason]));
    }
    let labels = losses.map_or(0, PairedLosses::labels);
    if let Some(selection) = losses.map(|losses| Selection::of(losses, selection_policy(&test.policy))) {
        let reasons = reasons(test, &selection);
        match selection.verdict {
            Verdict::Winner { candidate } => {
                let winner = test.candidates.get(candidate)?.clone();
                return Some((ShadowOutcome::Winner(winner), reasons));
            }
            Verdict::NoneBetter => return Some((ShadowOutcome::NoneBetter, reasons)),
            Verdict::Undecided { .. } => {}
        }
    }
    let ShadowPolicy { labels_max, patience_ms, .. } = &test.policy;
    let tired = now.since(test.started_at_ms) >= *patience_ms;
    (labels >= *labels_max || tired).then(|| {
        let reason = match tired {
            true => format!("no verdict within {} s, after {labels} labels", patience_ms.as_secs()),
            false => format!("no verdict after {labels} labels"),
        };
        (ShadowOutcome::Undecided, vec![reason])
    })
}

/// What the monitor is asked.
pub(crate) const fn selection_policy(policy: &ShadowPolicy) -> SelectionPolicy {
    SelectionPolicy { alpha: policy.alpha, margin: policy.margin }
}

/// Where each candidate stands, in words, the best first.
pub(crate) fn reasons(test: &ShadowTestRow, selection: &Selection) -> Vec<String> {
    let bar = selection.log10_bar;
    let champion = percent(selection.champion_loss);
    let head = format!(
        "{} labelled requests, of which the champion got {champion} wrong; error rate {}",
        selection.labels, test.policy.alpha
    );
    let stands = |standing: &edgeward_monitor::Standing| {
        let name = test.candidates.get(standing.candidate).map_or("?", |candidate| candidate.name.as_str());
        let [low, high] = standing.range;
        format!(
            "'{name}' got {} wrong, better by {:.1} to {:.1} points (evidence 10^{:.1}, bar 10^{bar:.1})",
            percent(standing.loss),
            low * 100.0,
            high * 100.0,
            standing.log10_evidence
        )
    };
    std::iter::once(head).chain(selection.standings.iter().map(stands)).collect()
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

/// Adds up what devices counted; what does not fit the comparison counts nothing.
pub(crate) fn counted(view: &View<'_>, test: &ShadowTestRow) -> Result<Counted, StoreError> {
    let candidates = vec![CandidateCount::default(); test.candidates.len()];
    let mut counted = Counted { candidates, ..Counted::default() };
    let mut devices = std::collections::BTreeSet::new();
    for row in view.shadow_counts(&test.run)? {
        let Ok(said) = serde_json::from_value::<ShadowReport>(row.document) else { continue };
        let fits = said.candidates.iter().map(|count| count.bundle);
        if fits.eq(test.candidates.iter().map(|candidate| candidate.bundle)) {
            devices.insert(row.device);
            counted.add(&said);
        }
    }
    counted.devices = devices.len() as u64;
    Ok(counted)
}

impl Counted {
    fn add(&mut self, said: &ShadowReport) {
        self.mirrored = self.mirrored.saturating_add(said.mirrored);
        self.dropped = self.dropped.saturating_add(said.dropped);
        for (sum, one) in self.candidates.iter_mut().zip(&said.candidates) {
            sum.staged += u64::from(one.staged);
            sum.answered = sum.answered.saturating_add(one.answered);
            sum.agreed = sum.agreed.saturating_add(one.agreed);
            sum.confidence_micros = sum.confidence_micros.saturating_add(one.confidence_micros);
        }
        let cells = PairedLosses::try_from(said.losses.clone()).ok();
        let Some(losses) = cells.filter(|cells| cells.candidates() == self.candidates.len()) else { return };
        self.losses = match self.losses.take() {
            Some(sum) => sum.plus(&losses),
            None => Some(losses),
        };
    }
}

/// What devices run beside the champion of a model: the candidates of a comparison under way, and a winner that is not
/// rolled out yet, so that they need not fetch it then.
pub(crate) fn wanted(view: &View<'_>, model: &ModelName) -> Result<Option<Shadows>, StoreError> {
    let Some(test) = view.shadow_tests(Some(model), 1)?.pop() else { return Ok(None) };
    let champion = view.aliased(model, rollouts::CHAMPION)?.map(|version| version.bundle);
    let is_kept = match &test.outcome {
        None => true,
        Some(ShadowOutcome::Winner(winner)) => {
            let tried =
                |row: &edgeward_store::RolloutRow| row.version == winner.version && row.outcome.is_some();
            !view.rollouts(Some(model), ROWS_PAGE_MAX)?.iter().any(tried)
        }
        Some(_) => false,
    };
    let bundles = test.candidates.iter().map(|candidate| candidate.bundle).collect();
    let shadows = Shadows { run: test.run, champion: test.champion, bundles };
    Ok(Some(shadows).filter(|shadows| is_kept && champion == Some(shadows.champion)))
}

/// Whether the candidates of a comparison are being compared beside the champion of `model`.
pub(crate) fn is_under_way(view: &View<'_>, model: &ModelName) -> Result<bool, StoreError> {
    Ok(view.shadow_tests_under_way()?.iter().any(|test| test.model == *model))
}

/// Why candidates do not run beside the champion.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They cannot.
    #[error("{0}")]
    Refused(String),
}

/// Begins the comparison of a run's candidates, in place of one that is under way.
pub(crate) fn begin(
    decision: &Decision<'_, '_>,
    project: &edgeward_core::event::Project,
    run: &edgeward_core::RunId,
    named: &[edgeward_api::operator::NamedBundle],
) -> Result<(), BeginError> {
    let refused = |reason: String| BeginError::Refused(reason);
    let model = &project.model;
    let Some(champion) = decision.aliased(model, rollouts::CHAMPION)? else {
        return Err(refused(format!("{model} has no champion that shadows could run beside")));
    };
    let mut candidates = Vec::new();
    for one in named {
        let version = decision.version_of_bundle(model, one.bundle)?;
        let version = version.ok_or_else(|| refused(format!("{} is no version of {model}", one.bundle)))?;
        let (name, version, bundle) = (one.name.clone(), version.version, one.bundle);
        candidates.push(edgeward_core::shadow::ShadowCandidate { name, version, bundle });
    }
    let bundles = candidates.iter().map(|candidate| candidate.bundle).collect();
    let shadows = Shadows { run: run.clone(), champion: champion.bundle, bundles };
    if !shadows.is_sound() {
        return Err(refused(format!(
            "1 to {SHADOWS_MAX} bundles run beside a champion, each once and none of them the champion itself"
        )));
    }
    let earlier = decision.shadow_tests_under_way()?;
    for test in earlier.into_iter().filter(|test| test.model == *model) {
        let reasons = vec![format!("the candidates of run {run} follow")];
        let (run, model) = (test.run, test.model);
        decision.append(Event::ShadowsJudged { run, model, outcome: ShadowOutcome::Superseded, reasons })?;
    }
    let mut policy = project.shadows.clone().unwrap_or_default();
    if project.trigger.level == 0 {
        // Nothing is rolled out without a person there.
        policy.promote = Promotion::Ask;
    }
    let (run, model, champion) = (run.clone(), model.clone(), champion.bundle);
    Ok(decision.append(Event::ShadowsStarted { run, model, champion, candidates, policy })?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeward_core::RunId;
    use edgeward_core::shadow::ShadowCandidate;

    use super::*;

    fn test(policy: ShadowPolicy) -> ShadowTestRow {
        let candidate = |name: &str, version| {
            let (name, bundle) = (name.to_owned(), Digest::of(name.as_bytes()));
            ShadowCandidate { name, version, bundle }
        };
        ShadowTestRow {
            run: RunId::new("run-1").unwrap(),
            model: ModelName::new("digits").unwrap(),
            champion: Digest::of(b"champion"),
            candidates: vec![candidate("old", 2), candidate("recent", 3)],
            policy,
            started_at_ms: Timestamp(0),
            finished_at_ms: None,
            outcome: None,
            reasons: Vec::new(),
        }
    }

    fn check(cells: [u64; 8], now: i64, expected: Option<&ShadowOutcome>) -> Vec<String> {
        let policy =
            ShadowPolicy { labels_max: 500, patience_ms: Duration::from_secs(10), ..ShadowPolicy::default() };
        let losses = PairedLosses::try_from(cells.to_vec()).unwrap();
        let test = test(policy);
        let said = judge(&test, Some(test.champion), Some(&losses), Timestamp(now));
        assert_eq!(said.as_ref().map(|(outcome, _)| outcome), expected);
        said.map(|(_, reasons)| reasons).unwrap_or_default()
    }

    #[test]
    fn a_verdict_names_the_winner_and_says_why() {
        // By (recent, old, champion) wrong: only 'recent' is right where the champion is not.
        let winner = ShadowOutcome::Winner(test(ShadowPolicy::default()).candidates[1].clone());
        let reasons = check([100, 0, 0, 60, 2, 0, 0, 5], 0, Some(&winner));
        assert!(reasons[0].contains("167 labelled requests"), "{reasons:?}");
        assert!(reasons[1].contains("'recent'") && reasons[2].contains("'old'"), "{reasons:?}");
        let none = [450, 4, 8, 0, 8, 0, 9, 20].map(|count| count * 5);
        check(none, 0, Some(&ShadowOutcome::NoneBetter));
    }

    #[test]
    fn without_a_verdict_it_ends_in_time() {
        let open = [100, 3, 1, 1, 1, 1, 1, 20];
        check(open, 0, None);
        assert!(check(open, 10_000, Some(&ShadowOutcome::Undecided))[0].contains("within 10 s"));
        let many = [400, 30, 12, 12, 12, 12, 12, 20];
        assert!(check(many, 0, Some(&ShadowOutcome::Undecided))[0].contains("510 labels"));
    }

    #[test]
    fn another_champion_ends_it() {
        let test = test(ShadowPolicy::default());
        for champion in [None, Some(Digest::of(b"other"))] {
            let (outcome, _) = judge(&test, champion, None, Timestamp(0)).unwrap();
            assert_eq!(outcome, ShadowOutcome::Superseded);
        }
        assert_eq!(judge(&test, Some(test.champion), None, Timestamp(0)), None);
    }

    #[test]
    fn counts_of_other_candidates_or_of_another_shape_count_nothing() {
        let mut counted = Counted { candidates: vec![CandidateCount::default(); 2], ..Counted::default() };
        let said = |losses: Vec<u64>| ShadowReport {
            run: RunId::new("run-1").unwrap(),
            mirrored: u64::MAX,
            dropped: 1,
            losses,
            candidates: Vec::new(),
        };
        counted.add(&said(vec![1; 4]));
        assert_eq!(counted.losses, None);
        counted.add(&said(vec![1; 8]));
        counted.add(&said(vec![2; 8]));
        assert_eq!(counted.losses.map(|losses| losses.labels()), Some(24));
        assert_eq!((counted.mirrored, counted.dropped), (u64::MAX, 3));
    }
}
