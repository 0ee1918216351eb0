//! What the process itself takes, under the names that every Prometheus client library gives it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Family;

/// Ticks of a second in `/proc`: the kernel's interface has it fixed.
const TICKS_PER_SECOND: f64 = 100.0;

/// `process_*` of this process, as far as the system tells: Linux does.
#[must_use]
pub fn process() -> Vec<Family> {
    let one =
        |name, help, value: Option<f64>| value.map(|value| Family::gauge(name, help).with(Vec::new(), value));
    let (cpu, start) = stat().unzip();
    let cpu = cpu.map(|seconds| {
        let help = "Total user and system CPU time spent in seconds.";
        Family::counter("process_cpu_seconds_total", help).with(Vec::new(), seconds)
    });
    [
        cpu,
        one("process_resident_memory_bytes", "Resident memory size in bytes.", resident()),
        one("process_open_fds", "Number of open file descriptors.", open_files()),
        one("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", start),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Seconds of CPU, and when the process began.
fn stat() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let field = |at: usize| rest.split(' ').nth(at)?.parse::<f64>().ok();
    let cpu = (field(11)? + field(12)?) / TICKS_PER_SECOND;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    let age = uptime - field(19)? / TICKS_PER_SECOND;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some((cpu, now - age))
}

fn resident() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

fn open_files() -> Option<f64> {
    // The listing itself is one.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::metrics::Value;

    #[test]
    fn linux_tells_everything() {
        let families = process();
        let value =
            |name: &str| match families.iter().find(|family| family.name == name).unwrap().points[0].value {
                Value::Number(value) => value,
                Value::Histogram(_) => f64::NAN,
            };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-1.0..86_400.0).contains(&age), "{age}");
        assert!((0.0..86_400.0).contains(&value("process_cpu_seconds_total")));
    }
}
