//! What the processes of a group hold in memory, and on which processors they may run.
//!
//! Held is what is resident and not shared with a file: anonymous pages and shared memory of each process, added up. Pages
//! that a process and its fork still share count for each. Measuring costs a look at every process of the machine, so it
//! takes a pause of twenty times what it took.
//!
//! Deliberately missing: control groups. They would also count page cache, and need rights that a user seldom has.

use std::io;
use std::time::{Duration, Instant};

/// Least time between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Times that a look took until the next.
const PAUSES: u32 = 20;

/// Compares what a group holds with its limit.
#[derive(Debug)]
pub(super) struct Meter {
    group: Option<i32>,
    limit_mb: u64,
    next: Instant,
}

impl Meter {
    /// The processes of `group`.
    pub(super) fn of(group: Option<i32>, limit_mb: u64) -> Self {
        Self { group, limit_mb, next: Instant::now() }
    }

    /// What they hold, in MB, if it is over the limit and a look is due.
    ///
    /// # Errors
    /// This system does not tell.
    pub(super) fn over(&mut self) -> io::Result<Option<u64>> {
        let (Some(group), now) = (self.group, Instant::now()) else { return Ok(None) };
        if now < self.next {
            return Ok(None);
        }
        let held = held_bytes(group)? >> 20;
        self.next = now + (now.elapsed() * PAUSES).max(PAUSE_MIN);
        Ok((held > self.limit_mb).then_some(held))
    }
}

/// What the processes of a group hold together, in bytes.
#[cfg(target_os = "linux")]
fn held_bytes(group: i32) -> io::Result<u64> {
    let mut kilobytes = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // A process may end between two reads; then it holds nothing.
        let of_group = std::fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| {
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            rest.split_ascii_whitespace().nth(2).and_then(|text| text.parse().ok()) == Some(group)
        });
        if of_group {
            kilobytes += kilobytes_of(&entry.path()).unwrap_or_default();
        }
    }
    Ok(kilobytes << 10)
}

/// What of a process is resident and no file's.
#[cfg(target_os = "linux")]
fn kilobytes_of(process: &std::path::Path) -> Option<u64> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let kilobytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(kilobytes("RssAnon:")? + kilobytes("RssShmem:").unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn held_bytes(_: i32) -> io::Result<u64> {
    Err(unsupported())
}

/// The processors that this process may use.
///
/// # Errors
/// This system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn processors() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect())
}

/// Binds a process, and all it will start, to these processors.
///
/// # Errors
/// The system refuses.
#[cfg(target_os = "linux")]
pub(super) fn bind(pid: u32, processors: &[usize]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    Ok(rustix::thread::sched_setaffinity(rustix::process::Pid::from_raw(pid.cast_signed()), &set)?)
}

/// The processors that this process may use.
///
/// # Errors
/// Always: it is not asked here.
#[cfg(not(target_os = "linux"))]
pub(super) fn processors() -> io::Result<Vec<usize>> {
    Err(unsupported())
}

/// Binds a process to processors.
///
/// # Errors
/// Always: it is not done here.
#[cfg(not(target_os = "linux"))]
pub(super) fn bind(_: u32, _: &[usize]) -> io::Result<()> {
    Err(unsupported())
}

#[cfg(not(target_os = "linux"))]
fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "only Linux is asked for it")
}
