//! Whether an app answers.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Ready;

/// Longest time one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How long an app without a probe must live to count as ready.
const SETTLING: Duration = Duration::from_secs(1);

/// Waits until `ready` holds; `alive` says whether there is any hope left.
///
/// # Errors
/// It does not hold after `timeout`, or the hope is gone; the reason in words.
pub fn wait(
    ready: Option<&Ready>,
    timeout: Duration,
    alive: &mut dyn FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let started = Instant::now();
    let mut last = "it was not asked".to_owned();
    while started.elapsed() < timeout {
        alive()?;
        match ready {
            None if started.elapsed() >= SETTLING.min(timeout / 2) => return Ok(()),
            None => {}
            Some(ready) => match ask(ready) {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            },
        }
        thread::sleep(ASK_AGAIN);
    }
    Err(format!("the app is not ready after {} s: {last}", timeout.as_secs_f32()))
}

fn ask(ready: &Ready) -> Result<(), String> {
    match ready {
        Ready::Url(url) => ask_url(url),
        Ready::Command(command) => run(command, ASK_TIMEOUT),
    }
}

fn ask_url(url: &str) -> Result<(), String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(ASK_TIMEOUT)).max_redirects(0).proxy(None);
    let agent: ureq::Agent = config.build().into();
    agent.get(url).call().map(|_| ()).map_err(|error| format!("{url}: {error}"))
}

/// Runs a shell command to its end.
///
/// # Errors
/// It cannot be started, ends with another code than 0, or does not end in time.
pub fn run(command: &str, timeout: Duration) -> Result<(), String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("'{command}' cannot be started: {error}"))?;
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("'{command}' ended with {status}")),
            Ok(None) if Instant::now() < deadline => thread::sleep(ASK_AGAIN),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("'{command}' did not end within {} s", timeout.as_secs_f32()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn an_app_is_ready_once_its_probe_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let flag = folder.path().join("up");
        let probe = Ready::Command(format!("test -e '{}'", flag.display()));
        let mut asked = 0;
        let outcome = wait(Some(&probe), PATIENCE, &mut || {
            asked += 1;
            if asked == 3 {
                std::fs::write(&flag, b"").unwrap();
            }
            Ok(())
        });
        assert_eq!((outcome, asked), (Ok(()), 3));
    }

    #[test]
    fn an_app_that_died_is_not_waited_for() {
        let probe = Ready::Command("false".to_owned());
        let outcome = wait(Some(&probe), PATIENCE, &mut || Err("it died".to_owned()));
        assert_eq!(outcome, Err("it died".to_owned()));
        let late = wait(Some(&probe), Duration::from_millis(50), &mut || Ok(())).unwrap_err();
        assert!(late.contains("'false' ended with exit status: 1"), "{late}");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        assert!(run("sleep 600", Duration::from_millis(50)).unwrap_err().contains("did not end"));
    }
}
