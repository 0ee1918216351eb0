//! The guides and format pages do what they say: their commands run in one shell with the real binary, in reading order.
//!
//! A block of a page counts if it is fenced as
//! - `console`: lines that start with `$ ` are commands, which must succeed; the lines after each are what it says. They
//!   must appear in that order among its lines; `...` stands for anything, and spaces are alike however many. A command
//!   that only looks is repeated until it says so.
//! - anything with `file=NAME` after the language: the block becomes that file in the shell's folder.
//!
//! The pages' ports are exchanged for free ones. A command in the background is waited for until its `--listen` address
//! accepts. Deliberately missing: Windows, and what needs Python.

#![cfg(all(unix, feature = "control"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tempfile::TempDir;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
const SAID_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
/// Ports that the pages use.
const PORTS: [&str; 3] = ["7700", "8600", "8601"];

#[test]
fn a_reader_can_follow_the_guides_one_after_the_other() {
    follow(
        "guides",
        &[
            "first-model.md",
            "operate.md",
            "repository.md",
            "security.md",
            "rollouts.md",
            "levels.md",
            "shadows.md",
            "frameworks.md",
        ],
    );
}

#[test]
fn a_reader_can_convert_and_choose() {
    follow("guides", &["convert.md"]);
}

#[test]
fn a_reader_can_open_the_dashboard() {
    follow("guides", &["dashboard.md"]);
}

#[test]
fn a_reader_can_ask_a_pipeline() {
    follow("guides", &["pipelines.md"]);
}

#[test]
fn a_reader_can_install_and_observe() {
    follow("guides", &["install.md", "observability.md"]);
}

#[test]
fn a_reader_can_look_at_data() {
    follow("guides", &["monitoring.md"]);
}

#[test]
fn a_reader_can_ask_why() {
    follow("guides", &["audit.md"]);
}

#[test]
fn commands_in_the_format_pages_work() {
    let pages = pages("formats");
    follow("formats", &pages.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn no_guide_is_left_out() {
    let pages = pages("guides");
    assert_eq!(
        pages,
        [
            "apps-in-c.md",
            "apps-in-python.md",
            "audit.md",
            "convert.md",
            "dashboard.md",
            "first-model.md",
            "frameworks.md",
            "install.md",
            "levels.md",
            "mlflow.md",
            "monitoring.md",
            "observability.md",
            "operate.md",
            "pipelines.md",
            "reload.md",
            "repository.md",
            "rollouts.md",
            "runners.md",
            "security.md",
            "serving.md",
            "shadows.md",
            "vendor-toolchains.md"
        ]
    );
}

#[test]
fn what_is_shown_is_matched_loosely() {
    let check = |shown: &[&str], said, expect| {
        let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(missing(&shown, said).is_none(), expect, "{shown:?} in {said:?}");
    };
    check(&["a b", "c"], "x\na   b\ny\nc\n", true);
    check(&["c", "a b"], "a b\nc\n", false);
    check(&["run ... ends", "..."], "run 12 ends", true);
    check(&["run ... ends"], "run 12 ends not", false);
    check(&["{\"a\":1,..."], "{\"a\":1,\"b\":2}", true);
    check(&["... b"], "a c", false);
}

fn docs(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(folder)
}

fn pages(folder: &str) -> Vec<String> {
    let names = fs::read_dir(docs(folder)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".md"));
    names.sort();
    names
}

fn follow(folder: &str, pages: &[&str]) {
    let mut shell = Shell::start();
    for page in pages {
        let text = fs::read_to_string(docs(folder).join(page)).unwrap();
        for step in steps(&text) {
            shell.take(page, step);
        }
    }
}

/// What a page asks of its reader.
enum Step {
    Write { file: String, text: String },
    Type { command: String, shown: Vec<String> },
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if let Some((_, file)) = info.split_once(" file=") {
            let text = block.iter().map(|line| format!("{line}\n")).collect();
            steps.push(Step::Write { file: file.to_owned(), text });
        } else if info == "console" {
            steps.extend(commands(&block));
        }
    }
    steps
}

