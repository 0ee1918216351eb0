//! A model that follows what the agent activates: loaded beside, verified, swapped between two requests.
//!
//! Every activation is treated alike: each byte of the bundle is checked against its digest, the form that the agent
//! found fastest here is loaded, its golden test is run in this process, and only then does the next request go to it. A
//! bundle that fails any of this is reported to the agent, which takes it back, while the app goes on with the model it has.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use edgeward_model::{Bundle, Engines, LoadOptions};

use crate::active::ActiveError;
use crate::cause::chain;
use crate::follow::{Activation, Follower, LOOK, Pause};
use crate::handle::ModelHandle;
use crate::handover::HandingOver;
use crate::loaded::{LoadError, Loaded};
use crate::memory;
use crate::taken::{Taken, load_first};

/// Told of every swap, on the follower's thread, with what took over.
pub type OnSwap = Box<dyn FnMut(&Activation, &Arc<Loaded>) + Send>;

/// How to follow.
pub struct WatchOptions {
    /// What runs models in this app.
    pub engines: Arc<Engines>,
    /// How they are loaded.
    pub load: LoadOptions,
    /// How often to look without being told.
    pub look: Duration,
    /// Told of every swap.
    pub on_swap: Option<OnSwap>,
}

impl Default for WatchOptions {
    /// The embedded engine on one thread, a look each second.
    fn default() -> Self {
        Self {
            engines: Arc::new(Engines::embedded()),
            load: LoadOptions::with_threads(1),
            look: LOOK,
            on_swap: None,
        }
    }
}

/// A model that is kept as the agent has it; dropping it ends the following, not the requests under way.
pub struct Watch {
    shared: Arc<Shared>,
    follower: Follower,
    /// Hands what the app counts to the agent, as long as the app follows.
    _handing_over: HandingOver,
}

#[derive(Default)]
struct Shared {
    handle: ModelHandle,
    swaps: Mutex<u64>,
    swapped: Condvar,
    /// What served before, as long as a request may still run on it.
    before: Mutex<Weak<Loaded>>,
}

impl Watch {
    /// Follows the model in `folder` (see [`crate::model_folder`]); what is active now serves when this returns.
    ///
    /// # Errors
    /// The folder cannot be followed. A bundle that does not load is told to the agent and is no error here.
    pub fn start(folder: &Path, options: WatchOptions) -> Result<Self, ActiveError> {
        let shared = Arc::new(Shared::default());
        let WatchOptions { engines, load, look, mut on_swap } = options;
        let wrap = |source| ActiveError { doing: "following", path: folder.to_owned(), source };
        let handing_over = HandingOver::start(folder).map_err(wrap)?;
        let counts = handing_over.taking_over();
        let serves = Arc::clone(&shared);
        let take_over = move |activation: &Activation| {
            let loaded = load_active(activation, &engines, &load).map_err(|error| chain(&error))?;
            let loaded = Arc::new(loaded);
            counts(&loaded);
            serves.publish(Arc::clone(&loaded));
            if let Some(on_swap) = &mut on_swap {
                on_swap(activation, &loaded);
            }
            memory::give_back();
            Ok(())
        };
        let leaves = Arc::clone(&shared);
        let follower =
            Follower::start_with(folder, look, Box::new(take_over), Box::new(move || leaves.let_go()))?;
        Ok(Self { shared, follower, _handing_over: handing_over })
    }

    /// Where the app asks.
    #[must_use]
    pub fn handle(&self) -> &ModelHandle {
        &self.shared.handle
    }

    /// How often a model took over, the first included.
    #[must_use]
    pub fn swaps(&self) -> u64 {
        *self.shared.swaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a model serves; false if none does after `timeout`.
    #[must_use]
    pub fn wait_until_serving(&self, timeout: Duration) -> bool {
        let swaps = self.shared.swaps.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.swapped.wait_timeout_while(swaps, timeout, |swaps| *swaps == 0);
        let (swaps, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *swaps > 0
    }

    /// Asks the agent to activate nothing until the pause is dropped or `timeout` has passed.
    ///
    /// # Errors
    /// The app's folder cannot be written.
    pub fn pause(&self, timeout: Duration) -> Result<Pause, ActiveError> {
        self.follower.pause(timeout)
    }
}

impl Shared {
    fn publish(&self, model: Arc<Loaded>) {
        let before = self.handle.publish(model).before;
        let left = before.as_ref().map_or_else(Weak::new, Arc::downgrade);
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = left;
        drop(before);
        *self.swaps.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.swapped.notify_all();
    }

    /// Gives the memory back of what the last request under way dropped after the swap; false while one still runs.
    fn let_go(&self) -> bool {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_gone = before.strong_count() == 0;
        if is_gone {
            memory::give_back();
        }
        is_gone
    }
}

/// The active bundle, verified, loaded as the agent would load it, and tested in this process.
///
/// # Errors
/// Its bytes are not those of its digest, no form loads here, or the golden test fails.
pub fn load_active(
    activation: &Activation,
    engines: &Engines,
    options: &LoadOptions,
) -> Result<Loaded, LoadError> {
    // The agent fetched only the forms this device can run: what is there must be right.
    let bundle = Bundle::verify_subset(&activation.folder, &activation.active.bundle, |_| false)?;
    let taken = Taken::read(&activation.derived, bundle.digest());
    let loaded = taken.and_then(|taken| taken.load(&bundle, &activation.derived, engines, options).ok());
    match loaded {
        Some(loaded) => {
            loaded.check_golden(&bundle)?;
            Ok(loaded)
        }
        None => load_first(&bundle, engines, options),
    }
}

#[cfg(test)]
mod tests;
