//! What apps embed: load a model, ask it, swap it between two requests, watch it.
//!
//! - [`Loaded`] is one bundle (or bare model file), ready to answer, with the [`Recorder`] that watches it.
//! - [`ModelHandle`] is the place an app asks. A newer model is [`publish`](ModelHandle::publish)ed between requests: a
//!   request answers from the model it began with, and a model is dropped when its last request has left.
//! - [`Watch`] keeps a handle as the agent on this device has it: loads beside, verifies, swaps. [`Follower`] is the same for
//!   apps with a runtime of their own: a path and a callback. Either may ask for a [`Pause`].
//! - [`use_few_heaps`], called first in `main`, and [`give_back_memory`], called when a model was dropped, keep memory at what
//!   the model takes; [`Watch`] does the second by itself.
//! - Where the bundle has records of predictions kept, those of an app that follows an agent reach it by themselves
//!   ([`HandedRecords`]).
//! - [`Prediction`] is an answer with its id, the bundle that gave it, and the alarms it raised.
//!
//! Everything is synchronous and may be called from any thread. Deliberately missing: fetching models and deciding which
//! one is to serve (the agent does), and an async runtime.

mod active;
mod cause;
mod follow;
mod handle;
mod handover;
mod keepsake;
mod kept;
mod labelled;
mod loaded;
mod memory;
mod notice;
mod outbox;
mod prediction;
mod priority;
mod reading;
mod recorder;
mod state;
mod suspicion;
pub mod taken;
mod watch;

pub use active::{
    ACTIVE_FILE, ACTIVE_SCHEMA, APP_FOLDER, Active, ActiveError, CURRENT_LINK, HOLD_MAX, Hold, Serving,
};
pub use cause::chain;
pub use follow::{Activation, Follower, LOOK, OnActivation, Pause, model_folder};
pub use handle::{InferError, ModelHandle, Swap};
pub use handover::{HandedSample, Handover};
pub use keepsake::{Keepsake, alert_kind, record_of};
pub use kept::{Kept, LabelledInput};
pub use labelled::Labelled;
pub use loaded::{LoadError, Loaded};
pub use memory::{give_back as give_back_memory, let_go_of_code, use_few_heaps};
pub use outbox::{HandedRecord, HandedRecords};
pub use prediction::{Prediction, Table, predicted_text};
pub use priority::{LOADING, step_back};
pub use recorder::{Recorder, Window};
pub use watch::{OnSwap, Watch, WatchOptions, load_active};