fn commands(block: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step::Type { command: command.to_owned(), shown: Vec::new() });
            }
            (None, Some(Step::Type { shown, .. })) => shown.push((*line).to_owned()),
            (None, _) => panic!("'{line}' stands before any command"),
        }
    }
    steps
}

/// The first shown line that was not said, in its place.
fn missing<'a>(shown: &'a [String], said: &str) -> Option<&'a str> {
    let mut said = said.lines();
    shown
        .iter()
        .find(|line| line.trim() != "..." && !said.any(|found| is_like(line, found)))
        .map(String::as_str)
}

fn is_like(shown: &str, said: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = plain(said);
    let shown = plain(shown);
    let parts: Vec<&str> = shown.split("...").map(str::trim).collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let [_, inner @ .., _] = &parts[..] else { return said == shown };
    let Some(mut rest) = said.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    inner.iter().all(|part| {
        let found = rest.find(part);
        rest = found.map_or(rest, |at| &rest[at + part.len()..]);
        found.is_some()
    })
}

/// Whether typing it again changes nothing.
fn only_looks(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        [
            "edgeward",
            "status" | "events" | "why" | "audit" | "inspect" | "profile" | "drift" | "backtest" | "config",
            ..,
        ]
        | ["edgeward", _, "ls", ..]
        | ["edgeward", "rollout", "status", ..] => true,
        ["curl", ..] => !words.contains(&"-d"),
        _ => false,
    }
}

/// A shell in a folder of its own; all it started ends with it.
struct Shell {
    dir: TempDir,
    child: Child,
    ports: Vec<(String, String)>,
    /// Process ids of what runs in the background, by job number less one; 0 once it was ended.
    jobs: Vec<u32>,
    typed: usize,
}

impl Shell {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::create_dir(dir.path().join("said")).unwrap();
        symlink(docs("../examples"), dir.path().join("home/examples")).unwrap();
        let mut command = Command::new("sh");
        for name in
            ["EDGEWARD_SERVER", "EDGEWARD_TOKEN", "EDGEWARD_DATA", "EDGEWARD_DATABASE", "EDGEWARD_LOG"]
        {
            command.env_remove(name);
        }
        command.env("EDGEWARD_CONFIG", "");
        command.env("PATH", path_with_edgeward()).env("NO_PROXY", "*").current_dir(dir.path().join("home"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // Held together so that no port is given twice.
        let held: Vec<TcpListener> =
            PORTS.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let free = held.iter().map(|listener| listener.local_addr().unwrap().port().to_string());
        let ports = PORTS.iter().map(|port| format!("127.0.0.1:{port}"));
        let ports = ports.zip(free.map(|port| format!("127.0.0.1:{port}"))).collect();
        Self { dir, child: command.spawn().unwrap(), ports, jobs: Vec::new(), typed: 0 }
    }

    fn take(&mut self, page: &str, step: Step) {
        match step {
            Step::Write { file, text } => {
                let file = self.dir.path().join("home").join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, self.with_free_ports(&text)).unwrap();
            }
            Step::Type { command, shown } => self.type_and_check(page, &command, &shown),
        }
    }

    fn type_and_check(&mut self, page: &str, command: &str, shown: &[String]) {
        let shown: Vec<String> = shown.iter().map(|line| self.with_free_ports(line)).collect();
        let command = self.with_job_ids(&self.with_free_ports(command));
        let until = Instant::now() + SAID_TIMEOUT;
        loop {
            let (code, said) = self.type_in(page, &command);
            let wrong = missing(&shown, &said);
            if code == 0 && wrong.is_none() {
                break;
            }
            let may_repeat = only_looks(&command) && Instant::now() < until;
            assert!(
                may_repeat,
                "{page}: $ {command}\nexit {code}, without {wrong:?}:\n{said}\n{}",
                self.background()
            );
            thread::sleep(LOOK);
        }
        if command.ends_with('&') {
            let (_, pid) = self.type_in(page, "echo $!");
            self.jobs.push(pid.trim().parse().unwrap());
            self.wait_for_address(page, &command);
        } else if command.starts_with("kill ") {
            self.forget_ended(&command);
        }
    }

