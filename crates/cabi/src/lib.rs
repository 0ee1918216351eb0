//! The sdk behind a C interface: `libedgeward.so`, `libedgeward.a` and `include/edgeward.h`.
//!
//! - An [`EdgewardModel`](model::EdgewardModel) is a place that an app asks: a bundle that was opened, or one that follows
//!   what the agent activates. A [`EdgewardSession`](session::EdgewardSession) pins the model that serves now; an
//!   [`EdgewardAnswer`](answer::EdgewardAnswer) is what it said.
//! - Every call that can fail gives an [`EdgewardStatus`](status::EdgewardStatus); the words are in
//!   [`edgeward_last_error`](status::edgeward_last_error), of this thread.
//! - Null pointers, texts that are not UTF-8 and numbers out of range are refused. A panic ends at the boundary and is a
//!   status like any other. What cannot be checked (a pointer to freed memory, a length that is not true) is in the header.
//! - The header is made from this crate; a test fails when the two differ.
//!
//! Deliberately missing: anything the sdk does not do.

#![expect(unsafe_code, reason = "C callers hand over pointers")]
#![deny(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]

pub mod answer;
pub mod follow;
pub mod model;
pub mod pointer;
pub mod session;
pub mod status;
pub mod tensor;

/// Version of this interface: it rises when a program that was compiled with an earlier header would break.
pub const EDGEWARD_ABI_VERSION: u32 = 1;

/// The version of the interface that this library has. Compare it with `EDGEWARD_ABI_VERSION` before anything else.
#[unsafe(no_mangle)]
pub extern "C" fn edgeward_abi_version() -> u32 {
    EDGEWARD_ABI_VERSION
}
