//! `edgeward demo speech`: voice-controlled devices over 26 weeks, in which ever more people speak with accents that the
//! model never heard.
//!
//! A device hears a word, makes log-mel features of it, and asks its keyword model. What was really said becomes known a week
//! later. The story only lets weeks pass: noticing, retraining and rolling out are the system's. A week is longer than a
//! training, so the next one begins when nothing is under way. Beside it the first model answers the same words, as if
//! nobody had ever retrained. With `--no-drift` nobody with another accent ever comes, and there should be nothing to do.

mod calendar;
mod logmel;
mod stream;
mod summary;
mod users;
mod words;

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use edgeward_api::Client;
use edgeward_core::event::RunOutcome;
use edgeward_core::{Dataset, Digest, ModelName};
use edgeward_model::{Bundle, RtenEngine};
use edgeward_pipeline::incumbent;
use edgeward_pipeline::workdir::WorkDir;
use stream::{Heard, Pool, Stream};
use summary::Seen;
use users::{Uploads, Users};

pub(crate) use stream::Drift;
pub(crate) use summary::SpeechSummary;

use super::board::{Stage, Stop};
use super::fleet::{DEPLOY_PATIENCE, Fleet};
use super::plainly::{Told, plainly};
use super::stage::{Layout, Project, SERVER};
use crate::output::{Explain, Failure};

const SPEECH: Project = Project {
    name: "speech",
    toml: include_str!("../../../../examples/speech/edgeward.toml"),
    data: "words.csv",
};
/// The model's name in that project.
const MODEL: &str = "keywords";
/// Words that the first model learns from.
const TAUGHT: usize = 1500;
/// Words of one week, over all devices. Of every [`CYCLE`] words the first [`CYCLE_MEASURES`] measure.
const WORDS_PER_WEEK: usize = 400;
const CYCLE: usize = 5;
const CYCLE_MEASURES: usize = 2;
const RETRAIN_PATIENCE: Duration = Duration::from_secs(180);
/// How long a week's labels may take to the control plane.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long the control plane is given, once a week's labels are there, to ask for a run.
const NIGHT: Duration = Duration::from_millis(750);
/// Between two looks at whether it did.
const LOOK: Duration = Duration::from_millis(25);

/// Which story is told.
#[derive(Clone, Copy)]
pub(crate) struct Plot {
    pub(crate) devices: u16,
    pub(crate) drift: Drift,
    /// What everything that is drawn follows from.
    pub(crate) seed: u64,
}

/// Tells the story in `dir`; its summary.
pub(crate) fn tell(dir: &Path, plot: Plot, stop: &Stop) -> Result<SpeechSummary, Failure> {
    let Plot { devices, drift, seed } = plot;
    let words = words::all().explain("demo", "reading the recordings")?;
    let mut stream = Stream::new(words, drift, seed).explain("demo", "sorting the recordings")?;
    let taught = (0..TAUGHT).map(|_| stream.next(0, Pool::Field)).collect::<Result<Vec<Heard>, _>>();
    let taught = taught.explain("demo", "recording the first words")?;
    let layout = Layout::create(dir, SPEECH, |data| write_rows(&taught, data))?;
    let devices: Vec<String> = (1..=devices).map(|n| format!("speaker-{n}")).collect();
    let model = ModelName::new(MODEL).explain("demo", "naming the model")?;
    let Told { seen, ledger_verified, took } =
        plainly(&layout, MODEL, &devices, stop, |fleet| Story { fleet, model }.tell(&mut stream))?;
    Ok(summary::summarise(&seen, devices.len(), drift, (ledger_verified, took)))
}

/// Writes words as a project's data.
fn write_rows(words: &[Heard], to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "{},word", logmel::names().join(","))?;
    for Heard { features, word, .. } in words {
        features.iter().try_for_each(|feature| write!(to, "{feature},"))?;
        writeln!(to, "{word}")?;
    }
    Ok(())
}

struct Story<'a> {
    fleet: Fleet<'a>,
    model: ModelName,
}

