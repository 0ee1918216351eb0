//! What the demo shows: the stage of the loop, and what happened, in words. Plain mode prints each line as it comes.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most lines kept.
const LINES_MAX: usize = 500;

/// The stages of the loop, in the order they are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Start,
    Train,
    Deploy,
    Serve,
    Decay,
    Alert,
    Retrain,
    Rollout,
    Recovered,
}

impl Stage {
    pub(crate) const ALL: [Self; 9] = [
        Self::Start,
        Self::Train,
        Self::Deploy,
        Self::Serve,
        Self::Decay,
        Self::Alert,
        Self::Retrain,
        Self::Rollout,
        Self::Recovered,
    ];

    /// One or two words.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Train => "train",
            Self::Deploy => "deploy",
            Self::Serve => "serve",
            Self::Decay => "decay",
            Self::Alert => "alert",
            Self::Retrain => "retrain",
            Self::Rollout => "roll out",
            Self::Recovered => "recovered",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Duration,
    pub(crate) text: String,
}

/// What is shown now.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) stage: Stage,
    pub(crate) lines: VecDeque<Line>,
    pub(crate) dashboard: String,
    /// The last word, once the story is over.
    pub(crate) ending: Option<String>,
}

/// How lines reach people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As lines on stderr.
    Plain,
    /// Through the live view.
    View,
}

/// Shared by everything in the demo.
pub(crate) struct Board {
    started: Instant,
    mode: Mode,
    shown: Mutex<Shown>,
}

impl Board {
    pub(crate) fn new(mode: Mode) -> Self {
        let shown =
            Shown { stage: Stage::Start, lines: VecDeque::new(), dashboard: String::new(), ending: None };
        Self { started: Instant::now(), mode, shown: Mutex::new(shown) }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells something.
    pub(crate) fn say(&self, text: impl Into<String>) {
        let line = Line { at: self.elapsed(), text: text.into() };
        if self.mode == Mode::Plain {
            let _ = writeln!(io::stderr(), "[{:6.1} s] {}", line.at.as_secs_f64(), line.text);
        }
        let mut shown = self.lock();
        if shown.lines.len() >= LINES_MAX {
            shown.lines.pop_front();
        }
        shown.lines.push_back(line);
    }

    /// Lights a stage and tells what it is about.
    pub(crate) fn enter(&self, stage: Stage, text: impl Into<String>) {
        self.lock().stage = stage;
        self.say(format!("== {}: {}", stage.title(), text.into()));
    }

    pub(crate) fn set_dashboard(&self, address: &str) {
        address.clone_into(&mut self.lock().dashboard);
        self.say(format!("dashboard: {address}"));
    }

    pub(crate) fn set_ending(&self, text: String) {
        self.lock().ending = Some(text);
    }

    pub(crate) fn shown(&self) -> Shown {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Raised when the demo should end: by a signal, or by a key in the live view.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lines_make_room() {
        let board = Board::new(Mode::View);
        (0..=LINES_MAX).for_each(|n| board.say(n.to_string()));
        let shown = board.shown();
        assert_eq!(shown.lines.len(), LINES_MAX);
        assert_eq!(shown.lines[0].text, "1");
    }

    #[test]
    fn stages_are_in_the_order_of_the_loop() {
        assert!(Stage::ALL.is_sorted());
    }
}
