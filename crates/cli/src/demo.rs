//! `edgeward demo`: real processes, real requests, real decay, and the loop closing by itself.
//!
//! The demo starts a control plane and devices as processes of this very program, trains a first model, sends images at
//! a steady rate, lets new digits appear, and then only watches: noticing, retraining and rolling out are the system's.
//! What is measured and how is in [`pools`] and [`summary`]. [`oil`] is another story, of one impossible value, and [`speech`]
//! one of half a year in which accents arrive.

mod board;
mod fleet;
mod infer;
mod load;
mod observe;
mod oil;
mod plainly;
mod pools;
mod speech;
mod stage;
mod story;
mod summary;
mod traffic;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, thread};

use crate::supervisor::Supervisor;
use board::{Board, Mode, Stop};
use observe::Ears;
use pools::{DIGITS_CSV, Pools};
use stage::{Layout, ROBOTS};
use story::{Story, Told};
use summary::{Circumstances, Summary, summarise};
use traffic::Traffic;

use crate::args::{DemoArgs, StoryName};
use crate::command::audit;
use crate::output::{self, Explain, Failure, Outcome, Output, on_terminal};
use crate::process;

/// Devices of a story, unless a person says how many.
const ROBOTS_DEFAULT: u16 = 3;
const DESKS_DEFAULT: u16 = 1;
const SPEAKERS_DEFAULT: u16 = 2;
/// What a demo may write, with its logs.
const SPACE_BYTES_MIN: u64 = 64 << 20;

/// Tells the story and prints what was measured.
pub(crate) fn run(args: &DemoArgs, out: Output) -> Outcome {
    if args.no_drift && args.story != StoryName::Speech {
        return Err(
            Failure::usage("--no-drift belongs to the speech story").hint("edgeward demo speech --no-drift")
        );
    }
    let stop = Stop::default();
    watch_signals(&stop).explain("system", "watching for signals")?;
    let mut folder = Folder::open(args)?;
    check_space(folder.path())?;
    let verified = match args.story {
        StoryName::Robots => {
            let summary = folder.kept_on_failure(&stop, |dir| tell(args, out, dir, &stop))?;
            out.document(&summary, Summary::words)?;
            summary.ledger_verified
        }
        StoryName::Oil => {
            let devices = args.devices.unwrap_or(DESKS_DEFAULT);
            let summary = folder.kept_on_failure(&stop, |dir| oil::tell(dir, devices, &stop))?;
            out.document(&summary, oil::OilSummary::words)?;
            summary.ledger_verified
        }
        StoryName::Speech => {
            let devices = args.devices.unwrap_or(SPEAKERS_DEFAULT);
            let drift = if args.no_drift { speech::Drift::None } else { speech::Drift::Accents };
            let plot = speech::Plot { devices, drift, seed: args.seed };
            let told = |dir: &Path| speech::tell(dir, plot, &stop);
            let summary = folder.kept_on_failure(&stop, told)?;
            out.document(&summary, speech::SpeechSummary::words)?;
            summary.ledger_verified
        }
    };
    match verified {
        true => Ok(()),
        false => Err(Failure::new("ledger", "the ledger of the demo does not verify")),
    }
}

fn tell(args: &DemoArgs, out: Output, dir: &Path, stop: &Stop) -> Result<Summary, Failure> {
    let mode = if on_terminal() && !args.once && !out.is_json() { Mode::View } else { Mode::Plain };
    let pools = Arc::new(Pools::split(DIGITS_CSV).explain("demo", "splitting the digits")?);
    let layout = Layout::create(dir, ROBOTS, |data| pools.write_seed(data).map_err(std::io::Error::other))?;
    let devices = args.devices.unwrap_or(ROBOTS_DEFAULT);
    let board = Arc::new(Board::new(mode));
    board.say(format!("everything is in {}", layout.dir().display()));
    let heard = Arc::clone(&board);
    let mut supervisor =
        Supervisor::new(move |text| heard.say(text)).explain("system", "starting the supervisor")?;
    let story = Story {
        layout: &layout,
        board: &board,
        supervisor: &supervisor,
        traffic: &Arc::new(Traffic::new(usize::from(devices))),
        pools: &pools,
        ears: &Ears::default(),
        stop,
        rate: args.rate,
        devices: (1..=devices).map(|n| format!("robot-{n}")).collect(),
    };
    let told = match mode {
        Mode::Plain => plain(&story)?,
        Mode::View => viewed(&story)?,
    };
    let restarts = supervisor.restarts();
    supervisor.end();
    let ledger_verified = verify(&layout, &board);
    let circumstances = Circumstances {
        story: "robots".to_owned(),
        ledger_verified,
        restarts,
        retrains: told.retrains,
        false_alarms: told.false_alarms,
        seconds_total: board.elapsed().as_secs_f64(),
    };
    summarise(&told.log, &told.marks, circumstances)
        .ok_or_else(|| Failure::new("demo", "a phase of the story has no measured answer"))
}

