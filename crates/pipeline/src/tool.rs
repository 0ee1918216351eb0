//! External converters: a declared command that turns a model into a form for one kind of device.
//!
//! The command runs in a folder of its own that holds the model, sample inputs, the declared files of the project and
//! nothing else; it must leave one file there. What it may depend on is named: its text, its version as it says it, the
//! model and those files, so that its result is cached like that of any stage.
//!
//! In `command` and `probe`, `{model}` stands for the ONNX file, `{output}` for the file to write, `{samples}` for a list of sample
//! inputs as Qualcomm's quantisers read it (a line per sample, `name:=file` of raw little-endian floats), `{soc}` and `{sdk}`
//! for what is declared, and `{project}` for the project's folder.
//!
//! Deliberately missing: a sandbox. The command is the project's own, like the one that trains.

mod profile;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use edgeward_core::manifest::{BundlePath, ManifestError};
use edgeward_core::variant::{Format, NamedVersion, Provenance, Requires, Variant};
use edgeward_model::bundle::path;
use edgeward_model::onnx::{self, MODEL_BYTES_MAX};
use edgeward_model::{Signature, Tensor};
use serde::Serialize;

use self::profile::{PROFILES, Profile};
use crate::project::VariantTable;
use crate::runner::JobError;
use crate::runner::command::{self, Job};
use crate::workdir::WorkError;

/// How long a converter may take if the project does not say.
pub const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How long it may take to say its version.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
/// Sample inputs it gets.
pub const SAMPLES_MAX: usize = 128;
/// Longest version kept, in bytes.
pub const VERSION_BYTES_MAX: usize = 200;

const MODEL: &str = "model.onnx";
const SAMPLE_LIST: &str = "input_list.txt";
const SCRIPT: &str = "tool.py";
const PLACEHOLDERS: [&str; 6] = ["{model}", "{output}", "{samples}", "{soc}", "{sdk}", "{project}"];

/// Why an external converter made nothing.
#[derive(Debug, thiserror::Error)]
pub enum ToolRunError {
    /// It does not say its version, so it is probably not installed.
    #[error(
        "the external converter '{tool}' does not say its version; is it installed and on the PATH? (see the vendor guide)"
    )]
    Probe {
        /// Its name.
        tool: String,
        /// Why.
        #[source]
        source: JobError,
    },
    /// It says nothing when it is asked for its version.
    #[error(
        "the external converter '{0}' prints nothing when it is asked for its version; mend [[convert.variant]] probe"
    )]
    Silent(String),
    /// It failed.
    #[error("the external converter '{tool}' failed")]
    Run {
        /// Its name.
        tool: String,
        /// Why.
        #[source]
        source: JobError,
    },
    /// It ended well but did not write what it should.
    #[error("the external converter '{tool}' ended well, but '{output}' {reason}")]
    Output {
        /// Its name.
        tool: String,
        /// The file it should write.
        output: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder it works in.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// Its form's label is no file name.
    #[error(transparent)]
    Name(#[from] ManifestError),
}

/// A converter with everything the project or its profile says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolSpec {
    /// Its name.
    pub tool: String,
    /// What it makes, without path and provenance.
    pub variant: Variant,
    /// The command, placeholders and all.
    pub command: String,
    /// Prints its version.
    pub probe: String,
    /// The file it writes.
    pub output: String,
    /// The program of the profile.
    pub script: Option<&'static str>,
    /// Patterns of the project's files it reads.
    pub inputs: Vec<String>,
    /// Label of the form it is given; the trained model if absent.
    pub from: Option<String>,
    /// How long it may take.
    #[serde(skip)]
    pub timeout: Duration,
}

impl ToolRunError {
    /// Whether somebody stopped it.
    #[must_use]
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Probe { source: JobError::Cancelled { .. }, .. })
            || matches!(self, Self::Run { source: JobError::Cancelled { .. }, .. })
    }
}

