//! How an activated bundle comes to serve on this device.
//!
//! The agent's decisions are the same whatever the method: a bundle is verified and tested, then activated, then watched.
//! What "activated" means differs:
//! - [`Method::Serve`]: this agent's own endpoint answers from it, from the next request on;
//! - [`Method::Watch`]: an app follows `active.json` (with `edgeward-sdk`, or a runtime of its own) and swaps by itself;
//! - [`Method::Restart`]: the app is started anew, as a child of the agent or by a service command;
//! - [`Method::Reboot`]: the device is.
//!
//! With every method the files that apps follow ([`pointer`]) are replaced first, so a device that loses power in between
//! comes back with the new bundle. An app that does not come back, or says that it cannot serve the bundle, is reported to
//! the brain, which goes back to the bundle before.
//!
//! - [`app`]: the app as a child process: started, restarted, adopted again after the agent itself was restarted.
//! - [`ready`]: whether an app answers.
//! - [`worker`]: the thread that carries out restarts and reboots, which take long.
//!
//! Deliberately missing: starting several apps; a device with more than one has a service manager.

pub mod app;
pub mod pointer;
pub mod ready;
pub mod worker;

use std::path::PathBuf;
use std::time::Duration;

/// Longest time an app may take to say what it made of a bundle, by default.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time an app gets to end by itself, by default.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
/// Where Linux tells one boot from another.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What makes an activated bundle serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The agent's own endpoint.
    #[default]
    Serve,
    /// An app that follows the active bundle.
    Watch,
    /// An app that is restarted.
    Restart,
    /// An app that comes back with the device.
    Reboot,
}

/// How bundles are made to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivationConfig {
    /// What makes an activated bundle serve.
    pub method: Method,
    /// The app.
    pub app: AppConfig,
    /// Reboots the device; a shell command. With [`Method::Reboot`] only.
    pub reboot_command: Option<String>,
    /// A file that holds other words after every boot; [`BOOT_ID`] if none.
    pub boot_id: Option<PathBuf>,
}

/// The app that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppConfig {
    /// Runs the app as a child of the agent; a shell command.
    pub command: Option<String>,
    /// Restarts an app that something else runs, such as `systemctl restart camera`; a shell command.
    pub restart_command: Option<String>,
    /// How to tell that it answers.
    pub ready: Option<Ready>,
    /// Longest time until it answers or says what it made of a bundle.
    pub answer_timeout: Duration,
    /// Time it gets to end by itself.
    pub stop_grace: Duration,
}

/// How to tell that an app answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// This address answers with a status of 200 to 299.
    Url(String),
    /// This shell command ends with code 0.
    Command(String),
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            command: None,
            restart_command: None,
            ready: None,
            answer_timeout: ANSWER_TIMEOUT,
            stop_grace: STOP_GRACE,
        }
    }
}

impl ActivationConfig {
    /// What is missing or too much for the method.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let app = &self.app;
        match self.method {
            Method::Serve if app.command.is_some() || app.restart_command.is_some() => Some(
                "an app is given but the agent is to serve by itself; say how the app takes up models: \
                 --activation watch, restart or reboot",
            ),
            Method::Restart if app.command.is_some() == app.restart_command.is_some() => Some(
                "to restart an app, give either --app with the command that runs it or --restart-command with one that \
                 restarts it",
            ),
            Method::Reboot if self.reboot_command.is_none() => {
                Some("to reboot, give --reboot-command, such as 'systemctl reboot'")
            }
            Method::Serve | Method::Watch | Method::Restart | Method::Reboot => None,
        }
    }

    /// Where one boot is told from another.
    #[must_use]
    pub fn boot_id(&self) -> PathBuf {
        self.boot_id.clone().unwrap_or_else(|| BOOT_ID.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_without_its_command_is_a_problem() {
        let with = |method, edit: &dyn Fn(&mut ActivationConfig)| {
            let mut config = ActivationConfig { method, ..ActivationConfig::default() };
            edit(&mut config);
            config.problem().is_some()
        };
        assert!(!with(Method::Serve, &|_| ()) && !with(Method::Watch, &|_| ()));
        assert!(with(Method::Serve, &|c| c.app.command = Some("app".into())));
        assert!(with(Method::Restart, &|_| ()) && with(Method::Reboot, &|_| ()));
        assert!(!with(Method::Restart, &|c| c.app.restart_command = Some("restart".into())));
        assert!(with(Method::Restart, &|c| {
            c.app.restart_command = Some("restart".into());
            c.app.command = Some("app".into());
        }));
        assert!(!with(Method::Reboot, &|c| c.reboot_command = Some("reboot".into())));
    }
}
