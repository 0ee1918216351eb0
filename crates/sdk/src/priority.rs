//! Lets work step back: loading and testing a model must not slow down the requests that are being answered meanwhile.
//!
//! Two things are asked of Linux. A niceness gives the thread less than others get where all want a processor. That alone does
//! not shorten a request's wait: a thread that runs keeps its processor until its slice is over, milliseconds in which a request
//! that has just arrived stands still. A thread with a *longer* slice than others is interrupted by them at once (since
//! Linux 6.12; older ones take no notice), so a long one is asked for. `SCHED_IDLE` would do a little better, and starve a load
//! on a busy device, with no way back without privileges. No kept library offers `sched_setattr` in safe form, so it stands here,
//! alone.

/// How unimportant it is to load and test a model, on the scale of `nice`: a tenth of a busy processor.
pub const LOADING: i32 = 10;
/// The longest slice that Linux gives, in nanoseconds.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000_000;

/// Lets the calling thread's work step back for as long as it lives, by this much on the scale of `nice`.
///
/// What it has an engine compute is computed by threads that step back, too; see
/// [`work_in_background`](edgeward_model::engine::work_in_background).
pub fn step_back(niceness: i32) {
    edgeward_model::engine::work_in_background();
    #[cfg(target_os = "linux")]
    ask(niceness);
}

#[cfg(target_os = "linux")]
fn ask(niceness: i32) {
    let wanted = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER.cast_unsigned(),
        sched_flags: 0,
        sched_nice: niceness,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // Refused only where priorities are not for this user to lower; then it works at the usual one.
    #[expect(unsafe_code, reason = "the system's call has no safe form")]
    // SAFETY: the call reads `wanted`, whose size it is told, and changes nothing but the calling thread's scheduling.
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_calling_thread_steps_back_and_no_other() {
        let niceness = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = niceness();
        let lowered = std::thread::scope(|scope| {
            let lowered = scope.spawn(|| {
                step_back(LOADING);
                niceness()
            });
            lowered.join().unwrap()
        });
        assert_eq!((lowered, niceness()), (LOADING.max(before), before));
    }
}