impl Story<'_> {
    fn tell(&self, stream: &mut Stream) -> Result<Seen, Failure> {
        let (client, _observer) = self.fleet.open()?;
        self.fleet.join(&client)?;
        let first = self.fleet.first_model(&client, "the first model learns ten words in one accent")?;
        let never_retrained = self.fetched(&client, &first)?;
        let classes = never_retrained.signature().explain("demo", "reading the first model's signature")?;
        let mut users = Users::new(&self.fleet.endpoints()?, MODEL, classes.classes().to_vec());
        let (mut uploads, mut seen) = (Uploads::default(), Seen::beginning_with(&first));
        self.fleet.board.enter(Stage::Serve, "26 weeks; what was said becomes known a week later");
        for week in 1..=calendar::WEEKS {
            uploads.handed_in += users.hand_in().map_err(|why| Failure::new("demo", why))?;
            let words = week_of(stream, week).explain("demo", "recording a week's words")?;
            let right = self.live_through(&words, &mut users)?;
            seen.weeks.push(summary::Week {
                measured: words.iter().filter(|heard| heard.pool == Pool::Measure).count(),
                right,
                right_static: right_of(&never_retrained, &words)?,
            });
            self.arrived(&client, &mut uploads)?;
            self.board_week(week, &seen);
            self.settle(week, &mut seen)?;
        }
        seen.alerts = self.fleet.ears.heard().alerts.len();
        (seen.requests, seen.failed, seen.problems) = users.counts();
        Ok(seen)
    }

    /// How many of the words that measure the devices recognised.
    fn live_through(&self, words: &[Heard], users: &mut Users) -> Result<usize, Failure> {
        let mut right = 0;
        for heard in words {
            if self.fleet.stop.is_raised() {
                return Err(Failure::new("interrupted", "the demo was stopped before its story ended"));
            }
            let said = users.say(heard);
            right += usize::from(heard.pool == Pool::Measure && said.as_ref() == Some(&heard.word));
        }
        Ok(right)
    }

    /// The bundle of the first model as the control plane hands it out, to answer beside the devices.
    fn fetched(&self, client: &Client, bundle: &str) -> Result<Bundle, Failure> {
        let doing = "fetching the first model";
        let digest = Digest::from_hex(bundle).explain("demo", doing)?;
        let work = WorkDir::open(&self.fleet.layout.dir().join("static"), || ()).explain("demo", doing)?;
        incumbent::obtain(client, &work, &digest, &[&RtenEngine::new()]).explain("demo", doing)
    }

    /// Waits until the control plane has every label that was handed in, free or held back.
    fn arrived(&self, client: &Client, uploads: &mut Uploads) -> Result<(), Failure> {
        self.fleet.until("the labels did not reach the control plane", UPLOAD_PATIENCE, SERVER, || {
            let held = client.quarantine(&self.model).ok()?.held.len();
            let Some((after, limit)) = uploads.outstanding(held) else { return Some(()) };
            let page = client.labelled_samples(&self.model, after, limit).ok()?;
            uploads.came(page.samples.len(), page.next);
            uploads.outstanding(held).is_none().then_some(())
        })
    }

    /// Lets whatever the system begins of itself come to its end.
    fn settle(&self, week: u32, seen: &mut Seen) -> Result<(), Failure> {
        let asked = |seen: &Seen| self.fleet.ears.heard().runs.len() > seen.retrains.len() + 1;
        let night = Instant::now() + NIGHT;
        while !asked(seen) && Instant::now() < night {
            thread::sleep(LOOK);
        }
        while asked(seen) {
            let at = seen.retrains.len() + 1;
            let outcome = self.run_ended(at)?;
            seen.retrains.push(summary::Retrain { week, cause: outcome.0 });
            match outcome.1 {
                RunOutcome::Passed { bundle } => {
                    self.rolled_out(&bundle.hex())?;
                    seen.serving = bundle.hex();
                }
                other => self.fleet.board.say(format!("week {week}: no new model: {other:?}")),
            }
        }
        Ok(())
    }

    fn run_ended(&self, at: usize) -> Result<(String, RunOutcome), Failure> {
        self.fleet.until("the retraining did not end", RETRAIN_PATIENCE, SERVER, || {
            let heard = self.fleet.ears.heard();
            let run = heard.runs.get(at)?;
            Some((run.cause.clone(), run.outcome.clone()?))
        })
    }

    fn rolled_out(&self, bundle: &str) -> Result<(), Failure> {
        self.fleet.until("the retrained model did not reach every device", DEPLOY_PATIENCE, SERVER, || {
            let heard = self.fleet.ears.heard();
            let everywhere = self.fleet.one_bundle(&heard).is_some_and(|active| active == bundle);
            (everywhere && heard.is_rolled_out(bundle)).then_some(())
        })
    }

    fn board_week(&self, week: u32, seen: &Seen) {
        let Some(last) = seen.weeks.last() else { return };
        let new = match calendar::arrived(week).is_empty() {
            true => "only the accent that the model learned".to_owned(),
            false => format!("{:.0}% in other accents", calendar::new_share(week) * 100.0),
        };
        self.fleet.board.say(format!(
            "week {week:2}: {new}; recognised {:.0}%, by the first model {:.0}%",
            last.accuracy() * 100.0,
            last.accuracy_static() * 100.0
        ));
    }
}

/// The words of one week, those that measure among the others.
fn week_of(stream: &mut Stream, week: u32) -> Result<Vec<Heard>, stream::StreamError> {
    let pool = |at| if at % CYCLE < CYCLE_MEASURES { Pool::Measure } else { Pool::Field };
    (0..WORDS_PER_WEEK).map(|at| stream.next(week, pool(at))).collect()
}

/// How many of the words that measure a model recognises.
fn right_of(model: &Bundle, words: &[Heard]) -> Result<usize, Failure> {
    let doing = "asking the first model";
    let mut rows = Dataset::with_columns(logmel::names());
    for heard in words.iter().filter(|heard| heard.pool == Pool::Measure) {
        rows.push(&heard.features, heard.word.clone()).explain("demo", doing)?;
    }
    let said = incumbent::predict(model, &[&RtenEngine::new()], &rows).explain("demo", doing)?;
    Ok(said.iter().zip(&rows.labels).filter(|(said, word)| said.label.as_ref() == Some(word)).count())
}
