//! For apps that load models with a runtime of their own: told of every activation, with the folder to load from.

use std::ffi::{CString, c_char, c_int, c_void};

use edgeward_sdk::{Activation, Follower, LOOK};

use crate::model::followed;
use crate::pointer::{free, hand_over, put};
use crate::status::{EdgewardStatus, Failure, c_text, call};

/// Follows what the agent activates.
pub struct EdgewardFollower {
    /// Ends the following when it is dropped.
    _follower: Follower,
}

/// A new activation. The texts stand until the callback returns.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EdgewardActivation {
    /// The bundle's folder, which holds `model.onnx` and the like.
    pub folder: *const c_char,
    /// The bundle's digest, 64 hexadecimal digits.
    pub digest: *const c_char,
    /// Rises with every activation on this device, going back to an earlier bundle included.
    pub sequence: u64,
}

/// Told of an activation, on a thread of the library's. It returns 0 once the app serves it; anything else tells the agent
/// that the app cannot, and the agent takes the bundle back.
pub type EdgewardOnActivation =
    Option<unsafe extern "C" fn(context: *mut c_void, activation: *const EdgewardActivation) -> c_int>;

/// The callback and what it was given, for the follower's thread.
struct Callback {
    function: unsafe extern "C" fn(*mut c_void, *const EdgewardActivation) -> c_int,
    context: *mut c_void,
}

// SAFETY: the pointer is only handed on; the header says that the callback runs on another thread.
unsafe impl Send for Callback {}

impl Callback {
    fn tell(&self, activation: &Activation) -> Result<(), String> {
        let folder = path_text(activation)?;
        let digest = c_text(&activation.active.bundle.hex());
        let told = EdgewardActivation {
            folder: folder.as_ptr(),
            digest: digest.as_ptr(),
            sequence: activation.active.sequence,
        };
        // SAFETY: the caller of `edgeward_follower_start` promised a function that may be called with its context.
        match unsafe { (self.function)(self.context, &raw const told) } {
            0 => Ok(()),
            code => Err(format!("the app refused it with code {code}")),
        }
    }
}

fn path_text(activation: &Activation) -> Result<CString, String> {
    let text = activation.folder.to_str().ok_or("the bundle's folder is not UTF-8")?;
    Ok(c_text(text))
}

/// Follows the model `name` of the agent whose data folder is `agent_data`, for an app that loads models by itself. If
/// something is active now, `on_activation` is called with it before this returns; later on a thread of the library's, one
/// call after the other. It may take its time: the agent waits for the answer.
///
/// `*follower` is freed with `edgeward_follower_free`; it is null if the call fails.
///
/// # Safety
/// The texts are null or end with a zero; `on_activation` may be called with `context`, from another thread, until the
/// follower is freed; `follower` is null or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_follower_start(
    agent_data: *const c_char,
    name: *const c_char,
    on_activation: EdgewardOnActivation,
    context: *mut c_void,
    follower: *mut *mut EdgewardFollower,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(follower, std::ptr::null_mut(), "the place for the follower") }?;
        // SAFETY: the caller's promise is this function's own.
        let folder = unsafe { followed(agent_data, name) }?;
        let function = on_activation.ok_or_else(|| Failure::argument("the callback is null"))?;
        let callback = Callback { function, context };
        let tell = move |activation: &Activation| callback.tell(activation);
        let started = Follower::start(&folder, LOOK, Box::new(tell));
        let started = started.map_err(|error| Failure::of(EdgewardStatus::FilesFailed, &error))?;
        let started = EdgewardFollower { _follower: started };
        // SAFETY: the caller's promise is this function's own.
        unsafe { hand_over(follower, started, "the place for the follower") }
    })
}

/// Ends the following; when it returns, the callback is not called any more. Do not call it from the callback. Null is
/// nothing.
///
/// # Safety
/// `follower` is null or was given by this library, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_follower_free(follower: *mut EdgewardFollower) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { free(follower) }
}
