//! Several servers on one database: who leads, and what the others are told.
//!
//! Requests are answered by every server. Reconcilers run on the one that leads; a lock of the database says which, and
//! when that server or its connection is gone, the next one has it within a second or two. Safety does not rest on that: a
//! decision is taken in the transaction that reads what it rests on, so a server that does not know yet that it lost the
//! lead does nothing twice. What one server commits it announces, so that the others look at once; they look every
//! [`LOOK`] in any case, so a lost announcement costs no more than that.

use std::sync::Arc;
use std::time::Duration;

use edgeward_store::{Heard, Seat};

use crate::app::{App, Stopped};
use crate::failure::chain;
use crate::reconcile::ReconcileError;
use crate::records::day_of;

/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Wait before a database that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What one server tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Something changed: the leader looks when it has rested.
    Changed,
    /// A person asked for something: the leader looks now.
    Hurry,
    /// A project's repository has a new commit, somebody says.
    Source(String),
}

impl News {
    /// As it is announced by the server `origin`.
    pub(crate) fn said_by(&self, origin: &str) -> String {
        match self {
            Self::Changed => format!("{origin} changed"),
            Self::Hurry => format!("{origin} hurry"),
            Self::Source(project) => format!("{origin} source {project}"),
        }
    }

    /// What another server than `origin` announced; none of one's own, and none that a later version says.
    fn heard(said: &str, origin: &str) -> Option<Self> {
        let (who, what) = said.split_once(' ')?;
        if who == origin {
            return None;
        }
        match what.split_once(' ') {
            Some(("source", project)) => Some(Self::Source(project.to_owned())),
            None if what == "changed" => Some(Self::Changed),
            None if what == "hurry" => Some(Self::Hurry),
            _ => None,
        }
    }
}

/// Takes part, on a thread of its own, until the server ends; nothing where the server is alone.
pub(crate) fn take_part(app: &Arc<App>) {
    let Some(mut seat) = app.store.seat() else { return };
    let app = Arc::clone(app);
    std::thread::spawn(move || {
        let mut trouble = None;
        while !*app.closing.borrow() {
            look(&app, &mut seat, &mut trouble);
        }
    });
}

fn look(app: &App, seat: &mut Seat, trouble: &mut Option<String>) {
    let looked = seat.wait(LOOK).map_err(ReconcileError::from).and_then(|heard| {
        catch_up(app)?;
        Ok(heard)
    });
    match looked {
        Ok(heard) => {
            if trouble.take().is_some() {
                tracing::info!("the database answers again");
            }
            lead(app, heard.leads);
            pass_on(app, &heard);
        }
        Err(error) => {
            seat.leave();
            lead(app, false);
            let said = chain(&error);
            if trouble.as_ref() != Some(&said) {
                tracing::error!("this server takes no part for now: {said}");
                *trouble = Some(said);
            }
            std::thread::sleep(RETRY);
        }
    }
}

/// Shows what others did to whoever listens here.
fn catch_up(app: &App) -> Result<(), ReconcileError> {
    app.repository.follow()?;
    app.vault.forget(day_of(app.now(), 0) - 1);
    app.saw_generation();
    app.saw_length(app.store.head()?.len);
    Ok(())
}

fn lead(app: &App, leads: bool) {
    let changed = app.lead.send_if_modified(|known| std::mem::replace(known, leads) != leads);
    match (changed, leads) {
        (true, true) => tracing::info!("this server leads now"),
        (true, false) => tracing::warn!("this server does not lead any more"),
        (false, _) => {}
    }
}

fn pass_on(app: &App, heard: &Heard) {
    if !heard.leads {
        return;
    }
    if heard.is_new {
        app.wake.notify_one();
    }
    for news in heard.news.iter().filter_map(|said| News::heard(said, &app.origin)) {
        match news {
            News::Changed => app.wake.notify_one(),
            News::Hurry => app.hurry.notify_one(),
            News::Source(project) => {
                if let Ok(project) = edgeward_core::ProjectName::new(project) {
                    app.sources.blocking_lock().ask(&project);
                    app.wake.notify_one();
                }
            }
        }
    }
}

/// Waits until this server leads.
pub(crate) async fn leading(app: &App) -> Result<(), Stopped> {
    app.lead.subscribe().wait_for(|leads| *leads).await.map(|_| ()).map_err(|_| Stopped)
}

/// Waits until this server does not lead any more.
pub(crate) async fn deposed(app: &App) {
    // A sender that is gone says the same.
    let _ = app.lead.subscribe().wait_for(|leads| !*leads).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_heard_by_the_others_only() {
        for news in [News::Changed, News::Hurry, News::Source("sorting".to_owned())] {
            let said = news.said_by("a1");
            assert_eq!(News::heard(&said, "b2"), Some(news));
            assert_eq!(News::heard(&said, "a1"), None);
        }
        for said in ["", "b2", "b2 later", "b2 later thing"] {
            assert_eq!(News::heard(said, "a1"), None, "{said}");
        }
    }
}
