//! What apps embed: load a model, ask it, swap it between two requests, watch it.
//!
//! - [`Loaded`] is one bundle (or bare model file), ready to answer, with the [`Recorder`] that watches it.
//! - [`ModelHandle`] is the place an app asks. A newer model is [`publish`](ModelHandle::publish)ed between requests: a
//!   request answers from the model it began with, and a model is dropped when its last request has left.
//! - [`give_back_memory`] hands a dropped model's memory back to the system; call it some time after a swap.
//! - [`Prediction`] is an answer with its id, the bundle that gave it, and the alarms it raised.
//!
//! Everything is synchronous and may be called from any thread. Deliberately missing: fetching and verifying models
//! (the agent does), following a model that changes on disk, and an async runtime.

mod handle;
mod labelled;
mod loaded;
mod memory;
mod prediction;
mod recorder;
mod state;
mod suspicion;

pub use handle::{InferError, ModelHandle, Swap};
pub use labelled::Labelled;
pub use loaded::{LoadError, Loaded};
pub use memory::give_back as give_back_memory;
pub use prediction::{Prediction, Table};
pub use recorder::{Recorder, Window};
