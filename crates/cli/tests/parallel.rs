//! The real binary with four shadows on each runner: their trainings overlap, and what is killed half-way (a training, the run,
//! the server) costs nothing that was done and lets nothing run twice.

#![cfg(all(unix, feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
#[expect(dead_code, reason = "its server takes any port, and this one comes back where it was")]
mod harness;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use answer::answer;
use harness::{Running, announced, edgeward};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(240);
const DIGITS: &str = include_str!("../../../examples/robots/data/digits.csv");
const SHADOWS: [&str; 4] = ["one", "two", "three", "four"];

/// Each training says that it began, and by which process; it ends when all may.
const TRAIN: &str = r#"
seen=$1
name=$(echo "$EDGEWARD_PARAMS" | sed 's/.*"name":"\([^"]*\)".*/\1/')
round=$(echo "$EDGEWARD_PARAMS" | sed 's/.*"round":\([0-9]*\).*/\1/')
echo $$ > "$seen/$round-$name.pid"
echo "$name" >> "$seen/$round-began"
while [ ! -e "$seen/$round-go" ]; do sleep 0.05; done
cp model.onnx "$EDGEWARD_MODEL_OUT"
echo "$name" >> "$seen/$round-ended"
"#;

const FIRST: &str = r#"
[project]
name = "robots"
model = "digits"
level = 1
[data]
files = ["data/*.csv"]
[train]
builtin = "logistic"
params = { iterations = 60 }
[rollout]
waves = ["100%"]
bake = "0s"
"#;

/// A project with four shadows, and its control plane.
struct Yard {
    dir: TempDir,
    runner: String,
    url: String,
    server: Option<Running>,
}

impl Yard {
    fn new(runner: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (server, url) = serve(&dir, "127.0.0.1:0");
        let yard = Self { dir, runner: runner.to_owned(), url, server: Some(server) };
        yard.write("edgeward.toml", FIRST);
        let rows: Vec<&str> = DIGITS.lines().take(600).collect();
        yard.write("data/digits.csv", &(rows.join("\n") + "\n"));
        fs::create_dir(yard.path("seen")).unwrap();
        let made = answer(&["run"], &yard.run(&["--work", "elsewhere"]).output().unwrap());
        let bundle = yard.path(made["bundle_path"].as_str().unwrap());
        fs::copy(bundle.join("model.onnx"), yard.path("model.onnx")).unwrap();
        until("a champion", || {
            let models = yard.ask(&["model", "ls"]);
            models["models"][0]["aliases"]["champion"].is_u64()
        });
        yard.write("train.sh", TRAIN);
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn ask(&self, words: &[&str]) -> Value {
        let mut asked = edgeward(self.dir.path());
        asked.env("EDGEWARD_SERVER", &self.url).args(words).arg("--json");
        answer(words, &asked.output().unwrap())
    }

    /// The project as it is in this round: other parameters, so that everything is trained again.
    fn begin(&self, round: u32) {
        let head = FIRST.split("[train]").next().unwrap();
        let rollout = FIRST.split("iterations = 60 }\n").nth(1).unwrap();
        let seen = self.path("seen").display().to_string();
        let mut text = format!(
            "{head}[train]\nrun = \"sh train.sh '{seen}'\"\ndeps = [\"train.sh\", \"model.onnx\"]\n\
             params = {{ round = {round} }}\n[runner]\n{}\n{rollout}",
            self.runner
        );
        for (at, name) in SHADOWS.iter().enumerate() {
            let window = 500 - 50 * at;
            writeln!(
                text,
                "[[shadow]]\nname = \"{name}\"\nwindow = {window}\nparams = {{ name = \"{name}\" }}"
            )
            .unwrap();
        }
        text.push_str("[shadows]\nmax = 4\n");
        self.write("edgeward.toml", &text);
    }

    fn run(&self, more: &[&str]) -> Command {
        let mut run = edgeward(self.dir.path());
        run.args(["run", "--json", "--server", &self.url, "--release-key", "srv/keys/releases.json"])
            .args(more);
        run
    }

    fn start(&self) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path("said")).unwrap();
        let out = fs::File::create(self.path("answer")).unwrap();
        Running(self.run(&[]).stdout(out).stderr(log).spawn().unwrap())
    }

    /// The trainings that began (or ended) in this round, in order.
    fn seen(&self, round: u32, what: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("seen/{round}-{what}"))).unwrap_or_default();
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Waits until all four are under way: none ends before it may.
    fn all_four(&self, round: u32) {
        until("four trainings at once", || self.seen(round, "began").len() == 4);
        assert!(self.seen(round, "ended").is_empty());
    }

    fn go(&self, round: u32) {
        self.write(&format!("seen/{round}-go"), "");
    }

    /// Kills the training of this name, whoever runs it.
    fn kill(&self, round: u32, name: &str) {
        let pid = fs::read_to_string(self.path(&format!("seen/{round}-{name}.pid"))).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    fn ends_well(&self, mut run: Running, what: &str) {
        let status = until_some(what, || run.0.try_wait().unwrap());
        let said = fs::read_to_string(self.path("said")).unwrap();
        assert!(status.success(), "{what}: {said}");
        let answer: Value = serde_json::from_str(&fs::read_to_string(self.path("answer")).unwrap()).unwrap();
        assert_eq!(answer["shadows"].as_array().map(Vec::len), Some(4), "{what}: {answer}\n{said}");
    }
}