/// The story as lines on stderr; it ends by itself.
fn plain(story: &Story<'_>) -> Result<Told, Failure> {
    let (client, observer) = story.open()?;
    let mut running = story.begin(&client, observer)?;
    let mut told = story.tell(&running)?;
    running.load.end();
    story.board.say("the story is over: stopping every process");
    told.log = story.traffic.log().clone();
    Ok(told)
}

/// The story beside the live view; requests flow until the person has seen enough.
fn viewed(story: &Story<'_>) -> Result<Told, Failure> {
    let (client, observer) = story.open()?;
    thread::scope(|scope| {
        let teller = scope.spawn(|| {
            let running = story.begin(&client, observer)?;
            let told = story.tell(&running)?;
            story.board.set_ending("the loop closed; requests keep flowing; q ends the demo".to_owned());
            while !story.stop.is_raised() {
                thread::sleep(view::FRAME);
            }
            drop(running);
            Ok(told)
        });
        let shown = view::show(story, || teller.is_finished());
        story.stop.raise();
        let told = teller.join().unwrap_or_else(|_| Err(Failure::new("demo", "the story broke off")));
        shown.explain("terminal", "drawing the live view")?;
        told
    })
}

fn verify(layout: &Layout, board: &Board) -> bool {
    match audit::verify(&layout.server()) {
        Ok(verified) => {
            board.say(format!("ledger: {}", audit::words(&verified)));
            true
        }
        Err(failure) => {
            board.say(format!("ledger: {}", failure.error));
            false
        }
    }
}

/// Raises `stop` at the first SIGINT or SIGTERM.
fn watch_signals(stop: &Stop) -> std::io::Result<()> {
    let stop = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(process::interrupted());
        stop.raise();
    })?;
    Ok(())
}

/// A full disk would end the story in the middle, in one of many ways.
fn check_space(dir: &Path) -> Outcome {
    let Ok(disk) = rustix::fs::statvfs(dir) else { return Ok(()) };
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free_bytes >= SPACE_BYTES_MIN {
        return Ok(());
    }
    let (free, needed) = (free_bytes >> 20, SPACE_BYTES_MIN >> 20);
    Err(Failure::new("disk_full", format!("{}: {free} MiB are free, the demo needs {needed}", dir.display()))
        .hint("name a folder on another disk with --data, or set TMPDIR"))
}

/// The demo's folder: temporary unless a person named one or asked to keep it.
struct Folder {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn open(args: &DemoArgs) -> Result<Self, Failure> {
        match &args.data {
            Some(path) => Self::named(path),
            None => {
                let dir = tempfile::Builder::new().prefix("edgeward-demo-").tempdir();
                let dir = dir.explain("folder", "making a temporary folder")?;
                let mut folder = Self { path: dir.path().to_owned(), temporary: Some(dir) };
                folder.keep_if(args.keep);
                Ok(folder)
            }
        }
    }

    /// A folder that a person named: it must be new or empty, and it stays.
    fn named(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path).explain("folder", format_args!("making {}", path.display()))?;
        let mut entries = fs::read_dir(path).explain("folder", format_args!("reading {}", path.display()))?;
        if entries.next().is_some() {
            return Err(Failure::usage(format!("--data {}: the folder is not empty", path.display()))
                .hint("name a new folder: every demo starts afresh"));
        }
        Ok(Self { path: path.to_owned(), temporary: None })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Does something in the folder, which stays if that fails other than by a stop.
    fn kept_on_failure<T>(
        &mut self,
        stop: &Stop,
        work: impl FnOnce(&Path) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result = work(&self.path);
        self.keep_if(result.is_err() && !stop.is_raised());
        result
    }

    fn keep_if(&mut self, keep: bool) {
        if let Some(dir) = self.temporary.take_if(|_| keep) {
            let kept = dir.keep();
            output::note(&format!("the demo's folder is kept: {}", kept.display()));
        }
    }
}
