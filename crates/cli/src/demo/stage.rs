//! The demo's folder and the processes in it: what each is called, how it is started, where it writes.
//!
//!     project/            edgeward.toml, data/*.csv: what the first model learns from
//!     server/             the control plane's folder
//!     <device>-<n>/       a device's folder
//!     logs/<process>.log  what each process printed

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::output::{Explain, Failure, Outcome};
use crate::supervisor::{Life, Spec};

/// The project of the robots story.
pub(crate) const ROBOTS: Project = Project {
    name: "robots",
    toml: include_str!("../../../../examples/robots/edgeward.toml"),
    data: "digits.csv",
};
/// The model's name in that project.
pub(crate) const MODEL: &str = "digits";
/// The control plane's name among the processes.
pub(crate) const SERVER: &str = "server";
/// The first run's name among the processes.
pub(crate) const FIRST_RUN: &str = "first-run";

/// The join token is for its owner only.
const SECRET_MODE: u32 = 0o600;
const POLL_MS: u64 = 250;
const UPLOAD_MS: u64 = 500;

/// What a story trains.
#[derive(Clone, Copy)]
pub(crate) struct Project {
    /// Its name in the project file.
    pub(crate) name: &'static str,
    /// The project file.
    pub(crate) toml: &'static str,
    /// What its file of data is called.
    pub(crate) data: &'static str,
}

/// Where everything is.
pub(crate) struct Layout {
    program: PathBuf,
    dir: PathBuf,
    project: Project,
}

impl Layout {
    /// Makes the folders, and the project with its first data as `seed` writes them.
    pub(crate) fn create(
        dir: &Path,
        project: Project,
        seed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().explain("system", "finding this program's own file")?;
        let dir = std::path::absolute(dir).explain("folder", "finding the demo's folder")?;
        let layout = Self { program, dir, project };
        for folder in [layout.project().join("data"), layout.dir.join("logs")] {
            fs::create_dir_all(&folder).explain("folder", format_args!("making {}", folder.display()))?;
        }
        layout.write_project(seed)?;
        Ok(layout)
    }

    fn write_project(&self, seed: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
        let file = self.project().join("edgeward.toml");
        fs::write(&file, self.project.toml).explain("file", format_args!("writing {}", file.display()))?;
        let data = self.project().join("data").join(self.project.data);
        let written = fs::File::create(&data).and_then(|file| {
            let mut writer = BufWriter::new(file);
            seed(&mut writer)?;
            writer.flush()
        });
        written.explain("file", format_args!("writing {}", data.display()))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn project(&self) -> PathBuf {
        self.dir.join("project")
    }

    /// The control plane's folder.
    pub(crate) fn server(&self) -> PathBuf {
        self.dir.join(SERVER)
    }

    fn device(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn join_token(&self) -> PathBuf {
        self.dir.join("join-token")
    }

    /// The control plane's address, once it listens.
    pub(crate) fn server_address(&self) -> Option<String> {
        read_address(&self.server().join("address"))
    }

    /// A device's address, once it listens.
    pub(crate) fn endpoint(&self, device: &str) -> Option<String> {
        read_address(&self.device(device).join("endpoint"))
    }

    pub(crate) fn keep_join_token(&self, token: &str) -> Outcome {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(SECRET_MODE).open(self.join_token());
        file.and_then(|mut file| file.write_all(token.as_bytes())).explain("file", "keeping the join token")
    }

    /// Where a process writes what it prints.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// The control plane.
    pub(crate) fn server_spec(&self) -> Spec {
        let (data, address) = (self.server(), self.server().join("address"));
        self.spec(SERVER, Life::Service, move || {
            words(&["server", "--log", "info", "--listen", &listen_at(&address), "--data"]).and(&data)
        })
    }

    /// A device.
    pub(crate) fn device_spec(&self, name: &str, server: &str) -> Spec {
        let (data, token) = (self.device(name), self.join_token());
        let endpoint = data.join("endpoint");
        let (name_flag, server) = (name.to_owned(), server.to_owned());
        self.spec(name, Life::Service, move || {
            let (poll, upload) = (POLL_MS.to_string(), UPLOAD_MS.to_string());
            words(&["agent", "--log", "info", "--server", &server, "--name", &name_flag])
                .and_words(&["--listen", &listen_at(&endpoint), "--poll-ms", &poll, "--upload-ms", &upload])
                .and_words(&["--data"])
                .and(&data)
                .and_words(&["--join-token-file"])
                .and(&token)
        })
    }

    /// The run that makes the first model.
    pub(crate) fn first_run_spec(&self, server: &str) -> Spec {
        let (project, data, server) = (self.project(), self.server(), server.to_owned());
        let name = self.project.name;
        self.spec(FIRST_RUN, Life::Once, move || {
            words(&["run", "--log", "info", "--json", "--cause", "first model", "--server", &server])
                .and_words(&["--project"])
                .and(&project)
                .and_words(&["--work"])
                .and(&data.join("work").join(name))
                .and_words(&["--release-key"])
                .and(&data.join("keys/releases.json"))
                .and_words(&["--token-file"])
                .and(&data.join("operator.token"))
        })
    }

    fn spec(&self, name: &str, life: Life, args: impl Fn() -> Words + Send + 'static) -> Spec {
        let parent = std::process::id().to_string();
        Spec {
            name: name.to_owned(),
            program: self.program.clone(),
            args: Box::new(move || words(&["--parent", &parent]).0.into_iter().chain(args().0).collect()),
            log: self.log(name),
            life,
        }
    }
}

/// A command line being put together.
struct Words(Vec<OsString>);

fn words(words: &[&str]) -> Words {
    Words(Vec::new()).and_words(words)
}

impl Words {
    fn and_words(mut self, words: &[&str]) -> Self {
        self.0.extend(words.iter().map(OsString::from));
        self
    }

    fn and(mut self, path: &Path) -> Self {
        self.0.push(path.into());
        self
    }
}

fn read_address(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let address = text.trim();
    address.starts_with("http://").then(|| address.to_owned())
}

/// Any free port at first; the same again after a restart, so that callers need not look for it.
fn listen_at(address_file: &Path) -> String {
    let known = read_address(address_file);
    known.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.replacen("http://", "", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        Layout::create(dir, ROBOTS, |data| data.write_all(b"label\n")).unwrap()
    }

    #[test]
    fn a_restart_takes_the_same_address() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let spec = layout.device_spec("robot-1", "http://127.0.0.1:7700");
        assert!((spec.args)().contains(&"127.0.0.1:0".into()));
        fs::create_dir_all(dir.path().join("robot-1")).unwrap();
        fs::write(dir.path().join("robot-1/endpoint"), "http://127.0.0.1:4321\n").unwrap();
        assert!((spec.args)().contains(&"127.0.0.1:4321".into()));
    }

    #[test]
    fn every_process_has_a_command_line_the_parser_takes() {
        use clap::Parser as _;
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let server = "http://127.0.0.1:7700";
        for spec in
            [layout.server_spec(), layout.device_spec("robot-1", server), layout.first_run_spec(server)]
        {
            let line: Vec<OsString> = std::iter::once("edgeward".into()).chain((spec.args)()).collect();
            crate::args::Cli::try_parse_from(line).map(|_| ()).unwrap();
        }
    }
}