    /// Exit code and what was said.
    fn type_in(&mut self, page: &str, command: &str) -> (i32, String) {
        self.typed += 1;
        let said = self.dir.path().join("said").join(self.typed.to_string());
        let (out, code) = (said.with_extension("out"), said.with_extension("code"));
        let script = format!(
            "{{ {command}\n}} > '{out}' 2>&1 < /dev/null\necho $? > '{code}.new'\nmv '{code}.new' '{code}'\n",
            out = out.display(),
            code = code.display()
        );
        self.write(&script);
        let until = Instant::now() + COMMAND_TIMEOUT;
        while !code.exists() {
            let is_late = Instant::now() > until || self.child.try_wait().unwrap().is_some();
            assert!(
                !is_late,
                "{page}: $ {command}\ndoes not end:\n{}",
                fs::read_to_string(&out).unwrap_or_default()
            );
            thread::sleep(LOOK);
        }
        let code = fs::read_to_string(code).unwrap().trim().parse().unwrap();
        (code, fs::read_to_string(out).unwrap())
    }

    fn wait_for_address(&self, page: &str, command: &str) {
        let address = command.split_whitespace().skip_while(|word| *word != "--listen").nth(1);
        let address = address.unwrap_or_else(|| panic!("{page}: $ {command}\nneeds --listen"));
        let until = Instant::now() + COMMAND_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "{page}: $ {command}\ndoes not listen:\n{}", self.background());
            thread::sleep(LOOK);
        }
    }

    fn with_free_ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// `kill %1` with the process's id: a shell at which nobody sits has no job numbers.
    fn with_job_ids(&self, command: &str) -> String {
        let ids = self.jobs.iter().enumerate().map(|(at, pid)| (format!("%{}", at + 1), pid.to_string()));
        ids.fold(command.to_owned(), |command, (job, pid)| command.replace(&job, &pid))
    }

    /// Numbers begin anew once no job is left, as in a shell.
    fn forget_ended(&mut self, kill: &str) {
        let is_named = |pid: u32| kill.split_whitespace().any(|word| word == pid.to_string());
        self.jobs.iter_mut().filter(|pid| is_named(**pid)).for_each(|pid| *pid = 0);
        if self.jobs.iter().all(|pid| *pid == 0) {
            self.jobs.clear();
        }
    }

    fn write(&mut self, script: &str) {
        self.child.stdin.as_mut().unwrap().write_all(script.as_bytes()).unwrap();
    }

    /// What was said lately, for the person who looks into a failure.
    fn background(&self) -> String {
        let said = (1..=self.typed).map(|n| self.dir.path().join("said").join(format!("{n}.out")));
        let said = said.filter_map(|file| fs::read_to_string(file).ok()).filter(|said| said.contains("WARN"));
        said.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        // An error says that nothing of the group is left.
        let _ = kill_process_group(group, Signal::TERM);
        let _ = self.child.wait();
        let until = Instant::now() + END_TIMEOUT;
        while test_kill_process_group(group).is_ok() && Instant::now() < until {
            thread::sleep(LOOK);
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The search path with the binary under test first, under the name the pages use.
fn path_with_edgeward() -> OsString {
    let binary = Path::new(env!("CARGO_BIN_EXE_edgeward"));
    assert_eq!(binary.file_name().unwrap(), "edgeward");
    assert!(File::open(binary).is_ok());
    let known = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(binary.parent().unwrap().to_owned()).chain(std::env::split_paths(&known));
    std::env::join_paths(paths).unwrap()
}
