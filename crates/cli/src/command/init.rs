//! `edgeward init`: a project to begin with.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use edgeward_core::ProjectName;
use serde::Serialize;

use crate::args::{InitArgs, Template};
use crate::output::{Explain, Failure, Outcome, Output};

/// What a template writes: names and contents.
type Files = &'static [(&'static str, &'static str)];

const READINGS: (&str, &str) = ("data/readings.csv", include_str!("../../templates/readings.csv"));
const PICTURES: (&str, &str) = ("data/pictures.csv", include_str!("../../templates/pictures.csv"));
const IGNORED: (&str, &str) = (".gitignore", ".edgeward/\n");

/// A template's own file.
macro_rules! own {
    ($template:literal, $file:literal) => {
        ($file, include_str!(concat!("../../templates/", $template, "/", $file)))
    };
}

const SENSOR: Files = &[own!("sensor", "edgeward.toml"), own!("sensor", "README.md"), READINGS, IGNORED];
const CAMERA: Files = &[own!("camera", "edgeward.toml"), own!("camera", "README.md"), PICTURES, IGNORED];
const SKLEARN: Files = &[
    own!("sklearn", "edgeward.toml"),
    own!("sklearn", "README.md"),
    own!("sklearn", "train.py"),
    own!("sklearn", "requirements.txt"),
    READINGS,
    IGNORED,
];
const PYTORCH: Files = &[
    own!("pytorch", "edgeward.toml"),
    own!("pytorch", "README.md"),
    own!("pytorch", "train.py"),
    own!("pytorch", "requirements.txt"),
    READINGS,
    IGNORED,
];
const ONNX: Files = &[own!("onnx", "edgeward.toml"), own!("onnx", "README.md"), IGNORED];

const NAME: &str = "{{name}}";

/// What it says.
#[derive(Serialize)]
struct Made {
    dir: String,
    name: String,
    files: Vec<&'static str>,
}

pub(crate) fn run(args: &InitArgs, out: Output) -> Outcome {
    let name = project_name(args)?;
    let files = match args.template {
        Template::Sensor => SENSOR,
        Template::Camera => CAMERA,
        Template::Sklearn => SKLEARN,
        Template::Pytorch => PYTORCH,
        Template::Onnx => ONNX,
    };
    if let Some((there, _)) = files.iter().find(|(file, _)| args.dir.join(file).exists()) {
        return Err(Failure::new("exists", format!("{} is there already", args.dir.join(there).display()))
            .hint("Nothing was written. Name another folder, or move the file away."));
    }
    for (file, content) in files {
        write(&args.dir.join(file), &content.replace(NAME, name.as_str()))?;
    }
    fs::create_dir_all(args.dir.join("data")).explain("file", "making the folder of the data")?;
    let files = files.iter().map(|(file, _)| *file).collect();
    let made = Made { dir: args.dir.display().to_string(), name: name.to_string(), files };
    out.document(&made, |made| {
        format!(
            "made {} in {}: {}; next: its README.md, and `edgeward run`",
            made.name,
            made.dir,
            made.files.join(", ")
        )
    })
}

fn project_name(args: &InitArgs) -> Result<ProjectName, Failure> {
    if let Some(name) = &args.name {
        return ProjectName::new(name.as_str()).map_err(|error| Failure::usage(format!("--name: {error}")));
    }
    fs::create_dir_all(&args.dir)
        .explain("file", format_args!("making the project's folder {}", args.dir.display()))?;
    let dir = args.dir.canonicalize().explain("file", format_args!("looking at {}", args.dir.display()))?;
    let name = dir.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    ProjectName::new(name.as_str()).map_err(|error| {
        Failure::usage(format!("the folder's name is no project's: {error}")).hint("Give --name.")
    })
}

/// Nothing that is there is written over.
fn write(file: &Path, content: &str) -> Outcome {
    let doing = format!("writing {}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).explain("file", &doing)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(file).explain("file", &doing)?;
    file.write_all(content.as_bytes()).explain("file", &doing)
}
