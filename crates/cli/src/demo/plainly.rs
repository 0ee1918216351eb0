//! Telling a story line by line, without a live view: the processes begin, the story lives, and its ledger is verified.

use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Mode, Stop};
use super::fleet::Fleet;
use super::observe::Ears;
use super::stage::Layout;
use crate::command::audit;
use crate::output::{Explain, Failure};
use crate::supervisor::Supervisor;

/// A story that came to its end.
pub(super) struct Told<T> {
    /// What came of it.
    pub(super) seen: T,
    pub(super) ledger_verified: bool,
    pub(super) took: Duration,
}

/// Tells a story about `model` on these devices; everything is in `layout`.
pub(super) fn plainly<T>(
    layout: &Layout,
    model: &str,
    devices: &[String],
    stop: &Stop,
    tell: impl FnOnce(Fleet<'_>) -> Result<T, Failure>,
) -> Result<Told<T>, Failure> {
    let board = Arc::new(Board::new(Mode::Plain));
    board.say(format!("everything is in {}", layout.dir().display()));
    let heard = Arc::clone(&board);
    let mut supervisor =
        Supervisor::new(move |text| heard.say(text)).explain("system", "starting the supervisor")?;
    let seen = tell(Fleet {
        layout,
        board: &board,
        supervisor: &supervisor,
        ears: &Ears::default(),
        stop,
        devices,
        model,
        traffic: None,
    })?;
    supervisor.end();
    let verified = audit::verify(&layout.server());
    board.say(match &verified {
        Ok(verified) => format!("ledger: {}", audit::words(verified)),
        Err(failure) => format!("ledger: {}", failure.error),
    });
    Ok(Told { seen, ledger_verified: verified.is_ok(), took: board.elapsed() })
}