fn serve(dir: &TempDir, listen: &str) -> (Running, String) {
    let mut server = edgeward(dir.path());
    server.args(["server", "--data", "srv", "--listen", listen, "--json"]);
    let (server, said) = announced(server.stderr(Stdio::null()));
    (server, said["address"].as_str().unwrap().to_owned())
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    until_some(what, || look().then_some(()));
}

fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn trainings_overlap_and_survive(runner: &str) {
    let mut yard = Yard::new(runner);
    let all = ["four", "one", "three", "two"];

    yard.begin(1);
    let run = yard.start();
    yard.all_four(1);
    yard.go(1);
    yard.ends_well(run, "a run without trouble");
    assert_eq!((yard.seen(1, "began"), yard.seen(1, "ended")), (names(&all), names(&all)));

    // The run is killed, then one of the trainings that outlive it.
    yard.begin(2);
    let run = yard.start();
    yard.all_four(2);
    drop(run);
    yard.kill(2, "two");
    let run = yard.start();
    until("the killed training, once more", || yard.seen(2, "began").len() == 5);
    yard.go(2);
    yard.ends_well(run, "a run that goes on after a kill");
    assert_eq!(yard.seen(2, "began"), names(&["four", "one", "three", "two", "two"]));
    assert_eq!(yard.seen(2, "ended"), names(&all), "none of the others runs twice");

    // The server is killed and comes back while the run is under way.
    yard.begin(3);
    let run = yard.start();
    yard.all_four(3);
    drop(yard.server.take());
    let listen = yard.url.trim_start_matches("http://").to_owned();
    let (server, _) = serve(&yard.dir, &listen);
    yard.server = Some(server);
    yard.go(3);
    yard.ends_well(run, "a run whose server was away");
    assert_eq!((yard.seen(3, "began"), yard.seen(3, "ended")), (names(&all), names(&all)));

    let left = fs::read_dir(yard.path(".edgeward/tasks")).unwrap().count();
    assert_eq!(left, 0, "nothing of the trainings is left");
    let tests = yard.ask(&["shadow", "ls"]);
    assert_eq!(tests["tests"][0]["outcome"], json!(null), "the last four are compared: {tests}");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn four_trainings_overlap_on_this_machine() {
    trainings_overlap_and_survive("parallel = 4");
}

#[test]
fn four_trainings_overlap_on_ray() {
    let Ok(head) = edgeward_testkit_python::ray_head() else { return };
    trainings_overlap_and_survive(&format!("kind = \"ray\"\naddress = \"{}\"", head.address()));
}
