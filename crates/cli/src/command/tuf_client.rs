//! `edgeward tuf-client`: a plain TUF client, for any repository.
//!
//! It is the client core of the devices with the interface that TUF's public conformance suite calls. Trusted metadata is
//! one file per role; a file that cannot be read is damage and an error. What was accepted is kept although something
//! later was refused, each file replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use edgeward_api::client::{ClientError, FileAnswer, Files};
use edgeward_core::Timestamp;
use edgeward_trust::tuf::client::{Found, encode};
use edgeward_trust::tuf::{Answer, Client, Refusal, Trusted, Want};
use serde::Serialize;

use super::now;
use crate::args::{TufClientArgs, TufClientCommand};
use crate::output::{Explain, Failure, Outcome, Output};

/// Largest file of trusted metadata that is read, in bytes.
const KEPT_BYTES_MAX: u64 = 8 << 20;

/// What it says when it is done.
#[derive(Serialize)]
struct Done {
    /// The trusted versions, by role.
    versions: BTreeMap<String, u64>,
    /// The target that was downloaded, or was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// Why a refresh ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let text = crate::output::with_causes(&trouble);
        match trouble {
            Trouble::Refused(refusal) => {
                Self::new(refusal.reason.name(), text).hint("what was trusted before is still there")
            }
            Trouble::Client(_) => Self::new("unreachable", text).hint("check the addresses"),
        }
    }
}

pub(crate) fn run(args: &TufClientArgs, out: Output) -> Outcome {
    match &args.command {
        TufClientCommand::Init { root } => init(&args.metadata_dir, root),
        TufClientCommand::Refresh => refresh(args, out),
        TufClientCommand::Download => download(args, out),
    }
}

fn init(folder: &Path, root: &Path) -> Outcome {
    let doing = format!("trusting the root in {}", root.display());
    let bytes = fs::read(root).explain("file", &doing)?;
    Trusted::pin(&bytes, Timestamp(0)).map_err(|refusal| Failure::from(Trouble::from(refusal)))?;
    fs::create_dir_all(folder).explain("file", &doing)?;
    replace(&folder.join("root.json"), &bytes).explain("file", &doing)
}

fn refresh(args: &TufClientArgs, out: Output) -> Outcome {
    let mut session = Session::begin(args)?;
    let outcome = session.drive();
    session.keep(&args.metadata_dir)?;
    outcome?;
    out.document(&session.done(None), words)
}

fn download(args: &TufClientArgs, out: Output) -> Outcome {
    let (Some(name), Some(folder), Some(base)) = (&args.target_name, &args.target_dir, &args.target_base_url)
    else {
        return Err(Failure::usage("download needs --target-name, --target-dir and --target-base-url"));
    };
    let mut session = Session::begin(args)?;
    let found = session.find(name);
    session.keep(&args.metadata_dir)?;
    let found = found?;
    fetch_target(&found, &session, &Files::new(base, None), folder)?;
    out.document(&session.done(Some(name.clone())), words)
}

fn words(done: &Done) -> String {
    let versions: Vec<String> =
        done.versions.iter().map(|(role, version)| format!("{role} {version}")).collect();
    let target = done.target.as_ref().map_or_else(String::new, |name| format!("\n{name} is verified"));
    format!("{}{target}", versions.join(", "))
}

/// A refresh under way.
struct Session {
    client: Client,
    files: Files,
    before: BTreeMap<String, Vec<u8>>,
}

impl Session {
    fn begin(args: &TufClientArgs) -> Result<Self, Failure> {
        let Some(url) = &args.metadata_url else {
            return Err(Failure::usage("--metadata-url is needed to refresh"));
        };
        let doing = format!("reading the trusted metadata in {}", args.metadata_dir.display());
        let before = read_kept(&args.metadata_dir).explain("file", doing)?;
        let trusted = Trusted::from_documents(&before, Timestamp(0)).map_err(Trouble::from)?;
        Ok(Self { client: Client::new(trusted, now()), files: Files::new(url, None), before })
    }

    fn drive(&mut self) -> Result<(), Failure> {
        let files = &self.files;
        self.client.drive(|want| answer(files, want)).map_err(|trouble: Trouble| trouble.into())
    }

    fn find(&mut self, name: &str) -> Result<Found, Failure> {
        self.drive()?;
        self.client.look_up(name).map_err(Trouble::from)?;
        self.drive()?;
        Ok(self.client.found().map_err(Trouble::from)?.clone())
    }

    /// Writes what changed; the root first, for all else rests on it.
    fn keep(&self, folder: &Path) -> Outcome {
        let documents = self.client.trusted().documents();
        let root_first = documents.iter().filter(|(role, _)| *role == "root");
        for (role, bytes) in root_first.chain(documents.iter().filter(|(role, _)| *role != "root")) {
            if self.before.get(role).is_none_or(|before| before != bytes) {
                let path = folder.join(format!("{}.json", encode(role)));
                replace(&path, bytes).explain("file", format_args!("writing {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn done(&self, target: Option<String>) -> Done {
        let trusted = self.client.trusted();
        let top = [
            Some(("root", trusted.root().version)),
            trusted.timestamp().map(|timestamp| ("timestamp", timestamp.version)),
            trusted.snapshot().map(|snapshot| ("snapshot", snapshot.version)),
        ];
        let top = top.into_iter().flatten().map(|(role, version)| (role.to_owned(), version));
        let documents = trusted.documents();
        let targets =
            documents.keys().filter_map(|role| Some((role.clone(), trusted.targets(role)?.version)));
        Done { versions: top.chain(targets).collect(), target }
    }
}

fn answer(files: &Files, want: &Want) -> Result<Answer, Trouble> {
    Ok(match files.get(&want.path, want.bytes_max, None)? {
        FileAnswer::Bytes { bytes, .. } => Answer::Bytes(bytes),
        FileAnswer::Absent | FileAnswer::Unchanged => Answer::Absent,
    })
}

/// Downloads a target unless it is there with the right hash.
fn fetch_target(found: &Found, session: &Session, files: &Files, folder: &Path) -> Outcome {
    let want = found.want(session.client.trusted().root().consistent_snapshot).map_err(Trouble::from)?;
    let path = folder.join(encode(&found.path));
    let doing = format!("keeping {}", path.display());
    if read_bounded(&path, want.bytes_max).is_ok_and(|bytes| found.check(&bytes).is_ok()) {
        return Ok(());
    }
    let Answer::Bytes(bytes) = answer(files, &want)? else {
        return Err(Failure::new("absent", format!("{}/{} is not there", files.base(), want.path)));
    };
    found.check(&bytes).map_err(Trouble::from)?;
    fs::create_dir_all(folder).explain("file", &doing)?;
    replace(&path, &bytes).explain("file", &doing)
}

/// The files of trusted metadata, by role.
fn read_kept(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut kept = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(role) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        kept.insert(decode(role), read_bounded(&folder.join(&name), KEPT_BYTES_MAX)?);
    }
    Ok(kept)
}

fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

/// What [`encode`] made of a name.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Replaces a file as a whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_as_file_names() {
        for name in ["targets", "../x", "a/b", "%41", "é", "?#", "100%"] {
            let encoded = encode(name);
            assert!(!encoded.contains('/'), "{encoded}");
            assert_eq!(decode(&encoded), name);
        }
        assert_eq!(decode("%"), "%");
        assert_eq!(decode("%zz"), "%zz");
    }
}
