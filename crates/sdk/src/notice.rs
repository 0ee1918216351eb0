//! Being told that a file in a folder was replaced. Only a hint: whoever waits looks for himself afterwards.

use std::io;
use std::path::Path;
use std::time::Duration;

#[cfg(target_os = "linux")]
pub(crate) use linux::Notice;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::Notice;

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    use super::{Duration, Path, io};

    /// Bytes of events that are read at once; what does not fit is read the next time.
    const EVENTS_BYTES: usize = 4096;

    /// inotify on a folder, and a way to wake whoever waits.
    pub(crate) struct Notice {
        events: OwnedFd,
        bell: OwnedFd,
    }

    impl Notice {
        pub(crate) fn on(folder: &Path) -> io::Result<Self> {
            let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            inotify::add_watch(&events, folder, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR)?;
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self { events, bell })
        }

        /// Waits for news, a bell, or `longest`.
        pub(crate) fn wait(&self, longest: Duration) {
            let mut waits =
                [PollFd::new(&self.events, PollFlags::IN), PollFd::new(&self.bell, PollFlags::IN)];
            let longest = Timespec::try_from(longest).ok();
            // An interrupted wait is a short one.
            let _ = poll(&mut waits, longest.as_ref());
            let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
            let mut events = inotify::Reader::new(&self.events, &mut buffer);
            while events.next().is_ok() {}
        }

        /// Ends a wait.
        pub(crate) fn wake(&self) {
            // A bell that cannot be rung leaves the waiter to its longest wait.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::sync::{Condvar, Mutex, PoisonError};

    use super::{Duration, Path, io};

    /// Looks often instead of being told.
    const STEP: Duration = Duration::from_millis(100);

    pub(crate) struct Notice {
        rung: Mutex<bool>,
        bell: Condvar,
    }

    impl Notice {
        pub(crate) fn on(_folder: &Path) -> io::Result<Self> {
            Ok(Self { rung: Mutex::new(false), bell: Condvar::new() })
        }

        pub(crate) fn wait(&self, longest: Duration) {
            let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = self.bell.wait_timeout_while(rung, longest.min(STEP), |rung| !*rung);
        }

        pub(crate) fn wake(&self) {
            *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.bell.notify_all();
        }
    }
}