impl ToolSpec {
    /// What `table` asks for; none if it names no tool.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn of(table: &VariantTable) -> Result<Option<Self>, (&'static str, String)> {
        let Some(tool) = &table.tool else { return stray(table).map(|()| None) };
        let profile = PROFILES.iter().find(|profile| profile.name == tool);
        let own = |given: &Option<String>, known: fn(&Profile) -> &'static str, key: &'static str| {
            let known = || profile.map(|profile| known(profile).to_owned());
            given.clone().or_else(known).ok_or_else(|| (key, needed(tool, key)))
        };
        let command = own(&table.command, |profile| profile.command, "command")?;
        check_command(&command)?;
        let output = own(&table.output, |profile| profile.output, "output")?;
        if output.contains('/') || BundlePath::new(output.as_str()).is_err() {
            return Err(("output", format!("'{output}' is not a plain file name, such as \"model.ort\"")));
        }
        let spec = Self {
            tool: tool.clone(),
            variant: variant_of(table, tool, profile)?,
            probe: own(&table.probe, |profile| profile.probe, "probe")?,
            command,
            output,
            script: profile.filter(|_| table.command.is_none()).and_then(|profile| profile.script),
            inputs: table.inputs.clone(),
            from: table.from.clone(),
            timeout: table.timeout.map_or(TIMEOUT, |span| span.0),
        };
        Ok(Some(spec))
    }

    /// The version the converter says it has.
    ///
    /// # Errors
    /// It cannot be asked, or says nothing.
    pub fn version(&self, place: &Place<'_>) -> Result<String, ToolRunError> {
        let mut lines = Vec::new();
        let asked = self.run(&self.filled(&self.probe, place.project), PROBE_TIMEOUT, place, &mut |line| {
            lines.push(line.trim().to_owned());
        });
        asked.map_err(|source| ToolRunError::Probe { tool: self.tool.clone(), source })?;
        let said = lines.into_iter().find(|line| !line.is_empty());
        said.map(|line| line.chars().take(VERSION_BYTES_MAX / 4).collect())
            .ok_or_else(|| ToolRunError::Silent(self.tool.clone()))
    }

    /// Runs the converter on `model` in `place`, an empty folder that already holds the declared files.
    ///
    /// # Errors
    /// It fails, takes too long, or does not leave its output.
    pub fn convert(
        &self,
        model: &[u8],
        signature: &Signature,
        samples: &[Vec<Tensor>],
        place: &Place<'_>,
        said: &mut dyn FnMut(&str),
    ) -> Result<Vec<u8>, ToolRunError> {
        write(&place.dir.join(MODEL), model)?;
        write_samples(place.dir, signature, samples)?;
        if let Some(script) = self.script {
            write(&place.dir.join(SCRIPT), script.as_bytes())?;
        }
        let command = self.filled(&self.command, place.project);
        self.run(&command, self.timeout, place, said)
            .map_err(|source| ToolRunError::Run { tool: self.tool.clone(), source })?;
        let bytes = self.output(place.dir)?;
        self.check_format(&bytes).map(|()| bytes)
    }

    fn run(
        &self,
        command: &str,
        timeout: Duration,
        place: &Place<'_>,
        said: &mut dyn FnMut(&str),
    ) -> Result<(), JobError> {
        let job = Job { command, dir: place.dir, env: &[], log: place.log, timeout, cancel: place.cancel };
        command::run(&job, said)
    }

    fn filled(&self, text: &str, project: &Path) -> String {
        let requires = &self.variant.requires;
        let soc = requires.soc.first().map_or("", String::as_str);
        let sdk = requires.sdk.as_ref().map_or("", |sdk| sdk.version.as_str());
        text.replace("{model}", MODEL)
            .replace("{output}", &self.output)
            .replace("{samples}", SAMPLE_LIST)
            .replace("{soc}", &quoted(soc))
            .replace("{sdk}", &quoted(sdk))
            .replace("{project}", &quoted(&project.display().to_string()))
    }

    fn output(&self, dir: &Path) -> Result<Vec<u8>, ToolRunError> {
        let path = dir.join(&self.output);
        // The file itself: a link could lead anywhere.
        let Ok(found) = fs::symlink_metadata(&path) else { return Err(self.wrong("was not written")) };
        match found.len() {
            _ if !found.is_file() => Err(self.wrong("is not a plain file")),
            0 => Err(self.wrong("is empty")),
            bytes if bytes > MODEL_BYTES_MAX as u64 => {
                Err(self.wrong(&format!("has {bytes} bytes, over the limit of {MODEL_BYTES_MAX}")))
            }
            _ => Ok(fs::read(&path).map_err(WorkError::at("reading", &path))?),
        }
    }

    /// Refuses a file that is plainly not of the declared format; of the vendors' own nothing is known here.
    fn check_format(&self, bytes: &[u8]) -> Result<(), ToolRunError> {
        match self.variant.format.as_str() {
            Format::ORT if bytes.get(4..8) != Some(b"ORTM") => Err(self.wrong("is not an .ort file")),
            Format::ONNX | Format::QNN_CONTEXT => match onnx::decode(bytes) {
                Ok(_) => Ok(()),
                Err(error) => Err(self.wrong(&format!("is not an ONNX file: {error}"))),
            },
            _ => Ok(()),
        }
    }

    fn wrong(&self, reason: &str) -> ToolRunError {
        let (tool, output) = (self.tool.clone(), self.output.clone());
        ToolRunError::Output { tool, output, reason: reason.to_owned() }
    }

    /// The form as the manifest lists it.
    #[must_use]
    pub fn made(&self, version: &str, verified: bool) -> Variant {
        let tool = Provenance { name: self.tool.clone(), version: version.to_owned(), verified };
        Variant { tool: Some(tool), ..self.variant.clone() }
    }
}

impl VariantTable {
    /// The engine that runs the form: the one named, or the one that its known tool makes forms for.
    #[must_use]
    pub fn target_engine(&self) -> String {
        let spec = ToolSpec::of(self).ok().flatten();
        spec.map_or_else(|| self.engine.clone(), |spec| spec.variant.engine)
    }
}

/// Where a converter runs.
pub struct Place<'a> {
    /// Its folder.
    pub dir: &'a Path,
    /// The project's folder.
    pub project: &'a Path,
    /// Where its output goes.
    pub log: &'a Path,
    /// Set from elsewhere to stop it.
    pub cancel: &'a AtomicBool,
}

/// Keys that mean something beside a tool only.
fn stray(table: &VariantTable) -> Result<(), (&'static str, String)> {
    let set = [
        ("command", table.command.is_some()),
        ("probe", table.probe.is_some()),
        ("output", table.output.is_some()),
        ("inputs", !table.inputs.is_empty()),
        ("from", table.from.is_some()),
        ("format", table.format.is_some()),
        ("name", table.name.is_some()),
        ("provider", table.provider.is_some()),
        ("soc", !table.soc.is_empty()),
        ("sdk", table.sdk.is_some()),
        ("arch", !table.arch.is_empty()),
        ("engine_version_min", table.engine_version_min.is_some()),
        ("timeout", table.timeout.is_some()),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((key, _)) => {
            Err((key, "belongs to a form that an external tool makes; set tool too".to_owned()))
        }
        None => Ok(()),
    }
}

fn needed(tool: &str, key: &str) -> String {
    let known: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
    format!(
        "is missing: '{tool}' is none of the known tools ({}), so it needs its own {key}",
        known.join(", ")
    )
}

fn check_command(command: &str) -> Result<(), (&'static str, String)> {
    let left = PLACEHOLDERS.iter().fold(command.to_owned(), |left, known| left.replace(known, ""));
    // `${NAME}` is the shell's.
    let braces = left.replace("${", "");
    let unknown = braces.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    match unknown {
        Some((name, _)) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            Err(("command", format!("{{{name}}} stands for nothing; use {}", PLACEHOLDERS.join(", "))))
        }
        _ if command.trim().is_empty() => Err(("command", "is empty".to_owned())),
        _ => Ok(()),
    }
}

fn variant_of(
    table: &VariantTable,
    tool: &str,
    profile: Option<&Profile>,
) -> Result<Variant, (&'static str, String)> {
    let default = VariantTable::default();
    let either = |given: &String, default: &String, known: Option<&str>| match known {
        Some(known) if given == default => known.to_owned(),
        _ => given.clone(),
    };
    let engine = either(&table.engine, &default.engine, profile.map(|profile| profile.engine));
    let dtype = either(&table.dtype, &default.dtype, profile.map(|profile| profile.dtype));
    let plain = path::MODEL;
    let at = BundlePath::new(plain).map_err(|error| ("name", error.to_string()))?;
    let mut variant = Variant::new(engine, dtype, at);
    let label = || format!("{}-{tool}", variant.engine);
    variant.name = Some(table.name.clone().unwrap_or_else(label));
    let format = table.format.clone().or_else(|| profile.map(|profile| profile.format.to_owned()));
    variant.format = format.map_or_else(Format::default, Format::new);
    variant.requires = Requires {
        provider: table
            .provider
            .clone()
            .or_else(|| profile.and_then(|profile| profile.provider).map(str::to_owned)),
        soc: table.soc.clone(),
        sdk: table.sdk.as_deref().map(sdk_of).transpose()?,
        arch: table.arch.clone(),
        engine_version_min: table.engine_version_min.clone(),
    };
    let bound = profile.is_some_and(|profile| profile.is_bound);
    if bound && (variant.requires.soc.is_empty() || variant.requires.sdk.is_none()) {
        let why = format!(
            "'{tool}' compiles for one chip with one SDK: name both, such as soc = [\"SM8550\"], sdk = \"qairt 2.31\""
        );
        return Err((if variant.requires.soc.is_empty() { "soc" } else { "sdk" }, why));
    }
    Ok(variant)
}

fn sdk_of(text: &str) -> Result<NamedVersion, (&'static str, String)> {
    match text.split_once(' ').map(|(name, version)| (name.trim(), version.trim())) {
        Some((name, version)) if !name.is_empty() && !version.is_empty() => {
            Ok(NamedVersion { name: name.to_owned(), version: version.to_owned() })
        }
        _ => Err(("sdk", format!("'{text}' is not a name and a version, such as \"qairt 2.31\""))),
    }
}

/// `text` as one word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), WorkError> {
    fs::write(path, bytes).map_err(WorkError::at("writing", path))
}

/// Each sample's inputs as raw files, and the list that names them.
fn write_samples(dir: &Path, signature: &Signature, samples: &[Vec<Tensor>]) -> Result<(), WorkError> {
    let folder = PathBuf::from("samples");
    let at = dir.join(&folder);
    fs::create_dir_all(&at).map_err(WorkError::at("making the folder", &at))?;
    let mut list = String::new();
    for (number, inputs) in samples.iter().take(SAMPLES_MAX).enumerate() {
        let mut words = Vec::new();
        for (place, (spec, tensor)) in signature.inputs.iter().zip(inputs).enumerate() {
            let file = folder.join(format!("{number}-{place}.raw"));
            write(&dir.join(&file), &tensor.to_le_bytes())?;
            words.push(format!("{}:={}", spec.name, file.display()));
        }
        list.push_str(&words.join(" "));
        list.push('\n');
    }
    write(&dir.join(SAMPLE_LIST), list.as_bytes())
}

#[cfg(test)]
mod tests;
